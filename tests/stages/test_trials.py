"""Trainings in one program end as each of them does alone: the same batches and masks, rounding aside.

Sums over a batch are added up in another order where a product has an axis more, where rows are padded further, and
where a program is compiled for several devices: that is float32's rounding, a few times 1e-7 of a loss of 7 in a step.
Twenty steps add it up, at rates that move a parameter by at most their sum, 0.05.
"""

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
from xling_jax.partitioning.trials import are_divided, pick, sharding_of_batches, sharding_of_states, stack
from xling_jax.stages.programs import Programs
from xling_jax.stages.trials import Slice, _stacked
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS, parse_cells

STEPS, BATCH, BUCKETS = 20, 8, (24, 64)
CELLS = {"world_text": "world_text.train.qen", "world_nli": "world_nli.train.qen", "world_qa": "world_qa.train.qen"}
RATES = (3e-3, 1e-3, 2e-3, 3e-3, 3e-3, 3e-3, 3e-3, 3e-3)
OPTIM = Optim(eps=1e-3)  # a large eps: Adam divides rounding by rounding where a gradient is 0
COLLECTIVE = re.compile(r"all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute")
ALL = list(itertools.product([("one", 3), ("any", 3), ("any", 8)], CELLS, (False, True)))
QUICK = [(("one", 3), "world_qa", True)]


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


def head_of(task: str):
    return head_spec(TASKS[task])


def alone(here: Programs, task: str, source: Batches, seed: int):
    """Returns (metrics of each step, parameters) of a training by itself."""
    step = here.step((head_of(task),), head_of(task), OPTIM, 1)
    state = here.state_maker((head_of(task),), OPTIM)[0](seed)
    lines = []
    for at in range(STEPS):
        state, metrics = step(state, here.place_share(source[at][1]), RATES[seed], seed)
        lines.append(jax.device_get(metrics))
    return lines, jax.device_get(state["params"])


def stacked_batch(made: list[Batches], at: int) -> dict[str, np.ndarray]:
    batches = [source[at][1] for source in made]
    length = max(batch["input_ids"].shape[1] for batch in batches)
    batches = [source.widened(at, batch, length) for source, batch in zip(made, batches, strict=True)]
    return {name: np.stack([each[name] for each in batches]) for name in batches[0]}


def together(here: Programs, task: str, made: list[Batches], seeds: list[int], steps: int = STEPS):
    """Returns (metrics of each step, stacked; parameters of each) of several trainings in one program."""
    heads = (head_of(task),)
    make, abstract = here.state_maker(heads, OPTIM)
    states = stack([jax.device_get(make(seed)) for seed in seeds], sharding_of_states(here.mesh, len(seeds)))
    step, lines = here.steps_at_once(heads, *heads, OPTIM, 1, len(seeds)), []
    for at in range(steps):
        states, metrics = step(states, stacked_batch(made, at), [RATES[seed] for seed in seeds], seeds)
        lines.append(jax.device_get(metrics))
    parts = [pick(states["params"], at, abstract["params"]) for at in range(len(seeds))]
    return lines, jax.device_get(parts)


@pytest.mark.parametrize(
    ("where", "task", "packing"), [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in ALL]
)
def test_each_ends_as_it_does_alone(sources, where, task, packing):
    mesh, count = where
    made = sources(task, packing)[:count]
    if not packing:
        lengths = [{source[at][1]["input_ids"].shape[1] for source in made} for at in range(STEPS)]
        assert any(len(step) > 1 for step in lengths), "some batches are padded to another one's length"
    lines, params = together(programs(mesh), task, made, list(range(count)))
    divided = are_divided(programs(mesh).mesh, count)
    assert divided == (count == 8)
    for seed in range(count):
        own_lines, own_params = alone(programs("one" if divided else mesh), task, made[seed], seed)
        for at, (own, line) in enumerate(zip(own_lines, lines, strict=True)):
            assert own["weight"] == line["weight"][seed] > 0, "the same examples and masks"
            np.testing.assert_allclose(line["loss"][seed], own["loss"], rtol=2e-6, err_msg=f"step {at}")
        assert own_lines[0]["loss"] != own_lines[-1]["loss"]
        for one, other in zip(jax.tree.leaves(own_params), jax.tree.leaves(params[seed]), strict=True):
            np.testing.assert_allclose(other, one, rtol=0, atol=2e-5)


def test_states_are_put_together_anew_when_the_company_changes():
    """Two at once, with a third that comes from elsewhere; two of three; and just the three, which are left as is."""
    mesh = programs("one").mesh
    like = {"x": jax.device_put(np.zeros(2))}

    def slices(values):
        tree = stack([{"x": np.full(2, value)} for value in values], sharding_of_states(mesh, len(values)))
        return [Slice(tree, at, len(values), like) for at in range(len(values))]

    def values(stacked):
        return np.asarray(stacked["x"])[:, 0].tolist()

    two, three = slices([1.0, 2.0]), slices([5.0, 6.0, 7.0])
    assert values(_stacked([*two, {"x": np.full(2, 3.0)}], mesh)) == [1, 2, 3]
    assert values(_stacked([{"x": np.full(2, 3.0)}, *two], mesh)) == [3, 1, 2]
    assert values(_stacked([three[0], three[2]], mesh)) == [5, 7]
    assert values(_stacked([*two, three[1]], mesh)) == [1, 2, 6]
    assert _stacked(three, mesh) is three[0].tree


def compiled(mesh: str, count: int, source: Batches) -> str:
    """Returns the text of the program of so many trainings."""
    here, heads = programs(mesh), (head_of("world_text"),)
    states, batches = sharding_of_states(here.mesh, count), sharding_of_batches(here.mesh, count)
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype, sharding=states),
        here.state_maker(heads, OPTIM)[1],
    )
    batch = {
        name: jax.ShapeDtypeStruct((count, *array.shape), array.dtype, sharding=batches)
        for name, array in source[0][1].items()
    }
    step = here.steps_at_once(heads, *heads, OPTIM, 1, count)
    return step.trace(state, batch, [1e-3] * count, list(range(count))).lower().compile().as_text()


def test_devices_with_trainings_of_their_own_do_not_talk(sources):
    (source, *_) = sources("world_text", False)
    assert not COLLECTIVE.findall(compiled("any", 8, source))


@pytest.mark.slow
def test_devices_that_share_trainings_do(sources):
    """So what is looked for is what a compiler writes; and two for each of eight devices are no reason to talk."""
    (source, *_) = sources("world_text", False)
    assert COLLECTIVE.findall(compiled("any", 3, source))
    assert not COLLECTIVE.findall(compiled("any", 16, source))


@pytest.mark.slow
def test_the_company_on_other_devices_changes_no_bit(sources):
    made = sources("world_text", True)
    _, params = together(programs("any"), "world_text", made, list(range(8)), steps=5)
    _, others = together(programs("any"), "world_text", [made[0], *made[:0:-1]], [0, *range(7, 0, -1)], steps=5)
    for one, other in zip(jax.tree.leaves(params[0]), jax.tree.leaves(others[0]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(*map(jax.tree.leaves, (params[1], others[1])), strict=True))
