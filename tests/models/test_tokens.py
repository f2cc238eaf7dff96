"""Tokens and where they stand: words of DNA against transformers' own tokenizers, spans of text against the text."""

import gzip
import json

import numpy as np
import pytest

from lib.models import adapter as door
from lib.models import kmers, text, tokens, wrap
from tests import helpers
from tests.zoo import ZOO


def covered(encoded: tokens.Encoded, length: int) -> np.ndarray:
    """How many kept tokens cover each place of a record."""
    count = np.zeros(length, dtype=int)
    for s, e in zip(encoded.start[encoded.keep], encoded.end[encoded.keep]):
        count[s:e] += 1
    return count


def random_with_n(rng: np.random.Generator) -> str:
    """0 to 150 bases with no, some, or many N, single or in runs."""
    letters = rng.choice(list("ACGT"), rng.integers(0, 151))
    if rng.random() < 0.8 and len(letters):
        letters[rng.random(len(letters)) < rng.choice([0.01, 0.1, 0.5])] = "N"
        at = rng.integers(0, len(letters))
        letters[at : at + rng.integers(0, 20)] = "N"
    return "".join(letters)


# Words of six bases ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[helpers.SIX_MERS, helpers.NT_V2], ids=["v1", "v2"])
def six_mers(request, tmp_path_factory):
    """Ours, around transformers' (ours.hub)."""
    folder = tmp_path_factory.mktemp("six_mers")
    return wrap.wrap(helpers._esm_tokenizer(request.param, folder, eos_token=None))


def test_ids_equal_the_slow_tokenizers_on_1000_sequences(six_mers):
    assert type(six_mers) is kmers.BlockTokenizer
    rng = np.random.default_rng(0)
    sequences = [random_with_n(rng) for _ in range(1000)]
    for sequence in sequences:
        assert six_mers.encode(sequence).ids.tolist() == six_mers.hub(sequence)["input_ids"], sequence
    assert sum("N" in s for s in sequences) > 500 and min(map(len, sequences)) == 0


def test_every_base_is_covered_once_by_a_token_that_spells_it(six_mers):
    rng = np.random.default_rng(1)
    for sequence in (random_with_n(rng) for _ in range(100)):
        e = six_mers.encode(sequence)
        assert (covered(e, len(sequence)) == 1).all()
        words = six_mers.words(e.ids[e.keep])
        assert words == [sequence[s:t] for s, t in zip(e.start[e.keep], e.end[e.keep])]
        assert e.keep.tolist() == [False] + [True] * (len(e.ids) - 1) and (e.start[0], e.end[0]) == (-1, -1)


@pytest.mark.parametrize("frame", range(6))
def test_a_frame_shifts_the_words(six_mers, frame):
    rng = np.random.default_rng(frame)
    for sequence in (random_with_n(rng) + "ACGTAC" for _ in range(50)):
        singly = [six_mers.hub(base)["input_ids"][1] for base in sequence[:frame]]
        wanted = [3, *singly, *six_mers.hub(sequence[frame:])["input_ids"][1:]]
        e = six_mers.encode(sequence, frame=frame)
        assert e.ids.tolist() == wanted and (covered(e, len(sequence)) == 1).all()
    e = six_mers.encode("ACGTACGTACGT", frame=frame)
    assert set(e.start[e.end - e.start == 6] % 6) == {frame}  # so a token's frame can be read off its place


def test_the_order_of_the_vocabulary_is_read_and_not_assumed(tmp_path):
    shuffled = list(np.random.default_rng(0).permutation(helpers.SIX_MERS[4:]))
    ours = wrap.wrap(helpers._esm_tokenizer([*helpers.SIX_MERS[:4], *shuffled], tmp_path, eos_token=None))
    sequence = helpers.random_dna(200, 5, n_at=(3, 50, 51))
    assert type(ours) is kmers.BlockTokenizer
    assert ours.encode(sequence).ids.tolist() == ours.hub(sequence)["input_ids"]


def test_a_vocabulary_that_lacks_a_word_keeps_its_own_tokenizer(tmp_path):
    words = [w for w in helpers.SIX_MERS if w != "ACGTAC"]
    ours = wrap.wrap(helpers._esm_tokenizer(words, tmp_path, eos_token=None))
    assert type(ours) is tokens.Tokenizer
    assert ours.encode("ACGTACAAAAAA").end[1:].tolist() == [1, 7, 8, 9, 10, 11, 12]  # A, the first word there is, the rest


