"""Every latent against every concept at once, against one concept at a time, on the same synthetic hits.

Scores 1,019 motif profiles on 2 strands x 4,096 latents x 5 thresholds on a million tokens; writes association.md beside
this file. The loop is the one of InterPLM's public code (compare_activations), in its dense and its sparse form, timed
on a fraction and scaled by what it is linear in. `PYTHONPATH=. python benchmarks/association.py [--quick] [--threads n]`;
--quick is a check on tiny sizes that writes nothing.
"""

import argparse
import os
import time
from pathlib import Path

from report import cpu_name, peak_gib, progress, table, verdict

from lib.dna import intervals

REPORT = Path(__file__).with_suffix(".md")
SECONDS_BAR, GIB_BAR, RATIO_BAR, SCAN_BAR = 60, 6, 50, 180


def latents_like(rng, n: int, n_latents: int, l0: int):
    """CSR [token, latent]: rates fall as rank^-0.6, L0 as asked for in the mean, exponential heights."""
    import numpy as np
    from scipy import sparse

    weight = np.arange(1, n_latents + 1) ** -0.6
    cut = np.cumsum(weight / weight.sum())
    parts = []
    for start in range(0, n, 100_000):
        rows = min(100_000, n - start)
        latent = np.searchsorted(cut, rng.random((rows, l0), dtype=np.float32)).clip(0, n_latents - 1)
        height = rng.exponential(size=rows * l0).astype(np.float32)
        part = sparse.csr_matrix((height, latent.ravel().astype(np.int32), np.arange(rows + 1) * l0), (rows, n_latents))
        part.sum_duplicates()
        parts.append(part)
    return sparse.vstack(parts, format="csr")


def concepts_like(rng, n: int, n_concepts: int, n_instances: int):
    """Concepts of instances of 2 to 12 tokens; instances a concept log-normal about their mean, as FIMO hits are."""
    import numpy as np
    import pandas as pd
    from scipy import sparse

    from lib.annotate.concepts import Concepts

    share = rng.lognormal(0, 0.7, n_concepts)
    code = np.sort(rng.choice(n_concepts, n_instances, p=share / share.sum()))
    start, length = rng.integers(0, n - 12, n_instances), rng.integers(2, 13, n_instances)
    first = np.concatenate([[0], np.cumsum(length)])
    token = np.repeat(start - first[:-1], length) + np.arange(first[-1])
    instances = sparse.csr_matrix((np.ones(len(token), np.float32), token, first), (n_instances, n))
    tokens = sparse.csc_matrix((np.ones(len(token), np.float32), (token, np.repeat(code, length))), (n, n_concepts))
    tokens.data[:] = 1
    return Concepts(pd.DataFrame({"concept": np.arange(n_concepts)}), tokens, instances, code)


def dense_loop(latents, concepts, rows: int, chosen: list[int], thresholds: tuple[float, ...], instances: bool = True) -> float:
    """Seconds of the dense loop for these concepts on the first `rows` tokens: threshold, compare, count, label by label.

    instances: count instances too, latent by latent.
    """
    import torch

    scaled = torch.from_numpy((latents[:rows] / latents.max()).toarray())
    labels = [torch.from_numpy(instance_labels(concepts, c)[:rows]) for c in chosen]
    started = time.perf_counter()
    for threshold in thresholds:
        on = (scaled > threshold).float()
        for label in labels:
            member = label.unsqueeze(1)
            (on * (member > 0)).sum(0)
            (on - on * (member > 0)).sum(0)
            if not instances:
                continue
            named = on * member
            for latent in range(named.shape[1]):
                (torch.unique(named[:, latent]) != 0).sum().item()
    return time.perf_counter() - started


