"""Training batches: one fixed stream of rows, found again at any batch, in memory that does not grow."""

import os
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lib.acts import extract, store
from lib.sae import data
from tests import helpers

D = 6


class Counting:
    """Rows that hold their own number. Blocks of unlike size; `calls` are the blocks that were read."""

    d_in, targets = 2, None

    def __init__(self, sizes, read_ahead=True, fail_at=None):
        self.sizes, self.read_ahead, self.fail_at = np.array(sizes), read_ahead, fail_at
        self.first = np.concatenate([[0], np.cumsum(self.sizes)])
        self.calls = []

    def read(self, block, out=None):
        self.calls.append(block)
        if block == self.fail_at:
            raise ValueError(f"block {block} is damaged")
        out[:] = np.arange(self.first[block], self.first[block + 1])[:, None]
        return out


SIZES = [40, 40, 40, 40, 40, 40, 25]  # 265 rows; buffers of 3, 2 and 2 blocks
TOTAL = sum(SIZES)


def take(n, batch=32, seed=0, start=0, source=None, buffer_blocks=3):
    """The first column of n batches: [n, batch] row numbers."""
    stream = data.batches(source or Counting(SIZES), batch, seed, start, buffer_blocks)
    out = [b[:, 0] for b in islice(stream, n)]
    stream.close()
    return np.array(out).astype(int)


def write_store(path, n=300):
    """A store of random values at its second site, "final", in units of 7 tokens. Returns the values."""
    x = np.random.default_rng(0).standard_normal((n, D)).astype(np.float16)
    store.create(path, {"embed": 3, "final": D}, n, {})
    out = store.open_store(path, "r+")
    out.acts["final"][:] = x
    out.tokens["unit"][:] = np.arange(n) // 7
    return x


# The stream -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read_ahead", [True, False])
@pytest.mark.parametrize("buffer_blocks", [3, 100])
def test_every_row_comes_once_an_epoch(read_ahead, buffer_blocks):
    # 32 epochs of 265 rows are 265 batches of 32, so the stream of rows can be cut into epochs without a rest
    source = Counting(SIZES, read_ahead=read_ahead)
    epochs = take(TOTAL, source=source, buffer_blocks=buffer_blocks).reshape(32, TOTAL)
    assert (np.sort(epochs, axis=1) == np.arange(TOTAL)).all()
    assert len({tuple(e) for e in epochs}) == 32  # each in an order of its own


@pytest.mark.parametrize("start", [0, 1, 3, 8, 9, 20, 33, 34, 100])
def test_a_stream_goes_on_at_any_batch_bit_for_bit(start):
    # 8.3 batches an epoch: starts inside a buffer, at an epoch's last batch, across it, epochs later
    whole = take(start + 12, seed=5)
    np.testing.assert_array_equal(take(12, seed=5, start=start), whole[start:])


def test_going_on_reads_only_what_is_needed():
    source = Counting([10] * 60)  # 10 buffers of 6 blocks: 60 rows, 3 batches of 20
    take(1, 20, start=1000 * 30 + 28, source=source, buffer_blocks=6)
    assert len(source.calls) <= 12  # batch 28 of epoch 1000 is in the last buffer; one more is read ahead
    alone = Counting([10] * 60, read_ahead=False)
    take(1, 20, start=1000 * 30 + 28, source=alone, buffer_blocks=6)
    assert alone.calls == source.calls[:6]


def test_blocks_are_read_once_an_epoch_each_buffer_in_file_order():
    orders = set()
    for seed in (0, 1):
        source = Counting([10] * 60, read_ahead=False)
        take(60, 20, seed, source=source, buffer_blocks=6)  # two epochs of 10 buffers
        for epoch in np.reshape(source.calls, (2, 10, 6)):
            assert sorted(epoch.ravel()) == list(range(60)) and (np.diff(epoch) > 0).all()
            orders.add(tuple(epoch.ravel()))
    assert len(orders) == 4  # the groups differ between epochs and between seeds


def test_each_buffer_has_an_order_of_its_own():
    rows = take(60, 20, source=Counting([10] * 60), buffer_blocks=6).reshape(20, 60)  # a buffer a line
    assert len({tuple(np.argsort(r)) for r in rows}) == 20


def test_what_fits_one_buffer_is_read_once():
    source = Counting(SIZES)
    take(TOTAL, source=source, buffer_blocks=7)
    assert source.calls == list(range(7))


