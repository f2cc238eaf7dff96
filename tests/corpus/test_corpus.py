"""The contract between a door and what reads it: what is written is what is read, letter by letter."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.corpus import corpus
from lib.corpus.corpus import Corpus, Readout, Records, Target
from lib.stage import io, params
from tests.projects import write_params

ODD = ["ACGT", "", " ", "  two words ", "a\tb", "a\nb\r\nc", "\u2028line\x85end", "naïve ∑ 𝄞 漢字", '"quoted", and a comma', "NA", "nan",
       "None", "001", "1e5", "#x", "\x00", "\x1f"]  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "ROOT", tmp_path)
    write_params(tmp_path, "00_toys", "n: 1\n", "toy")
    return tmp_path


# Records -------------------------------------------------------------------------------------------------


def test_no_letter_of_a_record_is_lost(tmp_path):
    corpus.write_records(tmp_path / "records.parquet", Records(ODD))
    back = corpus.read_records(tmp_path / "records.parquet")
    assert back.texts == ODD and back.positions is None and back.own is None and back.place() is None


def test_positions_and_what_is_a_units_own_come_back_as_whole_numbers(tmp_path):
    """Of unequal length, one of no letter; an inserted letter has its anchor's place."""
    positions, own = [np.array([5, 6, 6, 7]), np.array([], int), np.arange(2**31 - 3, 2**31 - 1)], np.array([[5, 7], [0, 0], [1, 2]])
    corpus.write_records(tmp_path / "records.parquet", Records(["ACGT", "", "AC"], positions, own))
    back = corpus.read_records(tmp_path / "records.parquet")
    assert [p.tolist() for p in back.positions] == [p.tolist() for p in positions]
    assert all(p.dtype == np.int64 for p in back.positions) and back.own.tolist() == own.tolist()
    assert back.place()(0).tolist() == [5, 6, 6, 7] and back.place()(1).tolist() == []


@pytest.mark.parametrize("given", [Records([]), Records([], []), Records([], [], np.zeros((0, 2), int))])
def test_a_corpus_of_no_unit_is_one_of_no_record(tmp_path, given):
    corpus.write_records(tmp_path / "records.parquet", given)
    back = corpus.read_records(tmp_path / "records.parquet")
    assert back.texts == [] and (back.positions is None) == (given.positions is None) and (back.own is None) == (given.own is None)


def test_the_same_records_are_the_same_bytes(tmp_path):
    """So that a door that ran again changes nothing behind it."""
    for name in ("a", "b"):
        corpus.write_records(tmp_path / name, Records(ODD, [np.arange(len(text)) for text in ODD]))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_file_of_records_is_a_value_error(tmp_path):
    corpus.write_records(tmp_path / "records.parquet", Records(ODD))
    (tmp_path / "records.parquet").write_bytes((tmp_path / "records.parquet").read_bytes()[:-9])
    with pytest.raises(ValueError):
        corpus.read_records(tmp_path / "records.parquet")


# Readout -------------------------------------------------------------------------------------------------


def by_hand() -> Readout:
    """Two people, two parts, three units: ann has units 0 and 1 in p and unit 2 in q; bea unit 1 in p alone."""
    weights = sparse.csr_matrix([[0.5, 0.5, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]])
    return Readout(weights, ["ann", "béa 2"], ["p", "loc us\tq"])


def test_a_readout_comes_back_with_its_names_and_weights(tmp_path):
    corpus.write_readout(tmp_path / "readout.h5", by_hand())
    back = corpus.read_readout(tmp_path / "readout.h5")
    assert back.subjects == by_hand().subjects and back.parts == by_hand().parts
    assert back.weights.shape == (4, 3) and (back.weights != by_hand().weights).nnz == 0


def test_features_are_means_over_each_part_side_by_side():
    """ann: (1, 10) and (3, 30) have the mean (2, 20) in p, then (5, 50) in q; bea: (3, 30), and nothing in q."""
    values = np.array([[1.0, 10], [3, 30], [5, 50]])
    assert by_hand().features(values).tolist() == [[2, 20, 5, 50], [3, 30, 0, 0]]


