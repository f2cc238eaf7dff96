"""The one door to a model: load it, tokenise with coordinates, read named sites, write to them.

Sites are named by block and kind, 0-based: `embed` (input of block 0), `resid_post.k` (residual stream after
block k), `final` (after the last norm). Never by an index into `hidden_states`, which has three conventions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Family:
    """Where a Hugging Face model keeps its parts, as attribute paths from the loaded model."""

    trunk: str
    blocks: str  # from the trunk
    final: str  # from the trunk
    masked: bool  # a masked model reads both ways, a causal one only what comes before


FAMILIES = {
    "esm": Family("esm", "encoder.layer", "encoder.emb_layer_norm_after", masked=True),
    "mixtral": Family("model", "layers", "norm", masked=False),
    "mistral": Family("model", "layers", "norm", masked=False),
    "llama": Family("model", "layers", "norm", masked=False),
    "gpt2": Family("transformer", "h", "ln_f", masked=False),
}


@dataclass(frozen=True)
class Site:
    name: str
    dim: int
    module: str
    when: str  # "pre": the module's input, "post": its output


@dataclass(frozen=True)
class TokenBatch:
    """Model inputs, right-padded, and where each kept token came from.

    ids, mask: [batch, length]. keep: [batch, length] bool, real tokens only: no special, padding or unknown token.
    unit, index, start, end, token_id: int32 [kept], in row-major order of `keep`; start and end are offsets in the
    unit's own sequence, 0-based, half-open.
    """

    ids: Tensor
    mask: Tensor
    keep: Tensor
    unit: np.ndarray
    index: np.ndarray
    start: np.ndarray
    end: np.ndarray
    token_id: np.ndarray

    @property
    def n_kept(self) -> int:
        return len(self.unit)


@dataclass(frozen=True)
class Encoded:
    """One unit's tokens, specials included. ids, start, end: int32 [length]; keep: bool [length]."""

    ids: np.ndarray
    start: np.ndarray
    end: np.ndarray
    keep: np.ndarray


