"""What tests run on each of several hosts: `python on_hosts.py JOB ADDRESS GIVEN`, the latter two in JSON."""

import itertools
import json
import pathlib
import sys
import time

import jax
import numpy as np

from xling_jax.errors import DataError, XlingError
from xling_jax.experiment import from_config
from xling_jax.partitioning import hosts
from xling_jax.partitioning.feed import fetch, share_of
from xling_jax.stages.run import Run
from xling_jax.train.checkpoint import Checkpoints

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "partitioning"))


def talk(folder: str, failing: int | None = None) -> None:
    """Meets, makes once, and fails on one host while the other waits."""
    path = pathlib.Path(folder) / "made"
    made = hosts.first_does("a file", lambda: path.write_text("once") and [hosts.count(), {"a": 1}])
    assert made == [hosts.count(), {"a": 1}] and path.read_text() == "once"
    hosts.meet("the first place")
    print(f"host {hosts.number()} of {hosts.count()} is there", flush=True)
    if failing == hosts.number():
        hosts.note("reading")
        raise DataError("No file x.\nAllowed: one that is there.")
    hosts.meet("the second place")


def step(folder: str, strategy: str, mesh: str, task: str) -> None:
    """Takes a step of a batch of which each host has its share, and keeps what came out."""
    import test_sharded_step as one  # noqa: PLC0415 - the same step on one host

    here = one.programs(strategy, mesh)
    make, abstract = here.state_maker(one.HEADS, one.OPTIM)
    take = here.step(one.HEADS, one.head_spec(one.TASKS[task]), one.OPTIM, 2)
    share = share_of(here.mesh)
    rows = slice(share.number * one.BATCH // share.count, (share.number + 1) * one.BATCH // share.count)
    batch = {name: array[rows] for name, array in one.batch(task).items()}
    state, metrics = take(make(3), here.place_share(batch), 0.01, 5)
    jax.tree.map(one.assert_placed, state, abstract)
    found = fetch((state["params"], metrics), here.mesh)
    if hosts.first():
        leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(found)}
        np.savez(pathlib.Path(folder) / "step.npz", **leaves)


def save(folder: str, strategy: str, mesh: str, seed: int) -> None:
    """Saves the state of a seed."""
    import test_sharded_step as one  # noqa: PLC0415

    make, _ = one.programs(strategy, mesh).state_maker(one.HEADS, one.OPTIM)
    checkpoints = Checkpoints(pathlib.Path(folder))
    checkpoints.save(7, make(seed), [(7, 50.0)])
    checkpoints.close()


def restore(folder: str, strategy: str, mesh: str, seed: int) -> None:
    """Restores what is saved, and compares it with the state of a seed, to the bit."""
    import test_sharded_step as one  # noqa: PLC0415

    here = one.programs(strategy, mesh)
    make, abstract = here.state_maker(one.HEADS, one.OPTIM)
    checkpoints = Checkpoints(pathlib.Path(folder))
    assert checkpoints.latest() == 7
    found = checkpoints.restore(7, abstract)
    checkpoints.close()
    jax.tree.map(one.assert_placed, found, abstract)
    jax.tree.map(np.testing.assert_array_equal, fetch(found, here.mesh), fetch(make(seed), here.mesh))


def run(config: dict, workdir: str, data_dir: str | None, failing: int = 0) -> None:
    """Runs an experiment. With `failing`, the last host fails in that step."""
    stop_asked, steps = hosts.together(lambda: False), itertools.count(1)

    def stop() -> bool:
        if next(steps) == failing and hosts.number() == hosts.count() - 1:
            raise DataError("No file x.\nAllowed: one that is there.")
        return stop_asked()

    where = pathlib.Path(data_dir) if data_dir else None
    Run(from_config(config), pathlib.Path(workdir), where)(stop, jobs=1)


def come_late() -> None:
    """Comes when called, and then not to JAX."""
    hosts.jax.distributed.initialize = lambda **given: time.sleep(60)


def main(job: str, address: dict, given: dict) -> None:
    began, wait = time.monotonic(), address.pop("wait")
    here = hosts.Address(**address) if address["hosts"] > 1 else None
    try:
        if given.pop("late", None) == address["host"]:
            come_late()
        with hosts.joined(here, wait):
            {"talk": talk, "step": step, "save": save, "restore": restore, "run": run}[job](**given)
    except XlingError as error:
        print(f"error: {error}", flush=True)
        sys.exit(error.exit_code)
    print(f"done in {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
