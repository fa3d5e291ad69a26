"""The JSON of SQuAD (Rajpurkar et al. 2016 and 2018) and of those that took it over."""

from collections.abc import Iterator
from typing import Any

from xling_jax.data.readers.files import File, broken_place, encodable, shown
from xling_jax.data.readers.tables import BLIND
from xling_jax.tables.tasks import Cell

NOWHERE = -1  # the start of an answer that is not a slice of its context


def read_squad_json(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields the questions of a file of the SQuAD family; see `read_questions`."""
    (file,) = files
    return read_questions(file, cell, _with_their_contexts(file))


def _with_their_contexts(file: File) -> Iterator[tuple[str, str, Any]]:
    for place, paragraph in paragraphs(file, file.json()):
        context = field(file, place, paragraph, "context", str)
        yield from ((place, context, question) for question in field(file, place, paragraph, "qas", list))


def read_questions(file: File, cell: Cell, questions: Iterator[tuple[str, str, Any]]) -> Iterator[dict]:
    """Yields questions; answers are slices of the context, and there is none where a question is impossible.

    `questions` are (where it is, context, {id, question, answers: [{text, answer_start}]}).
    Where the row says that offsets are at fault, an answer elsewhere in the context is moved there, and one that
    is nowhere in it has start -1. A translation's source is the English question of the same id.
    """
    faults = cell.row.faults.split()
    withheld = cell.row.splits[cell.split].labels == "withheld"
    seen: set[str] = set()
    for place, context, question in questions:
        example = _question(file, place, question, context)
        inside = f"question '{example['id']}'"
        example["answers"] = None if withheld else _answers(file, inside, question, context, faults)
        if example["id"] in seen:
            if "ids" not in faults:
                found = "this id is there twice"
                raise broken_place(file, inside, found, "ids that differ")
            file.faults["ids that repeat"] += 1
            example["id"] = f"{cell.language}.{len(seen) + 1}"
        seen.add(example["id"])
        if "source" in cell.row.fields:
            example["source_id"] = example["id"]
        yield example
    if not seen:
        raise broken_place(file, "document", "no question", "at least one")


def paragraphs(file: File, document: Any) -> Iterator[tuple[str, Any]]:
    """Yields (where it is, paragraph)."""
    for a, article in enumerate(field(file, "document", document, "data", list), start=1):
        for p, paragraph in enumerate(field(file, f"article {a}", article, "paragraphs", list), start=1):
            yield f"article {a}, paragraph {p}", paragraph


def _question(file: File, place: str, question: Any, context: str) -> dict:
    key = field(file, place, question, "id", str)
    text = field(file, f"question '{key}'", question, "question", str)
    return {"id": key, "question": text, "context": context}


def _answers(file: File, place: str, question: Any, context: str, faults: list[str]) -> list[dict]:
    """Returns the answers: at least one, or none to a question that is marked as impossible."""
    impossible = question.get("is_impossible") is True
    answers = field(file, place, question, "answers", list)
    if bool(answers) == impossible:
        found = f"{len(answers)} answers to a question that is impossible" if impossible else "no answer"
        raise broken_place(file, place, found, "at least one, or none where `is_impossible` is true")
    said = [answer for answer in answers if not (isinstance(answer, dict) and answer.get("text") == "")]
    if answers and not said:
        raise broken_place(file, place, "answer '' at character 0", f"words of the context{BLIND}")
    if "answers" in faults:
        file.faults["blank answers left out"] += len(answers) - len(said)
        answers = said
    return [_answer(file, place, answer, context, "offsets" in faults) for answer in answers]


def _answer(file: File, place: str, answer: Any, context: str, moves: bool) -> dict:
    text = field(file, place, answer, "text", str)
    start = field(file, place, answer, "answer_start", int)
    there = context[start : start + len(text)] if start >= 0 else ""
    if there == text and text:
        return {"text": text, "start": start}
    if not moves or not text:
        allowed = f"the words that stand there in the context, '{there}'"
        raise broken_place(file, place, f"answer '{text}' at character {start}", allowed)
    nearest = _nearest(context, text, start)
    file.faults["answers moved" if nearest >= 0 else "answers not in their context"] += 1
    return {"text": text, "start": nearest}


def _nearest(context: str, text: str, start: int) -> int:
    """Returns where a text stands that is nearest to `start`, the first of two as near; -1 if nowhere."""
    before = context.rfind(text, 0, max(start, 0) + len(text))
    after = context.find(text, max(start, 0))
    found = [at for at in (before, after) if at >= 0]
    return min(found, key=lambda at: abs(at - start)) if found else NOWHERE


def field(file: File, place: str, record: Any, name: str, kind: type) -> Any:
    """Returns a field of a JSON object. Raises DataError if it is missing or of another type."""
    value = record.get(name) if isinstance(record, dict) else None
    if type(value) is not kind or (isinstance(value, str) and not encodable(value)):
        found = f"field '{name}' is {shown(value)}" if value is not None else f"no field '{name}'"
        raise broken_place(file, place, found, f"'{name}', a {kind.__name__}")
    return value
