"""Sense beyond structure: the demo's model and a real one pass, copies damaged in a known way do not, a random one cannot tell."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.dna import planted
from lib.models import adapter as door
from lib.models import check_model
from lib.models import knowledge_check as kc
from lib.models import sequence as sq
from tests import helpers

DEMO = Path(__file__).parents[2] / "tests" / "planted_model"
MISTRAL = helpers.DATA_DIR / "models" / "mistral-dna-1m-hg38-causal"
GENOME = helpers.DATA_DIR / "GRCh38_loci.fa.gz"


@pytest.fixture(scope="module")
def text() -> str:
    """Fresh simulated sequence, which the demo's model never saw."""
    codes, _ = planted.mosaic(120_000, planted.gut_immune_motifs(), np.random.default_rng(11))
    return sq.decode(codes)


@pytest.fixture(scope="module")
def windows(text) -> list[str]:
    return kc.draw(door.load(DEMO), [text], 96, seed=0)


def copy(tmp_path, words: str | None) -> door.Adapter:
    """The demo's model with another order of the words A C G T."""
    folder = tmp_path / "model"
    shutil.copytree(DEMO, folder)
    if words:
        path = folder / "vocab.txt"
        lines = path.read_text().split("\n")
        at = [lines.index(letter) for letter in "ACGT"]
        for place, letter in zip(at, words):
            lines[place] = letter
        path.write_text("\n".join(lines))
    return door.load(folder)


@pytest.mark.slow
def test_the_demo_model_knows_its_sequence_and_raises_no_alarm(windows):
    table = kc.sense(door.load(DEMO), windows).set_index("question")
    assert table.verdict.to_dict() == {"sequence": "knows", "letters": "as written", "rope_theta": "as written"}
    assert kc.alarms(table.reset_index()) == []


@pytest.mark.parametrize("words", ["CAGT", "TGCA"])
def test_swapped_letters_in_vocab_txt_are_an_alarm(tmp_path, windows, words):
    answer = kc.letters(copy(tmp_path, words), windows[:24])
    assert answer.verdict == "ANOTHER FITS BETTER" and answer.gap.high < 0
    assert answer.note.endswith(words)  # these swaps undo themselves: renaming again reads right


@pytest.mark.parametrize("factor, back", [(0.01, "100"), (100.0, "0.01")])
def test_another_rope_theta_is_an_alarm(windows, factor, back):
    adapter = door.load(DEMO)
    with kc.rope_theta_times(adapter, factor):
        answer = kc.positions(adapter, windows[:48])
    assert answer.verdict == "ANOTHER FITS BETTER" and f": {back} times" in answer.note


def test_the_frequencies_are_those_of_another_theta_and_come_back(tmp_path):
    own, other = (helpers.tiny("llama", tmp_path / str(t), rope_theta=t) for t in (10_000.0, 1_000.0))
    before = [b.clone() for b in kc._frequencies(own)]
    with kc.rope_theta_times(own, 0.1):
        assert all(torch.allclose(a, b) for a, b in zip(kc._frequencies(own), kc._frequencies(other), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kc._frequencies(own), before, strict=True))


@pytest.mark.parametrize("kind, rotary", [
    ("esm_bases", True), ("nt_v2", True), ("gpt_neox", True), ("modernbert", True), ("gpt2", False), ("nt_v1", False),
])  # fmt: skip
def test_which_models_have_rotary_positions(tmp_path, kind, rotary):
    assert bool(list(kc._frequencies(helpers.tiny(kind, tmp_path)))) == rotary


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_random_weights_does_not_know(windows, seed):
    table = kc.sense(door.load(DEMO, random_init=True, seed=seed), windows).set_index("question")
    assert table.verdict["sequence"] != "knows" and table.verdict["rope_theta"] == "cannot tell"


def test_a_shuffled_genome_is_not_known(windows):
    rng = np.random.default_rng(0)
    mixed = ["".join(rng.permutation(list(w))) for w in windows[:32]]
    assert kc.knowledge(door.load(DEMO), mixed).verdict != "knows"


