"""A text and its translation, to be found among all others by their vectors."""

import numpy as np

from xling_jax.data.formats import Feature, cut_demand, join, specials, stack
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

FEATURES = {"input_ids": Feature("CL", 1), "lengths": Feature("C", 0)}
OWN = ("text",)


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns one feature of two rows: the text, and its translation in the pivot language."""
    room = max_length - specials(tokenizer, 1)
    rows = [join(tokenizer, tokenizer.ids(example[name])[:room]) for name in ("text", "text_pair")]
    return [stack(tokenizer, rows)]


def demand(example: dict, made: list[dict[str, np.ndarray]], tokenizer: Tokenizer, max_length: int) -> tuple[int, int]:
    """Returns the tokens of the text, and how many were cut; its translation is in another language."""
    return cut_demand(tokenizer, max_length, example["text"])
