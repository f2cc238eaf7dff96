"""A clean study passes; each way of smuggling a person out of it is refused, and small counts are blanked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from lib.corpus import corpus as corpora
from lib.publish import about, gate
from lib.publish.gate import Refused
from lib.publish.roc import thin_roc
from lib.publish.suppress import derivable, suppress
from lib.stage import io
from lib.stage.claims import COUNTED
from tests.toy_study import (
    CORPUS,
    DOOR,
    EXTRACTION,
    FIGURES,
    HUNT,
    LAYER,
    NOTEBOOK,
    SAMPLES,
    SEQUENCES,
    STAY,
    card_rows,
    seal,
    with_figures,
    write,
    write_figure,
    write_map,
    write_notebook,
)  # fmt: skip


def check(study: Path, *given, **named) -> list[str]:
    """What the gate says of a study whose stages wrote all that."""
    seal(study)
    return gate.check(study, *given, **named)


def publish(study: Path, *given, **named) -> dict[str, int]:
    seal(study)
    return gate.publish(study, *given, **named)


def only(refusals: list[str], *words: str) -> None:
    """One refusal, which says these words."""
    assert len(refusals) == 1, refusals
    assert all(word in refusals[0] for word in words), refusals


def test_a_clean_study_passes_and_private_files_stay(study: Path, tmp_path: Path) -> None:
    assert check(study, SAMPLES) == []
    assert publish(study, tmp_path / "out", SAMPLES) == {}
    published = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    shown = {p.relative_to(study).as_posix() for p in study.rglob("*") if p.is_file()} - STAY
    assert published == {s for s in shown if "private" not in s} | {
        "published.json",
    }
    assert (tmp_path / "out" / HUNT / "layers.csv").read_bytes() == (study / HUNT / "layers.csv").read_bytes()


# Sample ids ----------------------------------------------------------------------------------------------


def in_cell(study: Path) -> None:
    write(study / HUNT / "layers.csv", [LAYER | {"predictor": "without SIM00007"}])


def in_cell_with_suffix(study: Path) -> None:
    write(study / HUNT / "layers.csv", [LAYER | {"predictor": "sim00007_1"}])


def in_json_escape(study: Path) -> None:
    (study / HUNT / "headline.json").write_text('{"worst": "\\u0053IM00007"}')


def in_yaml(study: Path) -> None:
    (study / HUNT / "layer_hunting_results.yaml").write_text("a: [SIM00007]\n")


def in_h5_attribute(study: Path) -> None:
    with h5py.File(study / EXTRACTION / "pooled.h5", "a") as f:
        f["resid_post.1"].attrs["rows"] = np.array([b"SIM00007"])


def in_h5_strings(study: Path) -> None:
    with h5py.File(study / EXTRACTION / "pooled.h5", "a") as f:
        f["resid_post.2"] = np.array([b"SIM00007"])


def in_notebook_output(study: Path) -> None:
    write_notebook(study / NOTEBOOK, "worst: SIM00007")


def in_pdf_metadata(study: Path) -> None:
    write_figure(study.parents[1] / "figures/toy/fig2_layers.pdf", "AUROC", {"Title": "SIM00007"})


def in_pdf_drawing(study: Path) -> None:
    write_figure(study.parents[1] / "figures/toy/fig2_layers.pdf", "SIM00007", {})


def in_png_metadata(study: Path) -> None:
    with_figures(study.parents[1])
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", "drawn for SIM00007", zip=True)
    Image.new("L", (2, 2)).save(study.parents[1] / "figures/toy/fig2_layers.png", pnginfo=note)


@pytest.mark.parametrize("smuggle", [in_cell, in_cell_with_suffix, in_json_escape, in_yaml, in_h5_attribute, in_h5_strings,
                                     in_notebook_output, in_pdf_metadata, in_pdf_drawing, in_png_metadata])  # fmt: skip
def test_a_sample_id_inside_a_file_is_refused(study: Path, smuggle) -> None:
    smuggle(study)
    only(check(study, SAMPLES), "holds 1 sample id")


def test_a_sample_id_as_a_column_or_file_name_is_refused_and_not_repeated(study: Path) -> None:
    write(study / HUNT / "layers.csv", [LAYER | {"SIM00007": 1}])
    (study / HUNT / "SIM00007.csv").write_text("a\n1\n")
    refusals = check(study, SAMPLES)
    assert any("layers.csv: holds 1 sample id" in r for r in refusals)
    assert any("its name holds a sample id" in r for r in refusals)
    assert not any("SIM00007.csv" in r for r in refusals)


@pytest.mark.parametrize(
    "text, n_refusals", [("SIM000071", 0), ("FAM1-ID2", 1), ("(fam1-id2)", 1), ("FAM1-ID23 has ID2", 0)]
)
def test_a_sample_is_a_whole_name(study: Path, text: str, n_refusals: int) -> None:
    write(study / HUNT / "layers.csv", [LAYER | {"predictor": text}])
    assert len(check(study, [*SAMPLES, "FAM1-ID2"])) == n_refusals


def test_ids_that_no_scan_can_tell_from_numbers_are_refused(study: Path) -> None:
    only(check(study, [*SAMPLES, "1001"]), "sample id 61 of 61", "rename")
    only(check(study, []), "no sample ids")


# Files, columns, windows ---------------------------------------------------------------------------------


def test_an_unlisted_file_a_link_and_an_unknown_kind_are_refused(study: Path) -> None:
    (study / HUNT / "scores.csv").write_text("fold\n1\n")
    only(check(study, SAMPLES), "02_layer_hunting/scores.csv", "not listed in schemas.yaml")
    (study / HUNT / "scores.csv").unlink()
    (study / HUNT / "claims.csv").symlink_to(study / "private/02_layer_hunting/scores.csv")
    only(check(study, SAMPLES), "is a link")


def test_an_unknown_or_lacking_column_or_array_is_refused(study: Path) -> None:
    write(study / HUNT / "layers.csv", [LAYER | {"age": 41}])
    only(check(study, SAMPLES), "column 'age' is not listed")
    write(study / HUNT / "layers.csv", [{k: v for k, v in LAYER.items() if k != "n"}])
    only(check(study, SAMPLES), "column 'n' is lacking")
    write(study / HUNT / "layers.csv", [LAYER])
    with h5py.File(study / EXTRACTION / "pooled.h5", "a") as f:
        f["scores/all"] = np.zeros(3)
    only(check(study, SAMPLES), "dataset 'scores/all' is not listed")


@pytest.mark.parametrize("column", ["sample", "person_id", "haplotype", "carrier"])
def test_a_per_person_column_is_refused_even_where_a_schema_lists_it(study: Path, column: str) -> None:
    schemas = gate.read_schemas()
    schemas[f"{HUNT}/layers.csv"]["optional"] = [column]
    write(study / HUNT / "layers.csv", [LAYER | {column: 3}])
    only(check(study, SAMPLES, schemas=schemas), f"column '{column}' is per person")


def test_a_persons_window_is_refused(study: Path) -> None:
    units = pd.read_csv(study / DOOR / "units.csv")
    units.assign(is_reference=[True, False]).to_csv(study / DOOR / "units.csv", index=False)
    refusals = check(study, SAMPLES)
    assert "00_dna/units.csv: 1 rows are not the reference's" in refusals
    assert (
        "00_*/records.parquet: does not fit the reference units of 00_*/units.csv" in refusals
    )


def test_a_card_with_one_base_off_the_reference_is_refused(study: Path) -> None:
    write(study / "04_annotation/cards.csv", card_rows("G" + SEQUENCES[1][1:]))
    only(check(study, SAMPLES), "cards.csv", "1 windows are not the reference's")


def test_a_top_window_outside_the_reference_units_is_refused(study: Path) -> None:
    window = {
        "latent": 0,
        "rank": 0,
        "contig": "sim1",
        "start": 100,
        "end": 124,
        "peak": 110,
        "activation": 2.0,
    }
    write(study / "04_annotation/top_windows.csv", [window])
    assert check(study, SAMPLES) == []
    write(study / "04_annotation/top_windows.csv", [window, window | {"start": 200, "end": 224}])
    only(check(study, SAMPLES), "1 windows are not the reference's")


def test_sequence_without_a_flag_is_refused(study: Path) -> None:
    write(study / HUNT / "layers.csv", [LAYER | {"predictor": "peak in ACGTACGTACGTACGTACGTACGT"}])
    only(check(study, SAMPLES), "column 'predictor' holds sequence")
    write(study / HUNT / "layers.csv", [LAYER])
    (study / HUNT / "headline.json").write_text('{"peak": "ACGTACGTACGTACGTACGTACGT"}')
    only(check(study, SAMPLES), "headline.json: holds sequence")


# A table as Parquet --------------------------------------------------------------------------------------

SITES = f"{HUNT}/sites.parquet"


def as_parquet(study: Path, table: pd.DataFrame, **more) -> dict:
    """Schemas with one more table, this one as Parquet."""
    table.to_parquet(study / SITES)
    return gate.read_schemas() | {SITES: {"columns": ["site", "value"]} | more}


def test_a_clean_parquet_leaves_as_it_is(study: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"site": ["embed", None], "value": [0.5, np.nan]})
    assert publish(study, tmp_path / "out", SAMPLES, schemas=as_parquet(study, table)) == {}
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / SITES), table)
    assert not pq.ParquetFile(tmp_path / "out" / SITES).metadata.metadata


def test_a_parquet_is_checked_as_a_csv_is(study: Path) -> None:
    table = pd.DataFrame({"site": ["embed"], "value": [0.5]})
    only(check(study, SAMPLES, schemas=as_parquet(study, table.assign(age=41))), "column 'age' is not listed")
    only(check(study, SAMPLES, schemas=as_parquet(study, table[["site"]])), "column 'value' is lacking")
    only(
        check(study, SAMPLES, schemas=as_parquet(study, table.assign(site="ACGT" * 5))),
        "column 'site' holds sequence",
    )
    schemas = as_parquet(study, table.assign(value=60), counts=["value"])
    only(check(study, SAMPLES, schemas=schemas), "counts people", "CSV")
    (study / SITES).write_text("site,value\n")
    only(check(study, SAMPLES, schemas=schemas), "cannot be read")


def in_parquet_cell(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(site="without SIM00007")


def in_parquet_attributes(table: pd.DataFrame) -> pd.DataFrame:
    table.attrs["made for"] = "SIM00007"
    return table


def in_parquet_unused_category(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(site=pd.Categorical(["embed"], categories=["embed", "SIM00007"]))


@pytest.mark.parametrize("smuggle", [in_parquet_cell, in_parquet_attributes, in_parquet_unused_category])
def test_a_sample_id_inside_a_parquet_is_refused(study: Path, smuggle) -> None:
    table = smuggle(pd.DataFrame({"site": ["embed"], "value": [0.5]}))
    only(check(study, SAMPLES, schemas=as_parquet(study, table)), "sites.parquet: holds 1 sample id")


def test_a_sample_id_as_a_parquets_index_is_refused(study: Path) -> None:
    table = pd.DataFrame({"site": ["embed"], "value": [0.5]}, index=["SIM00007"])
    refusals = check(study, SAMPLES, schemas=as_parquet(study, table))
    assert any("holds 1 sample id" in r for r in refusals) and any("is not listed" in r for r in refusals)


def test_the_catalogue_may_leave_as_csv_and_as_parquet() -> None:
    schemas = gate.read_schemas()
    assert schemas["04_annotation/features.parquet"] == schemas["04_annotation/features.csv"]


# Counts --------------------------------------------------------------------------------------------------


def test_a_small_cell_is_blanked_with_its_estimate_and_the_command_says_so(
    study: Path, tmp_path: Path, capsys
) -> None:
    write(study / HUNT / "layers.csv", [LAYER, LAYER | {"arm": "rare", "n": 7}])
    seal(study)
    assert gate.main(["--study", "toy", "--out", str(tmp_path / "out")]) == 0
    assert "02_layer_hunting/layers.csv" in capsys.readouterr().out
    blanked = pd.read_csv(tmp_path / "out" / HUNT / "layers.csv").set_index("arm")
    assert blanked.loc["rare", ["n", "value", "low", "high"]].isna().all()
    assert blanked.loc["simulated", "n"] == 60


def test_a_study_is_published_beside_the_others(study: Path) -> None:
    seal(study)
    assert gate.main(["--study", "toy"]) == 0
    assert (study.parents[1] / "published/toy" / HUNT / "layers.csv").is_file()
    assert gate.main(["--study", "toy"]) == 4  # it is there


def test_a_refusal_writes_nothing_and_has_its_own_status(study: Path, tmp_path: Path, capsys) -> None:
    in_cell(study)
    seal(study)
    assert gate.main(["--study", "toy", "--out", str(tmp_path / "out")]) == 4
    assert "02_layer_hunting/layers.csv: holds 1 sample id" in capsys.readouterr().err
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.partial").exists()


def test_a_study_that_changes_after_the_check_is_not_published(
    study: Path, tmp_path: Path, monkeypatch
) -> None:
    whole = gate.check

    def check_and_change(*arguments, **named) -> list[str]:
        refusals = whole(*arguments, **named)
        in_cell(study)
        return refusals

    monkeypatch.setattr(gate, "check", check_and_change)
    with pytest.raises(Refused, match="changed while it was published"):
        publish(study, tmp_path / "out", SAMPLES)
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.partial").exists()


def test_the_sample_ids_are_the_cohorts_and_none_are_known_without_one(study: Path) -> None:
    seal(study)
    assert about.cohort_samples(study) == SAMPLES
    (study / "private/00_dna/readout.h5").unlink()
    with pytest.raises(Refused, match="unknown"):
        about.cohort_samples(study)


def test_the_sample_ids_of_a_second_cohort_are_looked_for_too(study: Path) -> None:
    write_map(study / "private/00_dna/external_readout.h5", ["OTHER1", "OTHER2"])
    seal(study)
    assert about.cohort_samples(study) == ["OTHER1", "OTHER2", *SAMPLES]
    (study / "private/00_dna/readout.h5").unlink()
    with pytest.raises(Refused, match="unknown"):
        about.cohort_samples(study)


def test_the_front_door_may_be_of_any_kind(study: Path, tmp_path: Path) -> None:
    for folder in (study, study / "private"):
        (folder / DOOR).rename(folder / "00_cells")
    seal(study)
    assert about.cohort_samples(study) == SAMPLES
    refusals = check(study, SAMPLES)
    assert "00_cells/units.csv: is not listed in schemas.yaml" in refusals and not any("corpus.json" in r for r in refusals)


def test_of_two_front_doors_neither_says_what_the_reference_is(study: Path) -> None:
    shutil.copytree(study / DOOR, study / "00_cells")
    refusals = check(study, SAMPLES)
    assert "00_*/records.parquet: does not fit the reference units of 00_*/units.csv" in refusals
    assert any(r.startswith("04_annotation/cards.csv: 1 windows are not the reference's") for r in refusals)


def test_records_that_are_not_whole_are_no_reference(study: Path) -> None:
    (study / DOOR / "records.parquet").write_bytes(b"PAR1")
    assert any(r.startswith("00_*/records.parquet: does not fit") for r in check(study, SAMPLES))


def test_a_file_that_stays_is_not_published_whatever_it_holds(study: Path, tmp_path: Path) -> None:
    (study / DOOR / "corpus.json").write_text('{"note": "SIM00007 has 3 cases"}')
    publish(study, tmp_path / "out", SAMPLES)
    assert not (tmp_path / "out" / DOOR / "corpus.json").exists()
    assert not any(b"SIM00007" in p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())


def test_only_files_of_the_front_door_may_stay() -> None:
    """Else a table could be kept from the gate by its listing. The log of runs is no table."""
    staying = [pattern for pattern, schema in gate.read_schemas().items() if (schema or {}).get("stays")]
    assert all(pattern.startswith("00_") or pattern == "progress.md" for pattern in staying)


@pytest.mark.parametrize("said", [{"note": "7 cases"}, {"n_cases": 7}, {"arms": [{"people": 20}]}])
def test_a_small_count_where_nothing_can_be_blanked_is_refused(study: Path, said: dict) -> None:
    (study / HUNT / "headline.json").write_text(json.dumps(said))
    only(check(study, SAMPLES), "headline.json: says")


def test_counts_of_none_and_of_many_may_be_said(study: Path) -> None:
    (study / HUNT / "headline.json").write_text(json.dumps({"note": "0 cases, 21 controls", "n_cases": 21}))
    assert check(study, SAMPLES) == []


def test_a_tiny_cohort_is_refused_whole(study: Path) -> None:
    only(check(study, SAMPLES[:20]), "a cohort of 20 people")


GROUPS = {"columns": ["group", "n"], "optional": ["share", r"q\d+", "arm", "fpr", "tpr", "n_cases", "n_controls", "rsid", "n_carriers"],
          "counts": ["n"], "by": ["group"], "shares": {"share": "n"}}  # fmt: skip


def grouped(study: Path, rows: list[dict], **more) -> dict:
    """Schemas with one more table, which holds these rows."""
    write(study / HUNT / "groups.csv", rows)
    return gate.read_schemas() | {f"{HUNT}/groups.csv": GROUPS | more}


def test_a_blank_that_follows_from_its_margin_is_refused(study: Path) -> None:
    rows = [{"group": "a", "n": None}, {"group": "b", "n": 50}, {"group": "all", "n": 57}]
    only(check(study, SAMPLES, schemas=grouped(study, rows)), "1 blank participant count is derivable")


def test_shares_of_few_people_are_rounded_and_of_fewer_blank(study: Path, tmp_path: Path) -> None:
    rows = [{"group": g, "n": n, "share": 0.503456} for g, n in (("a", 7), ("b", 43), ("c", 99), ("d", 100))]
    publish(study, tmp_path / "out", SAMPLES, schemas=grouped(study, rows))
    shown = pd.read_csv(tmp_path / "out" / HUNT / "groups.csv")
    assert shown.share.fillna(-1).tolist() == [-1, 0.5, 0.5, 0.503456]
    assert shown.n.fillna(-1).tolist() == [-1, -1, 99, 100]


def test_a_variant_with_few_carriers_is_refused(study: Path) -> None:
    rows = [{"group": "a", "n": 400, "n_carriers": 21}, {"group": "b", "n": 400, "n_carriers": 20}]
    only(check(study, SAMPLES, schemas=grouped(study, rows)), "1 variant rows", "n_carriers")
    rows = [{"group": "a", "n": 400, "rsid": "rs2066844"}, {"group": "b", "n": 20, "rsid": "rs2066845"}]
    only(check(study, SAMPLES, schemas=grouped(study, rows, by=[])), "1 variant rows")


def test_a_roc_curve_with_a_step_of_few_people_is_refused(study: Path) -> None:
    def curve(points: list[float], n_cases: int) -> dict:
        rows = [{"group": "a", "n": 400, "fpr": x, "tpr": x, "n_cases": n_cases, "n_controls": 300} for x in points]
        return grouped(study, rows, by=[])

    assert check(study, SAMPLES, schemas=curve([0, 0.5, 1], 42)) == []
    assert check(study, SAMPLES, schemas=curve([0.5], 42)) == []
    few = [([0, 0.5, 1], 41), ([0, 0.94, 1], 400), ([0.06], 400), ([0, 0.5, 0.5, 0.51, 1], 42), ([0, float("nan"), 1], 400)]
    for points, n_cases in few:
        only(check(study, SAMPLES, schemas=curve(points, n_cases)), "a step of 20 people or fewer")
    only(check(study, SAMPLES, schemas=curve([0, 1], 20)), "20 people a class or fewer")


def test_quantiles_of_a_small_arm_are_refused(study: Path) -> None:
    rows = [{"group": "a", "n": n, "arm": "rare", "q95": 0.3} for n in (40, 20)]
    only(check(study, SAMPLES, schemas=grouped(study, rows, by=[])), "quantiles ['q95']")
    assert check(study, SAMPLES, schemas=grouped(study, rows[:1], by=[])) == []


# Suppression alone ---------------------------------------------------------------------------------------


def test_one_small_cell_and_its_margin_yield_two_blanks() -> None:
    table = pd.DataFrame({"group": ["a", "b", "c", "all"], "n": [7, 50, 60, 117]})
    hidden = suppress(table, ["n"], ["group"])
    assert hidden.n.fillna(-1).tolist() == [-1, -1, 60, 117]
    assert not derivable(hidden, ["n"], ["group"]).any(axis=None)
    alone = table.assign(n=[np.nan, 50, 60, 117])
    assert derivable(alone, ["n"], ["group"]).n.tolist() == [True, False, False, False]


def test_a_margin_in_both_directions_takes_four_blanks() -> None:
    # a: 7 of 47 cases; its row, its column and the opposite cell have to go, or 7 = 47 − 40 follows.
    cells = [("a", "case", 7), ("a", "control", 40), ("b", "case", 90), ("b", "control", 200)]
    margins = [
        ("a", "all", 47),
        ("b", "all", 290),
        ("all", "case", 97),
        ("all", "control", 240),
        ("all", "all", 337),
    ]
    table = pd.DataFrame(cells + margins, columns=["group", "status", "n"])
    hidden = suppress(table, ["n"], ["group", "status"])
    assert hidden.n.isna().tolist() == [True] * 4 + [False] * 5
    three = hidden.assign(n=[np.nan, np.nan, np.nan, 200, *hidden.n[4:]])
    assert derivable(three, ["n"], ["group", "status"]).n.tolist() == [True] * 3 + [False] * 6


def test_a_blank_is_derivable_although_each_sum_has_others() -> None:
    # Blank: two blocks of 2 x 2, each open on its own, and one cell that joins them. Rows 0 and 1, less columns 0 and 1,
    # leave that cell alone.
    blocks = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (2, 3), (3, 2), (3, 3)]
    counts = pd.DataFrame(np.full((4, 4), 50.0), index=list("abcd"), columns=list("wxyz"))
    counts.loc["all"] = counts.sum()
    counts["all"] = counts.sum(axis=1)
    for row, column in [*blocks, (0, 2)]:
        counts.iloc[row, column] = np.nan
    table = counts.rename_axis("row").reset_index().melt("row", var_name="column", value_name="n")
    derived = table[derivable(table, ["n"], ["row", "column"]).n]
    assert derived[["row", "column"]].to_numpy().tolist() == [["a", "y"]]


def test_two_small_cells_do_not_add_up_to_a_small_one() -> None:
    table = pd.DataFrame({"group": ["a", "b", "c", "all"], "n": [3, 4, 60, 67]})
    assert suppress(table, ["n"], ["group"]).n.isna().tolist() == [True, True, True, False]


def test_a_total_column_gives_a_part_away() -> None:
    table = pd.DataFrame({"n": [107, 300], "n_cases": [7, 100], "n_controls": [100, 200]})
    sums = {"n": ["n_cases", "n_controls"]}
    hidden = suppress(table, ["n", "n_cases", "n_controls"], [], sums=sums)
    assert hidden.isna().to_numpy().tolist() == [[False, True, True], [False] * 3]
    assert suppress(table, ["n", "n_cases", "n_controls"], []).isna().to_numpy().sum() == 1


def test_zero_stays_and_the_threshold_is_inclusive() -> None:
    table = pd.DataFrame({"n": [0, 1, 20, 21, 11]})
    assert suppress(table, ["n"], []).n.isna().tolist() == [False, True, True, False, True]
    assert suppress(table, ["n"], [], threshold=10).n.isna().tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("seed", range(20))
def test_no_blank_of_a_random_table_is_derivable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inner = pd.DataFrame(rng.integers(0, 90, (4, 3)), index=list("abcd"), columns=list("xyz"))
    inner.loc["all"] = inner.sum()
    inner["all"] = inner.sum(axis=1)
    table = inner.rename_axis("row").reset_index().melt("row", var_name="column", value_name="n")
    hidden = suppress(table, ["n"], ["row", "column"])
    assert not derivable(hidden, ["n"], ["row", "column"]).any(axis=None)
    assert hidden.n[table.n.between(1, 20)].isna().all()
    assert (hidden.n.dropna() == table.n[hidden.n.notna()]).all()


def test_bad_counts_are_named() -> None:
    with pytest.raises(ValueError, match="hold -1, wanted whole numbers"):
        suppress(pd.DataFrame({"n": [-1]}), ["n"], [])
    with pytest.raises(ValueError, match=r"rows repeat \['g'\]"):
        suppress(pd.DataFrame({"g": ["a", "a"], "n": [30, 40]}), ["n"], ["g"])


def test_a_share_of_few_people_is_blank_with_what_says_it(study: Path, tmp_path: Path) -> None:
    """.0376 of 133 people are five of them, whatever is done to the 133."""
    row = {"low": 0.1, "high": 0.9, "arm": "a", "scaling": "before"}
    shares = [5 / 133, 0.0, 20 / 133, 21 / 133, 112 / 133, 113 / 133, 1.0]
    write(study / HUNT / "calibration_curve.csv", [{"predicted": i / 10, "observed": x, "n": 133} | row for i, x in enumerate(shares)])
    publish(study, tmp_path / "out", SAMPLES)
    shown = pd.read_csv(tmp_path / "out" / HUNT / "calibration_curve.csv")
    assert (shown.n == 133).all()
    assert shown[["predicted", "observed", "low", "high"]].isna().all(axis=1).tolist() == [True, False, True, False, False, True, False]


def test_a_blank_bin_does_not_follow_from_the_cohort_that_other_tables_state(study: Path, tmp_path: Path) -> None:
    """Each arm counts the same 60 people, which layers.csv says: one blank bin an arm would be what is left of them."""
    row = {"observed": 0.5, "low": 0.1, "high": 0.9, "scaling": "before"}
    bins = [("a", 45), ("a", 15), ("b", 60)]
    write(study / HUNT / "calibration_curve.csv", [{"predicted": i / 10, "n": n, "arm": arm} | row for i, (arm, n) in enumerate(bins)])
    publish(study, tmp_path / "out", SAMPLES)
    shown = pd.read_csv(tmp_path / "out" / HUNT / "calibration_curve.csv")
    assert shown.n.isna().tolist() == [True, True, False]


# ROC -----------------------------------------------------------------------------------------------------


def test_every_step_of_a_thinned_curve_is_of_many_people_of_both_classes() -> None:
    # 50 controls at 0.00 … 0.98; cases: half above all controls, half above 25 of them.
    y = np.repeat([0, 1], 50)
    score = np.concatenate([np.arange(50) / 50, np.repeat([2.0, 0.49], 25)])
    assert thin_roc(y, score).values.tolist() == [[0, 0], [0.42, 0.5], [1, 1]]  # (.5, 1) would leave 25 controls and no case
    y, score = np.tile([0, 1], 50), np.repeat(np.arange(50.0), 2)
    assert thin_roc(y, score).values.tolist() == [[0, 0], [0.42, 0.42], [1, 1]]
    with_many = thin_roc(np.tile([0, 1], 10_000), np.arange(20_000.0))
    assert len(with_many) == 101 and np.allclose(with_many.fpr, np.arange(101) / 100)


@pytest.mark.parametrize("seed", range(200))
def test_no_order_and_no_small_count_follows_from_a_thinned_curve(seed: int) -> None:
    """The attack: each step, times the people of a class, is how many stand between two scores. Each is over the threshold in both
    classes, so that every order inside a step, at least 21 of 42, is as likely as another; and the curve is a true one."""
    rng = np.random.default_rng(seed)
    n = rng.integers(21, 400, 2)
    y = rng.permutation(np.repeat([0, 1], n))
    score = np.round(rng.normal(y * rng.uniform(0, 2)), int(rng.integers(0, 4)))
    curve = thin_roc(y, score).to_numpy() * n
    people = np.diff(np.round(curve), axis=0)
    assert np.allclose(curve, np.round(curve)) and (people > 20).all() and (people.sum(0) == n).all()
    whole = {(0, 0)} | {((y[score >= s] == 0).sum(), (y[score >= s] == 1).sum()) for s in np.unique(score)}
    assert {tuple(p) for p in np.round(curve).astype(int)} <= whole


def test_a_thinned_curve_needs_people_in_both_classes() -> None:
    y = np.repeat([0, 1], [300, 20])
    with pytest.raises(ValueError, match="20 cases and 300 controls, wanted more than 20"):
        thin_roc(y, np.arange(320.0))
    with pytest.raises(ValueError, match="wanted 0 and 1"):
        thin_roc(y + 1, np.arange(320.0))


def test_figures_are_drawn_anew_of_what_is_published(study: Path, tmp_path: Path) -> None:
    """The stored ones say another thing, which goes nowhere; what is blank in the table is not in the figure's CSV either."""
    with_figures(study.parents[1])
    write(study / HUNT / "layers.csv", [LAYER, LAYER | {"arm": "simulated", "predictor": "dosage", "n": 7, "value": 0.3}])
    publish(study, tmp_path / "out", SAMPLES)
    drawn = tmp_path / "out/figures"
    assert sorted(p.name for p in drawn.iterdir()) == ["fig2_layers.csv", "fig2_layers.pdf", "fig2_layers.png"]
    assert pd.read_csv(drawn / "fig2_layers.csv").value.isna().tolist() == [False, True]
    with Image.open(drawn / "fig2_layers.png") as image:
        assert image.size == (1650, 660) and set(image.info) == {"dpi"}
    shown = nbformat.read(tmp_path / "out" / FIGURES / f"{FIGURES}.ipynb", as_version=4)
    assert list(shown.cells[-2].outputs[0].data) == ["image/png", "text/plain"]
    assert not list((tmp_path / "out").glob("*/corpus.json"))
    write(study.parents[1] / "figures/toy/fig3_sae_pareto.csv", [])
    with pytest.raises(Refused, match=r"1 of 4 are not drawn by 09_paper_figures: fig3_sae_pareto.csv"):
        publish(study, tmp_path / "again", SAMPLES)


