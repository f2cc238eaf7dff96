import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.annotate import contrasts


def made(n, seed, groups=("a", "b")):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"group": rng.choice(groups, n), "positive": rng.random(n) < 0.25, "unit": np.arange(n) // 3})
    return table, rng


def test_peaks_are_the_largest_over_the_tokens_of_an_instance():
    latents = sparse.csr_matrix(np.array([[0, 1], [3, 0], [2, 5], [0, 0]], np.float32))
    got = contrasts.peaks(latents, np.array([0, 1, 3]), np.array([2, 3, 4]))
    assert got.tolist() == [[3, 1], [3, 5], [0, 0]]
    blocks = (latents[:, [j]] for j in range(2))
    assert (contrasts.peaks(blocks, np.array([0, 1, 3]), np.array([2, 3, 4])) == got).all()


def test_best_cuts_equal_a_search_of_all_thresholds():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, (40, 6)).astype(float), rng.random(40) < 0.3
    cuts, f1s = contrasts.best_cuts(scores, positive)
    for j in range(6):
        every = {}
        for cut in np.unique(scores[:, j]):
            said = scores[:, j] >= cut
            every[cut] = 2 * (said & positive).sum() / (said.sum() + positive.sum())
        assert f1s[j] == pytest.approx(max(every.values())) and every[cuts[j]] == pytest.approx(f1s[j])


def test_a_score_that_knows_wins_and_noise_stays_near_the_base_rate():
    instances, scores = {}, {"knows": {}, "noise": {}}
    for seed, part in enumerate(contrasts.PARTS):
        table, rng = made(1200, seed)
        instances[part] = table
        noise = rng.random((len(table), 30))
        knows = noise.copy()
        knows[:, 7] = table.positive * (table.group == "a") + 0.5 * rng.random(len(table))
        knows[:, 9] = table.positive * (table.group == "b") + 0.5 * rng.random(len(table))
        scores["knows"][part], scores["noise"][part] = knows, noise
    read, means = contrasts.told_apart(scores, instances, 200, 0)
    chosen = read[read.method == "knows"].set_index("group")
    assert chosen.score.to_dict() == {"a": 7, "b": 9} and (chosen.f1 > 0.97).all()
    means = means.set_index("method")
    assert 0.3 < means.f1["noise"] < 0.45  # yes to all: 0.4
    assert means.gain["knows"] == 0 and means.gain_low["noise"] > 0.4
    assert means.low["noise"] < means.f1["noise"] < means.high["noise"]


def test_what_is_chosen_on_validation_is_not_chosen_again_on_test():
    instances = {part: made(60, seed)[0] for seed, part in enumerate(contrasts.PARTS)}
    positive = {part: table.positive.to_numpy(float) for part, table in instances.items()}
    scores = {"m": {"validation": np.stack([positive["validation"], 1 - positive["validation"]], 1),
                    "test": np.stack([1 - positive["test"], positive["test"]], 1)}}  # fmt: skip
    read, _ = contrasts.told_apart(scores, instances, 10, 0)
    assert (read.score == 0).all() and (read.f1 == 0).all()


def test_units_are_drawn_whole_and_groups_without_both_are_left_out():
    instances = {part: made(90, seed, ("a", "b", "c"))[0] for seed, part in enumerate(contrasts.PARTS)}
    instances["test"].loc[instances["test"].group == "c", "positive"] = False
    scores = {"m": {part: np.random.default_rng(3).random((90, 4)) for part in contrasts.PARTS}}
    read, means = contrasts.told_apart(scores, instances, 50, 0)
    assert set(read.group) == {"a", "b"} and means.n_groups.iat[0] == 2
    one_unit = {part: table.assign(unit=0) for part, table in instances.items()}
    means = contrasts.told_apart(scores, one_unit, 50, 0)[1]
    assert means.low.iat[0] == means.f1.iat[0] == means.high.iat[0]
    with pytest.raises(ValueError, match="no group has positive and other instances"):
        contrasts.told_apart(scores, {p: t.assign(positive=False) for p, t in instances.items()}, 10, 0)