def test_a_vocabulary_of_the_same_words_under_another_rule_keeps_its_own_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", *helpers.kmers(2), *"ACGTN"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()  # a sequence without spaces is one unknown word
    ours = wrap.wrap(PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]"))
    assert type(ours) is tokens.Tokenizer and ours.encode("ACGT").ids.tolist() == [0]


def test_specials_are_put_as_the_tokenizer_says(tmp_path):
    ours = wrap.wrap(helpers._esm_tokenizer(helpers.NT_V2, tmp_path))  # <eos> not switched off
    assert ours.encode("ACGTAC").ids.tolist() == ours.hub("ACGTAC")["input_ids"] == [3, ours.encode("ACGTAC").ids[1], 4105]


@pytest.mark.parametrize("frame", [-1, 7])
def test_a_frame_outside_the_sequence_is_refused(six_mers, frame):
    with pytest.raises(ValueError, match=f"frame {frame} of a sequence of 6 bases"):
        six_mers.encode("ACGTAC", frame=frame)


@pytest.mark.parametrize("kind", ["esm_bases", "esm_6mers", "nt_v2", "dnabert", "generator", "llama", "modernbert"])
@pytest.mark.parametrize("sequence, said", [
    ("ACGTACgTACGTAC", "letter 'g' at position 6 .0-based. of 14"),
    ("RCGTACGTACGTA", "letter 'R' at position 0 .0-based. of 13"),
    ("ACGTACGT ACGTA", "letter ' ' at position 8"),
    ("ACGTACGTAC\u00c1GT", "letter '\u00c1' at position 10"),
    ("ACGTACGTAC\U0001f9ecGT", "letter '\U0001f9ec' at position 10"),
])  # fmt: skip
def test_letters_that_the_model_does_not_read_are_refused(tmp_path, kind, sequence, said):
    with pytest.raises(ValueError, match=f"{said}.*the model reads A C G T N only|{said}.*the model reads A C G N T only"):
        helpers.tiny(kind, tmp_path).encode_one(sequence)


# Overlapping words, and words side by side -----------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_overlapping_words_equal_the_tokenizers_own_on_spaced_words(tmp_path, k):
    hub = helpers.overlapping_tokenizer(tmp_path, k)
    ours, rng = wrap.wrap(hub), np.random.default_rng(k)
    for sequence in (random_with_n(rng) + "ACGTAC" for _ in range(50)):
        e = ours.encode(sequence)
        spaced = [sequence[i : i + k] for i in range(len(sequence) - k + 1)]
        assert e.ids.tolist() == hub(" ".join(spaced))["input_ids"]
        assert e.start[1:-1].tolist() == list(range(len(spaced))) and (e.end - e.start)[1:-1].tolist() == [k] * len(spaced)
        assert e.keep[1:-1].tolist() == ["N" not in word for word in spaced]


def test_overlapping_words_by_hand(tmp_path):
    ours = wrap.wrap(helpers.overlapping_tokenizer(tmp_path, 3))
    e = ours.encode("AATCN")
    # 5 specials, then AAA AAT AAC AAG ATA ATT ATC: AAT is 5 + 1, ATC is 5 + 4 + 2; TCN is [UNK] = 1
    assert e.ids.tolist() == [2, 6, 11, 1, 3]
    assert e.keep.tolist() == [False, True, True, False, False]
    with pytest.raises(ValueError, match="a sequence of 2 bases from frame 0 holds no word of 3 bases"):
        ours.encode("AC")


def test_generators_words_by_hand(tmp_path):
    # ids as published for it: <s> = 1, <oov> = 0, AAAAAA = 32, TTTTTT = 1397, GGGGGG = 4127; its own code never runs
    ours = helpers.tiny("generator", tmp_path).tokenizer
    assert (ours.pad_token_id, ours.unk_token_id, ours.mask_token_id) == (3, 0, 4)
    assert ours.encode("AAAAAATTTTTTGGGGGG").ids.tolist() == [1, 32, 1397, 4127]
    e = ours.encode("ACGTNACGTNACAAAAAATT")  # two words with N, one without, two bases that fill no word
    assert e.ids.tolist() == [1, 0, 0, 32] and e.keep.tolist() == [False, False, False, True]
    e = ours.encode("TTAAAAAAGGGGGG", frame=2)  # its authors cut the left end: len % 6 bases
    assert e.ids.tolist() == [1, 32, 4127] and e.start.tolist() == [-1, 2, 8]


