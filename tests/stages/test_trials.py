"""Stages that are trained as one program end as they do alone: same batches, masks, curves, checkpoints, rows."""

import functools
import itertools
import re

import jax
import numpy as np
import pytest

from xling_jax import world
from xling_jax.data.batches import Batches, BatchPlan
from xling_jax.data.prepare import prepare
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.experiment import Experiment, Optim, Part
from xling_jax.models.build import head_spec
from xling_jax.partitioning.trials import are_divided, pick, sharding_of_states, stack
from xling_jax.stages.programs import Programs
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS, parse_cells

STEPS, BATCH, BUCKETS = 20, 8, (24, 64)
CELLS = {"world_text": "world_text.train.qen", "world_nli": "world_nli.train.qen", "world_qa": "world_qa.train.qen"}
HEADS = tuple(sorted(head_spec(TASKS[name]) for name in CELLS))
RATES = (3e-3, 1e-3, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3)
OPTIM = Optim()


@functools.cache
def tokenizer():
    return PieceTokenizer(world.pieces())


@functools.cache
def programs(mesh: str) -> Programs:
    return Programs(Experiment(mesh=mesh), MODELS["tiny"], tokenizer().size, tokenizer().mask)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Returns (task, packing) -> the batches of eight seeds."""
    root = tmp_path_factory.mktemp("prepared")

    @functools.cache
    def made(task, packing):
        cell = prepare(Part(*parse_cells(CELLS[task]), 0, 160, BUCKETS[-1]), tokenizer(), root)
        plans = [BatchPlan(BATCH, seed, BUCKETS, packing) for seed in range(len(RATES))]
        return [Batches([cell], rates=[1], plan=plan, steps=STEPS, multiple=8) for plan in plans]

    return made


def alone(here: Programs, task: str, source: Batches, seed: int):
    """Returns (losses, parameters) of a training by itself."""
    head = head_spec(TASKS[task])
    state = here.state_maker(HEADS, OPTIM)[0](seed)
    losses = []
    for at in range(STEPS):
        state, metrics = here.step(HEADS, head, OPTIM, 1)(state, here.place_share(source[at][1]), RATES[seed], seed)
        losses.append(metrics["loss"])
    return np.array(losses), jax.device_get(state["params"])


def together(here: Programs, task: str, made: list[Batches]):
    """Returns (losses, parameters) of each of several trainings in one program."""
    head, count = head_spec(TASKS[task]), len(made)
    make, abstract = here.state_maker(HEADS, OPTIM)
    states = stack([jax.device_get(make(seed)) for seed in range(count)], sharding_of_states(here.mesh, count))
    step, losses = here.steps_at_once(HEADS, head, OPTIM, 1, count), []
    for at in range(STEPS):
        batches = [source[at][1] for source in made]
        length = max(batch["input_ids"].shape[1] for batch in batches)
        batches = [source.widened(at, batch, length) for source, batch in zip(made, batches, strict=True)]
        batch = {name: np.stack([each[name] for each in batches]) for name in batches[0]}
        states, metrics = step(states, batch, RATES[:count], list(range(count)))
        losses.append(metrics["loss"])
    parts = [pick(states["params"], at, abstract["params"]) for at in range(count)]
    return np.array(losses).T, [jax.device_get(part) for part in parts]


CASES = [("one", 3), ("any", 3), ("any", 8)]


@pytest.mark.parametrize(("mesh", "count"), CASES)
@pytest.mark.parametrize(("task", "packing"), list(itertools.product(CELLS, (False, True))))
def test_each_ends_as_it_does_alone(sources, mesh, count, task, packing):
    made = sources(task, packing)[:count]
    losses, params = together(programs(mesh), task, made)
    base = programs("one" if are_divided(programs(mesh).mesh, count) else mesh)
    for seed, source in enumerate(made):
        own_losses, own_params = alone(base, task, source, seed)
        d = max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(own_params), jax.tree.leaves(params[seed])))
        print(mesh, count, task, packing, seed, np.abs(losses[seed] - own_losses).max(), d, own_losses[[0, -1]])
