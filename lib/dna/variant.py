"""What a variant does to a study's latents: `STUDY=… VARIANT=chr20:44355644:C:A python -m lib.dna.variant`, or VCF=file.

Reads what 00 to 08 left, prints the report of each variant, writes it as text and HTML into OUT, and of a VCF an annotated copy.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from lib.annotate import grade
from lib.corpus import corpus as corpora
from lib.dna import annotated_vcf, confounders, genes, hgvs, labelled, mpra, reference, user_variants, variant_report, variant_study
from lib.dna import repeats as repeats_
from lib.dna.variant_report import About, Asked
from lib.edits import codes, effects
from lib.edits import report as pages
from lib.edits.change import readable
from lib.models import adapter
from lib.sae import format
from lib.stage import inputs, io

MOST_REPORTS = 25  # of a VCF's variants, those of the largest percentile


class Study:
    """What 00 to 08 left of a study, loaded once. Raises FileNotFoundError where 08 has not run."""

    def __init__(self, name: str):
        self.name, self.corpus = name, corpora.load(name)
        self.settings = io.read_json(name, "08_dna", "settings.json")
        self.chosen = io.read_json(name, "03_sae_training", "chosen.json")
        training = io.stage_path(name, "03_sae_training", "chosen.json").parent
        self.folder, self.site = training / self.chosen["folder"], self.chosen["site"]
        self.model = adapter.load(self.corpus.model_path(), expect=io.read_json(name, "01_extraction", "model.json"))
        sae = format.load(self.folder, self.site, self.model.identity)
        self.readers = variant_study.readers(self.corpus, self.model, self.site, sae, self.chosen["l0"], training, self.settings["seed"])
        self.genome = reference.Reference(inputs.find(name, self.corpus.settings["genome_path"]))
        self.features = io.read_table(name, "05_validation", "catalogue").set_index("latent")
        self.features["grade"] = grade.grades(self.features, len(self.chosen["seeds"]) - 1)
        self.largest = io.read_table(name, "08_dna", "scale")["largest"].to_numpy()
        self.among = pd.read_parquet(io.stage_path(name, "08_dna", "background.parquet"))
        self.coded = self._codes()

    def _codes(self) -> codes.Codes:
        """The calibration of 08, made again of the same labels."""
        known = io.read_table(self.name, "08_dna", "variants")
        known = variant_study.for_codes(known)
        known = known[known["region"].isin(self.among["region"])]
        return codes.by_class(known, "latent_change", self.among[["region", "latent_change"]], coding=variant_study.CODING,
                              min_label=self.settings["min_calibration"], n_boot=self.settings["n_boot"], seed=self.settings["seed"])

    def about(self) -> About:
        """What is the same of all reports."""
        of, split = self.corpus.settings, self.corpus.split
        weights = hashlib.sha256((self.folder / "sae_weights.safetensors").read_bytes()).hexdigest()
        contigs = self.corpus.units()["contig"].unique().tolist()
        labels = f"{len(io.read_table(self.name, '08_dna', 'variants')):,} variants of {Path(of['variant_path']).name or 'no file'}"
        training = [c for c in contigs if c not in (*split["validation"], *split["test"])]
        return About(self.name, Path(self.corpus.model).name, weights, of["window_bp"], self.site, training, labels,
                     len(self.chosen["seeds"]) - 1, bool(of["mpra_path"]), Path(of["genome_path"]).name)

    def asked(self, variants: pd.DataFrame) -> list[Asked]:
        """What is known of each variant (contig, pos, ref, alt, af)."""
        s, of = self.settings, self.corpus.settings
        table = labelled.windows(variants, self.genome, of["window_bp"])
        table = pd.concat([table, variant_study.located(table, self.corpus, self.genome, Counter())], axis=1)
        fits = readable(table, self.model)
        own = table[fits].reset_index(drop=True)
        ran = variant_study.effect_sizes.of(self.readers, own, s["radius_bp"])
        again = variant_study.again(self.readers, own, variants.columns, self.genome, of["window_bp"], s["places"], s["radius_bp"])
        how = s["lost_floor"], s["lost_share"], s["n_listed"]
        listed = effects.strongest(ran.before.latents[0], ran.after.latents[0], self.largest, *how)
        listed = effects.agreement(listed, again).join(self.features[variant_study.ABOUT], on="latent")
        ranks = variant_study.beside(own, ran.sizes, self.among, self.genome, s["least_background"])
        given = codes.evidence(variant_study.for_codes(own.assign(latent_change=ran.sizes["latent_change"])), self.coded)
        unread = {"acmg": codes.NONE, "why": codes.NOT_READABLE}
        classes = self.coded.classes.set_index("region")
        extra = self._around(own), self._genes(), self._measurements()
        out, at = [], np.cumsum(fits) - 1
        for i, row in enumerate(table.to_dict("records")):
            k = int(at[i]) if fits[i] else -1
            place = row | {"genomic": hgvs.genomic(row["contig"], row["pos"], row["ref"], row["alt"], self.genome),
                           "gene": extra[1].get(row["transcript"], "")}
            around = extra[0][k] | {"readable": True} if fits[i] else {"repeat": "", "cpg": "", "moved_tokens": 0.0, "readable": False}
            same = (extra[2][["contig", "pos", "ref", "alt"]] == [row["contig"], row["pos"], row["ref"], row["alt"]]).all(axis=1)
            classed = classes.loc[row["region_class"]] if row["region_class"] in classes.index else None
            code = given.iloc[k] if fits[i] else pd.Series(unread)
            out.append(Asked(place, listed[listed["variant"] == k], ranks[ranks["variant"] == k], code, classed, extra[2][same], around))
        return out

    def _genes(self) -> dict[str, str]:
        path = self.corpus.settings["exon_path"]
        if not path:
            return {}
        table = genes.read(inputs.find(self.name, path), self.genome, Counter())
        return dict(zip(table["transcript"], table["gene"]))

    def _measurements(self) -> pd.DataFrame:
        path = self.corpus.settings["mpra_path"]
        if not path:
            return pd.DataFrame(columns=["contig", "pos", "ref", "alt", "element", "effect", "p_value", "barcodes"])
        return mpra.read(inputs.find(self.name, path), self.genome, 1, Counter())[0]

    def _around(self, own: pd.DataFrame) -> list[dict]:
        """repeat, cpg and moved_tokens of each variant that the model reads."""
        moved = effects.moved_tokens(self.model, own, self.settings["radius_bp"])
        known = self.corpus.concepts()
        named = repeats_.named(pd.read_parquet(self.corpus.path("repeats.parquet")), known[known["kind"] == "interval"])
        bases = pd.DataFrame({"contig": own["contig"], "ref_start": own["pos"], "ref_end": own["pos"] + 1})
        names = confounders.class_of(bases, named)
        out = []
        for v, name, share in zip(own.itertuples(), names, moved, strict=True):
            near = slice(max(0, v.offset - 1), v.offset + len(v.ref) + 1), slice(max(0, v.offset - 1), v.offset + len(v.alt) + 1)
            before, after = ("CG" in text[part] for text, part in zip((v.ref_sequence, v.alt_sequence), near))
            cpg = "" if before == after else "takes a CpG away: such bases mutate often" if before else "makes a CpG"
            out.append({"repeat": name, "cpg": cpg, "moved_tokens": float(np.nan_to_num(share))})
        return out


def write(asked: Asked, about: About, out: Path) -> str:
    """The report as text, which is written too, beside the page."""
    title, parts = variant_report.title(asked), variant_report.parts(asked, about)
    p, text = asked.place, pages.text(title, parts)
    stem = f"{p['contig']}_{p['pos'] + 1}_{p['ref'][:20]}_{p['alt'][:20]}"
    for suffix, said in ((".txt", text), (".html", pages.html(title, parts))):
        (out / f"{stem}{suffix}").write_text(said, encoding="utf-8")
    return text


def annotations(variants: pd.DataFrame, asked: list[Asked], n_others: int) -> pd.DataFrame:
    """What `annotated_vcf.write` puts into a VCF: a row an allele."""
    rows = []
    for v, one in zip(variants.itertuples(), asked, strict=True):
        sides = [[_latent(r, n_others) for r in one.listed[one.listed["side"] == side].itertuples()] for side in ("lost", "gained")]
        own = one.percentiles[one.percentiles["method"] == "SAE"]["percentile"]
        rows.append((v.record, v.allele, *sides, float(own.iloc[0]) if len(own) else np.nan, one.evidence["acmg"], one.evidence["why"]))
    return pd.DataFrame(rows, columns=["record", "allele", "lost", "gained", "pct", "acmg", "why"])


def _latent(row, n_others: int) -> dict:
    seeds = f"{int(row.seeds_found)}/{n_others}" if n_others and pd.notna(row.seeds_found) else "."
    family = row.family if isinstance(row.family, str) else ""
    values = {"ref": row.ref, "alt": row.alt, "delta": row.change}
    return {"id": int(row.latent), "family": family, "grade": row.grade, "seeds": seeds} | values


def main() -> int:
    """STUDY, VARIANT or VCF, OUT of the environment. Exit status: 0, or 2 where something was refused and nothing written."""
    given = {name: os.environ.get(name, "") for name in ("STUDY", "VARIANT", "VCF", "OUT")}
    try:
        if bool(given["VARIANT"]) == bool(given["VCF"]):
            raise ValueError("wanted VARIANT=contig:position:REF:ALT or VCF=file, one of the two")
        study = Study(given["STUDY"])
        read, what = (user_variants.parse, given["VARIANT"]) if given["VARIANT"] else (user_variants.read, given["VCF"])
        asked_for, own = read(what, study.genome), io.stage_path(study.name, "08_dna", "settings.json").parent.parent
        out = Path(given["OUT"] or own.parent / f"{study.name}@variants")
        if out.resolve().is_relative_to(own.resolve()):
            raise ValueError(f"OUT {out} lies inside the study, wanted another folder")
        asked, about = study.asked(asked_for.variants), study.about()
    except (ValueError, OSError) as error:
        print(f"refused, nothing was written: {error}", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    sizes = [np.nan_to_num(one.percentiles.loc[one.percentiles["method"] == "SAE", "percentile"].max()) for one in asked]
    for k in np.argsort(-np.array(sizes), kind="stable")[:MOST_REPORTS]:
        text = write(asked[k], about, out)
        if given["VARIANT"]:
            print(text)
    if given["VCF"]:
        path = out / (Path(given["VCF"]).name.removesuffix(".gz").removesuffix(".vcf") + ".sae.vcf.gz")
        rows = annotations(asked_for.variants, asked, about.n_others)
        annotated_vcf.write(given["VCF"], path, rows, model=about.model, sae_hash=about.sae, study=study.name)
        asked_for.left_out.to_csv(out / "left_out.csv", index=False)
        print("\n".join(f"{what}: {n} {done}" for (_, what, done), n in asked_for.report.items()))
    print(f"written to {out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
