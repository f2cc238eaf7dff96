"""One training step of other SAE libraries, on request. Runs in their environment, started by sae_training.py.

Reads one JSON object a line from standard input and answers with one on standard output:

- {"do": "versions"}: the libraries' versions and torch's;
- {"do": "make", "library", "architecture", "file", "order", settings}: a trainer on the activations of an .npy file
  [token, d_in]; order: .npy with the rows of each batch [step, batch], or null for consecutive rows, again and again;
- {"do": "step", "library"}: one step; "seconds" of it alone, the batch being in memory;
- {"do": "l0", "library"}: latents above 0 a token, in training mode, on the next batch;
- {"do": "train", "library", "steps", "folder"}: so many steps, then the library's own save into the folder.

Settings: d_in, d_sae, k, l1, batch, steps, seed, and recipe: null for the library's default, or {"lr", "warm_up", "decay"}.
"""

import importlib.metadata
import json
import os
import sys
import time
import types
from pathlib import Path

import numpy as np
import torch

PACKAGES = {"sae-lens": "sae-lens", "sparsify": "eai-sparsify", "dictionary_learning": "dictionary-learning"}
#: Architecture: the start of sae-lens' class, and dictionary_learning's trainer.
NAMES = {
    "topk": ("TopK", "TopKTrainer"),
    "batchtopk": ("BatchTopK", "BatchTopKTrainer"),
    "standard": ("Standard", "StandardTrainer"),
    "gated": ("Gated", "GatedSAETrainer"),
}


class SaeLens:
    """Its SAETrainer with the training class of the architecture. The trainer stops without an lr_end: lr / 10, as
    its runner sets it."""

    def __init__(self, s: dict):
        import sae_lens
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        name = NAMES[s["architecture"]][0] + "TrainingSAE"
        own = {"k": s["k"]} if "topk" in s["architecture"] else {"l1_coefficient": s["l1"]}
        config = getattr(sae_lens, name + "Config")(d_in=s["d_in"], d_sae=s["d_sae"], **own)
        recipe = s["recipe"] and {
            "lr": s["recipe"]["lr"],
            "lr_warm_up_steps": s["recipe"]["warm_up"],
            "lr_decay_steps": s["recipe"]["decay"],
        }
        recipe = {"lr": SAETrainerConfig.lr} | (recipe or {})
        trainer = SAETrainerConfig(s["steps"] * s["batch"], s["batch"], lr_end=recipe["lr"] / 10, **recipe)
        self.trainer = SAETrainer(trainer, getattr(sae_lens, name)(config), iter(()))

    def step(self, x: torch.Tensor) -> None:
        self.trainer.step(x)
        self.trainer.n_training_steps += 1

    def latents(self, x: torch.Tensor) -> torch.Tensor:
        return self.trainer.sae.encode(x)

    def save(self, folder: Path) -> None:
        self.trainer.sae.save_inference_model(folder)


class Sparsify:
    """The inner loop of its Trainer.fit, which reads a language model, around its SparseCoder.

    Its default optimiser is schedule-free SignSGD; a recipe takes its Adam, with its linear warm-up and decay.
    """

    def __init__(self, s: dict):
        from schedulefree import ScheduleFreeWrapper
        from sparsify import SparseCoder
        from sparsify.config import SparseCoderConfig, TrainConfig
        from sparsify.sign_sgd import SignSGD
        from transformers import get_linear_schedule_with_warmup

        self.cfg = TrainConfig(SparseCoderConfig(num_latents=s["d_sae"], k=s["k"]))
        self.coder = SparseCoder(s["d_in"], self.cfg.sae, "cpu", dtype=torch.float32)
        if s["recipe"]:
            self.optimiser = torch.optim.Adam(self.coder.parameters(), lr=s["recipe"]["lr"])
            self.schedule = get_linear_schedule_with_warmup(
                self.optimiser, s["recipe"]["warm_up"], s["steps"]
            )
        else:
            group = {"params": self.coder.parameters(), "lr": 5e-3 / (s["d_sae"] / 2**14) ** 0.5}
            self.optimiser, self.schedule = ScheduleFreeWrapper(SignSGD([group]), momentum=0.95), None
            self.optimiser.train()
        self.did_fire = torch.zeros(s["d_sae"], dtype=torch.bool)
        self.n_steps, self.fvu = 0, 0.0

    def step(self, x: torch.Tensor) -> None:
        coder = self.coder
        if self.n_steps == 0:
            coder.b_dec.data = x.mean(0)
        coder.set_decoder_norm_to_unit_norm()
        out = coder(x=x, y=x, dead_mask=None, total_variance=(x - x.mean(0)).pow(2).sum())
        self.did_fire[out.latent_indices.flatten()] = True
        self.fvu += float(out.fvu.detach())
        (out.fvu + self.cfg.auxk_alpha * out.auxk_loss + out.multi_topk_fvu / 8).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.schedule:
            self.schedule.step()
        self.n_steps += 1

    def latents(self, x: torch.Tensor) -> torch.Tensor:
        return self.coder.encode(x).top_acts

    def save(self, folder: Path) -> None:
        if not self.schedule:
            self.optimiser.eval()  # the averaged weights, as its Trainer saves them
        self.coder.save_to_disk(folder)


