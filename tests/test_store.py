"""The activation store: what goes in comes out, and what is damaged is refused."""

import h5py
import numpy as np
import pytest

from lib import store

N, D = 200, 12


def fill(path, n=N, seed=0):
    rng = np.random.default_rng(seed)
    tokens = {name: rng.integers(0, 1000, n).astype(dtype) for name, dtype in store.TOKEN_COLUMNS.items()}
    acts = {
        name: rng.standard_normal((n, dim)).astype(np.float16)
        for name, dim in (("embed", D), ("resid_post.0", D + 1))
    }
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


# Shuffled batches: acts[i] = i, so that a batch tells which rows it holds ----------------------------------

ACTS = np.arange(1000, dtype=np.float16)[:, None]


def take(n, rows, batch=32, seed=0, **kw):
    stream = store.shuffled_batches(ACTS, rows, batch, seed, **({"block": 64, "buffer_blocks": 4} | kw))
    return [next(stream) for _ in range(n)]


def test_an_epoch_visits_each_row_at_most_once_and_most_rows():
    rows = np.arange(0, 1000, 2)  # 500 rows, 8 blocks, 2 buffers of 4: at most 2 x 31 rows are left over
    per_epoch = sum(np.concatenate(take(14, rows)).ravel().size for _ in range(1)) // 32
    epoch = np.concatenate(take(per_epoch, rows)).ravel()
    assert len(set(epoch)) == len(epoch) >= 500 - 62
    assert set(epoch) <= set(rows.tolist())
    assert epoch.dtype == np.float32 and take(1, rows)[0].shape == (32, 1)
    assert (np.diff(epoch) > 0).mean() < 0.6  # shuffled
    assert len(set(np.concatenate(take(200, rows)).ravel())) == 500  # later epochs reach the left-over rows


def test_batches_mix_distant_blocks():
    spread = [np.ptp(b) for b in take(10, np.arange(1000))]
    assert min(spread) > 64


def test_the_seed_decides_the_order():
    rows = np.arange(1000)
    a, b, c = (np.concatenate(take(40, rows, seed=s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_too_few_rows_raise_instead_of_waiting_for_ever():
    with pytest.raises(ValueError, match="31 tokens are fewer than one batch of 32"):
        take(1, np.arange(31))
    assert take(2, np.arange(32))[1].shape == (32, 1)
    with pytest.raises(ValueError, match="buffer"):
        take(1, np.arange(1000), batch=32, block=8, buffer_blocks=2)
