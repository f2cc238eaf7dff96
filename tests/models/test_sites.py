"""Sites that are named by a word are the same, however the word comes."""

import pytest

from lib.models import sites
from lib.stage import io

KNOWN = ["embed", "mlp_out.0", "resid_post.0", "mlp_out.1", "resid_post.1", "resid_post.2", "final"]
STORED = ["mlp_out.1", "resid_post.0", "resid_post.1", "resid_post.10", "resid_post.2", "resid_post.3", "resid_post.4"]


@pytest.mark.parametrize("word", ["all", ["all"]])
def test_all_reads_every_block_and_trains_at_every_stored_one(word):
    assert sites.stored(word, KNOWN) == ["resid_post.0", "resid_post.1", "resid_post.2"]
    assert sites.trained(word, STORED, "resid_post.1", []) == STORED[1:]
    assert sites.trained(word, STORED, "mlp_out.1", []) == STORED


@pytest.mark.parametrize("word", ["top5", ["top5"]])
def test_top5_trains_at_five_layers_and_the_dictionarys_site(word):
    top = ["resid_post.4", "mlp_out.1", "resid_post.0", "resid_post.2", "resid_post.10", "resid_post.3"]  # the sixth is not read
    five = ["mlp_out.1", "resid_post.0", "resid_post.10", "resid_post.2", "resid_post.4"]
    assert sites.trained(word, STORED, "resid_post.4", top) == five
    assert sites.trained(word, STORED, "resid_post.1", top) == [*five[:2], "resid_post.1", *five[2:]]


def test_a_list_stays_and_another_word_is_refused():
    assert sites.stored(["mlp_out.0"], KNOWN) == ["mlp_out.0"] and sites.trained([], STORED, "resid_post.1", []) == []
    with pytest.raises(TypeError, match="'top5', wanted a list of names, or all"):
        sites.stored("top5", KNOWN)
    with pytest.raises(TypeError, match="'best', wanted a list of names, or all or top5"):
        sites.trained("best", STORED, "resid_post.1", [])


def test_the_best_layers_are_those_of_the_first_target(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "stage_path", lambda *parts: tmp_path / "_".join(parts))
    (tmp_path / "s_02_layer_hunting_layer_hunting_results.yaml").write_text(
        "zeta:\n  best_block: resid_post.3\n  top_layers:\n  - {predictor: resid_post.2, value: 0.7}\n  - {predictor: embed, value: 0.6}\n"
        "alpha:\n  best_block: resid_post.1\n  top_layers: []\n")
    assert sites.hunted("s") == ("resid_post.3", ["resid_post.2", "embed"])
