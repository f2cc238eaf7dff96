"""Interval files of others, and the tracks that we write, read back by the library."""

import gzip
import xml.etree.ElementTree as ET
from collections import Counter

import numpy as np
import pandas as pd
import pybigtools
import pytest

from lib.dna import tracks
from lib.dna.reference import Reference


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "g.fa").write_text(">chr1\n" + "ACGT" * 25 + "\n>chr2\n" + "ACGT" * 10 + "\n")
    (tmp_path / "g.fa.fai").write_text("chr1\t100\t6\t100\t101\nchr2\t40\t113\t40\t41\n")
    return Reference(tmp_path / "g.fa")


def big(path, lengths, rows):
    writer = pybigtools.open(str(path), "w")
    writer.write(lengths, iter(rows))
    writer.close()
    return path


RMSK = """   SW   perc perc perc  query     position in query    matching  repeat      position in repeat
score   div. del. ins.  sequence  begin end   (left)   repeat    class/family  begin  end (left)  ID

  463   1.3  0.6  1.7  chr1      11    30   (70) +  AluSx     SINE/Alu       1  471    (0)      1
  300   1.3  0.6  1.7  chr9      11    30   (70) +  AluSx     SINE/Alu       1  471    (0)      2
   12   1.3  0.6  1.7  chr2       1     8   (32) C  (CA)n     Simple_repeat  1    8    (0)      3
"""


@pytest.mark.parametrize("name", ["r.out", "r.out.gz"])
def test_repeatmasker_by_hand(tmp_path, genome, name):
    (tmp_path / name).write_bytes(gzip.compress(RMSK.encode()) if name.endswith("gz") else RMSK.encode())
    report = Counter()
    table = tracks.read(tmp_path / name, genome, report)
    assert report == {(name, "intervals on contigs that the genome lacks", "left out"): 1}
    assert table.values.tolist() == [["chr1", 10, 30, "SINE/Alu", "SINE"], ["chr2", 0, 8, "Simple_repeat", "Simple_repeat"]]


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("  11    30   (70) +  AluSx     SINE/Alu       1  471    (0)      1", "  11    300 (70) + AluSx SINE/Alu 1 471 (0) 1",
         "line 4: chr1:11-300, wanted 1 <= start <= end <= 100"),
        ("AluSx     SINE/Alu       1  471    (0)      1", "", "line 4: 9 columns"),
        ("   12   1.3", "  x12   1.3", "line 6: wanted a score first, found 'x12'"),
        ("chr", "other", "no repeat on the contigs"),
    ],
)  # fmt: skip
def test_repeatmasker_refuses_by_line(tmp_path, genome, old, new, said):
    (tmp_path / "r.out").write_text(RMSK.replace(old, new))
    with pytest.raises(ValueError, match=said):
        tracks.read(tmp_path / "r.out", genome, Counter())


def test_bigbed_and_bed_give_the_same_intervals(tmp_path, genome):
    big(tmp_path / "a.bb", {"chr1": 100, "chr2": 40}, [("chr1", 3, 9, "pELS\t0\t."), ("chr2", 0, 5, "PLS\t0\t.")])
    (tmp_path / "a.bed").write_text("chr1\t3\t9\tpELS\nchr2\t0\t5\tPLS\n")
    want = [["chr1", 3, 9, "pELS", "pELS"], ["chr2", 0, 5, "PLS", "PLS"]]
    for name in ("a.bb", "a.bed"):
        assert tracks.read(tmp_path / name, genome, Counter()).values.tolist() == want
    assert set(tracks.read(tmp_path / "a.bb", genome, Counter(), "enhancer")["concept"]) == {"enhancer"}


def test_another_build_another_kind_and_a_cut_file_are_refused_by_name(tmp_path, genome):
    with pytest.raises(ValueError, match="a.bb: chr1 has 99 bases, in .*g.fa 100: another build"):
        tracks.read(big(tmp_path / "a.bb", {"chr1": 99}, [("chr1", 3, 9, "x\t0\t.")]), genome, Counter())
    with pytest.raises(ValueError, match="contig '1' is not in .*'chr' prefix"):
        tracks.read(big(tmp_path / "b.bb", {"1": 100}, [("1", 3, 9, "x\t0\t.")]), genome, Counter())
    wig = big(tmp_path / "w.bw", {"chr1": 100}, [("chr1", 3, 9, 1.0)]).rename(tmp_path / "w.bb")
    with pytest.raises(ValueError, match="w.bb: not a whole bigBed file"):
        tracks.read(wig, genome, Counter())
    (tmp_path / "cut.bb").write_bytes(wig.read_bytes()[:40])
    with pytest.raises(ValueError, match="cut.bb: not a whole bigBed file"):
        tracks.read(tmp_path / "cut.bb", genome, Counter())
    with pytest.raises(ValueError, match="a.txt: wanted .bed"):
        tracks.read(tmp_path / "a.txt", genome, Counter())
    with pytest.raises(FileNotFoundError, match="none.bb"):
        tracks.read(tmp_path / "none.bb", genome, Counter())


