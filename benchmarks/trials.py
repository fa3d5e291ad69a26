"""Seeds in one program against the same seeds one after another: seconds a step of all of them, and to compile.

    python benchmarks/trials.py [MODEL ...]

Writes trials.json beside this file. On whatever device is first: on two cores about ten minutes. Models are rows of
xling_jax/tables/models.py; batches are made up, 32 pairs of 48 tokens, and sent anew at each step, so that neither data
nor TensorFlow are needed. What is measured is the loop and the threads of `xling run --trials=K` and not the program
alone. Both ways take turns in one process, ROUNDS times; medians are given, and all rounds beside them. Simulated
devices share the cores of one machine and say nothing of speed, so there is one device.
"""

import concurrent.futures
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator

import jax
import numpy as np
from subjects import conditions, write

from xling_jax.doors.run import call_one_by_one
from xling_jax.experiment import Experiment, Stage
from xling_jax.heap import keep_memory
from xling_jax.models.build import head_spec
from xling_jax.stages.plan import Node
from xling_jax.stages.programs import Programs
from xling_jax.stages.trials import Solo, companies
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS
from xling_jax.train.loop import train

COUNTS, ROUNDS, SECONDS = (1, 2, 4, 8), 5, 2.0  # seeds, turns of each way, about how long one seed's turn takes
BATCH, LENGTH, VOCABULARY = 32, 48, 520
HEAD = head_spec(TASKS["world_nli"])
STAGE = Stage(data=("world_nli.train.qen",), batch_size=BATCH, max_length=LENGTH, steps=1)


class MadeUp:
    """Batches of one seed, all of one length, as a training's source gives them."""

    pattern = ()

    def __init__(self, seed: int):
        """Draws a few, which come again and again."""
        rng = np.random.default_rng(seed)
        self._batches = [
            {
                "input_ids": rng.integers(4, VOCABULARY - 1, (BATCH, LENGTH)).astype(np.int32),
                "lengths": np.full(BATCH, LENGTH, np.int32),
                "label": rng.integers(0, len(TASKS["world_nli"].labels), BATCH).astype(np.int32),
                "index": np.arange(BATCH, dtype=np.int32),
            }
            for _ in range(8)
        ]

    def __iter__(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        while True:
            for batch in self._batches:
                yield HEAD.name, batch

    @staticmethod
    def widened(step, batch, length):
        """Returns a batch, which is as long as any other."""
        return batch


def one(company, programs: Programs, seed: int, steps: int) -> None:
    """Trains a seed for so many steps, alone or in company."""
    node, source = Node("nli", str(seed), STAGE, seed, None, (HEAD,)), MadeUp(seed)
    with company:
        state = programs.state_maker((HEAD,), STAGE.optim)[0](seed)
        step_fns, place, stop = company.training(programs, node, source, 0, lambda: False)
        train(
            state,
            steps,
            iter(source),
            step_fns,
            start=0,
            rate=lambda step: 1e-3,
            place=place,
            log_every=50,
            save_every=0,
            log=lambda step, values: None,
            save=lambda step, state: jax.block_until_ready(state["step"]),
            stop_asked=stop,
            identify=lambda step: [],
        )


def apart(programs: Programs, count: int, steps: int) -> float:
    """Returns the seconds of seeds one after another."""
    began = time.perf_counter()
    for seed in range(count):
        one(Solo(), programs, seed, steps)
    return time.perf_counter() - began


def together(programs: Programs, count: int, steps: int) -> float:
    """Returns the seconds of seeds in one program."""
    began = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(one, company, programs, seed, steps) for seed, company in enumerate(companies(count))]
    for future in futures:
        future.result()
    return time.perf_counter() - began


def measure(name: str) -> dict:
    """Returns the figures of a model."""
    programs = Programs(Experiment(mesh="one"), MODELS[name], VOCABULARY, VOCABULARY - 1)
    compiling = {1: apart(programs, 1, 2)} | {count: together(programs, count, 2) for count in COUNTS if count > 1}
    steps = max(10, min(1000, round(SECONDS / max(apart(programs, 1, 20) / 20, 1e-4))))
    found = {}
    for count in COUNTS:
        turns = [(apart(programs, count, steps), together(programs, count, steps)) for _ in range(ROUNDS)]
        ways = [[1000 * seconds / steps for seconds in way] for way in zip(*turns, strict=True)]
        medians = [statistics.median(way) for way in ways]
        found[count] = {
            "ms_a_step_of_all_seeds": dict(
                zip(("apart", "together"), (round(each, 3) for each in medians), strict=True)
            ),
            "times_as_fast": round(medians[0] / medians[1], 2),
            "rounds": dict(zip(("apart", "together"), ([round(each, 3) for each in way] for way in ways), strict=True)),
            "seconds_of_two_steps_with_compiling": round(compiling[count], 2),
        }
        print(name, count, found[count], flush=True)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(programs.state_maker((HEAD,), STAGE.optim)[1]["params"]))
    return {"parameters": parameters, "steps_of_a_turn": steps, "by_seeds": found}


def main() -> None:
    """Measures the models that are named, and writes down each."""
    keep_memory()  # as `xling run` does
    call_one_by_one()
    models: dict[str, dict] = {}
    record = {
        "what": "seeds in one program (--trials) against one after another (--trials=1 --jobs=1), on one device",
        "device": jax.devices()[0].device_kind,
        "batch": [BATCH, LENGTH],
        "vocabulary": VOCABULARY,
        "models": models,
    } | conditions("jax", "jaxlib", "flax", "numpy")
    for name in sys.argv[1:] or ("world", "midi", "maxi"):
        models[name] = measure(name)
        write(pathlib.Path(__file__).with_suffix(".json"), record)


if __name__ == "__main__":
    main()
