"""What a tokenizer and a length do to a cell, counted while it is prepared: the ceilings of every score on it."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from xling_jax.data.formats import format_of
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.experiment import Part

TEXTS_KEPT = 256


@dataclasses.dataclass
class TokenCounts:
    """Counts over the examples of a part of a cell.

    `tokens` are those of the inputs before cutting, `lost` those that no input has, `cut` the examples that lost some.
    `pieces`, `unknown`, `words` (divided by white space, or as the data divides them) and `characters` (without
    white space) are of the texts in the cell's own language. Of `gold` answers to span questions `outside` are those
    that no window holds, and `inexact` those whose tokens say more than the answer.
    """

    examples: int = 0
    features: int = 0
    tokens: int = 0
    cut: int = 0
    lost: int = 0
    pieces: int = 0
    unknown: int = 0
    words: int = 0
    characters: int = 0
    gold: int = 0
    outside: int = 0
    inexact: int = 0

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        """Returns the counts of two parts together."""
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return TokenCounts(*(one + another for one, another in zip(mine, theirs, strict=True)))


class TokenCounter:
    """Counts the examples of one part, one after another."""

    def __init__(self, part: Part, tokenizer: Tokenizer):
        self.counts = TokenCounts()
        self._format = format_of(part.cell.row.kind)
        self._tokenizer = tokenizer
        self._max_length = part.max_length
        self._measured: dict[str, tuple[int, int, int, int]] = {}  # a context comes once for each of its questions

    def add(self, example: dict, made: list[dict[str, np.ndarray]]) -> None:
        """Counts an example and the features made of it."""
        counts = self.counts
        counts.examples += 1
        counts.features += len(made)
        asked, lost = self._format.demand(example, made, self._tokenizer, self._max_length)
        counts.tokens += asked
        counts.lost += lost
        counts.cut += lost > 0
        if "tokens" in example:
            self._add_text(asked, self._unknown(made), len(example["tokens"]), sum(map(len, example["tokens"])))
        else:
            for text in _texts(example, self._format.OWN):
                self._add_text(*self._measure(text))
        if example.get("answers"):
            self._add_gold(example["context"], example["answers"][0]["text"], made)

    def _add_text(self, pieces: int, unknown: int, words: int, characters: int) -> None:
        self.counts.pieces += pieces
        self.counts.unknown += unknown
        self.counts.words += words
        self.counts.characters += characters

    def _measure(self, text: str) -> tuple[int, int, int, int]:
        """Returns pieces, unknown ones, words and characters of a text."""
        found = self._measured.get(text)
        if found is None:
            ids, words = self._tokenizer.ids(text), text.split()
            found = len(ids), int(np.count_nonzero(ids == self._tokenizer.unk)), len(words), sum(map(len, words))
            if len(self._measured) >= TEXTS_KEPT:
                self._measured.clear()
            self._measured[text] = found
        return found

    def _unknown(self, made: list[dict[str, np.ndarray]]) -> int:
        return sum(int(np.count_nonzero(feature["input_ids"] == self._tokenizer.unk)) for feature in made)

    def _add_gold(self, context: str, answer: str, made: list[dict[str, np.ndarray]]) -> None:
        said = [_said(context, feature) for feature in made]
        self.counts.gold += 1
        self.counts.outside += not any(said)
        self.counts.inexact += any(said) and answer not in said


def _texts(example: dict, fields: Iterable[str]) -> Iterable[str]:
    for name in fields:
        value = example[name]
        yield from value if isinstance(value, list) else (value,)


def _said(context: str, feature: dict[str, np.ndarray]) -> str:
    """Returns what a window's label says as a slice of the context; "" where the label is not in the context."""
    start, end = int(feature["start"]), int(feature["end"])
    begin, stop = int(feature["spans"][start, 0]), int(feature["spans"][end, 1])
    return context[begin:stop] if start >= 0 and begin >= 0 else ""