def test_a_readout_written_twice_is_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        corpus.write_readout(tmp_path / name, by_hand())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


# Corpus --------------------------------------------------------------------------------------------------


def made() -> Corpus:
    targets = [Target("cases, enlarged", limit=0.8, simulated=True, enlarged=True, scores={"true score": "oracle"}), Target("real")]
    return Corpus(
        "toy", "00_toys", "tests.content", "params/toy/model", {"unit": "box", "units": "böxes"}, {"validation": ["7"], "test": ["08"]},
        {"simulated": {"genome": True}}, targets, {"motif": "by hand"}, True, False,
        settings={"word_k": 6, "limit": 1e-6, "paths": []})  # fmt: skip


def finish(of: Corpus, files=()) -> None:
    """What the door leaves: corpus.json and other files, {name: writer, private}."""
    stage = io.open_stage(of.study, of.door)
    corpus.save(stage, of)
    for name, private, write in files:
        write((stage.private_path if private else stage.path)(name))
    stage.finish()


def test_what_a_door_says_is_what_later_stages_read(root):
    finish(made())
    assert corpus.load("toy") == made()
    assert json.loads((root / "outputs/toy/00_toys/corpus.json").read_text())["kind"] == "tests.content"


def test_the_kind_is_the_module_of_that_name():
    from tests import content
    assert made().module is content


@pytest.mark.parametrize("has_second, names", [(False, ["background", "cohort"]), (True, ["background", "cohort", "external"])])
def test_corpora_in_the_order_in_which_they_are_read(has_second, names):
    assert Corpus(**{**vars(made()), "has_second": has_second}).corpora() == names


def test_each_corpus_has_its_files_and_those_of_subjects_are_private(root):
    """The background's records are public; the first cohort's lie under the same name in private/, the second's beside them."""
    units = {name: pd.DataFrame({"unit": [0], "unit_id": [f"0{i}"]}) for i, name in enumerate(("", "private", "external"))}
    texts = {"": ["A A"], "private": ["C\tC"], "external": ["G\nG"]}
    targets = pd.DataFrame({"subject": ["01", "1"], "group": ["f", "g"], "real": [0, 1], "cases, enlarged": [1, 0],
                            "real/true score": [0.5, -2.0]})  # fmt: skip
    files = [("concepts.parquet", False, lambda path: targets.to_parquet(path, index=False))]
    for name in texts:
        prefix = "external_" * (name == "external")
        files += [(f"{prefix}records.parquet", name != "", lambda path, n=name: corpus.write_records(path, Records(texts[n]))),
                  (f"{prefix}units.csv", name != "", lambda path, n=name: units[n].to_csv(path, index=False))]
        if name:
            files += [(f"{prefix}readout.h5", True, lambda path: corpus.write_readout(path, by_hand())),
                      (f"{prefix}targets.parquet", True, lambda path: targets.to_parquet(path, index=False))]  # fmt: skip
    finish(made(), files)
    of = corpus.load("toy")
    assert [of.records(name).texts for name in of.corpora()] == [["A A"], ["C\tC"], ["G\nG"]]
    assert [of.units(name).unit_id.tolist() for name in of.corpora()] == [["00"], ["01"], ["02"]]
    assert of.readout().subjects == of.readout(corpus.SECOND).subjects == ["ann", "béa 2"]
    pd.testing.assert_frame_equal(of.subjects(), targets)
    pd.testing.assert_frame_equal(of.concepts(), targets)
    assert of.file(corpus.BACKGROUND, "units.csv") == root / "outputs/toy/00_toys/units.csv"
    assert of.file(corpus.SECOND, "units.csv") == root / "outputs/toy/private/00_toys/external_units.csv"


def test_without_a_door_or_before_it_ran_there_is_no_corpus(root):
    with pytest.raises(FileNotFoundError):
        corpus.load("toy")
    write_params(root, "01_extraction", "n: 1\n", "none")
    with pytest.raises(params.Refused, match="params/none holds no 00_<kind>.yaml"):
        corpus.load("none")
