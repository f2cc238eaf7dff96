"""Variant effects: labels, windows, differences, and the paired bootstrap that compares methods."""

from collections import Counter

import numpy as np
import pandas as pd
import pysam
import pytest

from lib.dna import reference
from lib.dna.labelled import balanced_sample, clinvar_label, inside, read_table, windows
from lib.edits import separation
from lib.edits.change import differences, local_states, of_alleles, readable, summarise, write_differences
from lib.sae.model import SAE, SAEConfig
from lib.stats import estimates
from tests import helpers

GENOME = helpers.Genome(one="ACGTACGTACGTACGTACGT", two="TTTTTCCCCC")


def table(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["contig", "pos", "ref", "alt"])


# Labels ----------------------------------------------------------------------------------------------------


def test_clinvar_label_leaves_the_uncertain_out():
    said = {"Pathogenic": 1, "Likely_pathogenic": 1, "Pathogenic/Likely_pathogenic": 1, "Benign": 0, "Likely_benign": 0,
            "Benign/Likely_benign": 0, "Uncertain_significance": np.nan, "Conflicting_classifications_of_pathogenicity": np.nan,
            "drug_response": np.nan, "None": np.nan, "Benign_Likely_benign": 0, "Likely_pathogenic_Pathogenic": 1,
            "Benign_Pathogenic": np.nan, "Likely_benign_Uncertain_significance": np.nan}  # fmt: skip
    np.testing.assert_array_equal(clinvar_label(pd.Series(list(said))), list(said.values()))


@pytest.fixture
def genome(tmp_path):
    """The same contigs as a file."""
    path = tmp_path / "g.fa"
    path.write_text("".join(f">{name}\n{text}\n" for name, text in GENOME.contigs.items()))
    pysam.faidx(str(path))
    return reference.Reference(path)


def write(path, rows: str, header="contig,pos,ref,alt,locus,hit"):
    path.write_text(header + "\n" + rows)
    return path


def test_read_table_takes_the_label_from_what_is_filled(tmp_path, genome):
    path = write(tmp_path / "v.csv", "one,0,A,G,g1,CTCF\none,1,CG,C,g1,\ntwo,5,C,CA,g2,0\n")
    got = read_table(path, genome, "hit", Counter())
    assert got["label"].tolist() == [1, 0, 0] and got["gene"].tolist() == ["g1", "g1", "g2"]


@pytest.mark.parametrize("numbers", [("1", "0", ""), ("True", "False", "False"), ("0.5", "0.00", "NA"), ("x", ".", "nan")])
def test_read_table_reads_zero_as_zero_however_it_is_parsed(tmp_path, genome, numbers):
    # an empty cell turns 1 and 0 into 1.0 and 0.0
    path = write(tmp_path / "v.csv", "".join(f"one,{4 * i},A,G,g1,{x}\n" for i, x in enumerate(numbers)))
    assert read_table(path, genome, "hit", Counter())["label"].tolist() == [1, 0, 0]


def test_read_table_names_what_is_wrong(tmp_path, genome):
    with pytest.raises(ValueError, match="v.csv: no column hit"):
        read_table(write(tmp_path / "v.csv", "one,0,A,G,g1\n", "contig,pos,ref,alt,locus"), genome, "hit", Counter())
    with pytest.raises(ValueError, match="v.csv, line 3: one:2 REF is T, the genome has C"):
        read_table(write(tmp_path / "v.csv", "one,0,A,G,g1,x\none,1,T,G,g1,x\n"), genome, "hit", Counter())
    with pytest.raises(ValueError, match="Z"):
        read_table(write(tmp_path / "v.csv", "one,0,A,Z,g1,x\n"), genome, "hit", Counter())


def test_balanced_sample_is_seeded_and_capped():
    labelled = table(*[("one", i, "A", "G") for i in range(30)]).assign(label=[0] * 20 + [1] * 10, region=["a", "b"] * 15)
    first, again, other = (balanced_sample(labelled, 4, seed) for seed in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)
    assert first.groupby(["region", "label"]).size().tolist() == [4] * 4
    assert first["pos"].is_monotonic_increasing
    assert len(balanced_sample(labelled, 100, 0)) == 30
    assert balanced_sample(labelled[:0], 4, 0).empty


