"""The CPU kernels of training: the same bits from a kernel that was just compiled and from one that lay in the cache."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TRAINING = """
import hashlib, itertools
import numpy as np
from lib.sae.stack import Run
from lib.sae.train import TrainConfig, train

x = np.random.default_rng(0).standard_normal((4000, 96)).astype(np.float32)

def stream(start):
    for step in itertools.count(start):
        yield x[np.random.default_rng([7, step]).integers(0, len(x), 256)]

runs = [Run(name, name, 384, sparsity, lr=4e-3) for name, sparsity in
        (("topk", 16), ("batchtopk", 16), ("jumprelu", 16), ("standard", 0.01), ("gated", 0.01), ("matryoshka", 16))]
for name, sae in train(runs, TrainConfig(steps=12, batch=256, warm_up=5), stream).saes.items():
    print(name, hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in sae.parameters())).hexdigest())
"""


def test_a_training_gives_the_same_bits_from_fresh_and_from_cached_kernels(tmp_path):
    """Reordered by the compiler, one sum differed in its last digits between the two on some CPUs."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", TRAINING]
    fresh, cached = (subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout for _ in "ab")
    assert list((tmp_path / "cache").rglob("*.nbc"))
    assert fresh.count("\n") == 6 and fresh.splitlines() == cached.splitlines()
