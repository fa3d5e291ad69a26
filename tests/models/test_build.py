"""Heads and whole models: shapes, names and counts."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax import axes
from xling_jax.errors import ConfigError
from xling_jax.models.build import HeadSpec, Model, build_config, count_params, head_spec, init_params
from xling_jax.models.encoder import PAD_ID
from xling_jax.models.pooling import pool
from xling_jax.tables.models import MODELS
from xling_jax.tables.tasks import TASKS
from xling_jax.train.losses import cross_entropy

VOCAB = 40
HEADS = tuple(
    sorted(head_spec(TASKS[f"world_{name}"]) for name in ("text", "nli", "qa", "pos", "choice"))
)  # one of each kind that is trained
SHAPES = {
    "world_text": (3, 2, VOCAB),
    "world_nli": (3, 3),
    "world_choice": (3, 4),
    "world_pos": (3, 7, 17),
    "world_qa": (3, 7, 2),
}


def network(**changes) -> Model:
    return Model(dataclasses.replace(build_config(MODELS["tiny"], VOCAB), **changes), HEADS)


@pytest.fixture(scope="module")
def params():
    make = jax.jit(lambda: nn.meta.unbox(init_params(network(), jax.random.key(0))))
    # Fresh parameters are small, which makes all logits alike; larger ones tell the rows apart.
    return jax.tree.map(lambda leaf: 5 * leaf, make())


def batch(task: str, length: int = 7) -> dict:
    rows = (3, 4) if task == "world_choice" else (3,)
    tokens = jax.random.randint(jax.random.key(0), (*rows, 7), 4, VOCAB)
    padding = [(0, 0)] * len(rows) + [(0, length - 7)]
    tokens = jnp.pad(tokens, padding, constant_values=PAD_ID)
    return {"input_ids": tokens, "masked": jnp.array([[1, 3], [0, 6], [2, 5]])}


def logits(params, task, inputs, changes=None, **more):
    model = network(**(changes or {}))
    return jax.jit(lambda params, inputs: model.apply({"params": params}, task, inputs, **more))(params, inputs)


def test_heads_are_those_of_the_rows():
    assert {spec.name: spec.size for spec in HEADS} == {
        "world_text": 0,
        "world_nli": 3,
        "world_choice": 0,
        "world_pos": 17,
        "world_qa": 2,
    }


@pytest.mark.parametrize("task", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits(params, task, dtype):
    found = logits(params, task, batch(task), {"dtype": dtype})
    assert found.shape == SHAPES[task]
    assert found.dtype == jnp.float32
    flat = np.asarray(found).reshape(3, -1)
    assert np.abs(flat[0] - flat[1]).max() > 1e-3, "two examples have two answers"


@pytest.mark.parametrize("task", SHAPES)
def test_extra_padding_changes_no_logit(params, task):
    short, long = (logits(params, task, batch(task, length)) for length in (7, 12))
    long = long[:, :7] if task in ("world_pos", "world_qa") else long
    # float32: sums over 12 tokens instead of 7 are added in another order; logits are of order 1.
    np.testing.assert_allclose(long, short, atol=1e-5)


@pytest.mark.parametrize("task", ["world_nli", "world_choice"])
def test_an_example_is_dropped_the_same_in_any_row(params, task):
    inputs = batch(task) | {"index": jnp.array([4, 0, 9])}
    turned = {name: value[::-1] for name, value in inputs.items()}
    drawn = {"deterministic": False, "rngs": {"dropout": jax.random.key(3)}}
    first, again = (logits(params, task, given, **drawn) for given in (inputs, turned))
    assert jnp.abs(first - logits(params, task, inputs)).max() > 1e-3
    np.testing.assert_allclose(again[::-1], first, atol=1e-5)


def test_choices_of_an_example_are_dropped_apart(params):
    tokens = jnp.broadcast_to(batch("world_nli")["input_ids"][:1, None], (3, 4, 7))
    more = {"deterministic": False, "rngs": {"dropout": jax.random.key(3)}}
    found = logits(params, "world_choice", {"input_ids": tokens}, **more)
    assert len(np.unique(found)) == 12, "the same text twelve times, and each has a mask of its own"


def test_any_number_of_choices(params):
    """A choice scores among two or five as it does among four; one without text is never chosen."""
    four = batch("world_choice")["input_ids"]
    expected = logits(params, "world_choice", {"input_ids": four})
    two = logits(params, "world_choice", {"input_ids": four[:, 1:3]})
    five = logits(
        params, "world_choice", {"input_ids": jnp.pad(four, ((0, 0), (0, 1), (0, 0)), constant_values=PAD_ID)}
    )
    np.testing.assert_allclose(two, expected[:, 1:3], atol=1e-5)
    np.testing.assert_allclose(five[:, :4], expected, atol=1e-5)
    assert five.shape == (3, 5) and (five[:, 4] < -1e8).all()


def test_mlm_logits_are_those_of_the_masked_places(params):
    inputs = batch("world_text")
    other = inputs | {"masked": inputs["masked"][:, ::-1]}
    here, there = (logits(params, "world_text", given) for given in (inputs, other))
    np.testing.assert_allclose(there[:, ::-1], here, atol=1e-6)


def dual(inputs):
    """Returns the logits BxB of a fresh dual encoder with scale 2."""
    model = Model(network().config, (HeadSpec("pairs", "dual_encoder"),))
    params = nn.meta.unbox(init_params(model, jax.random.key(0)))
    head = params["head_pairs"] | {"logit_scale": jnp.array([2.0])}
    return model.apply({"params": params | {"head_pairs": head}}, "pairs", inputs)


def pairs(length: int = 7) -> dict:
    return {"input_ids": batch("world_choice", length)["input_ids"][:, :2]}


@pytest.mark.slow
def test_a_dual_encoder_compares_every_query_with_every_candidate():
    found = dual(pairs())
    assert found.shape == (3, 3) and jnp.abs(found).max() <= 2.0, "a cosine times the scale"
    turned = {"input_ids": pairs()["input_ids"][:, ::-1]}
    np.testing.assert_allclose(dual(turned), found.T, atol=1e-5, err_msg="both sides share all weights")
    np.testing.assert_allclose(dual(pairs(12)), found, atol=1e-5, err_msg="padding")
    same = {"input_ids": jnp.repeat(pairs()["input_ids"][:, :1], 2, axis=1)}
    np.testing.assert_allclose(jnp.diagonal(dual(same)), 2.0, rtol=1e-5)


@pytest.mark.slow
def test_texts_have_the_vectors_they_are_compared_by():
    model = Model(network().config, (HeadSpec("pairs", "dual_encoder"),))
    params = {"params": nn.meta.unbox(init_params(model, jax.random.key(0)))}
    both = pairs()["input_ids"]

    def vectors(tokens):
        texts = rows_of(tokens.reshape(-1, tokens.shape[-1]))
        found = model.apply(params, texts, {"pairs": ("pairs",)}, method=Model.read)["pairs"]
        return found.reshape(*tokens.shape[:2], -1)

    found = vectors(both)
    assert found.shape == (3, 2, 16)
    np.testing.assert_allclose(jnp.linalg.norm(found, axis=-1), 1.0, rtol=1e-5)
    compared = model.apply(params, "pairs", {"input_ids": both})
    np.testing.assert_allclose(found[:, 0] @ found[:, 1].T * 100, compared, atol=1e-3)  # of float32 numbers up to 100
    padded = jnp.pad(both[:, 1:], ((0, 0), (0, 0), (0, 5)), constant_values=PAD_ID)
    alone = vectors(padded)
    np.testing.assert_allclose(alone, found[:, 1:], atol=1e-5, err_msg="one text of each example, padded")


@pytest.mark.slow
def test_the_scale_begins_at_100_and_is_learned():
    model = Model(network().config, (HeadSpec("pairs", "dual_encoder"),))
    params = nn.meta.unbox(init_params(model, jax.random.key(0)))
    assert params["head_pairs"]["logit_scale"].tolist() == [100.0]
    gradient = jax.grad(lambda params: model.apply({"params": params}, "pairs", pairs()).std())(params)
    assert abs(float(gradient["head_pairs"]["logit_scale"][0])) > 1e-6


@pytest.mark.slow
def test_an_empty_candidate_is_never_picked():
    tokens = pairs()["input_ids"].at[1].set(PAD_ID)
    found = dual({"input_ids": tokens})
    assert (found[:, 1] < -1e8).all() and jnp.isfinite(found).all()
    np.testing.assert_allclose(found[0, 0], dual(pairs())[0, 0], atol=1e-5)


def rows_of(tokens):
    """Returns texts as they are read, one on each row."""
    segments = (tokens != PAD_ID).astype(jnp.int32)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    first = jnp.zeros((len(tokens), 1), jnp.int32)
    return {"input_ids": tokens, "segments": segments, "positions": positions, "first": first}


def vectors_of(params, tokens, layer, pooling):
    """Returns sentence vectors of texts, one on each row."""
    body, asks = {"params": {"body": params["body"]}}, {"v": (layer, pooling, False)}
    return Model(network().config).apply(body, rows_of(tokens), asks, method=Model.read)["v"][..., 0, :]


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_vectors_of_all_layers_are_those_of_each(params, pooling):
    tokens = batch("world_nli", 9)["input_ids"]

    def vectors(layer):
        return vectors_of(params, tokens, layer, pooling)

    found = vectors(None)
    assert found.shape == (3, 3, 16), "the embeddings and two layers"
    for layer in range(3):
        np.testing.assert_array_equal(found[layer], vectors(layer))


def test_vectors_skip_special_tokens():
    """Two segments of three tokens, of which two and one count; and one that is not there."""
    states = jnp.arange(12.0).reshape(1, 6, 2)
    own = jnp.array([[[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]]], bool)
    first = jnp.array([[0, 3, 0]])
    assert pool(states, own, first, "mean").tolist() == [[[3.0, 4.0], [8.0, 9.0], [0.0, 0.0]]]
    assert pool(states, own, first, "first").tolist() == [[[0.0, 1.0], [6.0, 7.0], [0.0, 1.0]]]
    assert pool(states, own, first, "last").tolist() == [[[4.0, 5.0], [8.0, 9.0], [0.0, 1.0]]]


def test_sentence_vectors_do_not_depend_on_padding(params):
    def vectors(length):
        return jax.jit(lambda tokens: vectors_of(params, tokens, 1, "mean"))(batch("world_nli", length)["input_ids"])

    np.testing.assert_allclose(vectors(12), vectors(7), atol=1e-5)


def formula(row) -> int:
    """XLM-R counted by hand: tables, the layers, a norm after the embeddings or the last layer, and the head."""
    tables = (row.vocab + 512 + 2 + 1) * row.width  # positions begin at 2; one token type
    attention = 4 * (row.width * row.width + row.width)
    mlp = row.width * row.mlp + row.mlp + row.mlp * row.width + row.width
    head = row.width * row.width + row.width + 2 * row.width + row.vocab  # its output matrix is the word table
    return tables + row.layers * (attention + mlp + 2 * 2 * row.width) + 2 * row.width + head


# As the papers and model cards round them, in millions; the rows have what the formula gives.
PUBLISHED = {"xlmr_base": 278, "xlmr_large": 560, "xlmr_xl": 3_480, "xlmr_xxl": 10_700}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    row = MODELS[name]
    config = dataclasses.replace(build_config(row, 250_000), spare=0)
    found = count_params(Model(config, (HeadSpec("text", "mlm"),)))
    assert found == formula(row) == row.params, "a parameter more or fewer than the architecture has"
    assert abs(row.params / 1e6 / PUBLISHED[name] - 1) < 0.002, "0.2%: three digits are published"


def test_heads_are_counted_by_hand():
    row = MODELS["tiny"]
    body = count_params(Model(build_config(row, VOCAB)))
    dense = 16 * 16 + 16
    added = {
        "world_text": dense + 2 * 16 + VOCAB,  # the output matrix is the embeddings
        "world_nli": dense + 16 * 3 + 3,
        "world_choice": dense + 16 + 1,
        "world_pos": 16 * 17 + 17,
        "world_qa": 16 * 2 + 2,
        "pairs": dense + 1,
    }
    for spec in (*HEADS, HeadSpec("pairs", "dual_encoder")):
        assert count_params(Model(build_config(row, VOCAB), (spec,))) - body == added[spec.name], spec.name


def test_a_published_vocabulary_is_not_changed():
    assert build_config(MODELS["xlmr_base"], 1000).vocab == 250_002
    with pytest.raises(ConfigError, match=r"'xlmr_base' has 250002 vocabulary rows, .* 250003 pieces"):
        build_config(MODELS["xlmr_base"], 250_003)
    assert build_config(MODELS["tiny"], 77).vocab == 77


def test_published_vocabularies_divide_among_devices():
    """XLM-R's 250,002 rows are twice an odd number."""
    for row in MODELS.values():
        config = build_config(row, row.vocab or VOCAB)
        assert (config.vocab + config.spare) % (128 if row.source else 1) == 0, row.name
        assert 0 <= config.spare < 128, row.name
    assert build_config(MODELS["xlmr_base"], 250_002).spare == 110
    assert build_config(MODELS["xlmr_xl"], 250_880).spare == 0


