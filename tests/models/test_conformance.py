"""Every family passes the suite, and a model broken in a known way fails the check that is for it."""

import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pysam
import pytest
import torch
from torch import nn

from lib.acts import extract, store
from lib.dna.genotypes import Genotypes
from lib.dna.haplotypes import build_units
from lib.dna.reference import Reference
from lib.models import adapter as door
from lib.models import check_model, conformance, sense, tokens
from lib.models.checks.shared import NotRun, worst
from lib.models.families import Family
from tests import cell_models, helpers
from tests.zoo import DNA, ZOO


@pytest.fixture(scope="module", params=ZOO)
def kind(request, tmp_path_factory):
    folder = ZOO[request.param].save(tmp_path_factory.mktemp(request.param), seed=0)
    return door.load(folder), ZOO[request.param].records


@pytest.mark.parametrize("name", conformance.CHECKS)
def test_every_family_passes(kind, name):
    check = conformance.CHECKS[name]
    try:
        value, note = check.function(*kind)
    except NotRun as reason:
        pytest.skip(str(reason))
    assert check.holds(value), f"{value:g} wanted {check.sign} {check.bound:g} {note}"


def failures(adapter, records=DNA) -> set[str]:
    table = conformance.check(adapter, records)
    return set(table.check[~table.passed.fillna(True)])


# Real weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mistral-dna-1m-hg38", "mistral-dna-1m-hg38-causal", "mistral-codon-1m"])
def test_real_weights_pass(name):
    folder = helpers.DATA_DIR / "models" / name
    if not folder.is_dir():
        pytest.skip(f"NO REAL MODEL at {folder}: set DATA_DIR to the folder of shared data")
    adapter = door.load(folder)
    table = conformance.check(adapter, check_model.records_for(adapter))
    assert table.passed.fillna(True).all(), table.to_string()
    headless = {"identity_replace", "replace_is_felt", "stream_is_whole"}
    assert set(table.check[table.passed.isna()]) == (set() if name.endswith("causal") else headless)


def test_the_readme_names_models_that_are_tested():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[4] for line in text.partition("## Models")[2].partition("\n## ")[0].splitlines() if line[:1] == "|"]
    named = {name for row in rows[1:] for name in re.findall(r"`(\w+)`", row)}
    assert len(named) > 20 and named <= set(ZOO)


# Broken stand-ins -----------------------------------------------------------------------------------------


def override(adapter, **methods) -> None:
    """Give the adapter a class of its own; a copy of it keeps the class."""
    adapter.__class__ = type("Broken", (door.Adapter,), methods)


def change_encoding(adapter, change) -> None:
    def encode_one(self, record, **options):
        return change(door.Adapter.encode_one(self, record, **options))

    override(adapter, encode_one=encode_one)


def change_batches(adapter, change) -> None:
    override(adapter, collate=lambda self, encoded, units: change(door.Adapter.collate(self, encoded, units)))


def blocks_not_chained(adapter):
    embedding = {}

    def change(k, x, mask):
        embedding.update({0: x} if k == 0 else {})
        return embedding[0], mask

    helpers.feed_blocks(adapter, change)


def padding_ignored(adapter):
    helpers.feed_blocks(adapter, lambda k, x, mask: (x, None))


def mask_left_out(adapter):
    def forward(self, batch, head):
        return door.Adapter._forward(self, replace(batch, mask=torch.ones_like(batch.mask)), head)

    override(adapter, _forward=forward)


def padded_left(adapter):
    def change(batch):
        shift = [(row, -int(n)) for row, n in enumerate(batch.mask.sum(1))]
        moved = {
            name: torch.stack([getattr(batch, name)[row].roll(n) for row, n in shift]) for name in ("ids", "mask", "keep")
        }
        return replace(batch, **moved)

    change_batches(adapter, change)


def mask_made_from_ids(adapter):
    separator = adapter.tokenizer.hub.eos_token_id  # which pads too
    change_batches(adapter, lambda batch: replace(batch, mask=(batch.ids != separator).long() * batch.mask))


def reads_one_way(adapter):
    helpers.feed_blocks(adapter, lambda k, x, mask: (x, torch.full((1, 1, x.shape[1], x.shape[1]), -1e9).triu(1)))


def flag_turned(adapter):
    adapter.family = replace(adapter.family, masked=not adapter.family.masked)


def mixes_the_batch(adapter):
    for block in adapter.blocks:
        block.attention.output.dense.register_forward_hook(lambda _, __, out: out + 0.1 * out.mean(0, keepdim=True))


