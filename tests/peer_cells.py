"""What the published single-cell code makes of cells. Runs in an environment of its own, started by the tests.

`python tests/peer_cells.py FOLDER`: FOLDER holds plain/ and treated/, as lib.models.tahoe reads them, geneformer/, and
counts.npy [cell, gene]. Writes found.json, Tahoe-x1's model and collator beside ours; ranks.json, each cell's genes as
Geneformer's tokenizer orders them; and .h5ad files by anndata.
helical is AGPL: imported, never copied. It asks for flash_attn and scanpy, of which it needs next to nothing here: small
modules stand in.
"""

import copy
import importlib.machinery
import json
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from lib.models import adapter as door
from lib.models import conformance, genes
from lib.models.families import Family
from tests.cell_models import CELLS, DRUGS, GENES, random_cell


def stand_in(name: str, **parts) -> types.ModuleType:
    """An importable module with the given parts."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(parts)
    sys.modules[name] = module
    return module


def unpad_input(x: torch.Tensor, mask: torch.Tensor) -> tuple:
    """x [batch, length, ...] without padding, the places kept, where rows begin, the longest row."""
    kept = torch.nonzero(mask.flatten())[:, 0]
    lengths = mask.sum(1, dtype=torch.int32)
    bounds = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    return x.flatten(0, 1)[kept], kept, bounds, int(lengths.max())


def import_published() -> SimpleNamespace:
    import anndata

    stand_in("scanpy", AnnData=anndata.AnnData, concat=anndata.concat, read_h5ad=anndata.read_h5ad)
    padding = stand_in("flash_attn.bert_padding", unpad_input=unpad_input)
    stand_in("flash_attn", bert_padding=padding)
    from helical.models.geneformer.geneformer_tokenizer import TranscriptomeTokenizer
    from helical.models.tahoe.tahoe_x1.data import CountDataset, DataCollator
    from helical.models.tahoe.tahoe_x1.data.collator import binning
    from helical.models.tahoe.tahoe_x1.model import TXModel
    from helical.models.tahoe.tahoe_x1.tokenizer import GeneVocab

    return SimpleNamespace(
        anndata=anndata, Ranks=TranscriptomeTokenizer, Counts=CountDataset, Collator=DataCollator, binning=binning,
        Model=TXModel, Vocabulary=GeneVocab,
    )  # fmt: skip


# Tahoe-x1 ----------------------------------------------------------------------------------------------------


class Published(torch.nn.Module):
    """The published model behind the arguments that an adapter gives. All attention is PyTorch's, as on a CPU it must be."""

    def __init__(self, model, config):
        super().__init__()
        self.published, self.config = model, config

    def forward(self, input_ids, attention_mask, values, drug=None, masked=None):
        out = self.published(
            genes=input_ids, values=values, key_padding_mask=attention_mask.bool(), skip_decoders=False,
            gen_masks=torch.zeros_like(input_ids, dtype=torch.bool) if masked is None else masked,
            drug_ids=None if drug is None else drug[:, 1],
        )  # fmt: skip
        return SimpleNamespace(logits=out["expr_preds"].unsqueeze(-1), mvc=out["mvc_output"])


def published(theirs: SimpleNamespace, folder: Path, ours: door.Adapter) -> door.Adapter:
    """The published class, filled from our folder."""
    from omegaconf import OmegaConf
    from safetensors.torch import load_file

    model, collator = (OmegaConf.load(folder / f"{name}_config.yml") for name in ("model", "collator"))
    model.attn_config.attn_impl = "torch"
    if collator.use_chem_token:
        model.chemical_encoder |= {"num_drugs": len(DRUGS), "fp_dim": 7}
    network = theirs.Model(model_config=model, collator_config=collator)
    network.load_state_dict({k.removeprefix("model."): v for k, v in load_file(folder / "model.safetensors").items()})
    at = "published.transformer_encoder"
    family = Family("", f"{at}.layers", f"{at}.norm", True, "self_attn", "down_proj", "down_proj")
    return door.Adapter(Published(network, ours.model.config), ours.tokenizer, {}, "cpu", family)


