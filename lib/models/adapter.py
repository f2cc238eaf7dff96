"""The one door to a model: load it, tokenise with coordinates, read named sites, write to them.

Sites are named by block and kind, 0-based: `embed` (input of block 0), `resid_post.k` (residual stream after block k),
`mixer_out.k` and `mlp_out.k` (what attention or state space, and MLP, add to it), `mlp_hidden.k` (the MLP's hidden layer
after its nonlinearity), `final` (after the last norm). Never by an index into `hidden_states`, which has three
conventions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from lib.models import files, identities, native, tokens
from lib.models.families import Family
from lib.models.tokens import Encoded, TokenBatch, Tokenizer
from lib.stage import modules


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

    What a record is, the tokenizer says: a sequence of upper-case A C G T N, an mRNA, a text, an expression row. gives_numbers: its head
    gives a number a token, [batch, length, 1], in place of words; a unit's is the mean over its kept tokens.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, identity: dict, device: str, family: Family, port: str = native.__name__):
        self.family = family
        self.port = port  # the module that read it
        self.model = model.eval().to(device)
        self.tokenizer = tokenizer
        self.identity = identity
        self.device = device
        self.trunk = model.get_submodule(self.family.trunk)
        self.blocks = self.trunk.get_submodule(self.family.blocks)
        self.d_model = model.config.hidden_size
        self.gives_numbers = getattr(model, "head_missing", None) == native.NUMBER_HEAD
        self.max_tokens = getattr(model.config, "max_position_embeddings", None)
        if model.config.model_type == "esm" and _numbers_from_pad(model):
            self.max_tokens -= model.config.pad_token_id + 1  # ESM numbers its positions from pad + 1

    def code(self) -> list[Path]:
        """Files of the code that computes this model's activations: ours that this door and the model's port import."""
        others = {port.__name__ for port in ports()} - {self.port} | {modules.__name__}
        return [*modules.behind([__name__], without=others), *modules.behind([self.port])]

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
        mixer, hidden, mlp = family.mixer_out, family.mlp_hidden, family.mlp_out
        if mixer and hidden in modules and hidden.startswith(f"{mixer}."):
            mixer, mlp = None, mixer  # blocks of one branch each: here it is the MLP
        if mixer in modules:
            yield Site(f"mixer_out.{k}", self.d_model, f"{at}.{mixer}", "post")
        if hidden in modules:
            yield Site(f"mlp_hidden.{k}", _input_dim(modules[hidden]), f"{at}.{hidden}", "pre")
        if mlp in modules:
            yield Site(f"mlp_out.{k}", self.d_model, f"{at}.{mlp}", "post")

    def site(self, name: str) -> Site:
        sites = {s.name: s for s in self.sites()}
        if name not in sites:
            raise ValueError(f"no site {name!r}: this model has {', '.join(sites)}")
        return sites[name]

    @property
    def has_head(self) -> bool:
        """Whether the weights hold the language-model head, without which there are no logits and no loss."""
        return not self.no_head

    @property
    def no_head(self) -> str:
        """Why there is no loss to read, in words with the names of the weights that are missing; "" with a head."""
        missing = getattr(self.model, "head_missing", None)
        return f"the weights hold no language-model head ({', '.join(missing)})" if missing else ""

    @property
    def embedding(self) -> nn.Module:
        """The token embedding: where integrated gradients start."""
        return self.model.get_input_embeddings()

    # ---- tokens ---------------------------------------------------------------------------------------------
    def fits(self, record) -> bool:
        """Whether the record's tokens fit the model's context."""
        return self.max_tokens is None or len(self.tokenizer.encode(record).ids) <= self.max_tokens

    def encode_one(self, record, **options) -> Encoded:
        """Tokens of one record with their source offsets; options are the tokenizer's (`frame`). ValueError on overflow."""
        encoded = self.tokenizer.encode(record, **options)
        if self.max_tokens is not None and len(encoded.ids) > self.max_tokens:
            what = f"sequence of {len(record)} bases" if isinstance(record, str) else "record"
            raise ValueError(
                f"a {what} became {len(encoded.ids)} tokens; the model reads at most {self.max_tokens}: use a shorter window"
            )
        return encoded

    def collate(self, encoded: Sequence[Encoded], units: Sequence[int]) -> TokenBatch:
        """Right-pad encoded records into one batch; `units` are the numbers the kept tokens will carry."""
        return tokens.collate(encoded, units, self.tokenizer.pad_token_id, self.device)

    def encode(self, records: Sequence, units: Sequence[int] | None = None, **options) -> TokenBatch:
        """Tokenise records into one batch; options are the tokenizer's (`frame`)."""
        encoded = [self.encode_one(record, **options) for record in records]
        return self.collate(encoded, range(len(records)) if units is None else units)

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
        if head and not self.has_head and not self.gives_numbers:
            raise ValueError(f"{self.no_head}: logits would be random")
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

    @contextmanager
    def restart(self, name: str, x: Tensor) -> Iterator[None]:
        """Inside, every forward starts from x [batch, length, d] at a site of the residual stream, `embed` or `resid_post.k`.

        Blocks up to the site do not run; the batch's mask and positions are its own. Read later sites with `run_grid`.
        Raises ValueError for a site inside a block or after the last norm.
        """
        kind, _, k = self.site(name).name.partition(".")
        if kind not in ("embed", "resid_post"):
            raise ValueError(f"a forward cannot restart from {name!r}: wanted embed or resid_post.k")
        skipped = self.blocks[: int(k) + 1] if k else []
        for block in skipped:
            block.forward = lambda *_, **__: x  # over the class's; blocks of every family return a tensor
        try:
            with self._hook(name, lambda _: x):
                yield
        finally:
            for block in skipped:
                del block.forward

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
        """Attention weights: [block, batch, head, query, key]. Runs the eager kernel, the only one that gives them.

        Raises NotImplementedError for a model that gives none.
        """
        none = f"a {self.model.config.model_type} model gives no attention weights"
        if not hasattr(self.model, "set_attn_implementation"):
            raise NotImplementedError(none)
        before = self.model.config._attn_implementation
        self.model.set_attn_implementation("eager")
        try:
            out = self.trunk(input_ids=batch.ids, attention_mask=batch.mask, output_attentions=True, **self.family.options)
        finally:
            self.model.set_attn_implementation(before)
        if not getattr(out, "attentions", None):
            raise NotImplementedError(none)
        return torch.stack(out.attentions)


