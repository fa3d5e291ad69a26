"""One program for all heads: what the targets of an experiment ask of texts is answered at once.

A text's states cost a thousand times what all heads cost together, and compiling is what evaluation waits for. So a
program reads rows of texts and gives the answers of every head, and it is compiled once for each length of rows; of a
batch only what its target asks for is fetched. Vectors of hidden states have a program of their own: it keeps those of
all layers until they are pooled, and heads need not pay for that memory. What else an evaluator needs stands in the
host's batch and never leaves the host.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from xling_jax.eval.suite import kind_module
from xling_jax.experiment import Experiment, Target
from xling_jax.models.build import HeadSpec, head_spec
from xling_jax.protocol import ALL, resolve
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS, parse_cells

BESIDE = ("word", "spans")  # arrays of a batch that evaluators read beside the answers
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Ask:
    """What is asked of each text: the answer of a head, or a vector of a hidden state (None: of all)."""

    head: HeadSpec | None = None
    layer: int | None = None
    pooling: str = ""
    special: bool = False

    @classmethod
    def of(cls, target: Target) -> "Ask":
        """Returns what a target asks."""
        row = TASKS[target.task]
        if KINDS[row.kind].trained:
            return cls(head_spec(row))
        protocol = resolve(target.protocol, row.kind)
        layer = None if protocol.layer == ALL else protocol.layer
        return cls(None, layer, protocol.pooling, protocol.special)

    def __str__(self) -> str:
        return self.head.name if self.head else " ".join(map(str, self.how))

    @property
    def how(self) -> tuple:
        """Returns it as the `read` of models takes it."""
        return (self.head.name,) if self.head else (self.layer, self.pooling, self.special)

    def device(self, answer: jax.Array) -> dict[str, jax.Array]:
        """Returns what is fetched of an answer, each with a row for each text."""
        if self.head and self.head.kind != "dual_encoder":
            return kind_module(self.head.kind).device(answer)
        return {"vectors": answer if self.head or self.layer is not None else answer.swapaxes(0, 1)}


def asks_of(experiment: Experiment) -> tuple[Ask, ...]:
    """Returns what all targets of an experiment, and what is remembered, ask; each once, in one order."""
    remembered = (Target(cell.task) for text in experiment.remember for cell in parse_cells(text))
    targets = (target for target in experiment.targets.values() if not target.speaks)
    return tuple(sorted({Ask.of(target) for target in (*targets, *remembered)}, key=str))


def texts(batch: Arrays, unit: int) -> dict[str, np.ndarray]:
    """Returns the texts of a batch, RxL, and their lengths, R: those of one example one after another.

    R is a multiple of `unit`; rows without a text have no tokens.
    """
    ids_NxL, lengths_N = batch["input_ids"].reshape(-1, batch["input_ids"].shape[-1]), batch["lengths"].reshape(-1)
    more = -len(ids_NxL) % unit
    return {"input_ids": np.pad(ids_NxL, ((0, more), (0, 0))), "lengths": np.pad(lengths_N, (0, more))}


def of_examples(arrays: Arrays, batch: Arrays) -> dict[str, Any]:
    """Returns answers by example, B..., or BxC... where an example has several texts, and what stands beside them."""
    shape = batch["input_ids"].shape[:-1]
    count = int(np.prod(shape))
    found = {name: array[:count].reshape(*shape, *array.shape[1:]) for name, array in arrays.items()}
    return found | {name: batch[name] for name in BESIDE if name in batch}
