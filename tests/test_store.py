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
