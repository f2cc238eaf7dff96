"""Does pushing a latent up or down move the prediction with it? Dose and response, beside controls of equal norm.

x' = x + eps sigma d / |d| at every kept token of a unit: eps in standard deviations sigma of the latent, d its decoder
row, or in the controls a random direction or another latent's row (`SAE.directions`: of a convolutional dictionary what a code at
each token would add to each token). The score is w . mean_t x_t at a later site.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from lib.causal import patching
from lib.models import forward
from lib.models.adapter import Adapter
from lib.models.tokens import TokenBatch
from lib.sae.model import SAE
from lib.sae.parts import encode_all
from lib.stats import estimates

DOSES = tuple(range(-8, 9, 2))  # standard deviations of the latent


@torch.inference_mode()
def steer(
    adapter: Adapter, sae: SAE, clean: patching.Clean, site_to: str, w: np.ndarray, latents: Sequence[int], sd: np.ndarray,
    doses: Sequence[float] = DOSES, n_controls: int = 10, seed: int = 0, token_budget: int = 8192,
) -> pd.DataFrame:  # fmt: skip
    """Response of each unit's score and of the model's output to each dose of each direction.

    clean: units run up to the SAE's site; w: [d], or [unit, d]; sd: [d_sae], each latent's standard deviation over tokens
    (`latent_sd`). One row each of latent, direction ("latent", "random", "shuffled decoder"), draw (0 to n_controls - 1)
    and eps (sd of the latent), unit; change: of the score; kl: collateral, KL(clean | steered) of the language-model
    head's output, mean over kept tokens, nats, NaN without a head; norm: median norm of the unit's steered tokens; beyond: whether that
    leaves the 99th percentile of the clean tokens' norms, where a dose counts no more.
    Raises ValueError when a latent's sd is not above 0.
    """
    latents, sd = np.asarray(latents, dtype=int), np.asarray(sd)
    if not (sd[latents] > 0).all():
        raise ValueError(
            f"latents {latents[~(sd[latents] > 0)].tolist()} have no spread: a dose is in their sd"
        )
    patching.check_order(adapter, clean.site, site_to)
    w = patching.probe_rows(w, len(clean.encoded), sae.config.d_in)
    limit = torch.quantile(clean.acts.norm(dim=1), 0.99).item()
    generator = torch.Generator().manual_seed(seed)
    pushes = [(int(i), *name, d) for i in latents for name, d in directions(sae, int(i), n_controls, generator).items()]
    # One block for all that is kept: small tables kept one by one between large tensors tore the heap to 10 GB.
    measured = np.full((len(pushes), len(doses), len(clean.encoded), 4), np.nan)
    for chunk in forward.consecutive(clean.encoded, token_budget):
        batch, x = patching.grid(adapter, clean, chunk)
        score, log_p = respond(adapter, batch, x, clean.site, site_to, w[chunk])
        for push, (latent, _, _, d) in enumerate(pushes):
            for dose, eps in enumerate(doses):
                moved = x.clone()
                moved[batch.keep] += (eps * sd[latent] * d).to(x)
                after, log_q = respond(adapter, batch, moved, clean.site, site_to, w[chunk])
                kl = np.nan if log_p is None else by_unit((log_p.exp() * (log_p - log_q)).sum(-1), batch, torch.mean)
                norm = by_unit(moved[batch.keep].norm(dim=1), batch, torch.median)
                for column, values in enumerate((after - score, kl, norm, norm > limit)):
                    measured[push, dose, chunk, column] = values
    return _responses(pushes, doses, measured)


def _responses(pushes: list[tuple], doses: Sequence[float], measured: np.ndarray) -> pd.DataFrame:
    """Rows of `steer` from [push, dose, unit, column]."""
    rows = [(latent, direction, draw, float(eps), unit)
            for latent, direction, draw, _ in pushes for eps in doses for unit in range(measured.shape[2])]
    keys = ["latent", "direction", "draw", "eps", "unit"]
    table = pd.DataFrame(rows, columns=keys)
    table[["change", "kl", "norm", "beyond"]] = measured.reshape(-1, 4)
    return table.astype({"change": np.float32, "beyond": bool}).sort_values(keys, ignore_index=True)


@torch.inference_mode()
def latent_sd(sae: SAE, clean: patching.Clean) -> np.ndarray:
    """Standard deviation of each latent over all tokens of the clean runs, silent ones included: [d_sae]."""
    f = encode_all(sae, clean.acts, clean.unit)
    return f.std(0, correction=0).numpy()


def directions(
    sae: SAE, latent: int, n_controls: int, generator: torch.Generator
) -> dict[tuple[str, int], Tensor]:
    """Unit vectors [d] by (direction, draw): the latent's decoder row, random ones, and rows of other latents."""
    d_sae, d = sae.config.d_sae, sae.config.d_in
    if n_controls >= d_sae:
        raise ValueError(f"{n_controls} controls: wanted fewer than the {d_sae} latents whose rows they take")
    others = torch.randperm(d_sae - 1, generator=generator)[:n_controls]
    others = others + (others >= latent)
    rows = sae.directions
    vectors = {("latent", 0): rows[latent]}
    vectors |= {("random", n): v for n, v in enumerate(torch.randn(n_controls, d, generator=generator))}
    vectors |= {("shuffled decoder", n): rows[i] for n, i in enumerate(others)}
    return {name: v / v.norm() for name, v in vectors.items()}


