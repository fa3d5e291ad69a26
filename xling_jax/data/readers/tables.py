"""Containers of records: tables with and without a header, JSON lines, JSON arrays.

Each function takes a cell's files and yields records; what a record means is said by `records.py`.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from xling_jax.data.readers.files import File, broken_place, columns_found, shown
from xling_jax.errors import DataError, broken_line
from xling_jax.tables.tasks import Cell

BLIND = "; XTREME's own download leaves the labels of its test files out"


@dataclasses.dataclass(frozen=True)
class Record:
    """One record: its file, the line it begins on (0 in a JSON array), its number from 1, and its columns.

    `broken` says what is wrong with the record as a whole, "" if nothing is.
    """

    file: File
    line: int
    number: int
    columns: Mapping[str, Any]
    broken: str = ""
    allowed: str = ""

    def error(self, found: str, allowed: str) -> DataError:
        """Returns the error for this record, with its place."""
        if self.line:
            return broken_line(self.file.path, self.line, found, allowed)
        return broken_place(self.file, f"element {self.number}", found, allowed)


def json_lines(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields a JSON object for each line."""
    del cell
    (file,) = files
    for number, line in enumerate(file.lines(), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            found = f"column {error.colno}: {error.msg}"
            raise broken_line(file.path, number, found, "one JSON object on each line") from error
        if not isinstance(row, dict):
            raise broken_line(file.path, number, shown(row), "one JSON object on each line")
        yield Record(file, number, number, row)


def json_array(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields the elements of one JSON array of objects."""
    del cell
    (file,) = files
    rows = file.json()
    if not isinstance(rows, list):
        raise broken_place(file, "document", shown(rows), "an array of objects")
    for number, row in enumerate(rows, start=1):
        record = Record(file, 0, number, row if isinstance(row, dict) else {})
        if not isinstance(row, dict):
            raise record.error(shown(row), "an object")
        yield record


def _named(rows: Iterator[tuple[int, list[str]]], file: File) -> Iterator[Record]:
    """Yields records of a table whose first row names the columns; rows are (line, cells)."""
    _, header = next(rows)
    for number, (line, values) in enumerate(rows, start=1):
        wrong = len(values) != len(header)
        broken = columns_found(values) if wrong else ""
        columns = {} if wrong else dict(zip(header, values, strict=True))
        yield Record(file, line, number, columns, broken, f"{len(header)} columns: {'<TAB>'.join(header)}")


def tsv(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields the rows of a table with a header, divided by tabs; a quotation mark is a character like others."""
    del cell
    (file,) = files
    return _named(((at, line.split("\t")) for at, line in enumerate(file.lines(), start=1)), file)


def _quoted(file: File, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields (line, cells) of a table where quotation marks may hold the delimiter and ends of lines."""
    reader = csv.reader(io.StringIO(file.text(), newline=""), delimiter=delimiter, strict=True)
    begin = 1
    try:
        for values in reader:
            yield begin, values
            begin = reader.line_num + 1
    except csv.Error as error:
        allowed = "quotation marks around a whole cell, doubled inside it"
        raise broken_line(file.path, begin, str(error), allowed) from error


def csv_commas(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields the rows of a table with a header, divided by commas, with quotation marks."""
    del cell
    (file,) = files
    return _named(_quoted(file, ","), file)


def csv_tabs(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields the rows of a table with a header, divided by tabs, with quotation marks."""
    del cell
    (file,) = files
    return _named(_quoted(file, "\t"), file)


def columns(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields the rows of a table without a header, divided by tabs; a quotation mark is a character like others."""
    (file,) = files
    return _numbered(((at, line.split("\t")) for at, line in enumerate(file.lines(), start=1)), file, cell)


def quoted_columns(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields the rows of a table without a header, divided by tabs, with quotation marks, as XTREME's download writes.

    Read without them, one in eight pairs of PAWS-X in Spanish, French and Korean has doubled quotation marks.
    """
    (file,) = files
    return _numbered(_quoted(file, "\t"), file, cell)


def _numbered(rows: Iterator[tuple[int, list[str]]], file: File, cell: Cell) -> Iterator[Record]:
    """Yields records of rows (line, cells); columns are named by their numbers, from 0.

    There are as many as the task's fields name; where labels are withheld, the last one may be missing.
    """
    name_of = {column: name for name, value in cell.row.fields.items() for column in value.split()}
    width = len(name_of)
    withheld = cell.row.splits[cell.split].labels == "withheld"
    allowed = "<TAB>".join(name_of[str(column)] for column in range(width)) + BLIND * (not withheld)
    for number, (line, values) in enumerate(rows, start=1):
        wrong = not width - withheld <= len(values) <= width
        broken = columns_found(values) if wrong else ""
        yield Record(file, line, number, {str(at): value for at, value in enumerate(values)}, broken, allowed)


def hellaswag(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields HellaSwag's JSON lines, or its plain text: `activity: context`, the label, four endings, a line each."""
    (file,) = files
    if ".txt" not in file.path:
        yield from json_lines(files, cell)
        return
    lines = list(file.lines())
    size = 2 + cell.row.choices
    for number, at in enumerate(range(0, len(lines), size), start=1):
        activity, colon, context = lines[at].partition(": ")
        record = Record(file, at + 1, number, {"activity_label": activity, "ctx": context})
        if not colon or len(lines) < at + size:
            raise record.error(
                f"'{lines[at][:40]}' and {len(lines) - at - 1} lines", f"activity: context, and {size - 1} lines"
            )
        rest = {"label": lines[at + 1], "endings": lines[at + 2 : at + size]}
        yield dataclasses.replace(record, columns={**record.columns, **rest})


def labelled_beside(files: list[File], cell: Cell) -> Iterator[Record]:
    """Yields JSON lines; where there is a second file, line i of it is the label of line i."""
    records = list(json_lines(files[:1], cell))
    if len(files) == 1:
        yield from records
        return
    labels = list(files[1].lines())
    if len(labels) != len(records):
        found = f"{len(labels)} labels for the {len(records)} lines of {files[0].path}"
        raise broken_line(files[1].path, min(len(labels), len(records)) + 1, found, "a label for each line")
    for record, label in zip(records, labels, strict=True):
        yield dataclasses.replace(record, columns={**record.columns, cell.row.fields["label"]: label})
