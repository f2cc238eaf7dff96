"""What numba compiles of memelite is kept: a new process finds it on disk."""

import os
import subprocess
import sys

SCRIPT = """
import numpy as np
from lib.stage import compiled
import memelite
compiled.keep("memelite.fimo")
import sys
from numba.core.dispatcher import Dispatcher
pwm = np.full((4, 6), 0.01) + 0.96 * np.eye(4)[:, [0, 1, 2, 3, 0, 1]]
hot = np.eye(4, dtype=np.int8)[:, [0, 1, 2, 3, 0, 1, 2, 2]][None]
print(len(memelite.fimo({"m": pwm}, hot, threshold=0.01)[0]))
found = [f for f in vars(sys.modules["memelite.fimo"]).values() if isinstance(f, Dispatcher) and f.signatures]
print(sum(sum(f.stats.cache_hits.values()) for f in found), sum(sum(f.stats.cache_misses.values()) for f in found))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True).stdout.split()
        for _ in "12"
    ]
    (hits, loaded, missed), (again, loaded_again, missed_again) = ([int(x) for x in s] for s in said)
    assert hits == again >= 1
    assert loaded == 0 and missed > 0  # the first process compiles
    assert loaded_again > 0 and missed_again == 0
