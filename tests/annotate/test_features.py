"""From associations to the catalogue: concepts from files, rivals that read the units again, scores against planted truth."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from lib.annotate import association, catalogue, ladder, reread, shifts, shown
from lib.annotate.strata import confounder_codes, strata_of
from lib.dna import finalists, intervals, kind, reference, strands, tracks, truth
from lib.models import adapter, shuffle
from lib.sae.model import SAE, SAEConfig, random_dictionary
from lib.stage import io
from tests import null_tracks
from tests.helpers import random_dna


@pytest.fixture(scope="module")
def model():
    return adapter.load(io.ROOT / "tests/planted_model")


SITE = "resid_post.1"


@pytest.fixture(scope="module")
def sae(model):
    return random_dictionary(SAE(SAEConfig("standard", model.d_model, 40)), 5, seed=3)


def layout(model, texts):
    encoded = [model.encode_one(t) for t in texts]
    return pd.concat(
        [pd.DataFrame({"unit": u, "start": e.start[e.keep], "end": e.end[e.keep]}) for u, e in enumerate(encoded)], ignore_index=True
    )


# ---- concepts from files ----------------------------------------------------------------------------------------


@pytest.fixture
def genome(tmp_path):
    path = tmp_path / "g.fa"
    path.write_text(">c\n" + random_dna(400, 0) + "\n")
    import pysam

    pysam.faidx(str(path))
    return reference.Reference(path)


def test_a_plain_bed_gives_exons_and_one_with_names_gives_parts(genome, tmp_path):
    plain = tmp_path / "plain.bed"
    plain.write_text("c\t10\t30\te1\nc\t10\t30\te2\n")
    assert intervals.gene_intervals(plain, genome, Counter())[["start", "end", "concept"]].to_numpy().tolist() == [[10, 30, "exon"]]
    named = tmp_path / "named.bed"
    named.write_text("c\t10\t40\tG|T|exon|1\t0\t+\nc\t100\t160\tG|T|exon|2\t0\t+\nc\t20\t130\tG|T|coding_region|\t0\t+\n")
    parts = intervals.gene_intervals(named, genome, Counter())
    assert {"exon", "CDS +", "5' UTR +", "3' UTR +", "splice donor +", "splice acceptor +"} <= set(parts["concept"])
    coding = parts[parts["concept"].str.startswith("codon base")]
    assert len(coding) == 50 and coding.loc[coding["start"] == 20, "concept"].tolist() == ["codon base 1 +"]
    gff = tmp_path / "a.gff3"
    gff.write_text("c\tx\texon\t11\t40\t.\t+\t.\tParent=T\n")
    assert intervals.gene_intervals(gff, genome, Counter())["concept"].tolist() == ["exon"]


def test_flanks_stop_at_the_contigs_start():
    bed = pd.DataFrame({"contig": ["c"], "start": [5], "end": [6]})
    assert intervals.bed_intervals(bed, "promoter", 20)[["start", "end"]].to_numpy().tolist() == [[0, 26]]


def test_confounder_codes_have_one_scale_for_all_parts():
    a = pd.DataFrame({"gc": [0.1, 0.1, 0.9], "cpg": 0.0, "position": 0.5, "log_tss": [1.0, 9, 9], "repeat": ["", "Alu", ""]})
    b = a.iloc[[2]].assign(repeat="L1")
    codes = confounder_codes({"validation": a, "test": b}, n_bins=2)
    assert codes["test"]["gc"][0] == codes["validation"]["gc"][2] != codes["validation"]["gc"][0]
    assert len({codes["test"]["repeat"][0], *codes["validation"]["repeat"]}) == 3
    strata = strata_of({name: codes["validation"][name] for name in ("gc", "repeat")})
    assert len(set(strata.tolist())) == 3
    assert len(set(strata_of({"gc": codes["validation"]["gc"]}).tolist())) == 2


# ---- the units read again ---------------------------------------------------------------------------------------


def test_latents_are_those_of_each_token_in_the_order_asked_for(model, sae):
    texts = [random_dna(60, 1), random_dna(35, 2, n_at=(5,)), random_dna(60, 3)]
    tokens = layout(model, texts).iloc[::-1].iloc[::3].reset_index(drop=True)
    got = reread.latents_on(model, SITE, sae, texts, tokens).toarray()
    for row in range(0, len(tokens), 7):
        unit, start = tokens["unit"][row], tokens["start"][row]
        batch = model.encode([texts[unit]])
        want = sae.encode(model.run(batch, [SITE])[SITE].clone())[list(batch.start.tolist()).index(start)]
        np.testing.assert_allclose(got[row], want.detach().numpy(), atol=1e-5)


def test_other_tokens_are_found_by_their_middle_base(model, sae):
    """A text of single bases, asked for in tokens of three and in one that lies on an unknown base."""
    texts = [random_dna(30, 1, n_at=(13,))]
    tokens = pd.DataFrame({"unit": 0, "start": [0, 3, 12], "end": [3, 6, 15]})
    each = reread.latents_on(model, SITE, sae, texts, layout(model, texts)).toarray()
    got = reread.latents_on(model, SITE, sae, texts, tokens).toarray()
    kept = layout(model, texts)["start"].tolist()
    np.testing.assert_array_equal(got[:2], each[[kept.index(1), kept.index(4)]])
    assert (13 in kept) == bool(got[2].any())


def test_shuffled_texts_keep_dinucleotides_and_every_n():
    texts = [random_dna(80, 1, n_at=(20, 21, 50)), random_dna(70, 2), random_dna(80, 3)]
    got = shuffle.shuffled_texts(texts, pd.DataFrame({"unit": [2, 0, 0]}), seed=0)
    assert got[1] == texts[1] and got[0] != texts[0] and got[2] != texts[2]
    assert [i for i, b in enumerate(got[0]) if b == "N"] == [20, 21, 50]
    for a, b in ((got[0], texts[0]), (got[2], texts[2])):
        assert sorted(a[i : i + 2] for i in range(79)) == sorted(b[i : i + 2] for i in range(79))


def test_agreement_of_strands_is_one_for_a_model_that_reads_both_alike(model, sae):
    """A palindromic text: its reverse complement is itself, so a base and its mirror image hold the same numbers."""
    from lib.models import sequence as sq

    half = random_dna(40, 1)
    text = half + sq.decode(sq.reverse_complement(sq.encode(half)))
    tokens = layout(model, [text])
    latents = reread.latents_on(model, SITE, sae, [text], tokens)
    got = strands.strand_agreement(model, SITE, sae, [text], tokens, latents)
    dense = latents.toarray()
    for latent in np.flatnonzero(dense.std(0) > 0.1)[:5]:
        assert got[latent] == pytest.approx(np.corrcoef(dense[:, latent], dense[::-1, latent])[0, 1], abs=1e-4)
    assert np.isnan(strands.strand_agreement(model, SITE, sae, [text], tokens.assign(end=tokens["end"] + 1), latents)).all()


# ---- the ladder -------------------------------------------------------------------------------------------------


def halves(seed=0, n=3000):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(2):
        where = null_tracks.track(rng, n)
        known = null_tracks.concepts(rng, where, 6, (30, 80))
        dense = null_tracks.latents(rng, where, 9, (30, 80)).toarray()
        dense[:, 4] += 5 * (known.tokens[:, [2]].toarray().ravel() > 0) * (rng.random(n) < 0.9)
        out.append((sparse.csr_matrix(dense.astype(np.float32)), known, where))
    return out


def test_the_best_unit_is_chosen_on_validation_and_read_as_the_pairs_are():
    (first, known, _), (second, on_test, where) = halves()
    screened = association.screen(first, known)
    drawn = shifts.draw(where.block, 100, 50, 0)
    reading = association.read_pairs(second, on_test, screened, drawn, where.strata, where.unit, floor=0.05)
    best = ladder.best_pairs(reading, screened, second, on_test)
    assert best["concept"].tolist() == known.table["concept"].tolist() and (best["n_tests"] == 54).all()
    assert best["latent"].tolist() == screened.f1.argmax(1).tolist() and best["latent"][2] == 4
    same = best.merge(reading.pairs, on=["latent", "concept"], suffixes=("", "_read"))
    assert len(same) >= 3
    for name in ("n_fired", "precision", "recall", "f1", "auroc", "q", "or_low"):
        np.testing.assert_allclose(same[name], same[f"{name}_read"], rtol=1e-6)
    blocks = ladder.best_pairs(reading, screened, [second[:, :3], second[:, 3:]], on_test)
    pd.testing.assert_frame_equal(best, blocks)
    strict = association.read_pairs(second, on_test, screened, drawn, where.strata, where.unit, floor=0.6)
    below = ladder.best_pairs(strict, screened, second, on_test)
    assert (below.loc[best["f1_validation"] < 0.6, ["p", "q", "q_latent"]] == 1).all(axis=None)
    np.testing.assert_allclose(below["f1"], best["f1"])


def claims():
    """Two methods, two motifs of two families; the SAE finds both, one under a wrong family."""
    best = pd.DataFrame([
        ("SAE", "true site", "site A +", "fa", 1, 0.9, 0.8, True), ("SAE", "true site", "site A -", "fa", 2, 0.7, 0.6, True),
        ("SAE", "true site", "site B +", "fb", 3, 0.8, 0.7, True), ("k-mer", "true site", "site A +", "fa", 0, 0.4, 0.4, False),
        ("k-mer", "true site", "site A -", "fa", 0, 0.4, 0.4, False), ("k-mer", "true site", "site B +", "fb", 0, 0.9, 0.6, True),
    ], columns=["method", "kind", "concept", "family", "latent", "f1_validation", "f1", "claimed"])  # fmt: skip
    motif = pd.DataFrame([
        ("SAE", "motif", "M1 A +", "fa", 1, 0.8, 0.7, True), ("SAE", "motif", "M9 Z +", "fz", 1, 0.6, 0.9, True),
        ("SAE", "motif", "M9 Z +", "fz", 3, 0.8, 0.7, True), ("SAE", "motif", "M2 B +", "fb", 3, 0.9, 0.7, False),
        ("SAE", "motif", "M2 B +", "fb", 5, 0.9, 0.7, True),
    ], columns=["method", "kind", "concept", "family", "latent", "f1_validation", "f1", "claimed"])  # fmt: skip
    read = pd.concat([best, motif], ignore_index=True).assign(q=0.01, q_latent=0.01, or_low=2.0, auroc=0.6)
    return best.assign(n_tests=10), read


def test_strands_count_once_and_families_are_counted():
    best, read = claims()
    table = ladder.ladder(read, best).set_index("method")
    assert table.loc["SAE", ["concepts", "found", "profiles_found", "families_found", "latents_claimed"]].tolist() == [3, 3, 2, 2, 3]
    assert table.loc["k-mer", ["found", "profiles_found", "median_f1"]].tolist() == [1, 1, 0.4]


def test_shares_of_a_ladder_with_their_wilson_intervals():
    table = pd.DataFrame({"method": ["SAE", "PCA"], "concepts": [10, 4], "found": [5, 0]})
    shares = ladder.shares(table)
    # Wilson, z = 1.96: centre (p + z²/2n) / (1 + z²/n); of 5 in 10 it is 1/2, half width 0.2634; of 0 in 4 the upper end is z²/(n + z²)
    assert shares["value"].tolist() == [0.5, 0.0]
    assert shares["low"].tolist() == pytest.approx([0.23659, 0.0], abs=1e-5) and shares["high"].tolist() == pytest.approx(
        [0.76341, 0.48990], abs=1e-5
    )
    assert ladder.shares(table.iloc[:0]).empty and list(table.columns) == ["method", "concepts", "found"]


def test_recovery_reads_either_strand_and_the_family_of_the_same_unit():
    best, read = claims()
    planted = pd.DataFrame({"motif": ["A", "A", "B"], "family": ["fa", "fa", "fb"], "strand": ["+", "-", "+"], "contig": "c",
                            "start": [0, 100, 200], "end": [10, 110, 210]})  # fmt: skip
    hits = pd.DataFrame({"contig": "c", "start": [1, 500, 201, 203, 400], "end": [11, 510, 211, 213, 410],
                         "concept": ["M1 A +", "M1 A +", "M9 Z +", "M9 Z +", "M2 B +"]})  # fmt: skip
    recovery, false = truth.recovery(read, best, planted, hits, ["SAE", "k-mer"])
    score = recovery.set_index("method")
    assert score.loc["SAE"].tolist() == [2, 2, 1, 0, 0, 0]  # the unit of B is named fz; nothing gained over itself
    # the k-mer lacks A: of two motifs, draws of the paired difference have none, one or both
    assert score.loc["k-mer"].tolist() == [2, 1, 0, 0.5, 0, 1]
    table = false.set_index(["latent", "family"])
    strict = table["false_strict"]
    assert not strict[(1, "fa")]  # half of M1's hits lie on A's sites
    assert strict[(1, "fz")] and not strict[(3, "fz")]  # M9 is like B, which latent 1 is not claimed for
    assert strict[(5, "fb")] and len(false) == 4  # claimed for no true site at all
    assert table["false"].equals(strict.rename("false"))
    # a latent that is associated with a site of the family, below the floor: strictly false, but true
    weak = pd.concat([read, read.iloc[[2]].assign(latent=5, f1=0.4, claimed=False)])
    again = truth.false_claims(weak, planted, hits).set_index(["latent", "family"]).loc[(5, "fb")]
    assert again["false_strict"] and not again["false"] and again["true_sites"] == "site B +"
    for spoilt in ({"q": 0.2}, {"or_low": 0.9}):
        weak = pd.concat([read, read.iloc[[2]].assign(latent=5, f1=0.4, claimed=False, **spoilt)])
        assert truth.false_claims(weak, planted, hits).set_index(["latent", "family"]).loc[(5, "fb"), "false"]
    # sites under another's name: fa is no longer latent 1's own, fz is like B under the name of A
    other = truth.false_claims(read, planted, hits, {"A": "B", "B": "A"}).set_index(["latent", "family"])["false"]
    assert other[(1, "fa")] and not other[(1, "fz")] and other[(3, "fz")]
    assert truth.chance_false(read, planted, hits, 3) == other.mean()  # two motifs have one other order


def test_nothing_claimed_is_counted_as_nothing():
    best, read = (table.assign(claimed=False) for table in claims())
    assert (ladder.ladder(read, best)[["found", "profiles_found", "families_found", "latents_claimed"]] == 0).all(axis=None)
    planted = pd.DataFrame({"motif": ["A"], "family": ["fa"], "strand": ["+"], "contig": "c", "start": [0], "end": [10]})
    hits = pd.DataFrame({"contig": ["c"], "start": [0], "end": [9], "concept": ["M1 A +"]})
    recovery, false = truth.recovery(read, best, planted, hits, ["SAE"])
    assert recovery.loc[0, ["motifs", "recovered", "family_right"]].tolist() == [2, 0, 0] and not len(false)
    assert finalists.pick_finalists(read.iloc[:0].assign(threshold=0, largest=0), 3).empty


# ---- one row a latent -------------------------------------------------------------------------------------------


def test_the_share_of_variance_is_what_is_lost_without_the_latent(sae):
    x = np.random.default_rng(0).standard_normal((300, sae.config.d_in)).astype(np.float32)
    rows = np.arange(10, 290)
    latents = sparse.csr_matrix(sae.encode(torch.from_numpy(x[rows])).detach().numpy())
    got = catalogue.variance_share(sae, latents, x, rows, chunk=64)
    f, total = torch.from_numpy(latents.toarray()), ((x[rows] - x[rows].mean(0)) ** 2).sum()

    @torch.no_grad()
    def error(f):
        return float(((torch.from_numpy(x[rows]) - sae.decode(f)) ** 2).sum())

    for latent in (0, 7, 39):
        without = f.clone()
        without[:, latent] = 0
        assert got[latent] == pytest.approx((error(without) - error(f)) / total, abs=1e-5)
    assert np.abs(got).max() > 0.003


def test_neighbours_are_the_nearest_rows_and_never_the_latent_itself():
    rows = torch.tensor([[1.0, 0], [2, 0.1], [0, 1], [-1, 0]])
    got = catalogue.nearest(rows, k=1, chunk=3)
    assert [t.split()[0] for t in got] == ["1", "0", "1", "2"]


def test_truth_never_names_a_latent_and_validation_chooses():
    _, read = claims()
    names = [
        "threshold",
        "largest",
        "n_fired",
        "precision",
        "recall",
        "auroc",
        "odds_ratio",
        "or_low",
        "or_high",
        "z",
        "p",
        "q",
        "q_latent",
    ]
    read = read[read["method"] == "SAE"].assign(**dict.fromkeys(names, 0.5))
    latents = pd.DataFrame({"latent": np.arange(6), "frequency": 0.1, "coherence": 0.2, "seeds_found": 1})
    share = pd.DataFrame(
        {"latent": np.arange(6), "token_identity": 0.1, "confounders": 0.1, "explained_by_identity": False, "reverse_complement": 0.3}
    )
    table = catalogue.catalogue(read, latents, share, np.arange(6) / 10, ["x"] * 6, kind.SYMMETRY, {3: "a +; b -"})
    assert table["tells"].tolist() == ["", "", "", "a +; b -", "", ""]
    assert list(table) == catalogue.columns("reverse_complement") and set(table) == {*catalogue.COLUMNS, *kind.COLUMNS}
    assert set(catalogue.columns()) == set(catalogue.COLUMNS)
    assert table["concept"].fillna("").tolist() == ["", "M1 A +", "", "M2 B +", "", "M2 B +"]  # latent 1: not M9, better on test
    assert table["plausible"].tolist() == [False, True, False, False, False, True]
    assert table["variance_share"].tolist() == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    picked = finalists.pick_finalists(read, 5)
    assert picked[["latent", "concept"]].to_numpy().tolist() == [[3, "M2 B +"], [1, "M1 A +"]]  # one a family


def test_the_catalogue_is_written_as_csv_and_as_parquet(root):
    table = pd.DataFrame(
        {"latent": [0, 1], "concept": [np.nan, "M1 A +"], "f1": [np.nan, 0.1 + 0.2], "plausible": [False, True], "faithful": ""}
    )
    stage = io.open_stage("toy", "04_annotation")
    catalogue.write_catalogue(stage, table, {"concept": "motif"})
    assert "- `concept`: motif.\n" in stage.path("columns.md").read_text()
    pd.testing.assert_frame_equal(pd.read_parquet(stage.path("features.parquet")).replace({None: np.nan}), table)
    csv = pd.read_csv(stage.path("features.csv"), float_precision="round_trip", keep_default_na=False, na_values={"concept": "", "f1": ""})
    pd.testing.assert_frame_equal(csv, table)


def background():
    units = pd.DataFrame({"unit": range(3), "contig": "c", "start": [0, 10, 20], "end": [10, 20, 30], "is_reference": True})
    tokens = pd.DataFrame({"unit": np.repeat(range(3), 5), "contig": "c", "ref_start": np.arange(0, 30, 2), "ref_end": np.arange(2, 32, 2)})
    dense = np.zeros((15, 2), np.float32)
    dense[[1, 3, 6, 14], 1] = [2, 3, 5, 1]
    return units, tokens, sparse.csr_matrix(dense)


def test_top_windows_are_ordered_by_their_largest_activation():
    units, tokens, latents = background()
    got = shown.top_windows(latents, tokens, units, 2)
    assert got[["latent", "rank", "start", "end", "peak", "activation"]].to_numpy().tolist() == [[1, 0, 10, 20, 12, 5], [1, 1, 0, 10, 6, 3]]
    with pytest.raises(ValueError, match="a subject's own"):
        shown.top_windows(latents, tokens, units.assign(is_reference=[True, False, True]), 2)


def test_cards_are_of_the_motif_that_validation_chose_of_each_family_base_by_base():
    units, tokens, latents = background()
    tokens = tokens.assign(start=np.tile(range(0, 10, 2), 3), end=np.tile(range(2, 12, 2), 3))
    known = pd.DataFrame({"latent": [1, 0, 0], "kind": "motif", "concept": ["A +", "B +", "C +"], "family": ["f", "f", "g"],
                          "q": [0.01, 0.01, 0.2], "f1_validation": [0.9, 0.8, 0.7], "f1": [0.1, 0.9, 0.9],
                          "repeat_share": [0.1, 0.2, 0.3]})  # fmt: skip
    table = shown.cards(known, "motif", latents, tokens, units, ["ACGTACGTAC", "CCCCCCCCCC", "GGGGGGGGGG"], 3, 2)
    assert set(table["latent"]) == {1} and "".join(table["base"]) == "CCCCCCCCCC" + "ACGTACGTAC"  # the rest: same family, or q too large
    assert table.loc[table["rank"] == 0, "activation"].tolist() == [0, 0, 5, 5, 0, 0, 0, 0, 0, 0]
    assert table.loc[table["rank"] == 1, "position"].tolist() == list(range(10))
    assert shown.cards(known.assign(q=1.0), "motif", latents, tokens, units, [""] * 3, 3, 2).empty
    spoilt = known.assign(f1=known["f1"].to_numpy()[::-1])  # the test's F1 chooses nothing
    assert shown.cards(spoilt, "motif", latents, tokens, units, ["ACGTACGTAC", "CCCCCCCCCC", "GGGGGGGGGG"], 3, 2).equals(table)
    last = pd.DataFrame({"latent": [1], "kind": ["repeat"], "concept": ["repeat: Alu"], "family": ["repeat: Alu"], "repeat_share": [0.9]})
    both = pd.concat([last, known.assign(latent=1)], ignore_index=True)
    table = shown.cards(both, "motif", latents, tokens, units, ["ACGTACGTAC", "CCCCCCCCCC", "GGGGGGGGGG"], 3, 2)
    assert table["family"].unique().tolist() == ["f", "repeat: Alu"]  # after what has a motif


def test_tracks_of_plausible_latents(genome, tmp_path):
    _, tokens, latents = background()

    class Stage:
        @staticmethod
        def path(name):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            return tmp_path / name

    table = pd.DataFrame({"latent": [0, 1], "concept": ["a", "b"], "plausible": [False, True], "f1_validation": [0.9, 0.5]})
    assert tracks.write_tracks(Stage, table, latents, tokens, genome, 5) == [1]
    assert {p.name for p in (tmp_path / "tracks").iterdir()} == {"latent_1.bw", "latent_1.bedGraph", "latent_1.bed", "session.xml"}
    assert "c\t12\t14\t5" in (tmp_path / "tracks/latent_1.bedGraph").read_text()
    session = (tmp_path / "tracks/session.xml").read_text()
    assert 'genome="g.fa"' in session and 'locus="c:1-214"' in session and str(tmp_path) not in session
