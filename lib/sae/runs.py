"""What a run of a training is asked to become."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lib.sae.model import ARCHITECTURES, check_window


@dataclass(frozen=True)
class Run:
    """One SAE to train.

    architecture: one of ARCHITECTURES. sparsity: weight of the L1 term (standard, gated), latents kept a token (topk,
    batchtopk, matryoshka) or within half a window of one (convolutional), or L0 aimed at (jumprelu). tied: encoder = decoder
    transposed (standard). lr 0 takes 2e-4 / sqrt(d_sae / 16384). seed: of the initial weights; the data have their own.
    window: tokens of a kernel (convolutional).
    decorrelation, smoothness, probe: weights of the optional terms (`Stack.terms`).
    """

    name: str
    architecture: str
    d_sae: int
    sparsity: float
    seed: int = 0
    tied: bool = False
    lr: float = 0.0
    decorrelation: float = 0.0
    smoothness: float = 0.0
    probe: float = 0.0
    window: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"{self.name}: architecture {self.architecture!r}, wanted one of {', '.join(ARCHITECTURES)}")
        if self.tied and self.architecture != "standard":
            raise ValueError(f"{self.name}: only a standard SAE can be tied, found {self.architecture}")
        if self.keeps and not (self.sparsity == int(self.sparsity) and 0 < self.sparsity <= self.d_sae):
            raise ValueError(f"{self.name}: {self.architecture} keeps a whole number of latents from 1 to d_sae = "
                             f"{self.d_sae}, found sparsity {self.sparsity}")  # fmt: skip
        if not self.keeps and self.sparsity < 0:
            raise ValueError(f"{self.name}: sparsity {self.sparsity} is below 0")
        try:
            check_window(self.architecture, self.window)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None
        if self.window and (self.smoothness or self.probe):
            raise ValueError(f"{self.name}: a convolutional dictionary takes no smoothness and no probe term")

    @property
    def keeps(self) -> bool:
        """Whether sparsity counts latents."""
        return self.architecture in ("topk", "batchtopk", "matryoshka", "jumprelu", "convolutional")

    @property
    def learning_rate(self) -> float:
        return self.lr or 2e-4 / math.sqrt(self.d_sae / 16384)

    @property
    def shape(self) -> tuple:
        """Runs with equal shapes train in one stack."""
        return (self.architecture, self.d_sae, self.tied, self.sparsity if self.keeps else 0.0, self.window,
                self.decorrelation > 0, self.smoothness > 0, self.probe > 0)  # fmt: skip