def wrong_branch(adapter):
    adapter.family = replace(adapter.family, mixer_out="attention.self")


def width_taken_for_granted(adapter):
    override(adapter, sites=lambda self: [replace(s, dim=self.d_model) for s in door.Adapter.sites(self)])


def block_used_twice(adapter):
    adapter.trunk.encoder.layer[1] = adapter.trunk.encoder.layer[0]


def written_in_place(adapter):
    def change(k, x, mask):
        if k:
            x[..., 0].add_(0.5)
        return x, mask

    helpers.feed_blocks(adapter, change)


def noise(adapter):
    adapter.blocks[1].register_forward_hook(lambda _, __, out: out + 1e-7 * torch.randn_like(out))


def stored_in_half(adapter):
    def in_half(self, batch, name, fn):
        return door.Adapter.replace(self, batch, name, lambda x: fn(x).half().float())

    override(adapter, replace=in_half)


def replacement_dropped(adapter):
    @contextmanager
    def hook(self, name, function):
        with door.Adapter._hook(self, name, lambda x: (function(x), None)[1]):
            yield

    override(adapter, _hook=hook)


def head_reads_the_embedding(adapter):
    held = {}
    adapter.blocks[0].register_forward_pre_hook(lambda _, args: held.__setitem__(0, args[0]))
    adapter.model.lm_head.register_forward_pre_hook(lambda _, args: (args[0] + held[0],))


def hooks_survive_an_exception(adapter):
    kept = []  # a context that is collected would remove its hook

    @contextmanager
    def hook(self, name, function):
        kept.append(door.Adapter._hook(self, name, function))
        kept[-1].__enter__()
        yield
        kept[-1].__exit__(None, None, None)

    override(adapter, _hook=hook)


def coordinates_shifted(adapter):
    change_encoding(adapter, lambda e: tokens.Encoded(e.ids, e.start + 1, e.end + 1, e.keep))


def read_backwards(adapter):
    def change(e):
        turned = [column.copy() for column in (e.ids, e.start, e.end)]
        for column in turned:
            column[e.keep] = column[e.keep][::-1]
        return tokens.Encoded(*turned, e.keep)

    change_encoding(adapter, change)


def token_dropped(adapter):
    def change(e):
        keep = e.keep.copy()
        keep[np.flatnonzero(keep)[5]] = False
        return tokens.Encoded(e.ids, e.start, e.end, keep)

    change_encoding(adapter, change)


def spans_too_long(adapter):
    change_encoding(adapter, lambda e: tokens.Encoded(e.ids, e.start, e.end + 1, e.keep))


def gene_twice(adapter):
    def change(e):
        columns = [column.copy() for column in (e.ids, e.start, e.end)]
        for column in columns:
            column[6] = column[5]
        return tokens.Encoded(*columns, e.keep, e.inputs, e.columns)

    change_encoding(adapter, change)


def overflow_in_half(adapter):
    """Hidden units near 1e5, past 65,504, which float32 and bfloat16 hold."""
    with torch.no_grad():
        adapter.blocks[1].intermediate.dense.weight *= 1e5
        adapter.blocks[1].output.dense.weight *= 1e-5


def cancellation(adapter):
    """One block adds to the stream what the next takes away; in between the rest has few bits left."""
    with torch.no_grad():
        adapter.blocks[0].output.dense.bias += 60
        adapter.blocks[1].output.dense.bias -= 60


#: what is broken -> family, checks that fail; every other check passes
BROKEN = {
    blocks_not_chained: ("esm_bases", {"block_chain", "branch_sum", "replace_is_felt", "stream_is_whole"}),
    padding_ignored: ("esm_bases", {"padding_invariance"}),
    mask_left_out: ("esm_bases", {"padding_invariance"}),
    padded_left: ("gpt2", {"padding_invariance", "token_accounting"}),
    mask_made_from_ids: ("esm_bases", {"token_accounting"}),
    reads_one_way: ("esm_bases", {"perturbation_reach"}),
    flag_turned: ("esm_bases", {"perturbation_reach"}),
    mixes_the_batch: ("esm_bases", {"padding_invariance", "batch_invariance"}),
    wrong_branch: ("esm_bases", {"branch_sum"}),
    width_taken_for_granted: ("esm_bases", {"site_dims"}),
    written_in_place: ("esm_bases", {"early_exit", "branch_sum", "stream_is_whole"}),
    noise: ("esm_bases", {"two_runs"}),
    stored_in_half: ("esm_bases", {"identity_replace"}),
    replacement_dropped: ("esm_bases", {"replace_is_felt", "stream_is_whole"}),
    head_reads_the_embedding: ("esm_bases", {"stream_is_whole"}),
    hooks_survive_an_exception: ("esm_bases", {"no_state_left"}),
    coordinates_shifted: ("esm_6mers", {"round_trip"}),
    read_backwards: ("esm_6mers", {"token_order"}),
    token_dropped: ("esm_6mers", {"token_accounting"}),
    spans_too_long: ("esm_6mers", {"round_trip", "token_order"}),
    gene_twice: ("tahoe", {"token_order"}),
    overflow_in_half: ("esm_bases", {"float16"}),
    cancellation: ("esm_bases", {"float16", "bfloat16"}),
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda f: f.__name__)
def test_what_is_broken_fails_its_checks_and_no_other(broken, tmp_path):
    family, expected = BROKEN[broken]
    adapter = door.load(ZOO[family].save(tmp_path, seed=0))
    broken(adapter)
    assert failures(adapter, ZOO[family].records) == expected


