"""Extraction: each unit as the model sees it alone, with coordinates that survive insertions and deletions."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lib.acts import extract, plan, pool, store
from lib.acts.work import earlier, forget, work_dir
from lib.dna import windows
from lib.dna.haplotypes import UNIT_COLUMNS, UnitSet
from lib.stage import io
from tests import helpers

REFERENCE = helpers.random_dna(40, 0)
# unit 1: TT inserted after offset 9; unit 2: offsets 20-22 deleted; unit 3: the reference, another window
SEQUENCES = [
    REFERENCE,
    REFERENCE[:10] + "TT" + REFERENCE[10:],
    REFERENCE[:20] + REFERENCE[23:],
    helpers.random_dna(70, 1, (3,)),
]
SITES = ["embed", "resid_post.1", "final"]


def units() -> UnitSet:
    rows = [(u, str(u), int(u == 3), "x", "chr1", 1000 * (1 + (u == 3)), 1040 if u < 3 else 2070, u in (0, 3), 0, len(s))
            for u, s in enumerate(SEQUENCES)]  # fmt: skip
    edits = pd.DataFrame(
        [(1, 0, 1010, "", "TT"), (2, 1, 1020, REFERENCE[20:23], "")],
        columns=["unit", "variant", "pos", "ref", "alt"],
    )
    return UnitSet(pd.DataFrame(rows, columns=UNIT_COLUMNS), SEQUENCES, edits, pd.DataFrame(), 0, 0, 0, Counter())


@pytest.fixture(scope="module", params=["esm_bases", "llama"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    adapter = helpers.tiny(request.param, folder / "model")
    # a budget of 100 makes several batches of unlike width
    table = extract.extract(
        adapter, SEQUENCES, units().ref_pos, SITES, folder / "a.h5", folder / "p.h5", 100, {"model": "toy"}
    )
    return adapter, table, store.open_store(folder / "a.h5"), folder


def test_rows_are_each_units_own_activations(run):
    adapter, table, out, _ = run
    assert (np.diff(out.tokens["unit"]) >= 0).all()
    assert out.attributes["model"] == "toy" and set(out.attributes) == {"model", "computed_by"}
    assert out.reads["unit"].tolist() == [0, 1, 2, 3] and out.reads["n_tokens"].tolist() == table["n_tokens"].tolist()
    for unit, text in enumerate(SEQUENCES):
        batch = adapter.encode([text])
        rows = out.tokens["unit"] == unit
        assert out.tokens["token_id"][rows].tolist() == batch.token_id.tolist()
        assert out.tokens["index"][rows].tolist() == list(range(batch.n_kept))
        for name, x in adapter.run(batch, SITES).items():
            np.testing.assert_allclose(out.acts[name][rows], x.numpy(), rtol=2e-3, atol=1e-3)


def test_pooled_is_the_mean_over_tokens(run):
    _, _, out, folder = run
    pooled, names = pool.read_pooled(folder / "p.h5")
    assert names == SITES and pooled.dtype == np.float32
    for s, name in enumerate(SITES):
        for unit in range(len(SEQUENCES)):
            want = out.acts[name][out.tokens["unit"] == unit].astype(float).mean(0)
            np.testing.assert_allclose(pooled[unit, s], want, atol=1e-3)


def test_reference_coordinates_across_an_insertion_and_a_deletion(run):
    adapter, _, out, _ = run
    t = {name: np.asarray(x) for name, x in out.tokens.items()}
    for unit, text in enumerate(SEQUENCES[:3]):
        # by hand, per base of the unit: its own place; TT stands on its anchor, 1009; after a deletion, 3 further on
        if unit == 1:
            base = [*range(1000, 1010), 1009, 1009, *range(1010, 1040)]
        else:
            base = [p for p in range(1000, 1040) if unit == 0 or not 1020 <= p < 1023]
        for i in np.flatnonzero(t["unit"] == unit):
            assert t["ref_start"][i] == base[t["start"][i]] and t["ref_end"][i] == base[t["end"][i] - 1] + 1
            assert (
                adapter.tokenizer.words([t["token_id"][i]])[0]
                == text[t["start"][i] : t["end"][i]]
            )


def test_quality_table_by_hand(run):
    adapter, table, _, _ = run
    lengths = [len(s) for s in SEQUENCES]
    if adapter.tokenizer.hub.is_fast:  # byte pairs: N is unknown and dropped
        assert table["n_unknown"].tolist() == [0, 0, 0, 1] and table["n_bases_covered"].tolist() == [
            *lengths[:3],
            69,
        ]
    else:
        assert table["n_tokens"].tolist() == lengths == table["n_bases_covered"].tolist()
        assert table["n_unknown"].tolist() == [0] * 4
    assert table["n_special"].tolist() == [2] * 4
    total = table["n_tokens"] + table["n_special"] + table["n_unknown"]
    assert total.tolist() == [len(adapter.encode_one(s).ids) for s in SEQUENCES]


def test_equal_runs_give_equal_bytes(run, tmp_path):
    adapter, table, _, folder = run
    again = extract.extract(
        adapter, SEQUENCES, units().ref_pos, SITES, tmp_path / "a.h5", tmp_path / "p.h5", 100, {"model": "toy"}
    )
    assert again.equals(table) and again["computed"].all()
    for name in ("a.h5", "p.h5"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "p.h5"], "something was left behind"


def test_a_unit_of_n_only_is_refused(run, tmp_path):
    adapter = run[0]
    if not adapter.tokenizer.hub.is_fast:  # N is a word of the single-base vocabulary: such a unit has tokens here
        assert adapter.encode_one("NNN").keep.sum() == 3
        return
    with pytest.raises(ValueError, match="unit 1 has no known token"):
        extract.extract(
            adapter, ["ACGT", "NNN"], lambda u: np.arange(4), SITES, tmp_path / "a.h5", tmp_path / "p.h5"
        )
    assert not (tmp_path / "a.h5").exists()


def test_a_unit_that_cannot_be_read_is_named(run, tmp_path):
    adapter = run[0]
    for wrong, message in (("ACG" * 270, "unit 1: a sequence of 810 bases became .* tokens"), ("ACGRT", "unit 1: letter 'R'")):
        with pytest.raises(ValueError, match=message):
            extract.extract(adapter, ["ACGT", wrong], None, SITES, tmp_path / "a.h5")
    for arguments in ({"frames": [0, 0]}, {"frames": []}, {"own": np.zeros((3, 2))}, {"own": np.zeros((1, 2))}):
        with pytest.raises(ValueError, match="frames|own has shape"):
            extract.extract(adapter, ["ACGT"], None, SITES, tmp_path / "a.h5", **arguments)
    assert not list(tmp_path.iterdir())


def test_pooled_file_cut_short_is_refused_by_name(run, tmp_path):
    data = (run[3] / "p.h5").read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        (tmp_path / "pooled.h5").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match="pooled.h5: not a whole file"):
            pool.read_pooled(tmp_path / "pooled.h5")


# What does not change a byte -------------------------------------------------------------------------------

#: Shapes that fill vector registers: companions change no bit. The others' heads have 8 dimensions.
WIDE = {
    "esm_bases": {"hidden_size": 64, "intermediate_size": 128},
    "esm_6mers": {"hidden_size": 64, "intermediate_size": 128},
    "llama": {"hidden_size": 64, "intermediate_size": 128},
    "gpt2": {"n_embd": 64},
}
#: 60 units of 18 lengths; haplotypes of a window differ in single bases, and some have the same length
MANY = [helpers.random_dna(40 + 3 * (s % 18), s) for s in range(60)]
BUDGET = 300


class Counted:
    """Counts forwards and the rows kept of them."""

    def __init__(self, adapter, monkeypatch):
        self.forwards, self.units, real = 0, [], adapter.run

        def run(batch, sites):
            self.forwards += 1
            self.units += np.unique(batch.unit).tolist()
            return real(batch, sites)

        monkeypatch.setattr(adapter, "run", run)


@pytest.fixture(scope="module", params=list(WIDE))
def dense(request, tmp_path_factory):
    return helpers.tiny(request.param, tmp_path_factory.mktemp(request.param), seed=1, **WIDE[request.param])


def made(adapter, folder, records=MANY, name="a.h5", budget=BUDGET, **settings):
    """An extraction of the records into folder/name; its table."""
    folder.mkdir(exist_ok=True)
    return extract.extract(adapter, records, None, SITES, folder / name, folder / f"pooled-{name}", budget, **settings)


def same_bytes(a, b):
    return a.read_bytes() == b.read_bytes()


def test_a_units_rows_do_not_depend_on_its_companions(dense, tmp_path):
    made(dense, tmp_path)
    order = np.random.default_rng(0).permutation(60)[:41]
    made(dense, tmp_path, [MANY[u] for u in order], "b.h5")
    whole, part = store.open_store(tmp_path / "a.h5"), store.open_store(tmp_path / "b.h5")
    for k, u in enumerate(order):
        for site in SITES:
            np.testing.assert_array_equal(part.acts[site][part.tokens["unit"] == k], whole.acts[site][whole.tokens["unit"] == u])


def test_only_units_not_seen_before_are_run_and_the_store_is_the_same_to_the_byte(dense, tmp_path, monkeypatch):
    known = [MANY[u] for u in np.random.default_rng(1).permutation(60)[:48]]
    made(dense, tmp_path, known, "known.h5")
    made(dense, tmp_path, MANY, "nothing.h5")
    counted = Counted(dense, monkeypatch)
    table = made(dense, tmp_path, MANY, "grown.h5", known=tmp_path / "known.h5")
    new = [u for u, text in enumerate(MANY) if text not in known]
    assert len(new) == 12 and sorted(counted.units) == new == np.flatnonzero(table["computed"]).tolist()
    assert same_bytes(tmp_path / "grown.h5", tmp_path / "nothing.h5")
    assert same_bytes(tmp_path / "pooled-grown.h5", tmp_path / "pooled-nothing.h5")
    counted.forwards = 0
    table = made(dense, tmp_path, MANY, "again.h5", known=tmp_path / "grown.h5")
    assert counted.forwards == 0 and not table["computed"].any()
    assert same_bytes(tmp_path / "again.h5", tmp_path / "nothing.h5")


def test_rows_of_an_earlier_store_that_was_made_otherwise_are_not_taken(tmp_path):
    adapter, other = helpers.tiny("llama", tmp_path / "m0", seed=0), helpers.tiny("llama", tmp_path / "m1", seed=1)
    made(adapter, tmp_path, MANY[:6], "known.h5")
    for reader, settings in ((other, {}), (adapter, {"token_budget": 100}), (adapter, {"sites": [*SITES, "mlp_hidden.0"]})):
        arguments = {"token_budget": BUDGET, "sites": SITES} | settings
        table = extract.extract(reader, MANY[:6], None, acts_path=tmp_path / "b.h5", known=tmp_path / "known.h5", **arguments)
        assert table["computed"].all(), settings
    store.subset(tmp_path / "known.h5", tmp_path / "subset.h5", np.arange(6))  # knows not what was read
    assert made(adapter, tmp_path, MANY[:6], known=tmp_path / "subset.h5")["computed"].all()
    fewer = extract.extract(adapter, MANY[:6], None, SITES[:2], tmp_path / "b.h5", None, BUDGET, known=tmp_path / "known.h5")
    assert not fewer["computed"].any(), "a store of more sites serves one of fewer"
    made(adapter, tmp_path, [MANY[0]], "one.h5", known=tmp_path / "gone.h5")


@pytest.mark.parametrize("kind", ["mixtral", "esm_6mers", "gpt2"])
def test_companions_change_the_last_bit_of_experts_and_small_heads_and_nothing_alone(tmp_path, kind):
    adapter = helpers.tiny(kind, tmp_path / "m", seed=1)

    def known_and_not(budget):
        made(adapter, tmp_path, MANY[:40], "known.h5", budget)
        made(adapter, tmp_path, MANY, "nothing.h5", budget)
        table = made(adapter, tmp_path, MANY, "grown.h5", budget, known=tmp_path / "known.h5")
        assert table["computed"].sum() == 20

    known_and_not(BUDGET)
    a, b = (store.open_store(tmp_path / f"{x}.h5") for x in ("nothing", "grown"))
    for site in SITES:
        x, y = a.acts[site].astype(np.float32), b.acts[site].astype(np.float32)
        np.testing.assert_allclose(x, y, rtol=2**-10, atol=2e-6)  # a step of float16, and of float32 where terms cancel
        assert (x != y).mean() < 0.001
    known_and_not(1)
    assert same_bytes(tmp_path / "grown.h5", tmp_path / "nothing.h5")


@pytest.mark.parametrize("cuts", [[0, 20, 60], [0, 1, 59, 60]])
def test_shards_joined_are_the_store_made_at_once(dense, tmp_path, cuts):
    table = made(dense, tmp_path)
    paths, parts = [], []
    for low, high in pairwise(cuts):
        paths.append(tmp_path / f"part-{low}.h5")
        parts.append(made(dense, tmp_path, name=paths[-1].name, units=slice(low, high)))
    store.join(paths, tmp_path / "joined.h5")
    whole, joined = store.open_store(tmp_path / "a.h5"), store.open_store(tmp_path / "joined.h5")
    assert joined.attributes == whole.attributes
    for group in ("tokens", "acts", "reads"):
        held, wanted = getattr(joined, group), getattr(whole, group)
        assert list(held) == list(wanted)
        for name in wanted:
            np.testing.assert_array_equal(held[name][:], wanted[name])
    assert pd.concat(parts, ignore_index=True).equals(table)
    pool.pool_units(tmp_path / "joined.h5", tmp_path / "pooled.h5")
    assert same_bytes(tmp_path / "pooled.h5", tmp_path / "pooled-a.h5")
    made(dense, tmp_path, MANY, "from_joined.h5", known=tmp_path / "joined.h5")
    assert same_bytes(tmp_path / "from_joined.h5", tmp_path / "a.h5")


@pytest.mark.parametrize("fill", [False, True])
def test_the_shape_of_a_batch_is_its_reads_own(dense, tmp_path, monkeypatch, fill):
    made(dense, tmp_path, name="unfilled.h5")
    shapes, real = [], dense.run
    monkeypatch.setattr(dense, "run", lambda b, s: shapes.append(b) or real(b, s))
    monkeypatch.setattr(plan, "_fills_up", lambda adapter: fill)
    made(dense, tmp_path)
    for batch in shapes:
        rows, width = batch.ids.shape
        lengths = np.array([(batch.unit == u).sum() for u in dict.fromkeys(batch.unit.tolist())])
        n_special = width % plan.WIDTH
        assert n_special in (0, 1, 2) and (lengths + n_special <= width).all() and (lengths + n_special > width - 8).all()
        assert len(set(lengths + n_special == width)) == 1, "some need padding and some do not"
        most = max(BUDGET // width, 1)
        assert rows == most if fill else rows == len(lengths) <= most
    assert fill == any(len(set(b.unit.tolist())) < len(b.ids) for b in shapes)
    assert same_bytes(tmp_path / "a.h5", tmp_path / "unfilled.h5"), "copies changed what is kept"


# Interruptions ---------------------------------------------------------------------------------------------

INTERRUPTED = """
import json, os, sys, time
from pathlib import Path
from lib.acts import extract
from lib.models import adapter
from tests.acts.test_extract import MANY, SITES, BUDGET
model, folder = adapter.load(sys.argv[1]), Path(sys.argv[2])
real, n = model.run, 0
def run(batch, sites):
    global n
    n += 1
    print(n, flush=True)
    time.sleep(float(sys.argv[3]))
    return real(batch, sites)
