"""Extraction: each unit as the model sees it alone, with coordinates that survive insertions and deletions."""

import numpy as np
import pandas as pd
import pytest

from lib import extract, store
from lib.genome.haplotypes import UNIT_COLUMNS, UnitSet
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
    return UnitSet(pd.DataFrame(rows, columns=UNIT_COLUMNS), SEQUENCES, edits, pd.DataFrame(), 0, 0, 0)


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
    adapter, _, out, _ = run
    assert (np.diff(out.tokens["unit"]) >= 0).all() and out.attributes == {"model": "toy"}
    for unit, text in enumerate(SEQUENCES):
        batch = adapter.encode([text])
        rows = out.tokens["unit"] == unit
        assert out.tokens["token_id"][rows].tolist() == batch.token_id.tolist()
        assert out.tokens["index"][rows].tolist() == list(range(batch.n_kept))
        for name, x in adapter.run(batch, SITES).items():
            np.testing.assert_allclose(out.acts[name][rows], x.numpy(), rtol=2e-3, atol=1e-3)


def test_pooled_is_the_mean_over_tokens(run):
    _, _, out, folder = run
    pooled, names = store.read_pooled(folder / "p.h5")
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
        adapter,
        SEQUENCES,
        units().ref_pos,
        SITES,
        tmp_path / "a.h5",
        tmp_path / "p.h5",
        100,
        {"model": "toy"},
    )
    assert again.equals(table)
    for name in ("a.h5", "p.h5"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


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


def test_pooled_file_cut_short_is_refused_by_name(tmp_path):
    store.write_pooled(tmp_path / "pooled.h5", np.ones((20, 2, 8), dtype=np.float32), ["embed", "final"])
    data = (tmp_path / "pooled.h5").read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        (tmp_path / "pooled.h5").write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match="pooled.h5: not a whole file"):
            store.read_pooled(tmp_path / "pooled.h5")


@pytest.mark.parametrize("budget", [1, 64, 100, 10**6])
def test_plan_covers_every_unit_once_within_budget(budget):
    lengths = np.random.default_rng(0).integers(1, 60, 50)
    batches = extract.plan(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(50))
    for batch in batches:
        assert len(batch) == 1 or lengths[batch].max() * len(batch) <= budget
    assert extract.plan(np.array([], dtype=int), 10) == []
    # 5 5 | 4 4: 3 x 5 would pass 12
    assert [lengths.tolist() for lengths in extract.plan(np.array([4, 5, 4, 5]), 12)] == [[3, 1], [2, 0]]