@pytest.mark.slow
def test_a_real_model_knows_the_human_genome_and_its_damage_shows(tmp_path):
    if not GENOME.is_file():
        pytest.skip(f"NO REAL DATA at {helpers.DATA_DIR}: set DATA_DIR to the folder of shared data")
    adapter = door.load(MISTRAL)
    windows = kc.windows_of(adapter, GENOME)
    assert len(windows) == 96 and len(set(map(len, windows))) == 1
    table = kc.sense(adapter, windows).set_index("question")
    assert table.verdict.to_dict() == {"sequence": "knows", "letters": "as written", "rope_theta": "as written"}
    shutil.copytree(MISTRAL, tmp_path / "model")
    settings = json.loads((MISTRAL / "config.json").read_text())
    settings["rope_parameters"]["rope_theta"] *= 0.1
    (tmp_path / "model" / "config.json").write_text(json.dumps(settings))
    assert kc.positions(door.load(tmp_path / "model"), windows).verdict == "ANOTHER FITS BETTER"
    swapped = [w.translate(str.maketrans("ACGT", "CAGT")) for w in windows]
    assert kc.letters(adapter, swapped).verdict == "ANOTHER FITS BETTER"


# Windows ----------------------------------------------------------------------------------------------------------


def test_windows_are_the_records_own_without_n(tmp_path, text):
    letters = text[:30_000].lower() + "N" * 50 + text[30_000:30_030] + "N" + text[40_000:60_000]
    (tmp_path / "g.fa").write_text(f">a\n{letters}\n>b\n{text[70_000:70_100]}\n")
    adapter = door.load(DEMO)
    windows = kc.windows_of(adapter, tmp_path / "g.fa", seed=1)
    assert len(windows) == 96 and all(w in text and set(w) <= set("ACGT") and len(w) == len(windows[0]) for w in windows)
    assert windows == kc.windows_of(adapter, tmp_path / "g.fa", seed=1) != kc.windows_of(adapter, tmp_path / "g.fa", seed=2)


@pytest.mark.parametrize("texts, said", [
    ([], "longest stretch of A C G T has 0 bases, wanted at least 60"),
    (["ACGT" * 10], "has 40 bases"),
    (["ACGT" * 40], "160 bases in 1 stretches of A C G T, wanted 2880 or more for 96 windows of 60"),
    (["ACGT" * 15] * 95, "5700 bases in 95 stretches"),  # 95 places for 96 windows
])  # fmt: skip
def test_too_little_sequence_is_said(texts, said):
    with pytest.raises(ValueError, match=said):
        kc.draw(door.load(DEMO), texts, 96, 0)


@pytest.mark.parametrize("sizes, length", [
    ([300] * 3000, 120), ([120] * 1000, 120), ([100_000], 120), ([160] + [100] * 200, 60), ([120] * 95 + [70] * 20, 60),
])  # fmt: skip
def test_records_of_one_length_or_many_are_enough(text, sizes, length):
    """The demo's model reads a base a token: 120 is the first length of at most 160 tokens."""
    starts = np.random.default_rng(5).integers(0, len(text) - max(sizes), len(sizes))
    texts = [text[start : start + size] for start, size in zip(starts, sizes)]
    windows = kc.draw(door.load(DEMO), texts, 96, seed=3)
    assert len(windows) == 96 and set(map(len, windows)) == {length} and all(any(w in t for t in texts) for w in windows)


def test_no_place_is_drawn_twice_and_every_place_can_be(text):
    """Eight texts of one place and one of three: eleven windows are all of them."""
    texts = [text[i * 500 : i * 500 + 120 + 2 * (i == 4)] for i in range(9)]
    places = [t[at : at + 120] for t in texts for at in range(len(t) - 119)]
    assert len(set(places)) == 11
    assert sorted(kc.draw(door.load(DEMO), texts, 11, seed=0)) == sorted(places)


def test_a_model_without_a_head_cannot_be_asked(windows):
    adapter = door.load(DEMO)
    adapter.model.head_missing = ["lm_head.weight"]
    with pytest.raises(ValueError, match="no language-model head .lm_head.weight., so there is no loss"):
        kc.sense(adapter, windows)


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("words, code, said", [(None, 0, "as written"), ("CAGT", 1, "ALARM: the letters of the vocabulary look swapped")])
def test_check_model_asks_it_of_the_records(tmp_path, text, capsys, words, code, said):
    copy(tmp_path, words)
    (tmp_path / "g.fa").write_text(f">a\n{text}\n")
    with pytest.raises(SystemExit) as end:
        check_model.main([str(tmp_path / "model"), "--records", str(tmp_path / "g.fa")])
    out = capsys.readouterr().out
    assert end.value.code == code and said in out and "18 passed, 0 failed" in out


def test_few_records_are_said_and_raise_no_alarm(tmp_path, capsys):
    (tmp_path / "g.fa").write_text(">a\nACGTACGTTAGG\n")
    assert kc.report(door.load(DEMO), tmp_path / "g.fa")
    assert "sense of the records: not asked: " in capsys.readouterr().out
