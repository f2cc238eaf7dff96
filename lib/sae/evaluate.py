"""How much a dictionary keeps, on tokens it never saw. Every number here has one written definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from lib.models import forward
from lib.sae.model import SAE
from lib.sae.parts import parts
from lib.stats import estimates


@dataclass(frozen=True)
class Quality:
    """Held-out sums, so that intervals can resample units.

    sse, sst: [unit] float64, squared error and squared deviation from the per-dimension mean over all the tokens.
    n_active: [unit] non-zero latents; n_tokens: [unit]; frequency: [d_sae] share of tokens on which a latent fires.
    """

    sse: np.ndarray
    sst: np.ndarray
    n_active: np.ndarray
    n_tokens: np.ndarray
    frequency: np.ndarray

    @property
    def explained_variance(self) -> float:
        """1 - sum (x - x_hat)^2 / sum (x - mean x)^2: one ratio of two float64 sums."""
        return float(1 - self.sse.sum() / self.sst.sum())

    @property
    def l0(self) -> float:
        """Mean number of non-zero latents a token."""
        return float(self.n_active.sum() / self.n_tokens.sum())

    @property
    def dead_share(self) -> float:
        """Share of latents that never fire on these tokens."""
        return float((self.frequency == 0).mean())


@torch.inference_mode()
def quality(sae: SAE, acts: np.ndarray, rows: np.ndarray, unit: np.ndarray, chunk: int = 16384) -> Quality:
    """Evaluate on acts[rows]. acts: [token, d_in], mapped; unit: [token] unit of each token. Streams in chunks."""
    mean = sum(np.asarray(acts[rows[s : s + chunk]], dtype=np.float64).sum(0) for s in range(0, len(rows), chunk)) / len(rows)
    units, position = np.unique(unit[rows], return_inverse=True)
    sse, sst, active, fired = np.zeros(len(units)), np.zeros(len(units)), np.zeros(len(units)), 0
    for place, given, pick in parts(sae, acts, rows, unit, chunk):
        x, x_hat, latents = (t[pick] for t in (given[0], *sae(*given)))
        where = position[place]
        error = (x.double() - x_hat.double()).square().sum(1).numpy()
        spread = ((x.double().numpy() - mean) ** 2).sum(1)
        count = (latents > 0).sum(1).double().numpy()
        for total, value in ((sse, error), (sst, spread), (active, count)):
            total += np.bincount(where, weights=value, minlength=len(units))
        fired = fired + (latents > 0).sum(0).numpy()
    return Quality(sse, sst, active, np.bincount(position, minlength=len(units)), fired / len(rows))


@torch.inference_mode()
def latents_of(
    sae: SAE, acts: np.ndarray, rows: np.ndarray, unit: np.ndarray | None = None, chunk: int = 16384
) -> sparse.csr_matrix:
    """Latents of acts[rows], sparse: CSR [token, d_sae] float32. unit: [token] of acts, for a convolutional dictionary."""
    if not len(rows):
        return sparse.csr_matrix((0, sae.config.d_sae), dtype=np.float32)
    coded = [(place, sparse.csr_matrix(sae.encode(*given)[pick].numpy())) for place, given, pick in parts(sae, acts, rows, unit, chunk)]
    out = sparse.vstack([part for _, part in coded], format="csr")
    return out[np.argsort(np.concatenate([place for place, _ in coded]))] if sae.config.window else out


@torch.inference_mode()
def unit_losses(
    rebuilt: dict[str, Callable[[Tensor], Tensor] | SAE], adapter, site: str, sequences: list[str], share: float = 0.15,
    seed: int = 0, units_a_batch: int = 16, numbers: np.ndarray | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The model's loss with activations of `site` rebuilt, by unit, on the same scored tokens throughout.

    rebuilt: name -> function from activations [token, d_model] to what replaces them, or a dictionary. Masked models:
    cross-entropy at a seeded `share` of masked tokens; causal models: next-token cross-entropy. One row a
    sequence: n_tokens scored, then sums over them (nats): "original", "mean ablated" (every kept token's
    activation replaced by the mean over all the sequences' kept tokens), "zero ablated" (replaced by zeros),
    and one column a name. A model that gives numbers, where `numbers` [sequence] has what they should be: squared error of a unit's
    number, n_tokens 1. No row for another model without a language-model head, which has no loss.
    """
    of_numbers = adapter.gives_numbers and numbers is not None
    if not adapter.has_head and not of_numbers:
        return pd.DataFrame(columns=["n_tokens", "original", "mean ablated", "zero ablated", *rebuilt], dtype=float)
    generator = torch.Generator().manual_seed(seed)
    prepared, total, n_kept = [], 0.0, 0
    for rows, batch in forward.batches(adapter, sequences, forward.of_size(len(sequences), units_a_batch)):
        target = batch.ids.clone()
        if of_numbers:
            scored, target = batch.keep, torch.as_tensor(numbers[np.asarray(rows)])
        elif adapter.family.masked:
            scored = (torch.rand(batch.ids.shape, generator=generator) < share) & batch.keep
            batch = replace(batch, ids=torch.where(scored, adapter.tokenizer.mask_token_id, batch.ids))
        else:
            target = torch.roll(target, -1, dims=1)
            scored = batch.keep & torch.roll(batch.keep, -1, dims=1)
            scored[:, -1] = False
        prepared.append((batch, scored, target))
        total = total + adapter.run(batch, [site])[site].double().sum(0)
        n_kept += batch.n_kept
    mean = (total / n_kept).float()
    functions = {"mean ablated": lambda x: mean.to(x).expand_as(x), "zero ablated": torch.zeros_like} | rebuilt

    sums, parts = _squared_errors if of_numbers else _entropies, []
    for batch, scored, target in prepared:
        n_scored = np.ones(len(scored), int) if of_numbers else scored.sum(1).numpy()
        columns = {"n_tokens": n_scored, "original": sums(adapter.logits(batch), scored, target)}
        for name, function in functions.items():
            columns[name] = sums(adapter.replace(batch, site, _on(function, batch)), scored, target)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def _entropies(logits: Tensor, scored: Tensor, target: Tensor) -> np.ndarray:
    loss = torch.nn.functional.cross_entropy(logits[scored].float(), target[scored], reduction="none")
    return np.bincount(scored.nonzero()[:, 0].numpy(), loss.double().numpy(), minlength=len(scored))


