"""The decoder: what a token's state depends on, and what it does not; a slow reading of the papers' formulas."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax import axes
from xling_jax.models import layers as layers_module
from xling_jax.models.decoder import Decoder, DecoderConfig
from xling_jax.models.rope import SCALINGS, turns

CONFIG = DecoderConfig(
    layers=2, width=16, heads=4, groups=2, head_width=6, mlp=20, positions=8, vocab=40, theta=100.0, dropout=0.0
)
ORIGINAL = ("original_max_position_embeddings", 8)
FIELDS = {
    "linear": (("factor", 3.0),),
    "dynamic": (("factor", 3.0),),
    "llama3": (("factor", 4.0), ("high_freq_factor", 4.0), ("low_freq_factor", 1.0), ORIGINAL),
    "yarn": (("factor", 4.0), ORIGINAL),
}
VARIANTS = {
    "plain": CONFIG,
    "biased": dataclasses.replace(CONFIG, bias="all", groups=4),
    "qwen2": dataclasses.replace(CONFIG, bias="qkv", groups=1),
    "qwen3": dataclasses.replace(CONFIG, qk_norm=True, head_width=10),
    "deep": dataclasses.replace(CONFIG, layers=6),
    **{name: dataclasses.replace(CONFIG, rope=(*fields, ("rope_type", name))) for name, fields in FIELDS.items()},
}
QUICK = [
    pytest.param(name, marks=() if name in ("plain", "qwen2", "qwen3", "yarn") else pytest.mark.slow)
    for name in VARIANTS
]
ROUNDING = 2e-5  # float32, states of order 1: sums over another length are added in another order


@pytest.fixture(scope="module")
def params():
    """Returns a function from a configuration to parameters that are all random, norms and biases, too."""

    def make(config):
        rng = np.random.default_rng(1)
        draw = lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype)  # noqa: E731
        return jax.tree.map(draw, jax.eval_shape(lambda: init(config)))

    return make


def init(config):
    return nn.meta.unbox(Decoder(config).init(jax.random.key(0), jnp.full((1, 4), 5)))["params"]


def run(config, params, *inputs, **more):
    """Returns (last, states) of the compiled decoder."""
    return jax.jit(lambda params, *given: Decoder(config).apply({"params": params}, *given, **more))(params, *inputs)


def tokens(rows: int, length: int, seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (rows, length), 0, CONFIG.vocab)


def packed(*sizes: int) -> tuple[jax.Array, jax.Array]:
    """Returns (segments, positions) of a row of texts of these sizes; the last size is padding."""
    segments = [number for number, size in enumerate(sizes[:-1], 1) for _ in range(size)] + [0] * sizes[-1]
    positions = [at for size in sizes[:-1] for at in range(size)] + [0] * sizes[-1]
    return jnp.array([segments]), jnp.array([positions])


def test_shapes_and_states(params):
    last, states = run(CONFIG, params(CONFIG), tokens(3, 7))
    assert (last.shape, states.shape) == ((3, 7, 16), (3, 3, 7, 16)), "the embeddings and two layers"
    assert (last == states[-1]).all(), "the last state is the normed one, as it is published"


@pytest.mark.parametrize("variant", QUICK)
def test_no_token_sees_a_later_one(params, variant):
    """By gradient, of every state and every token's embedding, in two texts of one row."""
    config, sizes = VARIANTS[variant], (5, 4, 2)
    weights, (segments, positions) = params(config), packed(*sizes)
    row = tokens(1, sum(sizes))

    def last(embeddings_LxD):
        one_of_each = jnp.arange(row.shape[1])[None]
        mine = weights | {"word": {"embedding": embeddings_LxD}}
        return Decoder(config).apply({"params": mine}, one_of_each, segments, positions)[0][0].sum(axis=-1)

    config = dataclasses.replace(config, vocab=row.shape[1])
    embeddings_LxD = weights["word"]["embedding"][row[0]]
    moved = np.abs(jax.jit(jax.jacobian(last))(embeddings_LxD)).max(axis=-1)  # of each state by each token
    places, segment = np.arange(11), np.asarray(segments[0])
    allowed = (places[:, None] >= places[None]) & (segment[:, None] == segment[None])
    assert (moved[~allowed & (segment > 0)[:, None]] == 0).all(), "a token sees a later one, or another text"
    assert (moved[allowed & (segment > 0)[:, None]] > 1e-6).all(), "a token does not see an earlier one"


