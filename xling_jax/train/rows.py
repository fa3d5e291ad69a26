"""Rows of an embedding that a batch has tokens of: its gradient is theirs, and is no array of the whole table.

A batch has a thousand tokens, and a table a quarter of a million rows. What moves every entry by itself (AdamW) moves
the rows of other tokens, too: their gradient is zero, but moments shrink and weights decay. That is one pass over the
table and one over each moment, to which the rows of the batch are added. A dense gradient would be cleared, added to,
scaled, and read for its norm beside.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

LEAST = 2  # times as many rows as tokens a table has at least, or there is nothing to gain


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows `ids_U` of the table at `path` of parameters: sorted, each once, filled up with a row beyond the last."""

    path: tuple[str, ...]
    ids_U: jax.Array

    @classmethod
    def of(cls, path: tuple[str, ...], trained: Any, tokens: jax.Array) -> "Rows | None":
        """Returns the rows of a batch's tokens; None if the table is not trained, or too small for that to pay."""
        try:
            size = _at(trained, path).shape[0]
        except KeyError:
            return None
        if size < LEAST * tokens.size:
            return None
        return cls(path, jnp.unique(tokens.reshape(-1), size=tokens.size, fill_value=size))

    def small(self, tree: Any) -> Any:
        """Returns a tree whose table has these rows alone; of what is beyond the table, its last row."""
        return _with(tree, self.path, _at(tree, self.path).at[self.ids_U].get(mode="clip"))

    def apart(self, small: Any) -> tuple[Any, Any]:
        """Returns (the tree `small` without the table, and where it was its rows and their ids)."""
        rows = {"ids": self.ids_U, "embedding": _at(small, self.path)}
        return _without(small, self.path), _nested(self.path[:-1], rows)

    def plus(self, tree: Any, move: Callable[[jax.Array, jax.Array], jax.Array], small: Any) -> Any:
        """Returns `move` of each leaf and its part of `small`, whose table has these rows alone; others are moved by 0.

        `move` adds a multiple of its second argument to something of the first.
        """
        rest = jax.tree.map(move, tree, _with(small, self.path, jnp.zeros((), jnp.float32)))
        rows = _at(small, self.path)
        added = move(jnp.zeros_like(rows), rows)
        return _with(rest, self.path, _at(rest, self.path).at[self.ids_U].add(added, mode="drop"))


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _nested(path: tuple[str, ...], leaf: Any) -> Any:
    for name in reversed(path):
        leaf = {name: leaf}
    return leaf


def _with(tree: Any, path: tuple[str, ...], leaf: Any) -> Any:
    name, *inside = path
    return tree | {name: _with(tree[name], tuple(inside), leaf) if inside else leaf}


def _without(tree: Any, path: tuple[str, ...]) -> Any:
    name, *inside = path
    left = {other: part for other, part in tree.items() if other != name}
    return left | {name: _without(tree[name], tuple(inside))} if inside else left
