"""A training step means the same on every mesh."""

import contextlib
import dataclasses
import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.experiment import Experiment, Optim
from xling_jax.models.build import Model, build_config, head_spec, init_params
from xling_jax.optim import ALL, Lora
from xling_jax.partitioning.mesh import build_mesh, use_mesh
from xling_jax.stages.programs import Programs
from xling_jax.tables.meshes import MESHES
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.rows import LEAST
from xling_jax.train.step import _split, init_state, train_step

BATCH, LENGTH, VOCAB, MASK = 16, 12, 50, 49
OPTIM = Optim(learning_rate=0.01, eps=1e-3)  # a large eps: Adam divides rounding by rounding where a gradient is 0
TASKS_TRAINED = ("world_text", "world_nli", "world_pos", "world_qa")
HEADS = tuple(sorted(head_spec(TASKS[name]) for name in TASKS_TRAINED))
PLACES = (
    ("data", "any"),
    ("fsdp", "fsdp"),
    ("fsdp", "data2_fsdp4"),
    ("fsdp_tensor", "data2_fsdp2_tensor2"),
)


def batch(task: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(len(task))
    lengths = rng.integers(6, LENGTH + 1, (BATCH, 1))
    inside = np.arange(LENGTH)[None] < lengths
    tokens = np.where(inside, rng.integers(4, MASK, (BATCH, LENGTH)), 1).astype(np.int32)
    tokens[:, 0] = 0
    more = {
        "world_text": {},
        "world_nli": {"label": rng.integers(0, 3, BATCH)},
        "world_pos": {"labels": np.where(inside, rng.integers(0, 17, (BATCH, LENGTH)), -1)},
        "world_qa": {
            "start": rng.integers(-1, 3, BATCH),
            "end": rng.integers(3, 6, BATCH),
            "spans": np.where(inside[..., None], np.arange(LENGTH)[None, :, None], -1).repeat(2, -1),
        },
    }[task]
    more = {name: value.astype(np.int32) for name, value in more.items()}
    return {"input_ids": tokens, "index": np.arange(BATCH, dtype=np.int32), **more}


def packed(task: str) -> dict[str, np.ndarray]:
    """Returns rows of two segments of half the length; of the first row, only one."""
    given = {name: value for name, value in batch(task).items() if name != "label"}
    half = np.arange(LENGTH) // (LENGTH // 2)
    segments = np.where(given["input_ids"] != 1, half[None] + 1, 0).astype(np.int32)
    segments[0, LENGTH // 2 :] = 0
    given["input_ids"] = np.where(segments > 0, given["input_ids"], 1)
    beside = {
        "segments": segments,
        "positions": np.where(segments > 0, np.arange(LENGTH) % (LENGTH // 2), 0).astype(np.int32),
        "first": np.tile(np.array([0, LENGTH // 2], np.int32), (BATCH, 1)),
        "index": np.arange(2 * BATCH, dtype=np.int32).reshape(BATCH, 2),
    }
    labels = {"label": np.arange(2 * BATCH, dtype=np.int32).reshape(BATCH, 2) % 4 - 1} if task == "world_nli" else {}
    return given | beside | labels


@functools.cache
def programs(strategy: str, mesh: str) -> Programs:
    return Programs(Experiment(strategy=strategy, mesh=mesh), MODELS["tiny"], VOCAB, MASK)


@functools.cache
def stepped(strategy: str, mesh: str, task: str, accumulate: int = 1, make_batch=batch):
    """Returns (state, metrics) after one step, on the host."""
    here = programs(strategy, mesh)
    make, _ = here.state_maker(HEADS, OPTIM)
    step = here.step(HEADS, head_spec(TASKS[task]), OPTIM, accumulate)
    return jax.device_get(step(make(3), here.place(make_batch(task)), 0.01, 5))


def assert_same_step(found, expected):
    # float32: reductions over devices add in another order, a relative 1e-6 of the gradient, and Adam's
    # first step is at most 1 * the rate of 0.01 however small the gradient is.
    for name in ("loss", "accuracy", "weight", "gradient_norm"):
        np.testing.assert_allclose(found[1][name], expected[1][name], rtol=2e-5, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=0), found[0]["params"], expected[0]["params"]
    )


def cases(found, *quick):
    """All cases; but for the quick ones they are slow: together they take minutes to compile."""
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in found]


SPLIT_MOST = ("fsdp_tensor", "data2_fsdp2_tensor2")


@pytest.mark.parametrize(
    ("strategy", "mesh", "task"),
    cases(
        [(*place, task) for place in PLACES for task in TASKS_TRAINED],
        (*SPLIT_MOST, "world_text"),
    ),
)
def test_eight_devices_equal_one(strategy, mesh, task):
    expected = stepped("data", "one", task)
    fresh, _ = programs("data", "one").state_maker(HEADS, OPTIM)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), jax.device_get(fresh(3))["params"], expected[0]["params"])
    assert max(jax.tree.leaves(moved["body"])) > 0.005, "the step has moved something"
    assert_same_step(stepped(strategy, mesh, task), expected)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["world_text", "world_nli"])
def test_packed_rows_are_split_like_others(task):
    expected = stepped("data", "one", task, make_batch=packed)
    assert float(expected[1]["weight"]) > 8
    assert_same_step(stepped("fsdp_tensor", "data2_fsdp2_tensor2", task, 2, packed), expected)


def with_spare_rows(strategy: str, mesh: str):
    """Returns (state, metrics) of a masked-LM step of a vocabulary of 50 pieces in 56 rows."""
    row = dataclasses.replace(MODELS["tiny"], multiple=8)
    here = Programs(Experiment(strategy=strategy, mesh=mesh), row, VOCAB, MASK)
    make, abstract = here.state_maker(HEADS, OPTIM)
    step = here.step(HEADS, head_spec(TASKS["world_text"]), OPTIM, 1)
    return jax.device_get(step(make(3), here.place(batch("world_text")), 0.01, 5)), abstract["params"]


@pytest.mark.slow
def test_a_vocabulary_with_spare_rows_is_split():
    found, placed = with_spare_rows("fsdp_tensor", "data2_fsdp2_tensor2")
    assert placed["body"]["word"]["embedding"].sharding.spec == jax.sharding.PartitionSpec("tensor", "fsdp")
    assert placed["head_world_text"]["bias"].sharding.spec == jax.sharding.PartitionSpec("tensor")
    assert placed["body"]["word"]["embedding"].shape[0] == 56
    assert_same_step(found, with_spare_rows("data", "one")[0])


def of_many_words(strategy: str, mesh: str, task: str):
    """Returns what `stepped` does, of a vocabulary so large that the gradient of it is of rows."""
    vocab = LEAST * BATCH * LENGTH + 2
    here = Programs(Experiment(strategy=strategy, mesh=mesh), MODELS["tiny"], vocab, vocab - 1)
    step = here.step(HEADS, head_spec(TASKS[task]), OPTIM, 2)
    return jax.device_get(step(here.state_maker(HEADS, OPTIM)[0](3), here.place(batch(task)), 0.01, 5))


@pytest.mark.parametrize(
    ("strategy", "mesh", "task"),
    cases([(*place, task) for place in PLACES for task in ("world_nli", "world_pos")], (*SPLIT_MOST, "world_nli")),
)
def test_rows_of_an_embedding_are_split_like_the_rest(strategy, mesh, task):
    found, expected = of_many_words(strategy, mesh, task), of_many_words("data", "one", task)
    assert_same_step(found, expected)
    moments = [jax.tree.leaves(state["opt"]) for state, _ in (found, expected)]
    for one, other in zip(*moments, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=2e-4)


@pytest.mark.parametrize("mesh", [pytest.param("one", marks=pytest.mark.slow), "any"])
def test_accumulated_parts_equal_the_whole(mesh):
    assert_same_step(stepped("data", mesh, "world_text", 2), stepped("data", "one", "world_text"))


@pytest.mark.parametrize(("strategy", "mesh"), cases(PLACES, SPLIT_MOST))
def test_moments_lie_where_their_parameters_lie(strategy, mesh):
    here = programs(strategy, mesh)
    make, abstract = here.state_maker(HEADS, OPTIM)
    state = make(3)
    jax.tree.map(assert_placed, state, abstract)
    adam = next(part for part in state["opt"] if hasattr(part, "mu"))
    for moment in (adam.mu, adam.nu):
        jax.tree.map(assert_placed, moment, state["params"])
    split = [leaf for leaf in jax.tree.leaves(state["params"]) if not leaf.sharding.is_fully_replicated]
    assert bool(split) == (strategy != "data")
    after, _ = here.step(HEADS, head_spec(TASKS["world_nli"]), OPTIM, 1)(state, here.place(batch("world_nli")), 0.01, 5)
    jax.tree.map(assert_placed, after, abstract)


def test_gradients_lie_where_their_parameters_lie(monkeypatch):
    """Those of micro-batches are added up in the shards: a whole gradient of 10 billion numbers fits nowhere."""
    asked, real = [], jax.lax.with_sharding_constraint

    def record(tree, shardings, *more):
        asked.append((jax.tree.map(jnp.shape, tree), shardings))
        return real(tree, shardings, *more)

    here = programs("fsdp_tensor", "data2_fsdp2_tensor2")
    make, abstract = here.state_maker(HEADS, OPTIM)
    step = here.step(HEADS, head_spec(TASKS["world_qa"]), OPTIM, 2)
    monkeypatch.setattr(jax.lax, "with_sharding_constraint", record)
    step(make(3), here.place(batch("world_qa")), 0.01, 5)
    params = abstract["params"]
    wanted = (jax.tree.map(jnp.shape, params), jax.tree.map(lambda leaf: leaf.sharding, params))
    assert asked.count(wanted) == 2, "the sum before the first micro-batch, and the gradient of one"


def test_what_is_given_is_not_made(monkeypatch):
    here = programs("fsdp_tensor", "data2_fsdp2_tensor2")
    make, abstract = here.state_maker(HEADS, OPTIM)
    given = make(4)["params"]["body"]
    kept = jax.device_get(given)
    start, _ = here.state_maker(HEADS, OPTIM, ("body",))
    state = start(3, {"body": given})
    jax.tree.map(assert_placed, state, abstract)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(given)), "the state has taken over the memory"
    jax.tree.map(np.testing.assert_array_equal, state["params"]["body"], kept)
    fresh = make(3)["params"]
    heads = [name for name in fresh if name != "body"]
    assert len(heads) == len(HEADS)
    for name in heads:
        jax.tree.map(np.testing.assert_array_equal, state["params"][name], fresh[name])


# What a stage may train of a model, wide enough for Adafactor to factor.
WIDE = dataclasses.replace(MODELS["tiny"], name="wide", width=128, heads=8, mlp=128)
ADAPTED = {
    "lora": Optim(eps=1e-3, lora=Lora(4, targets=(ALL,), dropout=0.2)),
    "frozen": Optim(eps=1e-3, freeze_layers=1, layer_decay=0.5),
    "adafactor": Optim(name="adafactor"),
}


def adapted(optim, strategy, mesh, monkeypatch):
    """Returns (state, metrics) after one step of a wide model, the state's shapes, and the state before on the host."""
    monkeypatch.setitem(MODELS, "wide", WIDE)
    here = Programs(Experiment(model="wide", strategy=strategy, mesh=mesh), WIDE, VOCAB, MASK)
    make, abstract = here.state_maker(HEADS, optim)
    step = here.step(HEADS, head_spec(TASKS["world_nli"]), optim, 2)
    state = make(3)
    before = jax.device_get(state)
    return step(state, here.place(batch("world_nli")), 0.01, 5), abstract, before


@pytest.mark.slow
@pytest.mark.parametrize("name", ADAPTED)
def test_what_is_trained_in_part_is_split_like_the_rest(name, monkeypatch):
    expected, _, before = adapted(ADAPTED[name], "data", "one", monkeypatch)
    found, abstract, _ = adapted(ADAPTED[name], "fsdp_tensor", "data2_fsdp2_tensor2", monkeypatch)
    jax.tree.map(assert_placed, found[0], abstract)
    found, expected = jax.device_get((found, expected))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before["params"]["body"], expected[0]["params"]["body"])
    assert max(jax.tree.leaves(moved)) > 1e-5, "the step has moved something"
    for state, _ in (found, expected):
        # Its gradient is zero but for rounding (a softmax does not see what all keys have in common), and Adafactor
        # divides it by its size.
        del state["params"]["body"]["layers"]["key"]["bias"]
    assert_same_step(found, expected)