def test_a_block_used_twice_fails(tmp_path):
    adapter = helpers.tiny("esm_bases", tmp_path)
    block_used_twice(adapter)
    table = conformance.check(adapter, DNA).set_index("check")
    assert table.value["fires_once"] > 0 and not table.passed["fires_once"]
    assert "mixer_out.0: 2" in table.note["fires_once"]
    assert "exactly once" in table.note["early_exit"] and not table.passed["early_exit"]  # raised, so it failed


def test_every_check_has_a_stand_in_that_fails_it():
    assert {"fires_once"}.union(*(checks for _, checks in BROKEN.values())) == set(conformance.CHECKS)


class Apart(nn.Module):
    """A block as HyenaDNA's and Caduceus': it gives its branch and what was there before, and the stream is their sum."""

    def __init__(self, together: bool):
        super().__init__()
        self.together, self.norm, self.mix = together, nn.LayerNorm(16), nn.Linear(16, 16)

    def forward(self, x, before=None):
        x = x if before is None else x + before
        past = self.norm(x).float().cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
        branch = self.mix(past.to(x.dtype))
        return x + branch if self.together else (branch, x)


class Stack(nn.Module):
    def __init__(self, together: bool):
        super().__init__()
        self.embed, self.layers = nn.Embedding(10, 16), nn.ModuleList(Apart(together) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 10)
        self.config = SimpleNamespace(hidden_size=16, model_type="apart")

    def forward(self, input_ids, attention_mask):
        state = (self.embed(input_ids),)
        for block in self.layers:
            state = block(*state)
            state = state if isinstance(state, tuple) else (state,)
        return SimpleNamespace(logits=self.head(self.norm(sum(state))))


@pytest.mark.parametrize("together", [True, False])
def test_a_branch_taken_for_the_stream_fails(tmp_path, together):
    torch.manual_seed(0)
    tokenizer = helpers.tiny("esm_bases", tmp_path).tokenizer
    family = Family("", "layers", "norm", False, mixer_out="mix")
    failed = failures(door.Adapter(Stack(together), tokenizer, {}, "cpu", family))
    assert failed == (set() if together else {"block_chain", "branch_sum", "stream_is_whole"})


# What the table says ----------------------------------------------------------------------------------------


def test_what_cannot_run_is_neither_passed_nor_failed(tmp_path):
    adapter = helpers.tiny("esm_bases", tmp_path)
    adapter.model.head_missing = ["lm_head.weight"]

    def full_only(_, args):
        if next(adapter.model.parameters()).dtype == args[0].dtype == torch.float32:
            return
        raise RuntimeError("\"some_kernel\" not implemented for 'Half'")

    adapter.blocks[0].register_forward_pre_hook(full_only)
    table = conformance.check(adapter, DNA).set_index("check")
    missing = table[table.passed.isna()]
    assert set(missing.index) == {"identity_replace", "replace_is_felt", "stream_is_whole", "float16", "bfloat16"}
    assert missing.value.isna().all() and missing.note.str.startswith("not run: ").all()
    assert "not implemented for 'Half'" in table.note["float16"]
    assert table.passed.drop(missing.index).all()


