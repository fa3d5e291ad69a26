"""A label for two texts: premise and hypothesis, or two questions."""

import numpy as np

from xling_jax.data.formats import Feature, cut_demand, join, specials, truncate
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

# `label` is -1 where labels are withheld.
FEATURES = {"input_ids": Feature("L", 1), "label": Feature("", 0)}
OWN = ("text", "text_pair")


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns the one feature of an example; the longer text is cut if both do not fit."""
    first, second = (tokenizer.ids(example[name]) for name in ("text", "text_pair"))
    ids = join(tokenizer, *truncate(first, second, max_length - specials(tokenizer, 2)))
    label = -1 if example["label"] is None else row.number_of[example["label"]]
    return [{"input_ids": ids, "label": np.array(label, np.int32)}]


def demand(example: dict, made: list[dict[str, np.ndarray]], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Returns the tokens of both texts, and how many were cut."""
    return cut_demand(tokenizer, max_length, example["text"], example["text_pair"])