def test_a_published_notebook_has_no_outputs(study: Path, tmp_path: Path) -> None:
    publish(study, tmp_path / "out", SAMPLES)
    shown = nbformat.read(tmp_path / "out" / NOTEBOOK, as_version=4)
    assert shown.cells[0].source == "# Layers" and shown.cells[1].source == "print(1)"
    assert shown.cells[1].outputs == []


# Manifests -----------------------------------------------------------------------------------------------


def another_file(study: Path) -> Path:
    """The most of what smuggling was: a file over another."""
    shutil.copyfile(study / "private/00_dna/readout.h5", study / EXTRACTION / "pooled.h5")
    return study / EXTRACTION / "pooled.h5"


def appended(study: Path) -> Path:
    path = study / EXTRACTION / "pooled.h5"
    path.write_bytes(path.read_bytes() + b"% bm90ZXM=")
    return path


def edited(study: Path) -> Path:
    write(study / HUNT / "layers.csv", [LAYER, LAYER | {"predictor": "5-mer"}])
    return study / HUNT / "layers.csv"


def added(study: Path) -> Path:
    write(study / EXTRACTION / "qc.csv", [])
    return study / EXTRACTION / "qc.csv"


@pytest.mark.parametrize("change", [another_file, appended, edited, added])
def test_a_file_that_is_not_as_its_stage_wrote_it_is_refused(study: Path, change) -> None:
    seal(study)
    assert gate.check(study, SAMPLES) == []
    name = change(study).name
    refusals = gate.check(study, SAMPLES)
    assert any(name in r and ("no stage wrote it" in r or "hash differs" in r) for r in refusals), refusals


