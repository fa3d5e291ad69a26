"""What a model wrote, read back: a label's word, a choice's text, a slice of the context, a tag for each word.

What is none of these is no answer, and counted: `legal` of an example says whether its answer is one. Our own
evaluators and t5x's read it here.
"""

import dataclasses
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from xling_jax.scoring.answers import OUTSIDE
from xling_jax.tables.prompts import Prompt
from xling_jax.tables.tasks import Task


@dataclasses.dataclass(frozen=True)
class Said:
    """A text that was written for a feature; an example may have several.

    `score` is its log-probability, by which windows compare; `words` are the first word that it is about, and the one
    after the last.
    """

    text: str
    score: float = 0.0
    words: tuple[int, int] = (0, 0)


Read = Callable[[dict, Sequence[Said]], tuple[Any, bool]]


def make_reader(row: Task, prompt: Prompt) -> Read:
    """Returns (raw example, what was written for it) -> (the answer as scorers take it, whether it is a legal one).

    What is no label is "", what is no choice -1; a text is an answer as it is, and a tag that was not said is "O".
    """
    return _READERS[row.kind](row, prompt)


def _plain(text: str) -> str:
    """Returns a text as vocabularies may write it: composed, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _labels(row: Task, prompt: Prompt) -> Read:
    label_of = {_plain(said): label for label, said in zip(row.labels, prompt.said(row.labels), strict=True)}

    def read(example: dict, said: Sequence[Said]) -> tuple[str, bool]:
        label = label_of.get(_plain(said[0].text))
        return label or "", label is not None

    return read


def _choices(row: Task, prompt: Prompt) -> Read:
    def read(example: dict, said: Sequence[Said]) -> tuple[int, bool]:
        text, there = _plain(said[0].text), [_plain(choice) for choice in example["choices"]]
        return (there.index(text), True) if text in there else (-1, False)  # the first among equals

    return read


def _spans(row: Task, prompt: Prompt) -> Read:
    """Reads the likeliest text of all windows; "" where there may be no answer and every window says so."""
    none = prompt.words[""] if row.unanswerable else None

    def read(example: dict, said: Sequence[Said]) -> tuple[str, bool]:
        answers = [(each.score, each.text) for each in said if each.text != none] or [(0.0, "")]
        text = max(answers, key=lambda pair: pair[0])[1]
        return text, _plain(text) in _plain(example["context"]) if text else none is not None

    return read


def _tags(row: Task, prompt: Prompt) -> Read:
    tag_of = dict(zip(prompt.said(row.labels), row.labels, strict=True))

    def read(example: dict, said: Sequence[Said]) -> tuple[list[str], bool]:
        tags, legal = [OUTSIDE] * len(example["tokens"]), True
        for each in said:
            begin, end = each.words
            found = [tag_of.get(word) for word in each.text.split()]
            legal &= len(found) == end - begin and None not in found
            for at, tag in zip(range(begin, end), found, strict=False):
                tags[at] = tag or OUTSIDE
        return tags, legal

    return read


_READERS = {"pair_classification": _labels, "multiple_choice": _choices, "span_qa": _spans, "tagging": _tags}
