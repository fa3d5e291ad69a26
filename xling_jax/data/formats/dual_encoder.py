"""A query and what answers it, each for an encoder of its own that shares its weights with the other.

A candidate in a context is joined with it, and the longer of the two is cut, as XTREME-R does for LAReQA; queries
are cut at 96 tokens there.
"""

import numpy as np

from xling_jax.data.formats import Feature, cut_demand, join, specials, stack, truncate
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

MAX_QUERY = 96  # tokens

# C is 2 to train on, query and candidate; 1 to evaluate.
FEATURES = {"input_ids": Feature("CL", 1), "lengths": Feature("C", 0)}
OWN = ("text", "text_pair", "context")


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns one feature: a row for each text of the example, a query first."""
    rows = [_cut(texts, tokenizer, room) for texts, room in _texts(example, max_length)]
    return [stack(tokenizer, rows)]


def demand(example: dict, made: list[dict[str, np.ndarray]], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Returns the tokens of all texts, and how many were cut."""
    demands = [cut_demand(tokenizer, room, *texts) for texts, room in _texts(example, max_length)]
    return sum(asked for asked, _ in demands), sum(cut for _, cut in demands)


def _texts(example: dict, max_length: int) -> list[tuple[tuple[str, ...], int]]:
    """Returns the texts of each row, and the most tokens the row may have."""
    rows = []
    if example.get("side") != "candidate":
        rows.append(((example["text"],), min(MAX_QUERY, max_length)))
    if example.get("side") != "query":
        candidate = example.get("text_pair", example["text"])
        context = example.get("context", "")
        rows.append(((candidate, context) if context else (candidate,), max_length))
    return rows


def _cut(texts: tuple[str, ...], tokenizer: Tokenizer, room: int) -> np.ndarray:
    """Returns one text, or a candidate and its context, inside the tokenizer's frame and cut to the room."""
    room -= specials(tokenizer, len(texts))
    parts = [tokenizer.ids(text) for text in texts]
    return join(tokenizer, *(truncate(parts[0], parts[1], room) if len(parts) > 1 else (parts[0][:room],)))
