"""One letter for what stands behind a latent."""

import pandas as pd

from lib.annotate import grade

ROWS = pd.DataFrame(
    [(True, "m", 2, "necessary"), (True, "m", 1, "necessary family"), (True, "m", 2, "needed"), (True, "m", 0, "necessary"),
     (True, "m", None, ""), (False, "m", 2, "necessary"), (False, "", 2, ""), (False, None, None, None)],
    columns=["plausible", "concept", "seeds_found", "faithful"],
)  # fmt: skip


def test_the_first_letter_that_holds():
    assert "".join(grade.grades(ROWS, 2)) == "AABCCDEE"
    assert "".join(grade.grades(ROWS, 4)) == "ACBCCDEE"
    assert "".join(grade.grades(ROWS.assign(seeds_found=0), 0)) == "CCCCCDEE"  # one seed: nothing comes again
    assert list(grade.MEANS) == ["A", "B", "C", "D", "E"]