def test_a_check_that_raises_and_a_value_that_is_no_number_have_failed(tmp_path):
    adapter = helpers.tiny("esm_bases", tmp_path)

    def half_fails(_, args):
        if args[0].dtype != torch.float32:
            raise RuntimeError("shapes do not match")

    adapter.blocks[0].register_forward_pre_hook(half_fails)
    table = conformance.check(adapter, DNA).set_index("check")
    assert not table.passed["float16"] and table.note["float16"] == "RuntimeError: shapes do not match"
    for check in conformance.CHECKS.values():
        assert not check.holds(float("nan"))
    assert np.isnan(worst({"a": 0.0, "b": float("nan"), "c": 2.0}).value)


def test_tokens_that_another_choice_of_expert_reaches_are_left_out_and_told(tmp_path):
    adapter = helpers.tiny("mixtral", tmp_path)
    value, note = conformance.CHECKS["bfloat16"].function(adapter, DNA)
    assert value < 0.02 and "no other choice of expert reaches; over all 0.12" in note


def test_records_of_one_length_are_padded_too(tmp_path):
    adapter = helpers.tiny("esm_bases", tmp_path)
    padding_ignored(adapter)
    assert failures(adapter, [helpers.random_dna(60, seed) for seed in range(3)]) == {"padding_invariance"}


# Coordinates through a haplotype ------------------------------------------------------------------------------

REFERENCE = helpers.random_dna(96, 11, n_at=(30, 31, 32, 70))
EDITS = [(8, "", "GATTACA"), (40, "x" * 9, ""), (60, "x", "T"), (80, "xx", "CCC")]  # insertion, deletion, SNP, both


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("name", ["esm_bases", "esm_6mers", "dnabert", "generator", "llama"])
def test_tokens_find_their_bases_on_the_reference_across_n_indels_frames_and_strands(tmp_path, name, strand):
    (tmp_path / "g.fa").write_text(f">c\n{REFERENCE}\n")
    pysam.faidx(str(tmp_path / "g.fa"))
    rows = [(p - 1, REFERENCE[p - 1 : p + len(r)], REFERENCE[p - 1] + a) for p, r, a in EDITS]
    calls = Genotypes(
        pd.DataFrame([("c", *row, "") for row in rows], columns=["contig", "pos", "ref", "alt", "id"]),
        np.array([[[1, 1]]] * len(rows), dtype=np.int8), np.array([[True]] * len(rows)), ["person"],
    )  # fmt: skip
    window = pd.DataFrame({"window": [0], "contig": "c", "start": 0, "end": len(REFERENCE), "locus": "x"})
    units = build_units(window, Reference(tmp_path / "g.fa"), calls)
    text, places = units.sequences[-1], units.ref_pos(units.n_units - 1)
    untouched = np.array([b == REFERENCE[p] for b, p in zip(text, places)])
    assert len(text) != len(REFERENCE) and not untouched.all()
    if strand == "-":
        text, places, untouched = complement(text), places[::-1], untouched[::-1]
    adapter = helpers.tiny(name, tmp_path / name)
    frames = range(getattr(adapter.tokenizer, "k", 1))
    extract.extract(adapter, [text], lambda _: places, ["embed"], tmp_path / "acts.h5", frames=frames)
    columns = store.open_store(tmp_path / "acts.h5").tokens
    table = pd.DataFrame({name: np.asarray(column) for name, column in columns.items()})
    n_matched = np.zeros(len(frames), dtype=int)
    for row, word in zip(table.itertuples(), adapter.tokenizer.words(table.token_id.tolist())):
        on_one_stretch = (np.abs(np.diff(places[row.start : row.end])) == 1).all()
        if untouched[row.start : row.end].all() and on_one_stretch:
            low, high = sorted((row.ref_start, row.ref_end - 1))
            bases = REFERENCE[low : high + 1]
            assert word == (bases if strand == "+" else complement(bases))
            n_matched[getattr(row, "frame", 0)] += 1
    assert (n_matched > 2).all()


