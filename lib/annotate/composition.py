"""How much of a latent is composition: token identity, GC, CpG, position, repeat class; and the other strand's view."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from lib.annotate.pairs import dense_codes, harmonic

#: A latent is "explained by token identity" when the token's own name gives more than this share of its variance.
TOKEN_IDENTITY_BOUND = 0.5


def quantile_codes(values: np.ndarray, n_bins: int = 10) -> np.ndarray:
    """Bins of about equal size, ties together; missing values are a bin of their own. values: [token]. Returns [token]."""
    values = np.asarray(values, dtype=float)
    edges = np.unique(np.nanquantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="right"))


def _sums(codes: np.ndarray, n_codes: int, rows: np.ndarray, latents: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of each code [code], and sums of each latent over them [code, latent]."""
    row_codes = codes[rows]
    one_hot = sparse.csr_matrix((np.ones(len(rows)), (row_codes, np.arange(len(rows)))), shape=(n_codes, len(rows)))
    return np.bincount(row_codes, minlength=n_codes).astype(float), (one_hot @ latents[rows]).toarray()


def _spread(latents: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Sum of squares, and sum of squares about the mean, of each latent. [latent]"""
    square = np.asarray(latents.astype(float).power(2).sum(0)).ravel()
    total = np.asarray(latents.sum(0, dtype=float)).ravel()
    return square, square - total**2 / max(latents.shape[0], 1)


def _r2(error: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(total - error, total, out=np.full(len(total), np.nan), where=total > 0)


def share_by_code(latents: sparse.csr_matrix, codes: np.ndarray, fit: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Held-out R2 of each latent predicted by its mean over `fit` tokens of the same code. [latent]

    1 - sum (x - mean of code)^2 / sum (x - mean)^2 over `held` tokens; a code not met in `fit` is predicted by the
    overall mean. latents: CSR [token, latent]; codes: [token]; fit, held: rows. NaN where a latent is constant.
    """
    code, n_codes = dense_codes(codes, latents.shape[0])
    n, total = _sums(code, n_codes, fit, latents)
    mean = np.where(n[:, None] > 0, total / np.maximum(n, 1)[:, None], total.sum(0) / max(len(fit), 1))
    n_held, held_total = _sums(code, n_codes, held, latents)
    square, spread = _spread(latents[held])
    return _r2(square - 2 * (mean * held_total).sum(0) + n_held @ mean**2, spread)


def share_by_all(latents: sparse.csr_matrix, codes: dict[str, np.ndarray], fit: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Held-out R2 of each latent on all the confounders at once, additive in their codes (least squares). [latent]"""
    parts = [np.ones((latents.shape[0], 1))]
    for values in codes.values():
        code, n_codes = dense_codes(values, latents.shape[0])
        parts.append(sparse.csr_matrix((np.ones(len(code)), (np.arange(len(code)), code)), shape=(len(code), n_codes)))
    design = sparse.hstack(parts, format="csr")
    gram, held_gram = ((design[rows].T @ design[rows]).toarray() for rows in (fit, held))
    weight = np.linalg.pinv(gram, hermitian=True) @ (design[fit].T @ latents[fit]).toarray()
    square, spread = _spread(latents[held])
    cross = (design[held].T @ latents[held]).toarray()
    return _r2(square - 2 * (weight * cross).sum(0) + (weight * (held_gram @ weight)).sum(0), spread)


def identity_match(
    latents: sparse.csr_matrix, identity: np.ndarray, fit: np.ndarray, held: np.ndarray, limit: np.ndarray | None = None
) -> pd.DataFrame:
    """How well the best set of token identities imitates each latent: columns f1, auroc (held out), n_identities.

    The set is the identities ordered by how often the latent fires on them (`fit` tokens), cut where F1 is best there;
    the AUROC is of that rate, as a score for firing. An identity not met in `fit` has rate 0. identity: [token] code
    of the token or of its bases; limit: [latent], a latent fires above it; 0 by default. NaN where it never fires.
    """
    limit = np.zeros(latents.shape[1], np.float32) if limit is None else np.asarray(limit, dtype=np.float32)
    on = latents.copy()
    on.data = (on.data > limit[on.indices]).astype(np.float32)
    code, n_codes = dense_codes(identity, latents.shape[0])
    (n_fit, on_fit), (n_held, on_held) = (_sums(code, n_codes, rows, on) for rows in (fit, held))
    rate = on_fit / np.maximum(n_fit, 1)[:, None]
    columns = [_best_set(rate[:, i], on_fit[:, i], n_fit, on_held[:, i], n_held) for i in range(latents.shape[1])]
    return pd.DataFrame(columns, columns=["f1", "auroc", "n_identities"]).rename_axis("latent").reset_index()


def _best_set(rate, on_fit, n_fit, on_held, n_held) -> tuple[float, float, int]:
    if not on_fit.any() or not on_held.any():
        return np.nan, np.nan, 0
    order = np.argsort(-rate, kind="stable")
    true, size = np.cumsum(on_fit[order]), np.cumsum(n_fit[order])
    size_best = int(harmonic(true / np.maximum(size, 1), true / true[-1]).argmax()) + 1
    inside = order[:size_best]
    precision = on_held[inside].sum() / max(n_held[inside].sum(), 1)
    f1 = float(harmonic(precision, on_held[inside].sum() / on_held.sum()))
    _, level = np.unique(rate, return_inverse=True)
    cases, controls = np.bincount(level, on_held), np.bincount(level, n_held - on_held)
    below = np.cumsum(controls) - controls
    if not controls.sum():
        return f1, np.nan, size_best
    return f1, float((cases * (below + controls / 2)).sum() / (cases.sum() * controls.sum())), size_best


def shares(
    latents: sparse.csr_matrix, identity: np.ndarray, codes: dict[str, np.ndarray], fit: np.ndarray, held: np.ndarray
) -> pd.DataFrame:
    """One row a latent: held-out R2 on token identity, on each confounder and on all of them, and the verdict.

    identity: [token]; codes: name -> [token] codes (see `quantile_codes`). fit, held: rows, of different chromosomes.
    Columns: latent, token_identity, one a confounder, confounders (all, without identity), identity_f1,
    identity_auroc, explained_by_identity (R2 above TOKEN_IDENTITY_BOUND).
    """
    table = pd.DataFrame({"latent": np.arange(latents.shape[1]), "token_identity": share_by_code(latents, identity, fit, held)})
    for name, values in codes.items():
        table[name] = share_by_code(latents, values, fit, held)
    table["confounders"] = share_by_all(latents, codes, fit, held)
    match = identity_match(latents, identity, fit, held)
    table["identity_f1"], table["identity_auroc"] = match["f1"], match["auroc"]
    return table.assign(explained_by_identity=table["token_identity"] > TOKEN_IDENTITY_BOUND)


def shared_bases(forward: pd.DataFrame, reverse: pd.DataFrame, length: dict[int, int] | np.ndarray) -> sparse.csr_matrix:
    """Bases that a token of the forward reading and one of the reverse-complemented reading share. CSR [forward, reverse].

    forward, reverse: unit, start, end, one row a token, in the coordinates of the sequence each was read from, sorted
    and disjoint within a unit. length: bases of each unit, by unit number. Base b of the reverse reading is base
    length - 1 - b of the forward one.
    """
    rows, columns, bases = [], [], []
    theirs = {unit: tokens for unit, tokens in reverse.reset_index(drop=True).groupby("unit")}
    for unit, tokens in forward.reset_index(drop=True).groupby("unit"):
        if unit not in theirs:
            continue
        other = theirs[unit].sort_values("start", ascending=False)
        start, end = (length[unit] - other[side].to_numpy() for side in ("end", "start"))
        low = np.searchsorted(end, tokens["start"].to_numpy(), side="right")
        count = np.maximum(np.searchsorted(start, tokens["end"].to_numpy(), side="left") - low, 0)
        at = np.repeat(low, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        here = np.repeat(np.arange(len(tokens)), count)
        overlap = np.minimum(tokens["end"].to_numpy()[here], end[at]) - np.maximum(tokens["start"].to_numpy()[here], start[at])
        rows.append(tokens.index.to_numpy()[here])
        columns.append(other.index.to_numpy()[at])
        bases.append(overlap)
    values = [np.concatenate(part) if part else np.empty(0, int) for part in (bases, rows, columns)]
    return sparse.csr_matrix((values[0].astype(float), (values[1], values[2])), shape=(len(forward), len(reverse)))


def strand_agreement(forward: sparse.csr_matrix, reverse: sparse.csr_matrix, bases: sparse.csr_matrix) -> np.ndarray:
    """Pearson correlation over bases of each latent read on the sequence and on its reverse complement. [latent]

    forward, reverse: CSR [token, latent] of the two readings; bases: as from `shared_bases`. A base has the value of
    the token that holds it; bases held in one reading only do not count. NaN where a latent is constant.
    """
    if bases.shape != (forward.shape[0], reverse.shape[0]) or forward.shape[1] != reverse.shape[1]:
        raise ValueError(f"readings {forward.shape} and {reverse.shape} do not fit shared bases {bases.shape}")
    n = bases.sum()
    w, v = np.asarray(bases.sum(1)).ravel(), np.asarray(bases.sum(0)).ravel()
    product = np.asarray(forward.multiply(bases @ reverse).sum(0)).ravel()
    mean_f, mean_r = w @ forward / n, v @ reverse / n
    var_f = w @ forward.astype(float).power(2) / n - mean_f**2
    var_r = v @ reverse.astype(float).power(2) / n - mean_r**2
    known = (var_f > 1e-12 * mean_f**2) & (var_r > 1e-12 * mean_r**2)
    scale = np.sqrt(np.where(known, var_f * var_r, 1))
    return np.where(known, (product / n - mean_f * mean_r) / scale, np.nan)
