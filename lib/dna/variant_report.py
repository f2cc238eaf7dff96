"""The report of one variant: eleven parts, what is known and what is not, in words that claim no more than the numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from lib.edits import codes
from lib.edits.report import Part

#: Why there is no code, as a reader wants it.
WHY = {
    codes.TOO_FEW: "too few labelled variants in this class of regions",
    codes.BETWEEN: "the score lies between the thresholds of PP3 and BP4",
    codes.NOT_MET: "no threshold of its direction was reached in this class",
    codes.CODING: "codes of changed proteins are left to predictors of proteins",
    codes.NOT_READABLE: "the model cannot read this variant",
    codes.LOCATION: "in this class the score says no more than the distance to an exon",
}
NOT_LOOKED_UP = "not looked up"
#: Bases from an exon up to which splicing may explain an effect.
SPLICE_BP = 20


class Asked(NamedTuple):
    """What is known of one variant.

    place: contig, pos (0-based), ref, alt, af, genomic (HGVS), gene, and the columns of `variant_study.PLACE`. listed: rows of
    `effects.agreement` with `variant_study.ABOUT`. percentiles: method and `percentiles.COLUMNS`. evidence: a row of `codes.evidence`;
    classed: the row of its class in `codes.Codes.classes`, None for a class that was not seen. measured: rows of an MPRA (element,
    effect, p_value, barcodes). around: repeat ("" for none), cpg (what becomes of one, ""), moved_tokens (share), readable.
    """

    place: dict
    listed: pd.DataFrame
    percentiles: pd.DataFrame
    evidence: pd.Series
    classed: pd.Series | None
    measured: pd.DataFrame
    around: dict


class About(NamedTuple):
    """What is the same of all variants of a study. training: contigs that dictionaries trained on; labels: of the labelled variants;
    n_others: further seeds; measured: whether measurements were looked at; genome: its build, as a file's name."""

    study: str
    model: str
    sae: str
    window_bp: int
    site: str
    training: list[str]
    labels: str
    n_others: int
    measured: bool
    genome: str


def title(asked: Asked) -> str:
    """What the report is called."""
    p = asked.place
    return f"{p['contig']}:{p['pos'] + 1} {p['ref']}>{p['alt']}: what it does to latents of a DNA model"


def parts(asked: Asked, about: About) -> list[Part]:
    """The eleven parts, in order."""
    lost, gained = (asked.listed[asked.listed["side"] == side] for side in ("lost", "gained"))
    return [
        Part("What", _what(asked.place, about)), Part("Answer", _answer(asked, lost, gained, about)),
        Part("Latents", _latents(asked.listed, about)), Part("Size", _size(asked.percentiles)),
        Part("Rivals", _rivals(asked.percentiles)), Part("Calibrated", _calibrated(asked)),
        Part("Frequency", _frequency(asked.place["af"])), Part("Measured", _measured(asked.measured, about)),
        Part("Otherwise", _otherwise(asked)), Part("Limits", _limits(asked, about)),
        Part("Privacy", ["No genotype, sample or phenotype was read for this report."]),
    ]  # fmt: skip


def why_no_code(asked: Asked) -> str:
    """The reason, with the numbers of its class where there are any."""
    said = WHY.get(asked.evidence["why"], "")
    told = asked.classed["why"] if asked.classed is not None else ""
    return f"{said} ({asked.place['region_class']}: {told})" if told else f"{said} ({asked.place['region_class']})"


def _what(place: dict, about: About) -> list[str]:
    named = " · ".join(x for x in (
        f"{place['transcript']}:{place['notation']} ({place['gene']})" if place["transcript"] else "no transcript within 5,000 bases",
        place["protein"]) if x)  # fmt: skip
    distance = place["exon_distance"]
    far = "distance to an exon not known" if np.isnan(distance) else f"{distance:,.0f} bases from the nearest exon's edge"
    return [f"{place['contig']}:{place['pos'] + 1} {place['ref']}>{place['alt']} ({about.genome}) · {place['genomic']}", named,
            f"class: {place['region_class']} · {far}"]  # fmt: skip


def _answer(asked: Asked, lost: pd.DataFrame, gained: pd.DataFrame, about: About) -> list[str]:
    said = []
    for verb, rows in (("Takes away", lost), ("Brings", gained)):
        if len(rows):
            first = rows.iloc[0]
            again = f"; {first.n_agree} of {first.n_readings} further readings agree" if first.n_readings else ""
            said.append(f"{verb} latent {first.latent} ({_called(first)}, grade {first.grade}){again}.")
    if not said:
        said.append("No latent is taken away or brought by the rule of this study." if asked.around["readable"] else
                    "The model cannot read this variant: a window holds more tokens than its context.")
    if asked.evidence["acmg"] == codes.NONE:
        said.append(f"No ACMG code: {why_no_code(asked)}. Research use.")
    else:
        said.append(f"Consistent with {asked.evidence['acmg'].replace('_', ' ')}, as computational evidence alone. Research use.")
    return said


def _called(row: pd.Series) -> str:
    family = row.family if isinstance(row.family, str) and row.family else "no concept"
    return f"consistent with {family}" if str(row.plausible) == "True" else f"goes with {family}, not claimed"


