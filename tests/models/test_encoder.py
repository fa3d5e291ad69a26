"""The encoder: what a token's state depends on, and what it does not."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax import axes
from xling_jax.models import layers as layers_module
from xling_jax.models.attention import attend
from xling_jax.models.encoder import PAD_ID, Encoder, EncoderConfig
from xling_jax.models.layers import Dropout, along_row, gelu, product

CONFIG = EncoderConfig(layers=2, width=16, heads=2, mlp=32, positions=32, vocab=40)
ROUNDING = 1e-5  # float32, states of order 1: sums over another length are added in another order


@pytest.fixture(scope="module")
def params():
    """Parameters that are all random: fresh biases and norms would hide where they are used."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: init(CONFIG))
    return jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)


def init(config):
    return nn.meta.unbox(Encoder(config).init(jax.random.key(0), jnp.full((1, 4), 5)))["params"]


def run(config, params, *inputs, **more):
    """Returns (last, states) of the compiled encoder."""
    return jax.jit(lambda params, *given: Encoder(config).apply({"params": params}, *given, **more))(params, *inputs)


def tokens(rows: int, length: int, seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (rows, length), 4, CONFIG.vocab)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_shapes_and_states(params, norm):
    config = dataclasses.replace(CONFIG, norm=norm)
    last, states = run(config, params, tokens(3, 7))
    assert (last.shape, states.shape) == ((3, 7, 16), (3, 3, 7, 16)), "the embeddings and two layers"
    assert (last == states[-1]).all(), "the last state is what heads get: in a pre-norm encoder it is normed"
    norm_bias, norm_scale = np.asarray(params["norm"]["bias"]), np.asarray(params["norm"]["scale"])
    size = np.abs(np.square((np.asarray(states) - norm_bias) / norm_scale).mean(axis=-1) - 1)
    assert (size[-1].max() < 1e-3) == (norm == "pre") and (size[0].max() < 1e-3) == (norm == "post")


def test_extra_padding_changes_nothing(params):
    short = tokens(2, 6)
    long = jnp.concatenate([short, jnp.full((2, 5), PAD_ID)], axis=1)
    states_short, states_long = run(CONFIG, params, short)[1], run(CONFIG, params, long)[1]
    np.testing.assert_allclose(states_long[:, :, :6], states_short, atol=ROUNDING)
    assert jnp.isfinite(states_long).all(), "padding sees nothing, and is finite all the same"


def test_every_token_sees_every_other(params):
    before = tokens(1, 6)
    after = before.at[0, 4].set(5 + before[0, 4] % 30)
    moved = jnp.abs(run(CONFIG, params, before)[0] - run(CONFIG, params, after)[0]).max(axis=-1)
    assert (moved > 1e-3).all(), moved


def test_packed_segments_equal_rows_apart(params):
    one, two = tokens(1, 5, seed=1), tokens(1, 4, seed=2)
    packed = jnp.concatenate([one, two, jnp.full((1, 3), PAD_ID)], axis=1)
    segments = jnp.array([[1] * 5 + [2] * 4 + [0] * 3])
    positions = jnp.array([[*range(5), *range(4), 0, 0, 0]])
    together = run(CONFIG, params, packed, segments, positions)[0]
    np.testing.assert_allclose(together[:, :5], run(CONFIG, params, one)[0], atol=ROUNDING)
    np.testing.assert_allclose(together[:, 5:9], run(CONFIG, params, two)[0], atol=ROUNDING)


def test_positions_are_read(params):
    row = jnp.full((1, 6), 7)
    last = run(CONFIG, params, row)[0][0]
    assert jnp.abs(last[1:] - last[:-1]).max(axis=-1).min() > 1e-3, "the same token at two places has two states"


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_scanned_layers_equal_unrolled_ones(params, norm, monkeypatch):
    config = dataclasses.replace(CONFIG, norm=norm)

    def program():
        return jax.jit(lambda params, x: Encoder(config).apply({"params": params}, x)[0])

    def slope():
        return jax.jit(jax.grad(lambda p, x: jnp.square(Encoder(config).apply({"params": p}, x)[0][:, 0]).sum()))

    batch, found, slopes = tokens(2, 6), {}, {}
    for how, scan_from, unroll in (("loop", 1, False), ("few", 99, False), ("unrolled", 1, True)):
        monkeypatch.setattr(layers_module, "SCAN_FROM", scan_from)
        config = dataclasses.replace(config, unroll=unroll)
        found[how] = program()(params, batch)
        slopes[how] = slope()(params, batch)
        loops = program().lower(params, batch).compile().as_text().count(" while(")
        assert (loops > 0) == (how == "loop"), "the flags decide whether there is a loop"
    for how in ("few", "unrolled"):
        np.testing.assert_allclose(found["loop"], found[how], atol=ROUNDING)
        # Gradients are of order 1, and float32 sums of other orders, as the programs are fused in another way.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), slopes["loop"], slopes[how])


