"""Training of SAEs against sae-lens, sparsify and dictionary_learning, on the same activations in one run.

Step time, a sweep of 36 SAEs against as many trainings alone, and held-out quality; writes sae_training.md beside this
file. The others run in their environment (`make peers`) through sae_peers.py, their steps in turn with ours; one
process works while the other waits. `PYTHONPATH=. python benchmarks/sae_training.py [--only step|sweep|quality] [--quick]`;
--quick is a check on tiny sizes that writes nothing.
"""

import argparse
import contextlib
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lib.acts import store
from lib.corpus import corpus, splits
from lib.sae import data, evaluate, foreign, format
from lib.sae.stack import Run
from lib.sae.train import Result, Sweep, TrainConfig, train
from lib.stage import io
from tests import synthetic

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers/bin/python"
REPORT = Path(__file__).with_suffix(".md")
STORE = ROOT / "outputs/demo/01_extraction"
SITE = "resid_post.2"  # as params/demo/03_sae_training.yaml
LIBRARIES = {
    "topk": ["sae-lens", "sparsify", "dictionary_learning"],
    "batchtopk": ["sae-lens", "dictionary_learning"],
    "standard": ["sae-lens", "dictionary_learning"],
    "gated": ["sae-lens", "dictionary_learning"],
}
READERS = {
    "sae-lens": format.read_saelens,
    "sparsify": foreign.read_sparsify,
    "dictionary_learning": foreign.read_dictionary_learning,
}
#: d_in, d_sae, k, batch; the bars are stated for the first.
SHAPES = [(512, 4096, 32, 4096), (64, 1024, 16, 1024)]
#: Architecture: peer / ours at least this, by library; None: every library.
PEER_BARS = {"topk": ("sae-lens", 2.5), "batchtopk": ("sae-lens", 3.0), "standard": (None, 1.0), "gated": (None, 1.0)}
TOPK_PRODUCT_BAR, DENSE_BAR, SWEEP_BAR, EV_BAR = 3.5, 1.3, 0.8, 0.002
LR = 4e-3
WARM = 3  # steps before the first that is timed
#: By d_in, so that codes get sparse within the steps taken. Of ours, whose error is a mean over dimensions; theirs is a
#: sum, so their weight is d_in times this.
L1 = {512: 0.003, 64: 0.02}
GRID = list(itertools.product(["standard", "gated"], [2, 4, 8], [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]))