class _Reached(Exception):
    """Raised by the hook at the deepest wanted site: nothing after it needs to run."""


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_folder(folder: Path) -> Path:
    """The weights file of a model folder; FileNotFoundError or ValueError says what is missing or cut short."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such model folder")
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            held = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
            raise FileNotFoundError(f"{folder}: no {name} (wanted config.json and model.safetensors; found {held})")
    weights = folder / "model.safetensors"
    check_safetensors(weights)
    return weights


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file that is shorter or longer than its header says. Raises ValueError."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(8)
        header_size = int.from_bytes(head, "little") if len(head) == 8 else 0
        text = handle.read(header_size) if 0 < header_size <= size else b""
    try:
        header = json.loads(text)
        wanted = 8 + header_size + max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({size} bytes, unreadable header)") from error
    if wanted != size:
        raise ValueError(f"{path}: cut short or damaged: {size} bytes, its header promises {wanted}")


class Adapter:
    """A loaded Hugging Face DNA model. Use `load`; see `encode`, `run`, `replace`, `logits`."""

    def __init__(self, model: nn.Module, tokenizer, identity: dict, device: str = "cpu"):
        model_type = model.config.model_type
        if model_type not in FAMILIES:
            raise ValueError(f"model type {model_type!r} has no adapter: known are {', '.join(FAMILIES)}")
        self.family = FAMILIES[model_type]
        self.model = model.eval().to(device)
        self.tokenizer = tokenizer
        self.identity = identity
        self.device = device
        self.trunk = model.get_submodule(self.family.trunk)
        self.blocks = self.trunk.get_submodule(self.family.blocks)
        self.d_model = model.config.hidden_size
        self.max_tokens = getattr(model.config, "max_position_embeddings", None)
        if model_type == "esm" and model.config.position_embedding_type == "absolute":
            self.max_tokens -= model.config.pad_token_id + 1  # ESM numbers its positions from pad + 1
        self.special = set(tokenizer.all_special_ids)
        self._base_ids = self._single_base_ids()

    # ---- sites ----------------------------------------------------------------------------------------------
    def sites(self) -> list[Site]:
        prefix = f"{self.family.trunk}.{self.family.blocks}"
        posts = [Site(f"resid_post.{k}", self.d_model, f"{prefix}.{k}", "post") for k in range(len(self.blocks))]
        final = Site("final", self.d_model, f"{self.family.trunk}.{self.family.final}", "post")
        return [Site("embed", self.d_model, f"{prefix}.0", "pre"), *posts, final]

    def site(self, name: str) -> Site:
        found = {s.name: s for s in self.sites()}
        if name not in found:
            raise ValueError(f"no site {name!r}: this model has {', '.join(found)}")
        return found[name]

    @property
    def embedding(self) -> nn.Module:
        """The token embedding: where integrated gradients start."""
        return self.model.get_input_embeddings()

    # ---- tokens ---------------------------------------------------------------------------------------------
    def _single_base_ids(self) -> np.ndarray | None:
        """Byte -> token id, when the vocabulary has single bases and no longer DNA word; else None."""
        vocabulary = self.tokenizer.get_vocab()
        words = [w for w, i in vocabulary.items() if i not in self.special]
        if any(len(w) > 1 for w in words) or not set("ACGT") <= set(words):
            return None
        table = np.full(256, self.tokenizer.unk_token_id, dtype=np.int32)
        for word in words:
            table[ord(word)] = vocabulary[word]
        around = self.tokenizer("ACGT")["input_ids"]
        first = around.index(table[ord("A")])
        self._before, self._after = around[:first], around[first + 4 :]
        return table

    def _tokenise(self, sequence: str) -> Encoded:
        if self._base_ids is not None:
            return self._encode_bases(sequence)
        return self._encode_offsets(sequence) if self.tokenizer.is_fast else self._encode_words(sequence)

    def fits(self, sequence: str) -> bool:
        """Whether the sequence's tokens fit the model's context."""
        return self.max_tokens is None or len(self._tokenise(sequence).ids) <= self.max_tokens

    def encode_one(self, sequence: str) -> Encoded:
        """Tokens of one upper-case sequence with their source offsets. Raises ValueError on overflow."""
        encoded = self._tokenise(sequence)
        if self.max_tokens is not None and len(encoded.ids) > self.max_tokens:
            raise ValueError(
                f"a sequence of {len(sequence)} bases became {len(encoded.ids)} tokens; the model reads at most "
                f"{self.max_tokens}: use a shorter window"
            )
        return encoded

    def _encode_bases(self, sequence: str) -> Encoded:
        body = self._base_ids[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
        before, after = self._before, self._after
        ids = np.concatenate([before, body, after]).astype(np.int32)
        start = np.full(len(ids), -1, dtype=np.int32)
        inner = slice(len(before), len(before) + len(body))
        start[inner] = np.arange(len(body))
        keep = np.zeros(len(ids), dtype=bool)
        keep[inner] = body != self.tokenizer.unk_token_id
        return Encoded(ids, start, np.where(start >= 0, start + 1, -1).astype(np.int32), keep)

    def _encode_offsets(self, sequence: str) -> Encoded:
        out = self.tokenizer(sequence, return_offsets_mapping=True)
        ids = np.array(out["input_ids"], dtype=np.int32)
        offsets = np.array(out["offset_mapping"], dtype=np.int32).reshape(-1, 2)
        keep = ~np.isin(ids, list(self.special)) & (offsets[:, 1] > offsets[:, 0])
        return Encoded(ids, offsets[:, 0], offsets[:, 1], keep)

    def _encode_words(self, sequence: str) -> Encoded:
        ids = np.array(self.tokenizer(sequence)["input_ids"], dtype=np.int32)
        special = np.isin(ids, list(self.special))
        words = self.tokenizer.convert_ids_to_tokens(ids.tolist())
        length = np.where(special, 0, [len(w) for w in words])
        end = np.cumsum(length).astype(np.int32)
        if end[-1] != len(sequence):
            raise ValueError(f"the tokenizer reads {end[-1]} of {len(sequence)} bases: unknown letters in the sequence?")
        return Encoded(ids, (end - length).astype(np.int32), end, ~special)

    def collate(self, encoded: Sequence[Encoded], units: Sequence[int]) -> TokenBatch:
        """Right-pad encoded units into one batch; `units` are the numbers the kept tokens will carry."""
        longest = max(len(e.ids) for e in encoded)
        pad = self.tokenizer.pad_token_id
        ids = np.full((len(encoded), longest), 0 if pad is None else pad, dtype=np.int64)
        mask = np.zeros(ids.shape, dtype=np.int64)
        keep = np.zeros(ids.shape, dtype=bool)
        for row, e in enumerate(encoded):
            ids[row, : len(e.ids)], mask[row, : len(e.ids)], keep[row, : len(e.ids)] = e.ids, 1, e.keep
        parts = [(np.full(e.keep.sum(), u), np.arange(e.keep.sum()), e.start[e.keep], e.end[e.keep], e.ids[e.keep])
                 for e, u in zip(encoded, units, strict=True)]  # fmt: skip
        columns = [np.concatenate(column).astype(np.int32) for column in zip(*parts, strict=True)]
        return TokenBatch(
            torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device),
            torch.from_numpy(keep).to(self.device), *columns,
        )  # fmt: skip

    def encode(self, sequences: Sequence[str], units: Sequence[int] | None = None) -> TokenBatch:
        """Tokenise sequences (upper-case A C G T N) into one batch."""
        return self.collate([self.encode_one(s) for s in sequences], range(len(sequences)) if units is None else units)

    # ---- running --------------------------------------------------------------------------------------------
    @contextmanager
    def _hook(self, name: str, hook: Callable) -> Iterator[None]:
        """`hook(x) -> x or None` at a site, x: [batch, length, d_model]."""
        site = self.site(name)
        module = self.model.get_submodule(site.module)

        def pre(_, args, kwargs):
            x = args[0] if args else kwargs["hidden_states"]
            new = hook(x)
            if new is None:
                return None
            return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

        def post(_, __, output):
            x = output[0] if isinstance(output, tuple) else output
            new = hook(x)
            if new is None:
                return None
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handle = (
            module.register_forward_pre_hook(pre, with_kwargs=True)
            if site.when == "pre"
            else module.register_forward_hook(post)
        )
        try:
            yield
        finally:
            handle.remove()

    def _forward(self, batch: TokenBatch, head: bool) -> Tensor | None:
        runner = self.model if head else self.trunk
        extra = {} if self.family.masked else {"use_cache": False}
        output = runner(input_ids=batch.ids, attention_mask=batch.mask, **extra)
        return output.logits if head else None

    def run_grid(self, batch: TokenBatch, names: Sequence[str]) -> dict[str, Tensor]:
        """Activations at each site, padding included: [batch, length, d_model]. Keeps gradients if enabled.

        The forward stops at the deepest wanted site and never runs the language-model head. Raises RuntimeError
        when a site fires not at all or twice.
        """
        order = [s.name for s in self.sites()]
        deepest = max(names, key=lambda name: order.index(self.site(name).name))
        seen: dict[str, list[Tensor]] = {name: [] for name in names}

        def record(name: str) -> Callable:
            def hook(x: Tensor) -> None:
                seen[name].append(x)
                if name == deepest:
                    raise _Reached

            return hook

        from contextlib import ExitStack

        with ExitStack() as stack:
            for name in names:
                stack.enter_context(self._hook(name, record(name)))
            try:
                self._forward(batch, head=False)
            except _Reached:
                pass
        wrong = {name: len(x) for name, x in seen.items() if len(x) != 1}
        if wrong:
            raise RuntimeError(f"sites that did not fire exactly once: {wrong}")
        return {name: x[0] for name, x in seen.items()}

    @torch.inference_mode()
    def run(self, batch: TokenBatch, names: Sequence[str]) -> dict[str, Tensor]:
        """Activations of the kept tokens at each site: [kept, d_model], rows aligned with the batch's columns."""
        return {name: x[batch.keep] for name, x in self.run_grid(batch, names).items()}

    @torch.inference_mode()
    def logits(self, batch: TokenBatch) -> Tensor:
        """Language-model logits: [batch, length, vocabulary]."""
        return self._forward(batch, head=True)

    @torch.inference_mode()
    def replace(self, batch: TokenBatch, name: str, fn: Callable[[Tensor], Tensor]) -> Tensor:
        """Logits after the kept tokens' activations x at a site became fn(x). x, fn(x): [kept, d_model].

        Raises RuntimeError when the site fires not at all or twice.
        """
        fired = 0

        def hook(x: Tensor) -> Tensor:
            nonlocal fired
            fired += 1
            new = x.clone()
            new[batch.keep] = fn(x[batch.keep]).to(x.dtype)
            return new

        with self._hook(name, hook):
            logits = self._forward(batch, head=True)
        if fired != 1:
            raise RuntimeError(f"sites that did not fire exactly once: {{{name!r}: {fired}}}")
        return logits

    @torch.inference_mode()
    def attentions(self, batch: TokenBatch) -> Tensor:
        """Attention weights: [block, batch, head, query, key]. Runs the eager kernel, the only one that gives them."""
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")
        try:
            extra = {} if self.family.masked else {"use_cache": False}
            out = self.trunk(input_ids=batch.ids, attention_mask=batch.mask, output_attentions=True, **extra)
        finally:
            self.model.set_attn_implementation(before)
        return torch.stack(out.attentions)


