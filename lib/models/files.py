"""A model's files: where they come from, what has to be there, and whether each is whole."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import zipfile
from pathlib import Path

from lib.stage.hashes import sha256

#: Weights a folder may hold, best first; an index names the shards beside it.
WEIGHTS = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
)  # fmt: skip
#: Files that say what the ids of a record are: of transformers' tokenizers, Geneformer's and Tahoe's.
TOKENIZER = (
    "added_tokens.json", "collator_config.yml", "drug_to_id.json", "gene_median.json", "merges.txt", "special_tokens_map.json",
    "spiece.model", "token_dictionary.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json",
    "vocab.txt",
)  # fmt: skip
#: What a tokenizer of transformers reads its words from, best first.
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")
WANTED = "config.json, a tokenizer, and model.safetensors or its shards with model.safetensors.index.json"


def fetch(repo: str, revision: str | None, code: bool = False, into: Path | None = None) -> Path:
    """A hub repository's folder in the local hub cache, or `into`, downloaded when it is not there.

    revision: the 40 hex digits of a commit, since a branch or tag can move. code: whether to take .py files too.
    Weights come as safetensors only. Raises ValueError for another revision, FileNotFoundError when files cannot be had.
    """
    import huggingface_hub

    if not re.fullmatch("[0-9a-f]{40}", revision or ""):
        raise ValueError(
            f"{repo}: no such folder, and a hub model needs revision= the 40 hex digits of its commit, not {revision!r}"
        )
    patterns = ["*.safetensors", "*.json", "*.yml", "*.txt", "*.model", *(["*.py"] if code else [])]
    try:
        return Path(huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=patterns, local_dir=into))
    except OSError as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FileNotFoundError(
            f"{repo} at {revision}: neither in the local hub cache nor to be downloaded ({cause}); "
            f"put its files ({WANTED}) into a folder and give the folder instead"
        ) from error


def weights_sha256(weights: Path) -> str:
    """One hash for a model's weights: of the file, or of the names and hashes of an index's shards."""
    if weights.suffix != ".json":
        return sha256(weights)
    lines = (f"{shard.name} {sha256(shard)}\n" for shard in shards(weights))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def tokenizer_sha256(folder: Path) -> str:
    """One hash for the names and hashes of those files of the folder that say what a record's ids are: `TOKENIZER`."""
    lines = (f"{name} {sha256(folder / name)}\n" for name in TOKENIZER if (folder / name).is_file())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_json(folder: Path, name: str) -> dict:
    """A JSON file of the folder. Raises FileNotFoundError, or ValueError when it is not a JSON object."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such model folder")
    path = wanted(folder, name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if isinstance(content, dict):
        return content
    raise ValueError(f"{path}: not a JSON object but {type(content).__name__}")


def read_config(folder: Path) -> dict:
    """The folder's config.json. Raises FileNotFoundError, or ValueError when it is not a JSON object."""
    return read_json(folder, "config.json")


def wanted(folder: Path, name: str) -> Path:
    """A file of the folder. Raises FileNotFoundError with what is there instead."""
    if not (folder / name).is_file():
        held = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        raise FileNotFoundError(f"{folder}: no {name} (wanted {WANTED}; found {held})")
    return folder / name


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder with a PEFT adapter, such as LoRA's, which would be left out without a word. Raises ValueError."""
    if (path := folder / "adapter_config.json").is_file():
        raise ValueError(f"{path}: an adapter on top of another model (LoRA, PEFT), wanted a whole one: merge the adapter into "
                         f"its base model (merge_and_unload, then save_pretrained) and give that folder")


def check_tokenizer(folder: Path) -> Path:
    """The file that holds the tokenizer's words. Raises FileNotFoundError, or ValueError where it is no UTF-8 or no JSON."""
    for name in VOCABULARIES:
        path = folder / name
        if path.is_file():
            if path.suffix == ".json":
                read_json(folder, name)
            elif path.suffix == ".txt":
                read_words(path)
            return path
    held = ", ".join(sorted(p.name for p in folder.iterdir()))
    raise FileNotFoundError(f"{folder}: no tokenizer (wanted one of {', '.join(VOCABULARIES)}; found {held})")


def read_words(path: Path) -> list[str]:
    """The words of a vocab.txt, whose line numbers are their ids.

    Raises ValueError for one that is empty, not UTF-8, has a line without a word, or one word on two lines.
    """
    try:
        words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error}") from error
    if not any(words):
        raise ValueError(f"{path}: empty, wanted one word a line")
    first: dict[str, int] = {}
    for number, word in enumerate(words, 1):
        if not word.strip():
            raise ValueError(f"{path}: line {number} is empty, wanted one word a line: every word after it has another id")
        if first.setdefault(word, number) != number:
            raise ValueError(f"{path}: line {number} is {word!r}, as line {first[word]} is: a word has one number")
    return words