@pytest.mark.slow
def test_factored_moments_lie_where_their_axes_lie(monkeypatch):
    """An average over columns is split as the rows are; over rows, as the columns are."""
    (state, _), _, _ = adapted(ADAPTED["adafactor"], "fsdp_tensor", "data2_fsdp2_tensor2", monkeypatch)
    moments = next(part for part in state["opt"] if hasattr(part, "rows"))
    for name, columns in {"query": ("tensor", None), "attention_out": ("tensor", None), "mlp_in": ("tensor",)}.items():
        row, column = (part["body"]["layers"][name]["kernel"] for part in (moments.rows, moments.columns))
        for average, split in ((row, ("fsdp",)), (column, columns)):
            wanted = jax.sharding.NamedSharding(average.sharding.mesh, jax.sharding.PartitionSpec(None, *split))
            assert average.sharding.is_equivalent_to(wanted, average.ndim), f"{name}: {average.sharding}"
    kept, whole = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (moments, state["params"]))
    assert kept < 0.2 * whole, "most is factored"


def assert_placed(leaf, promised):
    assert leaf.sharding.is_equivalent_to(promised.sharding, leaf.ndim), f"{leaf.sharding}, not {promised.sharding}"


def test_three_labels_are_replicated_on_two_tensor_devices():
    _, abstract = programs("fsdp_tensor", "data2_fsdp2_tensor2").state_maker(HEADS, OPTIM)
    output = abstract["params"]["head_world_nli"]["output"]
    assert output["kernel"].sharding.spec == jax.sharding.PartitionSpec("fsdp", None)
    assert output["bias"].sharding.is_fully_replicated