class DictionaryLearning:
    """Its trainers' update. Warm-up and start of the threshold, 1,000 steps each by default, must fit in the run."""

    def __init__(self, s: dict):
        # imported wherever the library starts, used for text models only
        sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=object))
        from dictionary_learning import trainers

        topk, recipe, steps = "topk" in s["architecture"], s["recipe"], s["steps"]
        if recipe:
            own = {"lr": recipe["lr"], "warmup_steps": recipe["warm_up"]}
            own["decay_start"] = steps - recipe["decay"] if recipe["decay"] else None
        else:
            own = {"warmup_steps": min(1000, steps // 8)}
        own |= (
            {"k": s["k"], "threshold_start_step": min(1000, steps // 2)}
            if topk
            else {"l1_penalty": s["l1"], "sparsity_warmup_steps": None}
        )
        made = getattr(trainers, NAMES[s["architecture"]][1])
        self.trainer = made(
            steps=steps, activation_dim=s["d_in"], dict_size=s["d_sae"], layer=0, lm_name="none", device="cpu",
            seed=s["seed"], **own,
        )  # fmt: skip
        self.batchtopk, self.n_steps = s["architecture"] == "batchtopk", 0

    def step(self, x: torch.Tensor) -> None:
        self.trainer.update(self.n_steps, x)
        self.n_steps += 1

    def latents(self, x: torch.Tensor) -> torch.Tensor:
        return self.trainer.ae.encode(x, **({"use_threshold": False} if self.batchtopk else {}))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.trainer.ae.state_dict(), folder / "ae.pt")
        trainer = {**self.trainer.config, "dict_class": type(self.trainer.ae).__name__}
        (folder / "config.json").write_text(json.dumps({"trainer": trainer}, default=str))


LIBRARIES = {"sae-lens": SaeLens, "sparsify": Sparsify, "dictionary_learning": DictionaryLearning}


class Worker:
    """The trainers by library, each with its batches."""

    def __init__(self):
        self.trainers, self.batches = {}, {}

    def versions(self, ask: dict) -> dict:
        versions = {name: importlib.metadata.version(package) for name, package in PACKAGES.items()}
        return versions | {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def make(self, ask: dict) -> dict:
        torch.manual_seed(ask["seed"])
        self.trainers[ask["library"]] = LIBRARIES[ask["library"]](ask)
        self.batches[ask["library"]] = self.read(ask["file"], ask["order"], ask["batch"])
        return {}

    def read(self, file: str, order: str | None, batch: int):
        acts = np.load(file)
        if order is not None:
            for rows in np.load(order):
                yield torch.from_numpy(acts[rows])
        while order is None:
            for start in range(0, len(acts) - batch + 1, batch):
                yield torch.from_numpy(acts[start : start + batch])

    def step(self, ask: dict) -> dict:
        x, trainer = next(self.batches[ask["library"]]), self.trainers[ask["library"]]
        started = time.perf_counter()
        trainer.step(x)
        return {"seconds": time.perf_counter() - started}

    @torch.no_grad()
    def l0(self, ask: dict) -> dict:
        latents = self.trainers[ask["library"]].latents(next(self.batches[ask["library"]]))
        return {"l0": (latents.to_dense() > 0).sum(1).float().mean().item()}

    def train(self, ask: dict) -> dict:
        seconds = sum(self.step(ask)["seconds"] for _ in range(ask["steps"]))
        self.trainers[ask["library"]].save(Path(ask["folder"]))
        return {"seconds": seconds}

    def clear(self, ask: dict) -> dict:
        self.trainers.clear()
        self.batches.clear()
        return {}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to standard error
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    worker = Worker()
    for line in sys.stdin:
        ask = json.loads(line)
        print(json.dumps(getattr(worker, ask["do"])(ask)), file=answers, flush=True)


if __name__ == "__main__":
    main()