def check_weights(folder: Path) -> Path:
    """The folder's weights file or index, after checking that every file of it is whole.

    Raises FileNotFoundError, or ValueError for a file cut short, a shard that lacks what the index promises, or a pickle
    that holds more than tensors.
    """
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    weights = path or wanted(folder, WEIGHTS[0])
    for file in shards(weights):
        if file.suffix == ".safetensors":
            read_header(file)
        else:
            read_pickle(file)
    return weights


def shards(weights: Path) -> list[Path]:
    """The files of a weights file or index, in name order. Raises ValueError or FileNotFoundError."""
    if weights.suffix != ".json":
        return [weights]
    promised = read_json(weights.parent, weights.name).get("weight_map")
    if not isinstance(promised, dict) or not promised:
        raise ValueError(f"{weights}: no weight_map")
    files = []
    for name in sorted(set(promised.values())):
        if Path(name).name != name:
            raise ValueError(f"{weights}: shard {name!r} is not a file name of this folder")
        file = wanted(weights.parent, name)
        keys = {key for key, shard in promised.items() if shard == name}
        if name.endswith(".safetensors") and (absent := sorted(keys - set(read_header(file)))):
            raise ValueError(f"{file}: lacks {absent[:5]}, which {weights.name} promises")
        files.append(file)
    return files


def read_header(path: Path) -> dict:
    """A safetensors file's header. Raises ValueError, also for a file that is shorter or longer than its header says."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        head = handle.read(8)
        length = int.from_bytes(head, "little") if len(head) == 8 else 0
        text = handle.read(length) if 0 < length <= size else b""
    try:
        header = json.loads(text)
        end = 8 + length + max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        begins = head + text[:32] if length > size else head
        pointer = "; a Git LFS pointer: the file itself was not fetched" if begins.startswith(b"version ") else ""
        raise ValueError(
            f"{path}: not a whole safetensors file ({size} bytes, unreadable header, begins with {begins!r}{pointer})"
        ) from error
    if end != size:
        raise ValueError(f"{path}: cut short or damaged: {size} bytes, its header promises {end}")
    return header


def read_pickle(path: Path) -> dict:
    """A PyTorch file of tensors, by the unpickler that runs no code. Raises ValueError for anything else."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(f"{path}: damaged, or holds more than tensors, which could run code: {error}") from error
    if isinstance(content, dict):
        return content
    raise ValueError(f"{path}: not a state dict but {type(content).__name__}")


def shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a weights file or index, by name."""
    shape_of = {}
    for file in shards(weights):
        if file.suffix == ".safetensors":
            shape_of |= {k: tuple(v["shape"]) for k, v in read_header(file).items() if k != "__metadata__"}
        else:
            shape_of |= {k: tuple(v.shape) for k, v in read_pickle(file).items()}
    return shape_of


def read_tensors(weights: Path) -> dict:
    """Every tensor of a weights file or index, by name, on the CPU."""
    from safetensors.torch import load_file

    tensors = {}
    for file in shards(weights):
        tensors |= load_file(file) if file.suffix == ".safetensors" else read_pickle(file)
    return tensors


def check_code(folder: Path, trust: dict[str, str]) -> dict[str, str]:
    """The SHA-256 of each of the folder's .py files, all of them as trusted.

    trust: file name -> SHA-256. Raises ValueError naming a file that `trust` lacks, or that is not what it says.
    """
    digests = {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*.py"))}
    for name, digest in digests.items():
        if name not in trust:
            raise ValueError(f"{folder / name}: code that trust does not name (read it; its SHA-256 is {digest})")
        if trust[name] != digest:
            raise ValueError(f"{folder / name}: SHA-256 is {digest}, trusted was {trust[name]}")
    if absent := sorted(set(trust) - set(digests)):
        raise ValueError(f"{folder}: no {absent[0]}, which trust names (found {', '.join(digests) or 'no code'})")
    for name, entry in auto_map(folder).items():
        for reference in [entry] if isinstance(entry, str) else [e for e in entry if e]:
            if "--" in reference:
                raise ValueError(f"{folder}: {name} takes code from another repository: {reference}")
    return digests


def auto_map(folder: Path) -> dict:
    """The classes of their own that a folder's config and tokenizer ask for: {} where there are none."""
    names = ("config.json", "tokenizer_config.json")
    maps = [read_json(folder, name).get("auto_map") or {} for name in names if (folder / name).is_file()]
    return {
        key: value for m in maps for key, value in (m if isinstance(m, dict) else {"AutoTokenizer": m}).items()
    }
