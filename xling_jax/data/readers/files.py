"""Files in memory, and the errors for what they say."""

import bz2
import collections
import dataclasses
import json
from typing import Any

from xling_jax.errors import DataError, broken_line


@dataclasses.dataclass(frozen=True)
class File:
    """A file in memory: its path, as a user would look for it, and its bytes, as they are published.

    `faults` counts what a reader met of the faults that the row names.
    """

    path: str
    data: bytes
    faults: collections.Counter = dataclasses.field(default_factory=collections.Counter, compare=False)

    def text(self) -> str:
        """Returns the content. Raises DataError if it is empty or not UTF-8."""
        data = self._unpacked()
        if not data.strip():
            raise broken_line(self.path, 1, "the file is empty", "at least one example")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            found = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
            raise broken_line(self.path, line, found, "text in UTF-8") from error

    def _unpacked(self) -> bytes:
        if not self.path.endswith(".bz2"):
            return self.data
        try:
            return bz2.decompress(self.data)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path} is not a whole .bz2 file ({error}).\nCopy it again.") from error

    def lines(self) -> list[str]:
        """Returns the lines without their ends, LF or CRLF; nothing else divides lines."""
        text = self.text().removesuffix("\n")
        return [line.removesuffix("\r") for line in text.split("\n")]

    def json(self) -> Any:
        """Returns the one JSON document that the file is. Raises DataError with its line if it is not whole."""
        try:
            return json.loads(self.text())
        except json.JSONDecodeError as error:
            found = f"column {error.colno}: {error.msg}"
            raise broken_line(self.path, error.lineno, found, "one whole JSON document") from error


def broken_place(file: File, place: str, found: str, allowed: str) -> DataError:
    """Returns the error for a part of a JSON document, which has no line number once it is parsed."""
    return DataError(f"{file.path}: {place}: {found}.\nAllowed: {allowed}.")


def encodable(text: str) -> bool:
    """Says whether a text has no half of a UTF-16 pair, which JSON can spell and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def shown(value: Any) -> str:
    """Returns a value as an error quotes it."""
    return ascii(value)[:60]


def columns_found(columns: list[str]) -> str:
    """Returns what an error says about the columns of a line."""
    empty = sum(not column.strip() for column in columns)
    return f"{len(columns)} column{'s' * (len(columns) != 1)}, {empty} of them empty"