def test_inside_is_half_open_and_sees_the_whole_reference_allele():
    intervals = pd.DataFrame({"contig": ["one"], "start": [5], "end": [8]})
    rows = table(("one", 4, "A", "G"), ("one", 5, "C", "G"), ("one", 7, "T", "G"), ("one", 8, "A", "G"),
                 ("one", 3, "TAC", "T"), ("two", 6, "C", "G"))  # fmt: skip
    assert inside(rows, intervals).tolist() == [False, True, True, False, True, False]


# Windows ---------------------------------------------------------------------------------------------------


def test_windows_by_hand():
    got = windows(table(("one", 10, "G", "T"), ("one", 10, "GT", "G"), ("one", 10, "G", "GAA")), GENOME, 8)
    assert got["start"].tolist() == [6] * 3 and got["offset"].tolist() == [4] * 3
    assert got["ref_sequence"].tolist() == ["GTACGTAC"] * 3
    # substitution; deletion reads one base further; insertion pushes two bases out
    assert got["alt_sequence"].tolist() == ["GTACTTAC", "GTACGACG", "GTACGAAT"]


def test_windows_at_the_ends_move_inside_and_keep_their_length():
    rows = table(("one", 0, "A", "C"), ("one", 19, "T", "A"), ("one", 15, "TAC", "T"), ("one", 19, "T", "TGGGG"))
    got = windows(rows, GENOME, 8)
    assert got["start"].tolist() == [0, 12, 10, 12] and got["offset"].tolist() == [0, 7, 5, 7]
    assert set(got["ref_sequence"].str.len()) == set(got["alt_sequence"].str.len()) == {8}
    assert got["ref_sequence"][2] == "GTACGTAC" and got["alt_sequence"][2] == "GTACGTGT"


def test_unknown_flanks_are_cut_from_both_alleles():
    row = windows(table(("one", 6, "GT", "G")), helpers.Genome(one="NNNNACGTACGTNNNN"), 12).iloc[0]
    assert (row.start, row.offset, row.ref_sequence, row.alt_sequence) == (4, 2, "ACGTACGT", "ACGACGT")


def test_only_variants_whose_windows_fit_the_context_are_read(tmp_path):
    model = helpers.tiny("esm_bases", tmp_path)
    longest = model.max_tokens - len(model.tokenizer.before) - len(model.tokenizer.after)
    pairs = pd.DataFrame({"ref_sequence": ["A" * longest, "A" * longest, "A" * (longest + 1)],
                          "alt_sequence": ["A" * longest, "A" * (longest + 1), "A"]})  # fmt: skip
    assert readable(pairs, model).tolist() == [True, False, False]


def test_a_deletion_stays_inside_its_window_whole():
    rows = table(("one", 17, "CGT", "C"), ("one", 6, "GTACGT", "G"))  # the contig's last bases; longer than half
    got = windows(rows, GENOME, 8)
    assert got["offset"].tolist() == [5, 2] and got["ref_sequence"].tolist() == ["ACGTACGT", "ACGTACGT"]
    assert got["alt_sequence"].tolist() == ["ACGTAC", "ACGACGTA"]


def test_windows_refuse_another_reference_by_name():
    with pytest.raises(ValueError, match="one:3 T>A: the genome has G where the variant says T"):
        windows(table(("one", 2, "T", "A")), GENOME, 8)


# Differences -----------------------------------------------------------------------------------------------


def test_differences_of_real_models_are_alternative_minus_reference(tmp_path):
    model = helpers.tiny("esm_bases", tmp_path)
    text = helpers.random_dna(60, 0)
    genome = helpers.Genome(c=text)
    alt = "A" if text[30] != "A" else "C"
    rows = windows(table(("c", 30, text[30], alt), ("c", 30, text[30], text[30])), genome, 40)
    saes = [SAE(SAEConfig("topk", 16, 24, 3), seed).eval() for seed in (0, 1)]
    before, after = of_alleles(model, "resid_post.1", saes, rows, 3)
    (change, rival), moved = differences(before, after)
    assert change.shape == rival.shape == (2, 24) and moved.shape == (2, 16)
    assert abs(change[0]).sum() > 0 and abs(moved[0]).sum() > 0
    np.testing.assert_allclose(change[1].toarray(), 0, atol=1e-6)  # the same allele twice changes nothing
    near = np.array([[17, 24]] * 2)  # offset 20, radius 3, one base
    (ref, _), _ = local_states(model, "resid_post.1", saes, rows["ref_sequence"].tolist(), near)
    (new, _), _ = local_states(model, "resid_post.1", saes, rows["alt_sequence"].tolist(), near)
    np.testing.assert_allclose(change.toarray(), (new - ref).toarray(), atol=1e-6)
    np.testing.assert_allclose(before.latents[0].toarray(), ref.toarray(), atol=1e-6)
    out = summarise(rows, change, moved)
    dense = change.toarray()[0]
    assert out["lost"][0] == dense.min() and out["lost_latent"][0] == dense.argmin()
    assert out["latent_change"][0] == pytest.approx(np.linalg.norm(dense), rel=1e-5)


