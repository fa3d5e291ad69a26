"""Mewsli-X: mentions in news and the entities that they mean (Ruder et al. 2021, arXiv 2104.07412)."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from xling_jax.data.readers.files import File, encodable, shown
from xling_jax.data.readers.tables import Record
from xling_jax.errors import broken_line
from xling_jax.tables.tasks import Cell

Spans = list[tuple[int, int]]


def read_mewslix(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields mentions in Wikinews, entities, or pairs of both in Wikipedia, as the file has them.

    A mention stands in its sentence between braces, and before it, so that no cut can lose it (as XTREME-R's
    baseline has it). Wikinews' text is not published with the mentions: the publisher's script puts it in.
    """
    (file,) = files
    seen: dict[str, int] = {}
    for record in _objects(file):
        for example in _examples(record, cell.language):
            key = example["id"]
            if key in seen:
                raise record.error(f"id '{key}' of line {seen[key]} again", "ids that differ")
            seen[key] = record.line
            yield example
    if not seen:
        raise broken_line(file.path, 1, f"no example for cell {cell}", "at least one example")


def _examples(record: Record, language: str) -> Iterator[dict]:
    """Yields the examples of one line: an entity, a pair, or the mentions of an article in the language."""
    if "entity_id" in record.columns:
        if _at(record, "description_language", str) == language:
            key = _at(record, "entity_id", str)
            yield {"id": key, "text": _description(record), "side": "candidate", "gold": []}
    elif "contextual_mention" in record.columns:
        around, entity = _inside(record, "contextual_mention"), _inside(record, "entity")
        mention = _inside(around, "mention")
        if _at(mention, "entity_id", str) != _at(entity, "entity_id", str):
            raise record.error("a mention of another entity", "a mention and its entity")
        key = _at(mention, "example_id", str)
        yield {"id": key, "text": _mention(around, mention), "text_pair": _description(entity)}
    elif _at(record, "context.language", str) == language:
        for number in range(len(_at(record, "mentions", list))):
            mention = _inside(record, f"mentions.{number}")
            key, gold = _at(mention, "example_id", str), [_at(mention, "entity_id", str)]
            yield {"id": key, "text": _mention(record, mention), "side": "query", "gold": gold}


def _objects(file: File) -> Iterator[Record]:
    """Yields a JSON object for each line, never all at once: there is half a gigabyte of entities."""
    if not file.data.strip():
        raise broken_line(file.path, 1, "the file is empty", "at least one example")
    for number, line in enumerate(io.BytesIO(file.data), start=1):
        try:
            row = json.loads(line)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise broken_line(file.path, number, str(error), "one JSON object on each line, in UTF-8") from error
        if not isinstance(row, dict):
            raise broken_line(file.path, number, f"a {type(row).__name__}", "one JSON object on each line")
        yield Record(file, number, number, row)


def _at(record: Record, name: str, kind: type) -> Any:
    """Returns the value of "a.b", which is b inside a, or element b of the list a.

    Raises DataError if it is not there, or of another type.
    """
    value: Any = record.columns
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else value[int(part)] if isinstance(value, list) else None
    if type(value) is not kind or (isinstance(value, str) and not encodable(value)):
        found = f"field '{name}' is {shown(value)}" if value is not None else f"no field '{name}'"
        raise record.error(found, f"'{name}', a {kind.__name__}")
    return value


def _inside(record: Record, name: str) -> Record:
    return Record(record.file, record.line, record.number, _at(record, name, dict))


def _spans(record: Record, name: str, text: str) -> Spans:
    found = [
        (_at(record, f"{name}.{number}.start", int), _at(record, f"{name}.{number}.end", int))
        for number in range(len(_at(record, name, list)))
    ]
    if any(not 0 <= begin < end <= len(text) for begin, end in found):
        raise record.error(f"a span of '{name}' outside of the text", f"spans in {len(text)} characters")
    return found


def _description(entity: Record) -> str:
    """Returns the sentences of an entity's description, with single spaces."""
    text = _at(entity, "description", str)
    return " ".join(" ".join(text[begin:end] for begin, end in _spans(entity, "sentence_spans", text)).split())


def _mention(outer: Record, mention: Record) -> str:
    """Returns `mention: left { mention } right`, with the sentence around it; other pairs of braces become round."""
    text = _at(outer, "context.text", str)
    if not text:
        raise outer.error("field 'context.text' is empty", "Wikinews' text, which get-mewsli-x.sh puts in")
    said = _at(mention, "mention_span.text", str)
    begin, end = (_at(mention, f"mention_span.{edge}", int) for edge in ("start", "end"))
    if begin < 0 or text[begin:end] != said:
        raise outer.error(f"mention '{said}' at character {begin}", f"what stands there, '{text[begin:end]}'")
    around = [span for span in _spans(outer, "context.sentence_spans", text) if span[0] <= begin and end <= span[1]]
    if not around:
        raise outer.error(f"mention '{said}' in no sentence", "a sentence around it")
    left, right = (re.sub(r"{(.*?)}", r"(\1)", part) for part in (text[around[0][0] : begin], text[end : around[0][1]]))
    return " ".join(f"{said}: {left} {{ {said} }} {right}".split())
