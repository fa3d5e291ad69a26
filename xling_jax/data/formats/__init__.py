"""Raw example to model features, one file per kind of task.

A format module has FEATURES, the table of what it makes, and `features(example, tokenizer, max_length,
row)`, which returns one or more dicts of int32 arrays: a text longer than `max_length` tokens becomes several.
"""

import dataclasses
import importlib
from types import ModuleType

import numpy as np

from xling_jax.data.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class Feature:
    """An array of a format: its axes (L is padded to the bucket, digits and C are fixed) and its padding value."""

    axes: str
    pad: int


def format_of(kind: str) -> ModuleType:
    """Returns the format module of a kind of task; the file's name is the kind."""
    return importlib.import_module(f"{__name__}.{kind}")


def join(tokenizer: Tokenizer, *parts: np.ndarray) -> np.ndarray:
    """Returns <s> a </s></s> b </s>: how XLM-R joins texts."""
    pieces = [np.array([tokenizer.bos])]
    for number, part in enumerate(parts):
        pieces += [np.array([tokenizer.eos])] * (number > 0) + [part, np.array([tokenizer.eos])]
    return np.concatenate(pieces).astype(np.int32)


def specials(parts: int) -> int:
    """Returns how many tokens `join` adds to so many parts."""
    return 2 * parts


def truncate(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns both parts cut to `room` tokens together, always taking from the longer one."""
    excess = len(first) + len(second) - room
    if excess <= 0:
        return first, second
    keep_first = min(len(first), room - min(len(second), room // 2))
    return first[:keep_first], second[: room - keep_first]
