"""The encoder-decoder: what a state depends on, and what it does not; steps with a cache equal whole rows."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax import axes
from xling_jax.models import layers as layers_module
from xling_jax.models.build import build_config, build_model, count_params, init_params
from xling_jax.models.relative import RelativeBias, bucket
from xling_jax.models.seq2seq import empty_cache
from xling_jax.models.text import TextToText, generate, shifted
from xling_jax.tables.models import MODELS

VOCAB, PAD = 40, 0
ROWS = ["tiny_mt5", "tiny_umt5"]
ONE_IS_QUICK = [ROWS[0], *(pytest.param(row, marks=pytest.mark.slow) for row in ROWS[1:])]
ROUNDING = 2e-5  # float32, logits of order 10: sums over another length are added in another order


def config(row: str, **changes):
    return dataclasses.replace(build_config(MODELS[row], VOCAB), **changes)


@functools.cache
def params(row: str):
    """Parameters that are all random: fresh norms would hide where they are used."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: nn.meta.unbox(init_params(build_model(config(row)), jax.random.key(0))))
    return jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)


def run(row: str, function, *given, changes=None, **more):
    """Returns function(bound model, *given), compiled."""
    model = TextToText(config(row, **(changes or {})))

    def program(params, *given):
        return nn.apply(lambda model: function(model, *given), model)({"params": params}, **more)

    return jax.jit(program)(params(row), *given)


def logits(row: str, batch: dict, deterministic: bool = True, **more):
    return run(row, lambda model, batch: model("task", batch, deterministic), batch, **more)


def drawn(rows: int, length: int, seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (rows, length), 2, VOCAB)


def examples(rows: int = 3, length: int = 7, target: int = 5) -> dict:
    return {"input_ids": drawn(rows, length), "labels": drawn(rows, target, 1)}


