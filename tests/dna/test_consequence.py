"""Classes of variants: by hand on a made gene, and on real ones against `genes.parts` and brute force."""

import bioframe
import numpy as np
import pandas as pd
import pytest

from lib.dna import consequence, genes, hgvs
from lib.dna.hgvs import Transcript
from lib.dna.windows import read_bed
from tests.clinvar_hgvs import NEEDED, shared
from tests.dna.test_hgvs import genome_of
from tests.helpers import DATA_DIR, random_dna

EXONS = ((100, 130), (200, 230), (300, 340))
#: coding 110 to 322: 24 codons cut after 20 and 50 bases, so that the second exon's own codons begin with GCC (the 8th) at 201
CODING = ("ATG GCA CAC TGG CGT AAC GAC GCC TTC GTA CAC AAG CGT ATC GAC TGC TTG CGC AAC GTC CAC TGG GCC TAA TGATAGCTAAC").replace(" ", "")


def gene(folder, strand="+"):
    """The genome, and a transcript T1 on plus or minus; 400 bases."""
    bases = list(random_dna(400, 0))
    for start, text in ((110, CODING[:20]), (200, CODING[20:50]), (300, CODING[50:])):
        bases[start : start + len(text)] = text
    text, spans = "".join(bases), EXONS
    if strand == "-":
        text, spans = text.translate(str.maketrans("ACGT", "TGCA"))[::-1], tuple((400 - b, 400 - a) for a, b in reversed(EXONS))
    return genome_of(folder, c=text), Transcript("T1", "G", "c", strand, spans, (10, 82))


def table(rows, genome, *transcripts, promoters=None):
    variants = pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt"])
    return consequence.table(variants, {t.name: t for t in transcripts}, genome, promoters)


def substituted(genome, places):
    base = [genome.fetch("c", at, at + 1) for at in places]
    return [("c", at, b, "ACGT"["CGTA".index(b)]) for at, b in zip(places, base)]


@pytest.mark.parametrize("strand", ["+", "-"])
def test_the_class_of_each_base_by_hand(tmp_path, strand):
    """Donors have 3 exonic and 6 intronic bases, acceptors 20 and 3, and coding classes more severe than a splice window stay."""
    genome, one = gene(tmp_path, strand)
    place = (lambda x: x) if strand == "+" else (lambda x: 399 - x)
    wanted = {99: "other", 100: "5' UTR", 109: "5' UTR", 110: "start or stop", 112: "start or stop", 126: "missense", 127: "splice window",
              135: "splice window", 136: "intron", 179: "intron", 180: "splice window", 202: "splice window", 203: "synonymous",
              204: "missense", 319: "start or stop", 322: "3' UTR", 339: "3' UTR", 340: "other"}  # fmt: skip
    said = table(substituted(genome, [place(x) for x in wanted]), genome, one)
    assert dict(zip(wanted, said.region)) == wanted
    assert said.transcript.eq("T1").all() and said.gene.eq("G").all()
    distance = {99: 1, 100: 0, 109: 9, 126: 3, 127: 2, 135: 6, 136: 7, 179: 21, 202: 2, 319: 19, 340: 1}
    assert {x: int(said.exon_distance[list(wanted).index(x)]) for x in distance} == distance
    assert said.notation[list(wanted).index(136)].startswith("c.20+7") and said.notation[list(wanted).index(180)].startswith("c.21-20")


def test_insertions_deletions_and_borders_by_hand(tmp_path):
    genome, one = gene(tmp_path)

    def said(pos, deleted, inserted):
        ref = genome.fetch("c", pos - 1, pos + deleted)
        got = table([("c", pos - 1, ref, ref[0] + inserted)], genome, one).iloc[0]
        return got.region, got.protein, got.exon_distance

    # GTA, the 10th codon, begins at 207; without its G: TAC ACA AGC GTA TCG ACT GCT TGC GCA ACG TCC ACT GGG CCT AAT GAT AGC TAA
    assert said(207, 1, "") == ("frameshift", "p.Val10TyrfsTer18", 7)
    assert said(207, 3, "") == ("inframe indel", "p.Val10del", 7)
    assert said(207, 0, "TAA") == ("nonsense", "p.Val10Ter", 6)
    assert said(125, 12, "")[:2] == ("splice window", "p.?") and said(150, 150, "")[:2] == ("splice window", "p.?")
    assert said(140, 5, "")[:2] == ("intron", "") and said(136, 5, "")[0] == "intron" and said(135, 5, "")[0] == "splice window"
    # an insertion is in a window that has both bases beside it: donor 127 to 135, acceptor 180 to 202
    inserted = {at: said(at, 0, "TTGGAACCTT" if genome.fetch("c", at, at + 1) != "T" else "CCGGTTAACC")  # none that moves 3'
                for at in (128, 130, 135, 136, 180, 181, 200, 202)}  # fmt: skip
    assert {at for at, got in inserted.items() if got[0] == "splice window"} == {130, 135, 181, 200}
    assert inserted[136][0] == inserted[180][0] == "intron" and inserted[128][0] == inserted[202][0] == "frameshift"
    assert inserted[130][1] == inserted[200][1] == "p.?" and inserted[135][1] == ""
    assert said(330, 20, "")[:2] == ("3' UTR", "") and said(105, 10, "")[:2] == ("start or stop", "p.Met1?")
    assert said(90, 300, "")[2] == 0


