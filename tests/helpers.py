"""Tiny seeded models of the real classes, saved as folders, and stand-ins that are wrong in one known way."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from transformers import EsmConfig, EsmForMaskedLM, EsmTokenizer, PreTrainedTokenizerFast

from lib.models import adapter, nt_v2

BASES = ["<cls>", "<pad>", "<eos>", "<unk>", "A", "C", "G", "T", "N", "<mask>"]


class Genome:
    """Contigs in memory, with the two things lib.dna.labelled asks of a reference."""

    def __init__(self, **contigs: str):
        self.contigs, self.lengths = contigs, {name: len(text) for name, text in contigs.items()}

    def fetch(self, contig: str, start: int, end: int) -> str:
        assert 0 <= start <= end <= self.lengths[contig]
        return self.contigs[contig][start:end]


def kmers(k: int) -> list[str]:
    """All words of k bases, in the order of Nucleotide Transformer, DNABERT and GENERator."""
    return ["".join(word) for word in itertools.product("ATCG", repeat=k)]


SIX_MERS = ["<unk>", "<pad>", "<mask>", "<cls>", *kmers(6), *"ATCGN"]
NT_V2 = [*SIX_MERS, "<eos>", "<bos>"]
GENERATOR = ["<oov>", "<s>", "</s>", "<pad>", "<mask>", *(f"<sp{i}>" for i in range(27)), *kmers(6)]
BPE_SPECIALS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
KINDS = ("esm_bases", "esm_6mers", "mixtral", "llama", "gpt2")
TEXTS = [
    "Natalia sold 48/2 = 24 clips in May.\nShe sold 48 + 24 = 72 clips altogether.",
    "  Two leading spaces,\ttabs,   runs and a caf\u00e9 at 21 \u20ac: na\u00efve \u2026",
    "\u65e5\u672c\u8a9e and \U0001f9ec\U0001f468\u200d\U0001f52c, then 5 \u2264 6.",
]
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


def overlapping_tokenizer(folder: Path, k: int = 3) -> hf.BertTokenizer:
    """DNABERT-1's: every word of k bases, case kept."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *kmers(k)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return hf.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False)


def byte_level_tokenizer(front: str | None = None) -> PreTrainedTokenizerFast:
    """GPT-2's and Pythia's kind, trained on two sentences, so that rare characters fall apart into bytes.

    front: a special put before each text, as Llama 3 has.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|endoftext|>", *([front] if front else [])]
    raw.train_from_iterator(TEXTS[:2], trainers.BpeTrainer(
        vocab_size=330, special_tokens=specials, initial_alphabet=alphabet, show_progress=False,
    ))  # fmt: skip
    steps = [processors.ByteLevel(trim_offsets=True)]
    if front:
        steps.append(processors.TemplateProcessing(single=f"{front} $A", special_tokens=[(front, 1)]))
    raw.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>", bos_token=front or "<|endoftext|>")


def sentencepiece_tokenizer(prefix: bool = False) -> PreTrainedTokenizerFast:
    """Gemma's kind: spaces written as a letter, unknown characters as bytes; prefix: a space in front, as in Llama 2."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first" if prefix else "never")
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<pad>", "<eos>", "<bos>", "<unk>"], show_progress=False)
    trained.train_from_iterator(TEXTS[:1], trainer)
    learnt = json.loads(trained.to_str())["model"]
    vocab = learnt["vocab"] | {f"<0x{b:02X}>": len(learnt["vocab"]) + b for b in range(256)}
    raw = Tokenizer(models.BPE(vocab, [tuple(m) for m in learnt["merges"]], unk_token="<unk>", byte_fallback=True))
    space = normalizers.Replace(" ", "\u2581")
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), space]) if prefix else space
    parts = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    raw.decoder = decoders.Sequence([*parts, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    raw.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])])
    names = ("pad_token", "eos_token", "bos_token", "unk_token")
    return PreTrainedTokenizerFast(tokenizer_object=raw, **dict(zip(names, ("<pad>", "<eos>", "<bos>", "<unk>"))))


def _esm(words: list[str], seed: int, **overrides) -> EsmForMaskedLM:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 130, "position_embedding_type": "rotary", "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "token_dropout": False, "emb_layer_norm_before": False,
        "pad_token_id": words.index("<pad>"), "mask_token_id": words.index("<mask>"), "initializer_range": 0.2,
    }  # fmt: skip
    return EsmForMaskedLM(EsmConfig(**(settings | overrides)))


