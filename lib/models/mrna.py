"""mRNA records and their tokens: single nucleotides, with a mark before each codon of the coding region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.models.tokens import Encoded, Tokenizer, refuse_letters

UTR5, CDS, UTR3 = 0, 1, 2
#: Helix-mRNA's vocabulary: nucleotides, the mark before a codon, and what ends a sequence and pads it.
IDS = {"A": 7, "C": 8, "G": 9, "U": 10, "T": 10, "N": 11}
CODON, SEP = 12, 1


@dataclass(frozen=True)
class MRNA:
    """One transcript, in the sense direction.

    sequence: upper-case A C G U N, or T for U. cds: where the coding region starts and ends, 0-based, half-open, in
    nucleotides, stop codon included, whole codons only; None when there is none or it is not known. Raises ValueError.
    """

    id: str
    sequence: str
    cds: tuple[int, int] | None = None

    def __post_init__(self):
        try:
            refuse_letters(self.sequence, "".join(IDS))
        except ValueError as error:
            raise ValueError(f"mRNA {self.id}: {error}") from error
        if not self.sequence:
            raise ValueError(f"mRNA {self.id}: the sequence is empty")
        if self.cds is None:
            return
        start, end = self.cds
        if not 0 <= start < end <= len(self):
            raise ValueError(f"mRNA {self.id}: coding region {start} to {end} is not inside 0 to {len(self)}")
        if (end - start) % 3:
            raise ValueError(f"mRNA {self.id}: coding region {start} to {end} has {end - start} nt, not whole codons")

    def __len__(self) -> int:
        return len(self.sequence)


class MRNATokenizer(Tokenizer):
    """Helix-mRNA's characters: A C G U N, `E` before each codon of the coding region, [SEP] at the end.

    A mark stands for no nucleotide and is not kept. Columns: region (0 5'UTR, 1 coding, 2 3'UTR; -1 when no coding
    region is known), codon (number in the coding region, from 0) and frame (0, 1, 2 in its codon), -1 outside it.
    Padding has the id of [SEP], as the model was trained: only the batch's mask tells them apart.
    """

    pad_token_id, unk_token_id, mask_token_id = SEP, 6, 3
    letters = "".join(IDS)

    def __init__(self):
        self.table = np.zeros(256, dtype=np.int32)
        for letter, i in IDS.items():
            self.table[ord(letter)] = i

    def encode(self, record: MRNA) -> Encoded:
        """Tokens of one transcript with their nucleotides."""
        n = len(record)
        start, stop = record.cds or (n, n)
        place = np.arange(n, dtype=np.int32)
        base = self.table[np.frombuffer(record.sequence.encode("ascii"), dtype=np.uint8)]
        inside = (place >= start) & (place < stop)
        at = np.arange(start, stop, 3)

        def marked(values: np.ndarray, mark: int, end: int) -> np.ndarray:
            return np.append(np.insert(values, at, mark), end).astype(np.int32)

        region = np.select([place < start, inside], [UTR5, CDS], UTR3) if record.cds else np.full(n, -1)
        columns = {
            "region": region,
            "codon": np.where(inside, (place - start) // 3, -1),
            "frame": np.where(inside, (place - start) % 3, -1),
        }
        first = marked(place, -1, -1)
        return Encoded(
            marked(base, CODON, SEP), first, np.where(first >= 0, first + 1, -1).astype(np.int32),
            first >= 0, columns={name: marked(values, -1, -1) for name, values in columns.items()},
        )  # fmt: skip

    def words(self, ids: Sequence[int]) -> list[str]:
        """The nucleotide that each token stands for; U for U and T, nothing for a mark or a special."""
        letter = {i: word for word, i in IDS.items() if word != "T"}
        return [letter.get(i, "") for i in ids]

    def source(self, record: MRNA, start: int, end: int) -> str:
        return record.sequence[start:end].replace("T", "U")
