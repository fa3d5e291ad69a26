"""Which tensors of a file become which leaves of the parameters, and what is left over on either side."""

import dataclasses
import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from xling_jax.errors import CheckpointError
from xling_jax.models.weights.tensors import Family, Tensor, names, theirs_shape, to_ours

PIECE = 1 << 26  # bytes of a piece of ours, where a tensor can be cut between two rows
SHOWN = 6


class Stored(Protocol):
    """A tensor in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns the tensor, or the rows [start, stop) of its first axis."""
        ...


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A leaf of ours, and where it comes from: one tensor for each layer, or one.

    `shape` is that of the whole leaf. `twins` are other tensors that must hold the same, because they are tied.
    """

    tensor: Tensor
    shape: tuple[int, ...]
    names: tuple[str, ...]
    stored: tuple[Stored, ...]
    twins: tuple[tuple[str, Stored], ...] = ()

    @property
    def layered(self) -> bool:
        return "{}" in self.tensor.theirs

    @property
    def _cuttable(self) -> bool:
        """Whether rows here are rows there."""
        return len(self.shape) > 1 and self.tensor.split == 1 and not self.tensor.turned

    def rows(self, dtype: Any) -> int:
        """Returns how many rows of the first axis are best read at a time: a layer, or some rows, or all of them."""
        if self.layered:
            return 1
        if not self._cuttable:
            return self.shape[0] if self.shape else 1
        row = int(np.prod(self.shape[1:])) * jnp.dtype(dtype).itemsize
        return max(1, min(self.shape[0], PIECE // row))

    def read(self, start: int, stop: int, dtype: Any) -> np.ndarray:
        """Returns rows [start, stop) of the leaf; those beyond the vocabulary there are zeros.

        Raises CheckpointError for numbers that are not finite, and for twins that differ.
        """
        if self.layered:
            piece = np.empty((stop - start, *self.shape[1:]), dtype)
            for number in range(start, stop):
                piece[number - start] = to_ours(self.tensor, self.stored[number].read(), self.shape[1:])
        elif not self._cuttable:
            piece = to_ours(self.tensor, self._same(self.stored[0].read(), 0, None), self.shape).astype(dtype)
        else:
            there = min(stop, self.stored[0].shape[0])
            piece = np.zeros((stop - start, *self.shape[1:]), dtype)
            if start < there:
                rows = self._same(self.stored[0].read(start, there), start, there)
                piece[: there - start] = rows.reshape(-1, *self.shape[1:])
        self._finite(piece, start)
        return piece

    def _same(self, array: np.ndarray, start: int, stop: int | None) -> np.ndarray:
        for name, twin in self.twins:
            if not np.array_equal(twin.read(start, stop).view(np.uint8), array.view(np.uint8)):
                raise CheckpointError(
                    f"{self.names[0]} and {name} are tied, and hold different numbers.\n"
                    "Allowed: the same in both, or one of them. If the file was made by other code: they were trained "
                    "apart, or one of them was resized and the other was not."
                )
        return array

    def _finite(self, piece: np.ndarray, start: int) -> None:
        finite = np.isfinite(piece)
        if finite.all():
            return
        where = np.argwhere(~finite)[0]
        name = self.names[start + where[0]] if self.layered else self.names[0]
        raise CheckpointError(
            f"{name} has {np.size(finite) - np.count_nonzero(finite):,} numbers that are not finite; the first is "
            f"{piece[tuple(where)]} at {[start + int(where[0]), *map(int, where[1:])] if where.size else []} of "
            f"{self.tensor.ours} here.\n"
            "Allowed: finite numbers. The training that wrote it diverged, or float32 did not fit into its dtype."
        )


@dataclasses.dataclass(frozen=True)
class Matching:
    """`leaves`: all of ours. `unused`: names there that nothing takes. `ignored`: those that hold nothing learned."""

    leaves: tuple[Leaf, ...]
    unused: tuple[str, ...]
    ignored: tuple[str, ...]

    def used(self) -> int:
        """Returns the number of tensors there that are used, tied names included."""
        return sum(len(leaf.names) + len(leaf.twins) for leaf in self.leaves)


def match(
    family: Family,
    tensors: Iterable[Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, Stored],
    vocab: int,
) -> Matching:
    """Returns where each of our leaves comes from.

    Args:
      family: says which prefix may be left out, and what to ignore.
      tensors: the rows of the body and its heads.
      shapes: of our leaves, by path.
      stored: what the files have, by name.
      vocab: rows of the vocabulary there.

    Raises:
      CheckpointError: a tensor is missing, or of another shape.
    """
    tensors = tuple(tensors)
    rows = {tensor.ours for tensor in tensors}
    assert rows == set(shapes) and len(rows) == len(tensors), f"rows and leaves differ: {sorted(rows ^ set(shapes))}"
    leaves, missing = [], {}
    for tensor in tensors:
        shape = shapes[tensor.ours]
        wanted = names(tensor, shape[0] if shape else 1)
        found = [_find(family, name, tensor.also if len(wanted) == 1 else (), stored) for name in wanted]
        absent = [name for name, there in zip(wanted, found, strict=True) if not there]
        if absent:
            missing[tensor.ours] = absent
            continue
        first = [there[0] for there in found]
        twins = tuple((name, stored[name]) for name in found[0][1:])
        leaf = Leaf(tensor, shape, tuple(first), tuple(stored[name] for name in first), twins)
        _check_shapes(leaf, vocab)
        leaves.append(leaf)
    if missing:
        raise _missing(missing, rows, stored)
    taken = {name for leaf in leaves for name in (*leaf.names, *(twin for twin, _ in leaf.twins))}
    left = [name for name in stored if name not in taken]
    ignored = tuple(name for name in left if _is_ignored(family, name))
    return Matching(tuple(leaves), tuple(name for name in left if name not in ignored), ignored)


def _find(family: Family, name: str, also: tuple[str, ...], stored: Mapping[str, Stored]) -> list[str]:
    """Returns the names under which a tensor is there."""
    return [spelled for title in (name, *also) for spelled in _spellings(family, title) if spelled in stored]


def _spellings(family: Family, name: str) -> Iterator[str]:
    yield name
    if family.prefix and name.startswith(family.prefix):
        yield name.removeprefix(family.prefix)


def _is_ignored(family: Family, name: str) -> bool:
    patterns = [spelled for pattern in family.ignored for spelled in _spellings(family, pattern)]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _check_shapes(leaf: Leaf, vocab: int) -> None:
    expected = theirs_shape(leaf.tensor, leaf.shape[1:] if leaf.layered else leaf.shape, vocab)
    for name, stored in zip(
        (*leaf.names, *(twin for twin, _ in leaf.twins)), (*leaf.stored, *(twin for _, twin in leaf.twins)), strict=True
    ):
        if stored.shape != expected:
            likely = _cause(leaf.tensor, stored.shape, expected)
            raise CheckpointError(
                f"{name} has shape {list(stored.shape)}; {leaf.tensor.ours}, here "
                f"{list(leaf.shape)}, needs {list(expected)} there.\nLikely: {likely}.\n"
                "Allowed: a config.json that was written with these tensors."
            )


def _cause(tensor: Tensor, found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if tensor.rows and found[1:] == expected[1:]:
        return f"the vocabulary was resized to {found[0]} rows, and config.json still has vocab_size={expected[0]}"
    if "position" in tensor.theirs:
        return "config.json has the max_position_embeddings of another model"
    if tensor.ours.startswith("head_"):
        return "config.json names another number of labels than the head was trained with, or another architecture"
    return "config.json is that of another size of the model"


def _missing(missing: Mapping[str, list[str]], rows: set[str], stored: Mapping[str, Stored]) -> CheckpointError:
    """Returns the error for leaves that nothing there becomes."""
    count = sum(map(len, missing.values()))
    ours, theirs = next(iter(missing.items()))
    bodies = {path for path in rows if path.startswith("body/")}
    if bodies <= set(missing):
        cause = f"the names are those of another architecture, like {', '.join(list(stored)[:3]) or 'none at all'}"
    elif not bodies & set(missing):
        cause = "the architecture of config.json has a head that was not saved; --head=none takes the body alone"
    else:
        cause = "a shard is of another model, or config.json names more layers than there are"
    more = f" and {count - 1} more" if count > 1 else ""
    return CheckpointError(
        f"{theirs[0]}{more} is not among the {len(stored)} tensors, and {ours} needs it.\nLikely: {cause}."
    )