def sparse_loop(latents, concepts, rows: int, chosen: list[int], thresholds: tuple[float, ...]) -> float:
    """Seconds of the sparse loop: the same, by products of the sparse latents with one sparse label column."""
    import numpy as np
    from scipy import sparse

    some = latents[:rows]
    labels = [sparse.csr_matrix(instance_labels(concepts, c)[:rows, None]) for c in chosen]
    started = time.perf_counter()
    for threshold in thresholds:
        on = some.copy()
        on.data = (on.data > threshold * on.data.max()).astype(np.float32)
        on.eliminate_zeros()
        for label in labels:
            both = on.multiply(label > 0)
            both.sum(0)
            (on - both).sum(0)
            named = on.multiply(label).tocsc()
            for latent in range(named.shape[1]):
                len(set(named.data[named.indptr[latent] : named.indptr[latent + 1]]))
    return time.perf_counter() - started


def instance_labels(concepts, concept: int):
    """Number of the instance that holds each token, 0 outside. [token] float32."""
    import numpy as np

    label = np.zeros(concepts.tokens.shape[0], dtype=np.float32)
    for number, instance in enumerate(np.flatnonzero(concepts.concept_of == concept), start=1):
        label[concepts.instances.indices[concepts.instances.indptr[instance] : concepts.instances.indptr[instance + 1]]] = number
    return label


def scan(rng, n_bases: int, width: int = 1000) -> tuple[float, int]:
    """Seconds of the FIMO scan of random bases, in windows, with all profiles on both strands, and the hits found."""
    import numpy as np
    import pandas as pd

    from lib.dna import motifs

    texts = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n_bases // width, width))]]
    windows = pd.DataFrame({"contig": "random", "start": np.arange(len(texts)) * width})
    profiles = motifs.vertebrate_motifs()
    windows["end"] = windows["start"] + width
    intervals.motif_hits(windows[:1], texts[:1], profiles[:2])  # compiles
    started = time.perf_counter()
    hits = intervals.motif_hits(windows, texts, profiles)
    return time.perf_counter() - started, len(hits)


