"""Files of a submission: their bytes, their lines as numbers, and the errors that name a file and a line."""

import dataclasses
import json
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xling_jax.errors import DataError, broken_line

BLANK = -1  # the number of a line that says nothing
_UNKNOWN = -2
_SLOTS = 1024  # a power of two, many more than a benchmark's task has words
_WORD = 8  # bytes compared at once
_MASKS = np.array([(1 << 8 * kept) - 1 for kept in range(_WORD + 1)], np.uint64)
_MARK = b"\xef\xbb\xbf"  # which some editors put before UTF-8

Scores = dict[str, float]  # percent, by metric


@dataclasses.dataclass(frozen=True)
class Scored:
    """What a file scores: the published scorer's metrics, and those that correct it where it is known to mislead.

    `unanswered` is the number of questions or mentions that have no answer and score 0.
    """

    published: Scores
    corrected: Scores = dataclasses.field(default_factory=dict)
    unanswered: int = 0


@dataclasses.dataclass(frozen=True)
class ScoreFile:
    """A file of predictions or labels. What is not as it must be is a DataError with its path and line."""

    path: pathlib.Path
    data: bytes

    def error(self, line: int, found: str, allowed: str) -> DataError:
        """Returns the error for a line, counted from 1."""
        return broken_line(str(self.path), line, found, allowed)

    def text(self) -> str:
        """Returns the content, with line ends as Python reads them."""
        text = self._decoded()
        return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text

    def _decoded(self) -> str:
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = self.data[: error.start].count(b"\n") + 1
            found = f"byte 0x{self.data[error.start]:02x} is not UTF-8"
            raise self.error(line, found, "text in UTF-8") from error

    def lines(self) -> list[str]:
        """Returns the lines, without white space around them."""
        lines = self.text().split("\n")
        return list(map(str.strip, lines if lines[-1] else lines[:-1]))

    def json(self, ids: bool = False, without: Sequence[str] = ()) -> Any:
        """Returns the one JSON document that the file is, in which no number is NaN.

        Args:
          ids: whether a key that comes twice in an object is an error.
          without: keys whose texts are not needed and become "". They are passed over unread.
        """
        text = self._decoded()
        try:
            return self._parsed(_blanked(text, without) if without else text, self._object if ids else None)
        except json.JSONDecodeError as error:
            if without:
                return self.json(ids)  # which says the right line
            found = f"column {error.colno}: {error.msg}"
            raise self.error(error.lineno, found, "one whole JSON document") from error
        except (RecursionError, ValueError) as error:  # brackets within brackets, or a number of thousands of digits
            raise self.error(1, str(error), "one whole JSON document") from error

    def _parsed(self, text: str, hook: Callable | None) -> Any:
        return json.loads(text, parse_constant=self._refuse, object_pairs_hook=hook)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            key = next(key for number, key in enumerate(keys) if key in keys[:number])
            raise self.error(self.line_of(key, 2), f"'{key}' again", "each id once")
        return found

    def _refuse(self, name: str) -> None:
        at = re.search(rf"(?<![\w\"]){re.escape(name)}(?![\w\"])", self._decoded())
        line = self._decoded().count("\n", 0, at.start() if at else 0) + 1
        raise self.error(line, f"{name}, which is no answer", "text, or a list of ids")

    def line_of(self, key: str, nth: int = 1) -> int:
        """Returns the line on which a JSON string stands for the nth time; the last time, if it is not there so often.

        Only errors ask: a parsed document has no lines.
        """
        spelled = "|".join(re.escape(json.dumps(key, ensure_ascii=ascii_)) for ascii_ in (True, False))
        text = self._decoded()
        places = [match.start() for match in re.finditer(spelled, text)]
        return text.count("\n", 0, places[min(nth, len(places)) - 1]) + 1 if places else 1


def _blanked(text: str, keys: Sequence[str]) -> str:
    """Returns a JSON document in which every text of some keys is empty, so that parsing takes a fraction of the time.

    A quoted word that a colon and a quote follow is a key: inside a text its own quotes would have backslashes.
    """
    name = re.compile(rf'"(?:{"|".join(map(re.escape, keys))})"\s*:\s*"')
    kept, begin = [], 0
    while match := name.search(text, begin):
        end = text.find('"', match.end())
        while end >= 0 and _backslashes(text, end) % 2:
            end = text.find('"', end + 1)
        if end < 0:
            break
        kept.append(text[begin : match.end()])
        begin = end
    return "".join([*kept, text[begin:]])


