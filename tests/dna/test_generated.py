"""Files by grammar, half of them spoiled: a clear error, or what an independent reader says.

Independent are pysam and a slow reconstruction of haplotypes, letter by letter, for VCF; pysam's FastxFile for FASTA; pandas
and bioframe for BED; the csv module for tables. A file that was not spoiled has to be read.
"""

import csv
import gzip
import random
from collections import Counter

import bioframe
import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import genotypes, windows
from lib.dna.haplotypes import build_units
from lib.dna.people import read_genetic, read_people, read_phenotype
from lib.dna.reference import Reference

SHORT, LONG = 40, 2000
LENGTH = 90  # bases of a random contig


def test_the_independent_reader_disagrees_where_it_should(tmp_path, monkeypatch):
    """The comparison can fail: with phase ignored by the reader, some file disagrees."""
    whole = genotypes.read_genotypes

    def careless(*given):
        read = whole(*given)
        read.phased[:] = False
        return read

    monkeypatch.setattr(genotypes, "read_genotypes", careless)
    with pytest.raises(AssertionError):
        for seed in range(SHORT):
            vcf_case(random.Random(seed), tmp_path)


def run(reader, n, folder):
    """Outcomes of n seeded files; the error tells the seed that failed."""
    outcomes = Counter()
    for seed in range(n):
        try:
            outcomes[CASES[reader](random.Random(seed), folder)] += 1
        except Exception as error:
            raise AssertionError(f"{reader}, seed {seed}: {error!r}") from error
    assert sum(outcomes.values()) == n and outcomes["read"] >= n / 4 and outcomes["refused"] >= n / 20, outcomes
    print(reader, dict(outcomes))


def refused(read, path):
    """What `read` gives, or None when it refuses the file by name."""
    try:
        return read()
    except (ValueError, FileNotFoundError) as error:
        assert path.name in str(error), f"names no file: {error}"
        assert type(error) in (ValueError, FileNotFoundError), f"{type(error)}: {error}"
        return None


def outcome(got, spoiled):
    assert got is not None or spoiled, "a sound file was refused"
    return "refused" if got is None else "read"


# ---- VCF --------------------------------------------------------------------------------------------------------

HEAD = """##fileformat=VCFv4.2
##contig=<ID=chr1,length=90>
##FILTER=<ID=LowQual,Description="x">
##FORMAT=<ID=GT,Number=1,Type=String,Description="x">
##FORMAT=<ID=PS,Number=1,Type=Integer,Description="x">
##ALT=<ID=DEL,Description="x">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO	FORMAT	a	b	c
"""


def dna(rng, length, letters="ACGT"):
    """Random bases with repeats, where one variant has many spellings."""
    text = ""
    while len(text) < length:
        text += "".join(rng.choices(letters, k=rng.randint(1, 3))) * rng.choice([1, 1, 2, 4])
    return text[:length]


def alternative(rng, ref):
    kind = rng.choice(["snv", "snv", "insertion", "deletion", "any", "symbol"])
    if kind == "snv":
        return rng.choice([b for b in "ACGT" if b != ref[0]]) + ref[1:]
    if kind == "insertion":
        return ref[0] + dna(rng, rng.randint(1, 3)) + ref[1:]
    if kind == "deletion" and len(ref) > 1:
        return ref[0]
    return rng.choice(["<DEL>", "*", f"{ref}[chr1:5["]) if kind == "symbol" else dna(rng, rng.randint(1, 4))


def call(rng, n_alts):
    alleles = [rng.choice([*map(str, range(n_alts + 1)), "0", "0", "."]) for _ in range(2)]
    return rng.choice([alleles[0], "/".join(alleles), "/".join(alleles), "|".join(alleles), "|".join(alleles)])