def lowered(context) -> str:
    """Returns the text of a step that was lowered inside a context."""
    network, optimizer = Model(build_config(MODELS["tiny"], VOCAB), HEADS), make_optimizer(OPTIM)

    def apply(params, key, inputs):
        return network.apply({"params": params}, "world_nli", inputs, False, rngs={"dropout": key})

    step = functools.partial(
        train_step, apply=apply, kind="pair_classification", optimizer=optimizer, accumulate=1, mask_id=MASK
    )
    state = jax.eval_shape(lambda: nn.meta.unbox(init_state(init_params(network, jax.random.key(0)), optimizer)))
    with context:
        return jax.jit(step).lower(state, batch("world_nli"), jnp.float32(0.1), jax.random.key(0)).as_text()


def constraints(text: str) -> int:
    """Counts the constraints that split something; a random key has an empty one even without a mesh."""
    return len(re.findall(r'sharding_constraint .*"data"|custom_call @Sharding.*devices=', text))


def test_constraints_reach_the_program():
    mesh = build_mesh(MESHES["data2_fsdp4"])
    assert constraints(lowered(use_mesh(mesh, "fsdp"))) > 0, "the logical constraints were dropped without a word"
    assert constraints(lowered(contextlib.nullcontext())) == 0, "what is counted is there without a mesh, too"


def test_split_micro_batches_stay_on_their_devices():
    here = programs("data", "any")
    placed = here.place({"x": np.arange(32).reshape(16, 2)})
    compiled = jax.jit(lambda batch: _split(batch, 2)).lower(placed).compile()
    text = compiled.as_text()
    assert not re.findall(r"all-gather|all-to-all|collective-permute", text), "examples travel between devices"
    parts = compiled(placed)["x"]
    assert sorted(np.asarray(parts)[..., 0].ravel().tolist()) == list(range(0, 32, 2)), "each example once"
    assert {shard.data.shape for shard in parts.addressable_shards} == {(2, 1, 2)}