def test_a_tokenizer_that_is_code_without_a_vocabulary_of_words_is_refused(tmp_path):
    folder = helpers.save_generator(tmp_path)
    (folder / "vocab.txt").unlink()
    with pytest.raises(ValueError, match="its tokenizer is code .*DNAKmerTokenizer.*trust"):
        door.load(folder)


def test_codons_of_a_real_model():
    folder = helpers.DATA_DIR / "models" / "mistral-codon-1m"
    if not folder.is_dir():
        pytest.skip(f"NO REAL MODEL at {folder}: set DATA_DIR to the folder of shared data")
    adapter = door.load(folder)
    coding = "ATGGCCNAATGGTAA"
    e = adapter.encode_one(coding)
    codons = [coding[i : i + 3] for i in range(0, 15, 3)]
    assert e.ids.tolist() == adapter.tokenizer.hub(" ".join(codons))["input_ids"]
    assert e.start[e.keep].tolist() == [0, 3, 9, 12]
    # the folder names a padding token without an embedding; padding is masked, so any id does
    x = adapter.run(adapter.encode([coding, coding[:6]]), ["final"])["final"]
    alone = adapter.run(adapter.encode([coding[:6]]), ["final"])["final"]
    np.testing.assert_allclose(x[4:], alone, atol=1e-5)


# Merged words ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["modernbert", "gemma", "gpt2", "mixtral"])
def test_merged_words_cover_every_known_base_once(tmp_path, kind):
    ours = helpers.tiny(kind, tmp_path).tokenizer
    rng = np.random.default_rng(2)
    for sequence in (random_with_n(rng) + "ACGT" for _ in range(50)):
        e = ours.encode(sequence)
        assert covered(e, len(sequence)).tolist() == [int(base != "N") for base in sequence]
        assert ours.words(e.ids[e.keep]) == [sequence[s:t] for s, t in zip(e.start[e.keep], e.end[e.keep])]


def test_words_of_a_wordpiece_vocabulary_lose_their_mark(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nACG\n##TA\n##C\nT\n")
    from transformers import BertTokenizer

    ours = wrap.wrap(BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False))
    e = ours.encode("ACGTAC")
    assert ours.words(e.ids[e.keep]) == ["ACG", "TA", "C"] and e.start[e.keep].tolist() == [0, 3, 5]
    with pytest.raises(ValueError, match="letter 't' at position 3"):
        ours.encode("ACGtAC")


def test_dna_in_a_byte_level_vocabulary_is_known_as_dna():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>"], initial_alphabet=alphabet, show_progress=False)
    raw.train_from_iterator([helpers.random_dna(400, seed, n_at=(5,)) for seed in range(5)], trainer)
    ours = wrap.wrap(PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>"))
    sequence = helpers.random_dna(80, 1, n_at=(4, 5))
    assert (covered(ours.encode(sequence), 80) == 1).all()
    with pytest.raises(ValueError, match="letter 'c' at position 3"):
        ours.encode("ACGcT")


# Text ------------------------------------------------------------------------------------------------------

KINDS = {
    "byte_level": helpers.byte_level_tokenizer,
    "byte_level_with_front": lambda: helpers.byte_level_tokenizer("<|begin_of_text|>"),
    "sentencepiece": helpers.sentencepiece_tokenizer,
    "sentencepiece_with_prefix": lambda: helpers.sentencepiece_tokenizer(prefix=True),
}


@pytest.fixture(scope="module", params=KINDS)
def reader(request):
    return wrap.wrap(KINDS[request.param]())


def check_spans(ours: text.TextTokenizer, record: str) -> tokens.Encoded:
    """Each kept token's word is the text at its span, and no character but a space is without a token."""
    e = ours.encode(record)
    spans = list(zip(e.start[e.keep], e.end[e.keep]))
    assert ours.words(e.ids[e.keep].tolist()) == [record[s:t] for s, t in spans]
    missed = {record[i] for i in np.flatnonzero(covered(e, len(record)) == 0)}
    assert missed <= ({" "} if ours.invents else set())
    assert e.ids.tolist() == ours.hub(record)["input_ids"]
    return e


@pytest.mark.parametrize("record", [*helpers.TEXTS, " ", "  ", "a", " a", "\n\n", "x\u0301y", "\u20ac\u20ac", "a  b   c "])
def test_words_are_the_text_at_their_spans(reader, record):
    assert type(reader) is text.TextTokenizer
    check_spans(reader, record)


def test_random_text_of_every_width_of_character(reader):
    rng = np.random.default_rng(0)
    alphabet = list("ab ,\n  \u00e9\u20ac\u4e2d\U0001f9ec")
    for _ in range(100):
        check_spans(reader, "".join(rng.choice(alphabet, rng.integers(1, 40))))


def test_real_worked_problems(reader):
    path = helpers.DATA_DIR / "text" / "gsm8k_train.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"NO REAL TEXT at {path}: set DATA_DIR to the folder of shared data")
    with gzip.open(path, "rt") as lines:
        records = [json.loads(line) for line, _ in zip(lines, range(200))]
    texts = [f"{r['question']}\n\n{r['answer']}" for r in records]
    assert any(not t.isascii() for t in texts)
    for record in texts:
        check_spans(reader, record)


def test_parts_of_a_character_span_all_of_it_by_hand():
    ours = wrap.wrap(helpers.byte_level_tokenizer())
    e = ours.encode("a\u20ac b")  # the euro sign is three bytes, none of which the training text merged
    assert [ours.piece(i) for i in e.ids] == [b"a", b"\xe2", b"\x82", b"\xac", b" ", b"b"]
    assert list(zip(e.start, e.end)) == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3), (3, 4)]
    assert ours.words(e.ids.tolist()) == ["a", "\u20ac", "\u20ac", "\u20ac", " ", "b"]
    assert ours.words([e.ids[1]]) == ["\ufffd"]  # alone, it says that it is a part


