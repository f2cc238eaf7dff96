"""The shift-invariant dictionary: what it reads and writes by hand, its gradients, its files, and crops to train it on."""

import itertools
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import convolution as benchmark
from lib.sae import convolution, crops, data, exchange, format
from lib.sae import stack as stacks
from lib.sae.model import SAE, SAEConfig, random_dictionary
from lib.sae.stack import Run, Stack
from lib.sae.train import TrainConfig, train
from tests.sae.test_sae_data import write_store
from tests.sae.test_sae_losses import check, same_by_both_codes

D, LATENTS, WINDOW, CROP = 4, 12, 3, 8
IDENTITY = {"class": "EsmForMaskedLM", "weights_sha256": "a" * 64}


def random_sae(k=2, window=WINDOW, seed=0) -> SAE:
    """A float64 one with nothing at its initial value."""
    sae = SAE(SAEConfig("convolutional", D, LATENTS, k, window=window), seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return sae.eval()


def tokens(n, seed=1, d=D):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


UNIT = torch.tensor([5] * 9 + [2] * 2 + [7] * 3 + [0] * 10)  # one shorter than the window, one of its length


# What it is ---------------------------------------------------------------------------------------------------


def test_centres_have_their_whole_window_inside_their_unit():
    assert torch.nonzero(convolution.centres(UNIT, 3)).ravel().tolist() == [*range(1, 8), 12, *range(15, 23)]
    assert torch.nonzero(convolution.centres(UNIT, 9)).ravel().tolist() == [4, 18, 19]
    assert not convolution.centres(UNIT[:2], 3).any() and convolution.centres(UNIT[:0], 3).shape == (0,)


def test_encoding_and_decoding_as_sums_written_out():
    sae, x = random_sae(k=LATENTS), tokens(len(UNIT))
    E, K = sae.W_enc.T.view(LATENTS, WINDOW, D), sae.W_dec.view(LATENTS, WINDOW, D)
    with torch.no_grad():
        latents = sae.encode(x, UNIT)
        pre = torch.full((len(x), LATENTS), -torch.inf, dtype=torch.float64)
        for t in torch.nonzero(convolution.centres(UNIT, 3)).ravel().tolist():
            pre[t] = sum((x[t + tau] - sae.b_dec) @ E[:, tau + 1].T for tau in (-1, 0, 1)) + sae.b_enc
        torch.testing.assert_close(sae.pre_activations(x, UNIT), pre)
        on = latents > 0
        torch.testing.assert_close(latents[on], pre[on])
        rebuilt = sae.b_dec.repeat(len(x), 1)
        for t, j in torch.nonzero(on).tolist():
            rebuilt[t - 1 : t + 2] += latents[t, j] * K[j]
        torch.testing.assert_close(sae.decode(latents, UNIT), rebuilt)
        torch.testing.assert_close(sae(x, UNIT)[0], rebuilt)
    assert on.sum() > 20 and (rebuilt[9:11] == sae.b_dec).all()  # the short unit has no code


def test_codes_never_see_another_unit():
    sae, x = random_sae(), tokens(len(UNIT))
    with torch.no_grad():
        together, _ = sae(x, UNIT)
        for number in UNIT.unique():
            torch.testing.assert_close(together[number == UNIT], sae(x[number == UNIT])[0])


def test_a_code_adds_its_direction_to_the_sum_of_its_unit():
    sae, x = random_sae(), tokens(len(UNIT))
    with torch.no_grad():
        latents = sae.encode(x, UNIT)
        for number in UNIT.unique():
            mine = number == UNIT
            torch.testing.assert_close(sae.added(latents, UNIT)[mine].sum(0), latents[mine].sum(0) @ sae.directions)
    other = SAE(SAEConfig("topk", D, LATENTS, 2))
    assert other.directions is other.W_dec


def test_which_codes_stand_by_hand():
    # window 3, so within one token. Latent 0 rises to 5 at token 2; latent 1 has 4 there and equals at 5 and 6; latent 2 stays below 0
    pre = torch.tensor([[1.0, 0, -1], [3, 1, -1], [5, 4, -1], [2, 1, -1], [1, 2, -1], [2, 3, -1], [2, 3, -1]])
    peaks = [(2, 0), (2, 1), (5, 0), (5, 1)]  # of equals the first
    for k, wanted in ((3, peaks), (2, peaks), (1, [(2, 0), (5, 1)])):
        kept = convolution.chosen(pre, k, 3)
        assert [tuple(p) for p in torch.nonzero(kept).tolist()] == wanted
        assert torch.equal(kept[kept > 0], pre[kept > 0])
    near = torch.tensor([[3.0, 0, 0], [0, 2, 0], [0, 0, 1]])  # 3 and 2 are within one token, 2 and 1 too, 3 and 1 are not
    assert torch.nonzero(convolution.chosen(near, 1, 3)).tolist() == [[0, 0]]
    assert torch.nonzero(convolution.chosen(near, 2, 3)).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_a_planted_kernel_is_one_code_at_its_place_wherever_it_stands():
    sae = SAE(SAEConfig("convolutional", 16, 8, 1, window=5))
    kernel = sae.W_dec[3].detach().view(5, 16)
    for place in (2, 9, 17):
        x = torch.zeros(20, 16)
        x[place - 2 : place + 3] = 2 * kernel
        with torch.no_grad():
            x_hat, latents = sae(x)
        assert latents[place, 3] == pytest.approx(2) and latents[place - 2 : place + 3].count_nonzero() == 1
        torch.testing.assert_close(x_hat[place - 2 : place + 3], x[place - 2 : place + 3])


def test_its_random_twin_is_convolutional():
    like = random_sae().float()
    null = random_dictionary(like, 3, 1)
    assert null.config == SAEConfig("convolutional", D, LATENTS, like.config.k, window=WINDOW)
    assert torch.equal(null.b_dec, like.b_dec) and (null.W_dec.norm(dim=1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("window", [0, 1, 2, 4])
def test_a_window_that_has_no_middle_is_refused(window):
    with pytest.raises(ValueError, match=f"window of an odd number of tokens, at least 3, found {window}"):
        SAEConfig("convolutional", D, LATENTS, 2, window=window)
    with pytest.raises(ValueError, match="a: convolutional needs a window"):
        Run("a", "convolutional", LATENTS, 2, window=window)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="topk has no window, found 3"):
        SAEConfig("topk", D, LATENTS, 2, window=3)
    with pytest.raises(ValueError, match="unit names 3 tokens, there are 5"):
        random_sae().encode(tokens(5), UNIT[:3])
    with pytest.raises(ValueError, match="no smoothness and no probe"):
        Run("a", "convolutional", LATENTS, 2, window=3, smoothness=1.0)
    with pytest.raises(ValueError, match="a: a window of 3 tokens does not fit in crops of 0: set crop"):
        train([Run("a", "convolutional", LATENTS, 2, window=3)], TrainConfig(steps=1, batch=8), stream())


# Training -----------------------------------------------------------------------------------------------------


def make(monkeypatch, sparse=True, members=2, auxk=0.0) -> Stack:
    runs = [Run(f"run {i}", "convolutional", LATENTS, 2, seed=i, window=WINDOW) for i in range(members)]
    stack = Stack(runs, D, auxk=auxk, sparse=sparse, crop=CROP).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        stack.dec /= stack.dec.norm(dim=-1, keepdim=True)
    monkeypatch.setattr(stacks, "DENSE_SHARE", 2.0 if sparse else 0.0)
    assert stack.is_sparse() == sparse
    return stack


def stream(d=D, batch=64, crop=CROP):
    """Batches by step, each known from its number alone."""
    x = np.random.default_rng(0).standard_normal((200, d)).astype(np.float32)

    def batches(start):
        for step in itertools.count(start):
            first = np.random.default_rng([7, step]).integers(0, len(x) - crop, batch // crop)
            yield x[(first[:, None] + np.arange(crop)).ravel()]
    return batches


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_every_parameter_gets_its_gradient(sparse, monkeypatch):
    stack, x = make(monkeypatch, sparse), tokens(3 * CROP)
    grads = check(stack, lambda: stack(x)[0])
    assert set(grads) == {"dec", "enc", "b_enc", "b_dec"} and all(g.abs().max() > 1e-3 for g in grads.values())


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_auxk_reaches_dead_latents_and_no_other(sparse, monkeypatch):
    stack, x = make(monkeypatch, sparse), tokens(20 * CROP)
    dead = torch.zeros(2, LATENTS, dtype=torch.bool)
    dead[:, ::3] = True
    residual = torch.stack([tokens(20 * CROP, 5), tokens(20 * CROP, 6)], 1)
    rows = convolution.windows(x, CROP, WINDOW)
    grads = check(stack, lambda: stack.aux(rows, stack.pre_activations(rows), residual, dead, sparse))
    for name in ("enc", "dec"):
        g = grads[name].abs().sum(-1)
        assert (g[dead] > 0).all() and (g[~dead] == 0).all(), name


def test_sparse_and_dense_codes_are_the_same_loss(monkeypatch):
    same_by_both_codes(lambda sparse: make(monkeypatch, sparse, auxk=1 / 32), tokens(4 * CROP))


def test_an_exported_member_is_what_was_trained(monkeypatch):
    stack, x = make(monkeypatch), tokens(50 * CROP)
    with torch.no_grad():
        _, seen = stack(x)
        for member in range(2):
            sae = stack.export(member, scale=4.0).double()
            x_hat, latents = sae(x / 4, torch.arange(50).repeat_interleave(CROP))  # a crop is trained on as a unit is used
            torch.testing.assert_close((x - 4 * x_hat).square().sum(), seen["error"][member], rtol=1e-6, atol=0)
            assert (latents > 0).sum() / len(x) == pytest.approx(float(seen["l0"][member]))
            assert torch.equal((latents > 0).any(0), seen["fired"][member])


RUNS = [Run("a", "convolutional", LATENTS, 1, lr=3e-3, window=3), Run("b", "convolutional", LATENTS, 1, 1, lr=1e-3, window=3),
        Run("c", "convolutional", LATENTS, 2, lr=3e-3, window=5), Run("d", "topk", LATENTS, 2, lr=3e-3)]  # fmt: skip
CONFIG = TrainConfig(steps=60, batch=64, warm_up=5, crop=CROP)


def weights(sae):
    return {name: p.detach() for name, p in sae.named_parameters()}


def test_a_sweep_gives_each_run_the_weights_it_gets_alone():
    together = train(RUNS, CONFIG, stream()).saes
    for run in RUNS:
        alone = train([run], CONFIG, stream()).saes[run.name]
        for name, value in weights(alone).items():
            torch.testing.assert_close(weights(together[run.name])[name], value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together["c"].W_dec.norm(dim=1), torch.ones(LATENTS))


def test_an_interrupted_training_ends_in_the_same_bits(tmp_path):
    every = replace(CONFIG, checkpoint_every=20)
    whole = train(RUNS, every, stream(), tmp_path / "whole").saes

    def cut_short(start):
        yield from itertools.islice(stream()(start), 47)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RUNS, every, cut_short, tmp_path / "cut")
    again = train(RUNS, every, stream(), tmp_path / "cut").saes
    assert all(torch.equal(value, weights(again[name])[key]) for name in whole for key, value in weights(whole[name]).items())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_event_is_one_code_that_a_topk_splits(seed):
    events = benchmark.planted(seed)
    runs = [Run("conv", "convolutional", 64, 1, seed, lr=3e-3, window=15), Run("topk", "topk", 64, 1, seed, lr=3e-3)]
    conv, topk = (benchmark.recovery(sae, events) for sae in benchmark.trained(runs, events).values())
    assert conv["f1"] > 0.9 and 0.9 < conv["codes"] < 1.15 and conv["latents"] < 1.2, conv
    assert topk["f1"] < 0.5 and topk["codes"] > 11 and topk["latents"] > 9, topk


# Crops --------------------------------------------------------------------------------------------------------


def cut_rows(lengths, crop, epoch, seed=0):
    """Rows of each crop of an epoch: [crop, row]."""
    cut = crops.Crops([np.array(part) for part in lengths], crop, crop, seed)
    starts = cut.starts(epoch, np.arange(len(lengths)))
    assert len(starts) == cut.counts(epoch).sum()
    return starts[:, None] + np.arange(crop)


def test_crops_stay_in_their_unit_and_hold_every_row_about_equally_often():
    lengths = [[20, 3, 8], [], [41]]
    unit = np.repeat(np.arange(4), [20, 3, 8, 41])
    for epoch in range(20):
        rows = cut_rows(lengths, 8, epoch)
        assert all(len(set(unit[r])) == 1 for r in rows)
        count = np.bincount(rows.ravel(), minlength=len(unit))
        assert (count[unit == 1] == 0).all() and set(count[unit != 1]) <= {1, 2} and (count[unit == 2] == 1).all()
        assert (count[31 + 8 : -8] == 1).all()  # farther than a crop from its unit's ends
    assert len({tuple(cut_rows([[41]], 8, epoch)[1]) for epoch in range(20)}) > 3  # another offset each epoch


def test_a_stream_of_crops_goes_on_at_any_batch_from_a_store(tmp_path):
    path, unit = tmp_path / "a.h5", np.repeat(np.arange(6), 50)
    x = write_store(path)
    rows = np.flatnonzero(unit != 2)
    source = data.StoreSource(path, "final", rows, block=60, unit=unit)
    assert source.sizes.tolist() == [100, 50, 50, 50] and [len(part) for part in source.lengths] == [2, 1, 1, 1]
    batches = partial(data.batches, source, 32, 3, buffer_blocks=2, crop=16)
    whole = list(itertools.islice(batches(0), 60))
    by_row = {row.tobytes(): number for number, row in enumerate(x.astype(np.float32))}
    for batch in whole:
        number = np.array([by_row[row.tobytes()] for row in batch]).reshape(2, 16)
        assert (np.diff(number) == 1).all() and (unit[number] == unit[number[:, :1]]).all() and (unit[number] != 2).all()
    for start in (1, 9, 31, 50):
        assert all((a == b).all() for a, b in zip(batches(start), whole[start:], strict=False))


def test_crops_that_cannot_be_are_refused(tmp_path):
    write_store(tmp_path / "a.h5")
    source = data.StoreSource(tmp_path / "a.h5", "final", np.arange(300))
    with pytest.raises(ValueError, match="give the source the unit of each token"):
        data.batches(source, 32, 0, crop=16)
    source = data.StoreSource(tmp_path / "a.h5", "final", np.arange(300), unit=np.arange(300) // 7)
    with pytest.raises(ValueError, match="no unit has the 16 tokens of a crop, the longest has 7"):
        data.batches(source, 32, 0, crop=16)
    with pytest.raises(ValueError, match="a batch of 32 tokens holds no whole number of crops of 5"):
        data.batches(source, 32, 0, crop=5)
    with pytest.raises(ValueError, match="a batch of 32 tokens holds no whole number of crops of 5"):
        TrainConfig(steps=1, batch=32, crop=5)


# Files --------------------------------------------------------------------------------------------------------


def test_save_and_load_are_exact_and_the_file_says_who_can_read_it(tmp_path):
    sae = random_sae().float()
    format.save(sae, tmp_path / "sae", "resid_post.2", IDENTITY)
    back = format.load(tmp_path / "sae", "resid_post.2", IDENTITY)
    assert back.config == sae.config and all(torch.equal(value, weights(back)[name]) for name, value in weights(sae).items())
    config = json.loads((tmp_path / "sae/cfg.json").read_text())
    assert (config["architecture"], config["window"], config["k"]) == ("convolutional", 3, 2)
    assert config["metadata"]["readable_by"].startswith("SAE-DNA only") and "sae_lens_version" not in config["metadata"]


@pytest.mark.parametrize("kind", exchange.WRITERS)
def test_no_other_format_takes_it(tmp_path, kind):
    format.save(random_sae().float(), tmp_path / "sae", "resid_post.2", IDENTITY)
    with pytest.raises(ValueError, match=f"{kind} has no convolutional SAE: unroll it into one of 12 inputs"):
        exchange.give_out(tmp_path / "sae", tmp_path / "out", kind)
    assert not (tmp_path / "out").exists()


def test_the_unrolled_form_is_an_sae_on_windows(monkeypatch):
    sae, x = random_sae(k=LATENTS), tokens(20)
    unrolled = SAE(SAEConfig("standard", WINDOW * D, LATENTS)).double()
    with torch.no_grad():
        for name, value in (("W_enc", sae.W_enc), ("W_dec", sae.W_dec), ("b_enc", sae.b_enc), ("b_dec", sae.b_dec.repeat(WINDOW))):
            getattr(unrolled, name).copy_(value)
        rows = convolution.windows(x, 20, WINDOW)
        torch.testing.assert_close(unrolled.pre_activations(rows), sae.pre_activations(x)[1:-1])
        latents = sae.encode(x)
        parts = unrolled.decode(latents[1:-1]) - unrolled.b_dec
        summed = convolution.Overlap.apply(parts[:, None], 20, WINDOW)[:, 0]
        torch.testing.assert_close(sae.decode(latents), summed + sae.b_dec)