def test_the_seed_decides_the_order():
    a, b, c = (take(40, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.9
    # also where all blocks are in one buffer, and only its order differs
    a, b, c = (take(8, seed=s, buffer_blocks=7) for s in (3, 3, 4))
    np.testing.assert_array_equal(a, b)
    assert (a != c).mean() > 0.9


def test_reading_ahead_changes_nothing():
    ahead, in_turn = (take(60, source=Counting(SIZES, read_ahead=x)) for x in (True, False))
    np.testing.assert_array_equal(ahead, in_turn)


def test_batches_stay_as_they_were_given():
    stream = data.batches(Counting(SIZES), 32, 0, buffer_blocks=3)
    kept = list(islice(stream, 30))
    np.testing.assert_array_equal(np.array([b[:, 0] for b in kept]), take(30))
    assert all(b.dtype == np.float32 and b.shape == (32, 2) and b.flags.c_contiguous for b in kept)


def test_a_batch_spans_many_units():
    # 100 units of 10 rows, in 50 blocks of 2 units; a buffer of 8 blocks holds 16 units, 160 rows
    units = [len(set(b // 10)) for b in take(60, 32, source=Counting([20] * 50), buffer_blocks=8)]
    # by chance, 32 of 160 rows meet 16 x (1 - 0.8^10) = 14.3 units; unshuffled rows would meet 4
    assert np.mean(units) > 13 and min(units) >= 10


def test_neighbours_in_a_block_part():
    follows = np.diff(take(TOTAL).ravel()) == 1  # 1 in about 113, the rows of a buffer, by chance
    assert follows.mean() < 0.03


def test_too_few_rows_raise():
    with pytest.raises(ValueError, match="265 tokens are fewer than one batch of 266"):
        data.batches(Counting(SIZES), 266, 0)
    assert take(2, 265, buffer_blocks=7).shape == (2, 265)
    # the fullest buffer, of 3 blocks, has 120 rows: 121 do not fit, 120 do
    with pytest.raises(ValueError, match="buffer holds 120 rows, fewer than one batch of 121"):
        data.batches(Counting(SIZES), 121, 0, buffer_blocks=3)
    assert sorted(take(53, 120, buffer_blocks=3).ravel()[:TOTAL]) == list(range(TOTAL))
    with pytest.raises(ValueError, match="0 tokens are fewer"):
        data.batches(Counting([]), 1, 0)


def test_settings_out_of_range_raise():
    for wrong in ({"batch": 0}, {"start": -1}, {"seed": -1}, {"buffer_blocks": 0}):
        with pytest.raises(ValueError, match=" 0|-1"):
            data.batches(Counting(SIZES), **({"batch": 32, "seed": 0} | wrong))


# The reading thread ---------------------------------------------------------------------------------------


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("read_ahead")]


def test_a_readers_error_reaches_the_consumer_after_the_good_batches():
    order = take(30, 20, source=Counting([10] * 60), buffer_blocks=6)
    bad = order[18, 0] // 10  # a block of the seventh buffer, whose rows start at batch 18
    for read_ahead in (True, False):
        stream = data.batches(Counting([10] * 60, read_ahead, bad), 20, 0, buffer_blocks=6)
        got = []
        with pytest.raises(ValueError, match=f"block {bad} is damaged"):
            for b in islice(stream, 60):
                got.append(b[:, 0])
        np.testing.assert_array_equal(got, order[:18])
        with pytest.raises(StopIteration):
            next(stream)
        assert not readers()


def test_closing_stops_the_thread():
    stream = data.batches(Counting(SIZES), 32, 0, buffer_blocks=3)
    assert not readers()  # nothing starts before the first batch is asked for
    next(stream)
    assert len(readers()) == 1
    stream.close()
    assert not readers()


def test_reading_runs_at_most_one_buffer_ahead():
    source = Counting([10] * 60)
    stream = data.batches(source, 20, 0, buffer_blocks=6)
    next(stream)
    stream.close()
    assert 6 <= len(source.calls) <= 12


# The store ------------------------------------------------------------------------------------------------

ROWS = {
    "all": np.arange(300),
    "part": np.arange(37, 211),
    "dense": np.arange(1, 300, 3),
    "sparse": np.arange(0, 300, 7),
    "stretches": np.concatenate([np.arange(5, 25), np.arange(140, 145), np.arange(290, 300)]),
    "one": np.array([299]),
    "int32": np.arange(0, 300, 2, dtype=np.int32),
}


@pytest.mark.parametrize("piece", [1, 100, 1 << 20])  # 1 row, 8 rows, all rows of a block at once
@pytest.mark.parametrize("name", ROWS)
def test_a_store_gives_its_rows(tmp_path, monkeypatch, name, piece):
    monkeypatch.setattr(data, "PIECE_BYTES", piece)
    x, rows = write_store(tmp_path / "a.h5"), ROWS[name]
    source = data.StoreSource(tmp_path / "a.h5", "final", rows, block=32)
    got = [source.read(b) for b in range(len(source.sizes))]
    assert [len(g) for g in got] == source.sizes.tolist() and source.d_in == D and source.targets is None
    np.testing.assert_array_equal(np.concatenate(got), x[rows].astype(np.float32))
    assert got[0].dtype == np.float32
    room = np.full((len(got[0]), D), np.nan, dtype=np.float32)
    assert source.read(0, out=room) is room
    np.testing.assert_array_equal(room, got[0])


def test_targets_come_with_their_rows(tmp_path):
    x = write_store(tmp_path / "a.h5")
    targets = np.arange(300.0)
    source = data.StoreSource(tmp_path / "a.h5", "final", ROWS["dense"], block=16, targets=targets)
    stream = data.batches(source, 16, 0, buffer_blocks=3)
    for acts, target in islice(stream, 20):
        assert target.dtype == np.float32 and target.shape == (16,)
        np.testing.assert_array_equal(acts, x[target.astype(int)])
    stream.close()


def test_a_damaged_or_unfit_store_is_refused_by_name(tmp_path):
    path = tmp_path / "a.h5"
    write_store(path)
    for error, match, kw in [
        (FileNotFoundError, "gone.h5: no activation store", {"path": tmp_path / "gone.h5"}),
        (ValueError, "a.h5: no site 'middle': this store has embed, final", {"site": "middle"}),
        (ValueError, "rows 0 to 300 wanted, there are 300", {"rows": np.arange(301)}),
        (ValueError, "rows -1 to 3 wanted", {"rows": np.arange(-1, 4)}),
        (ValueError, "final: row numbers must increase", {"rows": np.array([1, 1])}),
        (ValueError, r"rows \(2, 2\): wanted at least 1, and \[n\]", {"rows": np.array([[0, 1], [3, 5]])}),
        (ValueError, "targets have shape", {"targets": np.zeros(299)}),
        (ValueError, "block 0", {"block": 0}),
    ]:
        with pytest.raises(error, match=match):
            data.StoreSource(**({"path": path, "site": "final", "rows": np.arange(300)} | kw))
    source = data.StoreSource(path, "final", np.arange(300), block=100)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="a.h5: not a whole HDF5 file"):
        data.StoreSource(path, "final", np.arange(300))
    with pytest.raises(ValueError, match="a.h5: final, block 2 .rows 200-299.: the file has become shorter"):
        source.read(2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(tmp_path, value):
    write_store(tmp_path / "a.h5")
    store.open_store(tmp_path / "a.h5", "r+").acts["final"][137, 3] = value
    source = data.StoreSource(tmp_path / "a.h5", "final", np.arange(300), block=50)
    source.read(1)
    with pytest.raises(ValueError, match=r"a.h5: final, block 2 \(rows 100-149\): 1 .* not finite"):
        for _ in islice(data.batches(source, 30, 0, buffer_blocks=2), 10):
            pass
    without = data.StoreSource(tmp_path / "a.h5", "final", np.delete(np.arange(300), 137), block=50)
    assert len(list(islice(data.batches(without, 30, 0, buffer_blocks=2), 10))) == 10


# The model ------------------------------------------------------------------------------------------------

SEQUENCES = [helpers.random_dna(n, n) for n in (40, 41, 25, 70, 33, 60, 52)]


@pytest.fixture(scope="module", params=["esm_bases", "llama"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    adapter = helpers.tiny(request.param, folder / "model")
    pos = [np.arange(len(s)) for s in SEQUENCES]
    extract.extract(
        adapter, SEQUENCES, pos.__getitem__, ["resid_post.1"], folder / "a.h5", folder / "p.h5", 100
    )
    return adapter, folder / "a.h5"


def test_the_model_gives_what_extraction_stores(model):
    adapter, path = model
    stored = store.open_store(path)
    unit, n = stored.tokens["unit"], stored.n_tokens
    made = data.ModelSource(adapter, "resid_post.1", SEQUENCES, 3, 100, np.arange(n))
    read = data.StoreSource(path, "resid_post.1", np.arange(n))
    assert made.sizes.tolist() == [(unit // 3 == b).sum() for b in range(3)]
    acts = [made.read(b) for b in range(3)]
    assert [len(x) for x in acts] == made.sizes.tolist() and acts[0].dtype == np.float32
    np.testing.assert_allclose(np.concatenate(acts), read.read(0), rtol=2e-3, atol=1e-3)
    assert np.concatenate([made.read_targets(b) for b in range(3)]).tolist() == list(range(n))
    for x, target in islice(data.batches(made, 40, 0, buffer_blocks=2), 8):
        np.testing.assert_allclose(x, stored.acts["resid_post.1"][target.astype(int)], rtol=2e-3, atol=1e-3)


def test_sizes_come_without_running_the_model_and_it_runs_where_it_is_called(model, monkeypatch):
    adapter, _ = model
    real, threads = adapter.run, []

    def run(*args):
        threads.append(threading.current_thread())
        return real(*args)

    monkeypatch.setattr(adapter, "run", run)
    source = data.ModelSource(adapter, "resid_post.1", SEQUENCES, units_a_block=2)
    assert len(source.sizes) == 4 and not threads
    list(islice(data.batches(source, 8, 0, buffer_blocks=1), 12))
    assert set(threads) == {threading.main_thread()}


def test_bad_input_to_the_model_is_refused(model, monkeypatch):
    adapter, _ = model
    with pytest.raises(ValueError, match="no site 'middle'"):
        data.ModelSource(adapter, "middle", SEQUENCES)
    with pytest.raises(ValueError, match="targets have shape"):
        data.ModelSource(adapter, "final", SEQUENCES, targets=np.zeros(3))
    with pytest.raises(ValueError, match="units_a_block 0"):
        data.ModelSource(adapter, "final", SEQUENCES, units_a_block=0)
    if adapter.tokenizer.hub.is_fast:  # byte pairs: N is unknown and dropped
        with pytest.raises(ValueError, match="unit 1 has no known token"):
            data.ModelSource(adapter, "final", ["ACGT", "NNN"])
    real = adapter.run
    monkeypatch.setattr(adapter, "run", lambda *a: {name: x.log() for name, x in real(*a).items()})
    with pytest.raises(ValueError, match=r"final, block 1 \(units 4-6\): \d+ activations are not finite"):
        data.ModelSource(adapter, "final", SEQUENCES, units_a_block=4).read(1)


# Memory ---------------------------------------------------------------------------------------------------

NO_PROC = pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="no /proc/self/status on this machine: peak memory cannot be read"
)

CONSUME = """
import sys
import numpy as np
from itertools import islice
from pathlib import Path
from lib.sae import data

path, n = sys.argv[1], int(sys.argv[2])
source = data.StoreSource(path, "final", np.arange(n), block=1024)
for batch in islice(data.batches(source, 1024, 0), n // 1024):
    pass
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


TRAIN = """
import sys
import numpy as np
from functools import partial
from pathlib import Path
from lib.sae import data
from lib.sae.stack import Run
from lib.sae.train import TrainConfig, train

path, n = sys.argv[1], int(sys.argv[2])
source = data.StoreSource(path, "final", np.arange(n), block=1024)
read = set()
real = source.read
source.read = lambda block, out=None: read.add(block) or real(block, out)
config = TrainConfig(steps=n // 1024, batch=1024, warm_up=5, log_every=5, checkpoint_every=8)
batches = partial(data.batches, source, 1024, 0)
result = train([Run("a", "batchtopk", 256, 8, lr=1e-3)], config, batches, Path(path).with_suffix(".resume"))
assert len(read) == len(source.sizes) and result.verdicts == {"a": "trained"}
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


#: glibc keeps freed arrays for the next one, 20 MiB more or less from run to run: here it hands them back.
KEEP_NOTHING = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def peak(path, n, script=CONSUME, settings=None) -> float:
    """Largest resident set of a process that reads every token once, MiB; ru_maxrss starts at the parent's."""
    command, root = [sys.executable, "-c", script, str(path), str(n)], Path(data.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_WAIT_POLICY": "PASSIVE"} | (settings or {})
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env=environment)
    return float(done.stdout)


def write_repeated(path, values, times) -> None:
    """A store of one site, "final", that holds values [token, d] `times` times."""
    store.create(path, {"final": values.shape[1]}, times * len(values), {})
    with path.open("r+b") as handle:
        handle.seek(store.open_store(path).acts["final"].offset)
        for _ in range(times):
            values.tofile(handle)


@NO_PROC
def test_memory_is_flat_in_the_number_of_tokens(tmp_path):
    width, n = 512, 60_000  # 61 and 491 MB of float16
    values = np.random.default_rng(0).standard_normal((n // 10, width)).astype(np.float16)
    used = {}
    for times in (1, 8):
        path = tmp_path / f"{times}.h5"
        write_repeated(path, values, 10 * times)
        used[times] = peak(path, times * n)
        path.unlink()
    assert used[8] < 1.05 * used[1], used


@NO_PROC
def test_memory_of_a_whole_training_is_flat_in_the_number_of_tokens(tmp_path):
    width, n = 256, 30 * 1024  # 16 and 126 MB of float16: one epoch each, checkpoints and all
    values = np.random.default_rng(0).standard_normal((n // 10, width)).astype(np.float16)
    used = {}
    for times in (1, 8):
        path = tmp_path / f"{times}.h5"
        write_repeated(path, values, 10 * times)
        used[times] = peak(path, times * n, TRAIN, KEEP_NOTHING)
        path.unlink()
    assert used[8] < 1.05 * used[1], used
