"""Rival explanations of one score: in-silico mutagenesis, integrated gradients, DeepLIFT, latents, attention rollout.

The score of a window is a direction's pull on its mean-pooled activations at a site: score(x) = w . mean_t x_t, t over
kept tokens. Every method takes one `WindowScore` a sequence, all of one model and site, and gives one value a base.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lib.causal import deeplift as rules
from lib.models import forward
from lib.models.adapter import Adapter
from lib.models.tokens import TokenBatch
from lib.sae.model import SAE

#: Mutants that are tokenised and compared for duplicates together; sequences whose gradients are taken together.
POOL, TOGETHER = 4096, 16
#: Tokens of inputs that DeepLIFT takes together, beside as many of references: every op's values are kept, attention weights too.
PAIRED = 1024


@dataclass(frozen=True)
class Attribution:
    """values: [sequence, length] per base, NaN where a method says nothing; seconds: wall time; delta: [sequence],
    convergence error as a fraction of the score's change, None for methods without one."""

    method: str
    values: np.ndarray
    seconds: float
    delta: np.ndarray | None = None


@dataclass(frozen=True)
class WindowScore:
    """direction: [d], float; token_budget: tokens of one forward, which should fit the cache."""

    adapter: Adapter
    site: str
    direction: np.ndarray
    token_budget: int = 8192

    def score(self, sequences: Sequence[str]) -> np.ndarray:
        """[sequence] float64"""
        return score_each([self], [sequences])[0]