def _backslashes(text: str, end: int) -> int:
    """Returns how many backslashes stand right before a place."""
    begin = end
    while text[begin - 1] == "\\":
        begin -= 1
    return end - begin


def open_file(path: pathlib.Path) -> ScoreFile:
    """Reads a file that is there. Raises DataError if it cannot be read, or says nothing."""
    try:
        data = path.read_bytes().removeprefix(_MARK)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.\nAllowed: a file.") from error
    if not data or data.isspace():
        raise broken_line(str(path), 1, "the file is empty", "at least one answer")
    return ScoreFile(path, data)


def read_words(file: ScoreFile, known: Sequence[str]) -> np.ndarray:
    """Returns for each line the number of the word that it says, BLANK for a blank line.

    Compares eight bytes of all lines at once; no line becomes a string.

    Args:
      file: lines of one word.
      known: the words that a line may say, in ASCII.

    Raises:
      DataError: a line says something else.
    """
    numbers_N = _numbers(file.data, known)
    if numbers_N.min() == _UNKNOWN:  # white space around words, perhaps, or other line ends
        numbers_N = _numbers("\n".join([*file.lines(), ""]).encode(), known)
    if numbers_N.min() == _UNKNOWN:
        line = int((numbers_N == _UNKNOWN).argmax())
        raise file.error(line + 1, f"'{_shown(file.lines()[line])}'", " ".join(known))
    return numbers_N


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _numbers(data: bytes, known: Sequence[str]) -> np.ndarray:
    """Returns for each line the number of the word that it says, BLANK if it is empty, _UNKNOWN if it says another."""
    (ends_N,) = np.nonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    if not data.endswith(b"\n"):
        ends_N = np.append(ends_N, len(data))
    starts_N = np.concatenate([np.zeros(1, np.int64), ends_N[:-1] + 1])
    lengths_N = ends_N - starts_N
    words = [*known, ""]
    lengths_Y = np.array(list(map(len, words)))
    width = -(-int(lengths_Y.max()) // _WORD) * _WORD
    table = b"".join(word.encode("ascii").ljust(width, b"\0") for word in words)
    parts_Y = _parts(table, np.arange(len(words)) * width, lengths_Y, width)
    parts_N = _parts(data, starts_N, lengths_N, width)
    factor = _factor(parts_Y)
    word_of = np.zeros(_SLOTS, np.int32)
    word_of[_slots(parts_Y, factor)] = np.arange(len(words))
    near_N = word_of.take(_slots(parts_N, factor), mode="clip")
    same_N = parts_N[0] == parts_Y[0].take(near_N, mode="clip")
    for part_N, part_Y in zip(parts_N[1:], parts_Y[1:], strict=True):
        same_N &= part_N == part_Y.take(near_N, mode="clip")
    if lengths_N.max() > width or b"\0" in data:  # else the zeros after a word tell its length
        same_N &= lengths_N == lengths_Y.take(near_N, mode="clip")
    number_Y = np.array([*range(len(known)), BLANK], np.int32)
    numbers_N = number_Y.take(near_N, mode="clip")
    if not same_N.all():
        numbers_N[~same_N] = _UNKNOWN
    return numbers_N


def _parts(data: bytes, starts_N: np.ndarray, lengths_N: np.ndarray, width: int) -> list[np.ndarray]:
    """Returns the first `width` bytes of each text as numbers of eight bytes, zeros after its end."""
    padded = data + bytes(width)
    eight = np.ndarray(len(padded) - _WORD + 1, "<u8", padded, strides=(1,))  # from each byte on
    places = range(0, width, _WORD)
    return [eight.take(starts_N + at, mode="clip") & _MASKS.take(lengths_N - at, mode="clip") for at in places]


def _slots(parts: list[np.ndarray], factor: int) -> np.ndarray:
    """Returns the place of each text in a table of _SLOTS."""
    mixed = parts[0] * np.uint64(factor)
    for part in parts[1:]:
        mixed = (mixed + part) * np.uint64(factor)
    return (mixed >> np.uint64(64 - _SLOTS.bit_length() + 1)).view(np.int64)


def _factor(parts: list[np.ndarray]) -> int:
    """Returns the first odd number that gives each text a place of its own."""
    factors = (0x9E3779B97F4A7C15 * odd % 2**64 for odd in range(1, 2**20, 2))
    return next(factor for factor in factors if len(set(_slots(parts, factor).tolist())) == len(parts[0]))
