"""Sparse autoencoders: a wide dictionary in which every activation is a short sum of unit directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.sae import convolution

#: What can be trained. BatchTopK and Matryoshka choose over a whole batch: after training they are kept as "jumprelu",
#: whose threshold is measured at the end of training, so that a token's latents never depend on its neighbours.
ARCHITECTURES = ("standard", "gated", "topk", "batchtopk", "jumprelu", "matryoshka", "convolutional")
#: What an SAE is when it is used.
INFERENCE = ("standard", "gated", "topk", "jumprelu", "convolutional")


@dataclass(frozen=True)
class SAEConfig:
    """architecture: one of INFERENCE. d_in, d_sae: widths. k: latents kept a token (topk), or
    within half a window on either side of one (convolutional). trained_as: the
    architecture in training, where it is another one. window: tokens of a kernel, odd (convolutional only)."""

    architecture: str
    d_in: int
    d_sae: int
    k: int = 0
    trained_as: str = ""
    window: int = 0

    def __post_init__(self) -> None:
        if self.architecture not in INFERENCE:
            raise ValueError(f"architecture {self.architecture!r}: wanted one of {', '.join(INFERENCE)}")
        if self.architecture in ("topk", "convolutional") and not 0 < self.k <= self.d_sae:
            raise ValueError(f"{self.architecture} needs 0 < k <= d_sae, found k = {self.k}, d_sae = {self.d_sae}")
        check_window(self.architecture, self.window)

    @property
    def d_row(self) -> int:
        """Width of a row of W_dec: d_in, or that of a flattened kernel."""
        return self.d_in * max(self.window, 1)


def check_window(architecture: str, window: int) -> None:
    """Raises ValueError unless a convolutional one, and no other, has an odd window from 3."""
    if architecture == "convolutional" and (window < 3 or window % 2 == 0):
        raise ValueError(f"convolutional needs a window of an odd number of tokens, at least 3, found {window}")
    if architecture != "convolutional" and window:
        raise ValueError(f"{architecture} has no window, found {window}: only convolutional has one")


class SAE(nn.Module):
    """W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in] with unit rows, b_dec [d_in]; reads raw activations.

    pre = (x - b_dec) W_enc + b_enc; latents = sigma(pre); x_hat = latents W_dec + b_dec, where sigma is

    - standard: ReLU;
    - topk: ReLU of the k largest;
    - jumprelu: pre where pre > threshold [d_sae], else 0, with threshold >= 0;
    - gated: b_enc is the gate's bias; where pre > 0, ReLU(exp(r_mag) (pre - b_enc) + b_mag), r_mag, b_mag [d_sae];
    - convolutional: x is a window of tokens, W_enc [window * d_in, d_sae], W_dec [d_sae, window * d_in], and the windows that
      are decoded add up. A code stands at centres of units only, and where pre is above 0, the largest of its latent within
      half a window on either side, and among the k largest of all such there (lib/sae/convolution.py).

    `unit` [token] says which unit each token belongs to, a unit's tokens side by side and whole; None: all to one. Only the
    convolutional reads it: to the others tokens are alike wherever they stand.
    """

    def __init__(self, config: SAEConfig, seed: int = 0):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(config.d_sae, config.d_row, generator=generator)
        if config.window:  # highest in the middle: a kernel that is centred competes less with itself at other shifts
            rows = rows * convolution.profile(config.window).repeat_interleave(config.d_in)
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

    @property
    def directions(self) -> Tensor:
        """What one code adds to the sum of its unit's activations: [d_sae, d_in]. W_dec, or the sum of a kernel's taps."""
        if not self.config.window:
            return self.W_dec
        return self.W_dec.view(self.config.d_sae, self.config.window, self.config.d_in).sum(1)

    def pre_activations(self, x: Tensor, unit: Tensor | None = None) -> Tensor:
        """[token, d_in] -> [token, d_sae], before the nonlinearity; -inf where no code may stand."""
        if not self.config.window:
            return torch.addmm(self.b_enc - self.b_dec @ self.W_enc, x, self.W_enc)
        at = self._centres(x, unit)
        pre = convolution.correlate(x - self.b_dec, self.W_enc.T, self.config.window, at) + self.b_enc
        return pre.masked_fill(~at[:, None], -torch.inf)

    def activate(self, pre: Tensor) -> Tensor:
        """[token, d_sae] -> [token, d_sae], at least 0."""
        if self.config.architecture == "standard":
            return pre.relu()
        if self.config.architecture == "jumprelu":
            return pre * (pre > self.threshold)
        if self.config.architecture == "gated":
            return (pre > 0) * ((pre - self.b_enc) * self.r_mag.exp() + self.b_mag).relu()
        if self.config.architecture == "convolutional":
            return convolution.chosen(pre, self.config.k, self.config.window)
        value, index = pre.topk(self.config.k, dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter(-1, index, value.relu())

    def encode(self, x: Tensor, unit: Tensor | None = None) -> Tensor:
        """[token, d_in] -> latents [token, d_sae], at least 0."""
        return self.activate(self.pre_activations(x, unit))

    def decode(self, latents: Tensor, unit: Tensor | None = None) -> Tensor:
        """[token, d_sae] -> [token, d_in]."""
        if not self.config.window:
            return torch.addmm(self.b_dec, latents, self.W_dec)
        return self.added(latents, unit) + self.b_dec

    def added(self, latents: Tensor, unit: Tensor | None = None) -> Tensor:
        """What latents add to b_dec: [token, d_sae] -> [token, d_in]. Where no code may stand, none is read."""
        if not self.config.window:
            return latents @ self.W_dec
        return convolution.spread(latents, self.W_dec, self.config.window, self._centres(latents, unit))

    def forward(self, x: Tensor, unit: Tensor | None = None) -> tuple[Tensor, Tensor]:
        latents = self.encode(x, unit)
        return self.decode(latents, unit), latents

    def _centres(self, tokens: Tensor, unit: Tensor | None) -> Tensor:
        unit = torch.zeros(len(tokens), dtype=torch.long) if unit is None else torch.as_tensor(unit)
        if len(unit) != len(tokens):
            raise ValueError(f"unit names {len(unit)} tokens, there are {len(tokens)}")
        return convolution.centres(unit.to(tokens.device), self.config.window)


def random_dictionary(like: SAE, k: int, seed: int) -> SAE:
    """The null "random dictionary": the widths, window and centre of a trained SAE, random unit rows, k latents a token.

    k: the trained SAE's L0, rounded, so that both spend the same whatever the trained architecture is: an untrained
    ReLU would keep about half of all latents. A convolutional one takes the k of the trained one instead, which counts codes by half
    a window and not a token.
    """
    kind, k = ("convolutional", like.config.k) if like.config.window else ("topk", k)
    sae = SAE(SAEConfig(kind, like.config.d_in, like.config.d_sae, k, window=like.config.window), seed)
    with torch.no_grad():
        sae.b_dec.copy_(like.b_dec)
    return sae.eval()