def vcf_rows(rng, genome):
    rows = [["chr1", "1", ".", genome[0], "ACGTA"["ACGT".index(genome[0]) + 1], ".", ".", ".", "GT", "0/0", "0/0", "0/0"]]
    for pos in sorted(rng.choices(range(2, LENGTH - 4), k=rng.randint(1, 12))):
        ref = genome[pos - 1 : pos - 1 + rng.choice([1, 1, 1, 2, 4])]
        alts = list(dict.fromkeys(alternative(rng, ref) for _ in range(rng.choice([1, 1, 2, 3]))))
        alts = [alt for alt in alts if alt.upper() != ref]
        if not alts:
            continue
        sets = rng.random() < 0.5
        calls = [call(rng, len(alts)) + (f":{rng.choice(['.', '1', '2', '30'])}" if sets else "") for _ in range(3)]
        passed = rng.choice([".", ".", "PASS", "LowQual"])
        if rng.random() < 0.2:
            ref, alts = ref.lower(), [alt.lower() if alt.isalpha() else alt for alt in alts]
        rows.append(["chr1", str(pos), ".", ref, ",".join(alts), ".", passed, ".", "GT:PS" if sets else "GT", *calls])
    return rows


def spoil_vcf(rng, rows):
    row = rng.choice(rows)
    column = rng.choice([1, 3, 4, 6, 8, 9, 10, 11, "twice", "drop", "add"])
    if column == "twice":
        rows.insert(rows.index(row), list(row))
    elif column == "drop":
        row.pop(rng.randrange(2, len(row)))
    elif column == "add":
        row.append("0/0")
    else:
        row[column] = rng.choice({
            1: ["0", "x", "7", "89", "91"], 3: ["A", "N", "R", "", "AC", "."], 4: [row[3], "A,A", "Q", "", "A,", "<X", ".", "N"],
            6: ["q10", "PASS;q10"], 8: ["GT:PS", "PS:GT", ".", "GT:", ""],
        }.get(column, ["0/9", "1/2/1", "", "x", "0/", "./.", "1", "0|1:5", "-1", "0/1:"]))  # fmt: skip


def vcf_case(rng, folder):
    genome = dna(rng, LENGTH)
    if rng.random() < 0.3:
        at = rng.randrange(20, 70)
        genome = genome[:at] + rng.choice("NRYM") + genome[at + 1 :]
    rows, spoiled = vcf_rows(rng, genome), rng.random() < 0.5
    if spoiled:
        spoil_vcf(rng, rows)
    path, fasta = folder / "v.vcf.gz", folder / "g.fa"
    fasta.write_text(f">chr1\n{genome}\n")
    pysam.faidx(str(fasta))
    with pysam.BGZFile(str(path), "w") as handle:
        handle.write((HEAD + "".join("\t".join(row) + "\n" for row in rows)).encode())
    verbosity = pysam.set_verbosity(0)
    try:
        pysam.tabix_index(str(path), preset="vcf", force=True)
    except OSError:
        assert spoiled
        return "no index can be made"
    finally:
        pysam.set_verbosity(verbosity)
    reference = Reference(fasta)
    region = pd.DataFrame({"contig": ["chr1"], "start": [0], "end": [LENGTH], "locus": ["x"]})
    got = refused(lambda: genotypes.read_genotypes(path, reference, region), path)
    passed = folder / "passed.vcf"  # a record that failed its filter is left out, whatever else is wrong with it
    passed.write_text(HEAD + "".join("\t".join(row) + "\n" for row in rows if len(row) < 7 or row[6] in (".", "PASS")))
    table = None if got is None and spoiled else by_pysam(passed, genome)
    repeated = table is not None and twice(table, genome)
    assert got is None or not repeated, "a variant in two spellings was accepted"
    if got is None:
        return outcome(got, spoiled or repeated)
    assert got.variants[["pos", "ref", "alt"]].values.tolist() == [list(row[:3]) for row in table]
    for s in range(3):
        want = [dosage(row[3], row[4][s][0]) for row in table]
        np.testing.assert_array_equal(got.dosage[:, s], want)
    tiles = windows.tile(region, 30)
    units = build_units(tiles, reference, got)
    for place in tiles.itertuples():
        for s, name in enumerate("abc"):
            rows = units.carriers[(units.carriers["sample"] == name) & (units.carriers.window == place.window)]
            texts = [units.sequences[u] for u in rows.sort_values("haplotype").unit]
            want = by_hand(genome, table, s, place.start, place.end)
            one_copy = [len(row[4][s][0]) == 1 and row[4][s][0] != (None,) for row in table]
            called_twice = [len(row[4][s][0]) == 2 and row[4][s][0][1] is not None for row in table]
            if len(texts) == 1:
                assert any(one_copy) and not any(called_twice)
            assert texts == want[: len(texts)], (name, place.start, texts, want)
    return outcome(got, spoiled)


