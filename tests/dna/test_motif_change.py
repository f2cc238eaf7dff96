"""What a variant does to motif hits, against a scan of both alleles by hand."""

import numpy as np
import pandas as pd
import pytest

from lib.dna import labelled, motif_change, motifs
from lib.models import sequence as sq
from tests import helpers


def windows(rows, text, bp=80):
    return labelled.windows(pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt"]), helpers.Genome(c=text), bp)


@pytest.fixture(scope="module")
def profiles():
    return tuple(motifs.vertebrate_motifs()[::60])


def by_hand(text, offset, n, motif, floor):
    best = floor
    for pwm in (motif.pwm, motif.reverse_complement()):
        score = motifs.scan(sq.encode(text), pwm)
        touching = score[max(0, offset - motif.width + 1) : offset + n]
        best = max(best, touching.max(initial=-np.inf))
    return best


def test_changes_are_those_of_a_scan_of_both_alleles(profiles):
    text = helpers.random_dna(200, 0)
    rows = [("c", p, text[p], "ACGT".replace(text[p], "")[p % 3]) for p in range(60, 140, 7)]
    rows += [("c", 100, text[100:104], text[100]), ("c", 90, text[90], text[90] + "GATTACA")]
    rows += [("c", 2, text[2], "A" if text[2] != "A" else "C")]
    table = windows(rows, text)
    got = motif_change.changes(table, profiles)
    expected = np.zeros_like(got)
    for k, motif in enumerate(profiles):
        try:
            floor = motifs.score_threshold(motif.pwm, 1e-4)
        except ValueError:
            continue
        for i, v in enumerate(table.itertuples()):
            ref = by_hand(v.ref_sequence, v.offset, len(v.ref), motif, floor)
            expected[i, k] = by_hand(v.alt_sequence, v.offset, len(v.alt), motif, floor) - ref
    np.testing.assert_allclose(got, expected, atol=1e-4)
    np.testing.assert_allclose(motif_change.largest(got), np.abs(expected).max(1), atol=1e-4)
    assert np.abs(expected).max() > 1


def test_a_broken_site_loses_its_hit_and_a_made_one_gains_it(profiles):
    motif = max(profiles, key=lambda m: m.information.sum())
    word = sq.decode(motif.pwm.argmax(0).astype(np.uint8))
    text = helpers.random_dna(60, 1) + word + helpers.random_dna(60, 2)
    at = 60 + int(motif.information.argmax())
    other = "ACGT"[int(motif.pwm[:, at - 60].argmin())]
    rows = [("c", at, text[at], other)]
    k = [m.matrix_id for m in profiles].index(motif.matrix_id)
    lost = motif_change.changes(windows(rows, text), profiles)[0, k]
    broken = text[:at] + other + text[at + 1 :]
    gained = motif_change.changes(windows([("c", at, other, text[at])], broken), profiles)[0, k]
    assert lost < -1 and gained == pytest.approx(-lost)


def test_no_variant_and_unknown_bases_change_nothing(profiles):
    empty = windows([("c", 5, "A", "C")], "ACGTAACGT", 8)[:0]
    assert motif_change.changes(empty, profiles).shape == (0, len(profiles)) and motif_change.largest(np.zeros((0, 3))).shape == (0,)
    table = pd.DataFrame([(4, "A", "C", "NNNNANNNN", "NNNNCNNNN")], columns=["offset", "ref", "alt", "ref_sequence", "alt_sequence"])
    assert not motif_change.changes(table, profiles).any()