model.run = run
extract.extract(model, MANY, None, SITES, folder / "a.h5", folder / "p.h5", BUDGET, work=folder / "work", sync_every=1)
"""


def recorded(work: Path) -> int:
    """Batches that a run that may be killed has recorded as done."""
    progress = work / "progress.json"
    return json.loads(progress.read_text())["done"] if progress.exists() else 0


@pytest.mark.parametrize("kind, kill_after", [("llama", 3), ("mixtral", 7), ("esm_6mers", 2)])
def test_killed_and_resumed_is_the_same_to_the_byte_and_runs_no_batch_twice(tmp_path, monkeypatch, kind, kill_after):
    folder, work = tmp_path / "out", tmp_path / "out/work"
    helpers.save_model(kind, tmp_path / "m", seed=1)
    adapter = extract_adapter(tmp_path / "m")
    counted = Counted(adapter, monkeypatch)
    made(adapter, tmp_path, name="undisturbed.h5")
    folder.mkdir()
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "m"), str(folder), "0.2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True)
    for line in process.stdout:
        if (ran := int(line)) > kill_after:
            break
    while not recorded(work) >= max(1, kill_after - extract.WAITING):  # what is written lags behind what was run
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (folder / "a.h5").exists()
    done, ran = recorded(work), max([ran, *map(int, process.stdout.read().split())])
    n_batches, counted.forwards = counted.forwards, 0
    assert ran - 1 - extract.WAITING <= done <= ran < n_batches and done > 0
    extract.extract(adapter, MANY, None, SITES, folder / "a.h5", folder / "p.h5", BUDGET, work=work)
    assert counted.forwards == n_batches - done
    assert same_bytes(folder / "a.h5", tmp_path / "undisturbed.h5")
    assert same_bytes(folder / "p.h5", tmp_path / "pooled-undisturbed.h5")
    (folder / "a.h5").unlink()
    extract.extract(adapter, MANY, None, SITES, folder / "a.h5", None, BUDGET, work=work)
    assert counted.forwards == n_batches - done, "a finished store was made again"
    assert same_bytes(folder / "a.h5", tmp_path / "undisturbed.h5")
    extract.extract(adapter, MANY[1:], None, SITES, folder / "a.h5", None, BUDGET, work=work)
    assert counted.forwards > n_batches - done, "work on other units was taken for this"


ROOT = Path(extract.__file__).parents[2]


def extract_adapter(folder):
    from lib.models import adapter

    return adapter.load(folder)


def test_what_a_stage_left_is_found_whole_or_not_at_all(root):
    assert earlier("toy", "01_extraction", "a.h5") is None
    stage = io.open_stage("toy", "01_extraction")
    stage.path("a.h5").write_text("public")
    stage.private_path("a.h5").write_text("private")
    public = work_dir("toy", "01_extraction", "background")
    private = work_dir("toy", "01_extraction", "cohort", private=True)
    assert "private" not in public.parts and root / "outputs/toy/private" in private.parents
    for folder in (public, private):
        folder.mkdir(parents=True)
        (folder / "activations.h5").touch()
    forget("toy", "01_extraction")
    assert public.exists() and not private.exists()
    stage.finish()
    assert not public.exists()
    for private, text in ((False, "public"), (True, "private")):
        path = earlier("toy", "01_extraction", "a.h5", private)
        assert path.read_text() == text
        path.write_text("damaged")
        assert earlier("toy", "01_extraction", "a.h5", private) is None
    assert earlier("toy", "01_extraction", "b.h5") is None


class Full(store.Writer):
    """A disk that is full after so many writes of activations."""

    left = 12

    def write(self, name, row, values):
        if name.startswith("acts/"):
            Full.left -= 1
            if Full.left == 0:
                raise OSError(28, "No space left on device")
        super().write(name, row, values)


def test_a_full_disk_stops_the_model_at_once_and_what_was_done_counts(dense, tmp_path, monkeypatch):
    made(dense, tmp_path, name="undisturbed.h5")
    counted = Counted(dense, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Full, "left", 12)  # the fourth batch or earlier: three sites, and a write for each stretch of units
        patch.setattr(store, "Writer", Full)
        with pytest.raises(OSError, match="No space left"):
            made(dense, tmp_path, work=tmp_path / "work")
    done = json.loads((tmp_path / "work/progress.json").read_text())["done"]
    assert done <= 4 and counted.forwards <= done + 1 + extract.WAITING and not (tmp_path / "a.h5").exists()
    counted.forwards = 0
    made(dense, tmp_path, work=tmp_path / "work")
    assert same_bytes(tmp_path / "a.h5", tmp_path / "undisturbed.h5")


def test_rows_that_were_not_written_are_found(dense, tmp_path, monkeypatch):
    class Forgetful(store.Writer):
        def write(self, name, row, values):
            if name != "acts/final" or row:
                super().write(name, row, values)

    monkeypatch.setattr(store, "Writer", Forgetful)
    with pytest.raises(RuntimeError, match=r"activations.h5: final: \d+ rows are zero, 0 were written so"):
        made(dense, tmp_path)
    assert not list(tmp_path.glob("*a.h5*"))


def test_rows_that_are_zero_in_truth_are_no_fault(tmp_path, monkeypatch):
    adapter = helpers.tiny("llama", tmp_path / "m")
    real = adapter.run

    def run(batch, sites):
        return {name: x * (torch.arange(len(x))[:, None] % 3 > 0) for name, x in real(batch, sites).items()}

    monkeypatch.setattr(adapter, "run", run)
    made(adapter, tmp_path)
    assert store.check(tmp_path / "a.h5")["final"]["n_zero"] > 60


@pytest.mark.parametrize("factor, what", [(1e9, "does not fit float16"), (float("nan"), "largest activation nan")])
def test_activations_that_do_not_fit_name_site_and_units(tmp_path, monkeypatch, factor, what):
    adapter = helpers.tiny("llama", tmp_path / "m")
    real = adapter.run
    monkeypatch.setattr(adapter, "run", lambda b, s: {n: x * (factor if n == "final" else 1) for n, x in real(b, s).items()})
    with pytest.raises(ValueError, match=r"final, units \d+-\d+: .*" + what):
        made(adapter, tmp_path)
    assert not (tmp_path / "a.h5").exists()


# Overlapping windows, frames, further columns --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["esm_bases", "esm_6mers", "llama"])
@pytest.mark.parametrize("window_bp, overlap_bp", [(60, 24), (60, 12), (60, 13), (61, 20)])
def test_every_base_is_covered_once_where_windows_overlap(tmp_path, kind, window_bp, overlap_bp):
    adapter = helpers.tiny(kind, tmp_path / "m")
    locus = helpers.random_dna(400, 9)
    table = windows.tile(pd.DataFrame({"contig": ["c"], "start": [1000], "end": [1400], "locus": ["x"]}), window_bp, overlap_bp)
    texts = [locus[t.start - 1000 : t.end - 1000] for t in table.itertuples()]
    counts = extract.extract(
        adapter, texts, lambda u: np.arange(table.start[u], table.end[u]), ["final"], tmp_path / "a.h5",
        own=table[["own_start", "own_end"]].to_numpy(),
    )  # fmt: skip
    t = {name: np.asarray(x) for name, x in store.open_store(tmp_path / "a.h5").tokens.items()}
    covered = np.concatenate([np.arange(a, b) for a, b in zip(t["ref_start"], t["ref_end"])])
    assert sorted(covered.tolist()) == list(range(1000, 1400)) and counts["n_bases_covered"].sum() == 400
    cut = 0
    for unit, a, b, token in zip(t["unit"], t["start"], t["end"], t["token_id"]):
        word, source = adapter.tokenizer.words([token])[0], texts[unit][a:b]
        assert table.own_start[unit] <= table.start[unit] + a and table.start[unit] + b <= table.own_end[unit]
        at_seam = table.start[unit] + a == table.own_start[unit] or table.start[unit] + b == table.own_end[unit]
        assert source == word or (source in word and at_seam)
        cut += source != word
    aligned = not any(x % 6 for x in (window_bp, overlap_bp, overlap_bp // 2))
    assert (cut == 0) == (kind == "esm_bases" or (kind == "esm_6mers" and aligned)), "k-mers that fit the seams are whole"


def test_every_base_of_a_haplotype_is_covered_once_across_seams(tmp_path):
    """Insertions and deletions shift the words of a window against its neighbour's; inserted bases stay with their anchor."""
    adapter = helpers.tiny("esm_6mers", tmp_path / "m")
    locus, starts = helpers.random_dna(150, 4), [0, 48, 96]
    table = windows.tile(pd.DataFrame({"contig": ["c"], "start": [0], "end": [150], "locus": ["x"]}), 60, 12)
    assert table.start[:3].tolist() == starts
    haplotype = list(locus)  # by reference base: what stands there
    haplotype[20] += "TT"  # before the seam at 54, in the first window only
    haplotype[50] = ""  # in both
    haplotype[53] += "ACGTA"  # on the anchor just before the seam: the first window's
    haplotype[101] = ""
    pos = [np.concatenate([np.full(len(haplotype[p]), p) for p in range(a, b)]).astype(int) for a, b in zip(table.start, table.end)]
    texts = ["".join(haplotype[a:b]) for a, b in zip(table.start, table.end)]
    own = table[["own_start", "own_end"]].to_numpy()
    extract.extract(adapter, texts, pos.__getitem__, ["final"], tmp_path / "a.h5", own=own)
    t = {name: np.asarray(x) for name, x in store.open_store(tmp_path / "a.h5").tokens.items()}
    assert (t["end"] > t["start"]).all()
    stored = "".join(texts[u][a:b] for u, a, b in zip(t["unit"], t["start"], t["end"]))
    assert stored == "".join(haplotype)


