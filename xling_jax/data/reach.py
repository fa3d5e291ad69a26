"""How near a span head can come to a gold answer: what pieces and windows let it say.

An answer is a slice of the context from the first character of one piece to the last of another, both in one window.
"""

import unicodedata

import numpy as np

from xling_jax.data.formats import span_qa
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

# The first is reached; the others are the ceiling's, with their reasons.
WAYS = {
    "exact": "the slice is the answer",
    "blank ends": "but for white space or invisible characters at the answer's ends, which no piece covers",
    "wider": "a piece at one of its ends holds more characters than the answer",
    "no window": "no window holds all of it",
    "no slice": "it is not a slice of its context as published",
    "wrong": "the slice lacks a part of the answer, which must not be",
}


def way(example: dict, gold: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> str:
    """Returns which of WAYS describes the slice that the format labels as a gold answer of an example."""
    if gold["start"] < 0:
        return "no slice"
    windows = span_qa.features(example | {"answers": [gold]}, tokenizer, max_length, row)
    held = [window for window in windows if window["start"] > 0]
    if not held:
        return "no window"
    begin, end = (int(held[0]["spans"][held[0][name], at]) for at, name in enumerate(("start", "end")))
    return _compare(example["context"], begin, end, gold)


def _compare(context: str, begin: int, end: int, gold: dict) -> str:
    """Returns how a slice of the context differs from a gold answer."""
    text = gold["text"]
    first, last = gold["start"], gold["start"] + len(text)
    if (begin, end) == (first, last):
        return "exact"
    seen = [at for at, character in enumerate(text, start=first) if not _is_blank(character)]
    if seen and (begin, end) == (seen[0], seen[-1] + 1):
        return "blank ends"
    first, last = (seen[0], seen[-1] + 1) if seen else (first, last)
    return "wider" if begin <= first and last <= end else "wrong"


def _is_blank(character: str) -> bool:
    """White space, and the invisible characters that normalisation drops."""
    return character.isspace() or unicodedata.category(character) in ("Cf", "Cc")


def count_ways(examples: list[dict], tokenizer: Tokenizer, max_length: int, row: Task) -> np.ndarray:
    """Returns how many gold answers, each distinct one of an example once, go which of WAYS; int64 (W)."""
    names = list(WAYS)
    counts_W = np.zeros(len(names), np.int64)
    for example in examples:
        golds = {(gold["text"], gold["start"]): gold for gold in example["answers"]}
        for gold in golds.values():
            counts_W[names.index(way(example, gold, tokenizer, max_length, row))] += 1
    return counts_W
