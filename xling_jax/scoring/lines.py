"""Files of answers that are lines: labels, tags, numbers of sentences, pairs of ids, choices; see `layouts.py`.

A `score_` takes labels, predictions, the task's row and the language. A `gold_` returns the label file of raw examples.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from xling_jax.scoring.chunks import Tagset
from xling_jax.scoring.files import BLANK, Scored, ScoreFile, Scores, read_words
from xling_jax.tables.rows.task import Task

_NUMBER = re.compile(r"0|[1-9][0-9]*")
_NUMBERS = re.compile(rb"(?:(?:0|[1-9][0-9]*)\n)+")
_PAIRS = re.compile(rb"(?:[!-~]+\t[!-~]+\n|\n)+")  # as such files are; else lines are looked at one by one
_PAIR = re.compile(r"[^\t]+\t[^\t]+")


def _f1(right: float, gold: float, found: float) -> Scores:
    """Returns F1, precision and recall in percent; 0 where there is nothing to divide by."""
    return {
        "f1": 200 * right / (gold + found) if gold + found else 0.0,
        "precision": 100 * right / found if found else 0.0,
        "recall": 100 * right / gold if gold else 0.0,
    }


def _check_lines(gold: ScoreFile, found: ScoreFile, lines: int, answers: int) -> None:
    if lines != answers:
        said = f"there are {answers} lines, but {lines} in {gold.path}"
        raise found.error(min(lines, answers) + 1, said, "a line for each label, in the same order")


def score_labels(gold: ScoreFile, found: ScoreFile, row: Task, language: str) -> Scored:
    """Scores label words as strings."""
    del language
    labels_N, answers_N = (_labels(file, row) for file in (gold, found))
    _check_lines(gold, found, len(labels_N), len(answers_N))
    return Scored({"accuracy": 100 * float(np.count_nonzero(labels_N == answers_N)) / len(labels_N)})


def _labels(file: ScoreFile, row: Task) -> np.ndarray:
    labels_N = read_words(file, row.labels)
    if (labels_N == BLANK).any():
        raise file.error(int((labels_N == BLANK).argmax()) + 1, "a blank line", " ".join(row.labels))
    return labels_N


def gold_labels(examples: Sequence[dict]) -> str:
    return "".join(f"{example['label']}\n" for example in examples)


def score_tags(gold: ScoreFile, found: ScoreFile, row: Task, language: str) -> Scored:
    """Scores chunks by the rule of seqeval 0.0.12, and tokens beside it. A word that a model never saw may be 'O'."""
    del language
    tagset = Tagset(row.labels)
    gold_T, tags_T = (_tags(file, tags) for file, tags in ((gold, row.labels), (found, tagset.tags)))
    blank_T = _sentence_ends(gold, found, gold_T, tags_T)
    words = len(gold_T) - int(np.count_nonzero(blank_T))
    right = int(np.count_nonzero((gold_T == tags_T) & ~blank_T))
    gold_T[blank_T] = tags_T[blank_T] = tagset.outside
    counts = (float(np.count_nonzero(where_T)) for where_T in tagset.matches(gold_T, tags_T))
    return Scored(_f1(*counts), {"accuracy": 100 * right / words})


def _tags(file: ScoreFile, known: Sequence[str]) -> np.ndarray:
    """Returns the number of each line's tag, and BLANK after each sentence, once after the last."""
    tags_T = read_words(file, known)
    blank = int((tags_T[::-1] != BLANK).argmax())  # lines at the end
    return np.append(tags_T[: len(tags_T) - blank], np.int32(BLANK))


def _sentence_ends(gold: ScoreFile, found: ScoreFile, gold_T: np.ndarray, tags_T: np.ndarray) -> np.ndarray:
    """Returns where sentences end. Raises DataError if they end elsewhere in the other file."""
    ends_T, found_ends_T = gold_T == BLANK, tags_T == BLANK
    shorter = min(len(ends_T), len(found_ends_T))
    (differs_N,) = np.nonzero(ends_T[:shorter] != found_ends_T[:shorter])
    if len(differs_N):
        at = int(differs_N[0])
        lengths = [_length_at(each_T, at) for each_T in (found_ends_T, ends_T)]
        said = f"sentence {np.count_nonzero(ends_T[:at]) + 1} has {_many(lengths[0], 'tag')}, but {lengths[1]}"
        raise found.error(at + 1, f"{said} in {gold.path}", _TAGS)
    if len(ends_T) != len(found_ends_T):
        counts = [int(np.count_nonzero(each_T)) for each_T in (found_ends_T, ends_T)]
        raise found.error(shorter, f"{_many(counts[0], 'sentence')}, but {counts[1]} in {gold.path}", _TAGS)
    return ends_T