TOKENS = pd.DataFrame({"contig": ["chr2", "chr1", "chr1", "chr1", "chr1"], "ref_start": [0, 0, 4, 9, 20], "ref_end": [6, 6, 10, 12, 26]})
VALUES = np.array([1.0, 2.0, 4.0, 0.0, 1.0])


def test_tracks_of_a_latent_by_hand(tmp_path, genome):
    steps = tracks.latent_steps(TOKENS, VALUES)
    assert steps.values.tolist() == [["chr1", 0, 6, 2.0], ["chr1", 6, 10, 4.0], ["chr1", 20, 26, 1.0], ["chr2", 0, 6, 1.0]]
    tracks.write_bigwig(tmp_path / "l.bw", steps, genome)
    with pybigtools.open(str(tmp_path / "l.bw")) as handle:
        assert list(handle.records("chr1", 0, 100)) == [(0, 6, 2.0), (6, 10, 4.0), (20, 26, 1.0)]
        assert handle.chroms() == {"chr1": 100, "chr2": 40}
    tracks.write_bed(tmp_path / "l.bed", steps, "latent 5")
    assert (
        tmp_path / "l.bed"
    ).read_text() == "chr1\t0\t10\tlatent 5\t1000\t.\nchr1\t20\t26\tlatent 5\t250\t.\nchr2\t0\t6\tlatent 5\t250\t.\n"
    tracks.write_bedgraph(tmp_path / "l.bedgraph", steps, "latent 5")
    assert (tmp_path / "l.bedgraph").read_text().splitlines()[1] == "chr1\t0\t6\t2"


def test_a_latent_that_never_fires_has_tracks_too(tmp_path, genome):
    steps = tracks.latent_steps(TOKENS, np.zeros(5))
    tracks.write_bigwig(tmp_path / "l.bw", steps, genome)
    tracks.write_bed(tmp_path / "l.bed", steps, "none")
    with pybigtools.open(str(tmp_path / "l.bw")) as handle:
        assert list(handle.records("chr1", 0, 100)) == [(0, 1, 0.0)]
    assert (tmp_path / "l.bed").read_text() == ""


def test_igv_session_names_every_track(tmp_path):
    tracks.write_igv_session(tmp_path / "s.xml", "hg38", {"latent 5 & co": "l5.bw", "sites": "s.bed"}, "chr1:1-100")
    root = ET.parse(tmp_path / "s.xml").getroot()
    assert root.attrib["genome"] == "hg38" and root.attrib["locus"] == "chr1:1-100"
    assert [r.attrib["path"] for r in root.iter("Resource")] == ["l5.bw", "s.bed"]
    assert [t.attrib["name"] for t in root.iter("Track")] == ["latent 5 & co", "sites"]


def test_an_assembly_is_known_by_the_lengths_of_its_chromosomes():
    assert tracks.assembly({"chr1": 248956422, "chr20": 64444167, "chrUn_x": 5}) == "hg38"
    assert tracks.assembly({"1": 249250621}) == "hg19"
    assert tracks.assembly({"chr1": 248956422, "chr2": 100}) == "" == tracks.assembly({"sim1": 300}) == tracks.assembly({})


def test_a_table_of_regions_is_called_by_its_file(tmp_path, genome):
    path, report = tmp_path / "enhancer.csv", Counter()
    path.write_text("id,region,start,end,strand\n0,chr1,10,20,\n1,chr9,1,2,\n2,chr2,0,40,\n")
    table = tracks.read(path, genome, report)
    assert table.values.tolist() == [["chr1", 10, 20, "enhancer", "enhancer"], ["chr2", 0, 40, "enhancer", "enhancer"]]
    assert report.total() == 1
    for text, said in (("id,start,end\n", "wanted region"), ("region,start,end\nchr2,0,41\n", "line 2: chr2:0-41 is off the contig"),
                       ("region,start,end\nchr2,5\n", "line 2: 2 columns, wanted at least 3")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            tracks.read(path, genome, report)
