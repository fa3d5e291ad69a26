"""What tests run on each of several hosts: `python on_hosts.py JOB ADDRESS GIVEN`, the latter two in JSON."""

import contextlib
import ctypes
import dataclasses
import gc
import itertools
import json
import pathlib
import resource
import sys
import threading
import time

import jax
import numpy as np

from xling_jax.errors import DataError, XlingError
from xling_jax.experiment import from_config
from xling_jax.partitioning import hosts
from xling_jax.partitioning.feed import fetch, share_of
from xling_jax.stages.run import Run
from xling_jax.train.checkpoint import Checkpoints, save_alone
from xling_jax.train.streaming import Stream, save_streams

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


def large(strategy: str, mesh: str):
    """Returns (what makes the parameters of a model of 0.7 GB, their shapes)."""
    from xling_jax.experiment import Experiment, Optim  # noqa: PLC0415
    from xling_jax.stages.programs import Programs  # noqa: PLC0415
    from xling_jax.tables.models import MODELS  # noqa: PLC0415

    row = dataclasses.replace(MODELS["tiny"], layers=12, width=1024, heads=16, mlp=4096)
    programs = Programs(Experiment(strategy=strategy, mesh=mesh), row, 24_000, 5)
    frozen = Optim(freeze_layers=row.layers)  # no moments: the state is the parameters
    make, abstract = programs.state_maker((), frozen)
    return make, abstract["params"]


def keep_large(folder: str, imported: bool) -> None:
    """Writes the large model's parameters, as a stage on the devices that there are does, or as they are imported."""
    strategy, mesh = ("data", "one") if len(jax.devices()) == 1 else ("fsdp", "fsdp")
    make, abstract = large(strategy, mesh)
    if not imported:
        save_alone(pathlib.Path(folder), 7, make(3)["params"])
        return

    def stream(leaf):
        def zeros(start, stop):
            return np.zeros((stop - start, *leaf.shape[1:]), leaf.dtype)

        return Stream(leaf.shape, leaf.dtype, zeros, 1)

    save_streams(pathlib.Path(folder), 7, jax.tree.map(stream, abstract))


def hold_large(folder: str) -> None:
    """Draws the large model's parameters on all hosts, then reads them; says how many bytes each took at most.

    Each is done twice, and counted the second time: what is compiled and loaded is no part of a model.
    """
    make, abstract = large("fsdp", "fsdp")
    checkpoints = Checkpoints(pathlib.Path(folder))
    ways = {"drawn": lambda: make(3)["params"], "read": lambda: checkpoints.restore_params(7, abstract)}
    found = {"whole": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract))}
    for how, do in ways.items():
        jax.block_until_ready(do())
        with most_memory() as most:
            jax.block_until_ready(do())
        found[how] = most()
    checkpoints.close()
    print(f"held {json.dumps(found)}", flush=True)


@contextlib.contextmanager
def most_memory():
    """Gives what says how many bytes of memory the block has taken at most, beyond those before it."""
    pages = pathlib.Path("/proc/self/statm")

    def now() -> int:
        return int(pages.read_text().split()[1]) * resource.getpagesize()

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # gives back what is free
    before, most, over = now(), [0], threading.Event()

    def watch():
        while not over.wait(0.005):
            most[0] = max(most[0], now())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most[0] - before
    finally:
        over.set()
        thread.join()


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


JOBS = {job.__name__: job for job in (talk, step, save, restore, keep_large, hold_large, run)}


def main(job: str, address: dict, given: dict) -> None:
    began, wait = time.monotonic(), address.pop("wait")
    here = hosts.Address(**address) if address["hosts"] > 1 else None
    try:
        if given.pop("late", None) == address["host"]:
            come_late()
        with hosts.joined(here, wait):
            JOBS[job](**given)
    except XlingError as error:
        print(f"error: {error}", flush=True)
        sys.exit(error.exit_code)
    print(f"done in {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3]))
