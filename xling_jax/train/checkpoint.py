"""Checkpoints: Orbax writes them, atomically and in the background; a fingerprint of ours says they are whole.

Parameters are an item of their own, so that the next stage reads them without the optimiser's moments.
The fingerprint holds path, shape, dtype and CRC-32 of every leaf, because a flipped byte restores without
a word otherwise.
"""

import pathlib
import threading
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from xling_jax.errors import CheckpointError
from xling_jax.train.step import State

PARAMS, TRAIN, META = "params", "train", "meta"
NOTHING = {"shapes": {}, "sums": {}}
_ONE_AT_A_TIME = threading.RLock()  # Orbax's event loops do not bear several threads of one process


def paths(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, like "encoder/norm/scale"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _shapes(tree: Any) -> dict[str, list]:
    return {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in paths(tree).items()}


def _sums(tree: Any, dtypes: Mapping[str, str] | None = None) -> dict[str, int]:
    """Returns checksums of the leaves that this process has whole, one leaf on the host at a time.

    With `dtypes`, of the values in those: a leaf that was read into a wider dtype is still what was saved.
    """

    def total(path: str, leaf: Any) -> int:
        array = np.ascontiguousarray(jax.device_get(leaf))
        return zlib.crc32(array.astype(dtypes[path] if dtypes else array.dtype, copy=False).view(np.uint8).data)

    mine = {path: leaf for path, leaf in paths(tree).items() if getattr(leaf, "is_fully_addressable", True)}
    return {path: total(path, leaf) for path, leaf in mine.items()}


def _same(found: Any, wanted: Any) -> bool:
    """Whether a leaf that was saved can be read as what is wanted: float32 holds whatever bfloat16 does."""
    return found == wanted or (
        "nothing" not in (found, wanted) and found == [wanted[0], "bfloat16"] and wanted[1] == "float32"
    )


def _first_line(error: Exception) -> str:
    return f"{error} ".splitlines()[0].strip()[:200] or type(error).__name__


class Checkpoints:
    """The checkpoints of one stage."""

    def __init__(self, path: pathlib.Path, keep: int = 1, background: bool = True):
        """Opens a folder of checkpoints, which need not exist yet.

        Args:
          path: the folder.
          keep: how many of the newest to hold.
          background: save while training goes on; not where several threads have checkpoints open.
        """
        self._path = path
        with _ONE_AT_A_TIME:
            self._manager = ocp.CheckpointManager(
                path.absolute(),
                item_names=(PARAMS, TRAIN, META),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep, create=True, enable_async_checkpointing=background
                ),
            )

    def latest(self) -> int | None:
        """Returns the newest step that was saved whole."""
        return self._manager.latest_step()

    def save(self, step: int, state: State) -> None:
        """Starts to save a state; it is safe on disk after `close`, or when a later save begins."""
        params, rest = state["params"], {name: part for name, part in state.items() if name != "params"}
        meta = {
            PARAMS: {"shapes": _shapes(params), "sums": _sums(params)},
            TRAIN: {"shapes": _shapes(rest), "sums": _sums(rest)},
        }
        items = {
            PARAMS: ocp.args.PyTreeSave(params),
            TRAIN: ocp.args.PyTreeSave(rest),
            META: ocp.args.JsonSave(meta),
        }
        with _ONE_AT_A_TIME:
            if not self._manager.save(step, args=ocp.args.Composite(**items), force=True):
                raise CheckpointError(f"{self._path}: step {step} was not saved; a newer one is there.")

    def meta(self, step: int) -> dict:
        """Returns the fingerprints of a step, {item: {"shapes", "sums"}}; an imported one has parameters alone."""
        try:
            meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))[META]
            return {PARAMS: meta[PARAMS], TRAIN: meta.get(TRAIN, NOTHING)}
        except (ValueError, OSError, KeyError) as error:
            raise self._damaged(step, f"no fingerprint: {_first_line(error)}") from error

    def restore(self, step: int, abstract: State) -> State:
        """Returns the state of a step, onto the shardings of `abstract`. Raises CheckpointError if it differs."""
        rest = {name: part for name, part in abstract.items() if name != "params"}
        with _ONE_AT_A_TIME:
            return {"params": self._item(step, PARAMS, abstract["params"]), **self._item(step, TRAIN, rest)}

    def restore_params(self, step: int, abstract: Any) -> Any:
        """Returns the parameters named in `abstract`, which may be a part of those saved.

        What is given as NumPy's array there, of any content, comes back as one.
        """
        with _ONE_AT_A_TIME:
            return self._item(step, PARAMS, abstract, part=True)

    def _item(self, step: int, item: str, abstract: Any, part: bool = False) -> Any:
        meta = self.meta(step)[item]
        wanted = _shapes(abstract)
        for path in wanted if part else wanted | meta["shapes"]:
            found, shape = meta["shapes"].get(path, "nothing"), wanted.get(path, "nothing")
            if not _same(found, shape):
                raise CheckpointError(
                    f"{self._path}: step {step} has {found} at {item}/{path}, the model has {shape}.\n"
                    "Allowed: the same shape and dtype. Was it written by another model row or vocabulary?"
                )
        arguments = ocp.args.PyTreeRestore(
            item=abstract, restore_args=ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
        )
        try:
            tree = self._manager.restore(step, args=ocp.args.Composite(**{item: arguments}))[item]
        except Exception as error:  # TensorStore raises bare Exception for a damaged file
            raise self._damaged(step, _first_line(error)) from error
        assert not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree)), "unread leaves"
        for path, total in _sums(tree, {path: dtype for path, (_, dtype) in meta["shapes"].items()}).items():
            if meta["sums"].get(path, total) != total:
                raise self._damaged(step, f"{item}/{path} does not have the checksum it was saved with")
        return tree

    def _damaged(self, step: int, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self._path}: step {step} is damaged ({why}).\n"
            f"Delete {self._path / str(step)}; the stage then goes on from the step before, or from its start. "
            "What was imported is converted again."
        )

    def close(self) -> None:
        """Waits until everything is on disk."""
        with _ONE_AT_A_TIME:
            self._manager.wait_until_finished()
            self._manager.close()
