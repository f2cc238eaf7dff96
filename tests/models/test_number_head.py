"""A model whose head gives a number a token in place of words: read by the same door, with a loss of its own."""

import numpy as np
import pytest
import torch
from transformers import EsmForTokenClassification

from lib.dna import pretrain
from lib.models import adapter
from lib.sae import evaluate

TEXTS = ["ACGTACGTAC", "GGGTACCCTT", "TTTTACGGAC", "ACACACGTGT"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    config = pretrain.config(32, width=16, layers=2, heads=2)
    config.num_labels = 1
    EsmForTokenClassification(config).save_pretrained(out)
    pretrain.tokenizer_in(out)
    return out


def test_the_door_reads_it_with_its_head(folder):
    model = adapter.load(folder)
    assert model.gives_numbers and not model.has_head and "a head that gives a number" in model.no_head
    batch = model.collate([model.encode_one(TEXTS[0])], [0])
    given, plain = model.logits(batch), model.run(batch, ["final"])["final"]
    assert given.shape == (1, 12, 1)
    with torch.no_grad():
        own = model.model.classifier(plain.clone())[:, 0]
    assert given[batch.keep][:, 0].numpy() == pytest.approx(own.numpy(), abs=1e-5)
    assert adapter.load(folder, random_init=True, seed=1).gives_numbers


def test_its_loss_is_the_squared_error_of_a_unit_s_mean(folder):
    model = adapter.load(folder)
    wanted = np.array([0.5, -1.0, 2.0, 0.0])
    losses = evaluate.unit_losses({"same": lambda x: x, "zeros": torch.zeros_like}, model, "resid_post.1", TEXTS, numbers=wanted)
    own = []
    for text, number in zip(TEXTS, wanted, strict=True):
        batch = model.collate([model.encode_one(text)], [0])
        own.append((model.logits(batch)[batch.keep].mean().item() - number) ** 2)
    np.testing.assert_allclose(losses.original, own, rtol=1e-5)
    np.testing.assert_allclose(losses.same, own, rtol=1e-5)
    assert losses.n_tokens.tolist() == [1] * 4 and not np.allclose(losses.zeros, own) and (losses.zeros == losses["zero ablated"]).all()
    assert evaluate.loss_recovered(losses, "same", 50).value == pytest.approx(1)
    assert evaluate.unit_losses({}, model, "resid_post.1", TEXTS).empty  # without numbers there is nothing to err from


def test_weights_without_the_head_are_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for path in folder.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="the head of numbers lacks classifier.bias, classifier.weight"):
        adapter.load(tmp_path)