def test_no_variants_at_all_still_pass_through(tmp_path):
    rows = table(("one", 10, "G", "T")).assign(label=1, gene="g", region="all")[:0]
    wide = windows(rows, GENOME, 8)
    saes = [SAE(SAEConfig("topk", 16, 24, 3)).eval()]
    (change,), moved = differences(*of_alleles(helpers.tiny("esm_bases", tmp_path), "resid_post.1", saes, wide, 3))
    out = summarise(wide, change, moved)
    assert len(out) == 0
    write_differences(tmp_path / "d.h5", change, out)


# Separation ------------------------------------------------------------------------------------------------


def labelled(n_genes=20, a_gene=6, seed=0) -> pd.DataFrame:
    """Scores with a known order: good follows the label, noise does not, and copy is good in other units."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n_genes * a_gene)
    good = label + rng.standard_normal(len(label))
    return pd.DataFrame({"label": label, "gene": np.repeat([f"g{i}" for i in range(n_genes)], a_gene), "good": good,
                         "copy": 3 * good + 1, "noise": rng.standard_normal(len(label))})  # fmt: skip


def test_blocks_are_resampled_whole_by_hand():
    # two genes; a draw holds one twice (AUROC 1 or 0, as inside that gene) or both (0.5 of the comparisons)
    label, gene = np.array([1, 0, 1, 0]), np.array(["a", "a", "b", "b"])
    scores = np.array([[2.0, 1, 1, 2]])
    draws = separation.blocked_draws(label, scores, gene, 400, 0)
    assert set(draws[0]) == {0.0, 0.5, 1.0}
    assert [round(float((draws[0] == x).mean()), 1) for x in (0, 0.5, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.1)


def test_separation_pairs_methods_on_the_same_draws():
    data = labelled()
    got = separation.separation(data, {"SAE": "good", "copy": "copy", "noise": "noise"}, 300, 0).set_index("method")
    assert got.value["SAE"] == estimates.auroc(data["label"], data["good"]) and got.low["SAE"] > 0.5
    # a rival that ranks alike: the difference is 0 in every draw, though each interval is wide
    assert got.loc["copy", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    assert got.high["copy"] - got.low["copy"] > 0.1
    assert got.gain["noise"] == got.value["SAE"] - got.value["noise"] and got.gain_low["noise"] > 0
    draws = separation.blocked_draws(data["label"].to_numpy(), data[["good", "noise"]].to_numpy().T,
                                   data["gene"].to_numpy(), 300, 0)  # fmt: skip
    assert got.gain_low["noise"] == pytest.approx(np.quantile(draws[0] - draws[1], 0.025))
    assert got.n["SAE"] == 120 and got.n_genes["SAE"] == 20 and got.n_positive["SAE"] == data["label"].sum()


def test_dependent_variants_of_a_gene_do_not_narrow_the_interval():
    data = labelled()
    many = pd.concat([data] * 5, ignore_index=True)
    widths = [np.ptp(separation.separation(d, {"SAE": "good"}, 200, 0)[["low", "high"]].to_numpy()) for d in (data, many)]
    assert widths[1] == pytest.approx(widths[0], abs=1e-9)


def test_one_gene_has_no_interval():
    got = separation.separation(labelled(n_genes=1, a_gene=40), {"SAE": "good", "noise": "noise"}, 50, 0)
    assert got[["low", "high", "gain_low", "gain_high"]].isna().all(axis=None) and got["value"].notna().all()