def test_an_edited_manifest_is_refused_with_all_that_it_lists(study: Path) -> None:
    seal(study)
    path = study / HUNT / "manifest.json"
    path.write_text(path.read_text().replace('"fingerprint": "0"', '"fingerprint": "1"'))
    refusals = gate.check(study, SAMPLES)
    assert f"{HUNT}/manifest.json: was edited: its sha256 is not that of the rest" in refusals
    assert f"{HUNT}/layers.csv: is in no manifest: no stage wrote it" in refusals


def test_a_lost_or_added_list_of_samples_is_refused(study: Path) -> None:
    write_map(study / "private/00_dna/external_readout.h5", ["OTHER1", "OTHER2"])
    seal(study)
    (study / "private/00_dna/external_readout.h5").rename(study / "private/00_dna/other_readout.h5")
    with pytest.raises(Refused) as refused:
        about.cohort_samples(study)
    assert [r.split(" is not there")[0] for r in refused.value.refusals] == [
        "private/00_dna/external_readout.h5", "private/00_dna/other_readout.h5"]


@pytest.mark.parametrize("threshold", [19, 0, -5])
def test_a_threshold_under_the_least_is_refused(study: Path, threshold: int) -> None:
    only(check(study, SAMPLES, threshold=threshold), f"a threshold of {threshold}, wanted 20 or more")


