"""Parsers of the publishers' file formats. Each takes a cell's files and yields raw examples.

A line that does not say what its format promises is an error that names it: a reader never skips,
repairs or guesses, except where the publisher's own convention says so.

Ids are the same for translations of one example: the publisher's id where there is one, else the line
number. Lines of UD and Tatoeba are not parallel across languages, so their ids carry the language.
"""

import dataclasses
import io
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from xling_jax.data.seen import Seen
from xling_jax.errors import DataError, broken_line
from xling_jax.tables.tasks import Cell

NLI_FIELDS = ("sentence1", "sentence2", "gold_label")


@dataclasses.dataclass(frozen=True)
class File:
    """A file: its path, as a user would look for it, and where its bytes are, on disk or here in memory."""

    path: str
    content: pathlib.Path | bytes

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

    def text(self) -> str:
        """Returns the content. Raises DataError if it is empty or not UTF-8."""
        if not self.data.strip():
            raise self._empty()
        data = self.data
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._not_utf8(data[: error.start].count(b"\n") + 1, error) from error

    def _empty(self) -> DataError:
        return broken_line(self.path, 1, "the file is empty", "at least one example")

    def _not_utf8(self, line: int, error: UnicodeDecodeError) -> DataError:
        found = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        return broken_line(self.path, line, found, "text in UTF-8")

    def each_line(self) -> Iterator[str]:
        """Yields the lines that `lines` returns, one at a time, however long the file is."""
        held: list[str] = []  # blank lines at the beginning: an empty file, if no other line comes
        said = False
        with self.open() as stream:
            for number, line in enumerate(stream, start=1):
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

    def lines(self) -> list[str]:
        """Returns the lines without their ends, LF or CRLF; nothing else divides lines."""
        text = self.text().removesuffix("\n")
        return [line.removesuffix("\r") for line in text.split("\n")]


