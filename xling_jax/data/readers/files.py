"""Files, and the errors for what they say."""

import bz2
import collections
import dataclasses
import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from xling_jax.errors import DataError, broken_line

BLOCK = 1 << 20  # bytes


@dataclasses.dataclass(frozen=True)
class File:
    """A file as it was published: its path, as a user would look for it, and its bytes, on disk or here in memory.

    `faults` counts what a reader met of the faults that the row names.
    """

    path: str
    content: pathlib.Path | bytes
    faults: collections.Counter = dataclasses.field(default_factory=collections.Counter, compare=False)

    @property
    def data(self) -> bytes:
        """Returns all bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @property
    def size(self) -> int:
        """Returns the number of bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def open(self) -> BinaryIO:
        """Returns the bytes as a stream."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def blocks(self) -> Iterator[bytes]:
        """Yields the bytes, a part at a time."""
        with self.open() as stream:
            while block := stream.read(BLOCK):
                yield block

    def text(self) -> str:
        """Returns the content. Raises DataError if it is empty or not UTF-8."""
        data = b"".join(self._unpacked())
        if not data.strip():
            raise self._empty()
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._not_utf8(data[: error.start].count(b"\n") + 1, error) from error

    def _empty(self) -> DataError:
        return broken_line(self.path, 1, "the file is empty", "at least one example")

    def _not_utf8(self, line: int, error: UnicodeDecodeError) -> DataError:
        found = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        return broken_line(self.path, line, found, "text in UTF-8")

    def lines(self) -> Iterator[str]:
        """Yields the lines without their ends, LF or CRLF, one at a time; nothing else divides lines.

        Raises DataError if there is nothing but blank lines, or where a line is not UTF-8.
        """
        held: list[str] = []  # blank lines at the beginning: an empty file, if no other line comes
        said = False
        for number, line in enumerate(self._unpacked(), start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise self._not_utf8(number, error) from error
            held.append(text.removesuffix("\n").removesuffix("\r"))
            if said or text.strip():
                said = True
                yield from held
                held.clear()
        if not said:
            raise self._empty()

    def _unpacked(self) -> Iterator[bytes]:
        """Yields the lines of the file, with their ends, out of its packing if it has one."""
        with self.open() as stream:
            if not self.path.endswith(".bz2"):
                yield from stream
                return
            try:
                with bz2.open(stream) as unpacked:
                    yield from unpacked
            except (OSError, EOFError, ValueError) as error:
                raise DataError(f"{self.path} is not a whole .bz2 file ({error}).\nCopy it again.") from error

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
