"""What is to be found among many: translations, and sentences that answer a question."""

import collections
from collections.abc import Iterator
from typing import Any

from xling_jax.data.readers.files import File, broken_place, columns_found
from xling_jax.data.readers.squad import field, paragraphs, read_squad_json
from xling_jax.data.sentences import sentence_at, sentence_spans
from xling_jax.errors import broken_line
from xling_jax.tables.tasks import Cell

Spans = list[tuple[int, int]]


def read_bucc(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields all sentences of the language, then all of the pivot. The third file has the pairs of ids that are gold.

    A sentence may stand there twice, under two ids.
    """
    sides = [_identified(file) for file in files[:2]]
    gold: dict[str, list[str]] = collections.defaultdict(list)
    for file in files[2:]:
        for number, (first, second) in _two_columns(file, "id<TAB>id"):
            for name, side in zip((first, second), sides, strict=True):
                if name not in side:
                    raise broken_line(file.path, number, f"id '{name}'", "ids of the two files of sentences")
            if second in gold[first]:
                raise broken_line(file.path, number, f"pair {first} {second} again", "pairs that differ")
            gold[first].append(second)
    withheld = cell.row.splits[cell.split].labels == "withheld"
    for side, sentences in zip(("language", "pivot"), sides, strict=True):
        for name, text in sentences.items():
            answers = gold.get(name, []) if side == "language" else []
            yield {"id": name, "text": text, "side": side, "gold": None if withheld else answers}


def _identified(file: File) -> dict[str, str]:
    """Returns {id: sentence} of lines id<TAB>sentence."""
    found: dict[str, str] = {}
    for number, (name, text) in _two_columns(file, "id<TAB>sentence"):
        if name in found:
            raise broken_line(file.path, number, f"id '{name}' again", "ids that differ")
        found[name] = text
    return found


def _two_columns(file: File, allowed: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(file.lines(), start=1):
        columns = line.split("\t")
        if len(columns) != 2 or not all(map(str.strip, columns)):
            raise broken_line(file.path, number, columns_found(columns), allowed)
        yield number, columns


def read_lareqa(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields the questions of XQuAD-R in a language, or the sentences of its paragraphs, which may answer them.

    A question's gold candidates are in each language the sentence in which its answer there begins (Roy et al. 2020,
    arXiv 2004.05484). The files of all languages follow the cell's own. The third sentence of the first paragraph in
    Thai is the candidate th_1_2.
    """
    split = cell.row.splits[cell.split]
    if not split.among:
        yield from _candidates(files[0], cell.language)
        return
    gold: dict[str, list[str]] = collections.defaultdict(list)
    for file, code in zip(files[1:], split.languages.split(), strict=True):
        for paragraph, place, qas, context, spans in _broken_paragraphs(file):
            for question in qas:
                inside, key, start = _answer_start(file, place, question, context)
                span = sentence_at(spans, start)
                if span is None:
                    raise broken_place(file, inside, f"an answer at character {start}", "one inside a sentence")
                gold[key].append(f"{code}_{paragraph}_{spans.index(span)}")
    for _, place, qas, _, _ in _broken_paragraphs(files[0]):
        for question in qas:
            key = field(files[0], place, question, "id", str)
            text = field(files[0], f"question '{key}'", question, "question", str)
            yield {"id": key, "text": text, "side": "query", "gold": gold[key]}


def _candidates(file: File, code: str) -> Iterator[dict]:
    for paragraph, _, _, context, spans in _broken_paragraphs(file):
        for number, (begin, end) in enumerate(spans):
            key = f"{code}_{paragraph}_{number}"
            yield {"id": key, "text": context[begin:end], "context": context, "side": "candidate", "gold": []}


def _broken_paragraphs(file: File) -> Iterator[tuple[int, str, list, str, Spans]]:
    """Yields (number from 1, where it is, questions, context, sentences) of each paragraph."""
    for number, (place, paragraph) in enumerate(paragraphs(file, file.json()), start=1):
        context = field(file, place, paragraph, "context", str)
        spans = [tuple(pair) for pair in field(file, place, paragraph, "sentence_breaks", list)]
        edges = [edge for pair in spans for edge in pair]
        if [*edges, len(context)] != sorted([*edges, len(context)]) or any(len(pair) != 2 for pair in spans):
            raise broken_place(file, place, "sentence breaks that overlap or end outside", "[begin, end] in order")
        yield number, place, field(file, place, paragraph, "qas", list), context, spans


def _answer_start(file: File, place: str, question: Any, context: str) -> tuple[str, str, int]:
    """Returns (where it is, id, first character) of a question's one answer."""
    key = field(file, place, question, "id", str)
    inside = f"question '{key}'"
    answers = field(file, inside, question, "answers", list)
    if len(answers) != 1:
        raise broken_place(file, inside, f"{len(answers)} answers", "one answer")
    start, text = (field(file, inside, answers[0], *what) for what in (("answer_start", int), ("text", str)))
    if start < 0 or context[start : start + len(text)] != text:
        raise broken_place(file, inside, f"answer '{text}' at character {start}", "the words that stand there")
    return inside, key, start


def read_squad_retrieval(files: list[File], cell: Cell) -> Iterator[dict]:
    """Yields questions of SQuAD, each with the sentence in which its first answer begins, and that one's paragraph."""
    context, spans = "", []
    for example in read_squad_json(files, cell):
        if example["context"] != context:
            context = example["context"]
            spans = sentence_spans(context)
        begin, end = sentence_at(spans, example["answers"][0]["start"]) or (0, len(context))
        yield {
            "id": example["id"],
            "text": example["question"],
            "text_pair": context[begin:end],
            "context": context,
        }
