"""Heads on a decoder: which token answers, what padding changes, and how many parameters there are."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.errors import ConfigError
from xling_jax.models.build import HeadSpec, Model, build_config, count_params, init_params
from xling_jax.models.decoder import DecoderConfig
from xling_jax.tables.models import MODELS

VOCAB = 40
HEADS = (
    HeadSpec("choice", "multiple_choice"),
    HeadSpec("label", "pair_classification", 3),
    HeadSpec("span", "span_qa", 2),
    HeadSpec("tags", "tagging", 17),
    HeadSpec("text", "lm"),
)
SHAPES = {"choice": (3, 4), "label": (3, 3), "span": (3, 7, 2), "tags": (3, 7, 17), "text": (3, 2, VOCAB)}


def network(**changes) -> Model:
    return Model(dataclasses.replace(build_config(MODELS["tiny_decoder"], VOCAB), **changes), HEADS)


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(5)
    shapes = nn.meta.unbox(jax.eval_shape(lambda: init_params(network(), jax.random.key(0))))
    return jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)


def batch(head: str, length: int = 7, seed: int = 0) -> dict:
    """Returns examples of 7, 2 and 5 tokens, or of choices with so many, among `length` tokens of junk."""
    shape = (3, 4, length) if head == "choice" else (3, length)
    lengths = jnp.array([7, 2, 5])
    lengths = (
        jnp.stack([lengths, lengths - 1, jnp.minimum(lengths + 2, 7), lengths], 1) if head == "choice" else lengths
    )
    words = jax.random.randint(jax.random.key(0), (*shape[:-1], 7), 0, VOCAB)
    junk = jax.random.randint(jax.random.key(1 + seed), shape, 0, VOCAB)
    inside = np.arange(length) < np.asarray(lengths)[..., None]
    tokens = jnp.where(inside, jnp.pad(words, [(0, 0)] * (words.ndim - 1) + [(0, length - 7)]), junk)
    return {"input_ids": tokens, "lengths": lengths, "masked": jnp.array([[1, 3], [0, 1], [2, 4]])}


def logits(params, head, inputs, changes=None, **more):
    model = network(**(changes or {}))
    return jax.jit(lambda params, inputs: model.apply({"params": params}, head, inputs, **more))(params, inputs)


@pytest.mark.parametrize("head", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_logits(params, head, dtype):
    found = logits(params, head, batch(head), {"dtype": dtype})
    assert (found.shape, found.dtype) == (SHAPES[head], jnp.float32)
    flat = np.asarray(found).reshape(3, -1)
    assert np.abs(flat[0] - flat[1]).max() > 1e-3, "two examples have two answers"


@pytest.mark.parametrize("head", SHAPES)
def test_what_stands_after_a_text_changes_nothing(params, head):
    """However long, and whichever ids it has: padding is told by lengths."""
    short, long = (logits(params, head, batch(head, *given)) for given in ((7, 0), (12, 3)))
    if head in ("tags", "span"):
        inside = np.arange(7)[None] < np.array([7, 2, 5])[:, None]
        short, long = short[inside], long[:, :7][inside]
    # float32: sums over 12 tokens instead of 7 are added in another order; logits are of order 1.
    np.testing.assert_allclose(long, short, atol=1e-5)


def test_the_last_token_answers(params):
    """By gradient: of all tokens of a text, and of none beyond it."""
    inputs = batch("label")
    tokens, lengths = inputs["input_ids"], inputs["lengths"]
    places = jnp.arange(tokens.size).reshape(tokens.shape)

    def answer(embedding_VxD):
        body = params["body"] | {"word": {"embedding": embedding_VxD}}
        model = network(vocab=tokens.size)
        return model.apply({"params": params | {"body": body}}, "label", inputs | {"input_ids": places})[:, 0]

    embedding_VxD = params["body"]["word"]["embedding"][tokens.reshape(-1)]
    moved = np.abs(jax.jit(jax.jacobian(answer))(embedding_VxD)).max(axis=-1).reshape(3, *tokens.shape)
    own = np.eye(3, dtype=bool)[..., None] & (np.arange(7)[None, None] < np.asarray(lengths)[None, :, None])
    assert (moved[own] > 1e-6).all() and (moved[~own] == 0).all()


def test_without_lengths_there_is_no_padding(params):
    inputs = batch("label")
    whole = {"input_ids": inputs["input_ids"]}
    full = logits(params, "label", whole | {"lengths": jnp.full(3, 7)})
    np.testing.assert_allclose(logits(params, "label", whole), full, atol=1e-6)
    assert jnp.abs(full - logits(params, "label", inputs))[1:].max() > 1e-3, "the shorter ones end elsewhere"


def test_segments_answer_for_themselves(params):
    """A packed row gives what its texts give in rows of their own; a segment that is not there gives something."""
    inputs = batch("label")
    texts = [row[:length] for row, length in zip(inputs["input_ids"], inputs["lengths"].tolist(), strict=True)]
    packed = {
        "input_ids": jnp.concatenate([*texts, jnp.zeros(2, int)])[None],
        "segments": jnp.repeat(jnp.array([1, 2, 3, 0]), jnp.array([7, 2, 5, 2]))[None],
        "positions": jnp.array([[*range(7), *range(2), *range(5), 0, 0]]),
        "first": jnp.array([[0, 7, 9, 0]]),
        "index": jnp.array([[0, 1, 2, -1]]),
    }
    found = logits(params, "label", packed)
    assert found.shape == (1, 4, 3) and jnp.isfinite(found).all()
    np.testing.assert_allclose(found[0, :3], logits(params, "label", inputs), atol=1e-5)


def test_any_number_of_choices(params):
    four = batch("choice")
    expected = logits(params, "choice", four)
    cut = {name: value[:, 1:3] for name, value in four.items()}
    np.testing.assert_allclose(logits(params, "choice", cut), expected[:, 1:3], atol=1e-5)
    missing = four | {"lengths": four["lengths"].at[:, 3].set(0)}
    found = logits(params, "choice", missing)
    np.testing.assert_allclose(found[:, :3], expected[:, :3], atol=1e-5)
    assert (found[:, 3] < -1e8).all(), "a choice that is not there is never chosen"


@pytest.mark.parametrize("head", ["label", "choice", "tags"])
def test_an_example_is_dropped_the_same_in_any_row(params, head):
    inputs = batch(head) | {"index": jnp.array([4, 0, 9])}
    turned = {name: value[::-1] for name, value in inputs.items()}
    drawn = {"deterministic": False, "rngs": {"dropout": jax.random.key(3)}}
    first, again = (logits(params, head, given, {"dropout": 0.2}, **drawn) for given in (inputs, turned))
    assert jnp.abs(first - logits(params, head, inputs)).max() > 1e-3
    np.testing.assert_allclose(again[::-1], first, atol=1e-5)


def test_logits_of_texts_are_those_of_their_places(params):
    inputs = batch("text")
    here, there = (
        logits(params, "text", inputs | {"masked": at}) for at in (inputs["masked"], inputs["masked"][:, ::-1])
    )
    np.testing.assert_allclose(there[:, ::-1], here, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_vectors_of_texts(params, pooling):
    """At every layer; the embeddings are number 0."""
    model, lengths = Model(network().config), (7, 2, 5)

    def vectors(length, layer):
        inputs = batch("label", length)
        places = jnp.broadcast_to(jnp.arange(length)[None], (3, length))
        segments = (places < inputs["lengths"][:, None]).astype(jnp.int32)
        texts = {"segments": segments, "positions": places, "first": jnp.zeros((3, 1), jnp.int32)}
        run = lambda params, texts: model.apply(  # noqa: E731
            {"params": params}, texts, {"v": (layer, pooling, False)}, method=Model.read
        )
        return jax.jit(run)({"body": params["body"]}, texts | {"input_ids": inputs["input_ids"]})["v"][:, 0]

    for layer in (0, 1, 2):
        found = vectors(7, layer)
        np.testing.assert_allclose(vectors(12, layer), found, atol=1e-5)
        for row, length in enumerate(lengths):
            text = batch("label")["input_ids"][row : row + 1, :length]
            states = model.apply({"params": {"body": params["body"]}}, text, method=Model.states)[layer, 0]
            expected = states[-1] if pooling == "last" else states.mean(axis=0)
            np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_a_head_that_the_family_lacks_is_refused():
    model = Model(build_config(MODELS["tiny_decoder"], VOCAB), (HeadSpec("world_text", "mlm"),))
    with pytest.raises(ConfigError, match=r"'world_text' is of kind 'mlm'.*\nAllowed: lm pair_classification"):
        jax.eval_shape(lambda: init_params(model, jax.random.key(0)))


def test_heads_are_counted_by_hand():
    added = {"choice": 16, "label": 16 * 3, "span": 16 * 2 + 2, "tags": 16 * 17 + 17, "text": 16 * VOCAB}
    body = count_params(Model(network().config))
    for spec in HEADS:
        assert count_params(Model(network().config, (spec,))) - body == added[spec.name], spec.name
    assert count_params(Model(network(tied=True).config, HEADS[-1:])) == body, "a tied head has no parameters"


def formula(row) -> int:
    """Counted by hand: table and output matrix, then layers: two norms, attention, three feed-forward matrices."""
    queries, keys = row.heads * row.head_width, row.groups * row.head_width
    attention = row.width * (2 * queries + 2 * keys)
    biases = {"none": 0, "qkv": queries + 2 * keys}[row.bias]
    norms = 2 * row.width + (2 * row.head_width if row.qk_norm else 0)
    tables = row.vocab * row.width * (1 if row.tied else 2)
    return tables + row.layers * (attention + biases + norms + 3 * row.width * row.mlp) + row.width


# In billions: Llama 2's as the sum of its files' tensors, Qwen's as their model cards state them.
PUBLISHED = {
    "llama2_7b": 6.738,
    "llama2_13b": 13.016,
    "qwen25_7b": 7.61,
    "qwen25_14b": 14.7,
    "qwen3_8b": 8.2,
    "qwen3_14b": 14.8,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    row = MODELS[name]
    config = build_config(row, row.vocab)
    assert isinstance(config, DecoderConfig) and config.spare == 0
    found = count_params(Model(config, (HeadSpec("text", "lm"),)))
    assert found == formula(row) == row.params, "a parameter more or fewer than the architecture has"
    assert abs(row.params / 1e9 / PUBLISHED[name] - 1) < 0.006, "0.6%: two or three digits are published, some cut off"
