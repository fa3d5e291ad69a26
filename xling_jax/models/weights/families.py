"""All families, and which of them a config.json is of."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from xling_jax.errors import CheckpointError, unknown
from xling_jax.models.build import HeadSpec
from xling_jax.models.weights import llama, mt5, xlmr
from xling_jax.models.weights.tensors import Family
from xling_jax.tables.models import MODELS, Model, decides

FAMILIES = {family.name: family for family in (xlmr.FAMILY, mt5.FAMILY, llama.FAMILY)}
WHERE = "Families are listed in xling_jax/models/weights/families.py."
LABELLED = ("pair_classification", "tagging")  # kinds of heads that have a size, and words for their labels


def family_of(config: Mapping[str, Any]) -> Family:
    """Returns the family of a config.json. Raises CheckpointError for a model_type that none has."""
    known = {kind: family for family in FAMILIES.values() for kind in family.architectures}
    kind = config.get("model_type")
    if kind not in known:
        raise CheckpointError(str(unknown("model_type", str(kind), known, WHERE, "config.json")))
    return known[kind]


def class_of(family: Family, row: Model, kind: str) -> str:
    """Returns the class of transformers that has a kind of head over a row; "" for the body alone.

    Raises CheckpointError if there is none.
    """
    model_type = family.config_of(row)["model_type"]
    kinds = {kind: name for name, kind in family.architectures[model_type].items()}
    if kind not in kinds:
        allowed = ", ".join(f"{name} ({kind or 'no head'})" for kind, name in kinds.items())
        raise CheckpointError(
            f"transformers has no class of {model_type} with {f'a head of kind {kind!r}' if kind else 'no head'}.\n"
            f"Allowed: {allowed}."
        )
    return kinds[kind]


def kind_of(family: Family, config: Mapping[str, Any]) -> str:
    """Returns the kind of head that config.json's architecture has, "" for none.

    Raises CheckpointError for a class that we have no head for.
    """
    known = family.architectures[config["model_type"]]
    named = config.get("architectures") or []
    if len(named) == 1 and named[0] in known:
        return known[named[0]]
    found = ", ".join(map(str, named)) or "none"
    raise CheckpointError(
        f"config.json names the architecture {found}.\n"
        f"Allowed: one of {', '.join(known)}.\n--head=none takes the body alone, whatever head is there."
    )


def labels_of(config: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Returns the words of a head's labels, in order; none where the kind has none.

    Raises CheckpointError if config.json does not number them from 0.
    """
    if kind not in LABELLED:
        return ()
    words = config.get("id2label") or {str(number): f"LABEL_{number}" for number in range(config.get("num_labels", 2))}
    numbers = [str(number) for number in range(len(words))]
    if sorted(map(str, words)) != sorted(numbers):
        raise CheckpointError(f"config.json has the labels {words}.\nAllowed: id2label with the numbers from 0 on.")
    by_number = {str(number): str(word) for number, word in words.items()}
    return tuple(by_number[number] for number in numbers)


def head_of(kind: str, name: str, labels: tuple[str, ...]) -> HeadSpec:
    """Returns the head of a kind."""
    return HeadSpec(name, kind, 2 if kind == "span_qa" else len(labels))


def row_named(row: Model, multiple: int) -> Model:
    """Returns the row of the table that has these sizes; the row itself, called "imported", if none has.

    Args:
      row: as a family reads it from what is published.
      multiple: what the rows of the vocabulary are filled up to a multiple of.
    """
    row = dataclasses.replace(row, multiple=multiple)
    for known in MODELS.values():
        if decides(dataclasses.replace(known, multiple=multiple)) == decides(row) and known.source:
            return dataclasses.replace(known, multiple=multiple)
    return dataclasses.replace(row, name="imported")
