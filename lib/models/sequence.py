"""DNA as text and as small integers: A C G T N are 0 1 2 3 4."""

from __future__ import annotations

import numpy as np

ALPHABET = "ACGTN"
_CODE = np.full(256, 255, dtype=np.uint8)
for _i, _base in enumerate(ALPHABET):
    _CODE[ord(_base)] = _i
_LETTER = np.frombuffer(ALPHABET.encode(), dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)
IUPAC = set("RYSWKMBDHV")


def encode(sequence: str) -> np.ndarray:
    """Upper-case A C G T N text to codes [length]. Raises ValueError naming the first other letter."""
    codes = _CODE[np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)]
    if (codes == 255).any():
        at = int(np.flatnonzero(codes == 255)[0])
        raise ValueError(f"base {sequence[at]!r} at offset {at}: wanted one of A C G T N")
    return codes


def decode(codes: np.ndarray) -> str:
    """Codes [length] to text."""
    return _LETTER[codes].tobytes().decode("ascii")


def normalise(sequence: str) -> tuple[str, int]:
    """Upper-case the sequence and turn IUPAC ambiguity letters into N.

    Soft-masked genomes are lower case, and a tokenizer turns a lower-case run into one unknown token.
    Returns the text and the number of ambiguity letters replaced. Raises ValueError on anything else.
    """
    upper = sequence.upper()
    others = set(upper) - set(ALPHABET)
    if not others:
        return upper, 0
    wrong = others - IUPAC
    if wrong:
        at = min(upper.index(letter) for letter in wrong)
        raise ValueError(f"letter {sequence[at]!r} at offset {at}: not a DNA base or IUPAC code")
    table = {ord(letter): "N" for letter in others}
    return upper.translate(table), sum(upper.count(letter) for letter in others)


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    return _COMPLEMENT[codes[..., ::-1]]


def one_hot(codes: np.ndarray, dtype: type = np.int8) -> np.ndarray:
    """[n, length] codes to [n, 4, length], rows A C G T, N all zero."""
    return (codes[:, None, :] == np.arange(4, dtype=np.uint8)[None, :, None]).astype(dtype)