def measure(quick: bool) -> str:
    import numba
    import numpy as np
    import scipy
    import torch

    from lib.annotate import pairs, shifts

    n, n_latents, l0, n_concepts, n_instances = (20_000, 256, 8, 40, 4000) if quick else (1_000_000, 4096, 32, 2038, 450_000)
    rng = np.random.default_rng(0)
    progress("making latents and hits")
    latents, concepts = latents_like(rng, n, n_latents, l0), concepts_like(rng, n, n_concepts, n_instances)
    strata = np.repeat(rng.integers(0, 96, n // 50 + 1), 50)[:n]
    small = slice(0, 500)
    tiny = type(concepts)(concepts.table, concepts.tokens[small], concepts.instances[:, small], concepts.concept_of)
    started = time.perf_counter()
    pairs.score_pairs(latents[small], tiny, strata=strata[small])
    compiled = time.perf_counter() - started
    before = peak_gib()
    load = os.getloadavg()[0]
    progress(f"scoring {n_latents * n_concepts:,} pairs")
    started, cpu = time.perf_counter(), time.process_time()
    scores = pairs.score_pairs(latents, concepts, strata=strata)
    scored = time.perf_counter() - started
    f1 = scores.f1
    ours, cpu, peak = time.perf_counter() - started, time.process_time() - cpu, peak_gib()
    progress(f"{ours:.1f} s, {peak:.2f} GiB; 1,000 shifts")
    n_pairs = 20 if quick else 200
    concept, latent = np.divmod(np.argsort(-f1[..., 0].ravel())[:n_pairs], n_latents)
    drawn = shifts.draw(np.arange(n) * 4 // n, n // 40, 1000, 0)
    unit, limits = np.arange(n) // 50, pairs.limits_of(pairs.largest_of(latents))[latent]
    shifts.shift_null(latents, concepts, latent[:1], concept[:1], limits[:1, 0], drawn, strata, unit)
    shifted = []
    for level in (0, 2):
        started = time.perf_counter()
        shifts.shift_null(latents, concepts, latent, concept, limits[:, level], drawn, strata, unit)
        seconds, fired = (time.perf_counter() - started) / n_pairs, scores.n_fired[latent, level].mean()
        where = f"threshold {pairs.THRESHOLDS[level]}: mean of {n_pairs} pairs, {fired:,.0f} firing tokens each"
        shifted.append(["1,000 shifts, a pair", f"{seconds:.4f}", where])
    rows, some = n // 50, [0, 1]
    progress("the loop, dense")
    dense = dense_loop(latents, concepts, rows, some, pairs.THRESHOLDS) * n / rows * n_concepts / len(some)
    tokens_only = dense_loop(latents, concepts, rows, some, pairs.THRESHOLDS, False) * n / rows * n_concepts / len(some)
    progress("the loop, sparse")
    rows_sparse = n // 5
    loop = sparse_loop(latents, concepts, rows_sparse, some, pairs.THRESHOLDS) * n / rows_sparse * n_concepts / len(some)
    progress("the scan")
    scanned, n_hits = scan(rng, 10_000 if quick else 1_000_000)
    bars = [
        ["seconds, every pair and threshold", f"{ours:.1f}", f"at most {SECONDS_BAR}", verdict(ours <= SECONDS_BAR)],
        ["peak RSS, GiB", f"{peak:.2f}", f"at most {GIB_BAR}", verdict(peak <= GIB_BAR)],
        ["scan of 1 Mb with all profiles, seconds", f"{scanned:.1f} ({n_hits:,} hits)", f"at most {SCAN_BAR}",
         verdict(scanned <= SCAN_BAR)],
        ["dense loop / ours", f"{dense / ours:,.0f}", f"at least {RATIO_BAR}", verdict(dense / ours >= RATIO_BAR)],
        ["dense loop without instances / ours", f"{tokens_only / ours:,.0f}", "", ""],
        ["sparse loop / ours", f"{loop / ours:,.0f}", "", ""],
    ]
    times = [
        ["ours: hits, instances, AUROC, odds ratios", f"{scored:.1f}", "all"],
        ["ours: F1 from them", f"{ours - scored:.1f}", "all"],
        ["ours: CPU time of both", f"{cpu:.1f}", "all"],
        ["ours: first call, compiling or reading the cache", f"{compiled:.1f}", "500 tokens"],
        ["dense loop", f"{dense:,.0f}", f"scaled from {rows / n:.0%} of tokens, {len(some)} concepts; all latents and thresholds"],
        ["dense loop without instances", f"{tokens_only:,.0f}", "the same"],
        ["sparse loop", f"{loop:,.0f}", f"scaled from {rows_sparse / n:.0%} of tokens, {len(some)} concepts; all latents and thresholds"],
        *shifted,
    ]
    intro = (
        f"{cpu_name()}, {os.cpu_count()} cores, load {load:.1f} when ours began; numba {numba.__version__}, scipy {scipy.__version__}, "
        f"numpy {np.__version__}, torch {torch.__version__}, {numba.get_num_threads()} threads.\n\n"
        f"{n:,} tokens, {n_latents:,} latents, mean L0 {latents.nnz / n:.1f}, {n_concepts:,} concepts (1,019 profiles, 2 strands) with "
        f"{concepts.tokens.nnz:,} token hits in {n_instances:,} instances of 2 to 12 tokens, thresholds {pairs.THRESHOLDS}, "
        f"{len(np.unique(strata))} confounder strata. Hits are synthetic and known beforehand. Ours counts hits and instances, "
        "ranks activations for an exact AUROC, and gives a Mantel-Haenszel odds ratio "
        f"for every pair and threshold; the loops count hits and instances only. Peak RSS is of the whole process, {before:.2f} "
        "GiB before ours began. The loops are linear in tokens and in concepts, and are scaled by both."
    )  # fmt: skip
    return "\n\n".join([intro, table(["", "value", "bar", ""], bars), table(["", "seconds", "on"], times)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed and not written")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(args.threads), "NUMBA_NUM_THREADS": str(args.threads)}
    os.environ.update(wanted)  # before the libraries that read them, so they are imported where used
    body = measure(args.quick)
    if args.quick:
        print(body)
    else:
        REPORT.write_text(f"# All latents against all concepts\n\nWritten by `benchmarks/association.py`.\n\n{body}\n")


if __name__ == "__main__":
    main()
