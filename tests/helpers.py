"""Tiny seeded models of the real classes, saved as folders, and stand-ins that are wrong in one known way."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import torch
from transformers import (
    EsmConfig,
    EsmForMaskedLM,
    EsmTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
)

from lib.models import adapter

BASES = ["<cls>", "<pad>", "<eos>", "<unk>", "A", "C", "G", "T", "N", "<mask>"]
SIX_MERS = ["<unk>", "<pad>", "<mask>", "<cls>",
            *("".join(w) for w in itertools.product("ATCG", repeat=6)), *"ATCGN"]  # fmt: skip
BPE_SPECIALS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
KINDS = ("esm_bases", "esm_6mers", "mixtral", "llama", "gpt2")
DATA_DIR = Path(os.environ.get("DATA_DIR") or Path(__file__).resolve().parents[2] / "shared" / "data")


def random_dna(length: int, seed: int, n_at: tuple[int, ...] = ()) -> str:
    """Uniform A C G T with N at the given offsets."""
    letters = np.random.default_rng(seed).choice(list("ACGT"), length)
    letters[list(n_at)] = "N"
    return "".join(letters)


def _esm_tokenizer(words: list[str], folder: Path, **specials) -> EsmTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return EsmTokenizer(str(folder / "vocab.txt"), **specials)


def _bpe_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-pair encoding trained on random DNA; [CLS] ... [SEP] around, and N, which it never saw, is [UNK]."""
    from tokenizers import Tokenizer, models, processors, trainers

    raw = Tokenizer(models.BPE(unk_token="[UNK]"))
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=BPE_SPECIALS, initial_alphabet=list("ACGT"))
    raw.train_from_iterator([random_dna(400, seed) for seed in range(10)], trainer)
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=raw, **dict(zip(names, BPE_SPECIALS)))


def _esm(words: list[str], seed: int, **overrides) -> EsmForMaskedLM:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 130, "position_embedding_type": "rotary", "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "token_dropout": False, "emb_layer_norm_before": False,
        "pad_token_id": words.index("<pad>"), "mask_token_id": words.index("<mask>"), "initializer_range": 0.2,
    }  # fmt: skip
    return EsmForMaskedLM(EsmConfig(**(settings | overrides)))


def save_model(kind: str, folder: Path, seed: int = 0, **overrides) -> Path:
    """Write a tiny model of a family with its tokenizer: config.json, model.safetensors, tokenizer files."""
    if kind == "esm_bases":
        model, tokenizer = _esm(BASES, seed, **overrides), _esm_tokenizer(BASES, folder)
    elif kind == "esm_6mers":
        model, tokenizer = _esm(SIX_MERS, seed, **overrides), _esm_tokenizer(SIX_MERS, folder, eos_token=None)
    else:
        tokenizer = _bpe_tokenizer()
        torch.manual_seed(seed)
        if kind == "gpt2":
            shape = {
                "vocab_size": len(tokenizer),
                "n_embd": 16,
                "n_layer": 3,
                "n_head": 2,
                "n_positions": 128,
                "initializer_range": 0.2,
            }
            model = GPT2LMHeadModel(GPT2Config(**(shape | overrides)))
        else:
            shape = {
                "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
                "num_key_value_heads": 1, "intermediate_size": 32, "max_position_embeddings": 128, "initializer_range": 0.2,
            }  # fmt: skip
            if kind == "mixtral":
                shape |= {"num_local_experts": 4, "num_experts_per_tok": 1}
                model = MixtralForCausalLM(MixtralConfig(**(shape | overrides)))
            else:
                model = LlamaForCausalLM(LlamaConfig(**(shape | overrides)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny(kind: str, folder: Path, seed: int = 0, **overrides) -> adapter.Adapter:
    """A tiny model, saved and loaded again through the one door."""
    return adapter.load(save_model(kind, folder, seed, **overrides))