def test_nothing_is_published_into_the_study(study: Path) -> None:
    with pytest.raises(ValueError, match="inside the study"):
        publish(study, study / "public", SAMPLES)


def test_a_published_notebook_is_the_projects_own(study: Path, tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("print('U0lNMDAwMDc=')", id="U0lNMDAwMDc", metadata={"tags": ["U0lNMDAwMDc"]})
    note = nbformat.v4.new_markdown_cell("![x](attachment:x)", attachments={"x": {"image/png": "U0lNMDAwMDc="}})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell, note], metadata={"by": "U0lNMDAwMDc"}), study / NOTEBOOK)
    own = study.parents[1] / "notebooks/02_layer_hunting.py"
    publish(study, tmp_path / "out", SAMPLES)
    text = (tmp_path / "out" / NOTEBOOK).read_text()
    assert "U0lN" not in text and "# Layers" in text
    own.unlink()
    only(check(study, SAMPLES), "is no notebook of the project")


# Studies without people ------------------------------------------------------------------------------------


def without_people(study: Path, **said) -> None:
    """Let the study be one of dice, without a list of players; said: what its door says otherwise."""
    (study / "private/00_dna/readout.h5").unlink(missing_ok=True)
    (study / DOOR / "corpus.json").write_text(json.dumps(CORPUS | {"kind": "tests.dice.kind", "has_people": False} | said))
    write(study / HUNT / "layers.csv", [LAYER | {"n": 7}])


