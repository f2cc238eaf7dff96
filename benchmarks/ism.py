"""In-silico mutagenesis of 100 sequences, all mutants in large batches, against one mutant at a time.

Every base of 100 windows of 128 bases is mutated to its three alternatives under the demo model, read at its deepest and
at a middle block; writes ism.md beside this file. The loop scores one mutant a forward and runs the whole model; it and
tangermeme's saturation mutagenesis are timed on a fraction and scaled by sequences.
`PYTHONPATH=. python benchmarks/ism.py [--quick] [--threads n] [--sequences n]`; --quick is a check on tiny sizes that writes nothing.
"""

import argparse
import os
import time
from pathlib import Path

from report import cpu_name, peak_gib, progress, table, verdict

REPORT = Path(__file__).with_suffix(".md")
MODEL = Path(__file__).resolve().parent.parent / "params/demo/model"
DEEPEST, MIDDLE, LENGTH = "resid_post.3", "resid_post.1", 128
SECONDS_BAR, PLANNED = 180, 7200


def windows(n: int) -> list[str]:
    """Windows of simulated DNA with planted sites."""
    import numpy as np

    from lib.dna import planted
    from lib.models import sequence as sq

    codes, _ = planted.mosaic(n * LENGTH, planted.gut_immune_motifs(), np.random.default_rng(0))
    return [sq.decode(codes[i : i + LENGTH]) for i in range(0, n * LENGTH, LENGTH)]


def loop(scorer, text: str, at: range):
    """Values of these bases, one mutant a forward of the whole model, head included."""
    import numpy as np
    import torch

    adapter, w = scorer.adapter, torch.from_numpy(scorer.direction.astype(np.float32))

    def score(one: str) -> float:
        batch, kept = adapter.encode([one]), []
        adapter.replace(batch, scorer.site, lambda x: kept.append(x) or x)
        return (kept[0].mean(0) @ w).item()

    whole = score(text)
    alternatives = [[text[:i] + base + text[i + 1 :] for base in "ACGT" if base != text[i]] for i in at]
    return np.array([whole - np.mean([score(one) for one in three]) for three in alternatives])


def with_tangermeme(scorer, text: str):
    """The same values by tangermeme, whose batches hold the unchanged sequence once a base and are not deduplicated."""
    import numpy as np
    import torch
    from tangermeme.saturation_mutagenesis import saturation_mutagenesis

    from lib.models import sequence as sq

    adapter, w = scorer.adapter, torch.from_numpy(scorer.direction.astype(np.float32))

    class Model(torch.nn.Module):
        def forward(self, X):
            texts = [sq.decode(row) for row in X.argmax(1).to(torch.uint8).numpy()]
            batch = adapter.encode(texts)
            x = adapter.run(batch, [scorer.site])[scorer.site].view(len(texts), -1, adapter.d_model)
            return (x.mean(1) @ w)[:, None]

    X = torch.from_numpy(sq.one_hot(sq.encode(text)[None], np.float32))
    raw = saturation_mutagenesis(Model(), X, batch_size=64, raw_outputs=True, device="cpu")
    return ((raw.y0.reshape(()) - raw.y_hat.reshape(4, -1)).sum(0) / 3).numpy()