def _numbers_from_pad(model: nn.Module) -> bool:
    """Whether an ESM model numbers positions, and so has room for fewer tokens: learned ones, and those of v2."""
    from lib.models import nt_v2  # as in `ports`

    return getattr(model.config, "position_embedding_type", None) == "absolute" or isinstance(model, nt_v2.NTv2ForMaskedLM)


def _input_dim(module: nn.Module) -> int:
    """The width that a linear layer reads; GPT-2's Conv1D keeps its weight the other way round."""
    return module.in_features if hasattr(module, "in_features") else module.weight.shape[0]


def ports() -> tuple[ModuleType, ...]:
    """Modules that read what transformers' own classes do not. Each has `recognises(folder) -> bool` and
    `read(folder, random_init, seed) -> (model, tokenizer, family, weights file)`."""
    # imported here, since transformers' classes take a second
    from lib.models import geneformer, helix, hyena, nt_v2, tahoe

    return tahoe, geneformer, nt_v2, hyena, helix


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load(
    source: str | Path,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    random_init: bool = False,
    seed: int = 0,
    trust: dict[str, str] | None = None,
    expect: dict | None = None,
) -> Adapter:
    """Load a model from a folder, or from a hub id "org/name" at a pinned revision. Only the latter uses a network.

    revision: the 40 hex digits of the hub's commit. dtype: of parameters and activations, a name of `DTYPES`. random_init:
    the same architecture and tokenizer with seeded random weights, the null called "random twin". trust: file ->
    SHA-256 of every .py file that comes with the weights; only then is that code run. expect: the identity it has to
    have, for a model that was loaded before (`identities.check`).
    Raises FileNotFoundError for a model that is not there or has no weights, ValueError for a weights file cut short,
    a pickle with code, an unknown family, code that is not trusted, weights that do not fill the model, or another
    identity than expected.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}: wanted one of {', '.join(DTYPES)}")
    folder, revision = _folder(source, revision, trust is not None)
    files.refuse_adapter(folder)
    code, port = None if trust is None else files.check_code(folder, trust), native
    if code is not None:
        model, tokenizer, family, weights = native.read(folder, random_init, seed, trusted=True)
        native.check_trusted_class(model, code)
    else:
        port = next((port for port in ports() if port.recognises(folder)), native)
        model, tokenizer, family, weights = port.read(folder, random_init, seed)
    identity = identities.identity_of(model, weights, f"random-init-{seed}" if random_init else None, dtype, revision, code)
    if expect is not None:
        identities.check(identity, expect, source)
    for parameter in model.parameters():  # not the buffers: rotary frequencies stay exact
        parameter.data = parameter.data.to(DTYPES[dtype])
    return Adapter(model, tokenizer, identity, device, family, port.__name__)


def _folder(source: str | Path, revision: str | None, code: bool) -> tuple[Path, str | None]:
    """The folder of a model and the revision it was fetched at, None for one that was given as a folder."""
    hub = isinstance(source, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source)
    if hub and not Path(source).is_dir():
        return files.fetch(source, revision, code), revision
    if revision is not None:
        raise ValueError(f"{source}: a folder has no revision to pin (its weights' hash is its identity)")
    if not Path(source).is_dir():
        raise FileNotFoundError(f"{source}: no such model folder")
    return Path(source), None
