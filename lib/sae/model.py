"""Sparse autoencoders: a wide dictionary in which every activation is a short sum of unit directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

#: What can be trained. BatchTopK and Matryoshka choose over a whole batch: after training they are kept as "jumprelu",
#: whose threshold is measured at the end of training, so that a token's latents never depend on its neighbours.
ARCHITECTURES = ("standard", "gated", "topk", "batchtopk", "jumprelu", "matryoshka")
#: What an SAE is when it is used.
INFERENCE = ("standard", "gated", "topk", "jumprelu")


@dataclass(frozen=True)
class SAEConfig:
    """architecture: one of INFERENCE. d_in, d_sae: widths. k: latents kept a token (topk only). trained_as: the
    architecture in training, where it is another one."""

    architecture: str
    d_in: int
    d_sae: int
    k: int = 0
    trained_as: str = ""

    def __post_init__(self) -> None:
        if self.architecture not in INFERENCE:
            raise ValueError(f"architecture {self.architecture!r}: wanted one of {', '.join(INFERENCE)}")
        if self.architecture == "topk" and not 0 < self.k <= self.d_sae:
            raise ValueError(f"topk needs 0 < k <= d_sae, found k = {self.k}, d_sae = {self.d_sae}")


class SAE(nn.Module):
    """W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in] with unit rows, b_dec [d_in]; reads raw activations.

    pre = (x - b_dec) W_enc + b_enc; latents = sigma(pre); x_hat = latents W_dec + b_dec, where sigma is

    - standard: ReLU;
    - topk: ReLU of the k largest;
    - jumprelu: pre where pre > threshold [d_sae], else 0, with threshold >= 0;
    - gated: b_enc is the gate's bias; where pre > 0, ReLU(exp(r_mag) (pre - b_enc) + b_mag), r_mag, b_mag [d_sae].
    """

    def __init__(self, config: SAEConfig, seed: int = 0):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(config.d_sae, config.d_in, generator=generator)
        rows = rows / rows.norm(dim=1, keepdim=True)
        self.W_dec = nn.Parameter(rows)
        self.W_enc = nn.Parameter(rows.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(config.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(config.d_in))
        if config.architecture == "jumprelu":
            self.threshold = nn.Parameter(torch.zeros(config.d_sae))
        if config.architecture == "gated":
            self.r_mag = nn.Parameter(torch.zeros(config.d_sae))
            self.b_mag = nn.Parameter(torch.zeros(config.d_sae))

    def pre_activations(self, x: Tensor) -> Tensor:
        """[token, d_in] -> [token, d_sae], before the nonlinearity."""
        return torch.addmm(self.b_enc - self.b_dec @ self.W_enc, x, self.W_enc)

    def activate(self, pre: Tensor) -> Tensor:
        """[token, d_sae] -> [token, d_sae], at least 0."""
        if self.config.architecture == "standard":
            return pre.relu()
        if self.config.architecture == "jumprelu":
            return pre * (pre > self.threshold)
        if self.config.architecture == "gated":
            return (pre > 0) * ((pre - self.b_enc) * self.r_mag.exp() + self.b_mag).relu()
        value, index = pre.topk(self.config.k, dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter(-1, index, value.relu())

    def encode(self, x: Tensor) -> Tensor:
        """[token, d_in] -> latents [token, d_sae], at least 0."""
        return self.activate(self.pre_activations(x))

    def decode(self, latents: Tensor) -> Tensor:
        """[token, d_sae] -> [token, d_in]."""
        return torch.addmm(self.b_dec, latents, self.W_dec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.encode(x)
        return self.decode(latents), latents


def random_dictionary(like: SAE, k: int, seed: int) -> SAE:
    """The null "random dictionary": the widths and centre of a trained SAE, random unit directions, k latents a token.

    k: the trained SAE's L0, rounded, so that both spend the same whatever the trained architecture is: an untrained
    ReLU would keep about half of all latents.
    """
    sae = SAE(SAEConfig("topk", like.config.d_in, like.config.d_sae, k), seed)
    with torch.no_grad():
        sae.b_dec.copy_(like.b_dec)
    return sae.eval()