@torch.inference_mode()
def parity(ours: door.Adapter, theirs: door.Adapter) -> dict:
    """Largest difference between the two as a share of the largest value, at each place; in float64, one cell at a time."""
    ours, theirs = (copy.deepcopy(m, {id(m.tokenizer): m.tokenizer}) for m in (ours, theirs))
    gaps: dict[str, float] = {}

    def note(name: str, a: torch.Tensor, b: torch.Tensor) -> None:
        gaps[name] = max(gaps.get(name, 0.0), ((a - b).abs().max() / b.abs().max()).item())

    for m in (ours, theirs):
        m.model.double()
    for cell in [*CELLS, random_cell(60, 9, drug="imatinib")]:
        batch = ours.encode([cell])
        batch.inputs["values"] = batch.inputs["values"].double()
        names = [*(f"resid_post.{k}" for k in range(len(ours.blocks))), "final"]
        for name, x in ours.run_grid(batch, names).items():
            note(name, x, theirs.run_grid(batch, [name])[name])
        hidden = torch.zeros_like(batch.ids, dtype=torch.bool)
        hidden[:, 5::7] = True
        for name, b in (("logits", batch), ("masked", replace(batch, inputs=batch.inputs | {"masked": hidden}))):
            first, second = (m.model(input_ids=b.ids, attention_mask=b.mask, **b.inputs) for m in (ours, theirs))
            note(name, first.logits, second.logits)
            note("mvc", first.mvc, second.mvc)
    return gaps


def collate(theirs: SimpleNamespace, folder: Path, cell, **settings) -> dict:
    """The published collator's tensors of one cell."""
    vocabulary = theirs.Vocabulary.from_file(folder / "vocab.json")
    row = np.array([[c for g, c in zip(cell.genes, cell.counts) if g in vocabulary]], dtype=np.float32)
    ids = np.array([vocabulary[g] for g in cell.genes if g in vocabulary])
    data = theirs.Counts(row, ids, cls_token_id=vocabulary["<cls>"], pad_value=-2)
    collator = theirs.Collator(vocabulary, pad_token_id=0, pad_value=-2, do_mlm=False, max_length=64, **settings)
    return collator([data[0] | {"drug": cell.drug}])


def same_tokens(theirs: SimpleNamespace, folder: Path, ours: door.Adapter, drugs: bool) -> dict:
    """Cells of which theirs has another gene or value than ours, and how many tokens each lacks.

    They fix the length before <drug> is added, so that a cell of a batch's full length loses a gene at random.
    """
    extra = {"use_chem_token": True, "drug_to_id_path": str(folder / "drugs.json"), "keep_first_n_tokens": 2} if drugs else {}
    different, lacks = 0, []
    for cell in CELLS:
        e, batch = ours.encode_one(cell), collate(theirs, folder, cell, **extra)
        own = dict(zip(e.ids.tolist(), e.inputs["values"].tolist(), strict=True))
        other = dict(zip(batch["gene"][0].tolist(), batch["expr"][0].tolist(), strict=True))
        different += not other.items() <= own.items()
        lacks.append(len(own) - len(other))
    return {"different": different, "lacks": lacks}