def _latents(listed: pd.DataFrame, about: About) -> list[str | pd.DataFrame]:
    if listed.empty:
        return ["none by the rule of this study"]
    seeds = [f"{int(n)} of {about.n_others}" if pd.notna(n) and about.n_others else "one seed" for n in listed["seeds_found"]]
    table = pd.DataFrame({
        "": listed["side"], "latent": listed["latent"], "family": listed["family"].fillna(""), "grade": listed["grade"],
        "REF": listed["ref"], "ALT": listed["alt"], "change": listed["change"], "share of its largest": listed["relative"],
        "in other seeds": seeds, "readings that agree": [f"{a} of {n}" for a, n in zip(listed["n_agree"], listed["n_readings"])],
        "needed by a prediction": listed["faithful"].fillna("").replace("", "not shown"),
    })  # fmt: skip
    said = "REF, ALT: largest activation on tokens near the variant, with it in the middle of the window. Readings: the other strand, and "
    return [said + "other places in the window.", table]


def _size(table: pd.DataFrame) -> list[str]:
    own = table[table["method"] == "SAE"]
    if own.empty or own["percentile"].isna().all():
        return ["no percentile: too few background alleles of its own sort"]
    row = own.iloc[0]
    said = f"larger than {100 * row.percentile:.1f} % (95 % interval {100 * row.low:.1f} to {100 * row.high:.1f})"
    return [f"{said} of {row.n:,} alleles of the reference that nobody chose, of the same {row.matched_on.replace(' + ', ', ')}"]


def _rivals(table: pd.DataFrame) -> list[str | pd.DataFrame]:
    rivals = table[table["method"] != "SAE"]
    if rivals.empty:
        return ["none"]
    shown = rivals.assign(percentile=100 * rivals["percentile"], low=100 * rivals["low"], high=100 * rivals["high"])
    return ["the same percentile, on the same tokens, by other methods; phyloP was not given",
            shown[["method", "percentile", "low", "high", "n"]]]  # fmt: skip


def _calibrated(asked: Asked) -> list[str]:
    row = asked.evidence
    if row["acmg"] == codes.NONE:
        return [f"no code: {why_no_code(asked)}"]
    window = f"in the window around the score {row['n_pathogenic']} pathogenic and {row['n_benign']} benign variants"
    ratio = f"likelihood ratio {row['likelihood_ratio']:.2f} (one-sided 5 % bound {row['bound']:.2f})"
    posterior = f"posterior {row['posterior']:.3f} at a prior of {row['prior']:.4f}; {row['points']:+d} points"
    return [f"class {asked.place['region_class']}; {window}; {ratio}; {posterior}; {row['acmg'].replace('_', ' ')}"]


def _frequency(af: float) -> list[str]:
    if np.isnan(af):
        return [f"gnomAD: {NOT_LOOKED_UP}; the input gave no INFO/AF"]
    warned = "; above 5 %: BA1, benign by itself" if af > 0.05 else "; above 1 %: BS1 may hold, by the disease" if af > 0.01 else ""
    return [f"INFO/AF of the input: {af:.3g}{warned}", f"gnomAD: {NOT_LOOKED_UP}"]


def _measured(table: pd.DataFrame, about: About) -> list[str]:
    if not about.measured:
        return [NOT_LOOKED_UP]
    if table.empty:
        return ["no measurement of this allele in the study's MPRA"]
    return [f"{row.element}: log2 effect on expression {row.effect:+.2f}, p {row.p_value:.1g}, {row.barcodes} barcodes; episomal, not the "
            "patient's tissue" for row in table.itertuples()]  # fmt: skip


def _otherwise(asked: Asked) -> list[str]:
    place, around, said = asked.place, asked.around, []
    if place["exon_distance"] <= SPLICE_BP:
        said.append(f"lies within {SPLICE_BP} bases of an exon's edge: an effect on splicing is not excluded, ask a splicing predictor")
    if place["protein"]:
        said.append(f"changes coding sequence ({place['protein']}): ask a predictor of proteins")
    if around["cpg"]:
        said.append(around["cpg"])
    if around["repeat"]:
        said.append(f"lies in {around['repeat']}")
    if around["moved_tokens"] > 0:
        said.append(f"tokenisation shift: {100 * around['moved_tokens']:.0f} % of the tokens near it are other words for the same bases")
    if (longer := len(place["alt"]) - len(place["ref"])):
        said.append(f"changes the length by {longer:+d} bases, so that what lies behind moves in the window")
    return said or ["nothing of what was looked at: splicing, coding, CpG, repeats, tokenisation, length"]


def _limits(asked: Asked, about: About) -> list[str]:
    trained = "is" if asked.place["contig"] in about.training else "is not"
    return [f"model {about.model}, dictionary {about.sae[:12]} at {about.site}, windows of {about.window_bp:,} bases, study {about.study}",
            f"{asked.place['contig']} {trained} among the chromosomes that the dictionary was trained on", f"labels: {about.labels}",
            "a predictor only: never PS3; not with PVS1; one source of PP3 only; not a diagnosis"]  # fmt: skip
