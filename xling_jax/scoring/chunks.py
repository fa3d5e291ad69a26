"""Chunks of tagged sentences by the rule of seqeval 0.0.12, over many sentences at once.

A tag's class is its first character and its type is what follows its last '-'. So `B-PER` has class B and type
PER; the part of speech `NOUN` has class N and type NOUN. In a text tagged with parts of speech a run of one tag is
one chunk, but each tag that begins with S (SCONJ, SYM) is a chunk by itself, as if S meant 'single'.
"""

from collections.abc import Callable, Sequence

import numpy as np

OUTSIDE = "O"


def _starts(before: str, after: str) -> bool:
    """Says whether classes of two neighbours begin a chunk with the second."""
    return after in "BS" or before + after in ("EE", "EI", "SE", "SI", "OE", "OI")


def _ends(before: str, after: str) -> bool:
    """Says whether classes of two neighbours end a chunk with the first."""
    return before in "ES" or before + after in ("BB", "BS", "BO", "IB", "IS", "IO")


class Tagset:
    """The tags of some sentences, numbered; `outside` is the number of 'O', which also stands between sentences."""

    def __init__(self, tags: Sequence[str]):
        """Numbers tags as they come; 'O' is added where it is missing."""
        self.tags = (*tags, *([] if OUTSIDE in tags else [OUTSIDE]))
        self.number_of = {tag: number for number, tag in enumerate(self.tags)}
        self.outside = self.number_of[OUTSIDE]
        self.types = [tag.rpartition("-")[2] for tag in self.tags]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(self.types))}
        self._type_Y = np.array([numbers[name] for name in self.types], np.int16)
        differs_YxY = self._type_Y[:, None] != self._type_Y[None, :]
        typed_Y = np.array([tag[0] not in "O." for tag in self.tags])  # these also begin and end where types change
        self._starts_YY = (self._by_class(_starts) | (typed_Y[None, :] & differs_YxY)).ravel()
        self._ends_YY = (self._by_class(_ends) | (typed_Y[:, None] & differs_YxY)).ravel()

    def _by_class(self, rule: Callable[[str, str], bool]) -> np.ndarray:
        """Returns what a rule says of the classes of each tag before each other."""
        classes = "".join(dict.fromkeys(tag[0] for tag in self.tags))
        class_Y = np.array([classes.index(tag[0]) for tag in self.tags])
        table = np.array([[rule(before, after) for after in classes] for before in classes])
        return table[class_Y[:, None], class_Y[None, :]]

    def begins(self, tags_T: np.ndarray) -> np.ndarray:
        """Returns, for each place where a chunk ends, the place where it begins; -1 elsewhere.

        Args:
          tags_T: numbers of tags, sentence after sentence, `outside` between two sentences and after the last.
        """
        assert not len(tags_T) or tags_T[-1] == self.outside, "the last sentence does not end"
        pairs_T = tags_T * np.int32(len(self.tags))
        pairs_T[1:] = tags_T[1:] + pairs_T[:-1]  # (the tag before, the tag); before the first is the last, outside
        pairs_T[:1] = tags_T[:1] + self.outside * len(self.tags)
        places_T = np.arange(len(tags_T), dtype=np.int32)
        last_start_T = np.maximum.accumulate(places_T * self._starts_YY.take(pairs_T, mode="clip"))
        ends_T = np.zeros(len(tags_T), bool)
        ends_T[:-1] = self._ends_YY.take(pairs_T[1:], mode="clip")
        return np.where(ends_T, last_start_T, np.int32(-1))

    def matches(self, gold_T: np.ndarray, tags_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns where a chunk ends: one that both have, one of the gold tags, one of the others."""
        gold_begins_T, begins_T = self.begins(gold_T), self.begins(tags_T)
        gold_ends_T, ends_T = gold_begins_T >= 0, begins_T >= 0
        same_T = ends_T & (gold_begins_T == begins_T) & (self._type_Y.take(gold_T) == self._type_Y.take(tags_T))
        return same_T, gold_ends_T, ends_T


def chunks(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Returns the chunks of one sentence, (type, first, last)."""
    tagset = Tagset(list(dict.fromkeys(tags)))
    begins_T = tagset.begins(np.array([*map(tagset.number_of.__getitem__, tags), tagset.outside]))
    (ends_N,) = np.nonzero(begins_T >= 0)
    return {(tagset.types[tagset.number_of[tags[end]]], int(begins_T[end]), int(end)) for end in ends_N}