@pytest.mark.parametrize("variant", QUICK)
def test_packed_segments_equal_rows_apart(params, variant):
    """Texts longer than the context, which scaled positions stretch by the text's own length."""
    config, sizes = VARIANTS[variant], (11, 4, 3)
    weights, row = params(config), tokens(1, 18)
    together = run(config, weights, row, *packed(*sizes))[0]
    np.testing.assert_allclose(together[:, :11], run(config, weights, row[:, :11])[0], atol=ROUNDING)
    np.testing.assert_allclose(together[:, 11:15], run(config, weights, row[:, 11:15])[0], atol=ROUNDING)
    assert jnp.isfinite(together).all(), "padding sees nothing, and is finite all the same"


def test_padding_is_no_id(params):
    """Every id is a word, unless its segment says that it is padding."""
    weights, row = params(CONFIG), tokens(1, 6)
    for word in (0, 1, 2):
        here = row.at[0, 3].set(word)
        assert jnp.abs(run(CONFIG, weights, here)[0] - run(CONFIG, weights, row)[0])[0, 4:].max() > 1e-3
    padded, segments = jnp.concatenate([row, tokens(1, 3, seed=4)], axis=1), packed(6, 3)[0]
    np.testing.assert_allclose(
        run(CONFIG, weights, padded, segments)[0][:, :6], run(CONFIG, weights, row)[0], atol=1e-6
    )


@pytest.mark.parametrize("variant", ["plain", "qwen2", "qwen3", "biased"])
def test_scanned_layers_equal_unrolled_ones(params, variant, monkeypatch):
    config, found = VARIANTS[variant], {}
    weights, batch = params(config), tokens(2, 6)

    def program():
        return jax.jit(lambda params, x: Decoder(config).apply({"params": params}, x)[0])

    for scan_from in (1, 99):
        monkeypatch.setattr(layers_module, "SCAN_FROM", scan_from)
        found[scan_from] = program()(weights, batch)
        loops = program().lower(weights, batch).compile().as_text().count(" while(")
        assert (loops > 0) == (scan_from == 1), "the flag decides whether there is a loop"
    np.testing.assert_allclose(found[1], found[99], atol=ROUNDING)


def test_remat_changes_nothing_but_the_program(params):
    def loss(remat):
        config = dataclasses.replace(CONFIG, remat=remat)
        return lambda params, x: jnp.square(Decoder(config).apply({"params": params}, x)[0][:, -1]).sum()

    weights, batch = params(CONFIG), tokens(2, 6)
    off, on = (jax.jit(jax.value_and_grad(loss(remat)))(weights, batch) for remat in ("none", "full"))
    np.testing.assert_allclose(off[0], on[0], rtol=1e-6)
    # The forward pass is computed twice, fused in another way: float32 rounding of gradients of order 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), off[1], on[1])
    texts = [str(jax.make_jaxpr(jax.grad(loss(remat)))(weights, batch)) for remat in ("none", "dots", "full")]
    products = [text.count("dot_general") for text in texts]
    assert products[0] < products[1] < products[2], f"{products}: products computed again"


@pytest.mark.parametrize("variant", ["plain", "qwen3", "dynamic"])
def test_bfloat16_is_for_products_only(params, variant):
    config = dataclasses.replace(VARIANTS[variant], dtype="bfloat16")
    weights = params(config)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(jax.eval_shape(lambda: init(config)))} == {"float32"}
    low, high = (run(found, weights, tokens(2, 14))[0] for found in (config, VARIANTS[variant]))
    assert low.dtype == jnp.float32
    # bfloat16 keeps 8 bits: a relative 0.4% of each product, through two layers.
    assert 1e-4 < jnp.abs(low - high).max() / jnp.abs(high).max() < 0.05


