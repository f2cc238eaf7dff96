"""The one door to a model: load it, tokenise with coordinates, read named sites, write to them.

Sites are named by block and kind, 0-based: `embed` (input of block 0), `resid_post.k` (residual stream after block k),
`mixer_out.k` and `mlp_out.k` (what attention or state space, and MLP, add to it), `mlp_hidden.k` (the MLP's hidden layer
after its nonlinearity), `final` (after the last norm). Never by an index into `hidden_states`, which has three
conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.models import files, tokens
from lib.models.families import NATIVE, Family
from lib.models.tokens import Encoded, TokenBatch, Tokenizer


@dataclass(frozen=True)
class Site:
    name: str
    dim: int
    module: str
    when: str  # "pre": the module's input, "post": its output


class _Reached(Exception):
    """Raised by the hook at the deepest wanted site: nothing after it needs to run."""


class Adapter:
    """A loaded model of any family. Use `load`; see `encode`, `run`, `replace`, `logits`.

    What a record is, the tokenizer says: a sequence of upper-case A C G T N, an mRNA, a text, an expression row.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, identity: dict, device: str, family: Family):
        self.family = family
        self.model = model.eval().to(device)
        self.tokenizer = tokenizer
        self.identity = identity
        self.device = device
        self.trunk = model.get_submodule(self.family.trunk)
        self.blocks = self.trunk.get_submodule(self.family.blocks)
        self.d_model = model.config.hidden_size
        self.max_tokens = getattr(model.config, "max_position_embeddings", None)
        if model.config.model_type == "esm" and model.config.position_embedding_type == "absolute":
            self.max_tokens -= model.config.pad_token_id + 1  # ESM numbers its positions from pad + 1

    # ---- sites ----------------------------------------------------------------------------------------------
    def sites(self) -> list[Site]:
        """All sites, in the order in which a forward reaches them."""
        at = ".".join(filter(None, (self.family.trunk, self.family.blocks)))
        sites = [Site("embed", self.d_model, f"{at}.0", "pre")]
        for k, block in enumerate(self.blocks):
            sites += self._branches(k, block, f"{at}.{k}")
            sites.append(Site(f"resid_post.{k}", self.d_model, f"{at}.{k}", "post"))
        if self.family.final:
            final = ".".join(filter(None, (self.family.trunk, self.family.final)))
            sites.append(Site("final", self.d_model, final, "post"))
        return sites

    def _branches(self, k: int, block: nn.Module, at: str) -> Iterator[Site]:
        """The sites inside a block; a block that lacks the module lacks the site."""
        modules, family = dict(block.named_modules()), self.family
        if family.mixer_out in modules:
            yield Site(f"mixer_out.{k}", self.d_model, f"{at}.{family.mixer_out}", "post")
        if family.mlp_hidden in modules:
            yield Site(f"mlp_hidden.{k}", _input_dim(modules[family.mlp_hidden]), f"{at}.{family.mlp_hidden}", "pre")
        if family.mlp_out in modules:
            yield Site(f"mlp_out.{k}", self.d_model, f"{at}.{family.mlp_out}", "post")

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
    def fits(self, record) -> bool:
        """Whether the record's tokens fit the model's context."""
        return self.max_tokens is None or len(self.tokenizer.encode(record).ids) <= self.max_tokens

    def encode_one(self, record) -> Encoded:
        """Tokens of one record with their source offsets. Raises ValueError on overflow."""
        encoded = self.tokenizer.encode(record)
        if self.max_tokens is not None and len(encoded.ids) > self.max_tokens:
            what = f"sequence of {len(record)} bases" if isinstance(record, str) else "record"
            raise ValueError(
                f"a {what} became {len(encoded.ids)} tokens; the model reads at most {self.max_tokens}: use a shorter window"
            )
        return encoded

    def collate(self, encoded: Sequence[Encoded], units: Sequence[int]) -> TokenBatch:
        """Right-pad encoded records into one batch; `units` are the numbers the kept tokens will carry."""
        return tokens.collate(encoded, units, self.tokenizer.pad_token_id, self.device)

    def encode(self, records: Sequence, units: Sequence[int] | None = None) -> TokenBatch:
        """Tokenise records into one batch."""
        return self.collate([self.encode_one(r) for r in records], range(len(records)) if units is None else units)

    # ---- running --------------------------------------------------------------------------------------------
    @contextmanager
    def _hook(self, name: str, hook: Callable) -> Iterator[None]:
        """`hook(x) -> x or None` at a site, x: [batch, length, d]."""
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
        output = runner(input_ids=batch.ids, attention_mask=batch.mask, **batch.inputs, **self.family.options)
        return output.logits if head else None

    def run_grid(self, batch: TokenBatch, names: Sequence[str]) -> dict[str, Tensor]:
        """Activations at each site, padding included: [batch, length, d]. Keeps gradients if enabled.

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
        """Activations of the kept tokens at each site: [kept, d], rows aligned with the batch's columns."""
        return {name: x[batch.keep] for name, x in self.run_grid(batch, names).items()}

    @torch.inference_mode()
    def logits(self, batch: TokenBatch) -> Tensor:
        """What the model predicts at each token: [batch, length, vocabulary]."""
        return self._forward(batch, head=True)

    @torch.inference_mode()
    def replace(self, batch: TokenBatch, name: str, fn: Callable[[Tensor], Tensor]) -> Tensor:
        """Logits after the kept tokens' activations x at a site became fn(x). x, fn(x): [kept, d].

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
            out = self.trunk(input_ids=batch.ids, attention_mask=batch.mask, output_attentions=True, **self.family.options)
        finally:
            self.model.set_attn_implementation(before)
        return torch.stack(out.attentions)


def _input_dim(module: nn.Module) -> int:
    """The width that a linear layer reads; GPT-2's Conv1D keeps its weight the other way round."""
    return module.in_features if hasattr(module, "in_features") else module.weight.shape[0]


