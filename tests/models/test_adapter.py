"""The one door to a model, and the suite that every family must pass."""

import numpy as np
import pytest
import torch

from lib.models import adapter as door
from lib.models import conformance, families, tokens, wrap
from tests import helpers
from tests.zoo import ZOO

SEQUENCES = [
    helpers.random_dna(60, 1, n_at=(10, 11, 40)),
    helpers.random_dna(90, 2),
    helpers.random_dna(73, 3, n_at=(0, 72)),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {kind: helpers.tiny(kind, tmp_path_factory.mktemp(kind)) for kind in helpers.KINDS}


@pytest.fixture
def esm(tmp_path):
    """A fresh model, for tests that break it."""
    return helpers.tiny("esm_bases", tmp_path)


# The suite -----------------------------------------------------------------------------------------------


def test_the_real_model_passes():
    folder = helpers.DATA_DIR / "models" / "mistral-dna-1m-hg38-causal"
    if not folder.is_dir():
        pytest.skip(f"NO REAL MODEL at {folder}: set DATA_DIR to the folder of shared data")
    sequences = [helpers.random_dna(n, n, n_at=(7, 8)) for n in (300, 500, 420)]
    table = conformance.check(door.load(folder), sequences)
    assert table["passed"].all(), table.to_string()


def failures(adapter) -> set[str]:
    table = conformance.check(adapter, SEQUENCES)
    return set(table["check"][~table["passed"]])


def test_feeding_blocks_what_they_had_breaks_nothing(esm):
    helpers.feed_blocks(esm, lambda k, x, mask: (x, mask))
    assert failures(esm) == set()


def test_a_model_with_unchained_blocks_fails_block_chain(esm):
    embedding = {}

    def change(k, x, mask):  # the published bug: every block reads the embedding
        embedding.update({0: x} if k == 0 else {})
        return embedding[0], mask

    helpers.feed_blocks(esm, change)
    assert "block_chain" in failures(esm)


def test_a_model_that_ignores_the_mask_fails_padding_invariance(esm):
    helpers.feed_blocks(esm, lambda k, x, mask: (x, None))
    failed = failures(esm)
    assert "padding_invariance" in failed and failed <= {"padding_invariance", "batch_invariance"}


def test_a_masked_model_that_reads_one_way_fails_perturbation_reach(esm):
    def change(k, x, mask):
        n = x.shape[1]
        return x, torch.full((1, 1, n, n), -1e9).triu(1)

    helpers.feed_blocks(esm, change)
    assert "perturbation_reach" in failures(esm)


def test_a_causal_model_that_reads_both_ways_fails_perturbation_reach(tmp_path):
    llama = helpers.tiny("llama", tmp_path)
    helpers.feed_blocks(llama, lambda k, x, mask: (x, torch.zeros(1, 1, x.shape[1], x.shape[1])))
    assert "perturbation_reach" in failures(llama)


def test_shifted_coordinates_fail_the_round_trip(esm):
    plain = esm.encode_one
    esm.encode_one = lambda text: tokens.Encoded((e := plain(text)).ids, e.start + 1, e.end + 1, e.keep)
    assert "round_trip" in failures(esm)


# Tokens and their coordinates ------------------------------------------------------------------------------


def test_single_bases_by_hand(models):
    e = models["esm_bases"].encode_one("ACGTN")
    assert e.ids.tolist() == [0, 4, 5, 6, 7, 8, 2]  # <cls> A C G T N <eos>; N is a word of this vocabulary
    assert e.keep.tolist() == [False, True, True, True, True, True, False]
    assert e.start[1:-1].tolist() == [0, 1, 2, 3, 4] and e.end[1:-1].tolist() == [1, 2, 3, 4, 5]


def test_six_mers_shift_after_an_n_by_hand(models):
    # AAAAAA | N | CC (too short for a word) ... the rule: split at N, words left to right, the rest as bases
    batch = models["esm_6mers"].encode(["AAAAAANCCCCCCGT"])
    assert batch.start.tolist() == [0, 6, 7, 13, 14]
    assert batch.end.tolist() == [6, 7, 13, 14, 15]
    # 4 specials; AAAAAA is word 0, CCCCCC is 222222 in base 4 with A T C G = 0 1 2 3: 2 * (4^6 - 1) / 3 = 2730
    assert batch.token_id.tolist() == [4, 4100 + 4, 4 + 2730, 4100 + 3, 4100 + 1]


def test_bpe_tokens_cover_every_known_base_once_and_no_n(models):
    batch = models["llama"].encode(SEQUENCES)
    for unit, text in enumerate(SEQUENCES):
        covered = np.zeros(len(text), dtype=int)
        for s, e in zip(batch.start[batch.unit == unit], batch.end[batch.unit == unit]):
            covered[s:e] += 1
        assert covered.tolist() == [int(base != "N") for base in text]
    assert (batch.end - batch.start).max() > 1  # it does merge bases


@pytest.mark.parametrize("kind", helpers.KINDS)
def test_ids_are_the_tokenizers_own(models, kind):
    for text in SEQUENCES:
        assert models[kind].encode_one(text).ids.tolist() == models[kind].tokenizer.hub(text)["input_ids"]


def test_single_base_vocabulary_with_other_specials_keeps_the_tokenizers_ids(tmp_path):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["[UNK]", "[CLS]", "[SEP]", "A", "C", "G", "T"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        intermediate_size=8, max_position_embeddings=32,
    ))  # fmt: skip
    adapter = door.Adapter(model, wrap.wrap(tokenizer), {}, "cpu", families.NATIVE["llama"])
    e = adapter.encode_one("GNA")
    assert e.ids.tolist() == [1, 5, 0, 3, 2]
    assert e.keep.tolist() == [False, True, False, True, False]
    assert e.start[e.keep].tolist() == [0, 2]


