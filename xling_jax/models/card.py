"""What stands beside a checkpoint, in model.json: which model it is of, its heads, its vocabulary."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from xling_jax.errors import CheckpointError
from xling_jax.models.build import HeadSpec
from xling_jax.tables.models import Model

NAME = "model.json"
TOKENIZER = "tokenizer"  # that of an imported model's vocabulary


@dataclasses.dataclass(frozen=True)
class VocabularyCard:
    """A vocabulary: its family of tokenizers, number of ids, fingerprint, and the folder or file it was read from."""

    family: str
    size: int
    fingerprint: str
    path: str


@dataclasses.dataclass(frozen=True)
class Card:
    """A model. `model.vocab` is never 0. `labels`: of each head that has any, in order.

    `special` are the ids of special tokens, as config.json names them: bos_token_id and the like. `origin`: where an
    imported model comes from.
    """

    model: Model
    heads: tuple[HeadSpec, ...]
    labels: Mapping[str, tuple[str, ...]]
    vocabulary: VocabularyCard | None
    special: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def as_text(card: Card) -> str:
    """Returns the contents of model.json."""
    return json.dumps(dataclasses.asdict(card), indent=1) + "\n"


def _tuples(value: Any) -> Any:
    """Returns a value with tuples for the lists that JSON has in their place."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _row(cls: Any, fields: Mapping[str, Any]) -> Any:
    return cls(**{name: _tuples(value) for name, value in fields.items()})


def read_card(folder: pathlib.Path) -> Card:
    """Returns the card of a stage's folder, or of what `xling convert from-hf` wrote.

    Raises CheckpointError if there is none, or one of another version.
    """
    path = folder / NAME
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {NAME}, so it is no checkpoint.\n"
            "Allowed: a folder that `xling convert from-hf` wrote, or the folder of a stage, WORKDIR/stages/NAME-HASH."
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Card(
            model=_row(Model, found["model"]),
            heads=tuple(_row(HeadSpec, head) for head in found["heads"]),
            labels={name: tuple(words) for name, words in found["labels"].items()},
            vocabulary=_row(VocabularyCard, found["vocabulary"]) if found["vocabulary"] else None,
            special=found["special"],
            origin=found["origin"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged, or was written by another version ({error}).\nConvert or train it again."
        ) from error
