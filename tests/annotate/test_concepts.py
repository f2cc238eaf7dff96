"""Concepts on tokens: the overlap rule by hand, and which concepts are kept."""

import numpy as np
import pandas as pd
import pytest

from lib.annotate import concepts


def tokens(*spans, contig="chr1"):
    return pd.DataFrame([(contig, s, e) for s, e in spans], columns=["contig", "ref_start", "ref_end"])


def intervals(*rows):
    return pd.DataFrame(
        [(contig, s, e, c, "family " + c) for contig, s, e, c in rows],
        columns=["contig", "start", "end", "concept", "family"],
    )


@pytest.mark.parametrize(
    "start, end, hit",
    [  # tokens 0-6 6-12 12-13 13-19
        (0, 6, [0]),
        (3, 6, [0]),  # half of the token
        (4, 6, [0]),  # a third of the token, but all of the interval
        (4, 8, [0, 1]),  # 2 of 4 in each: half of the interval
        (4, 9, [1]),  # 2 of 5 and 2 of 6 in token 0: just under both; 3 of 5 in token 1
        (3, 20, [0, 1, 2, 3]),
        (4, 17, [1, 2, 3]),  # 2 of 6 in token 0; 4 of 6 in token 3
        (10, 15, [2]),  # 2 of 6 and 2 of 5 at either side; all of token 2
        (19, 25, []),  # touches the end, shares nothing
        (-3, 0, []),
        (-9, 3, [0]),
        (-9, 2, []),
    ],
)
def test_overlap_rule_by_hand(start, end, hit):
    interval, token = concepts.overlaps(
        np.array([0, 6, 12, 13]), np.array([6, 12, 13, 19]), np.array([start]), np.array([end])
    )
    assert token.tolist() == hit and interval.tolist() == [0] * len(hit)


def test_overlaps_equal_a_loop():
    rng = np.random.default_rng(0)
    cuts = np.unique(rng.integers(0, 300, 80))
    token_start, token_end = cuts[:-1], cuts[1:]
    keep = rng.random(len(token_start)) < 0.8  # gaps, as unknown tokens leave
    token_start, token_end = token_start[keep], token_end[keep]
    start = rng.integers(-10, 300, 60)
    end = start + rng.integers(1, 25, 60)
    want = []
    for i in range(60):
        for t in range(len(token_start)):
            shared = min(end[i], token_end[t]) - max(start[i], token_start[t])
            if shared > 0 and (
                shared >= (token_end[t] - token_start[t]) / 2 or shared >= (end[i] - start[i]) / 2
            ):
                want.append((i, t))
    assert list(zip(*concepts.overlaps(token_start, token_end, start, end))) == want


def test_lay_by_hand():
    on = pd.concat([tokens((0, 2), (2, 4), (4, 6)), tokens((0, 2), (2, 4), contig="chr2")])
    marks = intervals(
        ("chr1", 0, 4, "a"),  # instance on tokens 0 and 1
        ("chr1", 1, 2, "a"),  # on token 0 again
        ("chr2", 2, 9, "a"),  # on token 4
        ("chr2", 50, 60, "a"),  # on none: no instance
        ("chr3", 0, 4, "a"),  # on no contig of ours
        ("chr1", 4, 6, "rare"),
        ("chr2", 0, 2, "b"), ("chr2", 1, 2, "b"),
    )  # fmt: skip
    laid = concepts.lay(on, marks, "motif", "test", min_instances=2)
    assert laid.table["concept"].tolist() == ["a", "b"]
    assert laid.table["n_instances"].tolist() == [3, 2] and laid.table["n_tokens"].tolist() == [3, 1]
    assert laid.table["family"].tolist() == ["family a", "family b"]
    assert set(laid.table["kind"]) == {"motif"} and set(laid.table["source"]) == {"test"}
    assert laid.tokens.toarray().T.tolist() == [[1, 1, 0, 0, 1], [0, 0, 0, 1, 0]]
    instances = [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]
    assert laid.instances.toarray().tolist() == instances
    assert laid.concept_of.tolist() == [0, 0, 0, 1, 1]
    assert concepts.lay(on, marks, "motif", "test", min_instances=3).table["concept"].tolist() == ["a"]
    assert concepts.lay(on, marks, "motif", "test", min_instances=1).table["concept"].tolist() == [
        "a",
        "b",
        "rare",
    ]
    assert len(concepts.lay(on, marks, "motif", "test", min_instances=9).table) == 0


def test_tokens_out_of_order_are_refused():
    with pytest.raises(ValueError, match="sorted by contig"):
        concepts.lay(tokens((4, 6), (0, 2)), intervals(("chr1", 0, 4, "a")), "k", "s", 1)
    backwards = pd.concat([tokens((0, 2), contig="chr2"), tokens((0, 2))])
    with pytest.raises(ValueError, match="sorted by contig"):
        concepts.lay(backwards, intervals(("chr1", 0, 4, "a")), "k", "s", 1)


def test_combine_keeps_each_instance_with_its_concept():
    on = tokens((0, 2), (2, 4))
    one = concepts.lay(on, intervals(("chr1", 0, 2, "a"), ("chr1", 2, 4, "b")), "motif", "s", 1)
    two = concepts.lay(on, intervals(("chr1", 2, 4, "c")), "region", "s", 1)
    both = concepts.combine([one, two])
    assert both.table[["concept", "kind"]].to_numpy().tolist() == [
        ["a", "motif"],
        ["b", "motif"],
        ["c", "region"],
    ]
    assert both.concept_of.tolist() == [0, 1, 2]
    assert both.tokens.toarray().tolist() == [[1, 0, 0], [0, 1, 1]]
    assert both.instances.toarray().tolist() == [[1, 0], [0, 1], [0, 1]]
