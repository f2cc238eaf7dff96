import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.annotate import contrasts
from lib.stats import estimates


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


def test_without_a_group_of_both_or_without_an_instance_tables_have_columns_and_no_row():
    instances = {part: made(20, seed)[0] for seed, part in enumerate(contrasts.PARTS)}
    scores = {"SAE": {part: np.zeros((20, 2)) for part in contrasts.PARTS}}
    full = contrasts.told_apart(scores, instances, 10, 0)
    alike = {part: table.assign(positive=False) for part, table in instances.items()}
    for none in (contrasts.told_apart(scores, alike, 10, 0), contrasts.told_apart({"SAE": {}}, {}, 10, 0)):
        assert [list(table) for table in none] == [list(table) for table in full] and not any(map(len, none))
    read, means = none
    assert contrasts.gains(means, ["PCA"]) == {"PCA": estimates.NOTHING} and contrasts.mean_f1(means, "SAE") is estimates.NOTHING
    assert contrasts.recovered(read, 0.5) == contrasts.tells(read, "SAE") == {}


def test_yes_to_all_has_its_own_mean_and_gains_are_of_the_first_method():
    instances = {part: made(400, seed)[0] for seed, part in enumerate(contrasts.PARTS)}
    yes = {part: np.ones((400, 1)) for part in contrasts.PARTS}
    knows = {part: table.positive.to_numpy(float)[:, None] for part, table in instances.items()}
    means = contrasts.told_apart({"SAE": knows, "words": yes}, instances, 50, 0)[1]
    assert means.always.tolist() == [means.f1.iat[1]] * 2 and contrasts.mean_f1(means, "SAE")[:2] == (1.0, 1.0)
    units = instances["test"].unit.nunique()
    assert contrasts.gains(means, ["words"])["words"] == (means.gain.iat[1], means.gain_low.iat[1], means.gain_high.iat[1], units)
    assert means.gain.iat[1] == pytest.approx(1 - means.always.iat[0])


READ = pd.DataFrame({"method": ["SAE"] * 4 + ["PCA"] * 4, "group": ["a+b +", "a+b -", "c+d +", "e"] * 2, "score": [4, 2, 4, 7, 0, 0, 0, 0],
                     "f1": [0.2, 0.75, 0.7, 0.9, 0.1, 0.1, 0.8, 0.2]})  # fmt: skip


def test_a_contrast_is_recovered_on_either_orientation_and_a_latent_tells_what_it_was_chosen_for():
    shares = contrasts.recovered(READ, 0.75)
    assert shares["SAE"][::3] == (2 / 3, 3) and shares["PCA"].value == 1 / 3 and shares["SAE"].low < 0.5 < shares["SAE"].high
    assert contrasts.tells(READ, "SAE") == {2: "a+b -", 4: "a+b +; c+d +", 7: "e"}
