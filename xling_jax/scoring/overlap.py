"""Words of a text in any language, and how rare they are: what the floors compare texts by."""

import collections
import math
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

# In a language without spaces a word is a run of Latin letters and digits, or any other character.
_UNSPACED = re.compile(r"[0-9A-Za-z]+|\S")


def words(text: str, spaced: bool) -> list[str]:
    """Returns the words of a text in lower case, without punctuation at their ends."""
    return [word for word, _, _ in words_with_spans(text, spaced)]


def words_with_spans(text: str, spaced: bool) -> list[tuple[str, int, int]]:
    """Returns (word, begin, end) with [begin, end) in characters of the text.

    Args:
      text: the text.
      spaced: whether spaces divide words (a column of `tables/languages.py`).
    """
    found = []
    for match in (re.compile(r"\S+") if spaced else _UNSPACED).finditer(text):
        begin, end = match.span()
        while begin < end and is_punctuation(text[begin]):
            begin += 1
        while begin < end and is_punctuation(text[end - 1]):
            end -= 1
        if begin < end:
            found.append((text[begin:end].lower(), begin, end))
    return found


def is_punctuation(character: str) -> bool:
    """Says whether a character is punctuation: ASCII's, with its symbols, or Unicode's class P."""
    return character in string.punctuation or unicodedata.category(character).startswith("P")


class Rarity(Mapping[str, float]):
    """Inverse document frequency, log((1 + texts) / (1 + texts with the word)) + 1, of any word."""

    def __init__(self, texts: Iterable[Iterable[str]]):
        self._texts_with: collections.Counter[str] = collections.Counter()
        self._texts = 0
        for text in texts:
            self._texts_with.update(set(text))
            self._texts += 1

    def __getitem__(self, word: str) -> float:
        return math.log((1 + self._texts) / (1 + self._texts_with[word])) + 1

    def __iter__(self):
        return iter(self._texts_with)

    def __len__(self) -> int:
        return len(self._texts_with)

    def shared(self, one: Iterable[str], other: Iterable[str]) -> float:
        """Returns the summed rarity of the distinct words of both texts."""
        return sum(map(self.__getitem__, sorted(set(one) & set(other))))


class Bags:
    """Many texts as bags of words weighted by rarity, to be searched for those most like another one by cosine."""

    def __init__(self, bags: Sequence[Iterable[str]], rarity: Rarity):
        self._rarity = rarity
        holders = collections.defaultdict(list)
        norms = []
        for row, bag in enumerate(bags):
            distinct = sorted(set(bag))
            norms.append(math.sqrt(sum(rarity[word] ** 2 for word in distinct)))
            for word in distinct:
                holders[word].append(row)
        self._norm_N = np.maximum(norms, 1e-9)
        self._holders = {word: np.array(rows, np.int32) for word, rows in holders.items()}

    def cosines(self, bag: Iterable[str]) -> np.ndarray:
        """Returns how much each text is like a bag of words, from 0 to 1."""
        scores_N, norm = np.zeros(len(self._norm_N)), 0.0
        for word in sorted(set(bag)):
            weight = self._rarity[word] ** 2
            norm += weight
            if word in self._holders:
                scores_N[self._holders[word]] += weight
        return scores_N / (self._norm_N * max(math.sqrt(norm), 1e-9))

    def nearest(self, bag: Iterable[str], count: int) -> list[int]:
        """Returns the numbers of the texts most like a bag of words, best first, and first the first of equals."""
        scores_N = self.cosines(bag)
        count = min(count, len(scores_N))
        worst = np.partition(scores_N, -count)[-count]
        among_N = np.flatnonzero(scores_N >= worst)
        return among_N[np.argsort(-scores_N[among_N], kind="stable")][:count].tolist()
