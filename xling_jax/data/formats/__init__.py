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
    """Returns texts inside the tokenizer's frame: <s> a </s></s> b </s> for XLM-R."""
    frame = tokenizer.frame
    first, *others = parts
    pieces = [frame.before, first]
    for part in others:
        pieces += [frame.between, part]
    return np.concatenate([*pieces, frame.after], dtype=np.int32)


def specials(tokenizer: Tokenizer, parts: int) -> int:
    """Returns how many tokens `join` adds to so many parts."""
    frame = tokenizer.frame
    return len(frame.before) + (parts - 1) * len(frame.between) + len(frame.after)


def truncate(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns both parts cut to `room` tokens together, always taking from the longer one."""
    excess = len(first) + len(second) - room
    if excess <= 0:
        return first, second
    keep_first = min(len(first), room - min(len(second), room // 2))
    return first[:keep_first], second[: room - keep_first]