def test_frames_are_run_one_after_the_other(tmp_path):
    adapter = helpers.tiny("esm_6mers", tmp_path / "m")
    texts = SEQUENCES[:3]
    table = extract.extract(adapter, texts, units().ref_pos, ["final"], tmp_path / "a.h5", tmp_path / "p.h5", frames=[0, 4, 1])
    out = store.open_store(tmp_path / "a.h5")
    t = {name: np.asarray(x) for name, x in out.tokens.items()}
    assert (np.diff(t["unit"]) >= 0).all() and out.reads["unit"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for unit, text in enumerate(texts):
        in_unit = t["unit"] == unit
        assert list(dict.fromkeys(t["frame"][in_unit].tolist())) == [0, 4, 1]
        for frame in (0, 4, 1):
            rows = np.flatnonzero(in_unit & (t["frame"] == frame))
            encoded = adapter.encode_one(text, frame=frame)
            assert t["start"][rows].tolist() == encoded.start[encoded.keep].tolist()
            assert t["index"][rows].tolist() == list(range(len(rows)))
            words = adapter.tokenizer.words(t["token_id"][rows].tolist())
            assert "".join(words) == text and len(words[frame]) == 6
            x = adapter.run(adapter.collate([encoded], [0]), ["final"])["final"]
            np.testing.assert_allclose(out.acts["final"][rows], x.numpy(), rtol=2e-3, atol=1e-3)
    assert table["n_bases_covered"].tolist() == [3 * len(x) for x in texts]
    np.testing.assert_allclose(
        pool.read_pooled(tmp_path / "p.h5")[0][1, 0], out.acts["final"][t["unit"] == 1].astype(float).mean(0), rtol=1e-5
    )
    one = extract.extract(adapter, texts, units().ref_pos, ["final"], tmp_path / "b.h5")
    assert "frame" not in store.open_store(tmp_path / "b.h5").tokens and (one["n_tokens"] < table["n_tokens"]).all()


def test_frames_of_tokens_that_are_no_words_of_one_length_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"frames \[0, 1\]: this model's tokens are no k-mers"):
        made(helpers.tiny("llama", tmp_path / "m"), tmp_path, frames=[0, 1])