def test_remat_changes_nothing_but_the_program(params):
    def loss(remat):
        config = dataclasses.replace(CONFIG, remat=remat)

        def value(params, x):
            return jnp.square(Encoder(config).apply({"params": params}, x)[0][:, 0]).sum()

        return value

    batch = tokens(2, 6)
    policies = ("none", *layers_module.REMAT)
    off, *others = (jax.jit(jax.value_and_grad(loss(remat)))(params, batch) for remat in policies)
    for on in others:
        np.testing.assert_allclose(off[0], on[0], rtol=1e-6)
        # The forward pass is computed twice, fused in another way: float32 rounding of gradients of order 1.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), off[1], on[1])
    texts = [str(jax.make_jaxpr(jax.grad(loss(remat)))(params, batch)) for remat in policies]
    products = [text.count("dot_general") for text in texts]
    assert products[0] < products[1] < products[2], f"{policies}: products computed again"


def test_norms_stand_in_different_places(params):
    batch = tokens(2, 6)
    post, pre = (run(dataclasses.replace(CONFIG, norm=norm), params, batch)[0] for norm in ("post", "pre"))
    assert jnp.abs(post - pre).max() > 0.1


def test_bfloat16_is_for_products_only(params):
    config = dataclasses.replace(CONFIG, dtype="bfloat16")
    shapes = jax.eval_shape(lambda: init(config))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(shapes)} == {"float32"}
    batch = tokens(2, 6)
    last, states = run(config, params, batch)
    assert last.dtype == states.dtype == jnp.float32
    exact = run(CONFIG, params, batch)[0]
    # bfloat16 has 8 bits of mantissa, so a product of order 1 is off by about 1/256; two layers of six products.
    assert 1e-5 < jnp.abs(last - exact).max() < 0.1, "rounded, and not more than that"
    text = str(jax.make_jaxpr(lambda p, x: Encoder(config).apply({"params": p}, x)[0])(params, batch))
    for operation in ("exp", "rsqrt"):  # of the softmax, and of the norms
        lines = [line for line in text.splitlines() if f" = {operation} " in line or f" = {operation}[" in line]
        assert lines, f"no {operation} in the program"
        assert not [line for line in lines if "bf16" in line.split(" = ")[0]], f"{operation} in bfloat16"


def test_attention_against_a_slow_reading():
    query, key, value = jax.random.normal(jax.random.key(0), (3, 1, 4, 2, 3))
    segments = jnp.array([[1, 1, 2, 0]])
    found = np.asarray(attend(query, key, value, segments))
    for head in range(2):
        for at, seen in ((0, [0, 1]), (1, [0, 1]), (2, [2])):
            scores = np.array([query[0, at, head] @ key[0, other, head] for other in seen]) / np.sqrt(3)
            weights = np.exp(scores) / np.exp(scores).sum()
            expected = sum(weight * value[0, other, head] for weight, other in zip(weights, seen, strict=True))
            np.testing.assert_allclose(found[0, at, head], expected, atol=1e-6)
    assert np.isfinite(found).all()


def slow_norm(x, weights):
    """Layer norm over the last axis, in float64."""
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * np.float64(weights["scale"]) + np.float64(weights["bias"])


def slow_layer(x_LxD, layer, pre: bool):
    """One layer on one sentence, as the papers' formulas have it, in float64."""

    def attention(x):
        query, key, value = (
            np.einsum("ld,dhk->hlk", x, layer[name]["kernel"]) + layer[name]["bias"][:, None]
            for name in ("query", "key", "value")
        )
        weights = np.exp(np.einsum("hlk,hmk->hlm", query, key) / np.sqrt(8))
        seen = np.einsum("hlm,hmk->lhk", weights / weights.sum(-1, keepdims=True), value)
        return np.einsum("lhk,hkd->ld", seen, layer["attention_out"]["kernel"]) + layer["attention_out"]["bias"]

    def mlp(x):
        h = x @ layer["mlp_in"]["kernel"] + layer["mlp_in"]["bias"]
        h = h * (1 + np.vectorize(math.erf)(h / np.sqrt(2))) / 2
        return h @ layer["mlp_out"]["kernel"] + layer["mlp_out"]["bias"]

    for function, name in ((attention, "attention_norm"), (mlp, "mlp_norm")):
        weights = layer[name]
        x_LxD = x_LxD + function(slow_norm(x_LxD, weights)) if pre else slow_norm(x_LxD + function(x_LxD), weights)
    return x_LxD


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_layers_against_a_slow_reading(params, norm):
    states = run(dataclasses.replace(CONFIG, norm=norm), params, tokens(1, 6))[1]
    for number in range(CONFIG.layers):
        layer = jax.tree.map(lambda leaf, number=number: np.asarray(leaf[number], np.float64), params["layers"])
        expected = slow_layer(np.asarray(states[number][0], np.float64), layer, norm == "pre")
        if norm == "pre" and number == CONFIG.layers - 1:
            expected = slow_norm(expected, params["norm"])
        np.testing.assert_allclose(states[number + 1][0], expected, atol=1e-4)  # float32 against float64, order 1


