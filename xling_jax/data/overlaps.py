"""Texts that stand in two cells, found by their hashes: eight bytes for each text, whatever its length.

White space does not count, so that a sentence and its tokens are the same; short texts do not count either, because
"Thank you." proves nothing.
"""

import collections
import dataclasses
import functools
import hashlib
import itertools

import numpy as np

from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.tasks import Cell

SPACED, UNSPACED = 24, 12  # the least characters, by whether spaces divide a language's words
LEAST = 5  # texts that two cells share; a sentence or two come by chance
NUMBERS = np.uint64


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Texts that two splits share: how many, the share of the second one's texts in percent, and where.

    `trains` says that the first is one to train on; the second never is. `languages` are those of the second where
    at least `LEAST` texts are shared, and the share is of their texts.
    """

    first: str
    second: str
    texts: int
    percent: float
    languages: tuple[str, ...]
    trains: bool


def is_for_training(cell: Cell) -> bool:
    """Whether a cell is one to train on, by its name or because it has no answers."""
    return cell.split.startswith("train") or cell.row.kind == "mlm"


def texts(example: dict) -> list[str]:
    """Returns the texts of an example, whatever its kind, but for choices: many are the same word."""
    names = ("text", "text_pair", "question", "context")
    found = [example[name] for name in names if name in example]
    return [*found, " ".join(example["tokens"])] if "tokens" in example else found


class Texts:
    """The texts of many cells, by hashes; cells are added one after another."""

    def __init__(self):
        self._cells: list[Cell] = []
        self._hashes: list[np.ndarray] = []
        self._current: set[int] = set()

    def add(self, cell: Cell, example: dict) -> None:
        """Adds the texts of an example of the cell that is being read."""
        least = SPACED if LANGUAGES[cell.language].spaced else UNSPACED
        for text in texts(example):
            number = _hash(text, least)
            if number is not None:
                self._current.add(number)

    def close(self, cell: Cell) -> None:
        """Ends a cell."""
        self._cells.append(cell)
        self._hashes.append(np.fromiter(self._current, NUMBERS, len(self._current)))
        self._current = set()

    def overlaps(self) -> list[Overlap]:
        """Returns what is shared by cells of different splits, most of the second one first.

        Two sets to train on may share what they like.
        """
        shared = self._shared()
        found: dict[tuple[str, str], list[tuple[Cell, int, int]]] = collections.defaultdict(list)
        for (one, other), count in shared.items():
            first, second = self._directed(one, other)
            names = self._name(first), self._name(second)
            if count >= LEAST and names[0] != names[1] and not is_for_training(self._cells[second]):
                found[names].append((self._cells[second], count, len(self._hashes[second])))
        rows = [_overlap(first, second, there) for (first, second), there in found.items()]
        return sorted(rows, key=lambda row: (-row.percent, row.first, row.second))

    def _shared(self) -> collections.Counter:
        """Returns {(number of a cell, number of a later one): texts in both}."""
        cell_of = np.repeat(np.arange(len(self._cells)), [len(hashes) for hashes in self._hashes])
        hashes = np.concatenate([*self._hashes, np.zeros(0, NUMBERS)])
        order = np.lexsort((cell_of, hashes))
        hashes, cell_of = hashes[order], cell_of[order]
        edges = np.flatnonzero(np.diff(hashes, prepend=hashes[:1]) != 0)
        groups = (group for group in np.split(cell_of, edges) if len(group) > 1)
        return collections.Counter(pair for group in groups for pair in itertools.combinations(group.tolist(), 2))

    def _name(self, at: int) -> str:
        return f"{self._cells[at].task}.{self._cells[at].split}"

    def _directed(self, one: int, other: int) -> tuple[int, int]:
        """Returns both with what is trained on first; else the larger first."""
        ranks = [(not is_for_training(self._cells[at]), -len(self._hashes[at])) for at in (one, other)]
        return (one, other) if ranks[0] <= ranks[1] else (other, one)


def _overlap(first: str, second: str, there: list[tuple[Cell, int, int]]) -> Overlap:
    """Returns a row of what two splits share, from (cell of the second, texts shared, its texts) of their cells."""
    best = {}
    for cell, count, total in there:  # of several cells that share texts with one, the one that shares most
        best[cell] = max(best.get(cell, (0, 0)), (count, total))
    count, total = (sum(pair[place] for pair in best.values()) for place in (0, 1))
    languages = tuple(sorted(cell.language for cell in best))
    trains = is_for_training(Cell(*first.split("."), language=""))
    return Overlap(first, second, count, round(100 * count / total, 2), languages, trains)


@functools.lru_cache(maxsize=4096)
def _hash(text: str, least: int) -> int | None:
    """Returns 8 bytes of a text's hash; None if it is too short. Contexts come many times in a row."""
    squeezed = "".join(text.split())
    if len(squeezed) < least:
        return None
    return int.from_bytes(hashlib.blake2b(squeezed.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