def measure(quick: bool, n: int) -> str:
    import numpy as np
    import torch
    from scipy.stats import spearmanr

    from lib.causal import attribution
    from lib.models import adapter

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    n, n_loop, n_peer = (2, 4, 1) if quick else (n, 32, min(n, 2))
    model, texts, rng = adapter.load(MODEL), windows(n), np.random.default_rng(0)
    direction = rng.standard_normal(model.d_model)
    deep, middle = (attribution.WindowScore(model, site, direction) for site in (DEEPEST, MIDDLE))
    attribution.mutagenesis([deep], texts[:1], 8)
    before, load = peak_gib(), os.getloadavg()[0]
    progress(f"{n} sequences, {n * 3 * LENGTH:,} mutants")
    ours, ours_cpu, values = timed(lambda: attribution.mutagenesis([deep] * n, texts, LENGTH).values)
    peak = peak_gib()
    progress(f"{ours:.1f} s, {ours_cpu:.1f} s of CPU; at a middle block")
    shallow, shallow_cpu, _ = timed(lambda: attribution.mutagenesis([middle] * n, texts, LENGTH).values)
    progress("one mutant at a time")
    some = range(LENGTH // 2 - n_loop // 2, LENGTH // 2 + n_loop // 2)
    one, one_cpu, by_loop = timed(lambda: loop(deep, texts[0], some))
    progress("tangermeme")
    peer, peer_cpu, by_peer = timed(lambda: [with_tangermeme(deep, text) for text in texts[:n_peer]])
    progress("bfloat16")
    with torch.autocast("cpu", torch.bfloat16):
        half, half_cpu, coarse = timed(
            lambda: attribution.mutagenesis([deep] * n_peer, texts[:n_peer], LENGTH).values
        )
    rank = np.mean([spearmanr(np.abs(a), np.abs(b)).statistic for a, b in zip(values, coarse)])
    differs = (
        max(np.abs(values[0, some] - by_loop).max(), np.abs(values[:n_peer] - by_peer).max())
        / np.abs(values).max()
    )
    scale, scale_loop, scale_peer = 100 / n, 100 * LENGTH / n_loop, 100 / n_peer
    ours, ours_cpu, shallow, shallow_cpu = (t * scale for t in (ours, ours_cpu, shallow, shallow_cpu))
    bars = [
        ["seconds, 100 sequences", f"{ours:.1f}", f"at most {SECONDS_BAR}", verdict(ours <= SECONDS_BAR)],
        ["one at a time / ours", f"{one * scale_loop / ours:.1f}", "", ""],
        ["one at a time / ours, CPU time", f"{one_cpu * scale_loop / ours_cpu:.1f}", "", ""],
        ["tangermeme / ours", f"{peer * scale_peer / ours:.1f}", "", ""],
        ["tangermeme / ours, CPU time", f"{peer_cpu * scale_peer / ours_cpu:.1f}", "", ""],
        ["planned two hours / ours", f"{PLANNED / ours:.0f}", "", ""],
        ["peak RSS, GiB", f"{peak:.2f}", "", ""],
        [
            "largest difference to both, share of the largest value",
            f"{differs:.1e}",
            "at most 1e-4",
            verdict(differs <= 1e-4),
        ],
    ]
    times = [
        [
            f"ours, {DEEPEST}",
            f"{ours:.1f}",
            f"{ours_cpu:.1f}",
            f"{n * 3 * LENGTH:,} mutants of {n} sequences, scaled to 100",
        ],
        [f"ours, {MIDDLE}", f"{shallow:.1f}", f"{shallow_cpu:.1f}", "the same"],
        [
            f"one at a time, {DEEPEST}",
            f"{one * scale_loop:.1f}",
            f"{one_cpu * scale_loop:.1f}",
            f"scaled from {3 * n_loop} mutants of one sequence",
        ],
        [
            f"tangermeme, {DEEPEST}",
            f"{peer * scale_peer:.1f}",
            f"{peer_cpu * scale_peer:.1f}",
            f"scaled from {n_peer} sequences",
        ],
        [
            f"ours in bfloat16, {DEEPEST}",
            f"{half * scale_peer:.1f}",
            f"{half_cpu * scale_peer:.1f}",
            f"scaled from {n_peer} sequences",
        ],
    ]
    intro = (
        f"{cpu_name()}, {os.cpu_count()} cores, load {load:.1f} when ours began; torch {torch.__version__}, "
        f"numpy {np.__version__}, {torch.get_num_threads()} threads.\n\n"
        f"{n} windows of {LENGTH} bases of simulated DNA, one token a base, the demo model of {model.identity['parameters']:,} "
        f"parameters, a random direction on its mean-pooled activations. All {LENGTH} bases are mutated, float32. "
        f"Ours stops the forward at the site; so does tangermeme's, through the same adapter; the loop does not. Peak RSS is of the whole "
        f"process, {before:.2f} GiB before ours began. In bfloat16 the ranks of |value| correlate with those of float32 by {rank:.3f} "
        f"(Spearman, mean of {n_peer} sequences); float32 is used. Wall time counts what else the machine ran; CPU time does not."
    )  # fmt: skip
    return "\n\n".join(
        [intro, table(["", "value", "bar", ""], bars), table(["", "seconds", "CPU seconds", "on"], times)]
    )


def timed(run) -> tuple:
    """Wall seconds, CPU seconds of all threads, and what it gave."""
    wall, cpu = time.perf_counter(), time.process_time()
    given = run()
    return time.perf_counter() - wall, time.process_time() - cpu, given


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed and not written")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--sequences", type=int, default=100, help="sequences to time; the seconds are scaled to 100"
    )
    args = parser.parse_args()
    os.environ.update(
        {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(args.threads)}
    )  # before torch reads them
    body = measure(args.quick, args.sequences)
    if args.quick:
        print(body)
    else:
        REPORT.write_text(f"# In-silico mutagenesis\n\nWritten by `benchmarks/ism.py`.\n\n{body}\n")


if __name__ == "__main__":
    main()
