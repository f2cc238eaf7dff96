"""Tiny models over genes, as folders, the cells that they read, files of cells, and the published packages' answers."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from scipy import sparse
from transformers import BertConfig, BertForMaskedLM

from lib.models import tahoe
from lib.models.cells import Cell

GENES = [f"ENSG{i:011d}" for i in range(100, 180)]
ROOT = Path(__file__).resolve().parent.parent
SPECIALS = ["<pad>", "<mask>", "<cls>", "<eos>", "<drug>"]
DRUGS = {"<pad>": 0, "aspirin": 1, "imatinib": 2}


def random_cell(n: int, seed: int, name: str = "", unknown: int = 2, genes: list[str] = GENES, drug: str = "") -> Cell:
    """n known genes in random order, `unknown` others among them, counts of a long tail."""
    rng = np.random.default_rng(seed)
    known = rng.choice(genes, n, replace=False)
    mixed = rng.permutation(np.concatenate([known, [f"SYMBOL{i}" for i in range(unknown)]])).astype(object)
    return Cell(name or f"cell{seed}", mixed, rng.geometric(0.15, n + unknown).astype(np.float32), drug)


CELLS = [random_cell(n, seed) for n, seed in ((24, 1), (40, 2), (31, 3))]

#: [cell, gene] of the files and ranks that published packages write.
PUBLISHED_COUNTS = np.random.default_rng(3).poisson(1.0, (30, 40)).astype(np.float32) + np.eye(30, 40, dtype=np.float32)


def tahoe_settings(d: int = 32, layers: int = 3, activation: str = "relu", context: int = 64, drugs: bool = False) -> tuple:
    """model_config.yml and collator_config.yml with the published keys."""
    model = {
        "name": "tahoe_x1", "vocab_size": len(GENES) + len(SPECIALS), "d_model": d, "n_layers": layers, "n_heads": 4,
        "expansion_ratio": 4, "transformer_activation": activation, "norm_scheme": "pre", "use_glu": False, "cell_emb_style": "cls",
        "attn_config": {"attn_impl": "flash", "attn_type": "grouped_query_attention", "kv_nheads": 4, "use_attn_mask": False},
        "norm_config": {"norm_type": "layernorm", "eps": 1.0e-5},
        "expression_encoder": {"input_emb_style": "continuous", "dropout": 0.1, "max_value": 512, "activation": activation,
                               "use_norm": True},
        "gene_encoder": {"use_norm": True},
        "mvc": {"arch_style": "inner product", "query_activation": "sigmoid", "scaled_dot_product": True},
        "expression_decoder": {"n_outputs": 1, "n_layers": 1, "activation": "leaky_relu"},
    }  # fmt: skip
    collator = {
        "pad_token_id": 0, "pad_value": -2, "mask_value": -1, "mlm_probability": 0.5, "max_length": context, "sampling": True,
        "num_bins": 51, "right_binning": False, "do_binning": True, "use_chem_token": drugs,
    }  # fmt: skip
    if drugs:
        model["chemical_encoder"] = {"activation": "gelu", "padding_idx": 0, "freeze": False}
        collator |= {"drug_to_id_path": {"remote": "s3://nowhere/drugs.json", "local": "drugs.json"}, "keep_first_n_tokens": 2}
    return model, collator


def save_tahoe(folder: Path, seed: int = 0, prefix: str = "model.", drop: tuple[str, ...] = (), **settings) -> Path:
    """The four published files of a tiny Tahoe-x1, every tensor random; `drugs`: with drug encoder and drugs.json.

    drop: prefixes of tensors to leave out.
    """
    model, collator = tahoe_settings(**settings)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: i for i, word in enumerate([*SPECIALS, *GENES])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "model_config.yml").write_text(yaml.safe_dump(model))
    (folder / "collator_config.yml").write_text(yaml.safe_dump(collator))
    drugs = settings.get("drugs")
    if drugs:
        (folder / "drugs.json").write_text(json.dumps(DRUGS))
    config = tahoe.Config(model, (len(DRUGS), 7) if drugs else None, True, True, 0, vocabulary["<drug>"], collator["max_length"])
    network = tahoe.initialise(tahoe.TahoeX1(config), seed)
    generator = torch.Generator().manual_seed(seed)
    state = {k: v + 0.1 * torch.randn(v.shape, generator=generator) for k, v in network.state_dict().items()}
    save_file({prefix + k: v for k, v in state.items() if not k.startswith(drop)}, folder / "model.safetensors")
    return folder


def save_geneformer(folder: Path, seed: int = 0, version: int = 2, context: int = 64) -> Path:
    """A tiny Geneformer with its dictionaries; version 1 has neither <cls> nor <eos>."""
    torch.manual_seed(seed)
    specials = ["<pad>", "<mask>", *(["<cls>", "<eos>"] if version == 2 else [])]
    vocabulary = {word: i for i, word in enumerate([*specials, *GENES])}
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=context, pad_token_id=0, hidden_act="relu", initializer_range=0.2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    (folder / "token_dictionary.json").write_text(json.dumps(vocabulary))
    medians = dict(zip(GENES, np.random.default_rng(seed).uniform(0.5, 4, len(GENES)).tolist()))
    (folder / "gene_median.json").write_text(json.dumps(medians))
    return folder


def write_h5ad(path: Path, counts: np.ndarray, var: dict[str, list], kind: str = "csr", layers: dict | None = None) -> Path:
    """A .h5ad of the present format. counts: [cell, gene]; var: column -> values, "index" the index, a list of codes and
    categories for a categorical one."""
    with h5py.File(path, "w") as f:
        _matrix(f, "X", counts, kind)
        for name, values in (layers or {}).items():
            _matrix(f, f"layers/{name}", values, kind)
        _table(f, "obs", {"index": [f"cell{i}" for i in range(len(counts))]})
        _table(f, "var", var)
    return path


def _matrix(f: h5py.File, name: str, values: np.ndarray, kind: str) -> None:
    if kind == "dense":
        f.create_dataset(name, data=values).attrs["encoding-type"] = "array"
        return
    matrix = sparse.csr_matrix(values) if kind == "csr" else sparse.csc_matrix(values)
    group = f.create_group(name)
    group.attrs["encoding-type"], group.attrs["shape"] = f"{kind}_matrix", matrix.shape
    for part in ("data", "indices", "indptr"):
        group.create_dataset(part, data=getattr(matrix, part))


def _table(f: h5py.File, name: str, columns: dict[str, list]) -> None:
    group = f.create_group(name)
    group.attrs["_index"] = "_index"
    for column, values in columns.items():
        if isinstance(values, tuple):
            part = group.create_group(column)
            part.attrs["encoding-type"] = "categorical"
            part["codes"], part["categories"] = values
        else:
            group["_index" if column == "index" else column] = values


@cache
def ask_published(base: Path) -> Path:
    """base/published after tests/peer_cells.py ran there, once, in the environment of the published packages; skips without."""
    import pytest

    python = ROOT / ".venv-peers/bin/python"
    if not python.is_file():
        pytest.skip("no published package was asked: .venv-peers is missing; `make peers` makes it")
    code = "from importlib.metadata import version; version('helical'), version('anndata')"
    completed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    if completed.returncode:
        pytest.skip(f"no published package was asked: {completed.stderr.strip().splitlines()[-1]}; `make peers` adds it")
    work = base / "published"
    save_tahoe(work / "plain")
    save_tahoe(work / "treated", activation="gelu", drugs=True)
    save_geneformer(work / "geneformer", version=1)
    np.save(work / "counts.npy", PUBLISHED_COUNTS)
    offline = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = [python, ROOT / "tests/peer_cells.py", work]
    done = subprocess.run(run, env=os.environ | offline, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return work