def score_each(scorers: Sequence[WindowScore], texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Scores of each list of texts under its own scorer, all in common batches: [text] float64 a list."""
    first, W = _shared(scorers, texts)
    x = pooled(first.adapter, first.site, [text for group in texts for text in group], first.token_budget)
    parts = x.split([len(group) for group in texts])
    return [(part.double() @ w.double()).numpy() for part, w in zip(parts, W, strict=True)]


@torch.inference_mode()
def pooled(adapter: Adapter, site: str, texts: Sequence[str], token_budget: int) -> Tensor:
    """Mean activations over kept tokens: [text, d], float32. Equal token sequences are run once, those of like length
    together, and no further than the site."""
    encoded = [adapter.encode_one(text) for text in texts]
    keys = [e.ids.tobytes() for e in encoded]
    distinct = dict(sorted(zip(keys, encoded, strict=True), key=lambda item: len(item[1].ids), reverse=True))
    place, some = {key: i for i, key in enumerate(distinct)}, list(distinct.values())
    passed = forward.batches(adapter, some, forward.consecutive(some, token_budget))
    parts = [_mean(adapter.run_grid(batch, [site])[site], batch.keep).cpu() for _, batch in passed]
    return torch.cat(parts)[[place[key] for key in keys]]


def _mean(x: Tensor, keep: Tensor) -> Tensor:
    """x: [batch, length, d]; keep: [batch, length] -> [batch, d], float32."""
    weight = keep.float() / keep.sum(1, keepdim=True)
    return (x.float() * weight[..., None]).sum(1)


def _shared(scorers: Sequence[WindowScore], sequences: Sequence) -> tuple[WindowScore, Tensor]:
    """A scorer to take model, site and budget from, and all directions [sequence, d]."""
    if not scorers or len(scorers) != len(sequences):
        raise ValueError(
            f"{len(scorers)} scorers for {len(sequences)} sequences: wanted one a sequence, at least one"
        )
    if len({(id(s.adapter), s.site) for s in scorers}) > 1:
        raise ValueError(
            f"scorers of several models or sites ({', '.join(sorted({s.site for s in scorers}))}): wanted one"
        )
    return scorers[0], torch.from_numpy(np.stack([s.direction for s in scorers]).astype(np.float32))


# ---- methods ----------------------------------------------------------------------------------------------------


def mutagenesis(scorers: Sequence[WindowScore], sequences: Sequence[str], span: int, alphabet: str = "ACGT") -> Attribution:
    """Exact saturation mutagenesis of the central `span` letters: score(sequence) - score(mutant), mean over the substitutions by
    the rest of the alphabet, so a positive letter is one the score needs. NaN for others (N) and outside the span. float32 throughout."""
    if span < 1:
        raise ValueError(f"span {span}: wanted at least one base")
    started, values = time.perf_counter(), _blank(sequences)
    for rows in forward.of_size(len(sequences), max(1, POOL // ((len(alphabet) - 1) * span))):
        at = [_mutable(sequences[row], span, alphabet) for row in rows]
        texts = [
            [sequences[row], *mutants(sequences[row], where, alphabet)] for row, where in zip(rows, at, strict=True)
        ]
        scores = score_each([scorers[row] for row in rows], texts)
        for row, where, score in zip(rows, at, scores, strict=True):
            values[row, where] = score[0] - score[1:].reshape(-1, len(alphabet) - 1).mean(1)
    return Attribution("ISM", values, time.perf_counter() - started)


def mutants(text: str, at: Sequence[int], alphabet: str = "ACGT") -> list[str]:
    """The substitutions of each of these letters by the others of the alphabet, letter by letter."""
    return [text[:i] + letter + text[i + 1 :] for i in at for letter in alphabet if letter != text[i]]


def _mutable(text: str, span: int, alphabet: str) -> list[int]:
    start = max(0, (len(text) - span) // 2)
    return [i for i in range(start, min(len(text), start + span)) if text[i] in alphabet]


def integrated_gradients(
    scorers: Sequence[WindowScore], sequences: Sequence[str], n_steps: int = 20, max_steps: int = 640, tolerance: float = 0.05
) -> Attribution:  # fmt: skip
    """LayerIntegratedGradients (captum) on the token embedding; the baseline is <mask>, or unknown without one (or where
    the model rescales by the share of <mask>). A token's value is spread evenly over its bases.

    delta: |sum of values - (score - baseline score)| / |score - baseline score|. Steps are doubled, sequence by sequence,
    until it is below `tolerance` or the next doubling would pass `max_steps`; what is left over shows in delta.
    """
    first, _ = _shared(scorers, sequences)
    started, values, delta = time.perf_counter(), _blank(sequences), np.full(len(sequences), np.inf)
    left, steps = np.arange(len(sequences)), n_steps
    while len(left) and steps <= max(n_steps, max_steps):
        members = [left[run.start : run.stop] for run in forward.of_size(len(left), TOGETHER)]
        for rows, batch in forward.batches(first.adapter, sequences, members):
            tokens, delta[rows] = _gradients([scorers[row] for row in rows], batch, steps)
            _lay(values, rows, tokens, batch, sequences)
        left, steps = left[delta[left] >= tolerance], steps * 2
    return Attribution("integrated gradients", values, time.perf_counter() - started, delta)


def _gradients(scorers: list[WindowScore], batch: TokenBatch, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of the batch's kept tokens [kept], and the relative convergence error of each of its texts."""
    from captum.attr import LayerIntegratedGradients

    first, W = _shared(scorers, batch.ids)
    adapter, baseline = first.adapter, _baseline(first.adapter, batch)

    def score(ids: Tensor, mask: Tensor, keep: Tensor, W: Tensor) -> Tensor:
        x = adapter.run_grid(replace(batch, ids=ids, mask=mask, keep=keep), [first.site])[first.site]
        return (_mean(x, keep) * W).sum(1)

    beside = (batch.mask, batch.keep, W.to(batch.ids.device))
    given, delta = LayerIntegratedGradients(score, adapter.embedding).attribute(
        batch.ids, baselines=baseline, additional_forward_args=beside, n_steps=steps, method="gausslegendre",
        internal_batch_size=max(len(scorers), first.token_budget // batch.ids.shape[1]), return_convergence_delta=True,
    )  # fmt: skip
    with torch.no_grad():
        whole = score(batch.ids, *beside) - score(baseline, *beside)
    error = delta.abs() / whole.abs().clamp_min(1e-12)
    return given.sum(-1)[batch.keep].detach().cpu().numpy(), error.cpu().numpy()


def _baseline(adapter: Adapter, batch: TokenBatch) -> Tensor:
    """Token ids of a text that says nothing: [batch, length]. NotImplementedError for a tokenizer that has no such token."""
    # with token_dropout a model rescales its embeddings by the share of <mask>, so a <mask> baseline is off the path
    maskable = adapter.family.masked and not getattr(adapter.model.config, "token_dropout", False)
    blank = adapter.tokenizer.mask_token_id if maskable else adapter.tokenizer.unk_token_id
    if blank is None:
        raise NotImplementedError("the tokenizer has no token that says nothing (mask or unknown) to start from")
    return torch.where(batch.keep, blank, batch.ids)


def deeplift(scorers: Sequence[WindowScore], sequences: Sequence[str]) -> Attribution:
    """DeepLIFT (rules: `lib.causal.deeplift`) on the token embedding, from the baseline of integrated gradients. A token's value is
    spread evenly over its bases. delta: |sum of values - (score - baseline score)| / |score - baseline score|, of rounding alone.

    Raises NotImplementedError for a model with an op that has no rule.
    """
    first, _ = _shared(scorers, sequences)
    started, values, delta = time.perf_counter(), _blank(sequences), np.full(len(sequences), np.inf)
    encoded = [first.adapter.encode_one(text) for text in sequences]
    for rows, batch in forward.batches(first.adapter, encoded, forward.consecutive(encoded, PAIRED)):
        tokens, delta[rows] = _contributions([scorers[row] for row in rows], batch)
        _lay(values, rows, tokens, batch, sequences)
    return Attribution("DeepLIFT", values, time.perf_counter() - started, delta)


def _contributions(scorers: list[WindowScore], batch: TokenBatch) -> tuple[np.ndarray, np.ndarray]:
    """Values of the batch's kept tokens [kept], and the relative completeness error of each of its texts."""
    first, W = _shared(scorers, batch.ids)
    adapter, W = first.adapter, W.to(batch.ids.device)
    ids, mask, keep = (torch.cat(two) for two in ((batch.ids, _baseline(adapter, batch)), (batch.mask,) * 2, (batch.keep,) * 2))
    pairs = replace(batch, ids=ids, mask=mask, keep=keep)

    def score(x: Tensor) -> Tensor:
        handle = adapter.embedding.register_forward_hook(lambda *_: x)
        try:
            return (_mean(adapter.run_grid(pairs, [first.site])[first.site], keep) * torch.cat([W, W])).sum(1)
        finally:
            handle.remove()

    with _frozen(adapter):
        x, baseline = adapter.embedding(ids).chunk(2)
        given, missing = rules.contributions(score, x, baseline)
    total = given.sum(-1)
    error = missing.abs() / (total.sum(1) + missing).abs().clamp_min(1e-12)
    return total[batch.keep].cpu().numpy(), error.cpu().numpy()


@contextmanager
def _frozen(adapter: Adapter) -> Iterator[None]:
    """Inside, the model's parameters are constants: what asks for a gradient depends on the text."""
    asked = [p for p in adapter.model.parameters() if p.requires_grad]
    adapter.model.requires_grad_(False)
    try:
        yield
    finally:
        for p in asked:
            p.requires_grad_(True)


def attention_rollout(scorers: Sequence[WindowScore], sequences: Sequence[str]) -> Attribution:
    """Attention rollout up to the scored site (Abnar and Zuidema 2020): 0.5 A + 0.5 I, heads averaged, multiplied over
    blocks, averaged over the kept query tokens; a token's value is spread evenly over its bases."""
    started, values = time.perf_counter(), _blank(sequences)
    first, _ = _shared(scorers, sequences)
    for rows, batch in forward.batches(first.adapter, sequences, forward.of_size(len(sequences), TOGETHER)):
        weights = first.adapter.attentions(batch).mean(2)  # [block, batch, query, key]
        eye = torch.eye(weights.shape[-1], device=weights.device)
        rollout = eye.expand(weights.shape[1:])
        for block in weights[: depth(first.site, len(weights))]:
            rollout = (0.5 * block + 0.5 * eye) @ rollout
        query = batch.keep.float() / batch.keep.sum(1, keepdim=True)
        given = torch.einsum("bq,bqk->bk", query, rollout)[batch.keep]
        _lay(values, rows, given.cpu().numpy(), batch, sequences)
    return Attribution("attention rollout", values, time.perf_counter() - started)


def depth(site: str, n_blocks: int) -> int:
    """Blocks that a forward has entered when it reaches a site: 0 for `embed`, all for `final`."""
    if "." in site:
        return int(site.rsplit(".", 1)[1]) + 1
    return 0 if site == "embed" else n_blocks


@torch.inference_mode()
def latent_attribution(scorers: Sequence[WindowScore], sequences: Sequence[str], sae: SAE) -> Attribution:
    """What latents add to the score at each token: sum_i f_i (d_i . w) / n tokens, spread evenly over its bases; of a
    convolutional dictionary, at each token what is written there, wherever its code stands. The rest of the score is
    b_dec . w and the dictionary's error."""
    started, values = time.perf_counter(), _blank(sequences)
    first, W = _shared(scorers, sequences)
    for rows, batch in forward.batches(first.adapter, sequences, forward.of_size(len(sequences), TOGETHER)):
        latents = sae.encode(first.adapter.run(batch, [first.site])[first.site].float(), batch.unit)
        unit = torch.from_numpy(batch.unit).long()
        given = sae.added(latents, batch.unit).cpu() * W[list(rows)][unit]
        _lay(values, rows, given.sum(1).numpy() / np.bincount(batch.unit)[batch.unit], batch, sequences)
    return Attribution("SAE latents", values, time.perf_counter() - started)


def explain(
    scorers: Sequence[WindowScore], sequences: Sequence[str], sae: SAE, span: int, n_steps: int, alphabet: str = "ACGT"
) -> tuple[list[Attribution], dict[str, str]]:
    """All five methods on the same sequences, and those that the model does not allow, each with why."""
    methods = {
        "ISM": lambda: mutagenesis(scorers, sequences, span, alphabet),
        "integrated gradients": lambda: integrated_gradients(scorers, sequences, n_steps),
        "DeepLIFT": lambda: deeplift(scorers, sequences),
        "SAE latents": lambda: latent_attribution(scorers, sequences, sae),
        "attention rollout": lambda: attention_rollout(scorers, sequences),
    }
    out, left_out = [], {}
    for name, method in methods.items():
        try:
            out.append(method())
        except NotImplementedError as error:  # no attention, or an op without a rule
            left_out[name] = str(error)
    return out, left_out


# ---- bases ------------------------------------------------------------------------------------------------------


def spread(per_token: np.ndarray, start: np.ndarray, end: np.ndarray, length: int) -> np.ndarray:
    """A token's value, divided evenly among its bases, summed where tokens overlap: [length]. Bases under no token get 0."""
    width = end - start
    base = np.repeat(start, width) + np.arange(width.sum()) - np.repeat(np.cumsum(width) - width, width)
    return np.bincount(base, np.repeat(per_token / np.maximum(width, 1), width), length).astype(np.float32)


def _blank(sequences: Sequence[str]) -> np.ndarray:
    return np.full((len(sequences), max(map(len, sequences), default=0)), np.nan, dtype=np.float32)


def _lay(values: np.ndarray, rows: Sequence[int], per_token: np.ndarray, batch: TokenBatch, sequences: Sequence[str]) -> None:
    """Write the tokens' values [kept] of the batch of some sequences, by their numbers, into these rows of `values`."""
    for i, row in enumerate(rows):
        in_unit, length = batch.unit == i, len(sequences[row])
        values[row, :length] = spread(per_token[in_unit], batch.start[in_unit], batch.end[in_unit], length)


def rows_of(attributions: Sequence[Attribution], rows: np.ndarray) -> list[Attribution]:
    """The same explanations of some of their sequences. rows: numbers, or which."""
    return [replace(a, values=a.values[rows], delta=None if a.delta is None else a.delta[rows]) for a in attributions]


def write(path, attributions: list[Attribution], attributes: dict[str, str]) -> None:
    """One HDF5 group a method: values [sequence, length], convergence error. No times: the file is the same to the byte."""
    import h5py

    with h5py.File(path, "w") as f:
        f.attrs.update(attributes)
        for a in attributions:
            group = f.create_group(a.method)
            group.create_dataset("values", data=a.values, track_times=False)
            if a.delta is not None:
                group.create_dataset("convergence_delta", data=a.delta, track_times=False)
