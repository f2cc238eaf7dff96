"""Gated attention over the parts of a subject."""

from __future__ import annotations

import numpy as np

from lib.outcome.metrics import BINARY, Metric


def attention(
    X: np.ndarray, y: np.ndarray, folds: np.ndarray, n_seeds: int, n_steps: int, seed: int, width: int = 16, metric: Metric = BINARY
) -> np.ndarray:
    """Out-of-fold log odds of a gated-attention pool over loci, centred per fold: [seed, person].

    Of a continuous y its predictions, in units of y and not centred: squared error of y less the training people's mean, over their
    standard deviation.

    A locus h (less its mean, in 2 * width principal components that all loci share, fitted on the training people;
    plus a learned vector that names it) gets the weight softmax(w . (tanh(V h) * sigmoid(U h))); the weighted mean is
    read linearly. X: [person, locus, d]. AdamW, full batches, `n_steps` steps.
    Source: Ilse, Tomczak and Welling 2018.
    """
    out = np.zeros((n_seeds, len(y)))
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        Z = _locus_components(X, train, 2 * width)
        continuous = metric.target == "continuous"
        mean, sd = (y[train].mean(), y[train].std()) if continuous else (0.0, 1.0)
        for s in range(n_seeds):
            read = _attend(Z, (y - mean) / sd, train, n_steps, seed + s, width, metric)
            out[s, test] = mean + sd * read[test] if continuous else read[test] - read[train].mean()
    return out


def _locus_components(X: np.ndarray, train: np.ndarray, n: int) -> np.ndarray:
    """X [person, locus, d] on the n strongest directions of the training people's loci, each at unit variance."""
    Z = X - X[train].mean(0)
    values, vectors = np.linalg.eigh(
        np.einsum("plc,pld->cd", Z[train], Z[train]) / (train.sum() * X.shape[1])
    )
    kept = values[-n:] > values[-1] * 1e-6
    return (Z @ (vectors[:, -n:][:, kept] / np.sqrt(values[-n:][kept]))).astype(np.float32)


def _attend(
    Z: np.ndarray, y: np.ndarray, train: np.ndarray, n_steps: int, seed: int, width: int, metric: Metric
) -> np.ndarray:
    import torch
    from torch import nn

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _, n_loci, d = Z.shape
        parts = nn.ModuleDict({"V": nn.Linear(d, width), "U": nn.Linear(d, width), "w": nn.Linear(width, 1)})
        parts["read"] = nn.Linear(d, 1)
        name = nn.Parameter(0.1 * torch.randn(n_loci, d))

        def read(x: torch.Tensor) -> torch.Tensor:
            h = x + name
            gate = parts["w"](torch.tanh(parts["V"](h)) * torch.sigmoid(parts["U"](h)))
            return parts["read"]((torch.softmax(gate, dim=1) * h).sum(1))[:, 0]

        x, labels = torch.from_numpy(Z), torch.from_numpy(y.astype(np.float32))
        inside = torch.from_numpy(train)
        lost = nn.functional.mse_loss if metric.target == "continuous" else nn.functional.binary_cross_entropy_with_logits
        optimiser = torch.optim.AdamW([*parts.parameters(), name], lr=1e-2, weight_decay=1e-1)
        for _ in range(n_steps):
            optimiser.zero_grad()
            loss = lost(read(x[inside]), labels[inside])
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return read(x).double().numpy()
