"""The whole argument on tiny numbers: every notebook, through Snakemake, in a copy of the tree.

The chain runs once undisturbed. Then two stages are removed, the run is killed inside the second (SIGKILL, the whole
process group) and started again: every table must be equal byte for byte, determinism and crash safety in one.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pysam
import pytest

from lib.dna import annotated_vcf

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("lib", "notebooks", "params", "Snakefile", "requirements.txt")
STAGES = [p.stem for p in sorted((ROOT / "notebooks").glob("*.py"))]


def copy_tree(where: Path) -> Path:
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, where / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        else:
            shutil.copy(source, where / name)
    return where


def start(tree: Path) -> subprocess.Popen:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAE_DNA")}
    environment |= {"PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [str(Path(sys.executable).parent / "snakemake"), "--config", "study=smoke", "--cores", "all", "--nolock",
               "--rerun-incomplete", "--rerun-triggers", "mtime", "--quiet", "all"]  # fmt: skip
    log = (tree / "log.txt").open("a")
    return subprocess.Popen(command, cwd=tree, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(tree: Path) -> None:
    process = start(tree)
    assert process.wait(timeout=900) == 0, (tree / "log.txt").read_text()[-3000:]


def tables(tree: Path) -> dict[str, bytes]:
    """Every table, array and figure that must not differ between runs: all but notebooks, timings and provenance."""
    skip = {"manifest.json", "progress.md", "timings.csv"}  # the last holds wall times
    contents = {}
    for folder in ("outputs/smoke", "figures/smoke"):
        for path in sorted((tree / folder).rglob("*")):
            name = path.relative_to(tree).as_posix()
            hidden = any(part.startswith(".") for part in path.relative_to(tree).parts)
            if path.is_file() and path.suffix != ".ipynb" and path.name not in skip and not hidden:
                contents[name] = path.read_bytes()
    return contents


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = copy_tree(tmp_path_factory.mktemp("undisturbed"))
    finish(tree)
    return tree


def test_every_stage_leaves_a_manifest_and_an_executed_notebook(undisturbed: Path) -> None:
    for stage in STAGES:
        assert (undisturbed / "outputs/smoke" / stage / "manifest.json").is_file()
        assert '"execution_count": 1' in (undisturbed / "outputs/smoke" / stage / f"{stage}.ipynb").read_text()
    assert len(list((undisturbed / "figures/smoke").glob("fig*.pdf"))) == 11


def test_no_executed_notebook_shows_where_it_ran(undisturbed: Path) -> None:
    """A cell that ends in a call that returns a path, or a warning, would publish a machine's folders."""
    for path in sorted((undisturbed / "outputs/smoke").glob("*/*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        shown = json.dumps([cell["outputs"] for cell in cells if cell["cell_type"] == "code"])
        assert str(undisturbed) not in shown and "PosixPath" not in shown, path.name


def test_progress_of_long_work_is_in_the_log(undisturbed: Path) -> None:
    log = (undisturbed / "log.txt").read_text()
    for bar in ("extract", "8 SAEs"):  # a widget's log holds its first state, 0 %, and no other
        assert f"{bar}: 100%" in log


def test_nothing_per_person_leaves_the_private_folder(undisturbed: Path) -> None:
    for name, content in tables(undisturbed).items():
        if "/private/" not in name:
            assert b"SIM00001" not in content and b"EXT00001" not in content, f"{name} holds a sample id"


def test_the_publishing_gate_lets_the_study_through_without_a_person(undisturbed: Path, tmp_path: Path) -> None:
    environment = dict(os.environ, PYTHONPATH=str(undisturbed))
    command = [sys.executable, "-m", "lib.publish", "--study", "smoke", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, check=False, cwd=undisturbed, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    left = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert len(left) > 100 and not any("private" in p.parts for p in left)
    figures = {p.name for p in (undisturbed / "figures/smoke").iterdir()}
    assert figures == {p.name for p in (tmp_path / "out/figures").iterdir()}
    assert {p.name for p in (tmp_path / "out").glob("*/*.ipynb")} == {f"{stage}.ipynb" for stage in STAGES}
    assert not any(name in p.read_bytes() for p in left for name in (b"SIM00001", b"EXT00001"))


def variant(tree: Path, out: Path, **given: str) -> subprocess.CompletedProcess:
    """`make variant` on the study, as the Makefile calls it."""
    environment = dict(os.environ, PYTHONPATH=str(tree), STUDY="smoke", OUT=str(out), **given)
    return subprocess.run([sys.executable, "-m", "lib.dna.variant"], check=False, cwd=tree, env=environment, capture_output=True, text=True)


def test_the_report_of_a_variant_has_its_parts_and_no_word_too_many(undisturbed: Path, tmp_path: Path) -> None:
    known = pd.read_csv(undisturbed / "outputs/smoke/08_dna/variants.csv")
    row = known.loc[(known.lost - known.gained).idxmin()]
    done = variant(undisturbed, tmp_path / "out", VARIANT=f"{row.contig}:{row.pos + 1}:{row.ref}:{row.alt}")
    assert done.returncode == 0, done.stderr
    report = done.stdout
    for part in ("What", "Answer", "Latents", "Size", "Rivals", "Calibrated", "Frequency", "Measured", "Otherwise", "Limits", "Privacy"):
        assert re.search(rf"(?mi)^\W*\d*\W*{part}\b", report), part
    assert "no code" in report.lower() and "not looked up" in report and "never PS3" in report  # 40 labels are too few for a code
    assert not re.search(r"(?i)\b(proves?|causes|diagnos(?:es|ed)|pathogenic variant|is pathogenic)\b", report)
    name = f"{row.contig}_{row.pos + 1}_{row.ref}_{row.alt}"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{name}.html", f"{name}.txt"]
    answer = report.split("2 ANSWER")[1].split("3 LATENTS")[0]
    assert f"goes with {row.motif_lost[:4]}" in answer.splitlines()[1]  # of the planted site that it breaks, as in 08


def test_a_vcf_comes_back_annotated_with_what_could_not_be_read_beside_it(undisturbed: Path, tmp_path: Path) -> None:
    known = pd.read_csv(undisturbed / "outputs/smoke/08_dna/variants.csv")
    first, second = (known.iloc[k] for k in (0, len(known) - 1))
    wrong = {"A": "C", "C": "G", "G": "T", "T": "A"}[second.ref]
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tann"]
    for row, ref, alt in ((first, first.ref, f"{first.alt},<DEL>"), (second, second.ref, second.alt), (second, wrong, second.alt)):
        lines.append(f"{row.contig}\t{row.pos + 1}\t.\t{ref}\t{alt}\t.\t.\tAF={','.join('0.1' for _ in alt.split(','))}\tGT\t0/1")
    (tmp_path / "given.vcf").write_text("\n".join(lines) + "\n")
    done = variant(undisturbed, tmp_path / "out", VCF=str(tmp_path / "given.vcf"))
    assert done.returncode == 0, done.stderr
    told = annotated_vcf.read_annotations(tmp_path / "out/given.sae.vcf.gz")
    assert told[["record", "allele"]].to_numpy().tolist() == [[1, 1], [2, 1]] and set(told.acmg) == {"none"}
    left = pd.read_csv(tmp_path / "out/left_out.csv")
    assert left.reason.tolist() == ["symbolic allele", "REF is not the genome's"]
    assert not any(b"ann" in p.read_bytes() for p in (tmp_path / "out").glob("*.txt"))
    header = pysam.VariantFile(tmp_path / "out/given.sae.vcf.gz").header
    assert list(header.samples) == [] and any("research use" in str(record) for record in header.records)


def test_a_variant_that_cannot_be_read_is_refused_and_nothing_written(undisturbed: Path, tmp_path: Path) -> None:
    for given in ({"VARIANT": "sim1:5:A"}, {}, {"VARIANT": "sim99:5:A:C"}, {"VCF": str(tmp_path / "no.vcf")}):
        done = variant(undisturbed, tmp_path / "out", **given)
        assert done.returncode == 2 and done.stderr.startswith("refused, nothing was written: "), given
    assert not (tmp_path / "out").exists()


def test_a_second_run_does_nothing(undisturbed: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.glob("outputs/smoke/*/manifest.json")}
    finish(undisturbed)
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_killed_stage_gives_the_same_bytes_when_run_again(undisturbed: Path) -> None:
    before = tables(undisturbed)
    for stage in ("02_layer_hunting", "03_sae_training"):
        shutil.rmtree(undisturbed / "outputs/smoke" / stage)
    process = start(undisturbed)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (undisturbed / "outputs/smoke/.03_sae_training.partial").exists():
        assert process.poll() is None, (undisturbed / "log.txt").read_text()[-3000:]
        time.sleep(0.2)
    time.sleep(3)  # somewhere inside the training of 03_sae_training
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (undisturbed / "outputs/smoke/03_sae_training/manifest.json").exists()
    finish(undisturbed)
    after = tables(undisturbed)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []
