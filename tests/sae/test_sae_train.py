"""Training: a known dictionary is found, a sweep equals its members alone, an interrupted run its undisturbed self."""

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.dna import planted
from lib.models import adapter
from lib.models import sequence as sq
from lib.sae import evaluate, format, logs
from lib.sae import train as training
from lib.sae.stack import Run
from lib.sae.train import Sweep, TrainConfig, train
from tests import synthetic
from tests.sae.test_sae import planted_data

ROOT = Path(__file__).resolve().parents[2]
X, DIRECTIONS = planted_data()
TENSORS = ("W_enc", "b_enc", "W_dec", "b_dec")


def stream(x=X, batch=256):
    """Batches of x by step, each known from its number alone."""
    def batches(start):
        for step in itertools.count(start):
            yield x[np.random.default_rng([7, step]).integers(0, len(x), batch)]
    return batches


def topk(name="a", **settings) -> Run:
    return Run(name, "topk", 48, 3, **({"lr": 1e-3} | settings))


def short(runs, x=X, **settings):
    return train(runs, TrainConfig(**({"steps": 30, "batch": 256, "warm_up": 5} | settings)), stream(x))


def test_geometric_median_resists_an_outlier():
    x = torch.tensor([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1000, 0]])
    # the mean is (166.7, 0). On the axis at 0 < p < 1, the summed distance is (p + 1) + p + (1 - p) + 2 sqrt(p^2 + 1)
    # + 1000 - p; its slope 2 p / sqrt(p^2 + 1) is 0 at p = 0 only
    torch.testing.assert_close(training.geometric_median(x, 500), torch.zeros(2), atol=2e-2, rtol=0)


def test_schedule_by_hand():
    got = [training.schedule(s, TrainConfig(steps=10, warm_up=2, decay=0.4)) for s in range(10)]
    np.testing.assert_allclose(got, [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


@pytest.fixture(scope="module")
def trained():
    runs = [Run(name, name, 48, sparsity, lr=5e-3) for name, sparsity in
            (("topk", 3), ("batchtopk", 3), ("jumprelu", 3), ("standard", 0.1), ("gated", 0.1), ("matryoshka", 3))]
    return train(runs, TrainConfig(steps=500, batch=256, warm_up=10), stream())


@pytest.mark.parametrize("architecture, cosine, ev", [
    ("topk", 0.9, 0.8), ("batchtopk", 0.9, 0.8), ("jumprelu", 0.85, 0.8), ("standard", 0.9, 0.8), ("gated", 0.8, 0.8),
    ("matryoshka", 0.8, 0.7),
])  # fmt: skip
def test_every_architecture_finds_a_planted_dictionary(trained, architecture, cosine, ev):
    sae = trained.saes[architecture]
    mean_cosine = (DIRECTIONS @ sae.W_dec.detach().numpy().T).max(1).mean()
    q = evaluate.quality(sae, X, np.arange(len(X)), np.zeros(len(X), dtype=int))
    assert mean_cosine > cosine and q.explained_variance > ev and q.l0 < 8, (mean_cosine, q.explained_variance, q.l0)
    control = Sweep([Run("a", architecture, 48, 3, seed=1)], TrainConfig(steps=1), torch.from_numpy(X[:100])).result()
    assert (DIRECTIONS @ control.saes["a"].W_dec.detach().numpy().T).max(1).mean() < 0.75  # untrained rows do not
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(48), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
def test_the_running_threshold_keeps_l0_and_explained_variance(trained, architecture):
    last = trained.curve[trained.curve["run"] == architecture].iloc[-1]
    q = evaluate.quality(trained.saes[architecture], X, np.arange(len(X)), np.zeros(len(X), dtype=int))
    assert q.l0 == pytest.approx(3, rel=0.1)
    assert q.explained_variance == pytest.approx(last["explained_variance"], abs=0.02)  # the curve's is of one batch


# The threshold of an export -----------------------------------------------------------------------------------


def demo_model_acts() -> np.ndarray:
    """[12000, 128]: a hundred simulated sequences of 120 bases through the demo model, to the middle of it."""
    model = adapter.load(ROOT / "tests/planted_model")
    codes = planted.background(12000, np.random.default_rng(0))
    batch = model.encode([sq.decode(codes[start : start + 120]) for start in range(0, 12000, 120)])
    return model.run(batch, ["resid_post.2"])["resid_post.2"].numpy()


ACTS = {"planted": lambda: synthetic.plant(200, 64, 12.0, 0, noise=0.05).sample(12000, 0)[0], "demo model": demo_model_acts}


@pytest.fixture(scope="module", params=ACTS)
def acts(request) -> np.ndarray:
    return ACTS[request.param]()


def chosen_by_batch(sae, x, k, batch) -> tuple[float, float]:
    """Explained variance and L0 when, as in training, the k x token largest pre-activations of each batch are kept."""
    sse = active = 0.0
    for part in torch.from_numpy(x).split(batch):
        pre = sae.pre_activations(part)
        least = pre.flatten().topk(k * len(part)).values[-1]
        latents = pre * ((pre >= least) & (pre > 0))
        sse += (part - sae.decode(latents)).double().square().sum().item()
        active += (latents > 0).sum().item()
    return 1 - sse / ((x - x.mean(0, dtype=np.float64)) ** 2).sum(), active / len(x)


@pytest.mark.parametrize("steps", [40, 250])
def test_an_export_keeps_l0_and_explained_variance_of_the_choice_by_batch(acts, tmp_path, steps):
    learn, held_out, identity = acts[:8000], acts[8000:], {"class": "Toy", "weights_sha256": "0" * 64}
    runs = [Run(name, name, 256, 16, lr=4e-3) for name in ("batchtopk", "matryoshka")]
    result = train(runs, TrainConfig(steps=steps, batch=500, warm_up=10), stream(learn, 500))
    for name, sae in result.saes.items():
        format.save(sae, tmp_path / name, "here", identity)
        read = format.load(tmp_path / name, "here", identity)
        assert (read.config.architecture, read.config.trained_as) == ("jumprelu", name)
        q = evaluate.quality(read, held_out, np.arange(4000), np.zeros(4000, dtype=int))
        with torch.no_grad():
            ev, l0 = chosen_by_batch(sae, held_out, 16, 500)
        assert ev > 0.5 and l0 == pytest.approx(16, rel=1e-3)
        assert q.l0 == pytest.approx(l0, rel=0.1), (name, q.l0)
        assert q.explained_variance == pytest.approx(ev, abs=0.005), name


def test_the_threshold_by_hand():
    # two latents that read one dimension each; k = 1, so two of the four values of a batch of two tokens are kept
    sweep = Sweep([Run("a", "batchtopk", 2, 1)], TrainConfig(steps=1), torch.from_numpy(X[:100, :2]))
    stack = sweep.stacks[0][0]
    sweep.scale = 1.0
    with torch.no_grad():
        stack.enc.copy_(torch.eye(2)[None])
        stack.b_dec.zero_()
        stack.running.fill_(99.0)  # what is left of a training
    batch = np.array([[4.0, 3], [2, 1]], dtype=np.float32)  # the two largest of four: 4 and 3
    sweep.settle(iter([batch, 2 * batch] * 4))  # 3 and 6, in turn
    assert stack.running.tolist() == [4.5]


def test_the_scale_of_the_activations_does_not_matter():
    same, other = short([topk()]).saes["a"], short([topk()], 1000 * X).saes["a"]
    torch.testing.assert_close(other.W_dec, same.W_dec, atol=1e-3, rtol=0)
    x = torch.from_numpy(X[:50])
    torch.testing.assert_close(other(1000 * x)[0] / 1000, same(x)[0], atol=1e-2, rtol=1e-3)


def test_more_l1_lowers_l0():
    runs = [Run(f"{l1:g}", "standard", 48, l1, lr=3e-3) for l1 in (0.0, 0.3)]
    l0 = short(runs, steps=80).curve.groupby("run")["l0"].last()
    assert l0["0.3"] < 0.7 * l0["0"], l0


def test_auxk_revives_latents_that_never_fire():
    x, _ = planted_data(n=4000, d_true=6, active=1)  # 6 directions, so nearly all of 64 latents die
    start = Sweep([Run("a", "topk", 64, 1)], TrainConfig(steps=1), torch.from_numpy(x[:99])).stacks[0][0].enc[0].detach()
    moved = {}
    for auxk in (0.0, 1.0):
        result = short([Run("a", "topk", 64, 1, lr=1e-3)], x, auxk=auxk, dead_tokens=512)
        moved[auxk] = ((result.saes["a"].W_enc.T - start).abs().sum(1) > 0).float().mean().item()
        assert result.curve["dead_share"].iloc[-1] > 0.5
    assert moved[0.0] < 0.3 and moved[1.0] > 0.7, moved


def weights(sae) -> dict[str, torch.Tensor]:
    return {name: p.detach() for name, p in sae.named_parameters()}


MIXED = [
    topk("a"), topk("b", seed=1), topk("c", lr=3e-3), Run("d", "standard", 48, 0.01), Run("e", "standard", 48, 0.05, seed=1),
    Run("f", "gated", 48, 0.01), Run("g", "gated", 48, 0.05), Run("h", "standard", 96, 0.05), Run("i", "batchtopk", 48, 3),
    Run("j", "batchtopk", 48, 3, seed=2), Run("k", "jumprelu", 48, 3), Run("l", "matryoshka", 48, 3),
]  # fmt: skip


def test_a_sweep_gives_each_run_the_weights_it_gets_alone():
    together = short(MIXED, steps=50)  # by 200 a latent at exactly zero can fall to either side by a CPU's rounding (6e-4)
    assert list(together.saes) == [run.name for run in MIXED]
    for run in MIXED:
        alone = short([run], steps=50)
        for name, value in weights(alone.saes[run.name]).items():
            torch.testing.assert_close(weights(together.saes[run.name])[name], value, atol=1e-5, rtol=1e-5,
                                       msg=lambda m, n=f"{run.name} {name}": f"{n}: {m}")  # fmt: skip
    assert (weights(together.saes["a"])["W_dec"] - weights(together.saes["b"])["W_dec"]).abs().max() > 0.1


def test_runs_of_one_shape_share_a_stack_and_a_stack_has_a_size(monkeypatch):
    assert [[r.name for r in members] for members in training._stacked(MIXED, 256)] == [
        ["a", "b", "c"], ["d", "e"], ["f", "g"], ["h"], ["i", "j"], ["k"], ["l"]]
    monkeypatch.setattr(training, "STACK_BYTES", 4 * 256 * 48 * 2)
    assert [[r.name for r in members] for members in training._stacked(MIXED[:3], 256)] == [["a", "b"], ["c"]]


def test_same_seed_same_bits():
    a, b, c = (short([topk(seed=s)]) for s in (1, 1, 2))
    for name, value in weights(a.saes["a"]).items():
        assert torch.equal(value, weights(b.saes["a"])[name])
    assert a.curve.equals(b.curve) and not torch.equal(a.saes["a"].W_enc, c.saes["a"].W_enc)


# What stops a training --------------------------------------------------------------------------------------


def test_a_training_from_the_start_opens_its_source_once():
    opened = []

    def watched(start):
        opened.append(start)
        return stream()(start)

    got = train([topk()], TrainConfig(steps=30, batch=256, warm_up=5), watched).saes["a"]
    assert opened == [0]  # a source that runs a model would run it over everything again
    assert all(torch.equal(getattr(got, name), getattr(short([topk()]).saes["a"], name)) for name in TENSORS)


def test_a_resumed_training_has_closed_the_source_that_it_opened_first(tmp_path):
    log = []

    def watched(start):
        log.append(("opened", start))
        try:
            for batch in stream()(start):
                log.append(("read", start))
                yield batch
        finally:
            log.append(("closed", start))

    config = TrainConfig(steps=30, batch=256, warm_up=5, checkpoint_every=10)
    train([topk()], config, stream(), tmp_path)
    shutil.rmtree(max(tmp_path.glob("step_*")))
    train([topk()], config, watched, tmp_path)
    again = next(start for event, start in log if event == "read" and start)
    assert log.index(("closed", 0)) < log.index(("read", again))


def test_input_that_teaches_nothing_raises():
    with pytest.raises(ValueError, match="variance is 0"):
        short([topk()], np.full((300, 16), 2.5, dtype=np.float32))
    with pytest.raises(ValueError, match="variance is nan, wanted finite"):
        short([topk()], np.full((300, 16), np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match="two runs have one name"):
        short([topk(), topk()])


def test_a_loss_that_is_not_finite_stops_with_step_and_advice():
    def later(start):
        yield from itertools.islice(stream()(0), 4)
        yield np.full((256, 16), np.nan, dtype=np.float32)

    with pytest.raises(FloatingPointError, match="a: loss nan at step 4: try a lower learning rate"):
        train([topk()], TrainConfig(steps=30, batch=256), later)


def test_a_run_that_fails_leaves_the_others_as_they_would_be():
    healthy = Run("healthy", "standard", 48, 0.05)
    dead = Run("dead", "standard", 48, 1e4, lr=0.1)
    result = short([dead, healthy], steps=120, log_every=10)
    assert "no latent fires" in result.verdicts["dead"] and result.verdicts["healthy"] == "trained"
    assert list(result.saes) == ["healthy"]
    for name, value in weights(short([healthy], steps=120, log_every=10).saes["healthy"]).items():
        torch.testing.assert_close(weights(result.saes["healthy"])[name], value, atol=1e-5, rtol=1e-5)
    with pytest.raises(FloatingPointError, match="dead: no latent fires at step"):
        short([dead], steps=120, log_every=10)


def test_a_run_that_turns_to_nan_leaves_the_others_as_they_would_be():
    sweep = Sweep([topk("a"), topk("b", seed=1)], TrainConfig(steps=20, batch=256, warm_up=1), torch.from_numpy(X[:256]))
    alone = Sweep([topk("b", seed=1)], TrainConfig(steps=20, batch=256, warm_up=1), torch.from_numpy(X[:256]))
    for step, batch in enumerate(itertools.islice(stream()(0), 20)):
        if step == 5:
            with torch.no_grad():
                sweep.stacks[0][0].b_dec[0] = float("nan")
        sweep.train_on(batch)
        alone.train_on(batch)
    assert "loss nan at step 5" in sweep.verdicts["a"] and list(sweep.result().saes) == ["b"]
    for name, value in weights(alone.result().saes["b"]).items():
        torch.testing.assert_close(weights(sweep.result().saes["b"])[name], value, atol=1e-5, rtol=1e-5)


# Interruption ---------------------------------------------------------------------------------------------

SCRIPT = """
import sys, itertools
from pathlib import Path
from lib.sae.train import TrainConfig, train
from tests.sae.test_sae_train import MIXED, stream, digest
runs = [run for run in MIXED if run.name in "abdfijkl"]
config = TrainConfig(steps=240, batch=256, warm_up=5, checkpoint_every=20, log_every=20)
result = train(runs, config, stream(), Path(sys.argv[1]))
print("digest", digest(result))
"""


def digest(result) -> str:
    """One hash over every weight and the curve."""
    h = hashlib.sha256(result.curve.to_csv(index=False).encode())
    for name, sae in sorted(result.saes.items()):
        for key, value in sorted(weights(sae).items()):
            h.update(f"{name}.{key}".encode() + value.numpy().tobytes())
    return h.hexdigest()


def start(folder) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], env=environment, cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip


def finish(folder) -> str:
    out, _ = start(folder).communicate(timeout=300)
    return next(line.split()[1] for line in out.splitlines() if line.startswith("digest"))


def test_killed_at_three_points_and_started_again_it_ends_in_the_same_bits(tmp_path):
    undisturbed, seen = finish(tmp_path / "whole"), []
    folder = tmp_path / "killed"
    rng = np.random.default_rng()
    for n_checkpoints in (1, 4, 8):
        process = start(folder)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            steps = [int(p.name.split("_")[1]) for p in folder.glob("step_*")]
            if steps and max(steps) >= 20 * n_checkpoints:
                break
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0, 0.2)))  # anywhere, a half-written checkpoint included
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.append(max(int(p.name.split("_")[1]) for p in folder.glob("step_*")))
    assert 0 < seen[0] < seen[-1] < 240, f"the kills came too late to show anything: checkpoints {seen}"
    assert finish(folder) == undisturbed
    assert len(list(folder.glob("step_*"))) == 2 and not list(folder.glob(".partial_*/state.json"))


def test_a_checkpoint_of_another_sweep_is_refused(tmp_path):
    config = TrainConfig(steps=20, batch=256, checkpoint_every=10)
    train([topk()], config, stream(), tmp_path)
    with pytest.raises(ValueError, match="made with other runs"):
        train([topk(seed=3)], config, stream(), tmp_path)
    with pytest.raises(ValueError, match="made with other scale"):
        train([topk()], config, stream(2 * X), tmp_path)


# Logs -----------------------------------------------------------------------------------------------------

#: Neither package is in the project's environment, so these stand in for them: they keep what they are sent.


class Writer:
    """SummaryWriter as far as it is used."""

    def __init__(self, purge_step):
        self.sent, self.purge_step, self.closed = [], purge_step, False

    def add_scalar(self, key, value, step):
        assert type(value) is float and type(step) is int
        self.sent.append((key, step, value))

    def close(self):
        self.closed = True


class Wandb(types.ModuleType):
    def init(self, **settings):
        self.settings, self.sent, self.finished = settings, [], False
        return self

    def log(self, values, step):
        self.sent.append((step, values))

    def finish(self):
        self.finished = True


@pytest.fixture
def tools(monkeypatch):
    """Both stand-ins, where the real ones would be."""
    board, wandb, made = types.ModuleType("torch.utils.tensorboard"), Wandb("wandb"), {}
    board.SummaryWriter = lambda folder, purge_step: made.update({folder: Writer(purge_step)}) or made[folder]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return made, wandb


PAIR = [topk("a"), Run("b", "standard", 48, 0.05)]
SETTINGS = TrainConfig(steps=20, batch=256, warm_up=5, log_every=5, checkpoint_every=10)


def curve_of(made, folder) -> dict[str, list]:
    return {name: [(s, v) for key, s, v in made[str(folder / name)].sent if key == "l0"] for name in "ab"}


def wanted(result) -> dict[str, list]:
    return {name: list(zip(rows["step"], rows["l0"])) for name, rows in result.curve.groupby("run")}


def test_tensorboard_gets_the_curve_of_every_run(tools, tmp_path):
    result = train(PAIR, SETTINGS, stream(), log="tensorboard", log_folder=tmp_path)
    made, _ = tools
    assert curve_of(made, tmp_path) == wanted(result) and len(result.curve) == 10
    assert all(writer.closed and writer.purge_step == 0 for writer in made.values()) and len(made) == 2
    keys = {key for key, _, _ in made[str(tmp_path / "b")].sent}
    assert keys == {"explained_variance", "l0", "dead_share", "loss", "tokens_s"}
    assert all(value > 0 for key, _, value in made[str(tmp_path / "b")].sent if key == "tokens_s")
    assert "tokens_s" not in result.curve and digest(result) == digest(train(PAIR, SETTINGS, stream()))


def test_wandb_gets_one_step_at_a_time(tools, tmp_path):
    result = train(PAIR, SETTINGS, stream(), log="wandb", log_folder=tmp_path / "w")
    _, wandb = tools
    assert [step for step, _ in wandb.sent] == [0, 5, 10, 15, 19] and wandb.finished
    keys = {f"{run}/{key}" for run in "ab" for key in logs.LOGGED}
    assert all(values.keys() == keys for _, values in wandb.sent)
    assert [(s, v["b/l0"]) for s, v in wandb.sent] == wanted(result)["b"]
    assert wandb.settings["dir"] == str(tmp_path / "w") and wandb.settings["config"]["runs"][1]["name"] == "b"
    assert (tmp_path / "w").is_dir()


def test_a_log_is_whole_and_closed_after_an_interruption(tools, tmp_path):
    with pytest.raises(RuntimeError, match="power"):
        train(PAIR, SETTINGS, interrupted, tmp_path / "resume", "tensorboard", tmp_path / "log")
    made, _ = tools
    assert [s for s, _ in curve_of(made, tmp_path / "log")["a"]] == [0, 5, 10] and all(w.closed for w in made.values())
    result = train(PAIR, SETTINGS, stream(), tmp_path / "resume", "tensorboard", tmp_path / "log")
    assert curve_of(made, tmp_path / "log") == wanted(result)  # new writers, which hide what the first ones wrote
    assert [s for s, _ in wanted(result)["a"]] == [0, 5, 10, 15, 19]


