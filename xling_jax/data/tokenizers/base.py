"""What all tokenizers have in common: ids, spans in the original text, special tokens, words."""

import abc
import dataclasses
import functools
import hashlib
import sys
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

NONE = -1  # the id of a special token that a family does not have
TEXTS_KEPT = 256  # a context comes once for each of its questions, one after another
WORDS_KEPT = 100_000


@dataclasses.dataclass(frozen=True)
class Encoding:
    """Pieces of one text, without special tokens: `ids` int32 (L), `spans` int32 (L, 2). Read, never written.

    A span is [begin, end) in characters of the original text. Begins and ends never decrease. Spans
    do not start or end in white space; a piece that stands for white space only has an empty one.
    Pieces share a span when one character became several (in NFKC, '½' is three characters), or is
    spelled in bytes.
    """

    ids: np.ndarray
    spans: np.ndarray


@dataclasses.dataclass(frozen=True)
class Frame:
    """The special tokens around the texts of an input: before the first, between two, after the last; int32."""

    before: np.ndarray
    between: np.ndarray
    after: np.ndarray

    @classmethod
    def of(cls, before: Sequence[int], between: Sequence[int], after: Sequence[int]) -> "Frame":
        """Returns a frame of these ids."""
        return cls(*(np.array(ids, np.int32) for ids in (before, between, after)))


class Tokenizer(abc.ABC):
    """Text to ids. `size` counts all ids; `fingerprint` is a hash of everything that decides them.

    `bos`, `pad`, `eos`, `unk` and `mask` are ids, or NONE. Where a family has no padding of its own, `pad` is an id
    that no text is given; Qwen's is also its `eos`, so that padding is told by lengths and not by ids.
    `sentinels` are the ids that stand for what T5's span corruption takes out, in order. `goes_on` says that models of
    the family go on where a text ends: then a prompt has no end of text. `gap` is what a text begins with that stands
    behind another one and a space, where that decides its pieces.
    """

    goes_on = False
    gap = ""
    family: str
    size: int
    fingerprint: str
    frame: Frame
    bos: int
    pad: int
    eos: int
    unk: int
    mask: int = NONE
    sentinels: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._ids_of_text: dict[str, np.ndarray] = {}
        self._encoding_of_text: dict[str, Encoding] = {}
        self._ids_of_word: dict[str, list[int]] = {}

    def ids(self, text: str) -> np.ndarray:
        """Returns the ids of a text, int32 (L): those of `encode`, much sooner."""
        found = self._ids_of_text.get(text)
        if found is None:
            encoding = self._encoding_of_text.get(text)
            found = _keep(self._ids_of_text, text, encoding.ids if encoding else self._ids(text), TEXTS_KEPT)
        return found

    def encode(self, text: str) -> Encoding:
        """Returns the pieces of a text; none if it is empty or only white space."""
        found = self._encoding_of_text.get(text)
        if found is None:
            found = _keep(self._encoding_of_text, text, self._encode(text), TEXTS_KEPT)
        return found

    def later_ids(self, text: str) -> np.ndarray:
        """Returns the ids of a text that stands behind another one and a space."""
        return self.ids(self.gap + text)

    def later(self, text: str) -> Encoding:
        """Returns the pieces of a text that stands behind another one and a space; spans are those of the text."""
        found = self.encode(self.gap + text)
        return Encoding(found.ids, np.maximum(found.spans - len(self.gap), 0))

    def prompt(self, ids: np.ndarray) -> np.ndarray:
        """Returns a prompt with its special tokens, int32: one token at least."""
        parts = [self.frame.before, ids] + ([] if self.goes_on else [self.frame.after])
        return np.concatenate(parts, dtype=np.int32) if sum(map(len, parts)) else np.array([self.eos], np.int32)

    @abc.abstractmethod
    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Returns the pieces as the vocabulary writes them, for display."""

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text that ids say, without special tokens: that of `ids(text)` is the text as it is normalised.

        What the vocabulary has no piece for is not in it, or a mark.
        """
        special = {self.bos, self.pad, self.eos, self.mask, *self.sentinels}
        return self._decode([int(number) for number in ids if int(number) not in special])

    @abc.abstractmethod
    def _decode(self, ids: list[int]) -> str:
        """Does the work of `decode`."""

    def encode_words(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the pieces of words that are already divided, for tagging.

        Every word has at least one piece: `unk` (`eos` in a family without one) if the tokenizer finds
        none in it, so that each word of a sentence can be tagged.

        Returns:
          ids int32 (L), word_index int32 (L) into `words`, first_flag bool (L): first piece of its word.
        """
        ids: list[int] = []
        begins = []
        known = self._ids_of_word
        for word in self._as_written(words):
            begins.append(len(ids))
            ids += known.get(word) or self._word(word)
        first_flag = np.zeros(len(ids), bool)
        first_flag[begins] = True
        word_index = np.cumsum(first_flag, dtype=np.int32) - np.int32(1)
        return np.array(ids, np.int32), word_index, first_flag

    def _word(self, word: str) -> list[int]:
        nothing = self.eos if self.unk == NONE else self.unk
        return _keep(self._ids_of_word, word, self._ids(word).tolist() or [nothing], WORDS_KEPT)

    def _as_written(self, words: Sequence[str]) -> Sequence[str]:
        """Returns words as they stand in running text, where that decides their pieces."""
        return words

    def _ids(self, text: str) -> np.ndarray:
        return self._encode(text).ids

    @abc.abstractmethod
    def _encode(self, text: str) -> Encoding:
        """Does the work of `encode`."""


def _keep(memory: dict, key, value, most: int):
    """Returns a value after it is kept; a full memory is emptied first, so that it never grows without bound."""
    if len(memory) >= most:
        memory.clear()
    memory[key] = value
    return value


def fingerprint(*parts: bytes | str) -> str:
    """Returns a short hash of a vocabulary's content."""
    content = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.sha256(content).hexdigest()[:16]


def is_blank(character: str) -> bool:
    """White space, and the invisible characters (Cf, Cc) that nmt_nfkc turns into it or drops."""
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


@functools.cache
def _blank() -> np.ndarray:
    """Returns `is_blank` of every code point. Those between plane 1 and plane 14 hold ideographs or nothing."""
    table = np.zeros(sys.maxunicode + 1, bool)
    for planes in (range(0x20000), range(0xE0000, 0xE1000)):
        table[planes.start : planes.stop] = [is_blank(chr(code)) for code in planes]
    return table


def tighten(text: str, spans_Lx2: np.ndarray) -> np.ndarray:
    """Returns spans without the white space at their ends; one of white space only becomes empty, at its end."""
    codes_N = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    count, place_N1 = len(codes_N), np.arange(len(codes_N) + 1)
    blank_N = _blank()[codes_N]
    next_N1 = place_N1.copy()  # the first place from here on that is not blank
    next_N1[:-1][blank_N] = count
    next_N1 = np.minimum.accumulate(next_N1[::-1])[::-1]
    last_N1 = place_N1  # the last place up to here that has something before it
    last_N1[1:][blank_N] = 0
    last_N1 = np.maximum.accumulate(last_N1)
    begin_L = np.minimum(next_N1[spans_Lx2[:, 0]], spans_Lx2[:, 1])
    end_L = np.maximum(last_N1[spans_Lx2[:, 1]], begin_L)
    return np.stack([begin_L, end_L], axis=1).astype(np.int32)