def drop(x, index, key=0):
    """Drops elements of BxLxD, each row an example."""
    index_BxL = jnp.broadcast_to(jnp.array(index)[:, None], x.shape[:2])
    return Dropout(0.3).apply({}, x, index_BxL, along_row(index_BxL), False, rngs={"dropout": jax.random.key(key)})


def test_a_dropout_mask_belongs_to_an_example_not_to_a_row():
    ones = jnp.ones((3, 5, 8))
    masks = drop(ones, [4, 9, 2])
    np.testing.assert_array_equal(drop(ones, [2, 4, 9]), masks[jnp.array([2, 0, 1])])
    np.testing.assert_array_equal(drop(ones[:1], [9]), masks[1:2])
    assert (masks[0] != masks[1]).any(), "two examples have two masks"
    assert (drop(ones, [4, 9, 2], key=1) != masks).any(), "another step has other masks"


def test_dropout_does_not_depend_on_padding():
    np.testing.assert_array_equal(drop(jnp.ones((1, 9, 8)), [3])[:, :5], drop(jnp.ones((1, 5, 8)), [3]))


def test_dropout_moves_with_the_example():
    """In a packed row, an example is dropped as it is alone, wherever it stands."""
    ones = jnp.ones((1, 9, 8))
    alone = drop(ones, [3])
    index, position = jnp.array([[7] * 4 + [3] * 5]), jnp.array([[*range(4), *range(5)]])
    packed = Dropout(0.3).apply({}, ones, index, position, False, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(packed[:, 4:], alone[:, :5])
    assert (packed[:, :4] != alone[:, :4]).any(), "another example has another mask"


def test_dropout_keeps_the_mean():
    dropped = drop(jnp.ones((8, 50, 50)), range(8))
    np.testing.assert_allclose(sorted(np.unique(dropped)), [0, 1 / 0.7], rtol=1e-6)
    # 20000 draws: one standard deviation of the share kept is 0.0032.
    assert abs((dropped > 0).mean() - 0.7) < 0.015


def test_dropout_falls_as_if_by_chance():
    """Elements, tokens, examples and steps that are neighbours have nothing in common, and no element is preferred."""
    examples, length, width = 32, 128, 96
    kept = np.stack([np.asarray(drop(jnp.ones((examples, length, width)), range(examples), key)) > 0 for key in (0, 1)])
    share, draws = kept.mean(), kept.size
    deviation = np.sqrt(0.3 * 0.7)
    assert abs(share - 0.7) < 5 * deviation / np.sqrt(draws)
    for axis, size in enumerate(kept.shape):
        others = tuple(other for other in range(kept.ndim) if other != axis)
        worst = np.abs(kept.mean(others) - 0.7).max() / (deviation / np.sqrt(draws / size))
        assert worst < 5, f"of axis {axis}, some are kept {worst:.1f} standard deviations too often or too rarely"
    centred = (kept - share) / deviation
    for axis in range(kept.ndim):
        for far in (1, 2, 3, 4, 8, 16, 32, 64):
            if far < kept.shape[axis]:
                pairs = np.take(centred, range(far, kept.shape[axis]), axis) * np.take(
                    centred, range(kept.shape[axis] - far), axis
                )
                alike = pairs.mean() * np.sqrt(pairs.size)
                assert abs(alike) < 5, f"{far} apart on axis {axis} is alike by {alike:.1f} standard deviations"
    # Sums of a row: too even, or too uneven, if elements of a token hung together in any way that adds up.
    spread = centred.sum(-1).var() / width
    assert abs(spread - 1) < 5 * np.sqrt(2 / (draws / width))


def test_a_product_with_parameters_transposes_nothing():
    """Neither it nor its gradients, whatever axes tokens and features are on; compiled for a CPU."""
    x, kernel = jnp.ones((4, 32, 64)), jnp.ones((64, 4, 24))
    np.testing.assert_allclose(product(x, kernel, 1), jnp.tensordot(x, kernel, 1), rtol=1e-6)
    np.testing.assert_allclose(product(kernel, x[:, :24, :8], 2), jnp.tensordot(kernel, x[:, :24, :8], 2), rtol=1e-6)

    def moved(x, kernel):
        y, gradient = jax.vjp(lambda x, kernel: product(jnp.tanh(x), kernel, 1), x, kernel)
        return gradient(jnp.sin(y))

    compiled = jax.jit(moved).lower(x, kernel).compile().as_text()
    assert " dot(" in compiled or "__ynn_fusion" in compiled
    assert " transpose(" not in compiled and " copy(" not in compiled


@pytest.mark.parametrize("kind", ["erf", "tanh"])
def test_gelu_is_what_it_is_called(kind):
    config = dataclasses.replace(CONFIG, gelu=kind)
    x = jnp.linspace(-8, 8, 1601)
    y, slope = jax.vmap(jax.value_and_grad(lambda x: gelu(x, config)))(x)
    expected = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in map(float, x)]
    # By tanh it is another function, as much as 5e-4 away.
    np.testing.assert_allclose(y, expected, atol=1e-6 if kind == "erf" else 5e-4)
    np.testing.assert_allclose(slope[1:-1], np.gradient(y, x)[1:-1], atol=1e-4)  # of a grid 0.01 apart
    half = gelu(x.astype(jnp.bfloat16), config)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), y, atol=0.02, rtol=0.01)  # bfloat16 keeps 8 bits