def test_batch_rows_carry_the_units_asked_for(models):
    batch = models["esm_bases"].encode(["AC", "GTA"], units=np.array([7, 3]))
    assert batch.unit.tolist() == [7, 7, 3, 3, 3] and batch.index.tolist() == [0, 1, 0, 1, 2]
    assert batch.ids[0].tolist() == [0, 4, 5, 2, 1] and batch.mask[0].tolist() == [1, 1, 1, 1, 0]
    assert batch.n_kept == int(batch.keep.sum()) == 5


@pytest.mark.parametrize("kind, longest", [("esm_bases", 128), ("llama", None)])
def test_overflow_is_refused(models, kind, longest):
    if longest:
        assert len(models[kind].encode_one("A" * longest).ids) == longest + 2
        with pytest.raises(ValueError, match=f"{longest + 1} bases became {longest + 3} tokens"):
            models[kind].encode_one("A" * (longest + 1))
    with pytest.raises(ValueError, match="reads at most"):
        models[kind].encode_one(helpers.random_dna(2000, 0))


def test_learned_positions_leave_room_for_the_padding_offset(tmp_path):
    # ESM numbers positions from pad + 1, so a table of 12 rows with pad = 1 reads 10 tokens: 8 bases and 2 specials
    adapter = helpers.tiny(
        "esm_bases", tmp_path, position_embedding_type="absolute", max_position_embeddings=12
    )
    adapter.run(adapter.encode(["ACGTACGT"]), ["resid_post.0"])
    with pytest.raises(ValueError, match="reads at most 10"):
        adapter.encode_one("ACGTACGTA")


# Sites -----------------------------------------------------------------------------------------------------


def test_sites_are_the_hidden_states(models):
    """The family's own output_hidden_states: embedding, block 0, block 1, and last the normed output."""
    for kind in ("llama", "gpt2", "esm_bases"):
        adapter = models[kind]
        batch = adapter.encode(SEQUENCES)
        with torch.inference_mode():
            states = adapter.trunk(
                input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True
            ).hidden_states
        for name, state in zip(("embed", "resid_post.0", "resid_post.1", "final"), states, strict=True):
            torch.testing.assert_close(adapter.run(batch, [name])[name], state[batch.keep])


def test_unknown_site_is_refused_with_the_list(models):
    with pytest.raises(ValueError, match="no site 'resid_post.9'.*resid_post.2, final"):
        models["llama"].run(models["llama"].encode(["ACGT"]), ["resid_post.9"])


def test_replace_writes_the_site(models):
    for kind in ("esm_bases", "mixtral"):
        adapter = models[kind]
        batch = adapter.encode(SEQUENCES[:1])
        seen = adapter.run(batch, ["resid_post.1"])["resid_post.1"]
        # all of the stream after block 1 put back by hand: the same logits as the run; zeroed: others
        back = adapter.replace(batch, "resid_post.1", lambda x, seen=seen: seen)
        torch.testing.assert_close(back, adapter.logits(batch))
        zeroed = adapter.replace(batch, "resid_post.1", torch.zeros_like)
        assert (zeroed - back).abs().max() > 0.01
        torch.testing.assert_close(adapter.logits(batch), back)  # and the hook is gone


class SkipsTheLast(torch.nn.ModuleList):
    def __iter__(self):
        return iter(list(super().__iter__())[:-1])


def test_a_site_that_never_fires_raises(esm):
    esm.trunk.encoder.layer = SkipsTheLast(esm.blocks)
    batch = esm.encode(["ACGT"])
    with pytest.raises(RuntimeError, match="exactly once.*resid_post.2.: 0"):
        esm.run(batch, ["resid_post.1", "resid_post.2"])
    with pytest.raises(RuntimeError, match="exactly once.*resid_post.2.: 0"):
        esm.replace(batch, "resid_post.2", lambda x: x)


