"""A sentence of one side of two collections, to be found in the other by its vector."""

import numpy as np

from xling_jax.data.formats import Feature, join, specials
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.tables.tasks import Task

FEATURES = {"input_ids": Feature("L", 1)}


def features(example: dict, tokenizer: Tokenizer, max_length: int, row: Task) -> list[dict[str, np.ndarray]]:
    """Returns the one feature of a sentence, cut at `max_length` tokens."""
    return [{"input_ids": join(tokenizer, tokenizer.encode(example["text"]).ids[: max_length - specials(1)])}]
