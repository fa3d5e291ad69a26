"""Checkpoints: Orbax writes them, atomically and in the background; a fingerprint of ours says they are whole.

Parameters are an item of their own, so that the next stage reads them without the optimiser's moments.
The fingerprint holds path, shape, dtype and checksum of every leaf, because a flipped byte restores without
a word otherwise. Beside it stands how earlier checkpoints scored, so that whoever goes on selects the same one.
"""

import contextlib
import json
import pathlib
import threading
from collections.abc import Generator, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from xling_jax.disk import lost, on_bucket, remove, unreached, writing
from xling_jax.errors import CheckpointError, DamagedError
from xling_jax.partitioning import hosts
from xling_jax.partitioning.hosts import write_text
from xling_jax.train.checksums import checksums
from xling_jax.train.step import State

CHECKPOINTS = "checkpoints"  # the folder of a stage's checkpoints, or of an imported model's
AVERAGED = "averaged"  # that of the mean of several
CHOSEN = "chosen.json"  # says which of them is the stage's, where that is not the last one
PARAMS, TRAIN, META = "params", "train", "meta"
HISTORY = "history"
DRAFT = ".orbax-checkpoint-tmp"  # in the names of folders that Orbax is writing on a disk
COMMIT = "commit_success.txt"  # in folders that Orbax has written on a bucket, where they have their names at once
CHUNK = 1 << 25  # bytes of what is compressed and read as one: who holds a part of a leaf reads few of them
NOTHING = {"shapes": {}, "checksums": {}}
_ONE_AT_A_TIME = threading.RLock()  # Orbax's event loops do not bear several threads of one process