def test_columns_and_inputs_of_a_record_and_sites_of_unlike_width(tmp_path, monkeypatch):
    adapter = helpers.tiny("llama", tmp_path / "m")
    real, given = adapter.encode_one, []

    def encode_one(record):
        e = real(record)
        columns = {"gene": np.arange(len(e.ids), dtype=np.int32) * 10, "count": np.full(len(e.ids), len(record) / 2, dtype=np.float32)}
        given.append(columns["gene"][e.keep])
        # positions as the model would number them by itself
        return replace(e, columns=columns, inputs={"position_ids": np.arange(len(e.ids), dtype=np.int64)})

    monkeypatch.setattr(adapter, "encode_one", encode_one)
    sites = ["mlp_hidden.1", "final"]
    extract.extract(adapter, SEQUENCES, None, sites, tmp_path / "a.h5", tmp_path / "p.h5", 100)
    monkeypatch.undo()
    extract.extract(adapter, SEQUENCES, None, sites, tmp_path / "plain.h5", None, 100)
    out, plain = store.open_store(tmp_path / "a.h5"), store.open_store(tmp_path / "plain.h5")
    assert {name: x.shape[1] for name, x in out.acts.items()} == {"mlp_hidden.1": 32, "final": 16}
    assert out.tokens["gene"].tolist() == np.concatenate(given).tolist() and out.tokens["gene"].dtype == np.int32
    assert out.tokens["count"].tolist() == [len(SEQUENCES[u]) / 2 for u in out.tokens["unit"]]
    for name in sites:
        np.testing.assert_array_equal(out.acts[name], plain.acts[name])
    assert pool.read_pooled(tmp_path / "p.h5", ["mlp_hidden.1"])[0].shape == (4, 1, 32)
    assert out.tokens["ref_start"].tolist() == out.tokens["start"].tolist(), "no reference: the record's own places"


