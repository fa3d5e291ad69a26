"""Several continuations of one text, of which one is right."""

import numpy as np

from xling_jax.data.formats import Feature, cut_demand, join, specials, stack, truncate
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

# `label` is -1 where labels are withheld.
FEATURES = {"input_ids": Feature("CL", 1), "lengths": Feature("C", 0), "label": Feature("", 0)}
OWN = ("text", "choices")


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns one feature whose rows are the text joined with each choice."""
    text = tokenizer.ids(example["text"])
    choices = [tokenizer.ids(choice) for choice in example["choices"]]
    rows = [join(tokenizer, *truncate(text, choice, max_length - specials(tokenizer, 2))) for choice in choices]
    label = -1 if example["label"] is None else example["label"]
    return [stack(tokenizer, rows) | {"label": np.array(label, np.int32)}]


def demand(example: dict, made: list[dict[str, np.ndarray]], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Returns the tokens of the text with each choice, and how many were cut."""
    demands = [cut_demand(tokenizer, max_length, example["text"], choice) for choice in example["choices"]]
    return sum(asked for asked, _ in demands), sum(cut for _, cut in demands)