def paths(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, like "encoder/norm/scale"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _shapes(tree: Any) -> dict[str, list]:
    return {path: [list(leaf.shape), str(leaf.dtype)] for path, leaf in paths(tree).items()}


def fingerprint(tree: Any) -> dict[str, dict]:
    """Returns shapes, dtypes and checksums of the leaves of a tree, by their paths."""
    return {"shapes": _shapes(tree), "checksums": checksums(paths(tree))}


def _same(found: Any, wanted: Any) -> bool:
    """Whether a leaf that was saved can be read as what is wanted: float32 holds whatever bfloat16 does."""
    return found == wanted or (
        "nothing" not in (found, wanted) and found == [wanted[0], "bfloat16"] and wanted[1] == "float32"
    )


def _first_line(error: BaseException) -> str:
    """Returns what first went wrong, in a line: what Orbax makes of TensorStore's errors says nothing of the file."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return f"{said} ".splitlines()[0].strip()[:200] or type(error).__name__


def _cut(tree: Any) -> ocp.args.PyTreeSave:
    """Returns how a tree is saved: each leaf in pieces, however few devices it is on."""
    return ocp.args.PyTreeSave(tree, save_args=jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=CHUNK), tree))


class Checkpoints:
    """The checkpoints of one stage."""

    def __init__(self, path: pathlib.Path, keep: int | None = 1, background: bool = True, create: bool = True):
        """Opens a folder of checkpoints, which need not exist yet.

        Args:
          path: the folder.
          keep: how many of the newest to hold; None for all but those that are dropped.
          background: save while training goes on; not where several threads have checkpoints open.
          create: make the folder. Who only looks at what another process writes does not.
        """
        self._path = path
        self._looks = not create
        with _ONE_AT_A_TIME:
            self._manager = ocp.CheckpointManager(
                path.absolute(),
                item_names=(PARAMS, TRAIN, META),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep, create=create, read_only=not create, enable_async_checkpointing=background
                ),
            )

    def latest(self) -> int | None:
        """Returns the newest step that was saved whole."""
        return hosts.first_does(f"the newest checkpoint in {self._path}", self._manager.latest_step)

    def steps(self) -> list[int]:
        """Returns the steps that were saved, in order; the newest may still be on its way to the disk."""
        with _ONE_AT_A_TIME:
            if self._looks:
                self._manager.reload()
            found = hosts.first_does(f"checkpoints in {self._path}", lambda: sorted(self._manager.all_steps()))
        return found

    def need(self, steps: Iterable[int]) -> None:
        """Raises DamagedError for the first of some checkpoints that is not there any more."""
        for step in sorted(set(steps) - set(self.steps())):
            raise self._damaged(step, "it is not there")

    def drop(self, steps: Iterable[int]) -> None:
        """Removes checkpoints."""
        with _ONE_AT_A_TIME:
            for step in steps:
                self._manager.delete(step)

    def save(self, step: int, state: State, history: Iterable[tuple[int, float]] = ()) -> None:
        """Starts to save a state; it is safe on disk after `close`, or when a later save begins.

        `history`: how this checkpoint and those before it scored, (step, score).
        """
        params, rest = state["params"], {name: part for name, part in state.items() if name != "params"}
        meta = {
            PARAMS: fingerprint(params),
            TRAIN: fingerprint(rest),
            HISTORY: [list(item) for item in history],
        }
        items = {
            PARAMS: _cut(params),
            TRAIN: _cut(rest),
            META: ocp.args.JsonSave(meta),
        }
        self._save(step, items)

    def save_params(self, step: int, params: Any) -> None:
        """Saves parameters alone, as what is imported is saved."""
        meta = {PARAMS: fingerprint(params)}
        self._save(step, {PARAMS: _cut(params), META: ocp.args.JsonSave(meta)})

    def _save(self, step: int, items: dict[str, Any]) -> None:
        with _ONE_AT_A_TIME, writing(self._path):  # what is said here may be of the save before
            if not self._manager.save(step, args=ocp.args.Composite(**items), force=True):
                raise CheckpointError(f"{self._path}: step {step} was not saved; a newer one is there.")

    def meta(self, step: int) -> dict:
        """Returns the fingerprints of a step, {item: {"shapes", "checksums"}}, and its history.

        An imported one has parameters alone.
        """
        try:
            meta = self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))[META]
            history = [(step, score) for step, score in meta.get(HISTORY, ())]
            return {PARAMS: meta[PARAMS], TRAIN: meta.get(TRAIN, NOTHING), HISTORY: history}
        except (ValueError, OSError, KeyError) as error:
            if lost(error):
                raise unreached(error) from error
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

    def mean_params(self, steps: list[int], abstract: Any) -> Any:
        """Returns the mean of the parameters of several steps, added up in float32; two of them are held at a time."""
        total: Any = None
        for step in steps:
            params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), self.restore_params(step, abstract))
            total = params if total is None else jax.tree.map(jnp.add, total, params)
        return jax.tree.map(lambda leaf, like: (leaf / len(steps)).astype(like.dtype), total, abstract)

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
        except (jax.errors.JaxRuntimeError, MemoryError):  # no room on a device, a host that is gone: it may be whole
            raise
        except Exception as error:  # TensorStore raises bare Exception for a damaged file
            if lost(error):  # that is no damage, and nothing is to be set aside
                raise unreached(error) from error
            raise self._damaged(step, f"{item}: {_first_line(error)}") from error
        assert not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree)), "unread leaves"
        if "checksums" not in meta:
            raise self._damaged(step, "it has no checksums, so an earlier version wrote it")
        found = checksums(paths(tree), {path: dtype for path, (_, dtype) in meta["shapes"].items()})
        for path, total in found.items():
            if meta["checksums"][path] != total:
                raise self._damaged(step, f"{item}/{path} does not have the checksum it was saved with")
        return tree

    def _damaged(self, step: int, why: str) -> DamagedError:
        path = self._path / str(step)
        return DamagedError(
            f"{self._path}: step {step} is damaged ({why}).\n"
            f"Delete {path}, or run again with --skip_damaged, which keeps it aside; the stage then goes on from the "
            "step before, or from its start. What was imported is converted again.",
            path,
        )

    def close(self) -> None:
        """Waits until everything is on disk."""
        with _ONE_AT_A_TIME, writing(self._path), contextlib.ExitStack() as last:
            last.callback(self._manager.close)  # also where the last save has failed, which is said first
            self._manager.wait_until_finished()


def whole_steps(path: pathlib.Path) -> list[int]:
    """Returns the steps of a folder of checkpoints, in order: a save that is whole has its number for a name.

    Asks no Orbax, whose managers wait for all hosts when they are opened, so one host may ask this alone.
    """
    return sorted(int(step.name) for step in _named(path) if _is_whole(step))


def _named(path: pathlib.Path) -> list[pathlib.Path]:
    return [step for step in path.iterdir() if step.name.isdigit()] if path.is_dir() else []


def _is_whole(step: pathlib.Path) -> bool:
    return not on_bucket(step) or (step / COMMIT).is_file()


def sweep(path: pathlib.Path) -> None:
    """Removes what saves that were ended left in a folder of checkpoints. Nobody else may be writing there."""

    def clean():
        for draft in path.glob(f"*{DRAFT}*"):
            remove(draft)
        for step in _named(path):
            if not _is_whole(step):
                remove(step)

    hosts.first_does(f"drafts in {path}", clean)


def save_alone(path: pathlib.Path, step: int, params: Any) -> None:
    """Saves parameters as the only checkpoint of a folder, in place of what a run that was ended left there."""
    hosts.first_does(f"room for {path}", lambda: remove(path))
    checkpoints = Checkpoints(path, background=False)
    try:
        checkpoints.save_params(step, params)
    finally:
        checkpoints.close()


def choose(folder: pathlib.Path, checkpoints: str, step: int, policy: str) -> None:
    """Writes which checkpoint is a stage's own, for whoever reads it later."""
    write_text(folder / CHOSEN, json.dumps({"checkpoints": checkpoints, "step": step, "policy": policy}) + "\n")


def chosen(folder: pathlib.Path) -> tuple[str, int | None, str]:
    """Returns (folder of checkpoints in a stage's folder, step, policy) of the stage's own checkpoint.

    The step is None, for the newest one, where nothing was chosen. Raises DamagedError if that cannot be read.
    """
    path = folder / CHOSEN
    if not path.is_file():
        return CHECKPOINTS, None, "last"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found["checkpoints"], found["step"], found["policy"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{path}, which says which checkpoint was chosen, is damaged ({_first_line(error)}).\n"
            f"Delete {folder / 'DONE'} and run again: it is chosen as before. --skip_damaged does the same.",
            path,
        ) from error


@contextlib.contextmanager
def open_own(folder: pathlib.Path, step: int | None = None, create: bool = True) -> Generator[tuple[Checkpoints, int]]:
    """Opens the folder of a stage, or of an imported model, and gives (its checkpoints, the step that is its own).

    Args:
      folder: with model.json.
      step: another one of its checkpoints; None for its own.
      create: False where another process writes.

    Raises:
      CheckpointError: there is none, or not this one.
    """
    name, own, _ = (
        hosts.first_does(f"the choice in {folder}", lambda: chosen(folder)) if step is None else (CHECKPOINTS, step, "")
    )
    checkpoints = Checkpoints(folder / name, keep=None, background=False, create=create)
    try:
        there = checkpoints.steps()
        wanted = there[-1] if own is None and there else own
        if wanted is None or wanted not in there:
            raise DamagedError(
                f"{folder / name} has no checkpoint{'' if own is None else f' of step {own}'}.\n"
                f"Allowed: {', '.join(map(str, there)) or 'a stage that has saved one, or an import'}.\n"
                f"What is marked done and has lost its checkpoint is made again once {folder} is deleted, or by a run "
                "with --skip_damaged.",
                folder / name / str(own if own is not None else 0),
            )
        yield checkpoints, wanted
    finally:
        checkpoints.close()
