"""The activation store: what goes in comes out, and what is damaged is refused."""

import os
import shutil
from itertools import pairwise

import h5py
import numpy as np
import pytest

from lib.acts import pool, store

N, D = 200, 12


def values(n, seed=0):
    rng = np.random.default_rng(seed)
    tokens = {name: rng.integers(0, 1000, n).astype(dtype) for name, dtype in store.TOKEN_COLUMNS.items()}
    acts = {
        name: rng.standard_normal((n, dim)).astype(np.float16)
        for name, dim in (("embed", D), ("resid_post.0", D + 1))
    }
    return tokens, acts


def fill(path, n=N, seed=0):
    tokens, acts = values(n, seed)
    store.create(path, {name: x.shape[1] for name, x in acts.items()}, n, {"model": "toy"})
    out = store.open_store(path, "r+")
    for target, given in ((out.tokens, tokens), (out.acts, acts)):
        for name, x in given.items():
            target[name][:] = x
            target[name].flush()
    return tokens, acts


def test_round_trip_and_memory_map_equal_h5py(tmp_path):
    path = tmp_path / "a.h5"
    tokens, acts = fill(path)
    back = store.open_store(path)
    assert back.n_tokens == N and back.attributes == {"model": "toy"} and set(back.acts) == set(acts)
    with h5py.File(path) as f:
        for name, x in acts.items():
            assert isinstance(back.acts[name], np.memmap) and back.acts[name].dtype == np.float16
            np.testing.assert_array_equal(back.acts[name], x)
            np.testing.assert_array_equal(f["acts"][name][:], x)
        for name, x in tokens.items():
            assert back.tokens[name].dtype == store.TOKEN_COLUMNS[name]
            np.testing.assert_array_equal(back.tokens[name], x)
            np.testing.assert_array_equal(f["tokens"][name][:], x)
    with pytest.raises(ValueError, match="read-only"):
        back.acts["embed"][0, 0] = 1


def test_positions_beyond_int32_survive(tmp_path):
    store.create(tmp_path / "a.h5", {"embed": 2}, 1, {})
    store.open_store(tmp_path / "a.h5", "r+").tokens["ref_end"][:] = 3_000_000_000
    assert store.open_store(tmp_path / "a.h5").tokens["ref_end"][0] == 3_000_000_000


def test_float16_limit():
    assert store.to_float16(np.array([65504.0, -65504.0]), "x").tolist() == [65504.0, -65504.0]
    assert store.to_float16(np.empty((0, 3)), "x").shape == (0, 3)
    for wrong in (65505.0, -7e4, np.inf, np.nan):
        with pytest.raises(ValueError, match="resid_post.3, units 0-1: largest activation"):
            store.to_float16(np.array([[0.0, wrong]], dtype=np.float32), "resid_post.3, units 0-1")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.3, 0.6, 0.9, 0.9999])
