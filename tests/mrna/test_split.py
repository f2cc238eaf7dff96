"""Splits by sequence: what is alike stays together, whatever the order."""

import numpy as np
import pytest

from lib.mrna import split


def utrs(n: int, seed: int = 0) -> list[str]:
    return ["".join(row) for row in np.array(list("ACGT"))[np.random.default_rng(seed).integers(0, 4, (n, 50))]]


def test_an_allele_lies_with_its_wild_type_and_random_ones_apart():
    texts = utrs(300)
    alleles = [text[:25] + ("A" if text[25] != "A" else "C") + text[26:] for text in texts]
    number = split.clusters(texts + alleles)
    assert (number[:300] == number[300:]).all() and len(set(number)) == 300
    assert len(set(split.clusters(["ACGT", "ACGT", "TTACGTTT" * 5, "GGGG"]))) == 2


def test_spaces_keep_clusters_whole_and_do_not_hang_on_order_or_others():
    texts = utrs(2000)
    got = split.spaces(texts, (0.1, 0.2), 0)
    assert abs((got == "validation").mean() - 0.1) < 0.02 and abs((got == "test").mean() - 0.2) < 0.03
    again = split.spaces(texts[::-1], (0.1, 0.2), 0)[::-1]
    assert (got == again).all() and (split.spaces(texts[:50], (0.1, 0.2), 0) == got[:50]).all()
    assert (split.spaces(texts, (0.1, 0.2), 1) != got).any()
    both = split.spaces(texts + [text[1:] + "A" for text in texts], (0.1, 0.2), 0)
    assert (both[:2000] == both[2000:]).all()


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2)])
def test_shares_that_leave_nothing_are_refused(shares):
    with pytest.raises(ValueError, match="wanted 0 or more, and less than 1 together"):
        split.spaces(["ACGT"], shares, 0)
