"""The house serves another kind: dice, a door, a module and params outside `lib`, through the shared notebooks as they are."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import numpy as np
import pandas as pd
import pytest

from lib.causal import attribution, explain
from lib.corpus.corpus import read_records
from lib.dna import kind as dna
from lib.models import adapter
from tests.dice import kind
from tests.projects import HEADER

ROOT = Path(__file__).resolve().parent.parent
TOY = ROOT / "tests/dice"
STAGES = sorted(file.stem for file in (TOY / "params").glob("*.yaml"))
DOOR, LATER = STAGES[0], STAGES[1:]
#: What only a study of genomes says. `controls` is such a word beside cases only: the null of an experiment is a control too.
GENOME = re.compile(r"(?i)(?<![a-z])(dna|genom\w*|chromosomes?|contigs?|locus|loci|windows?|haplotypes?|nucleotides?|bases?|bp|motifs?|"
                    r"jaspar|k-?mers?|gc|cpg|exons?|promoters?|dosages?|variants?|alleles?|reverse[ _]complement|people|persons?|"
                    r"phenotypes?|cases?|n_controls)(?![a-z])")  # fmt: skip
HEADERS = {"contig", "locus", "window"}  # docs/house.md says why these columns keep their names
KNOWN = {  # what shared notebooks and tables still say, each until it is renamed; a new one fails
    ("null_phenotypes.csv", "null_phenotypes.csv"),  # 05: a table, the name of which studies and the gate know
    ("scores.csv", "few runs/phenotype"), ("scores.csv", "score/phenotype"),  # 02: what 05 reads its targets from
    ("top_windows.csv", "top_windows.csv"),  # 04
    ("attribution_windows.csv", "attribution_windows.csv"),  # 06
    ("roc.csv", "n_cases"), ("roc.csv", "n_controls"),  # 02: columns that the gate counts people by
    ("tokens.csv", "n_bases"), ("tokens.csv", "n_bases_covered"), ("units.csv", "n_bases_covered"),  # 01: letters
    ("explanations.csv", "seqlet_bases"), ("explanations.csv", "seqlet_windows"),  # 06
    ("replication_models.csv", "n_bases"),  # 07
}  # fmt: skip


def plant(tree: Path) -> Path:
    """The shared house, without a notebook of DNA, and dice beside it."""
    for name in ("lib", "notebooks"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "0?_dna.*"))
    for name in ("Snakefile", "requirements.txt"):
        shutil.copy(ROOT / name, tree / name)
    door = tree / f"notebooks/{DOOR}.py"
    door.write_text(HEADER + (TOY / door.name).read_text())
    jupytext.write(jupytext.read(door), door.with_suffix(".ipynb"))
    (tree / "dice").mkdir()
    shutil.copy(TOY / "kind.py", tree / "dice")
    shutil.copytree(TOY / "params", tree / "params/dice")
    return tree


def call(tree: Path, *words: str) -> str:
    """What a command prints, started in the tree, with nothing but the tree on the path."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAE_DNA")}
    environment |= {"PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([sys.executable, "-m", *words], cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = plant(tmp_path_factory.mktemp("toy"))
    for stage in STAGES:
        call(tree, "lib.run", "dice", stage)
    return tree


def table(tree: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(tree / "outputs/dice" / name, keep_default_na=False, na_values=[""])


def test_a_kind_is_a_door_a_module_and_params_in_fewer_than_150_lines():
    files = [file for file in TOY.rglob("*") if file.suffix in (".py", ".yaml")]
    assert {file.name for file in files} == {f"{DOOR}.py", "kind.py", *(f"{stage}.yaml" for stage in STAGES)}
    assert [int(stage[:2]) for stage in STAGES] == [*range(8), 9]  # 08 is the back door of another kind
    assert sum(sum(map(bool, map(str.strip, file.read_text().splitlines()))) for file in files) < 150


def test_no_shared_file_knows_dice():
    shared = [*(ROOT / "lib").rglob("*.py"), *(ROOT / "notebooks").glob("*.py"), ROOT / "Snakefile"]
    assert [str(file) for file in shared if re.search(r"\bdice\b", file.read_text())] == []


def asked_by() -> dict[str, set[str]]:
    """Number of a shared notebook -> names of the kind's module that it asks, whether it says `kind` or `corpus.module`."""
    shared = [file for file in (ROOT / "notebooks").glob("*.py") if not file.name.startswith(("00", "08"))]
    return {file.name[:2]: set(re.findall(r"(?<![.\w])(?:kind|corpus\.module)\.(\w+)", file.read_text())) for file in shared}


def asked() -> set[str]:
    return {name for names in asked_by().values() for name in names}


def listed() -> dict[str, str]:
    """Name -> who asks it, as the docs say, of the table of what a kind answers."""
    text = (ROOT / "docs/house.md").read_text().split("## What a kind answers")[1]
    rows = [row.split("|") for row in text.split("\n") if row.startswith("| `")]
    return {name: row[2].strip() for row in rows for name in re.findall(r"`(\w+)(?:\([^`]*\))?`", row[1])}


def test_every_question_of_a_shared_notebook_is_in_the_docs_and_answered_by_every_kind():
    known = set(listed())
    assert asked() <= known and len(asked()) > 10
    for answers in (kind, dna):
        spared = {"cards", "names"} | ({"symmetry"} if not answers.SYMMETRY else set())
        assert {name for name in known if not hasattr(answers, name)} <= spared


def test_every_answer_in_the_docs_is_asked_by_the_notebooks_that_they_name():
    asking = {name: {number for number, names in asked_by().items() if name in names} for name in listed()}
    assert asking == {name: set(re.findall(r"\d\d", by)) for name, by in listed().items()}
    assert [name for name, numbers in asking.items() if not numbers and "the gate" not in listed()[name]] == []
    gate = "".join(path.read_text() for path in (ROOT / "lib/publish").glob("*.py"))
    assert [name for name, by in listed().items() if "the gate" in by and not re.search(rf"\b{name}\b", gate)] == []


def test_every_stage_leaves_a_manifest_and_its_tables(tree):
    for stage in STAGES:
        assert json.loads((tree / f"outputs/dice/{stage}/manifest.json").read_text())["stage"] == stage
    for name in ("01_extraction/qc", "02_layer_hunting/layers", "03_sae_training/sweep", "04_annotation/features", "04_annotation/ladder",
                 "05_validation/necessity", "06_explanations/explanations", "07_replication/replication_seeds"):  # fmt: skip
        assert len(table(tree, f"{name}.csv")), name


def test_the_model_knows_the_planted_runs_and_the_layers_tell_who_has_few(tree):
    claims = table(tree, "01_extraction/claims.csv").set_index("claim")
    assert claims.verdict["model knowledge: shuffled minus real (nats per token) above 0.00"] == "holds"
    layers = table(tree, "02_layer_hunting/layers.csv")
    for arm, least in (("few runs", 0.6), ("score", 0.1)):  # AUROC, and R2 of a number
        scores = layers[layers.arm == arm].set_index("predictor")
        assert scores.low["layer chosen inside folds"] > least
        assert scores.value["random twin"] + 0.05 < scores.value["layer chosen inside folds"] < scores.value["true count"]
    assert layers.groupby("arm").metric.unique().map(list).to_dict() == {"few runs": ["auroc"], "score": ["r2"]}
    assert (scores.spearman_low["layer chosen inside folds"], scores.value["label shuffle"]) > (0.3, -1)


def test_a_number_is_read_by_its_own_metric_through_every_notebook(tree):
    drawn = table(tree, "02_layer_hunting/number_curve.csv")
    assert set(drawn.arm) == {"score"} and drawn["mean"].corr(drawn.prediction) > 0.5
    assert set(table(tree, "02_layer_hunting/calibration_curve.csv").arm) == {"few runs"}
    falls, totals = table(tree, "05_validation/necessity.csv"), table(tree, "05_validation/totals.csv").set_index("arm")
    assert falls[falls.arm == "score"].r2_full.notna().all() and falls[falls.arm == "score"].auroc_full.isna().all()
    assert totals.r2_full["score"] > totals.r2_all_ablated["score"] and np.isnan(totals.auroc_full["score"])
    claims = pd.concat([table(tree, f"{stage}/claims.csv") for stage in LATER])
    of_number = claims[claims.claim.str.startswith("[score]")]
    assert len(of_number) > 8 and not of_number.note.str.contains("AUROC").any() and of_number.note.str.contains("R²").any()
    assert not claims[claims.claim.str.startswith("[few runs]")].note.str.contains("R²").any()


def test_a_latent_is_claimed_for_the_run_above_the_nulls_that_break_it(tree):
    best = table(tree, "04_annotation/best_latents.csv").set_index("method")
    assert best.claimed["SAE"] and best.f1["SAE"] > 0.9
    for null in ("random twin", "rate-matched", "label shuffle", "shuffled sequence", "last two faces"):
        assert best.f1[null] < best.f1["SAE"] - 0.03, null
    features = table(tree, "04_annotation/features.csv")
    assert (features[features.plausible].concept == "run 31415").any() and list(features)[-3:] == ["neighbours", "plausible", "faithful"]


def test_the_block_that_reads_the_run_falls_until_a_refit_reads_the_error_and_the_figures_are_drawn(tree):
    verdicts = table(tree, "05_validation/necessity.csv").query("kind == 'closure' and arm == 'few runs'").set_index("name")
    assert verdicts.delta["run"] > 0.1 and not verdicts.needed["run"]
    # how many latents read the run hangs on the CPU's rounding, and so does whether a refit is asked; where it is, it finds most again
    assert not verdicts.refit["run"] > verdicts.delta["run"] / 2
    assert table(tree, "05_validation/totals.csv").refit[0] < 0.1  # without any latent, the error tells
    explained = table(tree, "06_explanations/explanations.csv").set_index("method")
    assert explained.auroc["ISM"] > 0.55 and explained.deletion["ISM"] == explained.deletion.max() > 0
    again = table(tree, "07_replication/claims.csv").set_index("claim").verdict
    assert again.filter(like="necessary closures cost").tolist() == ["could not be tested"]
    drawn = {file.name for file in (tree / "figures/dice").glob("fig*.png")}
    assert len(drawn) == 9 and not any("feature_cards" in name for name in drawn)  # dice draw no cards


def test_explanations_put_in_its_letters_and_its_shuffles(tree):
    door = tree / "outputs/dice" / DOOR
    model, texts = adapter.load(door / "model"), read_records(door / "records.parquet").texts[:3]
    scorers = [attribution.WindowScore(model, "resid_post.1", np.random.default_rng(0).standard_normal(32))] * 3
    others = [texts[0][:31] + face + texts[0][32:] for face in set(kind.ALPHABET) - {texts[0][31]}]
    ism = attribution.mutagenesis(scorers, texts, 8, kind.ALPHABET)
    assert ism.values[0, 31] == pytest.approx(scorers[0].score(texts[:1])[0] - scorers[0].score(others).mean(), abs=1e-5)
    attributions = [ism, attribution.integrated_gradients(scorers, texts, 4, 8), attribution.attention_rollout(scorers, texts)]
    windows, runs = pd.read_csv(door / "units.csv").head(3), pd.read_parquet(door / "concepts.parquet")
    assert len(explain.compare(attributions, attributions, scorers, texts, windows, runs, 50, 50, shuffled=kind.shuffled)) == 3


def test_claims_speak_of_games_and_players(tree):
    claims = pd.concat([table(tree, f"{stage}/claims.csv") for stage in LATER])
    assert {"games", "players", "run families"} <= set(claims.of)
    assert claims.claim.str.contains("test tables").any() and "throw" in table(tree, "04_annotation/cards.csv")


def headings(notebook: str) -> list[str]:
    cells = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "markdown"]
    return [line for cell in cells for line in "".join(cell["source"]).split("\n") if line.startswith("#")]


def columns(file: Path) -> list[str]:
    """The header of a table, but for the columns that keep their names."""
    names = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, nrows=0)
    return [str(name) for name in names if name not in HEADERS]


