"""Which token of the reference stands for which, over insertions, deletions and tokens that an edit shifts."""

import numpy as np
import pandas as pd

from lib.acts import counterparts


def test_alignment_across_an_insertion_and_a_deletion_by_hand():
    units = pd.DataFrame(
        {
            "unit": [0, 1, 2, 3, 4],
            "window": [7, 7, 7, 9, 9],
            "is_reference": [True, False, False, True, False],
        }
    )
    rows = [
        (0, [10, 11, 12, 13]),  # rows 0-3
        (1, [10, 11, 11, 11, 12, 13]),  # two bases inserted after 11: they take their anchor's token, row 1
        (2, [10, 13]),  # 11 and 12 deleted
        (3, [20, 26, 32]),  # rows 12-14: six-base tokens
        (4, [20, 25, 31, 37]),  # shifted by an edit: 25 lies in 20-26, 31 in 26-32, 37 past the last start
    ]
    unit = np.repeat([u for u, _ in rows], [len(p) for _, p in rows])
    got = counterparts.aligned(
        {"unit": unit, "ref_start": np.concatenate([p for _, p in rows])}, units
    )
    assert got.tolist() == [0, 1, 2, 3, 0, 1, 1, 1, 2, 3, 0, 3, 12, 13, 14, 12, 12, 13, 14]
