"""Sparse CPU kernels of SAE training: only the latents that fire are decoded, and only their rows get a gradient.

A *stack* is `members` SAEs of one shape, their latents numbered through: latent l of member m is m * d_sae + l. A
*row* is one token in one member, token-major: row = token * members + member. A code lists each row's entries in
CSR form: `indptr` [rows + 1] int64 and `latent` [entries] int32, ascending within a row.

Every sum runs in one fixed order, whatever the number of threads, so that equal inputs give equal bits.
"""

from __future__ import annotations

import numba
import numpy as np

# sums may be reordered inside one row, so that they use vector instructions; NaN and infinity keep their meaning
_OPTIONS = {"parallel": True, "cache": True, "fastmath": {"reassoc", "contract", "nsz"}}


@numba.njit(**_OPTIONS)
def top_k(pre: np.ndarray, k: int, members: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR code of the k largest positive entries of each row. pre: [row, d_sae]."""
    rows, width = pre.shape
    kept = np.empty((rows, k), np.int32)
    indptr = np.zeros(rows + 1, np.int64)
    for r in numba.prange(rows):
        value, place = np.empty(k, pre.dtype), np.empty(k, np.int32)  # a heap with the smallest kept value on top
        n, least = 0, pre.dtype.type(0)
        for j in range(width):
            v = pre[r, j]
            if not v > least:
                continue
            if n < k:  # sift up
                at = n
                n += 1
                while at > 0 and value[(at - 1) // 2] > v:
                    value[at], place[at] = value[(at - 1) // 2], place[(at - 1) // 2]
                    at = (at - 1) // 2
            else:  # sift down
                at = 0
                while True:
                    child = 2 * at + 1
                    if child >= k:
                        break
                    if child + 1 < k and value[child + 1] < value[child]:
                        child += 1
                    if value[child] >= v:
                        break
                    value[at], place[at] = value[child], place[child]
                    at = child
            value[at], place[at] = v, j
            if n == k:
                least = value[0]
        kept[r, :n] = np.sort(place[:n])
        indptr[r + 1] = n
    for r in range(rows):
        indptr[r + 1] += indptr[r]
    latent = np.empty(indptr[rows], np.int32)
    for r in numba.prange(rows):
        base = (r % members) * width
        for i in range(indptr[r + 1] - indptr[r]):
            latent[indptr[r] + i] = kept[r, i] + base
    return indptr, latent


@numba.njit(**_OPTIONS)
def above(pre: np.ndarray, limit: np.ndarray, members: int) -> tuple[np.ndarray, np.ndarray]:
    """CSR code of the entries above their latent's limit. pre: [row, d_sae]; limit: [members * d_sae]."""
    rows, width = pre.shape
    indptr = np.zeros(rows + 1, np.int64)
    for r in numba.prange(rows):
        base, n = (r % members) * width, 0
        for j in range(width):
            n += pre[r, j] > limit[base + j]
        indptr[r + 1] = n
    for r in range(rows):
        indptr[r + 1] += indptr[r]
    latent = np.empty(indptr[rows], np.int32)
    for r in numba.prange(rows):
        base, at = (r % members) * width, indptr[r]
        for j in range(width):
            if pre[r, j] > limit[base + j]:
                latent[at] = base + j
                at += 1
    return indptr, latent


@numba.njit(**_OPTIONS)
def count_bits(bits: np.ndarray, member: int, members: int, n_parts: int) -> np.ndarray:
    """How many positive float32 values of one member begin with each 16-bit prefix. bits: [row, d_sae] int32 view."""
    tokens = bits.shape[0] // members
    counts = np.zeros((n_parts, 32768), np.int64)
    for part in numba.prange(n_parts):
        for t in range(part * tokens // n_parts, (part + 1) * tokens // n_parts):
            r = t * members + member
            for j in range(bits.shape[1]):
                if bits[r, j] > 0:
                    counts[part, bits[r, j] >> 16] += 1
    return counts.sum(0)


@numba.njit(cache=True)
def with_prefix(bits: np.ndarray, member: int, members: int, prefix: int, n: int) -> np.ndarray:
    """The n values of one member that begin with a 16-bit prefix, as int32 bits."""
    out, at = np.empty(n, np.int32), 0
    for r in range(member, bits.shape[0], members):
        for j in range(bits.shape[1]):
            if bits[r, j] >> 16 == prefix:
                out[at] = bits[r, j]
                at += 1
    return out


def kth_largest(pre: np.ndarray, k: int, members: int) -> np.ndarray:
    """The k-th largest positive value of each member, 0 when it has fewer than k. pre: [row, d_sae] -> [members].

    float32 is searched by its bits, whose order for positive numbers is the numbers' own: two passes, no sorting.
    """
    out = np.zeros(members, pre.dtype)
    for m in range(members):
        if pre.dtype != np.float32:
            values = pre[m::members].ravel()
            positive = values[values > 0]
            if len(positive) >= k:
                out[m] = np.partition(positive, -k)[-k]
            continue
        bits = pre.view(np.int32)
        counts = count_bits(bits, m, members, numba.get_num_threads())
        beyond = counts[::-1].cumsum()[::-1]  # values with this prefix or a larger one
        if beyond[0] < k:
            continue
        prefix = int(np.flatnonzero(beyond >= k)[-1])
        inside = with_prefix(bits, m, members, prefix, int(counts[prefix]))
        rank = k - int(beyond[prefix] - counts[prefix])  # among those with the prefix, from the top
        out[m] = np.partition(inside, len(inside) - rank)[len(inside) - rank : len(inside) - rank + 1].view(np.float32)[0]
    return out


@numba.njit(**_OPTIONS)
def pick(pre: np.ndarray, indptr: np.ndarray, latent: np.ndarray) -> np.ndarray:
    """The values of a code's entries: [entry]. pre: [row, d_sae]."""
    out = np.empty(len(latent), pre.dtype)
    width = pre.shape[1]
    for r in numba.prange(len(indptr) - 1):
        for e in range(indptr[r], indptr[r + 1]):
            out[e] = pre[r, latent[e] % width]
    return out


@numba.njit(**_OPTIONS)
def decode(indptr: np.ndarray, latent: np.ndarray, value: np.ndarray, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sum of value x row of W over each row's entries, plus the member's b. W: [latent, d]; b: [members, d]."""
    rows, members = len(indptr) - 1, len(b)
    out = np.empty((rows, W.shape[1]), W.dtype)
    for r in numba.prange(rows):
        total = out[r]
        total[:] = b[r % members]
        for e in range(indptr[r], indptr[r + 1]):
            v, w = value[e], W[latent[e]]
            for d in range(len(total)):
                total[d] += v * w[d]
    return out


@numba.njit(**_OPTIONS)
def dots(indptr: np.ndarray, latent: np.ndarray, given: np.ndarray, W: np.ndarray) -> np.ndarray:
    """given[row] . W[latent] for each entry. given: [row, d]; W: [latent, d] -> [entry]."""
    out = np.empty(len(latent), W.dtype)
    for r in numba.prange(len(indptr) - 1):
        for e in range(indptr[r], indptr[r + 1]):
            w, total = W[latent[e]], W.dtype.type(0)
            for d in range(W.shape[1]):
                total += given[r, d] * w[d]
            out[e] = total
    return out


@numba.njit(cache=True)
def by_latent(indptr: np.ndarray, latent: np.ndarray, n_latents: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same code the other way round: start [latent + 1], and each latent's rows and entries, rows ascending."""
    start = np.zeros(n_latents + 1, np.int64)
    for e in range(len(latent)):
        start[latent[e] + 1] += 1
    for j in range(n_latents):
        start[j + 1] += start[j]
    at = start[:-1].copy()
    row, entry = np.empty(len(latent), np.int32), np.empty(len(latent), np.int64)
    for r in range(len(indptr) - 1):
        for e in range(indptr[r], indptr[r + 1]):
            place = at[latent[e]]
            row[place], entry[place] = r, e
            at[latent[e]] = place + 1
    return start, row, entry


@numba.njit(**_OPTIONS)
def gather(start: np.ndarray, row: np.ndarray, entry: np.ndarray, value: np.ndarray, A: np.ndarray, shared: int) -> np.ndarray:
    """Sum of value x A[row // shared] over each latent's entries: [latent, d]. shared: rows that read one row of A."""
    n, width = len(start) - 1, A.shape[1]
    out = np.empty((n, width), A.dtype)
    for j in numba.prange(n):
        total = out[j]
        total[:] = 0
        for i in range(start[j], start[j + 1]):
            v, a = value[entry[i]], A[row[i] // shared]
            for d in range(width):
                total[d] += v * a[d]
    return out


@numba.njit(parallel=True, cache=True)  # in order: reordered, this sum came out otherwise from a cached kernel than from a fresh one
def sums(start: np.ndarray, entry: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Sum of value over each latent's entries: [latent]."""
    out = np.empty(len(start) - 1, value.dtype)
    for j in numba.prange(len(out)):
        total = value.dtype.type(0)
        for i in range(start[j], start[j + 1]):
            total += value[entry[i]]
        out[j] = total
    return out


@numba.njit(**_OPTIONS)
def project(grad: np.ndarray, rows: np.ndarray) -> None:
    """Drop from each gradient row its part along the unit row, in place."""
    for j in numba.prange(len(rows)):
        along = rows.dtype.type(0)
        for d in range(rows.shape[1]):
            along += grad[j, d] * rows[j, d]
        for d in range(rows.shape[1]):
            grad[j, d] -= along * rows[j, d]


@numba.njit(**_OPTIONS)
def adam(
    w: np.ndarray, grad: np.ndarray, m: np.ndarray, v: np.ndarray, lr: np.ndarray, scale: np.ndarray, beta1: float,
    beta2: float, correction1: float, correction2: float, eps: float, unit: bool,
) -> None:  # fmt: skip
    """One Adam step on [row, d] in place, each row then made a unit vector if `unit`. lr, scale: [members]: learning
    rate, and factor on the gradient, of a row's member; rows are member-major. correction: 1 - beta ** step."""
    share = len(w) // len(lr)
    one = w.dtype.type(1)
    b1, b2, e = w.dtype.type(beta1), w.dtype.type(beta2), w.dtype.type(eps)
    root = w.dtype.type(1 / np.sqrt(correction2))
    for j in numba.prange(len(w)):
        factor = scale[j // share]
        rate = w.dtype.type(lr[j // share] / correction1)
        wj, gj, mj, vj = w[j], grad[j], m[j], v[j]
        norm = w.dtype.type(0)
        for d in range(w.shape[1]):
            g = gj[d] * factor
            mj[d] = b1 * mj[d] + (one - b1) * g
            vj[d] = b2 * vj[d] + (one - b2) * g * g
            wj[d] -= rate * mj[d] / (np.sqrt(vj[d]) * root + e)
            norm += wj[d] * wj[d]
        if unit:
            inverse = one / max(np.sqrt(norm), w.dtype.type(1e-8))
            for d in range(w.shape[1]):
                wj[d] *= inverse


# Dense passes: where many latents fire, products are dense, and what lies between two products is one pass ----------

_PARTS = 16  # sums over tokens are made in this many parts, whatever the number of threads


@numba.njit(**_OPTIONS)
def relu(pre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ReLU in place. Returns, for each latent, its sum and the number of tokens on which it fires: [latent]."""
    tokens, width = pre.shape
    total, count = np.zeros((_PARTS, width), pre.dtype), np.zeros((_PARTS, width), np.int32)
    for part in numba.prange(_PARTS):
        for t in range(part * tokens // _PARTS, (part + 1) * tokens // _PARTS):
            for j in range(width):
                v = pre[t, j]
                on = v > 0
                v = v if on else pre.dtype.type(0)
                pre[t, j] = v
                total[part, j] += v
                count[part, j] += on
    return total.sum(0), count.sum(0)


@numba.njit(**_OPTIONS)
def relu_gradient(given: np.ndarray, latents: np.ndarray, for_total: np.ndarray) -> None:
    """given [token, latent] -> (given + for_total [latent]) where the latent fires, else 0, in place."""
    for t in numba.prange(len(given)):
        for j in range(given.shape[1]):
            given[t, j] = given[t, j] + for_total[j] if latents[t, j] > 0 else given.dtype.type(0)


@numba.njit(**_OPTIONS)
def gate(u: np.ndarray, b: np.ndarray, stretch: np.ndarray, b_mag: np.ndarray) -> tuple:
    """A gated code's latents, ReLU(stretch (u - b) + b_mag) where u > 0, and its gate ReLU(u), which replaces u.

    u: [token, latent]; b, stretch, b_mag: [latent]. Returns latents [token, latent]; for each latent the gate's sum and
    the number of tokens on which the latent fires: [latent].
    """
    tokens, width = u.shape
    latents = np.empty_like(u)
    total, count = np.zeros((_PARTS, width), u.dtype), np.zeros((_PARTS, width), np.int32)
    zero = u.dtype.type(0)
    for part in numba.prange(_PARTS):
        for t in range(part * tokens // _PARTS, (part + 1) * tokens // _PARTS):
            for j in range(width):
                v = u[t, j]
                on = v > 0
                v = v if on else zero
                f = (v - b[j]) * stretch[j] + b_mag[j]
                f = f if on and f > 0 else zero
                u[t, j], latents[t, j] = v, f
                total[part, j] += v
                count[part, j] += f > 0
    return latents, total.sum(0), count.sum(0)


@numba.njit(**_OPTIONS)
def gate_gradient(
    for_latents: np.ndarray, for_gate: np.ndarray, u: np.ndarray, latents: np.ndarray, b: np.ndarray, stretch: np.ndarray,
    for_total: np.ndarray,
) -> tuple:  # fmt: skip
    """Gradients of `gate`, u's in the place of for_gate; returns those of b, log stretch and b_mag: [latent]."""
    tokens, width = u.shape
    zero = u.dtype.type(0)
    parts = np.zeros((2, _PARTS, width), u.dtype)
    for part in numba.prange(_PARTS):
        for t in range(part * tokens // _PARTS, (part + 1) * tokens // _PARTS):
            for j in range(width):
                v, f = u[t, j], latents[t, j]
                g = for_latents[t, j] if f > 0 else zero
                parts[0, part, j] += g
                parts[1, part, j] += g * (v - b[j])
                for_gate[t, j] = for_gate[t, j] + for_total[j] + g * stretch[j] if v > 0 else zero
    for_b_mag, for_stretch = parts[0].sum(0), parts[1].sum(0) * stretch
    return -for_b_mag * stretch, for_stretch, for_b_mag
