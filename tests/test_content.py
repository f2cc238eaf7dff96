"""The comparison of two runs sees a changed cell, value, tensor and file, and nothing else."""

import h5py
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from tests.content import content, differences, read_moves


def write(root):
    folder = root / "outputs/toy/01_first"
    folder.mkdir(parents=True)
    pd.DataFrame({"a": [1, 2], "b": ["x", ""]}).to_csv(folder / "table.csv", index=False)
    with h5py.File(folder / "arrays.h5", "w") as f:
        f.create_dataset("deep/x", data=np.arange(3.0))
        f["names"] = ["one", "two"]
    save_file({"w": np.ones(2, np.float32)}, folder / "weights.safetensors")
    (folder / "chosen.json").write_text('{"run": "a", "layers": {"x": 1}}')
    (folder / "manifest.json").write_text('{"wall_seconds": 3}')
    return folder


@pytest.fixture
def two(tmp_path):
    for name in ("before", "after"):
        write(tmp_path / name)
    return tmp_path


def changed(two):
    return differences(content(two / "before", "toy"), content(two / "after", "toy"))


def test_two_runs_alike_are_equal_whatever_their_manifests_say(two):
    (two / "after/outputs/toy/01_first/manifest.json").write_text('{"wall_seconds": 5}')
    (two / "after/outputs/toy/.done").mkdir()
    assert changed(two) == []


def test_each_kind_of_change_is_named(two):
    folder = two / "after/outputs/toy/01_first"
    pd.DataFrame({"a": [1, 3], "b": ["x", ""], "c": [0, 0]}).to_csv(folder / "table.csv", index=False)
    with h5py.File(folder / "arrays.h5", "a") as f:
        f["deep/x"][1] = 7
        f.attrs["site"] = "embed"
    save_file({"w": np.zeros(2, np.float32)}, folder / "weights.safetensors")
    (folder / "chosen.json").write_text('{"run": "a", "layers": {"x": 2}}')
    (folder / "note.txt").write_text("new")
    at = "outputs/toy/01_first/"
    assert sorted(changed(two)) == sorted([
        f"changed: {at}table.csv: column a", f"new: {at}table.csv: column c", f"changed: {at}arrays.h5: dataset deep/x",
        f"new: {at}arrays.h5: attribute .site", f"changed: {at}weights.safetensors: tensor w",
        f"changed: {at}chosen.json: value layers.x", f"new: {at}note.txt"])


def test_a_file_that_moved_is_found_through_the_map(two):
    outputs = two / "after/outputs/toy"
    (outputs / "01_first").rename(outputs / "02_second")
    assert len(changed(two)) == 8
    (two / "moves.txt").write_text("# stages\noutputs/toy/01_first/ -> outputs/toy/02_second/\n")
    before, after = content(two / "before", "toy"), content(two / "after", "toy")
    assert differences(before, after, read_moves(two / "moves.txt")) == []


def test_claims_are_one_pool_whatever_stage_records_them(two):
    rows = [{"claim": "a falls", "value": 0.5, "verdict": "holds"}, {"claim": "b falls", "value": 0.1, "verdict": "does not hold"},
            {"claim": "a falls", "value": 0.4, "verdict": "stopped"}]
    for name, stages in (("before", [rows, []]), ("after", [rows[:1], rows[1:]])):
        said = []
        for stage, some in zip(("01_first", "02_second"), stages):
            folder = two / name / "outputs/toy" / stage
            folder.mkdir(exist_ok=True)
            pd.DataFrame(some, columns=list(rows[0])).to_csv(folder / "claims.csv", index=False)
            said.append(pd.DataFrame(some).assign(stage=stage))
        (two / name / "figures/toy").mkdir(parents=True)
        pd.concat(said).to_csv(two / name / "figures/toy/claims.csv", index=False)
    assert changed(two) == []
    table = pd.DataFrame(rows[1:]).assign(value=[0.2, 0.4])
    table.to_csv(two / "after/outputs/toy/02_second/claims.csv", index=False)
    assert changed(two) == ["changed: outputs/toy/*/claims.csv: claim b falls"]
    table[:1].assign(value=0.1).to_csv(two / "after/outputs/toy/02_second/claims.csv", index=False)
    assert changed(two) == ["gone: outputs/toy/*/claims.csv: claim a falls (2)"]