def read_tsv_text(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields each distinct sentence of an XNLI file (premise, hypothesis, label) once, in order."""
    del cell
    (file,) = files
    seen = Seen()
    for number, line in enumerate(file.each_line(), start=1):
        columns = line.split("\t")
        if len(columns) != 3 or not all(map(str.strip, columns)):
            raise broken_line(file.path, number, _columns(columns), "premise<TAB>hypothesis<TAB>label")
        for name, sentence in zip(("premise", "hypothesis"), columns[:2], strict=True):
            if sentence not in seen:
                seen[sentence] = number
                yield {"id": f"{number}.{name}", "text": sentence}


def read_jsonl_nli(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields MNLI pairs. A row with gold label '-' had no majority among annotators and is left out."""
    (file,) = files
    seen = Seen()
    for number, line in enumerate(file.each_line(), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            found = f"column {error.colno}: {error.msg}"
            raise broken_line(file.path, number, found, "one JSON object on each line") from error
        text, text_pair, label = (_line_field(file, number, row, name) for name in NLI_FIELDS)
        if label == "-":
            continue
        if label not in cell.row.labels:
            raise broken_line(file.path, number, f"label '{label}'", " ".join((*cell.row.labels, "-")))
        key = str(row.get("pairID", number))
        if key in seen:
            raise broken_line(file.path, number, f"id '{key}' of line {seen[key]} again", "ids that differ")
        seen[key] = number
        yield {"id": key, "text": text, "text_pair": text_pair, "label": label}


def read_tagged_tsv(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields sentences of lines token<TAB>tag; a blank line ends a sentence."""
    (file,) = files
    tokens: list[str] = []
    tags: list[str] = []
    count = 0
    for number, line in enumerate(itertools.chain(file.each_line(), [""]), start=1):
        if line:
            token, tag = _token_and_tag(file, number, line, cell.row.labels)
            tokens.append(token)
            tags.append(tag)
        elif tokens:
            count += 1
            yield {"id": f"{cell.language}.{count}", "tokens": tokens, "tags": tags}
            tokens, tags = [], []


def _token_and_tag(file: File, number: int, line: str, labels: tuple[str, ...]) -> tuple[str, str]:
    columns = line.split("\t")
    if len(columns) != 2 or not columns[0].strip():
        raise broken_line(file.path, number, _columns(columns), "token<TAB>tag, or a blank line after a sentence")
    if columns[1] not in labels:
        raise broken_line(file.path, number, f"tag '{columns[1]}'", " ".join(labels))
    return columns[0], columns[1]


def read_tatoeba(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields pairs of a sentence and its translation: line i of one file is line i of the other."""
    sides = [file.lines() for file in files]
    if len(sides[0]) != len(sides[1]):
        short, long = sorted((0, 1), key=lambda side: len(sides[side]))
        found = f"the file ends, but {files[long].path} has {len(sides[long])} lines"
        raise broken_line(files[short].path, len(sides[short]) + 1, found, "two files with as many lines")
    for number, pair in enumerate(zip(*sides, strict=True), start=1):
        for file, sentence in zip(files, pair, strict=True):
            if not sentence.strip():
                raise broken_line(file.path, number, "a blank line", "a sentence on each line")
        yield {"id": f"{cell.language}.{number}", "text": pair[0], "text_pair": pair[1]}


def read_squad_json(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields questions of a SQuAD v1.1 file; each has one answer or more, all slices of its context."""
    del cell
    (file,) = files
    try:
        document = json.loads(file.text())
    except json.JSONDecodeError as error:
        found = f"column {error.colno}: {error.msg}"
        raise broken_line(file.path, error.lineno, found, "one whole JSON document") from error
    seen: set[str] = set()
    for place, paragraph in _paragraphs(file, document):
        context = _field(file, place, paragraph, "context", str)
        for question in _field(file, place, paragraph, "qas", list):
            example = _question(file, place, question, context)
            if example["id"] in seen:
                raise _broken_place(file, f"question '{example['id']}'", "this id is there twice", "ids that differ")
            seen.add(example["id"])
            yield example
    if not seen:
        raise _broken_place(file, "document", "no question", "at least one")


def _paragraphs(file: File, document: Any) -> Iterator[tuple[str, Any]]:
    """Yields (where it is, paragraph)."""
    for a, article in enumerate(_field(file, "document", document, "data", list), start=1):
        for p, paragraph in enumerate(_field(file, f"article {a}", article, "paragraphs", list), start=1):
            yield f"article {a}, paragraph {p}", paragraph


def _question(file: File, place: str, question: Any, context: str) -> dict:
    key = _field(file, place, question, "id", str)
    place = f"question '{key}'"
    answers = []
    for answer in _field(file, place, question, "answers", list):
        text = _field(file, place, answer, "text", str)
        start = _field(file, place, answer, "answer_start", int)
        there = context[start : start + len(text)] if start >= 0 else ""
        if there != text or not text:
            allowed = f"the words that stand there in the context, '{there}'"
            raise _broken_place(file, place, f"answer '{text}' at character {start}", allowed)
        answers.append({"text": text, "start": start})
    if not answers:
        raise _broken_place(file, place, "no answer", "at least one (SQuAD v1.1)")
    return {
        "id": key,
        "question": _field(file, place, question, "question", str),
        "context": context,
        "answers": answers,
    }


def _field(file: File, place: str, record: Any, name: str, kind: type) -> Any:
    """Returns a field of a JSON object. Raises DataError if it is missing or of another type."""
    value = record.get(name) if isinstance(record, dict) else None
    if type(value) is not kind or (isinstance(value, str) and not _encodable(value)):
        found = f"field '{name}' is {_shown(value)}" if value is not None else f"no field '{name}'"
        raise _broken_place(file, place, found, f"'{name}', a {kind.__name__}")
    return value


def _line_field(file: File, number: int, row: Any, name: str) -> str:
    value = row.get(name) if isinstance(row, dict) else None
    if not isinstance(value, str) or not _encodable(value):
        found = f"field '{name}' is {_shown(value)}" if value is not None else f"no field '{name}'"
        raise broken_line(file.path, number, found, f"a JSON object with the texts {', '.join(NLI_FIELDS)}")
    return value


def _encodable(text: str) -> bool:
    """Says whether a text has no half of a UTF-16 pair, which JSON can spell and UTF-8 cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(value: Any) -> str:
    return ascii(value)[:60]


def _columns(columns: list[str]) -> str:
    empty = sum(not column.strip() for column in columns)
    return f"{len(columns)} column{'s' * (len(columns) != 1)}, {empty} of them empty"


def _broken_place(file: File, place: str, found: str, allowed: str) -> DataError:
    """Returns the error for a part of a JSON document, which has no line number once it is parsed."""
    return DataError(f"{file.path}: {place}: {found}.\nAllowed: {allowed}.")