def bins(theirs: SimpleNamespace) -> dict:
    rng, different = np.random.default_rng(0), 0
    for k in range(400):
        row = rng.geometric(rng.uniform(0.02, 0.9), rng.integers(1, 400) if k % 2 else 49 * (k // 20 + 1) + 1).astype(np.float32)
        for right in (False, True):
            wanted = theirs.binning(torch.from_numpy(row), 51, right).numpy()
            different += not np.array_equal(genes.quantile_bins(row, 51, right), wanted)
    return {"rows": 400, "different": different}


def trap(theirs: SimpleNamespace, folder: Path, ours: door.Adapter) -> dict:
    """The first gene's value when two tokens are kept unbinned and there is no drug token."""
    cell = replace(random_cell(9, 0, unknown=0), counts=np.array([900, *range(1, 9)], dtype=np.float32))
    value = collate(theirs, folder, cell, keep_first_n_tokens=2)["expr"][0, 1].item()
    return {"theirs": value, "ours": ours.encode_one(cell).inputs["values"][1].item()}


def tahoe(theirs: SimpleNamespace, work: Path) -> dict:
    """What the tests compare, by folder, then bins and trap."""
    compared = {}
    for name in ("plain", "treated"):
        ours = door.load(work / name)
        other = published(theirs, work / name, ours)
        suites = {
            who: conformance.check(a, CELLS).set_index("check")[["value", "passed"]].astype(object)
            for who, a in (("ours", ours), ("theirs", other))
        }
        compared[name] = {"parity": parity(ours, other), "tokens": same_tokens(theirs, work / name, ours, name == "treated")}
        compared[name] |= {who: json.loads(t.to_json(orient="index", double_precision=10)) for who, t in suites.items()}
    return compared | {"bins": bins(theirs), "trap": trap(theirs, work / "plain", door.load(work / "plain"))}


# Cells and ranks ---------------------------------------------------------------------------------------------


def write_files(anndata: types.ModuleType, work: Path, counts: np.ndarray) -> None:
    """Every layout, Ensembl ids as strings, as a categorical and as the index, counts in X, a layer and raw."""
    import pandas as pd
    from scipy import sparse

    symbols = [f"SYM{i}" for i in range(counts.shape[1])]
    ids = GENES[: counts.shape[1]]
    obs = pd.DataFrame(index=[f"cell{i}" for i in range(len(counts))])
    for name, form in {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}.items():
        table = anndata.AnnData(form(counts), obs, pd.DataFrame({"gene_ids": ids}, index=symbols))
        table.write_h5ad(work / f"{name}.h5ad", compression="gzip")
    var = pd.DataFrame({"feature": pd.Categorical(ids[:-1] + [None])}, index=symbols)
    anndata.AnnData(sparse.csr_matrix(counts), obs, var).write_h5ad(work / "categorical.h5ad")
    scaled = anndata.AnnData(np.log1p(counts), obs, pd.DataFrame(index=ids), layers={"counts": sparse.csc_matrix(counts)})
    scaled.raw = anndata.AnnData(sparse.csr_matrix(counts), obs, pd.DataFrame(index=ids))
    scaled[:, ::2].copy().write_h5ad(work / "scaled.h5ad")


def ranks(theirs: SimpleNamespace, work: Path, counts: np.ndarray) -> dict:
    """The genes of the table's columns, two of them unknown, and each cell's tokens."""
    import pandas as pd

    for name, pickled in (("token_dictionary", "tokens.pkl"), ("gene_median", "medians.pkl")):
        (work / pickled).write_bytes(pickle.dumps(json.loads((work / f"geneformer/{name}.json").read_text())))
    tokenizer = theirs.Ranks(
        model_input_size=2048, special_token=False, collapse_gene_ids=False, gene_mapping_file=None,
        gene_median_file=work / "medians.pkl", token_dictionary_file=work / "tokens.pkl",
    )  # fmt: skip
    ids = [*GENES[: counts.shape[1] - 2], "UNKNOWN1", "UNKNOWN2"]
    var = pd.DataFrame({"ensembl_id": ids}, index=ids)
    table = theirs.anndata.AnnData(counts, pd.DataFrame(index=[f"cell{i}" for i in range(len(counts))]), var)
    tokens, _ = tokenizer.tokenize_anndata(table)
    return {"genes": ids, "tokens": [row.tolist() for row in tokens]}


def main(work: Path) -> None:
    theirs, counts = import_published(), np.load(work / "counts.npy")
    write_files(theirs.anndata, work, counts)
    (work / "ranks.json").write_text(json.dumps(ranks(theirs, work, counts)))
    (work / "found.json").write_text(json.dumps(tahoe(theirs, work)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