#: Modules that read what transformers' own classes do not. Each has `recognises(folder) -> bool` and
#: `read(folder, random_init, seed) -> (model, tokenizer, family, weights file)`.
PORTS: tuple = ()


def load(folder: str | Path, device: str = "cpu", random_init: bool = False, seed: int = 0) -> Adapter:
    """Load a model folder from disk; never from a network.

    random_init: the same architecture and tokenizer with seeded random weights, the null called "random twin".
    Raises FileNotFoundError for a folder without weights, ValueError for a weights file cut short, an unknown
    family, or weights that do not fill the model.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such model folder")
    read = next((port.read for port in PORTS if port.recognises(folder)), read_native)
    model, tokenizer, family, weights = read(folder, random_init, seed)
    identity = {
        "class": type(model).__name__,
        "model_type": model.config.model_type,
        "weights_sha256": f"random-init-{seed}" if random_init else files.sha256(weights),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Adapter(model.float(), tokenizer, identity, device, family)


def read_native(folder: Path, random_init: bool, seed: int) -> tuple[nn.Module, Tokenizer, Family, Path]:
    """A folder of one of transformers' own classes."""
    model_type, weights = files.read_config(folder).get("model_type"), files.check_weights(folder)
    if model_type not in NATIVE:
        raise ValueError(f"{folder}: model type {model_type!r} has no adapter: known are {', '.join(NATIVE)}")
    family = NATIVE[model_type]
    return native_model(folder, family, random_init, seed), native_tokenizer(folder), family, weights


def native_model(folder: Path, family: Family, random_init: bool, seed: int) -> nn.Module:
    """A model of transformers' own class, filled from the folder or seeded."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    auto = AutoModelForMaskedLM if family.masked else AutoModelForCausalLM
    if random_init:
        torch.manual_seed(seed)
        return auto.from_config(config)
    model, info = auto.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    missing = sorted(k for k in info["missing_keys"] if k.startswith(f"{family.trunk}.") and "position_ids" not in k)
    if missing or info["mismatched_keys"]:
        raise ValueError(f"{folder / 'model.safetensors'}: does not fill {type(model).__name__}: missing {missing[:5]}")
    return model


def native_tokenizer(folder: Path) -> Tokenizer:
    """The folder's own tokenizer, by transformers."""
    from transformers import AutoTokenizer

    return tokens.wrap(AutoTokenizer.from_pretrained(folder, local_files_only=True))