def _squared_errors(logits: Tensor, scored: Tensor, target: Tensor) -> np.ndarray:
    own = (logits[..., 0].double() * scored).sum(1) / scored.sum(1)
    return ((own - target) ** 2).numpy()


def _on(function: Callable[[Tensor], Tensor] | SAE, batch) -> Callable[[Tensor], Tensor]:
    """The function; for a dictionary, its reconstruction of the batch's units."""
    return (lambda x: function(x.float(), batch.unit)[0]) if isinstance(function, SAE) else function


def loss_recovered(
    losses: pd.DataFrame, name: str, n_boot: int = 1000, seed: int = 0, ablation: str = "mean"
) -> estimates.Estimate:
    """(L_ablated - L_name) / (L_ablated - L_original), sums over units, with its bootstrap over units.

    1: as good as the original activations; 0: as bad as the ablated ones. losses: from `unit_losses`.
    ablation: "mean" or "zero"; zeros often lie far from every activation and then flatter a dictionary, so
    name it beside the number.
    Raises ValueError on another ablation.
    """
    if ablation not in ("mean", "zero"):
        raise ValueError(f"ablation {ablation!r}: wanted mean or zero")
    lost, at_stake = losses[name] - losses["original"], losses[f"{ablation} ablated"] - losses["original"]
    return estimates.ratio_interval(lost.to_numpy(), at_stake.to_numpy(), n_boot, seed)


