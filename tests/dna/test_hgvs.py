"""HGVS notation: by hand, by brute force over every spelling, by HGVS's own examples, and against ClinVar's."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import genes, hgvs
from lib.dna.hgvs import Transcript
from lib.dna.reference import Reference
from tests.clinvar_hgvs import bare, edit, edited, shared
from tests.helpers import random_dna

#: exons 10-20, 30-40, 47-60 (an even intron of 10 and an odd one of 7); coding from 15 to 50
EXONS = ((10, 20), (30, 40), (47, 60))


def genome_of(folder, **contigs):
    path = folder / "genome.fa"
    path.write_text("".join(f">{name}\n{bases}\n" for name, bases in contigs.items()))
    pysam.faidx(str(path))
    return Reference(path)


def transcript(strand, coding=(15, 50), exons=EXONS):
    """By the door that real ones come through."""
    rows = [("c", a, b, strand, "G", "T1", "exon", -1) for a, b in exons]
    if coding:
        cut = [(max(a, coding[0]), min(b, coding[1])) for a, b in exons]
        rows += [("c", a, b, strand, "G", "T1", "CDS", 0) for a, b in cut if a < b]
    report = Counter()
    made = hgvs.transcripts(pd.DataFrame(rows, columns=genes.COLUMNS), report)
    assert report.total() == 0
    return made["T1"]


def test_places_on_a_transcript_by_hand():
    plus = transcript("+")
    wanted = {
        3: "-12", 9: "-6", 10: "-5", 14: "-1", 15: "1", 19: "5", 20: "5+1", 24: "5+5", 25: "6-5", 29: "6-1", 30: "6", 39: "15",
        40: "15+1", 43: "15+4", 44: "16-3", 46: "16-1", 47: "16", 49: "18", 50: "*1", 59: "*10", 60: "*11", 70: "*21",
    }  # fmt: skip
    assert {base: plus.label(base) for base in wanted} == wanted
    minus = transcript("-")  # the first base is 59: ten bases before the start codon, three coding ones, an intron
    wanted = {
        62: "-13", 60: "-11", 59: "-10", 50: "-1", 49: "1", 47: "3", 46: "3+1", 43: "3+4", 42: "4-3", 40: "4-1", 39: "4", 30: "13",
        29: "13+1", 25: "13+5", 24: "14-5", 20: "14-1", 19: "14", 15: "18", 14: "*1", 10: "*5", 9: "*6",
    }  # fmt: skip
    assert {base: minus.label(base) for base in wanted} == wanted


def test_introns_of_untranslated_parts_and_of_what_codes_for_nothing():
    utr = transcript("+", coding=(33, 38))  # the first exon is 5' UTR, the last one 3' UTR
    assert [utr.label(base) for base in (10, 19, 20, 29, 30, 32, 33, 37, 38, 40, 46, 47)] == [
        "-13", "-4", "-4+1", "-3-1", "-3", "-1", "1", "5", "*1", "*2+1", "*3-1", "*3"]  # fmt: skip
    edges = transcript("-", coding=(30, 40))  # it codes from an exon's first base to its last
    assert [edges.label(base) for base in (46, 40, 39, 30, 29, 20)] == ["-1+1", "1-1", "1", "10", "10+1", "*1-1"]
    silent = transcript("-", coding=None)
    assert [silent.label(base) for base in (60, 59, 47, 46, 39, 10, 9)] == ["-1", "1", "13", "13+1", "14", "33", "*1"]


def test_words_of_each_kind_by_hand(tmp_path):
    #        0123456789012345678901234567890
    bases = "GGCATTTACGCACAGATTGCCAGTAACCTGA"
    genome = genome_of(tmp_path, c=bases)
    cases = [
        (3, "A", "C", "c:g.4A>C"), (3, "AT", "A", "c:g.7del"), (4, "TTT", "T", "c:g.6_7del"), (3, "A", "AT", "c:g.7dup"),
        (6, "T", "TTT", "c:g.6_7dup"), (10, "CA", "C", "c:g.12del"), (9, "GCACA", "GCA", "c:g.13_14del"),
        (14, "G", "GCC", "c:g.15_16insCC"), (14, "GAT", "GCCT", "c:g.16delinsCC"), (14, "GAT", "ATC", "c:g.15_17inv"),
        (7, "AC", "GT", "c:g.8_9inv"), (7, "AC", "GG", "c:g.8_9delinsGG"), (2, "CAT", "CGT", "c:g.4A>G"),
        (3, "A", "ATTTT", "c:g.7_8insTTTT"),
        (0, "G", "AG", "c:g.1delinsAG"), (0, "G", "GG", "c:g.2dup"), (30, "A", "AC", "c:g.31delinsAC"), (0, "GGC", "C", "c:g.1_2del"),
    ]  # fmt: skip
    for pos, ref, alt, wanted in cases:
        assert hgvs.genomic("c", pos, ref, alt, genome) == wanted
    minus = Transcript("T", "G", "c", "-", ((0, 31),), None)
    cases = [
        (3, "A", "C", "28T>G"), (6, "TA", "T", "24del"), (3, "AT", "A", "27del"), (6, "T", "TTT", "26_27dup"),
        (14, "GAT", "ATC", "15_17inv"), (14, "G", "GCC", "16_17insGG"),
        (14, "GAT", "GCCT", "16delinsGG"), (0, "G", "AG", "31delinsCT"), (0, "G", "GG", "31dup"),
    ]  # fmt: skip
    for pos, ref, alt, wanted in cases:
        assert hgvs.coding(minus, pos, ref, alt, genome) == f"T:n.{wanted}"


@pytest.mark.parametrize("strand", ["+", "-"])
def test_borders_of_exons_as_hgvs_has_them(tmp_path, strand):
    """The three examples of hgvs-nomenclature.org on deletions: exon/exon, exon/intron, intron/exon."""
    gene = "CC" + "ATGGAT" + "GTATTTAG" + "TCAACAG" + "GTCCTAG" + "GTTTTA" + "CC"
    spans = ((2, 8), (16, 23), (30, 36))
    if strand == "-":
        gene = gene.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        spans = tuple((len(gene) - b, len(gene) - a) for a, b in reversed(spans))
    genome = genome_of(tmp_path, c=gene)
    one = transcript(strand, (spans[0][0], spans[-1][1]), spans)

    def deleted(label):
        at = next(base for base in range(len(gene)) if one.label(base) == label)
        return hgvs.coding(one, at - 1, gene[at - 1 : at + 1], gene[at - 1], genome).removeprefix("T1:c.")

    assert deleted("6") == "6del"  # the next exon begins with the same T, and it is not c.7del
    assert deleted("13") == deleted("13+1") == "13+1del"
    assert deleted("14") == deleted("14-1") == "14del"


@pytest.mark.parametrize("seed", range(3))
def test_every_spelling_has_one_notation_that_is_as_far_3_as_can_be(tmp_path, seed):
    """Few letters make many equal spellings. The notation, read back, makes the same sequence; none further 3' does."""
    rng = np.random.default_rng(seed)
    bases = "".join(rng.choice(list("AC"), 80)) if seed else "ACACACAAAC" * 8
    genome = genome_of(tmp_path, c=bases)
    both = {"+": transcript("+"), "-": transcript("-")}
    spellings: dict[str, list] = {}
    for pos in range(4, 70):
        for n in range(1, 4):
            unit = "".join(rng.choice(list("AC"), n))
            for ref, alt in ((bases[pos], bases[pos] + unit), (bases[pos : pos + n + 1], bases[pos])):
                spellings.setdefault(bases[:pos] + alt + bases[pos + len(ref) :], []).append((pos, ref, alt))
    assert sum(len(ways) > 1 for ways in spellings.values()) > 40
    for sequence, ways in spellings.items():
        for strand, one in both.items():
            texts = {hgvs.coding(one, *way, genome) for way in ways}
            assert len(texts) == 1
            start, end, new = edit(bare(texts.pop()), one, genome, 40)
            assert edited(genome, "c", 0, 80, start, end, new) == sequence
            n = len(sequence) - len(bases)
            places = [p for p in range(81 - max(-n, 0)) if bases[:p] + sequence[p : p + max(n, 0)] + bases[p + max(-n, 0) :] == sequence]
            assert start == (max(places) if strand == "+" else min(places))
        assert len({hgvs.genomic("c", *way, genome) for way in ways}) == 1


