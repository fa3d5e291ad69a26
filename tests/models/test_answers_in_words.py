"""Answers in words, of encoder-decoders and decoders: trained on, ranked and written alike."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.models.answers import joined, make_rank_fn, make_write_fn
from xling_jax.models.build import HeadSpec, build_config, build_model, init_params
from xling_jax.models.text import TextToText
from xling_jax.tables.models import MODELS
from xling_jax.train.losses import LOSSES

VOCAB, EOS, LENGTH, ROOM = 23, 1, 7, 4
LENGTHS = np.array([7, 1, 4])
LOSS = {"tiny_mt5": "text_to_text", "tiny_decoder": "lm"}


@functools.cache
def drawn(name: str):
    """Returns (a model, random parameters)."""
    model = build_model(build_config(MODELS[name], VOCAB), (HeadSpec("lm", "lm"),))
    rng = np.random.default_rng(3)
    shapes = nn.meta.unbox(jax.eval_shape(lambda: init_params(model, jax.random.key(0))))
    return model, jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)


def batch():
    """Returns prompts of several lengths, padded, and answers of several lengths, one of them empty."""
    rng = np.random.default_rng(5)
    prompt = rng.integers(2, VOCAB, (3, LENGTH)) * (np.arange(LENGTH) < LENGTHS[:, None])
    labels = rng.integers(2, VOCAB, (3, ROOM))
    for row, count in enumerate([4, 2, 0]):
        labels[row, count:] = -1
    found = {"input_ids": prompt, "lengths": LENGTHS, "labels": labels, "index": np.arange(3) + 4}
    return {name: jnp.asarray(array, jnp.int32) for name, array in found.items()}


def test_an_answer_stands_behind_its_prompt():
    given, made = batch(), jax.jit(joined)(batch())
    assert made["input_ids"].shape == (3, LENGTH + ROOM) and made["index"].tolist() == [4, 5, 6]
    for row, length in enumerate(LENGTHS):
        answer = [label for label in given["labels"][row].tolist() if label >= 0]
        whole = given["input_ids"][row, :length].tolist() + answer
        assert made["input_ids"][row, : len(whole)].tolist() == whole
        assert made["lengths"][row] == len(whole)
        scored = {
            int(place) + 1: label
            for place, label in zip(made["masked"][row], made["labels"][row].tolist(), strict=True)
            if label >= 0
        }
        assert scored == {length + at: label for at, label in enumerate(answer)}, "each is said by the one before it"
    assert (made["masked"] < LENGTH + ROOM).all()


@pytest.mark.parametrize("name", LOSS)
def test_what_is_trained_is_what_is_ranked(name):
    """The loss of answers, but for z-loss, is what ranking finds them unlikely by."""
    model, params = drawn(name)
    given = batch()
    prepared = joined(given) if name == "tiny_decoder" else given
    more = {"z_loss": 0.0} if name == "tiny_mt5" else {}

    @jax.jit
    def both(params, given, prepared):
        apply = functools.partial(model.apply, {"params": params}, "lm")
        loss, weight, _ = LOSSES[LOSS[name]](apply, prepared, jax.random.key(0), -1, **more)
        return loss, weight, *make_rank_fn(model, "lm")(params, given, given["labels"][:, None])

    loss, weight, sums, tokens = both(params, given, prepared)
    assert tokens[:, 0].tolist() == [4, 2, 0] and weight == 6
    np.testing.assert_allclose(loss, -sums[:2].sum(), rtol=1e-5)  # float32, summed in another order


@pytest.mark.parametrize("name", LOSS)
def test_the_gradient_is_that_of_answers_alone(name):
    """A token of padding, or a label that is none, moves nothing."""
    model, params = drawn(name)

    def loss(params, given):
        prepared = joined(given) if name == "tiny_decoder" else given
        apply = functools.partial(model.apply, {"params": params}, "lm")
        return LOSSES[LOSS[name]](apply, prepared, jax.random.key(0), -1)[0]

    given = batch()
    wider = given | {"input_ids": jnp.pad(given["input_ids"], ((0, 0), (0, 3)))}
    wider |= {"labels": jnp.pad(given["labels"], ((0, 0), (0, 2)), constant_values=-1)}
    narrow, wide = (jax.jit(jax.grad(loss))(params, each) for each in (given, wider))
    for one, other in zip(jax.tree.leaves(narrow), jax.tree.leaves(wide), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)  # float32, sums of another width


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("name", LOSS)
def test_what_is_written_is_likely_and_ends(name, beams):
    """Each token of a greedy text is the likeliest; nothing stands behind the end, whatever its padding is."""
    model, params = drawn(name)
    given, rank = batch(), jax.jit(make_rank_fn(model, "lm"))
    write = make_write_fn(model, "lm", limit=ROOM, eos=EOS, pad=EOS if name == "tiny_decoder" else 0, beams=beams)
    written = np.asarray(jax.jit(write)(params, given))
    assert written.shape == (3, ROOM) and (written[:, 0] >= 0).all()
    for row in written:
        ends = np.flatnonzero(row == EOS)
        assert len(ends) <= 1 and (row[ends[0] + 1 :] == -1 if len(ends) else row >= 0).all()
    if beams == 1:
        for at in range(ROOM):
            texts = np.repeat(written[:, None], VOCAB, axis=1)
            texts[:, :, at], texts[:, :, at + 1 :] = np.arange(VOCAB), -1
            best = np.asarray(rank(params, given, jnp.asarray(texts))[0]).argmax(axis=1)
            there = written[:, at] >= 0
            assert (best == written[:, at])[there].all(), f"token {at}"


def test_vectors_of_an_encoder_decoder():
    model, params = drawn("tiny_mt5")
    assert isinstance(model, TextToText)
    tokens = jnp.asarray([[5, 9, 7, EOS, 0, 0], [4, EOS, 0, 0, 0, 0]])
    states = jax.jit(lambda x: model.apply({"params": params}, x, method=lambda m, x: m.body.encode(x)[1]))(tokens)

    @functools.partial(jax.jit, static_argnames=("pooling", "special"))
    def vectors(tokens, *, pooling="mean", special=False):
        places = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
        segments = (tokens != 0).astype(jnp.int32)
        texts = {"segments": segments, "positions": places, "first": jnp.zeros((2, 1), jnp.int32)}
        asks = {"v": (1, pooling, special)}
        return model.apply({"params": params}, texts | {"input_ids": tokens}, asks, method="read")["v"][:, 0]

    near = {"rtol": 1e-5, "atol": 1e-6}  # float32, summed in another order
    np.testing.assert_allclose(vectors(tokens)[0], states[1, 0, :3].mean(axis=0), **near)
    np.testing.assert_allclose(vectors(tokens)[1], states[1, 1, 0], **near)
    np.testing.assert_allclose(vectors(tokens, special=True)[0], states[1, 0, :4].mean(axis=0), **near)
    np.testing.assert_allclose(vectors(tokens, pooling="last")[0], states[1, 0, 2], **near)
    np.testing.assert_allclose(vectors(jnp.pad(tokens, ((0, 0), (0, 5)))), vectors(tokens), **near)
