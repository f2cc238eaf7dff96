"""What the rule judges in one arm: the probes, what each latent is off its reference, the sets, and how a probe is fitted anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.causal import ablation
from lib.causal.falls import deltas
from lib.outcome import probe, validate
from lib.outcome.metrics import BINARY, Metric
from lib.outcome.probe import Probe

#: The kind whose sets are single latents, and whose rate-matched controls are single latents.
LATENT = "latent"


@dataclass(frozen=True)
class SecondCohort:
    """Subjects that no probe saw, under one fitted on everybody of the first cohort.

    y: [subject]; score: [subject], of `probe`; moved: [subject, part, latent]. For classes score is [class, subject].
    X: [subject, part * d_in] features, on which a probe that is fitted anew is judged; None where none is.
    """

    y: np.ndarray
    score: np.ndarray
    probe: Probe
    moved: np.ndarray
    X: np.ndarray | None = None


@dataclass(frozen=True)
class Refit:
    """How a probe is fitted anew on other features [subject, part * d_in].

    X: the features as they are; again: features -> one repeat, on the folds that the evidence's run has first; final: features ->
    the probe fitted on everybody, for the second cohort.
    """

    X: np.ndarray
    again: Callable[[np.ndarray], validate.Repeated]
    final: Callable[[np.ndarray], Probe]


def refit(
    X: np.ndarray, n_parts: int, y: np.ndarray, groups: np.ndarray | None, n_folds: int, grid: list[float], seed: int,
    metric: Metric = BINARY,
) -> Refit:  # fmt: skip
    """The probes of `validate.repeated` and `probe.final`, with strengths chosen anew, from a span that is taken part by part.

    What is left of a direction that was taken away whole is rounding, and still differs between subjects: directions of less than
    1e-9 of the largest sum of squares of X are dropped, or a probe would read it.
    """
    floor = 1e-9 * float((probe.span_by_part(X, n_parts).coords ** 2).sum(0).max(initial=0))

    def again(Z: np.ndarray) -> validate.Repeated:
        return validate.repeated(probe.span_by_part(Z, n_parts, floor), y, groups, n_folds, 1, grid, seed, metric)

    def final(Z: np.ndarray) -> Probe:
        return probe.final(probe.span_by_part(Z, n_parts, floor), y, grid, seed, groups, metric)

    return Refit(X, again, final)


def without(X: np.ndarray, moved: np.ndarray, decoder: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Features with some latents on their reference value: X + sum_m moved_m d_m. [subject, part * d_in]."""
    return X + np.einsum("plm,md->pld", moved[:, :, members], decoder[members], optimize=True).reshape(len(X), -1)


@dataclass(frozen=True)
class Evidence:
    """What the rule judges in one arm.

    y: [subject], of the metric's target; groups: [subject], resampled whole, or None; run: the probes and their
    out-of-fold scores. moved: [subject, part, latent], f* - f of `ablation.change_at`; decoder: [latent, d_in].
    rate, size: [latent], firing rate (fraction) and mean norm of f d when it fires, by which controls are matched.
    sets: kind -> name of a set -> its latents, as of `sets.by_kind`; those of the kind `LATENT` hold one each.
    refit: how a probe is fitted anew; without it no set is needed.
    Raises ValueError where the latents of these differ in number, or a set of that kind does not hold one.
    """

    arm: str
    y: np.ndarray
    groups: np.ndarray | None
    run: validate.Repeated
    moved: np.ndarray
    decoder: np.ndarray
    rate: np.ndarray
    size: np.ndarray
    sets: dict[str, dict[str, np.ndarray]]
    second: SecondCohort | None = None
    metric: Metric = BINARY
    refit: Refit | None = None

    def __post_init__(self) -> None:
        n_latents = {"decoder": len(self.decoder), "moved": self.moved.shape[2]}
        n_latents |= {"rate": len(self.rate), "size": len(self.size)}
        if self.second is not None:
            n_latents["second.moved"] = self.second.moved.shape[2]
        if len(set(n_latents.values())) > 1:
            raise ValueError(f"arm {self.arm!r}: latents differ in number: {n_latents}")
        if wrong := [name for name, members in self.sets.get(LATENT, {}).items() if len(members) != 1]:
            raise ValueError(
                f"arm {self.arm!r}: sets of kind {LATENT!r} hold one latent each, not so {wrong[:5]}"
            )

    @cached_property
    def change(self) -> np.ndarray:
        """What ablating each latent alone adds to the scores: [repeat, latent, subject] float32."""
        return ablation.repeated_change(self.moved, self.decoder, self.run.probes, self.run.folds)

    @cached_property
    def first_change(self) -> np.ndarray:
        """`change` of the first repeat in float64, which the nulls are compared with: [1, latent, subject]."""
        return self.changed(self.moved, self.decoder)[None]

    def changed(self, moved: np.ndarray, decoder: np.ndarray) -> np.ndarray:
        """Change of the first repeat's scores by each latent: [latent, subject].

        moved: [subject, part, latent]; decoder: [latent, d_in], each with the row it is to have.
        """
        return ablation.score_change(moved, decoder, self.run.probes[0], self.run.folds[0])

    def first_falls(self, change: np.ndarray) -> np.ndarray:
        """Fall of the first repeat's scores by each change: [set]. change: [1, set, subject]."""
        return deltas(self.y, self.run.score[:1], change, self.metric)

    def members(self, kind: str, names: Sequence[str]) -> list[np.ndarray]:
        """The latents of some sets of a kind."""
        return [self.sets[kind][name] for name in names]


@dataclass(frozen=True)
class Settings:
    """bar: fall, in units of the metric, from which a needed set is necessary. n_boot: bootstrap draws over subjects.
    n_matched: controls of each null, a set. least_matched: rate-matched controls below which a null does not speak.
    alpha: error, split evenly over the kinds, those without a set too. seed: of all that is drawn."""

    bar: float
    n_boot: int
    n_matched: int
    least_matched: int
    alpha: float = 0.05
    seed: int = 0