def by_pysam(path, genome):
    """pos, ref, alt, number of the ALT, [(alleles, phased, set) per sample] of the alleles that spell bases and passed."""
    table = []
    with pysam.VariantFile(str(path)) as handle:
        for record in handle:
            if record.start >= LENGTH:
                continue  # beyond the region
            calls = []
            for sample in record.samples.values():
                alleles = sample.allele_indices
                calls.append((alleles, sample.phased or len(alleles) == 1, sample.get("PS")))
            ref = plain(record.ref)
            assert record.ref.upper() == genome[record.start : record.start + len(ref)]
            for number, alt in enumerate(record.alts or (), 1):
                if alt.isalpha():
                    assert plain(alt) != ref
                    table.append((record.start, ref, plain(alt), number, calls))
    return table


def plain(bases):
    return "".join(b if b in "ACGTN" else "N" for b in bases.upper())


def twice(table, genome):
    """Whether two alleles, each applied alone, give one sequence: the same variant, however it is written."""
    alone = [genome[:pos] + alt + genome[pos + len(ref) :] for pos, ref, alt, *_ in table]
    return len(set(alone)) < len(alone)


def dosage(number, alleles):
    return np.nan if None in alleles else sum(a == number for a in alleles)


def by_hand(genome, table, s, low, high):
    """Both haplotypes of person s in a window, after the rules of docs/inputs.md, base by base."""
    # which calls have an ALT on both copies of a position, so that their order is kept
    at = {}
    for pos, _, _, number, calls in table:
        for copy, allele in enumerate(calls[s][0]):
            at.setdefault(pos, set()).update({copy} if allele == number else ())
    alleles = []
    for row, (pos, ref, alt, number, calls) in enumerate(table):
        given, phased, group = calls[s]
        anybody = any(number in c[0] for c in calls)
        shared = 0
        while shared < min(len(ref), len(alt)) and ref[shared] == alt[shared]:
            shared += 1
        first, cut, put = pos + shared, ref[shared:], alt[shared:]
        stands = first if cut else first - 1
        if not anybody or not (low <= stands and first + len(cut) <= high and len(cut) < high - low):
            continue
        copies = [a == number for a in given] + [False] * (2 - len(given))
        ordered = at[pos] == {0, 1}
        alleles.append({"row": row, "first": first, "cut": len(cut), "put": put, "copies": copies, "phased": phased,
                        "one": len(given) == 1, "set": group, "ordered": ordered})  # fmt: skip
    alleles.sort(key=lambda a: (a["first"], a["cut"], a["row"]))
    in_phase = [a for a in alleles if sum(a["copies"]) == 1 and a["phased"] and not a["one"]]
    for a in alleles:
        other_set = a in in_phase and a["set"] != in_phase[0]["set"]
        a["free"] = sum(a["copies"]) == 1 and not a["ordered"] and (not a["phased"] or other_set)
        if a["free"]:
            a["copies"] = [False, True]
    for i in reversed(range(len(alleles))):
        a = alleles[i]
        fixed = [b for j, b in enumerate(alleles) if j != i and clash(a, b) and (j > i or not b["free"])]
        if a["free"] and any(b["copies"][1] for b in fixed) and not any(b["copies"][0] for b in fixed):
            a["copies"] = [True, False]
    return [applied(genome, [a for a in alleles if a["copies"][copy]], low, high) for copy in (0, 1)]


def clash(a, b):
    first, second = sorted((a, b), key=lambda x: (x["first"], x["cut"], x["row"]))
    both_insert = first["cut"] == second["cut"] == 0 and first["first"] == second["first"]
    return both_insert or second["first"] < first["first"] + first["cut"]


def applied(genome, alleles, low, high):
    kept = []
    for a in alleles:
        if not any(clash(b, a) for b in kept):
            kept.append(a)
    bases = {p: plain(genome[p]) for p in range(low, high)}
    before = dict.fromkeys(range(low, high + 1), "")
    for a in kept:
        for p in range(a["first"], a["first"] + a["cut"]):
            bases[p] = ""
        before[a["first"]] += a["put"]
    return "".join(before[p] + bases[p] for p in range(low, high)) + before[high]


