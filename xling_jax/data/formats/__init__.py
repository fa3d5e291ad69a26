"""Raw example to model features, one file per kind of task.

A format module has FEATURES, the table of what it makes, and `features(example, tokenizer, max_length,
row)`, which returns one or more dicts of int32 arrays: a text longer than `max_length` tokens becomes several.
For the token report it has OWN, the fields that hold text in the cell's language, and `demand(example, made, tokenizer,
max_length)`, which returns how many tokens the texts of an example have, and how many of them no feature of it has.
Where answers are said in words, all kinds have one format, `text.TextFormat`.
"""

import dataclasses
import importlib
from types import ModuleType
from typing import Any

import numpy as np

from xling_jax.data.tokenizers import Tokenizer
from xling_jax.experiment import Part
from xling_jax.tables.prompts import HEADS


@dataclasses.dataclass(frozen=True)
class Feature:
    """An array of a format: its axes (L is padded to the bucket, digits, C and T are fixed) and its padding value.

    That of ids is XLM-R's; `Prepared.table` has the one of the tokenizer that made them, and the `answer_length` of the
    cell, which is T.
    """

    axes: str
    pad: int
    answer_length: int = 0


def format_of(kind: str) -> ModuleType:
    """Returns the format module of a kind of task; the file's name is the kind."""
    return importlib.import_module(f"{__name__}.{kind}")


def format_of_part(part: Part, tokenizer: Tokenizer) -> Any:
    """Returns the format of a part: its kind's module, or that of answers in words, which has the same."""
    if part.form == HEADS:
        return format_of(part.cell.row.kind)
    from xling_jax.data.formats.text import TextFormat  # noqa: PLC0415 - it is made of the others

    return TextFormat(part, tokenizer)


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


def stack(tokenizer: Tokenizer, rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns several texts of one example: input_ids CxL, and lengths C, for no id says what is padding."""
    ids_CxL = np.full((len(rows), max(map(len, rows))), tokenizer.pad, np.int32)
    for ids_L, row_ids in zip(ids_CxL, rows, strict=True):
        ids_L[: len(row_ids)] = row_ids
    return {"input_ids": ids_CxL, "lengths": np.array([len(row) for row in rows], np.int32)}


def truncate(first: np.ndarray, second: np.ndarray, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns both parts cut to `room` tokens together, always taking from the longer one."""
    excess = len(first) + len(second) - room
    if excess <= 0:
        return first, second
    keep_first = min(len(first), room - min(len(second), room // 2))
    return first[:keep_first], second[: room - keep_first]


def cut_demand(tokenizer: Tokenizer, max_length: int, *texts: str) -> tuple[int, int]:
    """Returns the tokens of texts that share an input, and how many of them it has no room for."""
    asked = sum(len(tokenizer.ids(text)) for text in texts)
    return asked, max(0, asked + specials(tokenizer, len(texts)) - max_length)


def whole_demand(made: list[dict[str, np.ndarray]], tokenizer: Tokenizer) -> tuple[int, int]:
    """Returns the tokens of features that divide one text among them, so that none is lost."""
    return sum(len(feature["input_ids"]) for feature in made) - len(made) * specials(tokenizer, 1), 0
