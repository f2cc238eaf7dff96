"""Sites of the grammar among tokens: the right ones, on the right rows, and what letters nearby do not say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lib.annotate import concepts, contrasts
from lib.dna import grammar, grammar_demo, told
from lib.dna.reference import Reference
from lib.models import sequence as sq
from lib.stage import inputs

SMALL = {"n_people": 60, "n_external": 0, "n_loci": 4, "n_contigs": 4, "n_background": 4, "background_bp": 131_072, "n_nulls": 1}
SPLIT = {"validation": ["sim3"], "test": ["sim4"]}


class Door(SimpleNamespace):
    """As much of a corpus as the question asks: windows of 256 bases of the background, one token a base."""

    def units(self):
        return self.windows

    def records(self):
        return SimpleNamespace(texts=self.texts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return grammar_demo.simulate_grammar(tmp_path_factory.mktemp("grammar"), seed=0, **SMALL)


@pytest.fixture
def corpus(folder, monkeypatch):
    monkeypatch.setattr(inputs.io, "private_path", lambda study, door, name: folder / name.removeprefix("data/"))
    monkeypatch.setattr(inputs.params, "front_door", lambda study: "00_dna")
    regions = pd.read_csv(folder / "background.bed", sep="\t", header=None, usecols=[0, 1, 2], names=["contig", "start", "end"])
    places = [(row.contig, start, start + 256) for row in regions.itertuples() for start in range(row.start, row.end, 256)]
    windows = pd.DataFrame(places, columns=["contig", "start", "end"]).rename_axis("unit").reset_index()
    reference = Reference(folder / "genome.fa")
    texts = [reference.fetch(row.contig, row.start, row.end) for row in windows.itertuples()]
    return Door(study="toy", settings={"truth_path": "simulated:truth/sites.csv"}, windows=windows, texts=texts, split=SPLIT)


def tokens_of(corpus, width=1):
    """Tokens of `width` bases of each part's windows, as `concepts.token_table` has them."""
    units, tables = corpus.windows, {}
    at = np.arange(0, 256, width)
    for part, contigs in corpus.split.items():
        own = units[units.contig.isin(contigs)]
        rows = np.arange(len(own) * len(at))
        columns = {"unit": np.repeat(own.unit, len(at)), "start": np.tile(at, len(own))}
        columns["end"] = np.minimum(columns["start"] + width, 256)
        offset = np.repeat(own.start.to_numpy(), len(at))
        columns |= {"ref_start": columns["start"] + offset, "ref_end": columns["end"] + offset}
        tables[part] = concepts.token_table({name: np.asarray(x) for name, x in columns.items()}, units, rows)
    return tables


@pytest.fixture
def answered(corpus):
    tokens = tokens_of(corpus)
    return tokens, *told.told(corpus, tokens)


def wanted(folder, contig):
    """Whole sites of unmarked units of one contig's background, from the truth."""
    units = pd.read_csv(folder / "truth/units.csv", keep_default_na=False)
    whole = units.kind.isin(["functional", "alone", "turned", "partner broken", "swapped"])
    return units[whole & ~units.marked & (units.contig == contig) & units.locus.str.startswith("back")]


def test_instances_are_the_whole_sites_of_unmarked_units_of_the_part_where_they_lie(folder, corpus, answered):
    tokens, instances, _ = answered
    for part, (contig,) in SPLIT.items():
        truth, own = wanted(folder, contig), instances[part]
        start, end = (tokens[part][name].to_numpy() for name in ("ref_start", "ref_end"))
        first, last = own["first"].to_numpy(), own["last"].to_numpy()
        places = dict(zip(zip(start[first], end[last - 1], strict=True), own.itertuples(), strict=True))
        assert len(places) == len(own) > 40 and set(places) == set(zip(truth.start, truth.end, strict=True))
        assert set(tokens[part].contig) == {contig}  # nothing of the training chromosomes, nor of the other part
        for unit in truth.itertuples():
            row, pair = places[unit.start, unit.end], grammar.PAIRS[unit.pair]
            assert row.positive == (unit.kind == "functional")
            assert row.group == f"{pair.site}+{'/'.join(pair.partners)} {unit.strand}"
            window = corpus.windows.loc[row.unit]
            assert window.contig == contig and window.start <= unit.start and unit.end <= window.end
    assert any(group.startswith("STAT3+SPI1/IRF8 ") for group in instances["test"].group)