def texts_of(file: Path) -> list[str]:
    """What a study's file says: its name, its columns or headings, and the whole of claims, of text and of params."""
    if file.suffix in (".csv", ".parquet"):
        return [file.name, *columns(file), *([file.read_text()] if file.name == "claims.csv" else [])]
    if file.suffix == ".ipynb":
        return [file.name, *headings(file.read_text())]
    return [file.name, *([file.read_text()] if file.suffix in (".md", ".yaml") else [])]


def genome_words(folder: Path) -> set[tuple[str, str]]:
    """File and what it says, of all that says a word of genomes; of a long text the word alone."""
    texts = [(file.name, text) for file in folder.rglob("*") if file.is_file() for text in texts_of(file)]
    return {(name, text if len(text) < 50 else match[0]) for name, text in texts if (match := GENOME.search(text))}


def test_no_heading_claim_or_column_of_a_shared_notebook_speaks_of_genomes(tree):
    assert genome_words(tree / "outputs/dice") == KNOWN


@pytest.mark.parametrize("word", [
    "phenotype", "phenotypes", "few runs/phenotype", "null_phenotypes", "loci", "locus_of", "contigs", "ref_contig", "a case", "n_cases",
    "cases and controls", "n_controls", "a person", "persons", "people", "windows", "n_windows", "base", "n_bases", "Chromosome",
    "chromosomes", "gc_share", "genomic", "k-mer",
])  # fmt: skip
def test_a_word_of_genomes_is_seen_wherever_a_file_says_it(tmp_path, word):
    (tmp_path / "a.csv").write_text(f"{word},contig\n")
    (tmp_path / "b.md").write_text(f"What {word} is\n")
    (tmp_path / "c.ipynb").write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": [f"# Of {word}\n", "prose"]}]}))
    (tmp_path / "claims.csv").write_text(f"claim\nsome {word}\n")
    pd.DataFrame({word: [1]}).to_parquet(tmp_path / "d.parquet")
    assert {name for name, _ in genome_words(tmp_path)} == {"a.csv", "b.md", "c.ipynb", "claims.csv", "d.parquet"}


@pytest.mark.parametrize("word", [
    "database", "showcase", "Quality control", "every control of equal norm", "lowercase", "personal", "basename", "windowed",
])  # fmt: skip
def test_a_word_that_only_holds_one_of_genomes_is_not_seen(tmp_path, word):
    (tmp_path / "a.csv").write_text(f"{word},contig,locus,window\n")
    (tmp_path / "b.md").write_text(word)
    assert genome_words(tmp_path) == set()


def test_an_edit_of_the_kind_makes_what_asks_it_stale_and_nothing_else(tree):
    assert call(tree, "lib.run.stale", "dice").count("up to date") == len(STAGES)
    kind = tree / "dice/kind.py"
    before = kind.read_text()
    kind.write_text(before.replace('count("6")', 'count("1")'))
    said = call(tree, "lib.run.stale", "dice")
    kind.write_text(before)
    assert re.search(rf"{DOOR} +up to date", said)
    for stage in LATER:
        assert re.search(rf"{stage} +would run: module dice/kind.py changed", said), said
    assert said.count("module ") == len(LATER)