@pytest.mark.parametrize("prefix, spans, words", [
    (False, [(0, 7), (7, 12), (12, 13)], ["Natalia", " sold", " "]),
    (True, [(0, 7), (8, 12), (12, 13)], ["Natalia", "sold", " "]),  # a space in front of the text is the tokenizer's own
])  # fmt: skip
def test_a_leading_space_is_in_the_span_unless_the_tokenizer_invents_it(prefix, spans, words):
    ours = wrap.wrap(helpers.sentencepiece_tokenizer(prefix))
    e = ours.encode("Natalia sold ")
    assert ours.invents == prefix and len(e.ids) == 4  # <bos> and these three
    assert list(zip(e.start[e.keep].tolist(), e.end[e.keep].tolist())) == spans
    assert ours.words(e.ids[e.keep]) == words


def test_special_tokens_are_not_kept_whether_put_in_front_or_written_in_the_text():
    ours = wrap.wrap(helpers.byte_level_tokenizer("<|begin_of_text|>"))
    e = ours.encode("a<|endoftext|>b")
    assert ours.hub.convert_ids_to_tokens(e.ids) == ["<|begin_of_text|>", "a", "<|endoftext|>", "b"]
    assert e.keep.tolist() == [False, True, False, True] and e.start[e.keep].tolist() == [0, 14]


def test_text_that_the_tokenizer_rewrites_is_refused():
    from tokenizers import normalizers

    hub = helpers.byte_level_tokenizer()
    hub.backend_tokenizer.normalizer = normalizers.NFC()
    ours = wrap.wrap(hub)
    assert ours.encode("caf\u00e9").keep.all()
    with pytest.raises(ValueError, match=r"reads 'é now' where the text has 'e\u0301 now' \(character 3\)"):
        ours.encode("cafe\u0301 now")


def test_a_wrong_span_would_be_seen():
    ours = wrap.wrap(helpers.byte_level_tokenizer())
    e = ours.encode(helpers.TEXTS[1])
    words = ours.words(e.ids.tolist())
    assert words != [helpers.TEXTS[1][s + 1 : t + 1] for s, t in zip(e.start, e.end)]


@pytest.mark.parametrize("kind", ["esm_bases", "nt_v1", "nt_v2", "dnabert", "generator", "hyena", "mixtral", "gpt2"])
def test_words_are_fixed_where_a_length_says_the_tokens(tmp_path, kind):
    tokenizer = door.load(ZOO[kind].save(tmp_path, 0)).tokenizer
    sizes = {len(tokenizer.encode(helpers.random_dna(90, seed)).ids) for seed in range(20)}
    assert (len(sizes) == 1) == tokenizer.fixed_words == (kind not in ("mixtral", "gpt2"))
