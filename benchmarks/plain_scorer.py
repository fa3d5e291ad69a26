"""The other arm of scoring.py: the same rules in plain Python, a line and an answer at a time.

Written as one would who cares for speed and has no arrays: each file is read once, each answer is normalised once,
patterns and tables are made once, and a sentence's chunks are found in one pass.
"""

import collections
import json
import pathlib
import re
import string
import sys
import unicodedata
from collections.abc import Callable, Iterator

from xling_jax.tables.benchmarks import Benchmark
from xling_jax.tables.tasks import TASKS

ARTICLES = {
    "ar": "ال",
    "de": r"\b(?:ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "en": r"\b(?:a|an|the)\b",
    "es": r"\b(?:un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(?:của|là|cái|chiếc|những)\b",
}
PATTERNS = {code: re.compile(pattern) for code, pattern in ARTICLES.items()}
HAN = re.compile("([\u4e00-\u9fa5])")
NO_ASCII = str.maketrans("", "", string.punctuation)
NO_UNICODE: dict[int, None] = {}


def lines(path: pathlib.Path) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file]


def labels(gold: pathlib.Path, found: pathlib.Path, code: str) -> dict[str, float]:
    golds, answers = lines(gold), lines(found)
    assert len(golds) == len(answers)
    return {"accuracy": 100 * sum(one == other for one, other in zip(golds, answers, strict=True)) / len(golds)}


def sentences(path: pathlib.Path) -> Iterator[list[str]]:
    sentence: list[str] = []
    for line in lines(path):
        if line:
            sentence.append(line)
        else:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def chunks(tags: list[str]) -> set[tuple[str, int, int]]:
    """Returns the chunks of a sentence by the rule of seqeval 0.0.12."""
    found = set()
    begin, kind, last = -1, "", "O"
    for at, tag in enumerate(tags):
        now, type_ = tag[0], tag.rsplit("-", 1)[-1]
        if begin >= 0 and not (type_ == kind and now not in "BSO" and last not in "SE"):
            found.add((kind, begin, at - 1))
            begin = -1
        if begin < 0 and now != "O":
            begin, kind = at, type_
        last = now
    if begin >= 0:
        found.add((kind, begin, len(tags) - 1))
    return found


def tags(gold: pathlib.Path, found: pathlib.Path, code: str) -> dict[str, float]:
    both = one = other = right = words = 0
    for golds, answers in zip(sentences(gold), sentences(found), strict=True):
        assert len(golds) == len(answers)
        gold_chunks, found_chunks = chunks(golds), chunks(answers)
        both += len(gold_chunks & found_chunks)
        one += len(gold_chunks)
        other += len(found_chunks)
        right += sum(a == b for a, b in zip(golds, answers, strict=True))
        words += len(golds)
    return f1(both, one, other) | {"token accuracy": 100 * right / words}


def f1(both: int, gold: int, found: int) -> dict[str, float]:
    if not both:
        return {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    precision, recall = both / found, both / gold
    value = 2 * precision * recall / (precision + recall)
    return {"f1": 100 * value, "precision": 100 * precision, "recall": 100 * recall}


def pairs(gold: pathlib.Path, found: pathlib.Path, code: str) -> dict[str, float]:
    golds, answers = ({tuple(line.split("\t")) for line in lines(path)} for path in (gold, found))
    return f1(len(golds & answers), len(golds), len(answers))


def choices(gold: pathlib.Path, found: pathlib.Path, code: str) -> dict[str, float]:
    golds, answers = ([json.loads(line)["label"] for line in lines(path)] for path in (gold, found))
    assert len(golds) == len(answers)
    return {"accuracy": 100 * sum(one == other for one, other in zip(golds, answers, strict=True)) / len(golds)}


def squad_words(answer: str, code: str) -> list[str]:
    return PATTERNS["en"].sub(" ", answer.lower().translate(NO_ASCII)).split()


def mlqa_words(answer: str, code: str) -> list[str]:
    text = answer.lower().translate(NO_UNICODE)
    if code in PATTERNS:
        text = PATTERNS[code].sub(" ", text)
    return (HAN.sub(r" \1 ", text) if code == "zh" else text).split()


def spans(words: Callable[[str, str], list[str]]) -> Callable:
    def score(gold: pathlib.Path, found: pathlib.Path, code: str) -> dict[str, float]:
        document, answers = (json.loads(path.read_text(encoding="utf-8")) for path in (gold, found))
        best = exact = total = 0.0
        for article in document["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    total += 1
                    if question["id"] not in answers:
                        continue
                    said = words(answers[question["id"]], code)
                    golds = [words(answer["text"], code) for answer in question["answers"]]
                    best += max(word_f1(gold, said) for gold in golds)
                    exact += said in golds
        return {"exact_match": 100 * exact / total, "f1": 100 * best / total}

    return score


def word_f1(gold: list[str], found: list[str]) -> float:
    shared = sum((collections.Counter(gold) & collections.Counter(found)).values())
    return 2 * shared / (len(gold) + len(found)) if shared else 0.0


def rankings(gold: pathlib.Path, found: pathlib.Path, code: str) -> dict[str, float]:
    golds, ranked = (json.loads(path.read_text(encoding="utf-8")) for path in (gold, found))
    total = 0.0
    for key, ids in golds.items():
        hits, mine = 0, 0.0
        wanted = set(ids)
        for rank, name in enumerate(ranked.get(key, ())[:20], start=1):
            if name in wanted:
                wanted.remove(name)
                hits += 1
                mine += hits / rank
        total += mine / min(len(set(ids)), 20)
    return {"map@20": 100 * total / len(golds)}


SCORERS = {
    "pair_classification": labels,
    "retrieval": labels,
    "tagging": tags,
    "mining": pairs,
    "multiple_choice": choices,
    "span_qa": spans(squad_words),
    "mlqa": spans(mlqa_words),
    "dual_encoder": rankings,
}
ENDINGS = {"span_qa": "json", "dual_encoder": "json", "multiple_choice": "jsonl"}


def score_task(entry, predictions: pathlib.Path, gold: pathlib.Path) -> dict[str, dict[str, float]]:
    """Returns {language: {metric: percent}} of a task."""
    task = TASKS[entry.task]
    if task.scorer == "mlqa" and not NO_UNICODE:
        every = (number for number in range(sys.maxunicode) if unicodedata.category(chr(number))[0] == "P")
        NO_UNICODE.update(dict.fromkeys([*every, *map(ord, string.punctuation)]))
    score = SCORERS[task.scorer or task.kind]
    names = {code: f"{entry.name}/test-{code}.{ENDINGS.get(task.kind, 'tsv')}" for code in entry.languages.split()}
    return {code: score(gold / name, predictions / name, code) for code, name in names.items()}


def score_benchmark(row: Benchmark, predictions: pathlib.Path, gold: pathlib.Path) -> dict[str, dict]:
    """Returns {task: {language: {metric: percent}}}."""
    return {entry.name: score_task(entry, predictions, gold) for entry in row.entries}