def interrupted(start):
    yield from itertools.islice(stream()(start), 13)
    raise RuntimeError("power")


def never(start):
    raise AssertionError("a batch was read")


@pytest.mark.parametrize("tool", ["tensorboard", "wandb"])
def test_a_log_that_is_not_installed_is_refused_before_the_first_batch(tool, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, logs.LOGS[tool], None)  # so also where it is installed
    with pytest.raises(ImportError, match=f"log '{tool}' needs the package {tool}, which is not installed: pip install {tool}"):
        train(PAIR, SETTINGS, never, log=tool, log_folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_log_nobody_knows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="log 'mlflow': wanted one of tensorboard, wandb"):
        train(PAIR, SETTINGS, never, log="mlflow", log_folder=tmp_path)
    with pytest.raises(ValueError, match="log 'wandb' needs a log_folder"):
        train(PAIR, SETTINGS, never, log="wandb")


def test_tensorboard_itself_reads_the_curve_once(tmp_path):
    """The real package, where somebody installed it beside the project's own."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard itself was not asked: it is not installed")
    with pytest.raises(RuntimeError, match="power"):
        train(PAIR, SETTINGS, interrupted, tmp_path / "resume", "tensorboard", tmp_path / "log")
    result = train(PAIR, SETTINGS, stream(), tmp_path / "resume", "tensorboard", tmp_path / "log")
    for name, points in wanted(result).items():
        events = reader.EventAccumulator(str(tmp_path / "log" / name)).Reload()
        assert sorted(events.Tags()["scalars"]) == sorted(logs.LOGGED)
        assert [(e.step, np.float32(e.value)) for e in events.Scalars("l0")] == [(s, np.float32(v)) for s, v in points]


# Several processes ----------------------------------------------------------------------------------------

SHARED = """
import os, sys, torch, torch.distributed as dist
from tests.sae.test_sae_train import X, stream, topk, weights
from lib.sae.train import TrainConfig, train
dist.init_process_group("gloo")
result = train([topk(), topk("b", seed=1)], TrainConfig(steps=60, batch=256, warm_up=5, auxk=0.0), stream())
if dist.get_rank() == 0:
    torch.save({n: weights(s) for n, s in result.saes.items()}, sys.argv[1])
dist.destroy_process_group()
"""


def test_two_processes_train_what_one_trains(tmp_path):
    (tmp_path / "shared.py").write_text(SHARED)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               str(tmp_path / "shared.py"), str(tmp_path / "weights.pt")]  # fmt: skip
    subprocess.run(command, env=environment, cwd=ROOT, check=True, timeout=300, capture_output=True)
    shared = torch.load(tmp_path / "weights.pt", weights_only=True)
    alone = short([topk(), topk("b", seed=1)], steps=60, auxk=0.0)
    for run, sae in alone.saes.items():
        for name, value in weights(sae).items():
            torch.testing.assert_close(shared[run][name], value, atol=1e-4, rtol=1e-4)


def test_bfloat16_products_train_the_same_dictionary():
    settings = {"steps": 300, "warm_up": 10}
    explained = {}
    for bf16 in (False, True):
        sweep = Sweep([topk(lr=5e-3)], TrainConfig(batch=256, bf16=bf16, **settings), torch.from_numpy(X[:256]))
        sweep.stacks[0][0].sparse = False
        for batch in itertools.islice(stream()(0), 300):
            sweep.train_on(batch)
        assert all(p.dtype == torch.float32 for p in sweep.stacks[0][0].parameters())
        sae = sweep.result().saes["a"]
        explained[bf16] = evaluate.quality(sae, X, np.arange(len(X)), np.zeros(len(X), dtype=int)).explained_variance
    assert explained[True] == pytest.approx(explained[False], abs=0.02) and explained[False] > 0.75, explained