def slow_bucket(offset: int, buckets: int, longest: int, both_ways: bool) -> int:
    """The paper's formula, one distance at a time, in logarithms; borders are of the bucket above."""
    first = buckets // 2 if both_ways and offset > 0 else 0
    buckets = buckets // 2 if both_ways else buckets
    distance = abs(offset) if both_ways else max(0, -offset)
    if distance < buckets // 2:
        return first + distance
    share = math.log(distance / (buckets // 2)) / math.log(longest / (buckets // 2))
    return first + min(buckets - 1, buckets // 2 + int(share * (buckets - buckets // 2) + 1e-9))


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("buckets", "longest"), [(32, 128), (8, 20), (12, 64), (4, 5)])
def test_buckets_against_a_slow_reading(buckets, longest, both_ways):
    offsets = np.arange(-300, 301)
    expected = [slow_bucket(offset, buckets, longest, both_ways) for offset in offsets]
    np.testing.assert_array_equal(bucket(offsets, buckets, longest, both_ways), expected)


def test_a_bias_belongs_to_an_offset():
    """All places of a row against looking each offset up; and single places against those."""
    module = RelativeBias(heads=3, buckets=8, longest=20, both_ways=False, std=1.0)
    table = jax.random.normal(jax.random.key(0), (8, 3))
    apply = jax.jit(functools.partial(module.apply, {"params": {"table": table}}), static_argnums=0)
    whole = apply(11)
    offsets = np.arange(11)[None, :] - np.arange(11)[:, None]
    np.testing.assert_array_equal(whole, table[bucket(offsets, 8, 20, False)].transpose(2, 0, 1))
    some = apply(11, jnp.array([7, 0, 10]))
    assert some.shape == (3, 3, 1, 11)
    for row, place in enumerate((7, 0, 10)):
        np.testing.assert_array_equal(some[row, :, 0, : place + 1], whole[:, place, : place + 1])


@pytest.mark.parametrize("row", ROWS)
def test_shapes_and_states(row):
    found = logits(row, examples())
    assert (found.shape, found.dtype) == ((3, 5, VOCAB), jnp.float32)

    def states(model, tokens):
        last, encoded = model.body.encode(tokens)
        normed, decoded = model.body.decode(tokens, last, jnp.ones_like(tokens))
        return last, encoded, normed, decoded

    shapes = jax.tree.map(jnp.shape, run(row, states, drawn(3, 7)))
    assert shapes == ((3, 7, 16), (3, 3, 7, 16), (3, 7, 16), (4, 3, 7, 16)), "2 layers and 3, and the embeddings"


@pytest.mark.parametrize("row", ROWS)
def test_padding_changes_nothing(row):
    short = examples()
    long = {
        "input_ids": jnp.pad(short["input_ids"], ((0, 0), (0, 4)), constant_values=PAD),
        "labels": jnp.pad(short["labels"], ((0, 0), (0, 3)), constant_values=-1),
    }
    found = logits(row, long)
    np.testing.assert_allclose(found[:, :5], logits(row, short), atol=ROUNDING)
    assert jnp.isfinite(found).all()


@pytest.mark.parametrize("row", ONE_IS_QUICK)
def test_what_a_token_of_a_target_sees(row):
    """All of its text, and of the target what comes before it: by the gradient of each place in each other."""
    tokens, target = drawn(1, 6), drawn(1, 5, 1)

    def moved(model, tokens, target):
        memory, _ = model.body.encode(tokens)

        def last(inputs, memory):
            here = {"segments": jnp.ones_like(target), "memory": memory, "memory_segments": jnp.ones_like(tokens)}
            places = jnp.arange(5)[None]
            return model.body.decoder(inputs, here | {"positions": places, "index": places})[0][0]

        return jax.jacobian(last, argnums=(0, 1))(model.body.word(target), memory)

    inside, outside = run(row, moved, tokens, target)
    seen = np.abs(inside[:, :, 0]).max(axis=(1, 3)) > 0
    np.testing.assert_array_equal(seen, np.tri(5, dtype=bool))
    assert (np.abs(outside[:, :, 0]).max(axis=(1, 3)) > 0).all()


def pack(first: dict, second: dict) -> dict:
    """Returns both single examples in one row, with two places of padding."""

    def join(name: str, sign: int):
        return jnp.concatenate([first[name], second[name], jnp.full((1, 2), sign)], axis=1)

    batch = {"input_ids": join("input_ids", PAD), "labels": join("labels", -1), "index": jnp.array([[4, 7]])}
    for name, segments, positions in (
        ("input_ids", "segments", "positions"),
        ("labels", "target_segments", "target_positions"),
    ):
        sizes = [first[name].shape[1], second[name].shape[1], 2]
        batch[segments] = jnp.repeat(jnp.array([1, 2, 0]), jnp.array(sizes))[None]
        batch[positions] = jnp.concatenate([jnp.arange(size) for size in sizes])[None]
    return batch


PACKED = [
    ("tiny_mt5", 0.0),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (("tiny_umt5", 0.0), ("tiny_mt5", 0.3))),
]


@pytest.mark.parametrize(("row", "dropout"), PACKED)
def test_packed_examples_equal_rows_apart(row, dropout):
    first = {"input_ids": drawn(1, 6, 2), "labels": drawn(1, 3, 3), "index": jnp.array([4])}
    second = {"input_ids": drawn(1, 4, 4), "labels": drawn(1, 5, 5), "index": jnp.array([7])}
    how = {"changes": {"dropout": dropout}, "rngs": {"dropout": jax.random.key(3)}, "deterministic": not dropout}
    together = logits(row, pack(first, second), **how)
    apart = [logits(row, example, **how) for example in (first, second)]
    np.testing.assert_allclose(together[:, :3], apart[0], atol=ROUNDING)
    np.testing.assert_allclose(together[:, 3:8], apart[1], atol=ROUNDING)
    if dropout:
        assert jnp.abs(apart[0] - logits(row, first)).max() > 0.01, "something is dropped"


def test_targets_begin_with_padding_and_follow_their_labels():
    labels, places = jnp.array([[5, 6, -1, 7, 8, -1]]), jnp.array([[0, 1, 2, 0, 1, 0]])
    assert shifted(labels, PAD).tolist() == [[0, 5, 6, 0, 7, 8]]
    assert shifted(labels, PAD, places).tolist() == [[0, 5, 6, 0, 7, 0]]


def test_one_table_of_positions_or_one_for_each_layer():
    leaves = {row: params(row)["body"] for row in ROWS}
    assert leaves["tiny_mt5"]["decoder"]["relative"]["table"].shape == (8, 2)
    assert leaves["tiny_umt5"]["decoder"]["layers"]["relative"]["table"].shape == (3, 8, 2)
    assert "relative" not in leaves["tiny_mt5"]["encoder"]["layers"]


@pytest.mark.parametrize("row", ONE_IS_QUICK)
def test_scanned_layers_equal_unrolled_ones(row, monkeypatch):
    found = {}
    for scan_from in (1, 99):
        monkeypatch.setattr(layers_module, "SCAN_FROM", scan_from)
        tokens = drawn(2, 6)
        writes = jax.jit(functools.partial(generate, config(row), limit=4))
        found[scan_from] = logits(row, examples()), writes(params(row), tokens)
    np.testing.assert_allclose(found[1][0], found[99][0], atol=ROUNDING)
    np.testing.assert_array_equal(found[1][1], found[99][1])


@pytest.mark.slow
@pytest.mark.parametrize("row", ONE_IS_QUICK)
def test_remat_changes_nothing_but_the_program(row):
    batch = examples()

    def loss(remat):
        model = TextToText(config(row, remat=remat))
        return lambda params: jnp.square(model.apply({"params": params}, "task", batch)).mean()

    off, on = (jax.jit(jax.value_and_grad(loss(remat)))(params(row)) for remat in ("none", "full"))
    # The forward pass is computed twice, fused in another way: float32 rounding.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), off, on)
    texts = [str(jax.make_jaxpr(jax.grad(loss(remat)))(params(row))) for remat in ("none", "dots", "full")]
    products = [text.count("dot_general") for text in texts]
    assert products[0] < products[1] < products[2], f"{products}: products computed again"


def test_bfloat16_is_for_products_only():
    exact, rounded = (logits("tiny_umt5", examples(), changes={"dtype": name}) for name in ("float32", "bfloat16"))
    assert rounded.dtype == jnp.float32
    # bfloat16 has 8 bits of mantissa: each product is off by about 1/256, and five layers are of three products each.
    difference = float(jnp.abs(rounded - exact).max() / jnp.abs(exact).max())
    assert 1e-4 < difference < 0.1, "rounded, and not more than that"


def test_spare_rows_are_never_the_answer():
    wide = TextToText(config("tiny_mt5", spare=8))
    tree = params("tiny_mt5")
    body = tree["body"] | {
        "word": {"embedding": jnp.pad(tree["body"]["word"]["embedding"], ((0, 8), (0, 0)))},
        "output": {"kernel": jnp.pad(tree["body"]["output"]["kernel"], ((0, 8), (0, 0)), constant_values=9.0)},
    }
    found = jax.jit(lambda batch: wide.apply({"params": {"body": body}}, "task", batch))(examples())
    np.testing.assert_allclose(found[..., :VOCAB], logits("tiny_mt5", examples()), atol=ROUNDING)
    assert (found[..., VOCAB:] < -1e8).all()


@pytest.mark.parametrize("row", ONE_IS_QUICK)
def test_steps_equal_whole_rows(row):
    """Rows that are at places of their own: the second begins two tokens before the first."""
    batch = examples(2)
    inputs = shifted(batch["labels"], PAD)
    whole = logits(row, batch)

    def steps(model, tokens, inputs):
        memory, segments = model.remembered(tokens)
        cache, found = empty_cache(model.config, 2, 5), []
        for number in range(7):
            places = jnp.array([number, number - 2]).clip(0, 4)
            now, cache = model.step(inputs[jnp.arange(2), places], places, cache, memory, segments)
            found.append(now)
        return jnp.stack(found)

    found = run(row, steps, batch["input_ids"], inputs)
    np.testing.assert_allclose(found[:5, 0], whole[0], atol=ROUNDING)
    np.testing.assert_allclose(found[2:, 1], whole[1], atol=ROUNDING)


@pytest.mark.parametrize("row", ONE_IS_QUICK)
def test_answers_share_their_text(row):
    """Ranked together, three answers of each text score as each does alone."""
    tokens = drawn(2, 6).at[1, 4:].set(PAD)
    answers = drawn(6, 5, 3).reshape(2, 3, 5).at[0, 1, 2:].set(-1).at[1, 2].set(-1)
    sums, counts = run(row, lambda model, *given: model.rank(*given), tokens, answers)
    assert counts.tolist() == [[5, 2, 5], [5, 5, 0]]
    for text, number in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
        labels = answers[text, number][answers[text, number] >= 0][None]
        whole = jax.nn.log_softmax(logits(row, {"input_ids": tokens[text : text + 1], "labels": labels}))[0]
        expected = whole[jnp.arange(labels.size), labels[0]].sum()
        assert float(sums[text, number]) == pytest.approx(float(expected), rel=1e-5)
    assert float(sums[1, 2]) < -1e8, "an answer that is not there is never the best"


def formula(row) -> int:
    """T5 counted by hand: two tables, attention, gated feed-forward layers, norms, relative positions."""
    attention = 4 * row.width * row.heads * row.head_width
    mlp = 3 * row.width * row.mlp
    encoder = row.layers * (attention + mlp + 2 * row.width) + row.width
    decoder = row.decoder_layers * (2 * attention + mlp + 3 * row.width) + row.width
    tables = row.layers + row.decoder_layers if row.relative == "layer" else 2
    return 2 * row.vocab * row.width + encoder + decoder + tables * 32 * row.heads


# Rounded as the papers and repositories say them; umT5's are not stated for every size.
PUBLISHED = {"mt5_small": 300e6, "mt5_base": 580e6, "mt5_large": 1.23e9, "mt5_xl": 3.74e9, "mt5_xxl": 12.9e9}
FULL = [name for name, row in MODELS.items() if row.family == "seq2seq" and row.params]


@pytest.mark.parametrize("name", FULL)
def test_published_sizes(name):
    row = MODELS[name]
    found = count_params(build_model(build_config(row, 250_000)))
    assert found == formula(row) == row.params, "a parameter more or fewer than the architecture has"
    assert abs(found / PUBLISHED.get(name, found) - 1) < 0.01, "1%: papers round"


def test_all_published_sizes_are_counted():
    assert set(PUBLISHED) < set(FULL) and len(FULL) == 9


@pytest.mark.parametrize("row", ROWS)
def test_every_parameter_is_named(row):
    boxed = jax.eval_shape(lambda: init_params(build_model(config(row)), jax.random.key(0)))
    assert set(boxed) == {"body"}
    is_box = lambda leaf: isinstance(leaf, nn.LogicallyPartitioned)  # noqa: E731
    for path, box in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_box):
        name = jax.tree_util.keystr(path)
        assert is_box(box), f"{name} has no logical axes"
        assert len(box.names) == len(box.value.shape), f"{name}: {box.names} for {box.value.shape}"
        assert set(box.names) - {None} <= set(axes.LOGICAL_AXES), f"{name}: {box.names}"
        assert (box.names[0] == axes.LAYERS) == ("'layers'" in name), f"{name}: {box.names}"


@pytest.mark.slow
def test_fresh_scores_are_moderate():
    """Scores are not scaled; fresh queries are small instead, so that attention begins wide at any head width."""
    model = TextToText(config("tiny_mt5", width=64, heads=4, head_width=64, dropout=0.0))
    fresh = jax.jit(lambda: nn.meta.unbox(init_params(model, jax.random.key(0))))()["body"]["encoder"]["layers"]
    query, key = (fresh[name]["kernel"][0] for name in ("query", "key"))
    x = jax.random.normal(jax.random.key(1), (200, 64))
    scores = jnp.einsum("ld,dhk,pe,ehk->hlp", x, query, x, key)
    assert 0.7 < float(scores.std()) < 1.4
