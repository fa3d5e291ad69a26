"""Records to raw examples: texts, pairs of texts and multiple choice, by the row's `fields` and `words`."""

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

from xling_jax.data.readers import tables
from xling_jax.data.readers.files import File, encodable, shown
from xling_jax.data.readers.tables import Record
from xling_jax.errors import DataError, broken_line
from xling_jax.tables.tasks import Cell

NO_LABEL = "labels that are there, or a split whose row says that they are withheld"


class _LeftOut(Exception):
    """Raised for a record without an agreed label."""


def read_records(container: Callable, files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields the examples of a cell's records.

    Raises:
      DataError: a record does not say what the row promises, an id is there twice, or nothing is there.
    """
    faults = cell.row.faults.split()
    of_language = cell.row.fields.get("language", "")
    seen: dict[str, int] = {}
    number = 0
    for record in container(files, cell):
        if of_language and str(_column(record, of_language)) != cell.language:
            continue
        number += 1
        try:
            example = _example(record, cell, number)
        except _LeftOut:
            continue
        except DataError:
            if "rows" not in faults:
                raise
            record.file.faults["rows left out"] += 1
            continue
        yield _with_its_own_id(example, seen, record, number, "ids" in faults or "source_id" in example)
    if not seen:
        raise broken_line(files[0].path, 1, f"no example for cell {cell}", "at least one example")


def _with_its_own_id(example: dict, seen: dict[str, int], record: Record, number: int, repeats: bool) -> dict:
    """Returns the example, with another id if it repeats one and may; else raises the error that it does."""
    key = example["id"]
    if key in seen:
        if not repeats:
            where = f"line {seen[key]}" if record.line else f"element {seen[key]}"
            raise record.error(f"id '{key}' of {where} again", "ids that differ")
        record.file.faults["ids that repeat"] += 1
        example["id"] = key = f"{key}.{number}"
    seen[key] = record.line or record.number
    return example


def _example(record: Record, cell: Cell, number: int) -> dict:
    if record.broken:
        raise record.error(record.broken, record.allowed)
    fields = cell.row.fields
    example = {"id": _id(record, cell, number)}
    blank = "blank" in cell.row.faults.split()
    if "source" in fields:
        texts = "\t".join(_text(record, name, False) for name in fields["source"].split())
        example["id"] = example["source_id"] = hashlib.sha256(texts.encode()).hexdigest()[:16]
    example["text"] = _text(record, fields["text"], blank)
    if cell.row.kind == "mlm":
        return example
    if cell.row.kind == "multiple_choice":
        example["choices"] = _choices(record, cell, blank)
        allowed = tuple(str(choice) for choice in range(cell.row.choices))
        label = _label(record, cell, allowed)
        return example | {"label": label if label is None else int(label)}
    example["text_pair"] = _text(record, fields["text_pair"], blank)
    return example | {"label": _label(record, cell, cell.row.labels)}


def _id(record: Record, cell: Cell, number: int) -> str:
    """Returns the publisher's id where the row names its column and the record has it, else the record's number."""
    name = cell.row.fields.get("id")
    if name and "{" in name:
        return name.format(language=cell.language, number=number)
    value = record.columns.get(name, number) if name else number
    if not isinstance(value, (str, int)) or not str(value).strip():
        raise record.error(f"field '{name}' is {shown(value)}", f"'{name}', an id")
    return str(value)


def _column(record: Record, name: str) -> Any:
    """Returns the value of a column, or of "a.b", which is b inside a. Raises DataError if it is not there."""
    value: Any = record.columns
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        raise record.error(f"no field '{name}'", f"a record with the field '{name}'")
    return value


def _text(record: Record, field: str, blank: bool) -> str:
    """Returns a column's text, or the words of a field with its columns put in place of the braces."""
    if "{" in field:
        return re.sub(r"{([^}]+)}", lambda match: _text(record, match[1], blank), field)
    value = _column(record, field)
    if not isinstance(value, str) or not encodable(value):
        raise record.error(f"field '{field}' is {shown(value)}", f"'{field}', a text")
    if not value.strip():
        if not blank:
            raise record.error(f"field '{field}' is blank", f"'{field}', a text that says something")
        record.file.faults["blank texts"] += 1
    return value


def _choices(record: Record, cell: Cell, blank: bool) -> list[str]:
    """Returns the choices of several columns, or of one that holds a list of texts or of {text}."""
    names = cell.row.fields["choices"].split()
    if len(names) > 1:
        return [_text(record, name, blank) for name in names]
    values = _column(record, names[0])
    found = [value.get("text") if isinstance(value, dict) else value for value in values if isinstance(values, list)]
    if len(found) != cell.row.choices:
        raise record.error(f"{len(found)} choices in '{names[0]}'", f"{cell.row.choices} choices")
    inside = Record(record.file, record.line, record.number, {str(at): value for at, value in enumerate(found)})
    return [_text(inside, str(at), blank) for at in range(len(found))]


def _label(record: Record, cell: Cell, allowed: tuple[str, ...]) -> str | None:
    """Returns a word of the labels; None where labels are withheld, whatever the file has in their place."""
    if cell.row.splits[cell.split].labels == "withheld":
        return None
    name = cell.row.fields["label"]
    if name not in record.columns:
        raise record.error(f"no field '{name}'", NO_LABEL)
    value = str(record.columns[name])
    words = {label: label for label in allowed if label not in cell.row.words.values()} | dict(cell.row.words)
    if value not in words:
        raise record.error(f"label '{value}'", " ".join(words))
    if not words[value]:
        raise _LeftOut
    return words[value]


RECORD_READERS = {
    name: functools.partial(read_records, container)
    for name, container in {
        "jsonl": tables.json_lines,
        "json": tables.json_array,
        "tsv": tables.tsv,
        "csv": tables.csv_commas,
        "csv_tabs": tables.csv_tabs,
        "columns": tables.columns,
        "quoted_columns": tables.quoted_columns,
        "hellaswag": tables.hellaswag,
        "labelled_beside": tables.labelled_beside,
    }.items()
}
