"""Delta-AUROC of every latent on the same bootstrap draws, against a loop over draws, on synthetic scores.

4,096 latents, 2,000 people, 10,000 draws, 1 and 10 repeats; writes necessity.md beside this file. The loops are timed on
a fraction of latents and draws, in both of which they are linear, and scaled. `PYTHONPATH=. python
benchmarks/necessity.py [--quick] [--threads n]`; --quick is a check on tiny sizes that writes nothing.
"""

import argparse
import os
import time
from pathlib import Path

from report import cpu_name, peak_gib, progress, table, verdict

from lib.causal import falls

REPORT = Path(__file__).with_suffix(".md")
SECONDS_BAR, GIB_BAR = 120, 4


def scores_like(rng, n_repeats: int, n_latents: int, n: int):
    """y, full and change: every latent moves everybody, so that none is spared its sort or its draws."""
    import numpy as np

    y = np.arange(n) % 2
    change = rng.standard_normal((n_repeats, n_latents, n), dtype=np.float32)
    change *= 0.2
    return y, rng.normal(size=(n_repeats, n)) + 0.7 * y, change


def sklearn_loop(y, full, change, weights) -> float:
    """Seconds of scikit-learn's weighted AUROC, latent by latent and draw by draw, the full score once a draw."""
    from sklearn.metrics import roc_auc_score

    started = time.perf_counter()
    for weight in weights.T:
        roc_auc_score(y, full, sample_weight=weight)
        for row in change:
            roc_auc_score(y, full + row, sample_weight=weight)
    return time.perf_counter() - started


def numpy_loop(y, full, change, weights) -> float:
    """Seconds of the same in numpy: sort once a latent, then a cumulated sum a draw; ties are not looked at."""
    import numpy as np

    started = time.perf_counter()
    for row in (np.zeros_like(full), *change):
        order = np.argsort(full + row)
        case = y[order] == 1
        for weight in weights.T:
            w = weight[order]
            below = np.cumsum(np.where(case, 0, w), dtype=np.int64)
            (w * below)[case].sum() / (w[case].sum() * below[-1])
    return time.perf_counter() - started


def timed(function, *args):
    started, cpu = time.perf_counter(), time.process_time()
    out = function(*args)
    return out, time.perf_counter() - started, time.process_time() - cpu


def measure(quick: bool) -> str:
    import numba
    import numpy as np
    import scipy
    import sklearn

    from lib.causal import necessity

    n_latents, n, n_boot, some = (64, 200, 1000, (2, 20)) if quick else (4096, 2000, 10_000, (4, 100))
    rng = np.random.default_rng(0)
    y, full, change = scores_like(rng, 1, n_latents, n)
    _, compiled, _ = timed(falls.bootstrap, y, full, change[:, :2], necessity.draws(y, None, 10, 0))
    before, load = peak_gib(), os.getloadavg()[0]
    progress("draws")
    weights, drawing, c0 = timed(necessity.draws, y, None, n_boot, 0)
    (delta, drawn), seconds, cpu = timed(falls.bootstrap, y, full, change, weights)
    progress(f"{seconds:.1f} s, {cpu:.1f} s of CPU; intervals and tests")
    influence, jackknifed, c1 = timed(falls.jackknife, y, full, change, None)
    _, bounded, c2 = timed(necessity.bca, delta, drawn, influence)
    _, tested, c3 = timed(necessity.max_t, delta, drawn)
    _, delonged, _ = timed(necessity.linearised, y, full, change)
    peak = peak_gib()
    progress("the loops")
    few = change[0, : some[0]]
    scale = (n_latents + 1) * n_boot / ((some[0] + 1) * some[1])
    loops = [f(y, full[0], few, weights[:, : some[1]]) * scale for f in (sklearn_loop, numpy_loop)]
    del change, drawn, influence
    y, full, change = scores_like(rng, 10, n_latents, n)
    progress("10 repeats")
    _, ten, ten_cpu = timed(falls.bootstrap, y, full, change, weights)
    peak_ten, all_of_it = peak_gib(), drawing + seconds + jackknifed + bounded + tested
    all_cpu = c0 + cpu + c1 + c2 + c3
    bars = [
        ["seconds, 1 repeat, draws to tests", f"{all_of_it:.1f}", f"at most {SECONDS_BAR}", verdict(all_of_it <= SECONDS_BAR)],
        ["the same, CPU seconds over both cores", f"{all_cpu:.1f}", "", ""],
        ["peak RSS, GiB, 1 repeat", f"{peak:.2f}", f"at most {GIB_BAR}", verdict(peak <= GIB_BAR)],
        ["peak RSS, GiB, 10 repeats", f"{peak_ten:.2f}", f"at most {GIB_BAR}", verdict(peak_ten <= GIB_BAR)],
        ["scikit-learn loop / our bootstrap", f"{loops[0] / seconds:,.0f}", "", ""],
        ["numpy loop / our bootstrap", f"{loops[1] / seconds:,.0f}", "", ""],
    ]  # fmt: skip
    fraction = f"scaled from {some[0]} latents, {some[1]} draws ({1 / scale:.1e} of the work)"
    times = [
        ["draws", f"{drawing:.1f}", "1 repeat"],
        ["bootstrap", f"{seconds:.1f}", "1 repeat"],
        ["bootstrap, CPU time", f"{cpu:.1f}", "1 repeat"],
        ["jackknife over people", f"{jackknifed:.1f}", "1 repeat"],
        ["BCa intervals", f"{bounded:.1f}", "1 repeat"],
        ["step-down max-T", f"{tested:.1f}", "1 repeat"],
        ["DeLong intervals", f"{delonged:.1f}", "1 repeat"],
        ["bootstrap", f"{ten:.1f}", "10 repeats"],
        ["bootstrap, CPU time", f"{ten_cpu:.1f}", "10 repeats"],
        ["first call, compiling or reading the cache", f"{compiled:.1f}", "2 latents, 10 draws"],
        ["scikit-learn loop", f"{loops[0]:,.0f}", fraction],
        ["numpy loop, ties not looked at", f"{loops[1]:,.0f}", fraction],
    ]
    intro = (
        f"{cpu_name()}, {os.cpu_count()} cores, load {load:.1f} when ours began; numba {numba.__version__}, scipy {scipy.__version__}, "
        f"numpy {np.__version__}, scikit-learn {sklearn.__version__}, {numba.get_num_threads()} threads.\n\n"
        f"{n_latents:,} latents, {n:,} people, half of them cases, {n_boot:,} draws stratified by class and shared by all latents. "
        "Scores are synthetic; every latent moves everybody. Ours is exact with ties. Peak RSS is of the whole process, "
        f"{before:.2f} GiB before ours began. The loops are linear in latents and in draws, and are scaled by both; one repeat."
    )  # fmt: skip
    return "\n\n".join([intro, table(["", "value", "bar", ""], bars), table(["", "seconds", "on"], times)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed and not written")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    wanted = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(args.threads),
        "NUMBA_NUM_THREADS": str(args.threads),
    }
    os.environ.update(wanted)  # before the libraries that read them, so they are imported where used
    body = measure(args.quick)
    if args.quick:
        print(body)
    else:
        REPORT.write_text(
            f"# Necessity of every latent on shared draws\n\nWritten by `benchmarks/necessity.py`.\n\n{body}\n"
        )


if __name__ == "__main__":
    main()