def complement(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


# The command ------------------------------------------------------------------------------------------------


def command(*arguments) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "lib.models.check_model", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_reports_a_folder(tmp_path):
    folder = helpers.save_model("esm_6mers", tmp_path / "model", max_position_embeddings=402)
    (tmp_path / "my.fa").write_text(">soft-masked\nacgtnnacgtacgtt\n>plain\nACGTACGTTAGGCCATTACGGA\n")
    done = command(folder, "--records", tmp_path / "my.fa")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "EsmForMaskedLM" in done.stdout and "5 of DNA" in done.stdout and "18 passed, 0 failed, 0 not run" in done.stdout
    row = next(line.split() for line in done.stdout.splitlines() if "resid_post.1" in line)
    assert row == ["resid_post.1", "16", "esm.encoder.layer.1", "post", "2"]


@pytest.mark.parametrize("kind", ["esm_bases", "esm_6mers", "mamba2"])
def test_the_command_takes_a_genome(tmp_path, kind):
    """Of a chromosome that begins with N it takes what the context holds; without a context, at most TOKENS tokens."""
    adapter = door.load(helpers.save_model(kind, tmp_path / "model"))
    start = helpers.random_dna(6 * check_model.BASES, 0).lstrip("N")
    (tmp_path / "genome.fa").write_text(f">chr\n{'N' * 100_000}\n{start}\n>next\n{start[:90]}\n")
    long, short = check_model.records_for(adapter, tmp_path / "genome.fa")[3:]
    n, most = len(adapter.encode_one(long).ids), min(adapter.max_tokens or check_model.TOKENS, check_model.TOKENS)
    assert 0.8 * most < n <= most and start.startswith(long) and short == start[:90]


def test_the_command_fails_with_the_model(tmp_path, capsys):
    adapter = helpers.tiny("esm_bases", tmp_path / "model", max_position_embeddings=602)
    overflow_in_half(adapter)
    adapter.model.save_pretrained(tmp_path / "model")
    with pytest.raises(SystemExit) as end:
        check_model.main([str(tmp_path / "model")])
    assert end.value.code == 1 and "17 passed, 1 failed, 0 not run" in capsys.readouterr().out


def test_the_command_refuses_a_broken_folder(tmp_path):
    weights = helpers.save_model("esm_bases", tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    done = command(tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"error: {weights}: cut short")


@pytest.mark.parametrize("name, file, text, message", [
    ("esm_bases", "x.fa", None, "x.fa: no such file"),
    ("esm_bases", "x.fa", "ACGT\n", "x.fa: not a whole FASTA file: begins with 'ACGT"),
    ("esm_bases", "x.fa", ">a\n>b\nACGT\n", "x.fa: not a FASTA file, or one with an empty record"),
    ("esm_bases", "x.fa", ">a\nACXT\n", "x.fa: record a: letter 'X' at position 2"),
    ("gpt2_text", "x.txt", "one\n\ntwo\n", "x.txt: 2 lines of text, wanted at least 3"),
    ("gpt2_text", "x.txt", b"\xff\xfe", "x.txt: not UTF-8"),
    ("tahoe", None, None, "this model reads cells: give an .h5ad file"),
    ("tahoe", "x.h5ad", "no HDF5", "x.h5ad: not an HDF5 file"),
])  # fmt: skip
def test_bad_records_are_refused(tmp_path, name, file, text, message):
    adapter = door.load(ZOO[name].save(tmp_path / "model", seed=0))
    if text is not None:
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        check_model.records_for(adapter, file and tmp_path / file)


def test_unknown_model_and_unpinned_hub_id_are_refused(capsys, tmp_path):
    for name, message in ((str(tmp_path / "none"), "no such model folder"), ("org/model", "needs revision=")):
        with pytest.raises(SystemExit) as end:
            check_model.main([name])
        assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("name, kind", [("helix", "mRNA"), ("gpt2_text", "text"), ("generator", "DNA"), ("esm_bases", "DNA")])
def test_each_kind_of_model_gets_records_it_reads(tmp_path, name, kind):
    adapter = door.load(ZOO[name].save(tmp_path, seed=0))
    records = check_model.records_for(adapter)
    assert sense.kind_of(adapter) == kind and len(records) == 3
    assert len({len(adapter.encode_one(record).ids) for record in records}) > 1


def test_random_records_hold_n_where_the_model_reads_it(tmp_path):
    adapter = door.load(ZOO["generator"].save(tmp_path, seed=0))
    assert [r.count("N") for r in check_model.records_for(adapter)] == [0, 3, 6]
    adapter.tokenizer.unk_token_id = None
    assert "N" not in "".join(check_model.records_for(adapter))


def test_one_record_is_too_few(tmp_path):
    with pytest.raises(ValueError, match="1 records: wanted at least 2"):
        conformance.check(helpers.tiny("esm_bases", tmp_path), DNA[:1])


def test_cells_come_from_their_file(tmp_path):
    counts = np.random.default_rng(0).poisson(1, (8, len(cell_models.GENES)))
    path = cell_models.write_h5ad(tmp_path / "x.h5ad", counts, {"index": cell_models.GENES})
    adapter = door.load(ZOO["geneformer"].save(tmp_path / "model", seed=0))
    records = check_model.records_for(adapter, path)
    assert len(records) == 6 and failures(adapter, records) == set()