def paired_gain(
    own: np.ndarray, rival: np.ndarray, whole: np.ndarray, n_boot: int = 1000, seed: int = 0
) -> estimates.Estimate:
    """sum(rival - own) / sum(whole), with its bootstrap over units: both methods on the same resampled units.

    own, rival, whole: [unit]. With squared errors and squared deviations this is the difference of two explained
    variances; with losses and the loss at stake, of two losses recovered.
    """
    return estimates.ratio_interval(whole - (rival - own), whole, n_boot, seed)


@torch.inference_mode()
def coherence(W_dec: Tensor, chunk: int = 256) -> Tensor:
    """Largest |cosine| of each decoder row with another row.

    0: orthogonal to all others; 1: a copy or the negative of one. The cosine with a row of zeros is 0.
    W_dec: [d_sae, d_in], any row norms, d_sae at least 2. Returns [d_sae]. Holds one block of cosines
    [chunk, d_sae] at a time, 64 MiB at d_sae 65,536 in float32, beside one copy of W_dec.
    """
    rows = torch.nn.functional.normalize(W_dec.detach(), dim=1)
    largest = rows.new_empty(len(rows))
    for s in range(0, len(rows), chunk):
        cosine = (rows[s : s + chunk] @ rows.T).abs_()
        cosine.diagonal(s).zero_()
        largest[s : s + chunk] = cosine.amax(1)
    return largest


#: (explained variance at least, L0 at most), fixed before any run.
TARGET, FLOOR = (0.95, 20.0), (0.90, 30.0)


def go_no_go(explained_variance: float, l0: float) -> str:
    """ "go (target)", "go (floor)" or "no-go"."""
    for name, (least, most) in (("go (target)", TARGET), ("go (floor)", FLOOR)):
        if explained_variance >= least and l0 <= most:
            return name
    return "no-go"


#: What a run is chosen by, columns of a table of candidates; of each more is better.
EVIDENCE = ("explained_variance", "differences", "comes_again", "loss_recovered")


def choose_run(candidates: pd.DataFrame) -> str:
    """The run to read: of those with the best verdict, the one of lowest mean rank by EVIDENCE; of equals the lowest L0.

    candidates: a row a run, of the validation split: run, l0 and EVIDENCE: explained variance of tokens and of what an edit changes,
    the share of latents that come again in another seed, and the language model's loss recovered. What is unknown of a run does not
    count for any. Where none earns a verdict, of the runs with L0 at most that of the floor, or else of all.
    """
    earned = [go_no_go(row["explained_variance"], row["l0"]) for _, row in candidates.iterrows()]
    best = next(name for name in ("go (target)", "go (floor)", "no-go") if name in earned)
    pool = candidates[np.array(earned) == best]
    if best == "no-go" and (pool["l0"] <= FLOOR[1]).any():
        pool = pool[pool["l0"] <= FLOOR[1]]
    known = [name for name in EVIDENCE if pool[name].notna().all()]
    pool = pool.assign(mean_rank=pool[known].rank(ascending=False).mean(1))
    return pool.sort_values(["mean_rank", "l0"], kind="stable")["run"].iloc[0]


#: How far from a target a single run's L0 may be and still stand for it, as a share of the target.
NEAR = 0.10