def test_a_site_that_fires_twice_raises(esm):
    esm.trunk.encoder.layer[1] = esm.trunk.encoder.layer[0]  # one block, used at two depths
    with pytest.raises(RuntimeError, match="exactly once.*resid_post.0.: 2"):
        esm.run(esm.encode(["ACGT"]), ["resid_post.0", "final"])
    with pytest.raises(RuntimeError, match="exactly once"):
        esm.replace(esm.encode(["ACGT"]), "resid_post.0", lambda x: x)


@pytest.mark.parametrize("kind", [*(k for k in helpers.CLASSES if k != "mixtral"), "esm_bases", "nt_v1", "nt_v2"])
def test_branches_add_up_and_the_hidden_layer_gives_the_mlp(kind, tmp_path):
    """In float64: input of the block + what its branches add = its output; hidden layer through its weights = MLP's."""
    adapter = helpers.tiny(kind, tmp_path)
    adapter.model.double()
    batch = adapter.encode([helpers.random_dna(60, 1), helpers.random_dna(90, 2)])
    names = [s.name for s in adapter.sites()]
    with torch.no_grad():
        x = {name: grid[batch.keep] for name, grid in adapter.run_grid(batch, names).items()}
        assert all(x[s.name].shape == (batch.n_kept, s.dim) for s in adapter.sites())
        before = x["embed"]
        for k in range(len(adapter.blocks)):
            added = [x[n] for n in (f"mixer_out.{k}", f"mlp_out.{k}") if n in x]
            gap = (before + sum(added) - x[f"resid_post.{k}"]).abs().max()
            assert (gap < 1e-6) == adapter.family.sums, f"block {k}: {gap}"
            before = x[f"resid_post.{k}"]
            if f"mlp_hidden.{k}" in x:
                out = through(adapter, k, x[f"mlp_hidden.{k}"])
                torch.testing.assert_close(out, x[f"mlp_out.{k}"], rtol=0, atol=1e-12)
                assert out.abs().max() > 1e-3


def through(adapter, k: int, hidden: torch.Tensor) -> torch.Tensor:
    """The hidden layer of block k times the MLP's output weights, by hand; Gemma 2 norms what comes out."""
    layer = adapter.model.get_submodule(adapter.site(f"mlp_hidden.{k}").module)
    weight = layer.weight if type(layer).__name__ == "Conv1D" else layer.weight.T
    out = hidden @ weight + (0 if getattr(layer, "bias", None) is None else layer.bias)
    norm = adapter.family.mlp_out
    return adapter.blocks[k].get_submodule(norm)(out) if norm and "layernorm" in norm else out


def test_the_sites_of_each_family(tmp_path):
    """Kinds of sites per block: mixture-of-experts has no one hidden layer, state-space blocks have no MLP."""
    kinds = {}
    for kind in ("bert", "mixtral", "mamba2", "nemotron_h"):
        names = [s.name for s in helpers.tiny(kind, tmp_path / kind).sites()]
        kinds[kind] = [[n.split(".")[0] for n in names if n.endswith(f".{k}")] for k in range(2)] + [names[-1]]
    whole = ["mixer_out", "mlp_hidden", "mlp_out", "resid_post"]
    assert kinds == {
        "bert": [whole, whole, "resid_post.2"],  # its norms are inside the blocks
        "mixtral": [["mixer_out", "mlp_out", "resid_post"]] * 2 + ["final"],
        "mamba2": [["mixer_out", "resid_post"]] * 2 + ["final"],
        "nemotron_h": [["mixer_out", "resid_post"], ["mlp_hidden", "mlp_out", "resid_post"], "final"],
    }


def test_mixtral_adds_up_in_float32(models):  # its grouped product has no float64
    adapter = models["mixtral"]
    x = adapter.run(adapter.encode(SEQUENCES), ["embed", "mixer_out.0", "mlp_out.0", "resid_post.0"])
    torch.testing.assert_close(x["embed"] + x["mixer_out.0"] + x["mlp_out.0"], x["resid_post.0"], rtol=0, atol=1e-5)


def test_logits_of_weights_without_a_head_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    weights = helpers.save_model("llama", tmp_path, tie_word_embeddings=False) / "model.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if k != "lm_head.weight"}, weights, {"format": "pt"})
    adapter = door.load(tmp_path)
    batch = adapter.encode(SEQUENCES)
    assert adapter.run(batch, ["final"])["final"].isfinite().all()
    with pytest.raises(ValueError, match="no language-model head .lm_head.weight.*random"):
        adapter.logits(batch)
    assert door.load(tmp_path, random_init=True).logits(batch).isfinite().all()  # a twin is random on purpose


@pytest.mark.parametrize("kind, named", [("hyena", "hyenadna"), ("mamba2_rna", "mamba2")])
def test_a_model_without_attention_says_so(tmp_path, kind, named):
    model = door.load(ZOO[kind].save(tmp_path, 0))
    with pytest.raises(NotImplementedError, match=f"a {named} model gives no attention weights"):
        model.attentions(model.encode(ZOO[kind].records[:1]))