def f1_of(latents, instances):
    return contrasts.told_apart({"SAE": contrasts.peaks_of(latents, instances)}, instances, 20, 0)[1]


def test_a_latent_on_functional_sites_tells_them_and_one_beside_them_does_not(answered):
    tokens, instances, _ = answered
    on, beside = {}, {}
    for part, table in instances.items():
        fires = np.zeros((len(tokens[part]), 1), np.float32)
        fires[table["first"][table.positive]] = 1  # the first base of each
        on[part], beside[part] = sparse.csr_matrix(fires), sparse.csr_matrix(np.roll(fires, -1, axis=0))
    means = f1_of(on, instances)
    assert means.f1[0] == 1 and means.always[0] < 0.6 and means.n_groups[0] >= 10
    assert f1_of(beside, instances).f1[0] == means.always[0]


def test_tokens_of_six_bases_are_those_that_touch_a_site(corpus, answered):
    bases, single, _ = answered
    tokens = tokens_of(corpus, 6)
    instances, _ = told.told(corpus, tokens)
    for part, table in instances.items():
        first, last = (table[name].to_numpy() for name in ("first", "last"))
        start, end = (bases[part][name].to_numpy() for name in ("ref_start", "ref_end"))
        own = tokens[part]
        assert (own.ref_start.to_numpy()[first] <= start[single[part]["first"]]).all()
        assert (own.ref_end.to_numpy()[first] > start[single[part]["first"]]).all()
        assert (own.ref_end.to_numpy()[last - 1] >= end[single[part]["last"] - 1]).all()
        assert (own.ref_start.to_numpy()[last - 1] < end[single[part]["last"] - 1]).all()
    half = {part: table[table.start < 128] for part, table in bases.items()}
    with pytest.raises(ValueError, match="planted sites of validation have no token"):
        told.told(corpus, half)


def test_what_letters_nearby_say_is_fitted_on_training_chromosomes_and_does_not_tell(corpus, answered):
    tokens, instances, beside = answered
    assert list(beside) == ["8-mers", "one-hot +-12"]
    for of_part in beside.values():
        assert {part: x.shape for part, x in of_part.items()} == {part: (len(instances[part]), 1) for part in instances}
    means = contrasts.told_apart(beside, instances, 50, 0)[1]
    assert (abs(means.f1 - means.always) < 0.15).all(), means
    rng, held_out = np.random.default_rng(0), corpus.windows.contig.isin(["sim3"])
    for unit in corpus.windows.unit[held_out]:  # what validation holds changes nothing of the scores of test
        corpus.texts[unit] = sq.decode(rng.integers(0, 4, 256).astype(np.uint8))
    again = told.told(corpus, tokens)[1]
    assert all((again[name]["test"] == beside[name]["test"]).all() for name in beside)
    assert not (again["one-hot +-12"]["validation"] == beside["one-hot +-12"]["validation"]).all()


def test_a_letter_that_gives_sites_away_is_seen(corpus, answered, folder):
    """The same letters, but for one base before each functional site: the scores are of the instances, in their order."""
    tokens, instances, _ = answered
    for contig in ("sim1", "sim2", "sim3", "sim4"):
        for unit in wanted(folder, contig).itertuples():
            window = corpus.windows.query("contig == @contig and start <= @unit.start < end").iloc[0]
            text, at = list(corpus.texts[window.unit]), unit.start - window.start - 3 if unit.strand == "+" else unit.end - window.start
            text[at : at + 3] = ("AAA" if unit.strand == "+" else "TTT") if unit.kind == "functional" else "GCG"
            corpus.texts[window.unit] = "".join(text)
    means = contrasts.told_apart(told.told(corpus, tokens)[1], instances, 20, 0)[1].set_index("method")
    assert means.f1["one-hot +-12"] > 0.8 > means.always["one-hot +-12"] + 0.2, means


def test_without_a_planted_grammar_there_is_nothing(corpus, tmp_path, monkeypatch):
    tokens = tokens_of(corpus)
    for truth in ("", "truth/sites.csv"):
        corpus.settings = {"truth_path": truth}
        assert told.told(corpus, tokens) == ({}, {})
    corpus.settings = {"truth_path": "simulated:truth/sites.csv"}
    monkeypatch.setattr(inputs.io, "private_path", lambda study, door, name: tmp_path / name)  # of another simulation: no units.csv
    assert told.told(corpus, tokens) == ({}, {})
