"""One program for all that is asked of texts: every target of an experiment is answered at once.

A text's states cost a thousand times what all heads cost together, and compiling is what evaluation waits for. So a
program reads rows of texts and gives the answers of every head and the vectors of every layer that is asked for; it is
compiled once for each length of rows, of which there are two at most. Of a batch only what its target asks for is
fetched. Several texts share a row (`data/texts.py`), and on the host their answers are taken apart again. What else an
evaluator needs stands in the host's batch and never leaves the host.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from xling_jax.data.texts import BESIDE, shapes
from xling_jax.eval.suite import kind_module
from xling_jax.experiment import Experiment, Target
from xling_jax.models.build import HeadSpec, head_spec
from xling_jax.protocol import ALL, resolve
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS, parse_cells

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
        """Returns what is fetched of an answer; vectors of all hidden states have these on the axis before the last."""
        if self.head and self.head.kind != "dual_encoder":
            return kind_module(self.head.kind).device(answer)
        return {"vectors": answer if self.head or self.layer is not None else jnp.moveaxis(answer, 0, -2)}


def asks_of(experiment: Experiment) -> tuple[Ask, ...]:
    """Returns what all targets of an experiment, and what is remembered, ask; each once, in one order."""
    remembered = (Target(cell.task) for text in experiment.remember for cell in parse_cells(text))
    targets = (target for target in experiment.targets.values() if not target.speaks)
    return tuple(sorted({Ask.of(target) for target in (*targets, *remembered)}, key=str))


def sent(batch: Arrays) -> dict[str, np.ndarray]:
    """Returns what of a batch of packed rows is sent."""
    return {name: batch[name] for name in shapes(*batch["input_ids"].shape)}


def of_texts(answers: Arrays, batch: Arrays) -> dict[str, np.ndarray]:
    """Returns the answers of texts one by one, T..., and what stands beside them: cell by cell, as rows have them.

    Those of tokens have as many places as the longest text of the batch has tokens; behind the tokens of a shorter one
    stand zeros, and -1 of what stands beside.
    """
    row_T, slot_T = np.nonzero(batch["index"] >= 0)
    order_T = np.argsort(batch["cell"][row_T, slot_T], kind="stable")
    row_T, slot_T = row_T[order_T], slot_T[order_T]
    first_T, length_T = batch["first"][row_T, slot_T], batch["lengths"][row_T, slot_T]
    along_1xL = np.arange(length_T.max())[None]
    outside_TxL = along_1xL >= length_T[:, None]
    at_TxL = np.where(outside_TxL, 0, first_T[:, None] + along_1xL)

    def of_tokens(rows: np.ndarray, behind: int) -> np.ndarray:
        found = rows[row_T[:, None], at_TxL]
        found[outside_TxL] = behind
        return found

    room = batch["input_ids"].shape[1]  # a row has fewer places for texts than for tokens
    found = {
        name: of_tokens(rows, 0) if rows.shape[1] == room else rows[row_T, slot_T] for name, rows in answers.items()
    }
    return found | {name: of_tokens(batch[name], -1) for name in BESIDE if name in batch}
