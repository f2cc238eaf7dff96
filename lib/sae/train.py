"""Train any number of SAEs in one pass over the activations, and go on after an interruption as if nothing happened."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.sae import checkpoints, logs, processes
from lib.sae.model import SAE
from lib.sae.optimise import Adam
from lib.sae.stack import Run, Stack
from lib.stage import modules
from lib.stage.progress import tqdm

#: Largest block of pre-activations a stack makes at once, in bytes; more members of a shape make another stack.
STACK_BYTES = 2**29

#: Batches over which the thresholds of BatchTopK and Matryoshka are measured once the weights are final.
SETTLE = 8

#: Modules that train and data import, but on which no weight depends: `data` says which rows of which model these are.
BESIDE = ("lib.stage.durable", "lib.stage.io", "lib.stage.progress", "lib.stage.modules", "lib.acts.extract", "lib.models.adapter")

Batches = Callable[[int], Iterator[np.ndarray]]


@dataclass(frozen=True)
class TrainConfig:
    """What all runs of a sweep share: `steps` batches of `batch` tokens.

    warm_up: steps of linear rise of the learning rate. decay: last share of steps with a linear fall to 0.
    sparsity_warm_up: first share of steps over which the sparsity term rises. auxk: weight of the AuxK term;
    dead_tokens: a latent silent for this many tokens is dead to it; 0 takes 1/16 of the training, 10 million at most.
    bandwidth: of the jumprelu's gradient, in scaled activations. checkpoint_every: steps between checkpoints, 0 for none. log_every: steps
    between rows of the curve. device: "cpu" or "cuda"; bf16: products in bfloat16, weights and moments in float32. crop: a batch is
    made of runs of so many consecutive tokens of one unit, 0: of single tokens; convolutional runs need it, and all read the same.
    """

    steps: int
    batch: int = 1024
    warm_up: int = 100
    decay: float = 0.2
    sparsity_warm_up: float = 0.05
    auxk: float = 1 / 32
    dead_tokens: int = 0
    bandwidth: float = 0.1
    checkpoint_every: int = 0
    log_every: int = 50
    device: str = "cpu"
    bf16: bool = False
    crop: int = 0

    def __post_init__(self) -> None:
        if self.crop < 0 or self.crop and self.batch % self.crop:
            raise ValueError(f"a batch of {self.batch} tokens holds no whole number of crops of {self.crop}")

    @property
    def dead_after(self) -> int:
        """Tokens of silence after which a latent is dead."""
        return self.dead_tokens or min(10_000_000, max(self.steps * self.batch // 16, 1))


@dataclass
class Result:
    """saes: run -> SAE that reads raw activations, without the runs that failed. curve: one row a run and logged step.
    verdicts: run -> "trained", or why it was stopped. scale: the factor on activations during training, folded back."""

    saes: dict[str, SAE]
    curve: pd.DataFrame
    verdicts: dict[str, str]
    scale: float


def resume_key(runs: list[Run], config: TrainConfig, data: str) -> str:
    """A hash of all that the weights depend on: the runs, the settings, the code behind this module and behind the order
    of the data, and `data`, which says what activations these are."""
    code = modules.hash_of_files(modules.behind(["lib.sae.train", "lib.sae.data"], without=BESIDE))
    text = json.dumps([[asdict(run) for run in runs], asdict(config), data, code])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def geometric_median(x: Tensor, iterations: int = 50) -> Tensor:
    """The point with the least summed distance to the rows of x (Weiszfeld). x: [n, d] -> [d]."""
    point = x.mean(0)
    for _ in range(iterations):
        weight = 1 / (x - point).norm(dim=1).clamp_min(1e-6)
        new = (weight[:, None] * x).sum(0) / weight.sum()
        if (new - point).norm() < 1e-6 * point.norm().clamp_min(1e-6):
            return new
        point = new
    return point


def schedule(step: int, config: TrainConfig) -> float:
    """Factor on the learning rate: linear warm-up, plateau, linear decay to 0."""
    fall = (config.steps - step) / max(config.decay * config.steps, 1)
    return min(1.0, (step + 1) / max(config.warm_up, 1), fall)


def train(runs: list[Run], config: TrainConfig, batches: Batches, folder: Path | None = None, log: str | None = None,
          log_folder: Path | None = None) -> Result:  # fmt: skip
    """Train all runs on the same batches: each as it would be trained alone.

    batches: function from a step to the endless float32 batches [batch, d_in] from there on, for example
    `functools.partial(data.batches, source, batch, seed)`; or pairs with targets [batch] for a probe term. folder: for
    checkpoints; a run that was interrupted there goes on from its newest one, to the same bits. Under `torchrun` each
    process takes its share of every batch (BatchTopK and AuxK then choose within a share). After the last step the
    next SETTLE batches give BatchTopK and Matryoshka their threshold (`Sweep.settle`).
    log: "tensorboard" or "wandb" sends `logs.LOGGED` of each run there on the steps that are logged; tokens_s, tokens a second
    since this call began, is that of all runs together. log_folder: what it writes goes there, for TensorBoard one
    folder a run. A resumed training sends the rows before its checkpoint again, so that the log is whole. The weights
    do not depend on either.
    Raises ValueError on a first batch that is not finite or has no variance, on two runs of one name, on a folder
    of another sweep, and on an unknown log or one without a log_folder; ImportError when the log's package is not
    installed; FloatingPointError when every run has failed, with what was seen.
    """
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(f"two runs have one name: {sorted(names)}")
    open_log = logs.opener(log, log_folder)
    stream = batches(0)
    opening = next(stream)
    sweep = Sweep(runs, config, _activations(opening))
    newest = checkpoints.newest(folder) if folder else None
    if newest:
        sweep.load(newest)
    first = sweep.step
    stream = batches(first) if first else chain([opening], stream)  # from the start, a source that runs a model is run once
    with (open_log(sweep) as send,
          tqdm(total=config.steps, initial=first, desc=names[0] if len(runs) == 1 else f"{len(runs)} SAEs",
               mininterval=5, disable=processes.rank() > 0) as bar):  # fmt: skip
        started = time.monotonic()
        while sweep.step < config.steps and sweep.stacks:
            row = sweep.train_on(next(stream))
            bar.update()
            if row is not None:
                tokens = (sweep.step - first) * config.batch / max(time.monotonic() - started, 1e-9)
                send(row.assign(tokens_s=tokens))
                bar.set_postfix(ev=f"{row['explained_variance'].max():.3f}", l0=f"{row['l0'].median():.1f}",
                                dead=f"{row['dead_share'].median():.2f}", tokens_s=f"{tokens:,.0f}")  # fmt: skip
            if folder and config.checkpoint_every and sweep.step % config.checkpoint_every == 0:
                sweep.save(Path(folder))
        sweep.settle(stream)
    if not sweep.stacks:
        raise FloatingPointError("; ".join(f"{name}: {said}" for name, said in sweep.verdicts.items()))
    return sweep.result()


class Sweep:
    """The state of a training: stacks with their optimisers, the step, the curve and the verdicts."""

    def __init__(self, runs: list[Run], config: TrainConfig, first: Tensor):
        centred = first - first.mean(0)
        variance = centred.square().sum(1).mean().item()
        if not 0 < variance < math.inf:
            raise ValueError(f"the activations' variance is {variance:g}, wanted finite and above 0: nothing to learn")
        self.runs, self.config, self.step, self.rows = runs, config, 0, []
        self.scale = math.sqrt(first.shape[1] / variance)
        self.verdicts = {run.name: "trained" for run in runs}
        self.stacks: list[tuple[Stack, Adam]] = []
        centre = geometric_median(first * self.scale)
        for members in _stacked(runs, config.batch):
            stack = Stack(members, first.shape[1], config.auxk, config.bandwidth, crop=config.crop).to(config.device)
            stack.start(centre.to(config.device))
            self.stacks.append((stack, Adam(stack, _rates(stack), beta1=_beta1(members[0]))))

    def train_on(self, batch) -> pd.DataFrame | None:
        """One step of every run; the new rows of the curve on the steps that are logged."""
        config, device = self.config, self.config.device
        x, targets = batch if isinstance(batch, tuple) else (batch, None)
        x = self._to_device(x)
        targets = None if targets is None else torch.from_numpy(processes.part(targets, config.crop)).to(x)
        warm = min(1.0, (self.step + 1) / max(config.sparsity_warm_up * config.steps, 1))
        logged = self.step % config.log_every == 0 or self.step + 1 == config.steps
        rows = []
        for i, (stack, optimiser) in enumerate(self.stacks):
            with torch.autocast(device, torch.bfloat16, enabled=config.bf16):
                loss, seen = stack(x, warm, config.dead_after, targets, self.step)
            for p in stack.parameters():
                p.grad = None
            loss.sum().backward()
            processes.share(stack, seen)
            rows.append(self._curve(stack, x, seen, loss) if logged else None)
            self.stacks[i] = stack, optimiser = self._drop_failed(stack, optimiser, loss)
            if stack is not None:
                optimiser.step(schedule(self.step, config))
                fired = seen["fired"] if len(seen["fired"]) == len(stack.runs) else seen["fired"][torch.isfinite(loss)]
                stack.note_fired(fired, config.batch)
        self.stacks = [pair for pair in self.stacks if pair[0] is not None]
        self.step += 1
        if not logged:
            return None
        table = pd.concat(rows, ignore_index=True)
        self.rows.append(table)
        self._note_dead(table)
        return table

    @torch.no_grad()
    def settle(self, batches: Iterator) -> None:
        """Measure the thresholds of BatchTopK and Matryoshka on the weights as they are: the mean over SETTLE batches of
        the least value kept. The running threshold of the training is a mean over about 100 steps, and lags behind
        weights that still move: a training of 150 steps would keep a third fewer latents than its k."""
        chosen = [stack for stack, _ in self.stacks if stack.architecture in ("batchtopk", "matryoshka")]
        if not chosen:
            return
        least = [torch.zeros_like(stack.running) for stack in chosen]
        for batch in islice(batches, SETTLE):
            x = self._to_device(batch[0] if isinstance(batch, tuple) else batch)
            for total, stack in zip(least, chosen, strict=True):
                stack.running.zero_()
                with torch.autocast(self.config.device, torch.bfloat16, enabled=self.config.bf16):
                    stack.limits(stack.pre_activations(x))
                total += stack.running / SETTLE
        for total, stack in zip(least, chosen, strict=True):
            stack.running.copy_(processes.mean_over_processes(total))

    def _to_device(self, x: np.ndarray) -> Tensor:
        """This process' share of a batch [token, d_in], scaled."""
        return (torch.from_numpy(processes.part(x, self.config.crop)) * self.scale).to(self.config.device)

    def _curve(self, stack: Stack, x: Tensor, seen: dict[str, Tensor], loss: Tensor) -> pd.DataFrame:
        total = (x - x.mean(0)).square().sum()
        dead = (stack.silent >= self.config.dead_after).float().mean(1)
        return pd.DataFrame({
            "run": [run.name for run in stack.runs], "step": self.step, "tokens": (self.step + 1) * self.config.batch,
            "explained_variance": (1 - seen["error"] / total).tolist(), "l0": seen["l0"].tolist(),
            "dead_share": dead.tolist(), "loss": loss.detach().tolist(),
        })  # fmt: skip

    def _drop_failed(self, stack: Stack, optimiser: Adam, loss: Tensor) -> tuple[Stack | None, Adam | None]:
        """The stack without the members whose loss is not finite."""
        failed = torch.nonzero(~torch.isfinite(loss.detach())).flatten().tolist()
        for member in reversed(failed):
            run = stack.runs[member]
            self.verdicts[run.name] = (f"loss {loss[member].item()} at step {self.step}: try a lower learning rate than "
                                       f"{run.learning_rate:.2g}, or look for outliers among the activations")  # fmt: skip
            if len(stack.runs) == 1:
                return None, None
            grads = {name: p.grad for name, p in stack.named_parameters()}
            keep = [i for i in range(len(stack.runs)) if i != member]
            stack = stack.without(member)
            for name, p in stack.named_parameters():
                p.grad = None if grads[name] is None else grads[name][keep]
            optimiser = optimiser.without(stack, member)
        return stack, optimiser

    def _note_dead(self, table: pd.DataFrame) -> None:
        """The early verdict on a run in which nothing fires any more: it cannot recover, and stops."""
        for name in table.loc[(table["l0"] == 0) & (self.step > 1), "run"]:
            self.verdicts[name] = (f"no latent fires at step {self.step - 1}: the dictionary is dead; try a smaller weight of "
                                   f"the sparsity term, or a longer warm-up of it")  # fmt: skip
            for i, (stack, optimiser) in enumerate(self.stacks):
                member = next((m for m, run in enumerate(stack.runs) if run.name == name), None)
                if member is not None and len(stack.runs) == 1:
                    del self.stacks[i]
                elif member is not None:
                    smaller = stack.without(member)
                    self.stacks[i] = smaller, optimiser.without(smaller, member)

    def result(self) -> Result:
        """The SAEs as they are, with the curve so far."""
        saes = {run.name: stack.export(m, self.scale).cpu() for stack, _ in self.stacks for m, run in enumerate(stack.runs)}
        saes = {run.name: saes[run.name] for run in self.runs if run.name in saes}
        curve = pd.concat(self.rows, ignore_index=True) if self.rows else pd.DataFrame()
        return Result(saes, curve, dict(self.verdicts), self.scale)

    # ---- checkpoints ------------------------------------------------------------------------------------------
    def settings(self) -> dict:
        return {"runs": [asdict(run) for run in self.runs], "config": asdict(self.config), "scale": self.scale}

    def save(self, folder: Path) -> None:
        """Write a checkpoint; only the first process does."""
        if processes.rank():
            return
        tensors, layout = {}, []
        for i, (stack, optimiser) in enumerate(self.stacks):
            state = stack.state_dict() | optimiser.state()
            tensors |= {f"{i}.{name}": t.detach().cpu().contiguous() for name, t in state.items()}
            layout.append({"runs": [run.name for run in stack.runs], "step_number": optimiser.step_number})
        table = pd.concat(self.rows, ignore_index=True) if self.rows else pd.DataFrame()
        state = {"step": self.step, "layout": layout, "verdicts": self.verdicts, "curve": table.to_dict("list")}
        checkpoints.save(folder, self.step, tensors, self.settings() | state)

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint. Raises ValueError when it is of another sweep, or of other data."""
        tensors, state = checkpoints.load(checkpoint, self.settings())
        known = {run.name: run for run in self.runs}
        self.stacks = []
        for i, part in enumerate(state["layout"]):
            stack_tensors = {name.removeprefix(f"{i}."): t for name, t in tensors.items() if name.startswith(f"{i}.")}
            members = [known[name] for name in part["runs"]]
            d_in, config = stack_tensors["b_dec"].shape[-1], self.config
            stack = Stack(members, d_in, config.auxk, config.bandwidth, crop=config.crop).to(config.device)
            stack.load_state_dict({name: stack_tensors[name] for name in stack.state_dict()})
            optimiser = Adam(stack, _rates(stack), beta1=_beta1(members[0]))
            optimiser.load(stack_tensors, part["step_number"])
            self.stacks.append((stack, optimiser))
        self.step, self.verdicts = state["step"], state["verdicts"]
        self.rows = [pd.DataFrame(state["curve"])]


def _stacked(runs: list[Run], batch: int) -> list[list[Run]]:
    """Runs of one shape together, in stacks whose pre-activations fit STACK_BYTES."""
    stacks = []
    for shape in dict.fromkeys(run.shape for run in runs):
        same, most = [run for run in runs if run.shape == shape], max(1, STACK_BYTES // (4 * batch * shape[1]))
        stacks += [same[s : s + most] for s in range(0, len(same), most)]
    return stacks


def _rates(stack: Stack) -> Tensor:
    return stack.weights("learning_rate")


def _beta1(run: Run) -> float:
    """0 for the two whose gate is a step function (Rajamanoharan 2024), 0.9 otherwise."""
    return 0.0 if run.architecture in ("gated", "jumprelu") else 0.9


def _activations(batch) -> Tensor:
    return torch.from_numpy(np.array(batch[0] if isinstance(batch, tuple) else batch))