def test_angles_are_float32_far_out():
    """In bfloat16, positions 1000 and 1001 would be the same one."""
    config = dataclasses.replace(CONFIG, dtype="bfloat16", theta=1e6)
    positions = jnp.array([[1000, 1001]])
    cosines, _ = turns(config, positions, jnp.ones_like(positions))
    expected = np.cos(np.array([1000, 1001])[:, None] * 1e6 ** -(np.arange(0, 6, 2) / 6))
    np.testing.assert_allclose(cosines[0], expected, atol=1e-4)  # a float32 angle of 1000 is known to 6e-5


def test_dropout_belongs_to_the_example(params):
    config = dataclasses.replace(CONFIG, dropout=0.3)
    weights, batch, rngs = params(config), tokens(2, 6), {"dropout": jax.random.key(0)}
    index = jnp.broadcast_to(jnp.arange(2)[:, None], (2, 6))
    free = run(config, weights, batch)[0]
    first = run(config, weights, batch, None, None, index, deterministic=False, rngs=rngs)[0]
    again = run(config, weights, batch[::-1], None, None, index[::-1], deterministic=False, rngs=rngs)[0]
    assert jnp.abs(first - free).max() > 0.01
    np.testing.assert_allclose(again[::-1], first, atol=ROUNDING)


def slow_frequencies(config, length: int) -> tuple[np.ndarray, float]:
    """Returns the frequencies and the vectors' factor, dimension by dimension as the papers have them."""
    fields, width, found = dict(config.rope), config.head_width, []
    kind, factor, theta = fields.get("rope_type"), fields.get("factor", 1.0), config.theta
    if kind == "dynamic" and length > config.positions:
        theta *= (factor * length / config.positions - (factor - 1)) ** (width / (width - 2))
    for number in range(width // 2):
        plain = theta ** (-2 * number / width)
        wave = 2 * np.pi / plain
        if kind == "linear":
            plain /= factor
        elif kind == "llama3":
            if wave > 8 / 1.0:
                plain /= factor
            elif wave > 8 / 4.0:
                smooth = (8 / wave - 1.0) / (4.0 - 1.0)
                plain = (1 - smooth) * plain / factor + smooth * plain
        elif kind == "yarn":
            at = lambda turned: width * np.log(8 / (turned * 2 * np.pi)) / (2 * np.log(theta))  # noqa: E731
            low, high = max(np.floor(at(32)), 0), min(np.ceil(at(1)), width - 1)
            ramp = min(max((number - low) / (high - low), 0), 1)
            plain = plain / factor * ramp + plain * (1 - ramp)
        found.append(plain)
    return np.array(found), 0.1 * np.log(factor) + 1 if kind == "yarn" else 1.0


def slow_layer(x_LxD, layer, config):
    """One layer on one text in float64, token by token and head by head."""

    def norm(x, scale):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.eps) * scale

    frequencies, factor = slow_frequencies(config, len(x_LxD))

    def project(x, name):
        weights = layer[name]
        return np.einsum("ld,dhk->lhk", x, weights["kernel"]) + weights.get("bias", 0)

    def turned(x_LxHxK):
        half, found = config.head_width // 2, np.zeros_like(x_LxHxK)
        for at in range(len(x_LxHxK)):
            for number in range(half):
                angle = at * frequencies[number]
                a, b = x_LxHxK[at, :, number], x_LxHxK[at, :, half + number]
                found[at, :, number] = factor * (a * np.cos(angle) - b * np.sin(angle))
                found[at, :, half + number] = factor * (b * np.cos(angle) + a * np.sin(angle))
        return found

    inside = norm(x_LxD, layer["attention_norm"]["scale"])
    query, key, value = (project(inside, name) for name in ("query", "key", "value"))
    if config.qk_norm:
        query, key = norm(query, layer["query_norm"]["scale"]), norm(key, layer["key_norm"]["scale"])
    query, key = turned(query), turned(key)
    seen = np.zeros_like(query)
    for at in range(len(x_LxD)):
        for head in range(config.heads):
            group = head * config.groups // config.heads
            scores = np.array([query[at, head] @ key[k, group] for k in range(at + 1)]) / np.sqrt(config.head_width)
            weights = np.exp(scores - scores.max())
            seen[at, head] = (weights / weights.sum()) @ value[: at + 1, group]
    out = layer["attention_out"]
    x_LxD = x_LxD + np.einsum("lhk,hkd->ld", seen, out["kernel"]) + out.get("bias", 0)
    inside = norm(x_LxD, layer["mlp_norm"]["scale"])
    gate = inside @ layer["mlp_gate"]["kernel"]
    return x_LxD + (gate / (1 + np.exp(-gate)) * (inside @ layer["mlp_in"]["kernel"])) @ layer["mlp_out"]["kernel"]