class Peers:
    """The worker in the other environment."""

    def __init__(self):
        if not PEERS.is_file():
            sys.exit("no .venv-peers: make peers")
        command = [PEERS, ROOT / "benchmarks/sae_peers.py"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, do: str, **ask) -> dict:
        self.process.stdin.write(json.dumps({"do": do, **ask}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the peers' process ended at {do} {ask}")
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


# Step time -------------------------------------------------------------------------------------------------


def planted(d_in: int, n_features: int, l0: int, n: int, seed: int) -> np.ndarray:
    """Activations [n, d_in] of one planted dictionary, mean squared distance from their mean d_in."""
    truth = synthetic.plant(n_features, d_in, l0, 0, noise=0.05)
    x, _ = truth.sample(n, seed)
    return x * normalising(x)


def normalising(x: np.ndarray) -> np.float32:
    """The factor that makes the mean squared distance from the mean d_in, as our trainer does by itself."""
    return np.float32(math.sqrt(x.shape[1] / x.var(axis=0, dtype=np.float64).sum()))


def seconds(function) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@torch.no_grad()
def our_l0(sweep: Sweep, x: np.ndarray) -> float:
    """Latents a token on a batch, in training mode, without a trace in the state."""
    stack = sweep.stacks[0][0].eval()
    l0 = stack(torch.from_numpy(x) * sweep.scale)[1]["l0"].item()
    stack.train()
    return l0


def step_rounds(architecture: str, shape: tuple, rounds: int, peers: Peers, folder: Path) -> list[tuple]:
    """For each start, the first step of so many rounds: seconds of each contestant by round, and L0 of each then."""
    d_in, d_sae, k, batch = shape
    file, dense = folder / "step.npy", architecture in ("standard", "gated")
    starts = [WARM, WARM + 5 * rounds] if dense else [WARM]  # with an L1 term the code is dense at first
    if not (folder / f"{shape}").exists():
        np.save(file, planted(d_in, d_sae, k, 8 * batch, 1))
        (folder / f"{shape}").touch()
    acts = np.load(file)
    batches = itertools.cycle([acts[s : s + batch] for s in range(0, len(acts), batch)])
    l1 = L1.get(d_in, 0.02)
    settings = {"d_in": d_in, "d_sae": d_sae, "k": k, "l1": l1 * d_in, "batch": batch, "steps": 100_000, "seed": 0}
    recipe = {"lr": LR, "warm_up": 0, "decay": 0}
    libraries = LIBRARIES[architecture]
    for library in libraries:
        ask = {"library": library, "architecture": architecture, "file": str(file), "order": None}
        peers("make", **ask, recipe=recipe, **settings)
    run = Run("ours", architecture, d_sae, l1 if dense else k, lr=LR)
    config = TrainConfig(100_000, batch, warm_up=0, decay=0.0, sparsity_warm_up=0.0, log_every=10**9)
    sweep = Sweep([run], config, torch.from_numpy(acts[:batch]))

    W, b = torch.randn(d_sae, d_in), torch.randn(d_sae)
    x, e, latents = torch.from_numpy(acts[:batch]), torch.randn(batch, d_in), torch.randn(batch, d_sae)

    def five() -> None:
        """Encode, decode, the latents' gradient and the two weights' gradients of a dense step."""
        _ = torch.addmm(b, x, W.T), latents @ W, e @ W.T, latents.T @ e, latents.T @ x

    names = ["product", *(["five products"] if dense else []), "ours", *libraries]
    spent, l0 = {start: {name: [] for name in names} for start in starts}, {}
    for i in range(starts[-1] + rounds):
        start = next((s for s in starts if s <= i < s + rounds), None)
        if start == i:
            l0[start] = {"ours": our_l0(sweep, next(batches))}
            l0[start] |= {library: peers("l0", library=library)["l0"] for library in libraries}
        into = spent.get(start, {name: [] for name in names})
        if start is not None or i + 1 in starts:  # the round before warms the products up
            into["product"].append(seconds(lambda: torch.addmm(b, x, W.T)))
            if dense:
                into["five products"].append(seconds(five))
        into["ours"].append(seconds(partial(sweep.train_on, next(batches))))
        for library in libraries:
            into[library].append(peers("step", library=library)["seconds"])
    peers("clear")
    return [(s, {name: np.array(each) for name, each in spent[s].items()}, l0[s]) for s in starts]


def verdict(ok: bool) -> str:
    return "holds" if ok else "does not hold"


def step_section(args, peers: Peers, folder: Path) -> str:
    shapes = [(32, 128, 4, 128), (16, 64, 4, 64)] if args.quick else SHAPES
    rounds = args.rounds or (3 if args.quick else 10)
    times, bars = [], []
    for shape, architecture in itertools.product(shapes, LIBRARIES):
        progress(f"step {shape} {architecture}")
        for start, spent, l0 in step_rounds(architecture, shape, rounds, peers, folder):
            middle = {name: float(np.median(s)) for name, s in spent.items()}
            where = ["/".join(map(str, shape)), architecture, start]
            for name, s in spent.items():
                ratio = f"{middle[name] / middle['ours']:.2f}" if name in LIBRARIES[architecture] else ""
                times.append([*where, name, f"{1e3 * middle[name]:.1f}", f"{1e3 * s.min():.1f}", f"{middle[name] / middle['product']:.2f}",
                              ratio, f"{l0[name]:.0f}" if name in l0 else "", rounds])  # fmt: skip
            judged = shape == shapes[0]
            if architecture == "topk":
                product = middle["ours"] / middle["product"]
                bars.append(bar(where, "ours / product", product, "at most", TOPK_PRODUCT_BAR, judged))
            library, least = PEER_BARS[architecture]
            for peer in LIBRARIES[architecture]:
                peer_judged = judged and library in (None, peer)
                bars.append(bar(where, f"{peer} / ours", middle[peer] / middle["ours"], "at least", least, peer_judged))
            if "five products" in middle:
                five = middle["ours"] / middle["five products"]
                bars.append(bar(where, "ours / five products", five, "at most", DENSE_BAR, judged))
                if architecture == "gated":  # a second decode and its gradient, for the gate alone
                    bars.append(bar(where, "ours / (7/5 five products)", five * 5 / 7, "at most", DENSE_BAR, False))
    intro = (
        "d_in/d_sae/k/batch, planted activations, fp32. A round: the encoder product alone (`torch.addmm`), our step, each "
        f"peer's step, in turn; medians of {rounds} rounds from the step named under after. With an L1 term a code starts "
        "dense and becomes sparse, so standard and gated are timed at both: L0 is latents a token when timing began. All "
        f"steps at learning rate {LR:g} without warm-up; L1 weights on errors averaged over dimensions "
        f"{L1} by d_in (theirs, summed: d_in times that). Five products: encode, decode, gradients of latents, encoder and decoder; "
        "a gated step has seven."
    )
    head = ["shape", "architecture", "after", "step", "median ms", "min ms", "/ product", "/ ours", "L0", "rounds"]
    return "\n\n".join([intro, table([*head[:3], "ratio", "value", "bar", ""], bars), table(head, times)])


def bar(where: list, name: str, value: float, sense: str, limit: float, judged: bool) -> list:
    """A row of a table of ratios. Not judged: no bar was set for it."""
    ok = value <= limit if sense == "at most" else value >= limit
    return [*where, name, f"{value:.2f}", *([f"{sense} {limit:g}", verdict(ok)] if judged else ["", ""])]


def quietly(runs: list[Run], config: TrainConfig, batches) -> Result:
    """`train` without its progress bar."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        return train(runs, config, batches)


# Sweep -----------------------------------------------------------------------------------------------------


class Counted(data.StoreSource):
    """Keeps the bytes of every block that is read."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.blocks_read = []

    def read(self, block: int, out: np.ndarray | None = None) -> np.ndarray:
        self.blocks_read.append(int(self.sizes[block]) * self._row_bytes)
        return super().read(block, out)


def sweep_section(args, peers: Peers, folder: Path) -> str:
    d_in, batch, steps, n_tokens = (16, 64, 5, 20_000) if args.quick else (128, 1024, args.sweep_steps, 400_000)
    path = folder / "activations.h5"
    store.create(path, {SITE: d_in}, n_tokens, {})
    x = planted(d_in, 4 * d_in, d_in // 8, n_tokens, 1)
    store.open_store(path, "r+").acts[SITE][:] = store.to_float16(x, "planted")
    runs = [Run(f"{a}_x{e}_{l:g}", a, e * d_in, l) for a, e, l in GRID]
    config = TrainConfig(steps, batch)

    def one(members: list[Run], config=config) -> tuple[float, int, int]:
        """Seconds, bytes read, and members whose training was stopped."""
        source = Counted(path, SITE, np.arange(n_tokens))
        started = time.perf_counter()
        try:
            verdicts = quietly(members, config, partial(data.batches, source, batch, 0)).verdicts
            stopped = sum(v != "trained" for v in verdicts.values())
        except FloatingPointError:
            stopped = len(members)
        return time.perf_counter() - started, sum(source.blocks_read), stopped

    one(runs, TrainConfig(2, batch))  # compiles
    rows, together, apart = [], [], []
    for repeat in range(args.repeats):
        progress(f"sweep {repeat}")
        for half in range(2):
            together.append(one(runs))
            rows.append([f"one sweep, {repeat + 1}.{half + 1}", *cells([together[-1]])])
            if half == 0:
                progress(f"{len(runs)} alone {repeat}")
                apart.append([one([run]) for run in runs])
                rows.append([f"{len(runs)} trainings alone, {repeat + 1}", *cells(apart[-1])])
    ratio = np.median([t for t, _, _ in together]) / np.median([sum(t for t, _, _ in part) for part in apart])
    intro = (
        f"{len(runs)} SAEs: standard and gated, d_sae 2x, 4x and 8x of d_in {d_in}, six L1 weights from 1e-4 to 5e-2; batch "
        f"{batch}, {steps} steps, from a float16 store of {n_tokens:,} planted tokens on disk. In turn: the sweep, each SAE "
        f"alone, the sweep again; {args.repeats} such rounds, medians. Stopped: members ended early, as dead or not finite."
    )
    bars = table(["ratio", "value", "bar", ""], [["one sweep / sum of trainings alone", f"{ratio:.2f}",
                                                 f"at most {SWEEP_BAR:g}", verdict(ratio <= SWEEP_BAR)]])  # fmt: skip
    return "\n\n".join([intro, bars, table(["run", "seconds", "MB read", "stopped"], rows)])


def cells(parts: list[tuple[float, int, int]]) -> list:
    spent, read, stopped = (sum(column) for column in zip(*parts))
    return [f"{spent:.1f}", f"{read / 1e6:.1f}", stopped]


# Quality ---------------------------------------------------------------------------------------------------


def sets(quick: bool) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Name -> training activations, held-out ones, and the unit of each held-out token; all scaled by one factor."""
    d_in, n = (16, 5000) if quick else (128, 400_000)
    x = planted(d_in, 8 * d_in, 16 if d_in > 16 else 2, n + n // 10, 1)
    data = {"planted": (x[:n], x[n:], np.arange(n // 10) // 64)}
    if (STORE / "activations.h5").is_file():
        acts = store.open_store(STORE / "activations.h5")
        parts = corpus.load("demo").split
        split = splits.split_rows(io.read_csv(STORE / "units.csv"), acts.tokens["unit"], *(parts[part] for part in ("validation", "test")))
        few = 5000 if quick else None
        x = np.asarray(acts.acts[SITE][split["train"][:few]], dtype=np.float32)
        held_out = np.asarray(acts.acts[SITE][split["test"][:few]], dtype=np.float32)
        scale = normalising(x)
        data[f"demo {SITE}"] = x * scale, held_out * scale, acts.tokens["unit"][split["test"][:few]]
    return data


def quality_section(args, peers: Peers, folder: Path) -> str:
    steps, batch, k = (40, 64, 4) if args.quick else (args.quality_steps, 1024, 16)
    same = {"lr": LR, "warm_up": steps // 8, "decay": steps // 5}
    recipes = {"default": None, f"lr {LR:g}": same}
    rows, bars, read = [], [], sets(args.quick)
    for name, (x, held_out, unit) in read.items():
        file, order_file, d_sae = folder / "train.npy", folder / "order.npy", 4 * x.shape[1]
        np.save(file, x)
        rng = np.random.default_rng(0)
        epochs = math.ceil(steps * batch / len(x))
        order = np.concatenate([rng.permutation(len(x)) for _ in range(epochs)])[: steps * batch].reshape(steps, batch)
        np.save(order_file, order)
        for (recipe_name, recipe), architecture in itertools.product(recipes.items(), ["topk", "batchtopk"]):
            seen = {}
            for seed, who in itertools.product(range(args.seeds), ["ours", *LIBRARIES[architecture]]):
                progress(f"quality {name} {architecture} {recipe_name} {who}")
                if who == "ours":
                    run = Run("ours", architecture, d_sae, k, seed, lr=recipe["lr"] if recipe else 0.0)
                    config = TrainConfig(steps, batch, warm_up=recipe["warm_up"]) if recipe else TrainConfig(steps, batch)
                    sae = quietly([run], config, lambda step, x=x, order=order: (x[r] for r in order[step:])).saes["ours"]
                else:
                    target = folder / f"{name}_{architecture}_{recipe_name}_{who}_{seed}".replace(" ", "_")
                    settings = {"d_in": x.shape[1], "d_sae": d_sae, "k": k, "l1": 0.0, "batch": batch, "steps": steps}
                    peers("make", library=who, architecture=architecture, file=str(file), order=str(order_file),
                          recipe=recipe, seed=seed, **settings)  # fmt: skip
                    peers("train", library=who, steps=steps, folder=str(target))
                    peers("clear")
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # sparsify's rows are a hair from unit
                        sae = READERS[who](target)
                q = evaluate.quality(sae, held_out, np.arange(len(held_out)), unit)
                seen.setdefault(who, []).append((q.explained_variance, q.l0, q.dead_share))
            mean = {who: np.mean(measures, axis=0) for who, measures in seen.items()}
            for who, (ev, l0, dead) in mean.items():
                rows.append([name, recipe_name, architecture, who, f"{ev:.4f}", f"{l0:.1f}", f"{dead:.3f}", args.seeds])
            best = max((who for who in mean if who != "ours"), key=lambda who: mean[who][0])
            least = min((who for who in mean if who != "ours"), key=lambda who: mean[who][2])
            gain, dead = mean["ours"][0] - mean[best][0], mean["ours"][2] - mean[least][2]
            where = [name, recipe_name, architecture]
            bars.append([*where, f"EV, ours - {best}", f"{gain:+.4f}", f"at least -{EV_BAR:g}", verdict(gain >= -EV_BAR)])
            bars.append([*where, f"dead share, ours - {least}", f"{dead:+.3f}", "at most 0", verdict(dead <= 0)])
    intro = (
        f"{steps} steps of {batch} tokens, the same batches for all; k {k}, d_sae 4x d_in, mean over {args.seeds} seed(s) of "
        "the weights. Activations are scaled by one number for all, to a mean squared distance of d_in from their mean. "
        "Every SAE is saved by its library, read by `lib.sae` and evaluated by `lib.sae.evaluate.quality` on held-out "
        "tokens (" + ", ".join(f"{name}: {len(part[0]):,} training, {len(part[1]):,} held out" for name, part in read.items())
        + "). Dead: silent on all of those. Default: the library's own recipe (sparsify: schedule-free SignSGD; "
        f"dictionary_learning: warm-up of {min(1000, steps // 8)} and thresholds from step {min(1000, steps // 2)}, since its "
        f"1,000 of each do not fit). lr {LR:g}: Adam, warm-up of {same['warm_up']} and linear decay over the last "
        f"{same['decay']} steps (sparsify: from the warm-up's end). A BatchTopK is read with its threshold, so mind its L0."
    )  # fmt: skip
    head = ["activations", "recipe", "architecture", "by", "EV", "L0", "dead share", "seeds"]
    return "\n\n".join([intro, table([*head[:3], "difference", "value", "bar", ""], bars), table(head, rows)])


# The report ------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine(peers: Peers) -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n")
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    theirs = peers("versions")
    with_torch, threads = theirs.pop("torch"), theirs.pop("threads")
    versions = ", ".join(f"{name} {version}" for name, version in theirs.items())
    return (
        f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads; peers: {versions}, torch {with_torch}, {threads} threads; fp32, "
        "OMP_WAIT_POLICY=PASSIVE."
    )


def progress(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


SECTIONS = {"step": ("Step time", step_section), "sweep": ("Sweep", sweep_section), "quality": ("Quality", quality_section)}


def write(made: dict[str, str]) -> None:
    """Put the sections that were made into the report; those of an earlier run stay."""
    parts = REPORT.read_text().split("\n## ")[1:] if REPORT.is_file() else []
    kept = {title: body.strip() for title, body in (part.split("\n", 1) for part in parts)}
    kept |= made
    titles = [title for title, _ in SECTIONS.values() if title in kept]
    body = "".join(f"\n## {title}\n\n{kept[title]}\n" for title in titles)
    REPORT.write_text(f"# SAE training against its peers\n\nWritten by `benchmarks/sae_training.py`.\n{body}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=list(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed and not written")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=0, help="of the step time; 10 by default")
    parser.add_argument("--repeats", type=int, default=1, help="of the sweep")
    parser.add_argument("--sweep-steps", type=int, default=100)
    parser.add_argument("--quality-steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=1, help="of the quality")
    args = parser.parse_args()
    threads = str(args.threads)
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads,
              "PYTHONPATH": str(ROOT)}  # fmt: skip
    if any(os.environ.get(name) != value for name, value in wanted.items()):  # read when libraries load
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)
    torch.set_num_threads(args.threads)
    peers, made = Peers(), {}
    for key in [args.only] if args.only else SECTIONS:
        title, section = SECTIONS[key]
        with tempfile.TemporaryDirectory() as folder:
            made[title] = machine(peers) + "\n\n" + section(args, peers, Path(folder))
        if args.quick:
            print(f"## {title}\n\n{made[title]}\n")
        else:
            write(made)
    peers.close()


if __name__ == "__main__":
    main()
