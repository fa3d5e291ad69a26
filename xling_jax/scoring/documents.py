"""Files of answers that are one JSON document: answers to questions, and rankings; see `layouts.py`.

A `score_` takes labels, predictions, the task's row and the language. A `gold_` returns the label file of raw examples.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from xling_jax.scoring.files import Scored, ScoreFile, Scores
from xling_jax.scoring.metrics import ranking, value
from xling_jax.scoring.spans import MIXED, SQUAD, Rule, compare, mlqa_rule
from xling_jax.tables.languages import LANGUAGES
from xling_jax.tables.rows.task import Task


def score_answers(gold: ScoreFile, found: ScoreFile, row: Task, language: str) -> Scored:
    """Scores answers by the task's rule; in languages without spaces also with every character a word."""
    golds = _questions(gold)
    named = _answers(found)
    unanswered = _check_ids(gold, found, golds, named)
    answers = [named.get(key) for key in golds]
    official = _means(list(golds.values()), answers, mlqa_rule(language) if row.scorer == "mlqa" else SQUAD)
    if LANGUAGES[language].spaced:
        return Scored(official, unanswered=unanswered)
    return Scored(official, _means(list(golds.values()), answers, MIXED), unanswered)


def _means(golds: Sequence[Sequence[str]], answers: Sequence[str | None], rule: Rule) -> Scores:
    f1, exact = compare(golds, answers, rule)
    return {"exact_match": 100 * sum(exact) / len(answers), "f1": 100 * sum(f1) / len(answers)}


def _questions(file: ScoreFile) -> dict[str, list[str]]:
    """Returns {id: gold answers} of SQuAD's JSON."""
    questions = list(_in_order(file, file.json(without=("context", "question"))))
    try:
        keys = [question["id"] for question in questions]
        texts = [[answer["text"] for answer in question["answers"]] for question in questions]
        sound = {*map(type, keys), *map(type, itertools.chain(*texts))} <= {str} and all(texts)
    except (TypeError, KeyError):
        sound = False
    if not sound:
        wrong = next(question for question in questions if not _is_question(question))
        raise file.error(_line(file, wrong), f"{json.dumps(wrong, ensure_ascii=False)[:60]} is no question", _SQUAD)
    golds = dict(zip(keys, texts, strict=True))
    if len(golds) < len(keys):
        again = next(key for at, key in enumerate(keys) if key in keys[:at])
        raise file.error(file.line_of(again, 2), f"question '{again}' again", "each id once")
    if not golds:
        raise file.error(1, "no question", _SQUAD)
    if not any(map(any, texts)):
        raise file.error(1, "all gold answers are empty: they are withheld by their publisher", "a file with labels")
    return golds


def _is_question(question: Any) -> bool:
    match question:
        case {"id": str(), "answers": [_, *_] as answers}:
            return all(isinstance(answer, dict) and type(answer.get("text")) is str for answer in answers)
    return False


_SQUAD = 'SQuAD\'s JSON: data, paragraphs, qas, each with "id" and "answers", at least one {"text": ...}'


def _in_order(file: ScoreFile, document: Any) -> Iterator[Any]:
    """Yields the questions of a document."""
    try:
        articles = document["data"] if isinstance(document, dict) else document
        for article in articles:
            for paragraph in article["paragraphs"]:
                yield from paragraph["qas"]
    except (TypeError, KeyError) as error:
        raise file.error(1, f"no list of questions: {error}", _SQUAD) from error


def _line(file: ScoreFile, question: Any) -> int:
    key = question.get("id") if isinstance(question, dict) else None
    return file.line_of(key) if isinstance(key, str) else 1


def _answers(file: ScoreFile) -> dict[str, str]:
    named = _by_id(file, "{id: answer}")
    if set(map(type, named.values())) <= {str}:
        return named
    wrong = next(key for key, answer in named.items() if type(answer) is not str)
    found = f"the answer to '{wrong}' is {json.dumps(named[wrong], ensure_ascii=False)[:60]}"
    raise file.error(file.line_of(wrong), found, "text; '' where there is no answer")


def _by_id(file: ScoreFile, allowed: str) -> dict[str, Any]:
    document = file.json(ids=True)
    if not isinstance(document, dict):
        raise file.error(1, f"a {type(document).__name__}", allowed)
    return document


def _check_ids(gold: ScoreFile, found: ScoreFile, golds: dict[str, Any], answers: dict[str, Any]) -> int:
    """Returns how many ids have no answer: these score 0, as published. Raises DataError for an answer to nothing."""
    extra = [key for key in answers if key not in golds]
    if extra:
        said = f"'{extra[0]}' is no id of {gold.path}, {len(extra)} are not"
        raise found.error(found.line_of(extra[0]), said, "ids of the label file")
    if not answers:
        raise found.error(1, f"no answer to any of {len(golds)} in {gold.path}", "an answer to each; '' for none")
    return len(golds) - len(answers)


def gold_answers(examples: Sequence[dict]) -> str:
    """Returns SQuAD's JSON: a paragraph for each run of questions with one context."""
    paragraphs: list[dict] = []
    for example in examples:
        if not paragraphs or paragraphs[-1]["context"] != example["context"]:
            paragraphs.append({"context": example["context"], "qas": []})
        answers = [{"answer_start": answer["start"], "text": answer["text"]} for answer in example["answers"]]
        paragraphs[-1]["qas"].append({"id": example["id"], "question": example["question"], "answers": answers})
    return json.dumps({"version": "1.1", "data": [{"paragraphs": paragraphs}]}, ensure_ascii=False) + "\n"


def score_rankings(gold: ScoreFile, found: ScoreFile, row: Task, language: str) -> Scored:
    """Scores the first 20 candidates of each query."""
    del row, language
    golds, rankings = (_candidates(file) for file in (gold, found))
    unanswered = _check_ids(gold, found, golds, rankings)
    for key, ids in golds.items():
        if not ids:
            raise gold.error(gold.line_of(key), f"query '{key}' without a gold candidate", "at least one")
    pairs = ranking([[key.strip() for key in ids] for ids in golds.values()], [rankings.get(key) for key in golds])
    return Scored({metric: value(pairs_Nx2) for metric, pairs_Nx2 in pairs.items()}, unanswered=unanswered)


def _candidates(file: ScoreFile) -> dict[str, list[str]]:
    named = _by_id(file, "{id: [ids of candidates]}")
    if set(map(type, named.values())) <= {list} and set(map(type, itertools.chain(*named.values()))) <= {str}:
        return named
    wrong = next(key for key, ids in named.items() if type(ids) is not list or {*map(type, ids)} - {str})
    found = f"'{wrong}' is {json.dumps(named[wrong], ensure_ascii=False)[:60]}"
    raise file.error(file.line_of(wrong), found, "a list of ids of candidates, the best first")


def gold_rankings(examples: Sequence[dict]) -> str:
    golds = {example["id"]: example["gold"] for example in examples if example["side"] == "query"}
    return json.dumps(golds, ensure_ascii=False, indent=0) + "\n"
