"""Figure 8: the bits of a logo by hand, and what the three panels of a card show."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lib.dna import cards, kind, motifs
from tests.panels import drawn, says, says_why

WINDOWS = pd.DataFrame({"latent": 7, "rank": [0] * 4 + [1] * 4, "contig": "c", "position": [10, 11, 12, 13, 50, 51, 52, 53],
                        "base": list("ACGTTCGA"),
                        "activation": [0.0, 3.0, 1.0, 0.0, 0.0, 2.0, 0.0, 0.0]})  # fmt: skip


def test_bits_around_the_peaks():
    # Peaks at the second base of both windows. There C twice: p(C) = 2.25 / 3, the others 0.25 / 3. Before it A and T.
    bits = cards.window_bits(WINDOWS, flank=1)
    assert bits.shape == (3, 4)
    p = np.array([0.25, 2.25, 0.25, 0.25]) / 3
    assert bits.iloc[1].to_numpy() == pytest.approx(p * (2 + (p * np.log2(p)).sum()))
    assert bits.loc[0, "A"] == bits.loc[0, "T"] > bits.loc[0, "C"]
    # Two bases before the peak there is nothing: no base is known, so no information.
    assert cards.window_bits(WINDOWS, flank=2).iloc[0].to_numpy() == pytest.approx(np.zeros(4))
    assert cards.window_bits(WINDOWS.iloc[:0]).empty


def test_a_profile_is_read_on_the_strand_that_the_latent_reads():
    motif = motifs.vertebrate_motifs()[0]
    name = f"{motif.matrix_id} {motif.name}"
    plus, minus = cards.profile_bits(f"{name} +"), cards.profile_bits(f"{name} -")
    assert plus.to_numpy() == pytest.approx((motif.pwm * motif.information).T)
    assert minus.to_numpy() == pytest.approx(plus.to_numpy()[::-1, ::-1])  # A and T change places, as do C and G


def test_the_track_of_the_top_window():
    ax = drawn(cards.track, WINDOWS, pd.Series({"kind": "motif", "f1": 0.9, "q": 1e-4, "plausible": True}))
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == 3.0 and ax.get_xlim() == (10, 13)
    assert says(ax, "latent 7  c; F1 0.90, q 0.0001", "activation")
    assert says(drawn(cards.track, WINDOWS), "latent 7  c")
    far = pd.Series({"kind": "motif", "f1": 0.9, "q": 8.3e-197, "plausible": True})
    assert says(drawn(cards.track, WINDOWS, far), "latent 7  c; F1 0.90, q < 1e-10")
    weak = pd.Series({"kind": "motif", "f1": 0.24, "q": 1e-9, "plausible": False})
    assert says(drawn(cards.track, WINDOWS, weak), "latent 7  c; F1 0.24, not claimed")


def test_a_card_names_a_family_or_a_repeat_and_no_factor():
    feature = pd.Series({"kind": "motif", "concept": "MA0105.4 NFKB1 -", "family": "NF-kappaB-related factors", "f1": 0.9, "q": 1e-4,
                         "plausible": True})  # fmt: skip
    ax = drawn(cards.profile, feature)
    assert ax.get_title("left") == "NF-kappaB-related\nfactors" and not says(ax, "NFKB1") and len(ax.patches)
    alu = pd.Series({"kind": "repeat", "concept": "repeat: Alu", "family": "repeat: Alu", "repeat_share": 0.96, "plausible": False})
    assert says(drawn(cards.track, WINDOWS, alu), "latent 7  c; 96% in repeats") and says(drawn(cards.profile, alu), "repeat: Alu")
    features = pd.DataFrame([feature, alu]).assign(latent=[7, 8]).set_index("latent")
    figure = kind.cards(pd.concat([WINDOWS, WINDOWS.assign(latent=8)]), features)
    titles = [ax.get_title("left") + ax.get_title() for ax in figure.axes]
    named = [ax.get_xlabel() for ax in figure.axes]
    plt.close(figure)
    assert named == ["", "", "", "base on c", "bases from the peak", ""]  # of the bottom row
    assert titles[1] == titles[4] == "top windows, bits (n = 2)" and not any("NFKB1" in title for title in titles)


def test_a_logo_is_as_high_as_its_bits():
    bits = pd.DataFrame({"A": [2.0, 0.0, 0.0], "C": [0.0, 0.5, 0.0], "G": [0.0, 0.0, 0.0], "T": [0.0, 0.0, 1.0]})
    ax = drawn(cards.logo, bits, "top windows, bits", 1)
    tops = sorted(round(float(patch.get_path().vertices[:, 1].max()), 6) for patch in ax.patches)
    assert tops[-3:] == [0.5, 1.0, 2.0] and says(ax, "top windows, bits", "-1", "0", "1") and ax.get_ylim() == (0, 2)
    assert not len(drawn(cards.logo, bits, "MA0105.4 NFKB1 -").get_xticks())


def test_without_a_latent_the_panels_say_so():
    assert says_why(drawn(cards.track, WINDOWS.iloc[:0]), cards.NO_CARD)
    assert says_why(drawn(cards.logo, cards.window_bits(WINDOWS.iloc[:0])), cards.NO_CARD)