def test_accessions_only_where_the_contig_is_as_long_as_grch38s(tmp_path):
    genome = genome_of(tmp_path, chrM=random_dna(16569, 0), chr20=random_dna(100, 1), scaffold=random_dna(50, 2))
    for contig, wanted in (("chrM", "NC_012920.1:m."), ("chr20", "chr20:g."), ("scaffold", "scaffold:g.")):
        base = genome.fetch(contig, 9, 10)
        other = "A" if base != "A" else "C"
        assert hgvs.genomic(contig, 9, base, other, genome) == f"{wanted}10{base}>{other}"


def test_a_run_longer_than_what_is_read_at_once(tmp_path):
    genome = genome_of(tmp_path, c="G" + "CA" * 300 + "G")
    assert hgvs.genomic("c", 0, "GCA", "G", genome) == "c:g.600_601del"
    assert hgvs.genomic("c", 0, "G", "GCA", genome) == "c:g.600_601dup"
    minus = Transcript("T", "G", "c", "-", ((0, 602),), None)
    assert hgvs.coding(minus, 600, "AG", "ACAG", genome) == "T:n.600_601dup"


def test_an_unknown_base_stops_the_way(tmp_path):
    genome = genome_of(tmp_path, c="GAANAAC")
    assert hgvs.genomic("c", 1, "AA", "A", genome) == "c:g.3del"
    assert hgvs.genomic("c", 4, "AAC", "AC", genome) == "c:g.6del"