def test_a_study_without_people_passes_and_nothing_in_it_is_blank(study: Path, tmp_path: Path) -> None:
    without_people(study)
    with h5py.File(study / EXTRACTION / "pooled.h5", "a") as f:
        f["resid_post.2"] = np.zeros((5, 4), np.float32)  # of more units than two: nobody's
    seal(study, has_people=False)
    assert gate.main(["--study", "toy", "--out", str(tmp_path / "out")]) == 0
    assert pd.read_csv(tmp_path / "out" / HUNT / "layers.csv").n.tolist() == [7]


@pytest.mark.parametrize("params, said", [({}, {}), ({"has_people": True}, {}), ({"has_people": False}, {"has_people": True}),
                                          ({"has_people": False}, {"kind": "lib.dna.kind"})])  # fmt: skip
def test_a_study_is_of_people_unless_params_door_and_kind_say_no(study: Path, tmp_path: Path, params: dict, said: dict) -> None:
    without_people(study, **said)
    seal(study, **params)
    assert about.has_people(study)
    assert gate.main(["--study", "toy", "--out", str(tmp_path / "out")]) == 4


def test_a_door_of_people_cannot_say_that_there_are_none(root: Path) -> None:
    stage = io.open_stage("toy", DOOR)
    made = corpora.Corpus("toy", DOOR, "lib.dna.kind", "", {}, {}, {}, [], has_people=False)
    with pytest.raises(ValueError, match="has_people is false, but lib.dna.kind is of people"):
        corpora.save(stage, made)
    corpora.save(stage, replace(made, kind="tests.dice.kind"))
    assert json.loads(stage.path("corpus.json").read_text())["has_people"] is False
    corpora.save(stage, replace(made, has_people=True))
    assert "has_people" not in json.loads(stage.path("corpus.json").read_text())