def test_layers_and_places_drop_differently(params):
    config = dataclasses.replace(CONFIG, dropout=0.3)
    rngs = {"dropout": jax.random.key(0)}
    batch, index = tokens(2, 6), jnp.broadcast_to(jnp.arange(2)[:, None], (2, 6))
    free = run(config, params, batch)[0]
    first = run(config, params, batch, None, None, index, deterministic=False, rngs=rngs)[0]
    again = run(config, params, batch[::-1], None, None, index[::-1], deterministic=False, rngs=rngs)[0]
    assert jnp.abs(first - free).max() > 0.01
    np.testing.assert_allclose(again[::-1], first, atol=ROUNDING)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_every_parameter_is_named(norm):
    config = dataclasses.replace(CONFIG, norm=norm)
    boxed = jax.eval_shape(lambda: Encoder(config).init(jax.random.key(0), jnp.full((1, 4), 5)))["params"]
    is_box = lambda leaf: isinstance(leaf, nn.LogicallyPartitioned)  # noqa: E731
    for path, box in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_box):
        name = jax.tree_util.keystr(path)
        assert is_box(box), f"{name} has no logical axes"
        assert len(box.names) == len(box.value.shape), f"{name}: {box.names} for {box.value.shape}"
        assert set(box.names) - {None} <= set(axes.LOGICAL_AXES), f"{name}: {box.names}"
        in_layers = "'layers'" in name
        assert (box.names[0] == axes.LAYERS) == in_layers, f"{name}: {box.names}"
        assert (box.value.shape[0] == CONFIG.layers) == in_layers, f"{name}: {box.value.shape}"


PLACES = jnp.array([[0, 5, 5], [3, 0, 8]])  # as they come, and twice


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("layers", [1, 2, 6])  # unrolled, and scanned
@pytest.mark.parametrize("frozen", [0, 1])
def test_the_last_layer_computes_the_places_that_are_asked_for(norm, layers, frozen):
    """Their states and gradients are those of a layer that computes all; packed rows, with padding behind them."""
    config = dataclasses.replace(CONFIG, norm=norm, layers=layers, frozen=frozen)
    shapes, rng = jax.eval_shape(lambda: init(config)), np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)
    given = tokens(2, 9), jnp.array([[1] * 5 + [2] * 3 + [0], [1] * 9])

    def few(params):
        found, states = Encoder(config).apply({"params": params}, *given, places_BxS=PLACES)
        assert states is None
        return found

    def whole(params):
        return jnp.take_along_axis(Encoder(config).apply({"params": params}, *given)[0], PLACES[..., None], axis=1)

    found, expected = (
        jax.jit(lambda params, f=f: (f(params), jax.grad(lambda p: jnp.square(f(p)).sum())(params)))(params)
        for f in (few, whole)
    )
    np.testing.assert_allclose(found[0], expected[0], atol=ROUNDING)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), found[1], expected[1])


def test_it_computes_no_others():
    """Of 12 x 9 tokens 12 go through the last layer: products with its matrices are that much smaller."""
    config = dataclasses.replace(CONFIG, layers=1)
    shapes = jax.eval_shape(lambda: init(config))

    def rows(**more):
        run = lambda params: Encoder(config).apply({"params": params}, tokens(12, 9), **more)[0]  # noqa: E731
        text = jax.jit(run).lower(shapes).as_text()
        return text.count("tensor<12x9x32xf32>"), text.count("tensor<12x1x32xf32>")

    (of_all, _), (none, of_few) = rows(), rows(places_BxS=jnp.zeros((12, 1), jnp.int32))
    assert of_all and of_few and not none