def test_spare_rows_change_nothing(params):
    """With rows beyond the vocabulary, the loss and all gradients are what they were, and theirs are zero."""
    labels = jnp.array([3, 39, 5, 17, 0, 22])

    def loss_and_gradient(spare):
        wide = jax.tree.map(lambda leaf: leaf, params)
        pad = lambda leaf: jnp.pad(leaf, [(0, spare)] + [(0, 0)] * (leaf.ndim - 1), constant_values=3.0)  # noqa: E731
        wide["body"]["word"]["embedding"] = pad(params["body"]["word"]["embedding"])
        wide["head_world_text"]["bias"] = pad(params["head_world_text"]["bias"])
        model = network(spare=spare)

        def loss(params):
            found = model.apply({"params": params}, "world_text", batch("world_text"))
            return cross_entropy(found.reshape(6, -1), labels)[0]

        return jax.jit(jax.value_and_grad(loss))(wide)

    (before, expected), (after, found) = loss_and_gradient(0), loss_and_gradient(24)
    np.testing.assert_allclose(after, before, rtol=1e-6)
    for tree in (found["body"]["word"], found["head_world_text"]):
        leaf = tree.pop("embedding" if "embedding" in tree else "bias")
        assert (leaf[VOCAB:] == 0).all() and leaf.shape[0] == VOCAB + 24
        tree["leaf"] = leaf[:VOCAB]
    expected["body"]["word"]["leaf"] = expected["body"]["word"].pop("embedding")
    expected["head_world_text"]["leaf"] = expected["head_world_text"].pop("bias")
    # float32: the softmax adds up 64 terms instead of 40; gradients are of order 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_every_parameter_of_the_heads_is_named():
    boxed = jax.eval_shape(lambda: init_params(network(), jax.random.key(0)))
    assert set(boxed) == {"body", *(f"head_{spec.name}" for spec in HEADS)}
    boxes = jax.tree.leaves(boxed, is_leaf=lambda leaf: isinstance(leaf, nn.LogicallyPartitioned))
    for box in boxes:
        assert isinstance(box, nn.LogicallyPartitioned), "a parameter without logical axes"
        assert set(box.names) - {None} <= set(axes.LOGICAL_AXES), box.names
        assert len(box.names) == box.value.ndim, box.names


def test_a_spec_sorts_by_name():
    assert sorted([HeadSpec("b", "mlm"), HeadSpec("a", "tagging", 3)])[0].name == "a"
