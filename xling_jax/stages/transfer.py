"""What a stage takes from the checkpoint before it, declared and printed."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding, PartitionSpec

from xling_jax.errors import CheckpointError
from xling_jax.experiment import Handover
from xling_jax.models.build import HeadSpec
from xling_jax.models.lora import ADAPTERS, lay_over

BODY = "body"
WITH_BODY = ("lm", "text_to_text")  # kinds of heads that are published with a body, and handed over with it


@dataclasses.dataclass(frozen=True)
class Loading:
    """Where each part of the parameters comes from: {part here: part there}, and what is fresh or skipped."""

    loaded: dict[str, str]
    fresh: tuple[str, ...]
    skipped: tuple[str, ...]

    def __str__(self) -> str:
        def moved(here, there):
            return here if here == there else f"{here} (from {there})"

        loaded = [moved(*pair) for pair in self.loaded.items()]
        lists = {"loaded": loaded, "fresh": self.fresh, "skipped": self.skipped}
        return "; ".join(f"{what} {', '.join(names) or 'nothing'}" for what, names in lists.items())


def head_part(name: str) -> str:
    """Returns the name that a head has among the parameters."""
    return f"head_{name}"


def plan_loading(handover: Handover, heads: tuple[HeadSpec, ...], before: tuple[HeadSpec, ...]) -> Loading:
    """Returns what to load, given the heads this stage needs and those of the checkpoint before it.

    What says answers in words is no task's own, and goes with the body.

    Raises CheckpointError if a head is to be kept or shared and the checkpoint has none, or several, that fit.
    """
    loaded = {BODY: BODY} if handover.body == "keep" else {}
    for head in heads:
        how = handover.head
        if head.kind in WITH_BODY:
            how = handover.body
        if how == "reinit" or head.kind == "text_to_text":  # which has no parameters of its own
            continue
        fitting = [
            old
            for old in before
            if (old.name == head.name if how == "keep" else (old.kind, old.size) == (head.kind, head.size))
        ]
        if len(fitting) != 1:
            there = ", ".join(f"{old.name} ({old.kind}, {old.size})" for old in before) or "none"
            raise CheckpointError(
                f"Head '{head.name}' ({head.kind}, {head.size}) is to be {how}: {len(fitting)} heads of the "
                f"checkpoint fit.\nIts heads: {there}.\nAllowed: exactly one. Set handover.head='reinit' for a new one."
            )
        loaded[head_part(head.name)] = head_part(fitting[0].name)
    here, there = ({BODY, *(head_part(h.name) for h in some if h.kind != "text_to_text")} for some in (heads, before))
    return Loading(loaded, tuple(sorted(here - set(loaded))), tuple(sorted(there - set(loaded.values()))))


def source_tree(loading: Loading, params: Any) -> dict[str, Any]:
    """Returns the part of the checkpoint's tree to read, shaped and named as it is there.

    A head whose matrix is that of the embeddings has no part in it.
    """
    return {there: params[here] for here, there in loading.loaded.items() if here in params}


def with_adapters(wanted: dict[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tree to read with the adapters that a checkpoint has beside its projections.

    The checkpoint says so, whoever wrote it: adapters that were not read would be lost without a word.

    Args:
      wanted: shapes with shardings, of a model without adapters.
      shapes: path -> (shape, dtype) of the checkpoint's parameters.
    """
    flat = flatten_dict(wanted, sep="/")
    for path, (shape, dtype) in shapes.items():
        module, _, name = path.rpartition("/")
        if name in ADAPTERS and f"{module}/kernel" in flat:
            everywhere = NamedSharding(flat[f"{module}/kernel"].sharding.mesh, PartitionSpec())
            flat[path] = jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=everywhere)
    return unflatten_dict(flat, sep="/")


def named_here(loading: Loading, read: dict[str, Any]) -> dict[str, Any]:
    """Returns what was read by the names that its parts have in this stage."""
    return {here: read[there] for here, there in loading.loaded.items() if there in read}


def merge(fresh: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns the stage's parameters: the parts that are given over what is fresh.

    What is given has no adapters any more, and those of this stage are fresh: it starts where the other one ended.
    """
    return fresh | {part: lay_over(fresh[part], given[part]) for part in given}