def test_the_most_severe_transcript_is_named_and_promoters_stand_between(tmp_path):
    genome, one = gene(tmp_path)
    longer = Transcript("T2", "G", "c", "+", ((50, 130), (200, 230), (300, 340)), None)
    other = Transcript("T0", "H", "c", "-", ((360, 390),), None)
    rows = substituted(genome, [60, 105, 150, 215, 350])
    plain = table(rows, genome, one, longer, other)
    assert plain.region.tolist() == ["other", "5' UTR", "intron", "missense", "other"]
    assert plain.transcript.tolist() == ["T2", "T1", "T1", "T1", "T0"]  # inside T2; as near to both, and T1 codes; 11 from T1, 10 from T0
    promoters = pd.DataFrame({"contig": ["c", "c"], "start": [40, 345], "end": [216, 351]})
    within = table(rows, genome, one, longer, other, promoters=promoters)
    assert within.region.tolist() == ["promoter", "5' UTR", "promoter", "missense", "promoter"]
    assert within.transcript.tolist() == ["T2", "T1", "T1", "T1", "T0"]
    assert within.notation[2].startswith("c.20+21")
    nothing = table(rows, genome, promoters=promoters)
    assert nothing.region.tolist() == ["promoter"] * 5 and nothing.exon_distance.isna().all()
    assert nothing[["transcript", "gene", "notation", "protein"]].eq("").all(axis=None)


def test_index_columns_and_no_variant_at_all(tmp_path):
    genome, one = gene(tmp_path)
    empty = table([], genome, one)
    assert list(empty.columns) == consequence.COLUMNS and empty.empty
    variants = pd.DataFrame(substituted(genome, [350, 105, 215]), columns=["contig", "pos", "ref", "alt"], index=["x", "y", "y"])
    said = consequence.table(variants, {"T1": one}, genome)
    assert said.index.tolist() == ["x", "y", "y"] and said.region.tolist() == ["other", "5' UTR", "missense"]
    with pytest.raises(ValueError, match="c:106 [ACGT]>[ACGT]: the genome has"):
        consequence.table(variants.assign(ref=variants["alt"], alt=variants["ref"]), {"T1": one}, genome)


@pytest.fixture(scope="module")
def real():
    """5,000 of ClinVar's alleles, and what is said of them."""
    data = shared()
    alleles = data.alleles.sample(5000, random_state=0)
    return data, alleles, consequence.table(alleles, data.transcripts, data.genome)


def test_regions_agree_with_parts_of_genes_on_real_alleles(real):
    data, alleles, said = real
    parts = genes.parts(genes.from_bed(read_bed(NEEDED["lrg_exons.bed.gz"], data.genome, "exon", unique=False)))
    lone = ((alleles.ref.str.len() == 1) & (alleles.alt.str.len() == 1)).to_numpy()
    place = pd.DataFrame({"contig": alleles.contig, "start": alleles.pos, "end": alleles.pos + 1})[lone].reset_index(drop=True)
    region = said.region[lone].reset_index(drop=True)
    columns = ("contig", "start", "end")

    def inside(*families):
        of = parts[parts["family"].isin(families)]
        return bioframe.count_overlaps(place, of, cols1=columns, cols2=columns)["count"].to_numpy() > 0

    splice, coding = inside("splice donor", "splice acceptor"), inside("CDS")
    early = region.isin(["nonsense", "frameshift", "start or stop"]).to_numpy()
    assert ((region == "splice window").to_numpy() == splice & ~early).all() and splice.sum() > 300
    assert (early <= coding).all() and early.sum() > 100
    assert (region.isin(["missense", "synonymous"]).to_numpy() == coding & ~splice & ~early).all()
    utr = inside("5' UTR", "3' UTR")
    assert (region.isin(["5' UTR", "3' UTR"]).to_numpy() == utr & ~coding & ~splice).all() and utr.sum() > 30
    assert (region == "intron").to_numpy()[inside("intron") & ~splice & ~coding & ~utr].all()
    assert not inside("exon", "intron")[(region == "other").to_numpy()].any()


def test_exon_distance_is_that_of_brute_force(real):
    data, alleles, said = real
    edges = {c: np.array([e for t in on for a, b in t.exons for e in (a, b - 1)]) for c, on in data.on.items()}
    for v, distance in zip(alleles.itertuples(), said.exon_distance):
        if len(v.ref) == len(v.alt) == 1:
            assert np.abs(edges[v.contig] - v.pos).min() == distance


def test_notation_and_class_of_known_variants():
    """NOD2 R702W, L1007fs and HNF4A's P2 promoter (Hansen et al. 2002), that lies in a promoter of EPDnew widened by 500 bases."""
    data = shared()
    variants = pd.DataFrame([("chr16", 50712014, "C", "T"), ("chr16", 50729866, "G", "GC"), ("chr20", 44355643, "C", "A")],
                            columns=["contig", "pos", "ref", "alt"])  # fmt: skip
    path = DATA_DIR / "regulatory" / "epdnew_human_hg38.bed"
    if not path.is_file():
        pytest.skip(f"NO PROMOTERS at {path}: set DATA_DIR to the folder of shared data")
    tss = pd.read_csv(path, sep="\t", header=None, usecols=[0, 1, 2], names=["contig", "start", "end"])
    promoters = tss.assign(start=tss.start - 500, end=tss.end + 500)
    said = consequence.table(variants, data.transcripts, data.genome, promoters)
    assert said.region.tolist() == ["missense", "frameshift", "promoter"]
    assert said.protein.tolist() == ["p.Arg702Trp", "p.Leu1007ProfsTer2", ""]
    assert said.notation.tolist() == ["c.2104C>T", "c.3019dup", "c.-161C>A"]
    assert said.gene.tolist() == ["NOD2", "NOD2", "HNF4A"] and said.transcript[2] == "LRG_483t1" and said.exon_distance[2] == 157
    assert consequence.table(variants[2:], data.transcripts, data.genome).region.tolist() == ["other"]
    assert hgvs.genomic(*variants.iloc[1], data.genome) == "NC_000016.10:g.50729870dup"
