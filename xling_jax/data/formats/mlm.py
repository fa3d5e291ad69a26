"""Masked language modelling: text, whole. Which tokens are masked is decided at training time."""

import numpy as np

from xling_jax.data.formats import Feature, cut_demand, join, specials, truncate, whole_demand
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

FEATURES = {"input_ids": Feature("L", 1)}
OWN = ("text",)


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns one feature for a pair of texts, and one for each `max_length` tokens of a single text."""
    ids = tokenizer.ids(example["text"])
    if "text_pair" in example:
        pair = truncate(ids, tokenizer.ids(example["text_pair"]), max_length - specials(tokenizer, 2))
        return [{"input_ids": join(tokenizer, *pair)}]
    room = max_length - specials(tokenizer, 1)
    return [{"input_ids": join(tokenizer, ids[at : at + room])} for at in range(0, max(len(ids), 1), room)]


def demand(example: dict, made: list[dict[str, np.ndarray]], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Returns the tokens of the texts; only a pair is cut."""
    if "text_pair" in example:
        return cut_demand(tokenizer, max_length, example["text"], example["text_pair"])
    return whole_demand(made, tokenizer)