# ---- FASTA ------------------------------------------------------------------------------------------------------


def fasta_case(rng, folder):
    def contigs(n):
        text = ""
        for name in rng.sample(["chr1", "chr2", "chrX", "3", "HLA-A*01:01"], n):
            width, sequence = rng.randint(1, 30), dna(rng, rng.randint(1, 120), rng.choice(["ACGT", "ACGTacgtN", "ACGTRYKMnr"]))
            lines = [sequence[i : i + width] for i in range(0, len(sequence), width)]
            text += f">{name}{rng.choice(['', ' a note', chr(9) + 'x'])}{end}{end.join(lines)}{end}"
        return text

    end = rng.choice(["\n", "\n", "\r\n"])
    text = contigs(rng.randint(1, 4))
    text = text.removesuffix(end) if rng.random() < 0.2 else text
    path, compress, spoiled = folder / "g.fa", rng.random() < 0.5, rng.random() < 0.5
    before, after = (text, text) if not spoiled else spoil_fasta(rng, text, contigs)
    for number, content in enumerate((before, after)):
        path.write_bytes(content.encode())
        given = path
        if compress:
            given = folder / "g.fa.gz"
            pysam.tabix_compress(str(path), str(given), force=True)
        if number == 0:
            try:
                pysam.faidx(str(given))
            except pysam.SamtoolsError:
                assert spoiled
                return "no index can be made"
    got = refused(lambda: letters(given), given)
    if got is not None:
        with pysam.FastxFile(str(given)) as handle:
            want = [(entry.name, plain(entry.sequence)) for entry in handle]
        assert list(got.items()) == want
    return outcome(got, spoiled)


def letters(path):
    genome = Reference(path)
    return {name: genome.fetch(name, 0, n) for name, n in genome.lengths.items()}


def spoil_fasta(rng, text, contigs):
    """The file when its index is made, and the file that is read."""
    at = rng.randrange(len(text))
    return rng.choice([
        (text, text + contigs(1)), (text, contigs(2)), (text, text[:at]), (text, text[:at] + "ACG" + text[at:]),
        (text + text, text + text), (text[:at] + "?" + text[at:],) * 2, (text[:at] + "\n" + text[at:],) * 2,
    ])  # fmt: skip


# ---- BED --------------------------------------------------------------------------------------------------------


def bed_case(rng, folder):
    genome = folder / "b.fa"
    if not genome.exists():
        genome.write_text(f">chr1\n{'ACGT' * 25}\n>chr2\n{'A' * 60}\n")
        pysam.faidx(str(genome))
    rows, n_columns = [], rng.choice([3, 4, 5, 6, 7])
    for i in range(rng.randint(1, 8)):
        contig = rng.choice(["chr1", "chr2"])
        start, end = sorted(rng.sample(range(61), 2))
        rows.append([contig, str(start), str(end), f"n{i}", rng.choice(["0", ".", "12.5", "-3"]), rng.choice("+-."), "more"][:n_columns])
    if n_columns == 3:
        rows = [list(row) for row in dict.fromkeys(map(tuple, rows))]
    spoiled = rng.random() < 0.5
    lines = ["\t".join(row) for row in rows]
    if spoiled:
        row = rng.choice(rows)
        row[rng.randrange(len(row))] = rng.choice(["", "x", "-1", "1e3", "chr9", "101", "5.0", "1_0", " 7", "CHR1", "nan", "\u0663"])
        lines = ["\t".join(row) for row in rows]
        if rng.random() < 0.3:
            lines[rng.randrange(len(lines))] = rng.choice(["chr1", "chr1 1 5", "chr1\t5", "chr1,1,5", rng.choice(lines)])
    for extra in ("# note", "track name=x", "browser position", ""):
        if rng.random() < 0.2:
            lines.insert(rng.randrange(len(lines) + 1), extra)
    path = folder / "l.bed"
    data = rng.choice(["\n", "\n", "\r\n"]).join([*lines, ""]).encode()
    path.write_bytes(gzip.compress(data) if rng.random() < 0.2 else data)
    got = refused(lambda: windows.read_bed(path, Reference(genome)), path)
    if got is not None:
        kept = [line.split("\t") for line in lines if line and not line.startswith(("#", "track", "browser"))]
        width = max(map(len, kept))
        want = pd.DataFrame([row + [None] * (width - len(row)) for row in kept]).iloc[:, :6]
        want.columns = ["chrom", "start", "end", "name", "score", "strand"][: want.shape[1]]
        want = want.astype({"start": int, "end": int})
        assert bioframe.is_bedframe(want)
        inside = bioframe.trim(want, bioframe.make_viewframe({"chr1": 100, "chr2": 60}), df_view_col=None)
        pd.testing.assert_frame_equal(inside[["chrom", "start", "end"]], want[["chrom", "start", "end"]], check_dtype=False)
        assert got[["contig", "start", "end"]].values.tolist() == want[["chrom", "start", "end"]].values.tolist()
        if "name" in want and want.name.notna().all():
            assert got.locus.tolist() == want.name.tolist()
        if "strand" in want and want.strand.notna().all():
            assert got.strand.tolist() == want.strand.tolist()
    return outcome(got, spoiled)