@pytest.mark.parametrize("given, message", [
    (("d", 3, "A", "C"), "d:4 A>C: contig 'd' is not in"), (("c", 3, "A", "<DEL>"), "ALT '<DEL>', wanted letters A C G T"),
    (("c", 3, "", "C"), "REF '', wanted letters"), (("c", 3, "a", "C"), "REF 'a', wanted letters"),
    (("c", 9, "AC", "A"), r"REF from 9 to 11 \(0-based\), wanted it inside 0 to 10"), (("c", -1, "A", "C"), "REF from -1"),
    (("c", 3, "G", "C"), "c:4 G>C: the genome has T where the variant says G"), (("c", 3, "T", "T"), "ALT is REF, wanted another"),
])  # fmt: skip
def test_what_is_no_variant_of_the_genome_is_refused(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        hgvs.genomic(*given, genome_of(tmp_path, c="ACGTACGTAC"))


def test_transcripts_that_have_no_c_positions_are_left_out_and_counted():
    rows = [
        ("c", 0, 10, "+", "G", "slips", "exon", -1), ("c", 0, 5, "+", "G", "slips", "CDS", 0), ("c", 6, 10, "+", "G", "slips", "CDS", 0),
        ("c", 0, 10, "+", "G", "bare", "CDS", 0),
        ("c", 20, 30, "-", "G", "partial", "exon", -1), ("c", 22, 30, "-", "G", "partial", "CDS", 2),
        ("c", 20, 25, "+", "G", "touch", "exon", -1), ("c", 25, 30, "+", "G", "touch", "exon", -1),
        ("c", 21, 29, "+", "G", "touch", "CDS", 0),
    ]  # fmt: skip
    report = Counter()
    made = hgvs.transcripts(pd.DataFrame(rows, columns=genes.COLUMNS), report, "exons.gff3")
    assert set(made) == {"partial", "touch"} and report["exons.gff3", hgvs.UNLIKE, "left out"] == 2
    assert (made["partial"].coding, made["partial"].frame, made["touch"].coding) == ((0, 8), 2, (1, 9))
    with pytest.raises(ValueError, match="peaks.bed: exons of no transcript, wanted GFF3, or BED with names"):
        hgvs.transcripts(pd.DataFrame([("c", 0, 9, "+", "", "", "exon", -1)], columns=genes.COLUMNS), report, "peaks.bed")


def test_blocks_read_what_the_file_has(tmp_path, monkeypatch):
    monkeypatch.setattr(hgvs, "BLOCK", 7)
    bases = random_dna(100, 0, n_at=(50, 51))
    genome = genome_of(tmp_path, c=bases.lower())
    blocks = hgvs.Blocks(genome.path)
    assert all(blocks.fetch("c", a, b) == bases[a:b] for a in range(0, 100, 3) for b in range(a + 1, 101, 5))
    for region in (("c", 3, 101), ("c", 5, 5), ("c", -1, 4), ("d", 0, 4)):
        with pytest.raises(ValueError, match=re.escape(f"region {region[0]}:{region[1]}-{region[2]}")):
            blocks.fetch(*region)


def test_grch38_is_what_the_real_genome_says():
    genome = shared().genome
    assert {hgvs.GRCH38[name.removeprefix("chr")][1]: name for name in genome.lengths} == {n: name for name, n in genome.lengths.items()}
    numbers = [int(accession[7:9]) for accession, _ in list(hgvs.GRCH38.values())[:24]]
    assert numbers == list(range(1, 25)) and len(hgvs.GRCH38) == 25


def test_promoter_of_hnf4a_and_r702w_of_nod2():
    data = shared()
    assert hgvs.genomic("chr20", 44355643, "C", "A", data.genome) == "NC_000020.11:g.44355644C>A"
    assert hgvs.coding(data.transcripts["LRG_483t1"], 44355643, "C", "A", data.genome) == "LRG_483t1:c.-161C>A"
    assert hgvs.coding(data.transcripts["LRG_177t1"], 50712014, "C", "T", data.genome) == "LRG_177t1:c.2104C>T"


def test_clinvars_own_notation_of_substitutions():
    """97.6 % of 31,479 are in the words of one of our transcripts. The rest are other transcripts: of accessions that are ours (most of
    their alleles agree) 99.67 % do, and most of what is left has an exon beyond ours (MSH2 c.-68-250 is our c.-318)."""
    data = shared()
    lone = data.alleles[(data.alleles.ref.str.len() == 1) & (data.alleles.alt.str.len() == 1)]
    agrees = []
    for v in lone.itertuples():
        texts = [hgvs.coding(t, v.pos, v.ref, v.alt, data.genome) for t in data.near(v.contig, v.pos)]
        agrees.append(bare(v.c) in map(bare, texts))
    by_accession = pd.Series(agrees).groupby(lone.c.str.split(":").str[0].to_numpy()).transform("mean")
    assert len(lone) > 31000 and np.mean(agrees) > 0.975
    ours = (by_accession > 0.5).to_numpy()
    assert ours.mean() > 0.97 and np.mean(np.array(agrees)[ours]) > 0.996


def test_clinvars_own_notation_of_insertions_and_deletions():
    """Of 4,429 whose c. makes the sequence that their row of the VCF makes, 95.5 % have our words; the others are further 5' in ClinVar, or
    say ins where a dup is, or delins where an inversion is. 403 rows of the VCF make another sequence than their c.: 219 insertions
    lie one base before it, most of the rest are other transcripts. No deletion or insertion of
    ours is further 5' than ClinVar's."""
    data = shared()
    indels = data.alleles[(data.alleles.ref.str.len() > 1) | (data.alleles.alt.str.len() > 1)]
    same = other = 0
    for v in indels.itertuples():
        near = data.near(v.contig, v.pos)
        texts = [hgvs.coding(t, v.pos, v.ref, v.alt, data.genome) for t in near]
        if bare(v.c) in map(bare, texts):
            same += 1
            continue
        low, high = v.pos - 700, v.pos + 700
        made = edited(data.genome, v.contig, low, high, v.pos, v.pos + len(v.ref), v.alt)
        for one, text in zip(near, texts):
            said = edit(v.c.split(":c.")[1], one, data.genome, v.pos)
            if said is None or edited(data.genome, v.contig, low, high, *said) != made:
                continue
            other += 1
            ours = edit(bare(text), one, data.genome, v.pos)
            assert edited(data.genome, v.contig, low, high, *ours) == made
            if ours[0] == ours[1] or not ours[2]:
                assert (ours[0] >= said[0]) if one.forward else (ours[0] <= said[0]), (v.c, text)
            break
    assert same + other > 4400 and same / (same + other) > 0.95