# Claims ---------------------------------------------------------------------------------------------------

CLAIM = {"claim": "attribution patching ranks latents", "value": 0.7, "low": 0.6, "high": 0.8, "n": 3, "of": "people", "null": 0.5,
         "rule": "above 0.5", "verdict": "holds", "note": ""}  # fmt: skip


@pytest.mark.parametrize("place", ["02_layer_hunting/claims.csv", "04_annotation/claims.csv"])
def test_a_claim_is_blanked_by_what_it_counts_whatever_it_says(study: Path, tmp_path: Path, place: str) -> None:
    write(study / place, [CLAIM | {"of": of, "n": n} for of in COUNTED for n in (3, 60)])
    publish(study, tmp_path / "out", SAMPLES)
    table = pd.read_csv(tmp_path / "out" / place)
    blank = table[["n", "value", "low", "high"]].isna().all(axis=1)
    assert table.of[blank].tolist() == ["people", "families"]
    assert table.dropna(subset="n").n.tolist() == [60, 60, *[3, 60] * (len(COUNTED) - 2)]


def test_claims_none_of_which_counts_people_leave_as_they_are(study: Path, tmp_path: Path) -> None:
    write(study / "04_annotation/claims.csv", [CLAIM | {"of": "latents"}])
    assert publish(study, tmp_path / "out", SAMPLES) == {}
    left = tmp_path / "out/04_annotation/claims.csv"
    assert left.read_bytes() == (study / "04_annotation/claims.csv").read_bytes()