# ---- tables of people -------------------------------------------------------------------------------------------


def table_case(rng, folder, columns, read):
    """columns: name -> values to choose from. read: (path, samples) -> rows of text, in the samples' order."""
    samples = [f"s{i}" for i in range(rng.randint(2, 6))]
    names = rng.sample(["sample", *columns, "note"], len(columns) + 2)
    rows = [[name if n == "sample" else rng.choice(columns.get(n, ["", "x y", "7"])) for n in names] for name in samples]
    for n in columns.keys() & {"phenotype"}:  # both values occur
        rows[0][names.index(n)], rows[1][names.index(n)] = "0", "1"
    rng.shuffle(rows)
    separator, end = rng.choice("\t,"), rng.choice(["\n", "\r\n"])
    spoiled = rng.random() < 0.5
    if spoiled:
        row = rng.choice([names, *rows])
        what = rng.choice(["value", "value", "drop", "add", "twice", "row"])
        if what == "value":
            row[rng.randrange(len(row))] = rng.choice(["", "x", "NA", "nan", "s0", "2", '"', "1.5", "sample", "inf", "\u00e9"])
        elif what == "row":
            rows.insert(rng.randrange(len(rows)), list(rng.choice(rows)))
        elif what == "drop":
            row.pop()
        else:
            row.append(rng.choice(row) if what == "twice" else "1")
    text = end.join([separator.join(row) for row in [names, *rows]] + [""] * rng.choice([0, 1, 2]))
    data = text.encode(rng.choice(["utf-8", "utf-8", "utf-8-sig", "latin-1"]) if spoiled else "utf-8")
    path = folder / "t.csv"
    path.write_bytes(gzip.compress(data) if rng.random() < 0.2 else data)
    got = refused(lambda: read(path, samples), path)
    if got is not None:
        wanted = csv.DictReader(data.decode("utf-8-sig").splitlines(), delimiter=separator)
        by_name = {row["sample"]: row for row in wanted}
        for name, values in got.items():
            assert values == [type(v)(by_name[s][name]) for v, s in zip(values, samples)], name
    return outcome(got, spoiled)


def phenotype_case(rng, folder):
    def read(path, samples):
        return {"phenotype": read_phenotype(path, samples).tolist()}

    return table_case(rng, folder, {"phenotype": ["0", "1"]}, read)


def genetic_case(rng, folder):
    def read(path, samples):
        return {"genetic": read_genetic(path, samples).tolist()}

    return table_case(rng, folder, {"genetic": ["0.25", "-1.50", "3.00"]}, read)


def people_case(rng, folder):
    def read(path, samples):
        people = read_people(path, samples)
        return {name: people[name].tolist() for name in people}

    return table_case(rng, folder, {"population": ["CEU", "TSI"], "family": ["1", "2", "3"], "sex": ["male", "female"]}, read)


CASES = {"vcf": vcf_case, "fasta": fasta_case, "bed": bed_case, "phenotype": phenotype_case, "genetic": genetic_case, "people": people_case}


@pytest.mark.parametrize("reader", CASES)
def test_generated(reader, tmp_path):
    run(reader, SHORT, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("reader", CASES)
def test_generated_at_length(reader, tmp_path):
    run(reader, LONG, tmp_path)
