"""What a tokenizer and a length do to a cell, counted while it is prepared: the ceilings of every score on it."""

import dataclasses

import numpy as np

from xling_jax.data.formats import format_of_part
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.experiment import Part

TEXTS_HELD = 256


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
    """Counts the examples of one part, one after another. Texts are looked at many at once, which is cheaper."""

    def __init__(self, part: Part, tokenizer: Tokenizer):
        self._counts = TokenCounts()
        self._format = format_of_part(part, tokenizer)
        self._tokenizer = tokenizer
        self._max_length = part.max_length
        self._texts: list[str] = []  # not yet counted, and their ids
        self._ids: list[np.ndarray] = []

    @property
    def counts(self) -> TokenCounts:
        """Returns the counts of all examples so far."""
        self._count_texts()
        return self._counts

    def add(self, example: dict, made: list[dict[str, np.ndarray]]) -> None:
        """Counts an example and the features made of it."""
        counts = self._counts
        counts.examples += 1
        counts.features += len(made)
        asked, lost = self._format.demand(example, made, self._tokenizer, self._max_length)
        counts.tokens += asked
        counts.lost += lost
        counts.cut += lost > 0
        if "tokens" in example:
            self._ids += [feature["input_ids"] for feature in made]
            counts.pieces += asked
            counts.words += len(example["tokens"])
            counts.characters += len("".join(example["tokens"]))
        else:
            self._add_texts(example)
        if example.get("answers"):
            self._add_gold(example["context"], example["answers"][0]["text"], made)
        if len(self._ids) >= TEXTS_HELD:
            self._count_texts()

    def _add_texts(self, example: dict) -> None:
        for name in self._format.OWN:
            value = example.get(name, [])
            texts = value if isinstance(value, list) else [value]
            self._texts += texts
            for text in texts:
                ids = self._tokenizer.ids(text)
                self._ids.append(ids)
                self._counts.pieces += len(ids)

    def _count_texts(self) -> None:
        words = " ".join(self._texts).split()
        self._counts.words += len(words)
        self._counts.characters += len("".join(words))
        if self._ids:
            self._counts.unknown += int(np.count_nonzero(np.concatenate(self._ids) == self._tokenizer.unk))
        self._texts, self._ids = [], []

    def _add_gold(self, context: str, answer: str, made: list[dict[str, np.ndarray]]) -> None:
        said = [self._format.said(context, feature) for feature in made]
        self._counts.gold += 1
        self._counts.outside += not any(said)
        self._counts.inexact += any(said) and answer not in said
