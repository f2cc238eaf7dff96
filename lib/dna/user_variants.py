"""The door for variants that a user asks about: one as text, or those of a VCF. Genotypes, samples and phenotypes stay outside.

What cannot be read is left out with its reason, allele by allele; a file of another genome build is refused as a whole, for a few of
its alleles would fit by chance.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lib.dna.reference import Reference, bare_name, other_spelling
from lib.dna.vcf import sort_of
from lib.dna.vcf_lines import Line, TextVcf, contig_lengths

COLUMNS = ["record", "allele", "contig", "pos", "ref", "alt", "id", "af"]
LEFT_OUT = [*COLUMNS[:-1], "reason", "detail"]
#: A build is judged by REF of the first SNVs that lie on known bases: at most so many, not fewer than, and refused above this share.
MOST_SNVS, LEAST_SNVS, WRONG = 1000, 10, 0.2
#: Share of SNVs that one mistake has to explain, to be called by its name.
NAMED = 0.9
#: Assemblies told by the lengths of their chromosomes, as bioframe has them.
BUILDS = {"hg19": "GRCh37 (hg19)", "hg38": "GRCh38 (hg38)", "hs1": "T2T-CHM13 (hs1)"}

SORTS = {"symbolic": "symbolic allele", "breakend": "breakend", "* (deleted by another record)": "* (deleted by another record)"}
NO_ALT, LETTERS, SAME, TWICE = "no ALT allele (.)", "letters other than A C G T", "ALT is REF", "listed twice in its record"
LACKING, OFF, REF_OFF = "contig that the genome lacks", "position off the contig", "REF runs off the contig"
READS_OFF, UNKNOWN, MISMATCH = "deletion reads off the contig", "genome unknown there (N)", "REF is not the genome's"
_TEXT = re.compile(r"(.+?)([:-])([0-9,]+)\2([^:-]+)\2([^:-]+)")


@dataclass(frozen=True)
class UserVariants:
    """What may be read, and what may not.

    variants: record (number in the file, from 1), allele (number among the record's ALTs, from 1), contig, pos (0-based), ref, alt
        (upper-case A C G T), id (contig:pos:ref>alt with the 1-based position where the record has none), af (INFO/AF of this allele,
        NaN where not given); a row an allele, as in the file. No allele moves: indels stay as they are written.
    left_out: the same without af, alleles as written, with reason (one of this module's) and detail (what was found there).
    report: counted, see `lib.dna.report`. source: name of the file, or the text.
    """

    variants: pd.DataFrame
    left_out: pd.DataFrame
    report: Counter = field(default_factory=Counter)
    source: str = ""


def parse(text: str, reference: Reference) -> UserVariants:
    """One variant, as `chr20:44355644:C:A` or `chr20-44355644-C-A`: 1-based position, contig with "chr" or without.

    Raises ValueError, with what was found and wanted, for any other form, and for every reason for which `read` leaves an allele out.
    """
    text, report = text.strip(), Counter()
    form = _TEXT.fullmatch(text)
    if not form:
        raise ValueError(f"variant {text!r}: wanted contig:position:REF:ALT, as chr20:44355644:C:A, the position counted from 1")
    given, _, digits, ref, alt = form.groups()
    contig = given if given in reference.lengths else _prefixed(given, reference)
    if contig != given:
        report[text, f"contig {given}", f"read as {contig}, as the genome spells it"] += 1
    reference.check_contig(contig, f"variant {text!r}")
    if not digits.isdecimal() or len(digits) > 15:
        raise ValueError(f"variant {text!r}: position {digits!r}, wanted digits alone")
    pos, ref, alt = int(digits) - 1, ref.upper(), alt.upper()
    reason, detail = _fault(contig, pos, ref, alt, _bases(reference, contig, pos, len(ref)), reference)
    if reason:
        raise ValueError(f"variant {text!r}: {reason}{f': {detail}' if detail else ''}")
    report[text, "ALT alleles", "read, one variant each"] += 1
    row = [1, 1, contig, pos, ref, alt, f"{contig}:{pos + 1}:{ref}>{alt}", float("nan")]
    return UserVariants(_table([row], COLUMNS), _table([], LEFT_OUT), report, text)


def read(path: str | Path, reference: Reference) -> UserVariants:
    """The alleles of a VCF (plain, gzip or bgzip; no index needed), whatever its FILTER says; multi-allelic records give a row an allele.

    Raises FileNotFoundError or ValueError, naming file and record, for: what `TextVcf` refuses; a contig in another spelling or of
    another length than the genome's; INFO/AF that is given twice, has not one value per ALT, or is no share; and a file of which more
    than WRONG of the first MOST_SNVS SNVs (LEAST_SNVS at least) have another REF than the genome.
    """
    vcf, report, check = TextVcf(path), Counter(), _Build(reference)
    name, kept, left, contigs = vcf.path.name, [], [], {}
    lengths = contig_lengths(vcf.meta)
    for line in vcf:
        if line.contig not in contigs:
            contigs[line.contig] = _check_contig(line, lengths, reference)
        ref, alts = line.ref.upper(), line.alts
        bases = _bases(reference, line.contig, line.pos, len(ref) + 1)  # one more: it tells a POS that counts from 0
        if check.add(ref, alts, bases):
            check.refuse(vcf.path, lengths)
        share = _allele_frequencies(line)
        report[name, "records", "read"] += 1
        report[name, "multi-allelic records", "split, one row an allele"] += len(alts) > 1
        report[name, "records of FILTER other than PASS", "read all the same"] += line.fields[6] not in ("PASS", ".")
        for number, alt in enumerate(alts, 1):
            reason, detail = _fault(line.contig, line.pos, ref, alt.upper(), bases[: len(ref)], reference)
            if not reason and alt.upper() in [one.upper() for one in alts[: number - 1]]:
                reason = TWICE
            row = _row(line, number, *((line.ref, alt) if reason else (ref, alt.upper())))
            (left if reason else kept).append([*row, *((reason, detail) if reason else (share[number - 1],))])
            report[name, f"ALT alleles, {reason}" if reason else "ALT alleles", "left out" if reason else "read, one variant each"] += 1
    if check.wrong_share():
        check.refuse(vcf.path, lengths)
    return UserVariants(_table(kept, COLUMNS), _table(left, LEFT_OUT), +report, name)


def build_of(lengths: dict[str, int]) -> str:
    """The one of BUILDS whose chromosomes have these lengths, in any spelling, the mitochondrion aside; "" for none."""
    import bioframe

    given = {bare_name(name): length for name, length in lengths.items() if bare_name(name) != "MT"}
    for build in BUILDS:
        sizes = {bare_name(name): size for name, size in bioframe.assembly_info(build).chromsizes.items()}
        shared = [name for name in given if name in sizes]
        if shared and all(given[name] == sizes[name] for name in shared):
            return build
    return ""


def _fault(contig: str, pos: int, ref: str, alt: str, bases: str, reference: Reference) -> tuple[str, str]:
    """Reason and detail why an allele cannot be read, or two empty texts. bases: the genome's where REF says it is, what there is."""
    sort = sort_of(alt)
    if alt == "." or sort in SORTS:
        return (NO_ALT if alt == "." else SORTS[sort]), ""
    if contig not in reference.lengths:
        return LACKING, ""
    length = reference.lengths[contig]
    if not 0 <= pos < length:
        return OFF, f"{contig} has positions 1 to {length}"
    if pos + len(ref) > length:
        return REF_OFF, f"it ends at {pos + len(ref)}, {contig} at {length}"
    if "N" in bases:
        return UNKNOWN, f"the genome has {_short(bases)}"
    for what, allele in (("REF", ref), ("ALT", alt)):
        if not re.fullmatch("[ACGT]+", allele):
            return LETTERS, f"{what} {_short(allele)}"
    if ref != bases:
        return MISMATCH, f"REF is {_short(ref)}, the genome has {_short(bases)}{', which is ALT' if alt == bases else ''}"
    if alt == ref:
        return SAME, ""
    gap, after = len(ref) - len(alt), length - pos - len(ref)
    if gap > after:
        return READS_OFF, f"{gap} bases wanted behind it, so that a window stays as long as it was, {contig} has {after}"
    return "", ""


def _bases(reference: Reference, contig: str, pos: int, length: int) -> str:
    """The genome's bases from pos on, upper case, IUPAC codes as N; as many as the contig has, none where it is not there."""
    end = min(pos + length, reference.lengths.get(contig, 0))
    return reference.fetch(contig, pos, end) if 0 <= pos < end else ""


def _short(bases: str, most: int = 20) -> str:
    return bases if len(bases) <= most else f"{bases[:most]}... ({len(bases)} bases)"


def _prefixed(contig: str, reference: Reference) -> str:
    """The genome's contig that differs by "chr" alone, or the name as it is. An accession says a build, and is not translated."""
    bare = re.sub("^chr", "", contig, flags=re.IGNORECASE)
    return next((name for name in reference.lengths if re.sub("^chr", "", name, flags=re.IGNORECASE) == bare), contig)


def _check_contig(line: Line, lengths: dict[str, int], reference: Reference) -> bool:
    """Whether the genome has it. Raises ValueError for another spelling, and for another length in the header."""
    if line.contig not in reference.lengths:
        if other_spelling(line.contig, reference.lengths):
            reference.check_contig(line.contig, line.where)
        return False
    given, length = lengths.get(line.contig), reference.lengths[line.contig]
    if given and given != length:
        raise ValueError(f"{line.where}: the header says {line.contig} has {given} bases, {reference.path} has {length}: "
                         f"{_another_build(lengths, reference)}")
    return True


def _allele_frequencies(line: Line) -> list[float]:
    """INFO/AF of each ALT, NaN where it is not given."""
    given, n = [value for key, value in line.info if key == "AF"], len(line.alts)
    if len(given) > 1:
        raise ValueError(f"{line.where}: INFO has AF {len(given)} times, wanted once")
    if not given or given[0] == ".":
        return [float("nan")] * n
    values = given[0].split(",")
    if len(values) != n:
        raise ValueError(f"{line.where}: INFO AF={given[0]} has {len(values)} values, wanted one per ALT allele, {n}; set it right, "
                         "or take it out (bcftools annotate -x INFO/AF)")
    try:
        shares = [float("nan") if value == "." else float(value) for value in values]
    except ValueError:
        shares = [-1.0]
    if any(share < 0 or share > 1 for share in shares):
        raise ValueError(f"{line.where}: INFO AF={given[0]}, wanted shares from 0 to 1")
    return shares


@dataclass
class _Build:
    """Counts how REF of SNVs compares with the genome. n: compared; wrong: another base; swapped: of these, the genome has an ALT;
    shifted: REF is the next base."""

    reference: Reference
    n: int = 0
    wrong: int = 0
    swapped: int = 0
    shifted: int = 0

    def add(self, ref: str, alts: list[str], bases: str) -> bool:
        """Count a record that is an SNV on a known base. True once there are enough and too many are wrong."""
        single = [alt.upper() for alt in alts if alt.upper() in ("A", "C", "G", "T")]
        if self.n == MOST_SNVS or ref not in ("A", "C", "G", "T") or not single or bases[:1] in ("", "N"):
            return False
        self.n += 1
        self.wrong += ref != bases[0]
        self.swapped += ref != bases[0] and bases[0] in single
        self.shifted += bases[1:2] == ref
        return self.n == MOST_SNVS and self.wrong_share()

    def wrong_share(self) -> bool:
        return self.n >= LEAST_SNVS and self.wrong > WRONG * self.n

    def refuse(self, path: Path, lengths: dict[str, int]) -> None:
        """Raises ValueError that says the rate, what is suspected and what to do. lengths: of the header's contigs."""
        why = _another_build(lengths, self.reference)
        if self.shifted >= NAMED * self.n:
            why = "it is that of the next base: POS counts from 0, wanted from 1; add 1 to each, and check against the genome"
        elif self.swapped >= NAMED * self.wrong:
            why = "the genome has ALT there: REF and ALT are swapped, as PLINK may write them; set them right (bcftools +fixref)"
        raise ValueError(f"{path}: REF of {self.wrong} of the first {self.n} SNVs on known bases ({self.wrong / self.n:.1%}) is not what "
                         f"{self.reference.path} has: {why}")


def _another_build(lengths: dict[str, int], reference: Reference) -> str:
    """Which build is suspected, and what to do about it. lengths: of the header's contigs."""
    own, given = build_of(reference.lengths), build_of(lengths)
    if given and given != own:
        what = f"another genome build, by its header {BUILDS[given]}"
    elif own:
        what = f"another genome build, most likely {BUILDS['hg38' if own == 'hg19' else 'hg19']}"
        what += " in spite of the contig lengths in its header" if given else ""
    else:
        what = "another genome build"
    return (f"{what}; the genome is {BUILDS.get(own, 'of no build that is known by its lengths')}. Lift the file over to the genome's "
            "build (bcftools +liftover, or Picard LiftoverVcf), or ask in a study of its own build")


def _row(line: Line, number: int, ref: str, alt: str) -> list:
    name = line.fields[2] if line.fields[2] != "." else f"{line.contig}:{line.pos + 1}:{ref}>{alt}"
    return [line.number, number, line.contig, line.pos, ref, alt, name]


def _table(rows: list[list], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({"record": int, "allele": int, "pos": int} | ({"af": float} if "af" in columns else {}))
