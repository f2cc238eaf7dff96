"""Models of transformers' own classes, and of code that came with the weights and was trusted file by file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lib.models import files, kmers, wrap
from lib.models.families import NATIVE, Family
from lib.models.tokens import Tokenizer
from lib.stage.hashes import sha256

#: Entries of old checkpoints' blocks that the classes compute themselves.
BUFFERS = re.compile(r".*(rotary_emb(eddings)?\.inv_freq|attn\.(masked_)?bias|attention\.(masked_)?bias)")
#: What a model lacks whose head gives a number.
NUMBER_HEAD = ["lm_head: in its place a head that gives a number"]


def read(folder: Path, random_init: bool, seed: int, trusted: bool = False) -> tuple[nn.Module, Tokenizer, Family, Path]:
    """A folder of a class whose parts `NATIVE` knows. trusted: run the folder's own code, which was checked before.

    Raises ValueError for another family, or weights that do not fill the model.
    """
    model_type, weights = files.read_config(folder).get("model_type"), files.check_weights(folder)
    if model_type not in NATIVE:
        code = files.auto_map(folder)
        hint = f"; its own code ({', '.join(map(str, code.values()))}) has no adapter either" if code else ""
        raise ValueError(f"{folder}: model type {model_type!r} has no adapter: known are {', '.join(NATIVE)}{hint}")
    family = NATIVE[model_type]
    return native_model(folder, family, random_init, seed, trusted), native_tokenizer(folder, trusted), family, weights


def quiet() -> None:
    """Keep transformers' progress bars and its load report out of logs: what weights lack is checked and said here."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


@contextmanager
def naming(file: Path, beside: str = "") -> Iterator[None]:
    """Raise ValueError that names the file for whatever a library raises on it: it seldom says which file it read."""
    try:
        yield
    except Exception as error:  # KeyError, TypeError, and classes of its own
        said = " ".join(str(error).split()) or "no reason given"
        raise ValueError(f"{file}{f' {beside}' if beside else ''}: cannot be read: {type(error).__name__}: {said[:400]}") from error


def native_model(folder: Path, family: Family, random_init: bool, seed: int, trusted: bool = False) -> nn.Module:
    """A float32 model of the folder's class, filled from it or seeded.

    Its attribute `head_missing` names what the weights lack outside the trunk. A class for token classification with one label is read
    with that head, of a number a token; what it lacks is the language-model head.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForTokenClassification

    quiet()
    with naming(folder / "config.json"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
    if (getattr(config, "pad_token_id", None) or 0) >= (config.vocab_size or float("inf")):
        config.pad_token_id = None  # a padding token without an embedding; padding is masked, so any id serves
    numbers = config.num_labels == 1 and any(name.endswith("ForTokenClassification") for name in config.architectures or [])
    auto = AutoModelForTokenClassification if numbers else AutoModelForMaskedLM if family.masked else AutoModelForCausalLM
    if random_init:
        torch.manual_seed(seed)
        with naming(folder / "config.json"):
            model = auto.from_config(config, trust_remote_code=trusted).float()
        model.head_missing = NUMBER_HEAD if numbers else []
        return model
    with naming(folder / "config.json", "or its weights"):
        model, info = auto.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trusted, config=config, dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip
    _check_filled(folder, model, family, info)
    missing = sorted(k for k in info["missing_keys"] if not k.startswith(f"{family.trunk}."))
    if numbers and missing:
        raise ValueError(f"{files.check_weights(folder)}: the head of numbers lacks {', '.join(missing)}")
    model.head_missing = NUMBER_HEAD if numbers else missing
    return model


def _check_filled(folder: Path, model: nn.Module, family: Family, info: dict) -> None:
    """Raise ValueError where trunk weights are missing, of another shape, or of blocks that the model lacks."""
    blocks = f"{family.trunk}.{family.blocks}."
    wrong = {
        "missing": [k for k in info["missing_keys"] if k.startswith(f"{family.trunk}.") and "position_ids" not in k],
        "of another shape": [f"{name} {tuple(a)}, wanted {tuple(b)}" for name, a, b in info["mismatched_keys"]],
        "of no use": [k for k in info["unexpected_keys"] if blocks in f"{family.trunk}.{k}" and not BUFFERS.fullmatch(k)],
    }
    if any(wrong.values()):
        said = "; ".join(f"{what} {sorted(names)[:5]}" for what, names in wrong.items() if names)
        raise ValueError(f"{files.check_weights(folder)}: does not fill {type(model).__name__}: {said}")


def native_tokenizer(folder: Path, trusted: bool = False) -> Tokenizer:
    """The folder's own tokenizer, by transformers; from its vocabulary alone where it is code that was not trusted."""
    from transformers import AutoTokenizer

    if "AutoTokenizer" in files.auto_map(folder) and not trusted:
        ours = kmers.from_vocabulary(folder)
        if ours is None:
            raise ValueError(
                f"{folder}: no vocab.txt of words of bases, and its tokenizer is code ({files.auto_map(folder)['AutoTokenizer']}), which "
                "runs only when every .py file's SHA-256 is given in trust"
            )
        return ours
    file = files.check_tokenizer(folder)
    with naming(file, "or the tokenizer files beside it"):
        hub = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
        ours = wrap.wrap(hub)
    if (ours.pad_token_id or 0) >= (files.read_config(folder).get("vocab_size") or float("inf")):
        ours.pad_token_id = None
    return ours


def check_trusted_class(model: nn.Module, code: dict[str, str]) -> None:
    """Raise ValueError unless the class that was loaded is defined in one of the trusted files."""
    source = Path(inspect.getfile(type(model)))
    if sha256(source) not in code.values():
        raise ValueError(f"{type(model).__name__} came from {source.name}, which is none of the trusted {', '.join(code)}")