def matched_l0(table: pd.DataFrame, targets: list[float]) -> pd.DataFrame:
    """Explained variance of each architecture at the same L0, never extrapolated.

    table: one row a run, with run, architecture, d_sae, explained_variance, low, high, l0 above 0, of one split.
    targets: L0, above 0. One row an architecture, d_sae and target, in the table's order:

    - "exact": the first run with this L0;
    - "interpolated": linear in log L0 between the two runs nearest to the target on either side. low and high likewise:
      the interval's ends for wholly dependent runs, too wide for others; the L0s count as known;
    - "nearest": no run on one side; the nearest run in log L0, when its L0 is within NEAR of the target;
    - "missing": neither; explained_variance, low, high and l0 are NaN.

    l0 is the target where interpolated, else the run's own L0; runs: the names read, by L0, joined by "; ".
    Raises ValueError on a target or an L0 that is not above 0, and on a column that is missing.
    """
    wanted = ["run", "architecture", "d_sae", "explained_variance", "low", "high", "l0"]
    if lacking := [name for name in wanted if name not in table]:
        raise ValueError(f"no column {', '.join(lacking)}: found {', '.join(table)}")
    if not (all(target > 0 for target in targets) and (table["l0"] > 0).all()):
        raise ValueError(f"an L0 is not above 0: targets {list(targets)}, runs {table['l0'].tolist()}")
    groups = table.sort_values("l0", kind="stable").groupby(["architecture", "d_sae"], sort=False)
    order = table[["architecture", "d_sae"]].drop_duplicates().itertuples(index=False, name=None)
    rows = [{"architecture": a, "d_sae": d, "target_l0": float(t)} | _at_l0(groups.get_group((a, d)), t) for a, d in order for t in targets]
    return pd.DataFrame(rows)


def _at_l0(runs: pd.DataFrame, target: float) -> dict:
    """What `matched_l0` says of one architecture and width. runs: sorted by l0."""
    columns = ["explained_variance", "low", "high"]
    below, above = runs[runs["l0"] <= target].tail(1), runs[runs["l0"] >= target].head(1)
    nearest = runs.iloc[np.abs(np.log(runs["l0"] / target)).argmin()]
    if nearest["l0"] != target and len(below) and len(above):
        a, b = below.iloc[0], above.iloc[0]
        share = np.log(target / a["l0"]) / np.log(b["l0"] / a["l0"])
        values = {name: float((1 - share) * a[name] + share * b[name]) for name in columns}
        return values | {"l0": float(target), "how": "interpolated", "runs": f"{a['run']}; {b['run']}"}
    if abs(nearest["l0"] - target) > NEAR * target:
        return dict.fromkeys([*columns, "l0"], np.nan) | {"how": "missing", "runs": ""}
    how = "exact" if nearest["l0"] == target else "nearest"
    return {name: float(nearest[name]) for name in [*columns, "l0"]} | {"how": how, "runs": nearest["run"]}


def pca_basis(
    acts: np.ndarray, train: np.ndarray, components: int, seed: int, n_fit: int = 50_000
) -> tuple[np.ndarray, np.ndarray]:
    """The null "PCA": centre [d_in] and leading directions [d_in, components], from at most n_fit training tokens."""
    pick = np.sort(np.random.default_rng(seed).choice(train, min(n_fit, len(train)), replace=False))
    fit = np.asarray(acts[pick], dtype=np.float64)
    centre = fit.mean(0)
    _, vectors = np.linalg.eigh((fit - centre).T @ (fit - centre))
    return centre, vectors[:, ::-1][:, :components].copy()


def pca_quality(
    acts: np.ndarray, rows: np.ndarray, unit: np.ndarray, centre: np.ndarray, basis: np.ndarray, chunk: int = 16384
) -> tuple[np.ndarray, np.ndarray]:
    """Per-unit squared error and squared deviation of acts[rows] projected on a basis. Returns sse, sst: [unit]
    float64, units in the order of `quality`."""
    parts = [rows[s : s + chunk] for s in range(0, len(rows), chunk)]
    mean = sum(np.asarray(acts[p], dtype=np.float64).sum(0) for p in parts) / len(rows)
    units, position = np.unique(unit[rows], return_inverse=True)
    sse, sst = np.zeros(len(units)), np.zeros(len(units))
    for s, part in zip(range(0, len(rows), chunk), parts, strict=True):
        x = np.asarray(acts[part], dtype=np.float64)
        residual = (x - centre) - (x - centre) @ basis @ basis.T
        where = position[s : s + chunk]
        sse += np.bincount(where, weights=(residual**2).sum(1), minlength=len(units))
        sst += np.bincount(where, weights=((x - mean) ** 2).sum(1), minlength=len(units))
    return sse, sst
