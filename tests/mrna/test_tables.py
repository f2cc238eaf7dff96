"""UTRs as people have them: what is read, and what is refused by file and record."""

import gzip
import json
from collections import Counter

import helpers
import numpy as np
import pytest

from lib.mrna import tables


def put(folder, name: str, text: str):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_a_table_keeps_its_missing_labels_missing(tmp_path):
    path = put(tmp_path, "a.csv", "id,utr,rl\na,acgu,1.5\nb,ACGT,\nc,ggn,NA\na,ACGU,1.5\n")
    report = Counter()
    got = tables.read(path, "utr", ["rl"], "id", report)
    assert got.id.tolist() == ["a", "b", "c"] and got.sequence.tolist() == ["ACGT", "ACGT", "GGN"]
    assert got.rl[0] == 1.5 and np.isnan(got.rl[1:]).all()
    assert report["a.csv", "records that came before, word for word", "left out"] == 1
    assert tables.read(put(tmp_path, "b.tsv.gz", "utr\trl\nAC\t2\n"), "utr", ["rl"]).id.tolist() == ["1"]


def test_fasta_and_the_seed_s_json(tmp_path):
    assert tables.read(put(tmp_path, "a.fa", ">x y\nAC\nGU\n>z\nTT\n"), "", []).sequence.tolist() == ["ACGT", "TT"]
    records = [{"sequence": "ACGU", "annotations": {"functional": {"mrl": 3, "te": None}, "regulatory": {"uaug_count": 1}},
                "metadata": {"source": "lab"}}, {"sequence": "GG", "functional": {"mrl": 2.5}}]  # fmt: skip
    got = tables.read(put(tmp_path, "a.json", json.dumps(records)), "sequence", ["mrl", "te", "uaug_count"])
    assert got.mrl.tolist() == [3, 2.5] and got.te.isna().all() and got.uaug_count[0] == 1 and np.isnan(got.uaug_count[1])


@pytest.mark.parametrize(("name", "text", "labels", "message"), [
    ("a.csv", "id,utr\na,ACXU\n", [], "a.csv, line 2: sequence with X, wanted A C G U"),
    ("a.csv", "id,utr\na,ACUT\n", [], "line 2: sequence with both U and T"),
    ("a.csv", "id,utr\na,\n", [], "line 2: the sequence is empty"),
    ("a.csv", "id,utr,rl\na,AC,1\na,AC,2\n", ["rl"], "line 3: id 'a' came before with another sequence or label"),
    ("a.csv", "id,utr,rl\na,AC,high\n", ["rl"], "line 2: rl is 'high', wanted a number or nothing"),
    ("a.csv", "id,utr,rl\na,AC,inf\n", ["rl"], "rl is infinite"),
    ("a.csv", "id,utr\na,AC\n", ["rl"], "no column 'rl', has id, utr"),
    ("a.csv", "id,utr\n", [], "no record"),
    ("a.fa", ">a\nAC\n", ["rl"], "FASTA has no labels"),
    ("a.xlsx", "", [], "wanted a table"),
    ("a.json", "{", [], "no JSON"),
    ("a.json", "{}", [], "dict, wanted a list of records"),
    ("a.json", '[{"seq": "AC"}]', [], "record 1: wanted an object with a text under 'sequence'"),
    ("a.json", '[{"sequence": "AC", "mrl": 3}]', [], "record 1: unknown key mrl"),
    ("a.json", '[{"sequence": "AC", "annotations": {"functional": {"load": 3}}}]', [], "record 1: unknown key functional.load"),
    ("a.json", '[{"sequence": "AC"}]', ["load"], "label 'load' is none of"),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, name, text, labels, message):
    with pytest.raises(ValueError, match=message):
        tables.read(put(tmp_path, name, text), "utr" if "csv" in name else "sequence", labels, "id" if "csv" in name else "")


@pytest.mark.skipif(not (helpers.DATA_DIR / "mrna").is_dir(), reason="no measured UTRs under DATA_DIR/mrna")
def test_the_measured_files_are_read_whole():
    got = tables.read(helpers.DATA_DIR / "mrna/egfp_m1pseudo_mrl_test20k.csv", "utr", ["rl", "energy_5utr"])
    assert len(got) == 20000 and got.rl.between(0, 9).all() and (got.sequence.str.len() == 50).all()
    held = tables.read(helpers.DATA_DIR / "mrna/human_5utr_snv_mrl_clinvar.csv.gz", "utr", ["hrl"], "id")
    assert len(held) == 3002 and held.hrl.notna().all()
