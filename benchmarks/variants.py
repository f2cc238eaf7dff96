"""Effects of alleles on latents, against the bare forwards of the same windows.

Random substitutions of simulated DNA under the demo model, both alleles on both strands, in turn with forwards that read the same site
and keep nothing; writes variants.md beside this file.
`PYTHONPATH=. python benchmarks/variants.py [--quick] [--threads n] [--variants n]`; --quick is a check on tiny sizes that writes nothing.
"""

import argparse
import os
import time
from pathlib import Path

from report import cpu_name, peak_gib, progress, table, verdict

REPORT = Path(__file__).with_suffix(".md")
MODEL = Path(__file__).resolve().parent.parent / "params/demo/model"
SITE, LENGTH, D_SAE, L0, RADIUS = "resid_post.4", 256, 512, 16, 10
RATIO_BAR, MEMORY_BAR, WHOLE, ROUNDS = 1.3, 2.0, 10_000, 3


def tables(n: int):
    """The windows of n substitutions on both strands."""
    import numpy as np
    import pandas as pd

    from lib.dna import labelled
    from lib.models import sequence as sq

    rng = np.random.default_rng(0)
    text = sq.decode(rng.integers(0, 4, 100_000).astype(np.uint8))

    class Genome:
        lengths = {"c": len(text)}  # noqa: RUF012

        @staticmethod
        def fetch(contig: str, start: int, end: int) -> str:
            return text[start:end]

    pos = np.sort(rng.choice(np.arange(LENGTH, len(text) - LENGTH), n, replace=False))
    rows = [("c", int(p), text[p], "ACGT".replace(text[p], "")[rng.integers(3)]) for p in pos]
    forward = labelled.windows(pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt"]), Genome, LENGTH)
    return [forward, labelled.turned(forward)]


def bare(model, some) -> None:
    """The forwards alone, in batches of the same size."""
    from lib.models import forward

    for strand in some:
        for allele in ("ref", "alt"):
            texts = strand[f"{allele}_sequence"].tolist()
            members = forward.of_size(len(texts), forward.fitting([LENGTH], 8192))
            for _, batch in forward.batches(model, texts, members):
                model.run(batch, [SITE])


def measure(quick: bool, n: int) -> str:
    import torch

    from lib.edits.change import of_alleles
    from lib.models import adapter
    from lib.sae.model import SAE, SAEConfig

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    n = 8 if quick else n
    model, some = adapter.load(MODEL), tables(n)
    sae = SAE(SAEConfig("topk", model.d_model, D_SAE, L0), 0).eval()
    bare(model, [strand[:4] for strand in some])
    ours, alone = [], []
    for number in range(1 if quick else ROUNDS):
        progress(f"round {number + 1}: {n} variants, both alleles on both strands")
        start = time.perf_counter()
        for strand in some:
            of_alleles(model, SITE, [sae], strand, RADIUS)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        bare(model, some)
        alone.append(time.perf_counter() - start)
    ratio = sorted(a / b for a, b in zip(ours, alone, strict=True))
    middle, peak = ratio[len(ratio) // 2], peak_gib()
    rows = [
        ["ours / bare forwards, median of rounds", f"{middle:.2f}", f"at most {RATIO_BAR}", verdict(middle <= RATIO_BAR)],
        ["smallest and largest of rounds", f"{ratio[0]:.2f}, {ratio[-1]:.2f}", "", ""],
        [f"minutes for {WHOLE:,} variants, scaled from {n:,}", f"{min(ours) * WHOLE / n / 60:.1f}", "", ""],
        ["peak RSS, GiB", f"{peak:.2f}", f"at most {MEMORY_BAR}", verdict(peak <= MEMORY_BAR)],
    ]
    about = f"{cpu_name()}, {os.environ['OMP_NUM_THREADS']} threads, load {os.getloadavg()[0]:.1f} at the end; torch {torch.__version__}"
    return f"# Effects of alleles\n\n{about}. Windows of {LENGTH} bases, d_sae {D_SAE}, L0 {L0}.\n\n" + table(
        ["", "measured", "bar", ""], rows
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--variants", type=int, default=500)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    text = measure(given.quick, given.variants)
    print(text)
    if not given.quick:
        REPORT.write_text(text + "\n")
