"""Bring in a dictionary that another library trained, and give ours to another library.

    python -m lib.sae.exchange import --from FOLDER --to FOLDER --site SITE --model FOLDER
    python -m lib.sae.exchange export --from FOLDER --to FOLDER --as dictionary_learning|sparsify|saelens

An import becomes ours, a SAELens v6 folder that names its model and site; `second_sae_path` of 05 takes such
a folder. `make import-sae` and `make export-sae` call this.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from lib.models import adapter
from lib.models.adapter import Adapter
from lib.sae import foreign, format
from lib.sae.model import SAE
from lib.stage import io

OPTIONS = {"import": ("from", "to", "site", "model"), "export": ("from", "to", "as")}
#: The files by which a format is known, and its reader.
READERS = {
    "saelens": (("cfg.json", "sae_weights.safetensors"), format.read_saelens),
    "dictionary_learning": (("config.json", "ae.pt"), foreign.read_dictionary_learning),
    "sparsify": (("cfg.json", "sae.safetensors"), foreign.read_sparsify),
}
#: write(sae, folder, site, model), of each format.
WRITERS = {
    "saelens": format.save,
    "dictionary_learning": foreign.write_dictionary_learning,
    "sparsify": lambda sae, folder, site, model: foreign.write_sparsify(sae, folder),
}


def bring_in(source: Path, target: Path, site: str, model: Adapter) -> tuple[str, SAE]:
    """Read a dictionary of a known format and keep it as ours, of `site` of `model`; its format, and the SAE.

    Raises FileNotFoundError, FileExistsError where `target` is there, and ValueError for what is no SAE, for
    one that says that it is of another site or model, and for a width that is not the site's.
    """
    kind, width = known_as(source), model.site(site).dim
    sae = READERS[kind][1](source)
    check_origin(source, kind, site, model)
    if wrong := [name for name, tensor in sae.named_parameters() if not tensor.isfinite().all()]:
        raise ValueError(f"{source}: {', '.join(wrong)}: not all numbers are finite")
    if sae.config.d_in != width:
        alike = [s.name for s in model.sites() if s.dim == sae.config.d_in]
        raise ValueError(f"{source}: reads {sae.config.d_in} numbers a token, {site} of "
                         f"{model.identity['class']} has {width}; its sites of {sae.config.d_in}: "
                         f"{', '.join(alike) or 'none'}")  # fmt: skip
    _write(target, lambda folder: format.save(sae, folder, site, model.identity))
    return kind, sae


def give_out(source: Path, target: Path, kind: str) -> tuple[str, SAE]:
    """Write one of our dictionaries as another library's `kind`; its site, and the SAE.

    Raises as `bring_in` does, and ValueError for a format that is not known or has no such architecture.
    """
    if kind not in WRITERS:
        raise ValueError(f"format {kind!r}: wanted one of {', '.join(WRITERS)}")
    if (held := known_as(source)) != "saelens":
        raise ValueError(f"{source}: of {held}, wanted one of ours: import it first")
    site, model = format.trained_on(source)
    sae = format.load(source, site, model)
    if sae.config.window:
        raise ValueError(f"{source}: {kind} has no convolutional SAE: unroll it into one of {sae.config.d_row} inputs, the "
                         f"activations of {sae.config.window} tokens side by side (lib/sae/format.py)")  # fmt: skip
    _write(target, lambda folder: WRITERS[kind](sae, folder, site, model))
    return site, sae


def known_as(folder: Path) -> str:
    """The format of a folder, by its files. Raises FileNotFoundError, and ValueError unless it is one."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    held = {file.name for file in folder.iterdir()}
    kinds = [kind for kind, (names, _) in READERS.items() if held.issuperset(names)]
    if len(kinds) != 1:
        wanted = "; ".join(f"{' and '.join(names)} ({kind})" for kind, (names, _) in READERS.items())
        holds = f"files of {' and '.join(kinds)}" if kinds else ", ".join(sorted(held)[:8]) or "nothing"
        raise ValueError(f"{folder}: not one dictionary: holds {holds}; wanted one of {wanted}")
    return kinds[0]


def check_origin(folder: Path, kind: str, site: str, model: Adapter) -> None:
    """Raises ValueError where the folder says that it is of another site of this model, or of other weights.

    Other libraries name sites in words of their own, and no weights: those are not compared.
    """
    known, said = [s.name for s in model.sites()], origin(folder, kind)[0]
    if said in known and said != site:
        raise ValueError(f"{folder}: says that it is of site {said}, asked for {site}")
    if kind == "saelens" and _names_weights(folder):
        format.load(folder, site, model.identity)


def origin(folder: Path, kind: str) -> tuple[str, str]:
    """What a folder says of its site and its model, in its own words; "" for what it does not say."""
    if kind == "saelens":
        config = format.read_json(folder / "cfg.json")
        said = config | format.part(config, "metadata", folder)
        return str(said.get("hook_name") or ""), str(said.get("model_name") or "")
    if kind == "dictionary_learning":
        said = format.part(format.read_json(folder / "config.json"), "trainer", folder)
        return str(said.get("submodule_name") or ""), str(said.get("lm_name") or "")
    return "", ""


def _names_weights(folder: Path) -> bool:
    try:
        format.trained_on(folder)
    except ValueError:
        return False
    return True


def _write(target: Path, write: Callable[[Path], None]) -> None:
    """Write a whole new folder, or none."""
    if target.exists():
        raise FileExistsError(f"{target} is there already; choose another name, or remove it first")
    if target.resolve().is_relative_to((io.ROOT / "outputs").resolve()):
        raise ValueError(f"{target} is inside outputs, which only stages write: give a folder elsewhere")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write(partial)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 written, 2 refused and nothing written."""
    given = _parse(arguments)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            said = _import(given) if given["way"] == "import" else _export(given)
    except (ValueError, OSError) as error:
        print(f"refused, nothing was written: {error}", file=sys.stderr)
        return 2
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    print(said)
    return 0


def _import(given: dict[str, str]) -> str:
    source = Path(given["from"])
    known_as(source)  # before a model is loaded
    model = adapter.load(given["model"])
    kind, sae = bring_in(source, Path(given["to"]), given["site"], model)
    site, name = origin(source, kind)
    return (f"{given['to']}: {_words(sae)}, of {given['site']} of {model.identity['class']} "
            f"{model.identity['weights_sha256'][:16]}\n"
            f"read as {kind}; its own words: site {site or 'not named'}, model {name or 'not named'}")  # fmt: skip


def _export(given: dict[str, str]) -> str:
    site, sae = give_out(Path(given["from"]), Path(given["to"]), given["as"])
    return f"{given['to']}: {_words(sae)}, of {site}, written as {given['as']}"


def _words(sae: SAE) -> str:
    c = sae.config
    return f"{c.architecture}{f' (trained as {c.trained_as})' if c.trained_as else ''}, {c.d_in} -> {c.d_sae}"


def _parse(arguments: list[str] | None) -> dict[str, str]:
    parser = argparse.ArgumentParser(prog="python -m lib.sae.exchange", description=__doc__.splitlines()[0])
    ways = parser.add_subparsers(dest="way", required=True)
    for way, names in OPTIONS.items():
        one = ways.add_parser(way)
        for name in names:
            one.add_argument(f"--{name}", default="")
    given = vars(parser.parse_args(arguments))
    if absent := [name.upper() for name, value in given.items() if not value]:
        parser.error(f"give {', '.join(absent)}")
    return given


if __name__ == "__main__":
    sys.exit(main())
