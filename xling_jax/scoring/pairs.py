"""Pairs of translations mined from two collections: which candidates are taken, and from which score on.

By the rules of XTREME's BUCC 2018 (its third_party/utils_retrieve.py): a sentence that stands in its collection more
than once is searched once, and no pair of it is an answer, as nothing says which of its ids is meant; the threshold is
the one with the best F1 over all gold pairs.
"""

import collections
import dataclasses
from collections.abc import Iterable

import numpy as np

from xling_jax.errors import DataError

SIDES = ("language", "pivot")
HALVES = 2


@dataclasses.dataclass(frozen=True)
class Side:
    """One collection: the example of each distinct sentence, and whether the sentence stands there only once."""

    number_N: np.ndarray
    once_N: np.ndarray


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Pairs of examples of either side, the best first."""

    score_N: np.ndarray
    language_N: np.ndarray
    pivot_N: np.ndarray

    def take(self, which: np.ndarray) -> "Candidates":
        """Returns some of them, by their numbers or by a mask."""
        return Candidates(self.score_N[which], self.language_N[which], self.pivot_N[which])


@dataclasses.dataclass(frozen=True)
class Sentences:
    """The examples of a cell: ids, gold translations (None where withheld), and both sides."""

    ids: list[str]
    gold: list[list[str] | None]
    sides: tuple[Side, Side]  # as SIDES

    @classmethod
    def of(cls, raw: Iterable[dict]) -> "Sentences":
        """Reads raw examples once. Space around a sentence does not tell it from another.

        Raises DataError if one of the sides has none.
        """
        ids, gold = [], []
        places: dict[str, dict[str, list[int]]] = {side: collections.defaultdict(list) for side in SIDES}
        for number, example in enumerate(raw):
            ids.append(example["id"])
            gold.append(example["gold"])
            places[example["side"]][example["text"].strip()].append(number)
        for side in SIDES:
            if not places[side]:
                raise DataError(
                    f"Of {len(ids)} sentences to be mined none is of the {side}.\nAllowed: sentences of both sides."
                )
        firsts = ([(numbers[0], len(numbers) == 1) for numbers in places[side].values()] for side in SIDES)
        language, pivot = (Side(*(np.array(column) for column in zip(*first, strict=True))) for first in firsts)
        return cls(ids, gold, (language, pivot))

    def candidates(self, score_N: np.ndarray, row_N: np.ndarray, column_N: np.ndarray) -> Candidates:
        """Returns pairs of distinct sentences as candidates, without those of repeated ones."""
        language, pivot = self.sides
        order_N = np.argsort(-score_N, kind="stable")
        order_N = order_N[language.once_N[row_N[order_N]] & pivot.once_N[column_N[order_N]]]
        return Candidates(score_N[order_N], language.number_N[row_N[order_N]], pivot.number_N[column_N[order_N]])

    def reachable(self) -> list[list[str]]:
        """Returns of the gold translations those that an answer can be: no sentence of theirs repeats."""
        once = {self.ids[number] for side in self.sides for number in side.number_N[side.once_N].tolist()}
        return [
            [other for other in pairs or () if {name, other} <= once]
            for name, pairs in zip(self.ids, self.gold, strict=True)
        ]

    def right(self, candidates: Candidates) -> np.ndarray:
        """Returns which candidates are gold."""
        pairs = zip(candidates.language_N.tolist(), candidates.pivot_N.tolist(), strict=True)
        return np.array([self.ids[pivot] in (self.gold[language] or ()) for language, pivot in pairs], bool)

    def answers(self, candidates: Candidates, threshold: float | np.ndarray) -> list[list[str]]:
        """Returns for each example the ids of its translations: candidates that score as much as their threshold."""
        found: list[list[str]] = [[] for _ in self.ids]
        taken = candidates.take(candidates.score_N >= threshold)
        for language, pivot in zip(taken.language_N.tolist(), taken.pivot_N.tolist(), strict=True):
            found[language].append(self.ids[pivot])
        return found


def one_to_one(score_N: np.ndarray, row_N: np.ndarray, column_N: np.ndarray) -> np.ndarray:
    """Returns which pairs are kept, best first: those with no text of a better one, or of an equal one before."""
    kept: list[int] = []
    rows: set[int] = set()
    columns: set[int] = set()
    pairs = list(zip(row_N.tolist(), column_N.tolist(), strict=True))
    for number in np.argsort(-score_N, kind="stable").tolist():
        row, column = pairs[number]
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            kept.append(number)
    return np.array(kept, np.int64)


def both_ways(
    forward: tuple[np.ndarray, np.ndarray], backward: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (scores, rows, columns), one to one, of each row's best column and each column's best row.

    Both are given as (scores, numbers).
    """
    score_N = np.concatenate([forward[0], backward[0]])
    row_N = np.concatenate([np.arange(len(forward[1])), backward[1]])
    column_N = np.concatenate([forward[1], np.arange(len(backward[1]))])
    kept = one_to_one(score_N, row_N, column_N)
    return score_N[kept], row_N[kept], column_N[kept]


def best_threshold(score_N: np.ndarray, right_N: np.ndarray, gold: int) -> float:
    """Returns the threshold with the best F1 for candidates given best first, the highest one if there are several.

    It lies midway between the last score that is taken and the next one, and is 0 if no candidate is right, both as in
    XTREME's code. Candidates of one score are taken together; there the code counts on the order of equals.

    Args:
      score_N: scores, falling.
      right_N: which candidates are gold.
      gold: how many pairs are gold, found or not.
    """
    if not right_N.any():
        return 0.0
    f1_N = 2 * np.cumsum(right_N) / (np.arange(1, len(score_N) + 1) + gold)
    next_N = np.append(score_N[1:], -np.inf)
    at = int(np.argmax(np.where(next_N < score_N, f1_N, -1.0)))
    midway = float(score_N[at] + next_N[at]) / 2
    return midway if midway > next_N[at] else float(score_N[at])  # there may be no number between


def tuned(candidates: Candidates, sentences: Sentences) -> float:
    """Returns the best threshold for candidates whose gold pairs are known."""
    gold = sum(len(pairs or ()) for pairs in sentences.gold)
    return best_threshold(candidates.score_N, sentences.right(candidates), gold)


def crossfit(candidates: Candidates, sentences: Sentences) -> np.ndarray:
    """Returns a threshold for each candidate: the best one of the other half of the examples.

    So no candidate is judged by a threshold that its own gold had a part in. Halves are the even and the odd numbers of
    the language's sentences in their file.
    """
    right_N, half_N = sentences.right(candidates), candidates.language_N % HALVES
    of_half = [
        best_threshold(
            candidates.score_N[half_N == half],
            right_N[half_N == half],
            sum(len(pairs or ()) for pairs in sentences.gold[half::HALVES]),
        )
        for half in range(HALVES)
    ]
    return np.array(of_half)[1 - half_N]