def test_file_cut_short_is_refused_by_name(tmp_path, share):
    path = tmp_path / "activations.h5"
    fill(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match="activations.h5: "):
        store.open_store(path)


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone.h5: no activation store"):
        store.open_store(tmp_path / "gone.h5")
    (tmp_path / "text.h5").write_text("not hdf5")
    with pytest.raises(ValueError, match="text.h5: not a whole HDF5 file"):
        store.open_store(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["pooled"] = np.zeros(3)
    with pytest.raises(ValueError, match="other.h5: not an activation store"):
        store.open_store(tmp_path / "other.h5")
    with h5py.File(tmp_path / "old.h5", "w") as f:
        f.create_group("acts")
        f.create_group("tokens")["unit"] = np.zeros(3, dtype=np.int32)
    with pytest.raises(ValueError, match="old.h5: not an activation store.*index"):
        store.open_store(tmp_path / "old.h5")


def test_equal_input_gives_equal_bytes(tmp_path):
    fill(tmp_path / "a.h5"), fill(tmp_path / "b.h5"), fill(tmp_path / "c.h5", seed=1)
    a, b, c = ((tmp_path / f"{x}.h5").read_bytes() for x in "abc")
    assert a == b and a != c


def test_empty_store_opens(tmp_path):
    store.create(tmp_path / "a.h5", {"embed": 4}, 0, {})
    assert store.open_store(tmp_path / "a.h5").acts["embed"].shape == (0, 4)


def test_further_token_columns_and_their_subset(tmp_path):
    tokens, acts = values(6)
    tokens["unit"][:] = [0, 0, 1, 1, 1, 2]
    extra = {"count": np.arange(6, dtype=np.float32), "frame": np.array([0, 1, 0, 1, 0, 1], dtype=np.int8)}
    store.create(tmp_path / "a.h5", {"embed": D}, 6, {}, {name: x.dtype for name, x in extra.items()})
    with store.Writer(tmp_path / "a.h5") as out:
        for name, x in (tokens | extra).items():
            out.write(f"tokens/{name}", 0, x)
        out.write("acts/embed", 0, acts["embed"])
    store.subset(tmp_path / "a.h5", tmp_path / "b.h5", np.array([0, 2]))
    for file, rows in (("a.h5", np.arange(6)), ("b.h5", [0, 1, 5])):
        back = store.open_store(tmp_path / file)
        assert list(back.tokens) == [*store.TOKEN_COLUMNS, *extra] and back.tokens["frame"].dtype == np.int8
        for name, x in (tokens | extra).items():
            np.testing.assert_array_equal(back.tokens[name], x[rows])
        np.testing.assert_array_equal(back.acts["embed"], acts["embed"][rows])


def test_the_space_is_taken_when_the_store_is_made(tmp_path):
    store.create(tmp_path / "a.h5", {"embed": 256}, 4000, {})
    status = os.stat(tmp_path / "a.h5")
    assert status.st_blocks * 512 >= status.st_size > 4000 * 256 * 2


def test_writer_writes_what_a_map_does_and_refuses_what_does_not_fit(tmp_path):
    tokens, acts = fill(tmp_path / "a.h5")
    store.create(tmp_path / "b.h5", {name: x.shape[1] for name, x in acts.items()}, N, {"model": "toy"})
    with store.Writer(tmp_path / "b.h5") as out:
        for group, part in (("tokens", tokens), ("acts", acts)):
            for name, x in part.items():
                for rows in (slice(150, N), slice(0, 150)):
                    out.write(f"{group}/{name}", rows.start, x[rows])
        for row, x in ((N - 1, acts["embed"][:2]), (-1, acts["embed"][:1]), (0, acts["embed"][:, :5])):
            with pytest.raises(ValueError, match=r"b.h5: acts/embed: rows .* do not fit"):
                out.write("acts/embed", row, x)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


# Going through a store ------------------------------------------------------------------------------------


@pytest.fixture(params=[None, 3])
def pieces(request, monkeypatch):
    """Reads of the whole store, or of 3 rows of `embed` at a time."""
    if request.param:
        monkeypatch.setattr(store, "READ_BYTES", 2 * D * request.param)


def test_check_by_hand(tmp_path, pieces):
    _, acts = fill(tmp_path / "a.h5")
    out = store.open_store(tmp_path / "a.h5", "r+")
    out.acts["embed"][[4, 17]] = 0
    out.acts["embed"][4, 3] = -0.0
    out.acts["embed"][77, 2] = -65504
    summary = store.check(tmp_path / "a.h5")
    assert summary["embed"] == {"max_abs": 65504.0, "n_zero": 2}
    assert summary["resid_post.0"] == {"max_abs": float(np.abs(acts["resid_post.0"]).max()), "n_zero": 0}
    for value in (np.nan, -np.inf):
        out.acts["resid_post.0"][199, 12] = value
        with pytest.raises(ValueError, match="a.h5: resid_post.0, row 199: not finite"):
            store.check(tmp_path / "a.h5")


def test_pool_by_hand(tmp_path, pieces):
    store.create(tmp_path / "a.h5", {"embed": 2, "wide": D}, 6, {})
    out = store.open_store(tmp_path / "a.h5", "r+")
    out.acts["embed"][:] = [[1, -1], [2, -2], [3, -3], [4, -4], [5, -5], [6, -8]]
    groups = np.array([2, 0, 2, -1, 0, 2])  # group 1 is empty, row 3 in none
    mean = pool.pool(out, "embed", groups, n_groups=4)
    np.testing.assert_array_equal(mean, [[3.5, -3.5], [np.nan] * 2, [np.float32(10 / 3), -4], [np.nan] * 2])
    largest = pool.pool(out, "embed", groups, "max")
    np.testing.assert_array_equal(largest, [[5, -2], [np.nan] * 2, [6, -1]])
    assert mean.dtype == largest.dtype == np.float32
    np.testing.assert_array_equal(pool.pool(out, "embed", np.array([0, 0, 0, 1, 1, 1])), [[2, -2], [5, np.float32(-17 / 3)]])


def test_pool_refuses(tmp_path):
    fill(tmp_path / "a.h5")
    whole = store.open_store(tmp_path / "a.h5")
    for groups in (np.zeros(N - 1, dtype=int), np.zeros(N)):
        with pytest.raises(ValueError, match="a.h5: groups .*wanted one integer a token"):
            pool.pool(whole, "embed", groups)
    with pytest.raises(ValueError, match="pooling 'median': wanted mean or max"):
        pool.pool(whole, "embed", np.zeros(N, dtype=int), "median")


def test_a_thousand_large_values_do_not_lose_the_small_ones(tmp_path):
    store.create(tmp_path / "a.h5", {"embed": 1}, 1000, {})
    out = store.open_store(tmp_path / "a.h5", "r+")
    out.acts["embed"][:] = 60000
    out.acts["embed"][::2] = 0.5  # a float32 sum of these is off by 1e-3
    assert pool.pool(out, "embed", np.zeros(1000, dtype=int))[0, 0] == np.float32(30000.25)


def test_pooled_units_are_pool_by_unit(tmp_path, pieces):
    _, acts = fill(tmp_path / "a.h5")
    out = store.open_store(tmp_path / "a.h5", "r+")
    out.tokens["unit"][:] = np.sort(np.random.default_rng(0).integers(5, 60, N))
    out.tokens["unit"][:7] = 5
    pool.pool_units(tmp_path / "a.h5", tmp_path / "p.h5")
    unit = np.asarray(out.tokens["unit"]) - 5
    for name in acts:
        pooled, sites = pool.read_pooled(tmp_path / "p.h5", [name])
        assert sites == [name]
        np.testing.assert_array_equal(pooled[:, 0], pool.pool(out, name, unit))
        np.testing.assert_allclose(pooled[0, 0], acts[name][unit == 0].astype(float).mean(0), rtol=1e-6)
    assert np.isnan(pooled).any(), "no unit without tokens in this example"
    with pytest.raises(ValueError, match=r"p.h5: sites of unlike width .*'embed': 12, 'resid_post.0': 13"):
        pool.read_pooled(tmp_path / "p.h5")
    with pytest.raises(ValueError, match="p.h5: no site final: it has embed, resid_post.0"):
        pool.read_pooled(tmp_path / "p.h5", ["final"])


# Joining ---------------------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path):
    """Three stores of 40, 1 and 59 units of 2 tokens, and the values of all."""
    tokens, acts = values(N)
    tokens["unit"] = np.arange(N, dtype=np.int32) // 2
    (tmp_path / "parts").mkdir()
    paths, cuts = [], [0, 80, 82, N]
    for a, b in pairwise(cuts):
        paths.append(tmp_path / f"parts/{a}.h5")
        n_reads = (b - a) // 2
        store.create(paths[-1], {name: x.shape[1] for name, x in acts.items()}, b - a, {"model": "toy"}, n_reads=n_reads)
        reads = {"unit": np.arange(a // 2, b // 2), "n_tokens": np.full(n_reads, 2), "content": np.arange(a, b).reshape(-1, 2)}
        with store.Writer(paths[-1]) as out:
            for group, part in (("tokens", tokens), ("acts", acts)):
                for name, x in part.items():
                    out.write(f"{group}/{name}", 0, x[a:b])
            for name, x in reads.items():
                out.write(f"reads/{name}", 0, x)
    return paths, tokens, acts


def test_joined_shards_read_as_one_store(tmp_path, shards, pieces, monkeypatch):
    paths, tokens, acts = shards
    store.join(paths, tmp_path / "whole.h5")
    assert (tmp_path / "whole.h5").stat().st_size < 0.8 * sum(p.stat().st_size for p in paths), "copied"
    monkeypatch.chdir("/")
    whole = store.open_store(tmp_path / "whole.h5")
    assert whole.n_tokens == N and whole.attributes == {"model": "toy"}
    assert whole.reads["unit"].tolist() == list(range(100)) and whole.reads["content"].ravel().tolist() == list(range(N))
    for name, x in tokens.items():
        np.testing.assert_array_equal(whole.tokens[name], x)
    with h5py.File(tmp_path / "whole.h5") as f:
        for name, x in acts.items():
            assert f["acts"][name].is_virtual
            np.testing.assert_array_equal(f["acts"][name][:], x)
            np.testing.assert_array_equal(np.concatenate([b for _, b in whole.blocks(name)]), x)
    np.testing.assert_array_equal(whole.read("embed", 79, 83), acts["embed"][79:83])
    groups = np.random.default_rng(0).integers(-1, 9, N)
    one = fill(tmp_path / "one.h5", N)[1]
    np.testing.assert_array_equal(one["embed"], acts["embed"])
    np.testing.assert_array_equal(pool.pool(whole, "embed", groups), pool.pool(store.open_store(tmp_path / "one.h5"), "embed", groups))


def test_rows_of_a_joined_store_are_indexed_like_an_array(tmp_path, shards):
    paths, _, acts = shards
    store.join(paths, tmp_path / "whole.h5")
    rows, x = store.open_store(tmp_path / "whole.h5").acts["embed"], acts["embed"]
    assert rows.shape == x.shape and rows.dtype == x.dtype and len(rows) == N and rows.ndim == 2 and rows.nbytes == x.nbytes
    rng = np.random.default_rng(1)
    for key in (
        slice(None), slice(0, 80), slice(81, 81), slice(5, 190), slice(190, 5), slice(-3, None), slice(None, None, -7), 0, 80, -1,
        np.int64(81), rng.integers(0, N, 50), rng.integers(-N, N, (4, 5)), rng.random(N) < 0.3, [3, 199, 80], np.empty(0, dtype=int),
        (slice(70, 90), 3), (5, slice(2, 4)), ([1, 85], slice(None, 2)), (slice(None), [0, 3]),
    ):  # fmt: skip
        np.testing.assert_array_equal(rows[key], x[key], err_msg=str(key))
    np.testing.assert_array_equal(np.asarray(rows, dtype=np.float32), x.astype(np.float32))
    for wrong in (N, -N - 1, [0, N]):
        with pytest.raises(IndexError, match="rows"):
            rows[wrong]
    with pytest.raises(IndexError, match="mask"):
        rows[np.ones(3, dtype=bool)]
    with pytest.raises(ValueError, match="several files"):
        _ = rows.offset


def test_shards_that_do_not_fit_are_refused_by_name(tmp_path, shards):
    paths, _, _ = shards
    for order, message in (
        ([paths[0], paths[2]], "82.h5: begins with unit 41, wanted 40"),
        (paths[::-1], "80.h5: begins with unit 40, wanted 100"),
        ([paths[0], paths[0]], "0.h5: begins with unit 0, wanted 40"),
        ([], "no stores"),
    ):
        with pytest.raises(ValueError, match=message):
            store.join(order, tmp_path / "whole.h5")
    fill(tmp_path / "blind.h5")
    with pytest.raises(ValueError, match="blind.h5: has no table of what was read"):
        store.join([tmp_path / "blind.h5"], tmp_path / "whole.h5")
    for sites, attributes, columns, message in (
        ({"embed": D}, {"model": "toy"}, {}, "other.h5: sites"),
        ({"embed": D, "resid_post.0": D}, {"model": "toy"}, {}, "other.h5: sites"),
        ({"embed": D, "resid_post.0": D + 1}, {"model": "other"}, {}, "other.h5: attributes .*'other'.*'toy'"),
        ({"embed": D, "resid_post.0": D + 1}, {"model": "toy"}, {"frame": np.int8}, "other.h5: token columns"),
    ):
        store.create(tmp_path / "other.h5", sites, 2, attributes, columns, n_reads=1)
        with pytest.raises(ValueError, match=message):
            store.join([paths[0], tmp_path / "other.h5"], tmp_path / "whole.h5")
    assert not (tmp_path / "whole.h5").exists()


def test_a_joined_store_whose_shard_is_gone_or_cut_is_refused(tmp_path, shards):
    paths, _, _ = shards
    store.join(paths, tmp_path / "whole.h5")
    with pytest.raises(ValueError, match="joined store is not written to"):
        store.open_store(tmp_path / "whole.h5", "r+")
    data = paths[1].read_bytes()
    paths[1].write_bytes(data[:-1])
    with pytest.raises(ValueError, match="80.h5.*not a whole"):
        store.open_store(tmp_path / "whole.h5")
    shutil.copyfile(paths[0], paths[1])
    with pytest.raises(ValueError, match=r"80.h5 has no acts/.* of shape \(2, "):
        store.open_store(tmp_path / "whole.h5")
    paths[1].unlink()
    with pytest.raises(ValueError, match="whole.h5: its shard .*80.h5 is gone"):
        store.open_store(tmp_path / "whole.h5")
