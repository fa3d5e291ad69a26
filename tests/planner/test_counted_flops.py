"""Operations are those that can be counted by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.experiment import Experiment, Part
from xling_jax.flops import Work, costs
from xling_jax.models.build import head_spec
from xling_jax.optim import Optim
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.planner.flops import count_flops
from xling_jax.planner.work import largest_batch
from xling_jax.stages.plan import SPEAKERS
from xling_jax.stages.programs import Programs
from xling_jax.tables.meshes import MESHES
from xling_jax.tables.models import MODELS
from xling_jax.tables.prompts import HEADS
from xling_jax.tables.tasks import TASKS, Cell


def count(function, *shapes, **how):
    arguments = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    return count_flops(jax.make_jaxpr(function)(*arguments), **how)


def test_a_product():
    assert count(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7


def test_products_of_a_batch():
    assert (
        count(lambda a, b: jnp.einsum("bhlk,bhpk->bhlp", a, b), (2, 3, 5, 7), (2, 3, 11, 7)) == 2 * 2 * 3 * 5 * 11 * 7
    )


def test_a_convolution():
    def convolve(x, kernel):
        return jax.lax.conv(x, kernel, (1, 1), "VALID")  # NCHW, OIHW

    assert count(convolve, (2, 3, 8, 8), (5, 3, 3, 3)) == 2 * 2 * 5 * 6 * 6 * 3 * 3 * 3


def test_a_scan_counts_as_often_as_it_runs():
    def layers(x, kernels):
        return jax.lax.scan(lambda x, kernel: (x @ kernel, None), x, kernels)[0]

    assert count(layers, (4, 8), (6, 8, 8)) == 6 * 2 * 4 * 8 * 8
    both = count(jax.grad(lambda x, kernels: layers(x, kernels).sum(), argnums=(0, 1)), (4, 8), (6, 8, 8))
    assert both == 3 * 6 * 2 * 4 * 8 * 8, "forward, and a gradient of both inputs of each product"


def test_what_is_computed_again_counts():
    def layers(x, kernels):
        body = jax.checkpoint(lambda x, kernel: (jnp.sin(x @ kernel), None))
        return jax.lax.scan(body, x, kernels)[0].sum()

    assert count(jax.grad(layers, argnums=(0, 1)), (4, 8), (6, 8, 8)) == 4 * 6 * 2 * 4 * 8 * 8


def test_a_loop_without_an_end_counts_as_said():
    def search(x):
        return jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ x, x)

    assert count(search, (8, 8), loops=10) == 10 * 2 * 8 * 8 * 8


def test_one_branch_runs():
    def choose(x):
        return jax.lax.cond(x.sum() > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert count(choose, (8, 8)) == 2 * 2 * 8 * 8 * 8


def test_a_part_of_each_device_counts_on_all():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    each = jax.shard_map(lambda a: a @ a.T, mesh=mesh, in_specs=spec, out_specs=spec)
    assert count(each, (16, 4)) == 8 * 2 * 2 * 4 * 2


@pytest.mark.parametrize(("model", "kind"), [("tiny", "mlm"), ("tiny", "pair_classification"), ("tiny_mt5", "words")])
def test_a_step_is_what_the_formula_of_utilisation_says(model, kind):
    """Two counts of one thing: of a traced step, and by sizes, which leaves small heads out: 2% of so small a model."""
    task = {"mlm": "world_text", "pair_classification": "world_nli", "words": "mnli"}[kind]
    row = dataclasses.replace(MODELS[model], vocab=64)
    form = "mt5" if kind == "words" else HEADS
    language = "en" if kind == "words" else "qen"
    part = Part.of(Cell(task, "train", language), 0, 0, (16, 8), form)
    head = SPEAKERS["seq2seq"] if kind == "words" else head_spec(TASKS[task])
    batch = largest_batch(row, part, 4, packed=False, training=True)
    here = Programs(Experiment(), row, 64, 63, on=build_mesh(MESHES["one"]))
    optim = Optim(name="adafactor", learning_rate=1e-3) if kind == "words" else Optim()
    shapes = {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape, dtype in batch.arrays}
    _, state = here.state_maker((head,), optim)
    counted = count_flops(here.step((head,), head, optim, 1).trace(state, shapes, 0.0, 0).jaxpr)
    texts = {"tokens": 4 * 16, "pairs": 4 * 16**2}
    if kind == "words":
        pairs = 2 * 4 * 8**2  # those that a token does not see are computed, and left out of what is useful
        texts |= {"targets": 4 * 8, "target_pairs": pairs, "crossing": 4 * 16 * 8, "places": 4 * 8}
    elif kind == "mlm":
        texts |= {"places": 4 * 3, "crossing": 4 * 16 * 3}  # 15% of 16, rounded up
    else:
        texts |= {"places": 4, "crossing": 4 * 16}
    expected = Work(**texts).cost(costs(row, 64, optim, head.kind))
    assert counted == pytest.approx(expected, rel=0.02)