_TAGS = "a tag for each word, and a blank line after each sentence"


def _length_at(ends_T: np.ndarray, at: int) -> int:
    """Returns the number of tags of the sentence that a place lies in, or that ends there."""
    (before_N,) = np.nonzero(ends_T[:at])
    return at + int(ends_T[at:].argmax()) - (int(before_N[-1]) + 1 if len(before_N) else 0)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def gold_tags(examples: Sequence[dict]) -> str:
    return "".join("\n".join([*example["tags"], "", ""]) for example in examples)


def score_numbers(gold: ScoreFile, found: ScoreFile, row: Task, language: str) -> Scored:
    """Scores numbers of sentences as strings."""
    del row, language
    labels, answers = (_line_numbers(file) for file in (gold, found))
    _check_lines(gold, found, len(labels), len(answers))
    right = sum(map(str.__eq__, labels, answers))
    return Scored({"accuracy": 100 * right / len(labels)})


def _line_numbers(file: ScoreFile) -> list[str]:
    if _NUMBERS.fullmatch(file.data):
        return file.data.decode().split()
    lines = file.lines()
    wrong = {line for line in set(lines) if not _NUMBER.fullmatch(line)}
    if wrong:
        at = _first(lines, wrong)
        raise file.error(at + 1, f"'{lines[at]}'", "the number of a line, from 0")
    return lines


def english_order(examples: Sequence[dict]) -> list[int]:
    """Returns the numbers of the examples in the order in which XTREME asks for their English sentences."""
    return sorted(range(len(examples)), key=lambda number: examples[number]["text_pair"].strip())


def gold_numbers(examples: Sequence[dict]) -> str:
    return "".join(f"{number}\n" for number in english_order(examples))


def score_pairs(gold: ScoreFile, found: ScoreFile, row: Task, language: str) -> Scored:
    """Scores the sets of pairs. A blank line is a pair of its own, which both may have, as published."""
    del row, language
    labels, answers = (_pairs_of(file) for file in (gold, found))
    return Scored(_f1(len(labels & answers), len(labels), len(answers)))


def _pairs_of(file: ScoreFile) -> set[str]:
    if _PAIRS.fullmatch(file.data):
        return set(file.data.decode().split("\n")[:-1])
    lines = file.lines()
    pairs = set(lines)
    wrong = {pair for pair in pairs if pair and not _PAIR.fullmatch(pair)}
    if wrong:
        at = _first(lines, wrong)
        raise file.error(at + 1, _many(len(lines[at].split("\t")), "column"), "id<TAB>id")
    return pairs


def _first(lines: list[str], wrong: set[str]) -> int:
    return next(at for at, line in enumerate(lines) if line in wrong)


def gold_pairs(examples: Sequence[dict]) -> str:
    return "".join(f"{example['id']}\t{other}\n" for example in examples for other in example["gold"])


def score_choices(gold: ScoreFile, found: ScoreFile, row: Task, language: str) -> Scored:
    """Scores the numbers of choices."""
    del language
    labels, answers = (_choices(file, row) for file in (gold, found))
    _check_lines(gold, found, len(labels), len(answers))
    return Scored({"accuracy": 100 * sum(map(int.__eq__, labels, answers)) / len(labels)})


def _choices(file: ScoreFile, row: Task) -> list[int]:
    records = [_record(file, number, line) for number, line in enumerate(file.lines(), start=1)]
    labels: list[Any] = [record.get("label") if isinstance(record, dict) else None for record in records]
    for number, label in enumerate(labels, start=1):
        if type(label) is not int or not 0 <= label < row.choices:
            allowed = f'{{"label": number of a choice, from 0 to {row.choices - 1}}}'
            found = "no label" if label is None else f"label {json.dumps(label, ensure_ascii=False)}"
            raise file.error(number, found, allowed)
    return labels


def _record(file: ScoreFile, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise file.error(number, "a blank line" if not line else str(error), "one JSON object on each line") from error


def gold_choices(examples: Sequence[dict]) -> str:
    return "".join(json.dumps({"id": example["id"], "label": example["label"]}) + "\n" for example in examples)