#: kind -> classes, and settings beside the common ones
CLASSES = {
    "gpt2": ("GPT2", {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 128}),
    "gpt_neox": ("GPTNeoX", {}),
    "llama": ("Llama", {"num_key_value_heads": 1}),
    "mistral": ("Mistral", {"num_key_value_heads": 1, "head_dim": 8}),
    "mixtral": ("Mixtral", {"num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 1}),
    "gemma": ("Gemma", {"num_key_value_heads": 1, "head_dim": 8}),
    "gemma2": ("Gemma2", {"num_key_value_heads": 1, "head_dim": 8}),
    "phi": ("Phi", {}),
    "mamba2": ("Mamba2", {"num_heads": 4, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8}),
    "nemotron_h": ("NemotronH", {
        "hybrid_override_pattern": "M-*-", "num_key_value_heads": 1, "head_dim": 8, "mamba_num_heads": 4,
        "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 8, "num_hidden_layers": 4,
    }),
    "bert": ("Bert", {}),
    "modernbert": ("ModernBert", {}),
}  # fmt: skip


def real_model(family: str, vocabulary: int, seed: int, **overrides) -> torch.nn.Module:
    """A tiny seeded model of transformers' class of a family."""
    name, own = CLASSES[family]
    common = {
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 128,
    }  # fmt: skip
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
    settings = {"vocab_size": vocabulary, "initializer_range": 0.2, "initializer_cutoff_factor": 2.0}
    settings |= (ids | common if family != "gpt2" else {}) | own | overrides
    task = "ForMaskedLM" if family.endswith("bert") else "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    torch.manual_seed(seed)
    return getattr(hf, name + task)(getattr(hf, name + "Config")(**settings)).eval()


def save_nt_v2(folder: Path, seed: int = 0, **overrides) -> Path:
    """A tiny model in the layout of the hub's v2 folders: no model_type, code to run, entries that no model reads."""
    from safetensors.torch import save_file

    tokenizer = _esm_tokenizer(NT_V2, folder, eos_token=None)
    settings = {
        "add_bias_fnn": False, "attention_probs_dropout_prob": 0.0, "emb_layer_norm_before": False, "esmfold_config": None,
        "hidden_dropout_prob": 0.0, "hidden_size": 16, "initializer_range": 0.2, "intermediate_size": 24,
        "is_folding_model": False, "layer_norm_eps": 1e-12, "mask_token_id": 2, "max_position_embeddings": 130,
        "num_attention_heads": 2, "num_hidden_layers": 3, "pad_token_id": 1, "position_embedding_type": "rotary",
        "tie_word_embeddings": False, "token_dropout": False, "use_cache": False, "vocab_list": None, "vocab_size": len(NT_V2),
    }  # fmt: skip
    settings |= overrides
    torch.manual_seed(seed)
    model = nt_v2.NTv2ForMaskedLM(nt_v2.NTv2Config(**settings))
    tokenizer.save_pretrained(folder)
    hub = {
        "architectures": ["EsmForMaskedLM"],
        "auto_map": {"AutoConfig": "esm_config.EsmConfig", "AutoModelForMaskedLM": "modeling_esm.EsmForMaskedLM"},
        "torch_dtype": "float32",
        "transformers_version": "4.32.0.dev0",
    }
    (folder / "config.json").write_text(json.dumps(settings | hub))
    tensors = model.state_dict()
    frequencies = tensors.pop("esm.rotary_embeddings.inv_freq")
    for k in range(settings["num_hidden_layers"]):
        tensors[f"esm.encoder.layer.{k}.attention.self.rotary_embeddings.inv_freq"] = frequencies.clone()
    tensors["esm.embeddings.position_embeddings.weight"] = torch.randn(settings["max_position_embeddings"], 16)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def save_generator(folder: Path, seed: int = 0, **overrides) -> Path:
    """A tiny Llama with GENERator's tokenizer, which is code there: words in vocab.txt, and no tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    real_model("llama", len(GENERATOR), seed, **overrides).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(GENERATOR) + "\n")
    (folder / "tokenizer.py").write_text("raise RuntimeError('this code must not run')\n")
    own = {"auto_map": {"AutoTokenizer": ["tokenizer.DNAKmerTokenizer", None]}, "add_bos_token": True, "add_eos_token": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(own | {"k": 6, "tokenizer_class": "DNAKmerTokenizer"}))
    return folder


def save_model(kind: str, folder: Path, seed: int = 0, **overrides) -> Path:
    """Write a tiny model of a kind with its tokenizer: config.json, model.safetensors, tokenizer files.

    kind: esm_bases, esm_6mers, nt_v1, nt_v2, generator, dnabert, or a family of CLASSES: on DNA, or "<family>_text".
    """
    if kind in ("nt_v2", "generator"):
        return (save_nt_v2 if kind == "nt_v2" else save_generator)(folder, seed, **overrides)
    if kind == "esm_bases":
        model, tokenizer = _esm(BASES, seed, **overrides), _esm_tokenizer(BASES, folder)
    elif kind in ("esm_6mers", "nt_v1"):
        v1 = {"position_embedding_type": "absolute", "token_dropout": True, "tie_word_embeddings": False}
        model = _esm(SIX_MERS, seed, **(v1 if kind == "nt_v1" else {}), **overrides)
        tokenizer = _esm_tokenizer(SIX_MERS, folder, eos_token=None)
    else:
        family = kind.removesuffix("_text")
        if kind == "dnabert":
            family, tokenizer = "bert", overlapping_tokenizer(folder)
        elif kind == family:
            tokenizer = _bpe_tokenizer()
        elif family.startswith("gemma"):
            tokenizer = sentencepiece_tokenizer()
        else:
            tokenizer = byte_level_tokenizer("<|begin_of_text|>" if family == "llama" else None)
        model = real_model(family, len(tokenizer), seed, **overrides)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny(kind: str, folder: Path, seed: int = 0, **overrides) -> adapter.Adapter:
    """A tiny model, saved and loaded again through the one door."""
    return adapter.load(save_model(kind, folder, seed, **overrides))


def feed_blocks(adapter, change) -> None:
    """Break a model: `change(k, hidden_states, attention_mask)` gives what block k reads instead of the two."""
    for k, block in enumerate(adapter.blocks):

        def pre(_, args, kwargs, k=k):
            x = args[0] if args else kwargs["hidden_states"]
            mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
            x, mask = change(k, x, mask)
            return (x, *([mask] if len(args) > 1 else []), *args[2:]), (
                kwargs | {"attention_mask": mask} if "attention_mask" in kwargs else kwargs
            )

        block.register_forward_pre_hook(pre, with_kwargs=True)
