"""A study in small for the tests of the gate: a table or two of the real stages in each format, and nothing amiss."""

import json
from pathlib import Path

import h5py
import jupytext
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
from scipy import sparse

from lib.corpus import corpus
from lib.stage import manifest
from tests.projects import HEADER

SAMPLES = [f"SIM{i:05}" for i in range(60)]
DOOR, EXTRACTION, HUNT, NOTEBOOK = "00_dna", "01_extraction", "02_layer_hunting", "02_layer_hunting/02_layer_hunting.ipynb"
UNIT = {"unit_id": "c38d", "window": 1, "locus": "b1", "contig": "sim1", "is_reference": True, "n_alt": 0, "length": 24,
        "frame": 0, "n_tokens": 24, "n_special": 2, "n_unknown": 0, "n_bases_covered": 24}  # fmt: skip
FIGURES = "09_paper_figures"
PLOT = """# %% tags=["parameters"]
study = "demo"

# %%
from lib.figures import style
from lib.stage import io

stage = io.open_stage(study, "09_paper_figures")
layers = io.read_table(study, "02_layer_hunting", "layers")
figure, ax = style.axes(1, 1)
ax.plot(layers.value, "o")
style.save(stage, "fig2_layers", figure, "a label", layers);
"""
LAYER = {
    "arm": "simulated",
    "predictor": "dosage",
    "kind": "baseline",
    "value": 0.61,
    "low": 0.55,
    "high": 0.67,
    "n": 60,
}
CORPUS = {"study": "toy", "door": "00_dna", "kind": "", "model": "/home/someone/model", "words": {}, "split": {}, "about": {},
          "targets": []}  # fmt: skip
STAY = {"00_dna/corpus.json", "00_dna/records.parquet"}
SEQUENCES = ["ACGTTGCAACGTTGCAACGTTGCA", "TTTTCCCCAAAAGGGGTTTTCCCC"]
CARD = {"latent": 3, "concept": "HNF4A", "family": "HNF4", "rank": 0, "contig": "sim1"}


def seal(study: Path, **door: object) -> None:
    """Manifests as the stages write them, of all that lies there; figures are those of the last stage. door: parameters of 00."""
    stages = sorted(p for p in study.iterdir() if p.name[0] == "0" and p.is_dir())
    for folder in stages:
        trees = {"outputs": folder, "private": study / "private" / folder.name}
        if folder == stages[-1]:
            trees["figures"] = study.parents[1] / "figures/toy"
        params = door if folder.name[:2] == "00" else {}
        entry = {"stage": folder.name, "fingerprint": "0", "params": params, **manifest.hashed(trees, "manifest.json")}
        entry["files"].pop(f"{folder.name}.ipynb", None)
        (folder / "manifest.json").write_text(json.dumps(entry | {"sha256": manifest.seal(entry)}))


def write(path: Path, rows: list[dict]) -> None:
    pd.DataFrame(rows).to_csv(path, index=False)


def write_map(path: Path, names: list[str]) -> None:
    corpus.write_readout(path, corpus.Readout(sparse.csr_matrix(np.eye(len(names))), names, ["b1"]))


def card_rows(sequence: str) -> list[dict]:
    return [CARD | {"position": 100 + i, "base": b, "activation": 0.5} for i, b in enumerate(sequence)]


def write_notebook(path: Path, printed: str) -> None:
    cell = nbformat.v4.new_code_cell(
        "print(1)", outputs=[nbformat.v4.new_output("stream", name="stdout", text=printed)]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Layers"), cell]), path)


def write_figure(path: Path, text: str, metadata: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = plt.figure(figsize=(1, 1))
    figure.text(0, 0, text)
    with plt.rc_context({"pdf.fonttype": 42}):
        figure.savefig(path, metadata=metadata)
    plt.close(figure)


def make(root: Path) -> Path:
    """A project root with the study, but for figures."""
    folder = root / "outputs/toy"
    for name in (DOOR, EXTRACTION, HUNT, "04_annotation", "private/00_dna", "private/02_layer_hunting"):
        (folder / name).mkdir(parents=True)
    write_map(folder / "private/00_dna/readout.h5", SAMPLES)
    write(folder / "private/02_layer_hunting/scores.csv", [{"sample": s} for s in SAMPLES])
    write(
        folder / EXTRACTION / "units.csv",
        [{"unit": i, "start": 100 * i, "end": 100 * i + 24} | UNIT for i in (0, 1)],
    )
    place = ["unit", "start", "end", "unit_id", "window", "locus", "contig", "is_reference", "n_alt", "length"]
    pd.read_csv(folder / EXTRACTION / "units.csv")[place].to_csv(folder / DOOR / "units.csv", index=False)
    corpus.write_records(folder / DOOR / "records.parquet", corpus.Records(SEQUENCES, [np.arange(24)] * 2))
    (folder / DOOR / "corpus.json").write_text(json.dumps(CORPUS))
    done = "left out; who carries one has the reference there"
    write(folder / DOOR / "input_report.csv", [
        {"file": "cohort.vcf.gz", "what": what, "count": n, "done": done}
        for what, n in (("ALT alleles, symbolic", 3), ("records in the loci", 12))
    ])  # fmt: skip
    with h5py.File(folder / EXTRACTION / "pooled.h5", "w") as f:
        f["resid_post.1"] = np.zeros((2, 4), np.float32)
        f.attrs["sites"] = ["resid_post.1"]
    write(folder / HUNT / "layers.csv", [LAYER, LAYER | {"predictor": "3-mer"}])
    (folder / HUNT / "headline.json").write_text(json.dumps({"nested": 0.61}))
    (folder / HUNT / "layer_hunting_results.yaml").write_text("simulated:\n  best_block: resid_post.1\n")
    write_notebook(folder / NOTEBOOK, "60 people")
    write_own(root, "02_layer_hunting", "# %% [markdown]\n# # Layers\n\n# %%\nprint(1)\n")
    write(folder / "04_annotation/cards.csv", card_rows(SEQUENCES[1]))
    return root




def with_figures(root: Path) -> None:
    """Let a stage 09 have drawn a figure of layers.csv."""
    write_own(root, FIGURES, PLOT)
    write_notebook(root / f"outputs/toy/{FIGURES}/{FIGURES}.ipynb", "60 people")
    for suffix in ("pdf", "png"):
        write_figure(root / f"figures/toy/fig2_layers.{suffix}", "AUROC by block", {"Title": "layers"} if suffix == "pdf" else {})
    write(root / "figures/toy/fig2_layers.csv", [LAYER])


def write_own(root: Path, stage: str, text: str) -> None:
    """The project's own notebook of a stage, as the pair that it is."""
    script = root / "notebooks" / f"{stage}.py"
    script.parent.mkdir(exist_ok=True)
    script.write_text(HEADER + text)
    jupytext.write(jupytext.read(script), script.with_suffix(".ipynb"))