@pytest.mark.parametrize("variant", QUICK)
def test_layers_against_a_slow_reading(params, variant):
    config = VARIANTS[variant]
    weights = params(config)
    states = run(config, weights, tokens(1, 13))[1]
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), weights)
    x_LxD = wide["word"]["embedding"][np.asarray(tokens(1, 13)[0])]
    for number in range(config.layers):
        np.testing.assert_allclose(states[number][0], x_LxD, atol=1e-4)  # float32 against float64, order 1
        x_LxD = slow_layer(x_LxD, jax.tree.map(lambda leaf, number=number: leaf[number], wide["layers"]), config)
    x_LxD = x_LxD / np.sqrt((x_LxD * x_LxD).mean(-1, keepdims=True) + config.eps) * wide["norm"]["scale"]
    np.testing.assert_allclose(states[-1][0], x_LxD, atol=1e-4)


def test_every_scaling_is_tried():
    assert set(SCALINGS) == {"default", *FIELDS}


@pytest.mark.parametrize("variant", QUICK)
def test_a_cache_gives_what_the_whole_text_gives(params, variant):
    """Three prompts of several lengths go on, each at its own place; junk after a prompt is never seen."""
    config = VARIANTS[variant]
    weights, text, lengths = params(config), tokens(3, 9), jnp.array([4, 1, 5])
    if variant == "dynamic":  # beyond the context, its frequencies change with every token that is written
        config = dataclasses.replace(config, positions=16)
    expected = run(config, weights, text)[0]
    apply = jax.jit(lambda *given: Decoder(config).apply({"params": weights}, *given, method=Decoder.step))
    fill = jax.jit(
        lambda prompt: Decoder(config).apply({"params": weights}, prompt, lengths, 4, method=Decoder.prefill)
    )
    cache = fill(text[:, :5])
    assert {name: part.shape for name, part in cache.items()} == dict.fromkeys(
        ("key", "value"), (config.layers, 3, 9, config.groups, config.head_width)
    )
    for number in range(5):
        places = lengths - 1 + number
        found, cache = apply(cache, text[jnp.arange(3), places], places)
        np.testing.assert_allclose(found, expected[jnp.arange(3), places], atol=ROUNDING)


def test_every_parameter_is_named(params):
    config = dataclasses.replace(CONFIG, bias="all", qk_norm=True)
    boxed = jax.eval_shape(lambda: Decoder(config).init(jax.random.key(0), jnp.full((1, 4), 5)))["params"]
    is_box = lambda leaf: isinstance(leaf, nn.LogicallyPartitioned)  # noqa: E731
    for path, box in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_box):
        name = jax.tree_util.keystr(path)
        assert is_box(box), f"{name} has no logical axes"
        assert len(box.names) == len(box.value.shape), f"{name}: {box.names} for {box.value.shape}"
        assert set(box.names) <= set(axes.LOGICAL_AXES), f"{name}: {box.names}"
        assert (box.names[0] == axes.LAYERS) == ("'layers'" in name), f"{name}: {box.names}"
