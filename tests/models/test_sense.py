"""Structure can be right and every base unknown: what a tokenizer makes of sequences."""

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lib.models import adapter, check_model, sense
from tests import helpers, zoo

DNA = [helpers.random_dna(120, seed) for seed in range(3)]


def letters_tokenizer(letters):
    """One token a letter of `letters`; every other letter is unknown."""
    words = ["<unk>", "<pad>", *letters]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>")


def llama(folder, letters, rows):
    """A Llama of random weights with a tokenizer of letters; rows of the embedding."""
    helpers.real_model("llama", rows, 0).save_pretrained(folder)
    letters_tokenizer(letters).save_pretrained(folder)
    return folder


def failed(table):
    return table[~table.passed].finding.tolist()


@pytest.mark.parametrize("kind", [kind for kind in zoo.ZOO if zoo.ZOO[kind].records is zoo.DNA])
def test_models_that_read_dna_make_sense_of_it(kind, tmp_path):
    assert failed(sense.token_sense(adapter.load(zoo.ZOO[kind].save(tmp_path)), zoo.DNA)) == []


def test_a_llama_to_which_every_base_is_unknown(tmp_path):
    table = sense.token_sense(adapter.load(llama(tmp_path, "xyz", 16)), DNA).set_index("finding")
    assert table.found["bases under an unknown token (share)"] == 1 and table.found["bases under a kept token (share)"] == 0
    assert table.found["runs of A, C, G, T told apart"] == 1 and table.found["alphabet"] == "neither ACGT nor acgt"


def test_a_tokenizer_that_knows_acgt_only(tmp_path):
    table = sense.token_sense(adapter.load(llama(tmp_path, "acgt", 16)), DNA).set_index("finding")
    assert table.found["alphabet"] == "acgt" and not table.passed["alphabet"]


def test_one_base_unknown_is_a_quarter(tmp_path):
    """The share is of bases, counted by hand: G of AACG."""
    model = adapter.load(llama(tmp_path, "ACT", 16))
    assert sense.shares(model, ["AACG"], [model.tokenizer.encode("AACG")]) == (0.25, 0.75)


def test_unknown_n_is_no_fault(tmp_path):
    model = adapter.load(llama(tmp_path, "ACGT", 16))
    assert failed(sense.token_sense(model, ["NNNN" + DNA[0] + "NNNN", *DNA])) == []


@pytest.mark.parametrize("rows, fits", [(5, False), (6, True), (200, True), (2000, False)])
def test_words_against_rows_of_the_embedding(tmp_path, rows, fits):
    """Six words: fewer rows would be an index error, two thousand another model's tokenizer."""
    assert ("words of the tokenizer" not in failed(sense.token_sense(adapter.load(llama(tmp_path, "ACGT", rows)), DNA))) == fits


def test_two_words_of_one_id_are_one_word_too_many(tmp_path):
    """As after a blank line in vocab.txt, where the largest id is still below the rows."""
    model = adapter.load(llama(tmp_path, "ACGT", 6))
    words = model.tokenizer.hub.get_vocab()
    model.tokenizer.hub.get_vocab = lambda: words | {"Z": 5}
    assert failed(sense.token_sense(model, DNA)) == ["words of the tokenizer"]


def test_check_model_fails_a_model_that_reads_nothing(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        check_model.main([str(llama(tmp_path, "xyz", 16))])
    assert exit.value.code == 1 and "letters under an unknown token" in capsys.readouterr().out