def test_a_small_count_is_blanked_where_an_optional_column_is_not_there(study: Path, tmp_path: Path) -> None:
    schema = gate.read_schemas()["05_validation/necessity.csv"]
    row = dict.fromkeys(schema["columns"], 0.5) | {"arm": "a", "kind": "latent", "name": 1, "needed": False, "strongly_necessary": False}
    (study / "05_validation").mkdir()
    write(study / "05_validation/necessity.csv", [row | {"movers": n} for n in (3, 60)])  # no second cohort, so no `external`
    publish(study, tmp_path / "out", SAMPLES)
    small, large = pd.read_csv(tmp_path / "out/05_validation/necessity.csv").to_dict("records")
    assert np.isnan([small["movers"], small["delta"]]).all() and (large["movers"], large["delta"]) == (60, 0.5)


def test_what_a_schema_does_not_know_counts_people() -> None:
    for name in ("02_layer_hunting/claims.csv", "figures/claims.csv"):
        assert set(gate._schema(name, gate.read_schemas())["unless"]["of"]) == set(COUNTED) - {"people", "families"}


def test_a_claim_that_does_not_say_what_it_counts_is_refused(study: Path) -> None:
    write(study / HUNT / "claims.csv", [{k: v for k, v in CLAIM.items() if k != "of"}])
    only(check(study, SAMPLES), "claims.csv", "'of' is lacking")