def load(folder: str | Path, device: str = "cpu", random_init: bool = False, seed: int = 0) -> Adapter:
    """Load a model folder (config.json, model.safetensors, tokenizer files) from disk; never from a network.

    random_init: the same architecture and tokenizer with seeded random weights, the null called "random twin".
    Raises FileNotFoundError for a folder without weights, ValueError for a weights file cut short, an unknown
    family, or weights that do not fill the model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    folder = Path(folder)
    weights = _check_folder(folder)
    try:
        model_type = json.loads((folder / "config.json").read_text()).get("model_type")
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: not JSON: {error}") from error
    if model_type not in FAMILIES:
        raise ValueError(f"{folder}: model type {model_type!r} has no adapter: known are {', '.join(FAMILIES)}")
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    auto = AutoModelForMaskedLM if FAMILIES[config.model_type].masked else AutoModelForCausalLM
    if random_init:
        torch.manual_seed(seed)
        model = auto.from_config(config)
    else:
        model, info = auto.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        trunk = FAMILIES[config.model_type].trunk
        missing = sorted(k for k in info["missing_keys"] if k.startswith(f"{trunk}.") and "position_ids" not in k)
        if missing or info["mismatched_keys"]:
            raise ValueError(f"{weights}: does not fill {type(model).__name__}: missing {missing[:5]}")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    identity = {
        "class": type(model).__name__,
        "model_type": config.model_type,
        "weights_sha256": f"random-init-{seed}" if random_init else _file_hash(weights),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Adapter(model.float(), tokenizer, identity, device)