# The audit -------------------------------------------------------------------------------------------------


def test_the_audit_computes_units_again_alone(dense, tmp_path):
    made(dense, tmp_path)
    table = extract.audit(dense, MANY, None, tmp_path / "a.h5", share=0.2)
    whole = store.open_store(tmp_path / "a.h5")
    assert table["site"].tolist() == SITES and (table["n_rows"] >= 0.2 * whole.n_tokens).all()
    assert (table["n_rows"] < 0.3 * whole.n_tokens).all() and (table["n_units"] < 20).all()
    assert (table["largest_relative_difference"] <= 2**-11 + 1e-5).all() and (table["median_relative_difference"] > 0).all()


def test_the_audit_finds_rows_that_are_wrong_and_coarse_arithmetic(tmp_path):
    adapter = helpers.tiny("llama", tmp_path / "m")
    made(adapter, tmp_path)
    out = store.open_store(tmp_path / "a.h5", "r+")
    out.acts["final"][5] *= np.float16(1.5)
    out.acts["final"].flush()
    table = extract.audit(adapter, MANY, None, tmp_path / "a.h5", share=1.0).set_index("site")
    np.testing.assert_allclose(table["largest_relative_difference"]["final"], 0.5, rtol=1e-2)
    assert table["largest_relative_difference"]["embed"] < 2**-11 and table["n_units"]["final"] == 60
    coarse = extract_adapter(tmp_path / "m")
    for p in coarse.model.parameters():
        p.data = p.data.to(torch.bfloat16)
    made(coarse, tmp_path)
    table = extract.audit(coarse, MANY, None, tmp_path / "a.h5", share=1.0).set_index("site")
    assert 2**-9 < table["largest_relative_difference"]["final"] < 0.2, "bfloat16 has 8 bits"
    assert {p.dtype for p in coarse.model.parameters()} == {torch.bfloat16}


# Memory ----------------------------------------------------------------------------------------------------

EXTRACT = """
import sys
import numpy as np
from pathlib import Path
from lib.acts import extract
from lib.models import adapter
from tests import helpers

class Records:
    def __init__(self, n):
        self.n = n
    def __len__(self):
        return self.n
    def __getitem__(self, u):
        return helpers.random_dna(100 + u % 24, u)

model, folder, n = adapter.load(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
known = folder / "known.h5"
for name in ("known.h5", "a.h5"):
    extract.extract(model, Records(n), None, ["resid_post.0"], folder / name, folder / "p.h5", 2048, known=known)
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc/self/status on this machine: peak memory cannot be read")
def test_memory_is_flat_in_the_number_of_units(tmp_path):
    helpers.save_model("esm_bases", tmp_path / "m", num_hidden_layers=1, hidden_size=256)
    used = {}
    for times in (1, 8):  # 11 and 92 MB of float16, computed and then copied
        folder = tmp_path / str(times)
        folder.mkdir()
        command = [sys.executable, "-c", EXTRACT, str(tmp_path / "m"), str(folder), str(times * 200)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        used[times] = float(done.stdout)
    assert used[8] < 1.05 * used[1], used