def respond(
    adapter: Adapter, batch: TokenBatch, x: Tensor, site_from: str, site_to: str, w: Tensor
) -> tuple[np.ndarray, Tensor | None]:
    """Scores [unit] and the head's log-probabilities [kept, vocabulary] of one forward restarted from x; None without a head."""
    seen: list[Tensor] = []
    if not adapter.has_head:
        return patching.pooled(patching.downstream(adapter, batch, x, site_from, site_to), batch.keep, w).cpu().numpy(), None

    def read(y: Tensor) -> Tensor:
        seen.append(y)
        return y

    with adapter.restart(site_from, x):
        logits = adapter.replace(batch, site_to, read)[batch.keep]
    means = [y.mean(0) for y in seen[0].float().split(batch.keep.sum(1).tolist())]
    return (torch.stack(means).cpu() * w).sum(1).numpy(), logits.float().log_softmax(-1)


def by_unit(values: Tensor, batch: TokenBatch, reduce) -> np.ndarray:
    """values [kept] -> [unit], `reduce` over each unit's tokens."""
    return np.array([reduce(v).item() for v in values.split(batch.keep.sum(1).tolist())])


def summarise(table: pd.DataFrame, n_boot: int = 2000, seed: int = 0) -> pd.DataFrame:
    """One row a latent, direction and draw of `steer`'s table, over the doses that are beyond for no more than half of the units.

    slope, slope_low, slope_high: score per sd, least squares, mean over units, bootstrap over units; spearman: of the
    mean change with eps; saturation: 1 - (change per sd between the outermost doses) / (that between the doses nearest
    0): 0 on a line, 1 when flat; kl: at the outermost doses, mean, nats; eps_low, eps_high: those doses. NaN with fewer
    than 3 doses in range.
    """
    columns = ["slope", "slope_low", "slope_high", "spearman", "saturation", "kl", "eps_low", "eps_high"]
    rows = []
    for (latent, direction, draw), group in table.groupby(["latent", "direction", "draw"]):
        within = group.groupby("eps")["beyond"].mean() <= 0.5
        doses = within.index[within].to_numpy()
        row = {"latent": latent, "direction": direction, "draw": draw, "n_doses": len(doses)}
        if len(doses) >= 3:
            row |= _curve(group[group["eps"].isin(doses)], doses, n_boot, seed)
        rows.append(dict.fromkeys(columns, np.nan) | row)
    return pd.DataFrame(rows, columns=["latent", "direction", "draw", "n_doses", *columns])


def against_controls(response: pd.DataFrame) -> pd.DataFrame:
    """Steepest |slope| of each latent and of its controls: one row a latent with latent, controls and over, whether it is
    steeper than them all; a latent without a slope in range is not. response: from `summarise`."""
    steep = response.assign(size=response["slope"].abs(), own=response["direction"] == "latent")
    own, rest = (steep[steep["own"] == is_own].groupby("latent")["size"].max() for is_own in (True, False))
    table = pd.DataFrame({"size": own, "controls": rest.reindex(own.index)}).reset_index()
    return table.assign(over=table["size"] > table["controls"])


def _curve(group: pd.DataFrame, doses: np.ndarray, n_boot: int, seed: int) -> dict[str, float]:
    change = group.pivot(index="eps", columns="unit", values="change").loc[doses].to_numpy()  # [dose, unit]
    slope = estimates.mean_interval(np.polyfit(doses, change, 1)[0], n_boot, seed)
    mean, ends = change.mean(1), [0, len(doses) - 1]
    below, above = np.flatnonzero(doses < 0), np.flatnonzero(doses > 0)
    near = [below[-1] if len(below) else 0, above[0] if len(above) else len(doses) - 1]
    far, middle = (np.diff(mean[i])[0] / np.diff(doses[i])[0] for i in (ends, near))
    return {
        "slope": slope.value, "slope_low": slope.low, "slope_high": slope.high,
        "spearman": spearmanr(doses, mean).statistic, "saturation": 1 - far / middle if middle else np.nan,
        "kl": group.loc[group["eps"].isin(doses[ends]), "kl"].mean(), "eps_low": doses[0], "eps_high": doses[-1],
    }  # fmt: skip
