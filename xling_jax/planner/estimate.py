"""The analytical estimate of a step: what stands in for a compiler where there is none, and prunes a search.

It knows sizes, not programs: what a layer keeps for its gradient under each policy of `remat`, what is gathered, what
is sent. Compared with compiled programs (tests/planner/test_estimate.py) memory is within a factor of two, which is
enough to leave out what is far from fitting.
"""

import dataclasses

from xling_jax.experiment import Experiment
from xling_jax.planner.work import Batch
from xling_jax.tables.models import Model

FLOAT = 4  # bytes of a parameter, a gradient, a moment, and of what is carried from layer to layer
MASKED = 0.15  # of an input's tokens have logits in masked language modelling


@dataclasses.dataclass(frozen=True)
class Split:
    """How a step is divided: devices of each axis of the mesh, micro-batches, what is computed again."""

    data: int
    fsdp: int
    tensor: int
    strategy: str
    remat: str
    accumulate: int = 1

    @property
    def gathered(self) -> int:
        """Returns among how many devices a parameter is divided that has to be whole to be used."""
        return 1 if self.strategy == "data" else self.fsdp

    @property
    def across(self) -> int:
        """Returns among how many devices a layer itself is divided."""
        return self.tensor if self.strategy == "fsdp_tensor" else 1


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Bytes of one chip in one step: at most, besides parameters and optimiser, moved, and sent by kind."""

    peak: int
    temporaries: int
    moved: int
    collectives: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Stack:
    """Layers that are alike, and the tokens of a row that pass through them."""

    layers: int
    length: int


def _stacks(row: Model, batch: Batch) -> tuple[_Stack, ...]:
    shapes = {name: shape for name, shape, _ in batch.arrays}
    answer = shapes.get("labels", ())[1:]
    if row.family == "seq2seq":
        return _Stack(row.layers, batch.length), _Stack(row.decoder_layers, sum(answer))
    behind = row.family == "decoder" and answer and shapes["labels"] != shapes["input_ids"]  # else labels of its tokens
    return (_Stack(row.layers, batch.length + (sum(answer) if behind else 0)),)


def _texts(batch: Batch) -> int:
    """Returns the rows of tokens that a batch has: several of an example that has several texts."""
    (shape,) = (shape for name, shape, _ in batch.arrays if name == "input_ids")
    return batch.rows * (shape[1] if len(shape) > 2 else 1)


def _kept(row: Model, split: Split, length: int, size: int, remat: str) -> float:
    """Returns the bytes that a layer keeps of a token for its gradient. `size` of a number in a product."""
    carried = FLOAT * row.width
    if remat == "full":
        return carried
    inner = row.heads * (row.head_width or row.width // row.heads)
    products = inner + 2 * (row.groups or row.heads) * inner // row.heads + row.width
    products += row.mlp * (1 if row.family == "encoder" else 2)
    if remat == "dots":
        return carried + size * (products / split.across + row.width)
    norms = 6 * FLOAT * row.width  # of what is carried: before and behind each norm and each block
    scores = row.heads * length * (FLOAT + size)
    return carried + norms + (scores + size * (products + inner + 2 * row.mlp)) / split.across + 2 * row.width


def _logits(row: Model, batch: Batch, vocab: int, split: Split, kind: str) -> float:
    """Returns the bytes of what is said of a vocabulary, and of its gradient, where a head says something."""
    places = {"mlm": MASKED * batch.length, "text_to_text": 0, "lm": 0}.get(kind)
    if places is None:
        return 0.0
    places = places or sum(stack.length for stack in _stacks(row, batch)[-1:])
    rows = batch.rows / (split.data * split.fsdp) / split.accumulate
    return 3 * FLOAT * rows * places * vocab / split.across


def estimate(
    experiment: Experiment,
    row: Model,
    batch: Batch,
    split: Split,
    *,
    kind: str,
    parameters: int,
    held: int,
    optimizer: int,
    training: bool,
) -> Estimate:
    """Returns what one call of a program takes.

    Args:
      experiment: says the dtype.
      row: of the model, with its vocabulary.
      batch: of the whole mesh.
      split: how it is divided.
      kind: of the head that is trained, or of the task that is asked.
      parameters: of the model, how many.
      held: bytes of them on each chip.
      optimizer: bytes of its state on each chip.
      training: with gradients, or without.
    """
    size = 2 if experiment.dtype == "bfloat16" else FLOAT
    stacks = _stacks(row, batch)
    layer = (parameters - row.vocab * row.width) / sum(stack.layers for stack in stacks)
    rows = _texts(batch) / (split.data * split.fsdp) / split.accumulate
    whole = [rows * stack.length * _kept(row, split, stack.length, size, "none") for stack in stacks]
    working = 2 * max(whole) + (4 * layer * size / split.across if split.gathered > 1 else 0)
    temporaries = working + _logits(row, batch, row.vocab, split, kind)
    if training:
        kept = [
            stack.layers * rows * stack.length * _kept(row, split, stack.length, size, split.remat) for stack in stacks
        ]
        temporaries += held * (3 if split.accumulate > 1 else 1) + sum(kept)  # gradients, what they add up to, and both
    passes = (3 + (split.remat == "full")) if training else 1
    weights = parameters * size / split.across
    moved = passes * weights * (2 if split.gathered > 1 else 1) + 2 * passes * sum(
        stack.layers * one for stack, one in zip(stacks, whole, strict=True)
    )
    moved = moved * split.accumulate + (training and 4 * held + 3 * optimizer)
    sent = _sent(row, batch, split, stacks, size=size, weights=weights, training=training)
    peak = held + optimizer + temporaries
    return Estimate(round(peak), round(temporaries), round(moved), sent)


def _sent(
    row: Model, batch: Batch, split: Split, stacks: tuple[_Stack, ...], *, size: int, weights: float, training: bool
) -> dict[str, int]:
    """Returns the bytes that a chip sends by kind: parameters, their gradients, and what parts of a layer add up to."""
    shards, found = split.gathered, {}
    if shards > 1:
        times = (2 if training else 1) * split.accumulate
        found["all-gather"] = times * weights * (shards - 1) / shards
        found["reduce-scatter"] = split.accumulate * weights * (shards - 1) / shards if training else 0
    copies = split.data * split.fsdp // shards
    if training and copies > 1:
        found["all-reduce"] = 2 * split.accumulate * weights / shards * (copies - 1) / copies
    if split.across > 1:
        tokens = _texts(batch) / (split.data * split.fsdp) * sum(stack.layers * stack.length for stack in stacks)
        times = (4 + 2 * (split.remat == "full")) if training else 2
        ring = 2 * (split.across - 1) / split.across
        found["all-reduce"] = found.get("all-reduce", 0) + times * ring * tokens * row.width * size
    return {name: round(sent) for name, sent in sorted(found.items()) if sent}
