"""A question and a context that holds its answer; long contexts become overlapping windows.

Answers are slices of the original context by character offsets, never text put together from pieces, so
that Thai and Chinese answers come out whole (Rajpurkar et al. 2016; Devlin et al. 2019, appendix A).
"""

import numpy as np

from xling_jax.data.formats import Feature, join, specials
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

MAX_QUESTION = 64  # tokens
OVERLAP = 0.5  # share of a window that the next one repeats; SQuAD's 128 of 384 rounded up for small windows

# `start` and `end` are -1 in a window without the answer; where a task has questions without one they are 0, which is
# <s>, and mean that there is none (Devlin et al. 2019, section 4.3, on SQuAD v2.0). `spans` are -1 where no answer can
# begin or end: outside the context, but for that <s>, whose span is empty.
FEATURES = {
    "input_ids": Feature("L", 1),
    "start": Feature("", -1),
    "end": Feature("", -1),
    "spans": Feature("L2", -1),
}
OWN = ("question", "context")


def _question_room(tokenizer: Tokenizer, max_length: int) -> int:
    return min(MAX_QUESTION, (max_length - specials(tokenizer, 2)) // 2)


def locate(spans_Nx2: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """Returns the first and last token that overlap characters [begin, end); (-1, -1) if there is none."""
    first = int(np.searchsorted(spans_Nx2[:, 1], begin, "right"))  # begins and ends never decrease
    last = int(np.searchsorted(spans_Nx2[:, 0], end)) - 1
    return (first, last) if first <= last else (-1, -1)


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns the windows of an example; the label of each is its first gold answer, where the window holds it.

    An answer that is not a slice of the context (its start is -1) is no label.
    """
    question = tokenizer.ids(example["question"])[: _question_room(tokenizer, max_length)]
    context = tokenizer.encode(example["context"])
    frame = tokenizer.frame
    offset = len(frame.before) + len(question) + len(frame.between)
    room = max_length - offset - len(frame.after)
    first, last = -1, -1
    golds = [answer for answer in example["answers"] or () if answer["start"] >= 0]
    if golds:
        gold = golds[0]
        first, last = locate(context.spans, gold["start"], gold["start"] + len(gold["text"]))
    none = 0 if row.unanswerable and example["answers"] is not None else -1
    windows = []
    stride = max(1, int(room * (1 - OVERLAP)))
    for at in range(0, max(1, len(context.ids) - room + stride), stride):
        ids = context.ids[at : at + room]
        held = first >= at and last < at + len(ids) and first >= 0
        spans = np.full((offset + len(ids) + len(frame.after), 2), -1, np.int32)
        spans[offset : offset + len(ids)] = context.spans[at : at + room]
        if row.unanswerable:
            spans[0] = 0
        windows.append(
            {
                "input_ids": join(tokenizer, question, ids),
                "start": np.array(first - at + offset if held else none, np.int32),
                "end": np.array(last - at + offset if held else none, np.int32),
                "spans": spans,
            }
        )
    return windows


def said(context: str, feature: dict[str, np.ndarray]) -> str:
    """Returns what a window's label says as a slice of the context; "" where the label is not in the context."""
    start, end = int(feature["start"]), int(feature["end"])
    begin, stop = int(feature["spans"][start, 0]), int(feature["spans"][end, 1])
    return context[begin:stop] if start >= 0 and begin >= 0 else ""


def demand(example: dict, made: list[dict[str, np.ndarray]], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Returns the tokens of both texts, and how many of the question's were cut; windows hold the whole context."""
    question = tokenizer.ids(example["question"])
    cut = max(0, len(question) - _question_room(tokenizer, max_length))
    return len(question) + len(tokenizer.encode(example["context"]).ids), cut
