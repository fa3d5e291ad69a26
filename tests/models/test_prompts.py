"""Texts that a decoder writes after prompts, and answers that it ranks: against the whole text computed anew."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.models.build import HeadSpec, Model, build_config, init_params
from xling_jax.models.decoding import NEVER
from xling_jax.models.prompts import generate, rank
from xling_jax.partitioning.mesh import build_mesh, use_mesh
from xling_jax.partitioning.place import creator
from xling_jax.tables.meshes import MESHES
from xling_jax.tables.models import MODELS

VOCAB, EOS, PAD, LIMIT, LONGEST = 23, 5, 0, 6, 13
CHANGES = {
    "plain": {},
    "tied": {"tied": True, "bias": "qkv"},
    "qk_norm": {"qk_norm": True, "groups": 1, "layers": 5},
    "spare": {"spare": 9, "rope": (("factor", 2.0), ("rope_type", "linear"))},
}


def network(variant: str) -> Model:
    config = dataclasses.replace(build_config(MODELS["tiny_decoder"], VOCAB), **CHANGES[variant])
    return Model(config, (HeadSpec("text", "lm"),))


@functools.cache
def drawn(variant: str):
    """Returns parameters that are all random, so that texts differ from each other."""
    rng = np.random.default_rng(4)
    shapes = nn.meta.unbox(jax.eval_shape(lambda: init_params(network(variant), jax.random.key(0))))
    return jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)


def prompts(rows: int = 4) -> tuple[jax.Array, jax.Array]:
    """Returns (prompts with junk after them, lengths)."""
    rng = np.random.default_rng(8)
    return jnp.asarray(rng.integers(0, VOCAB, (rows, 7))), jnp.asarray(rng.permutation([1, 3, 6, 7] * (rows // 4)))


@functools.cache
def whole(variant: str):
    """Returns a function of one text to the log-probabilities of its next token, without a cache."""

    def last(params, row_1xL, place):
        batch = {"input_ids": row_1xL, "masked": place[None, None]}
        return jax.nn.log_softmax(network(variant).apply({"params": params}, "text", batch)[0, 0])

    compiled = jax.jit(last)

    def logs(text):
        row_1xL = jnp.asarray([text + [0] * (LONGEST - len(text))])
        return np.asarray(compiled(drawn(variant), row_1xL, jnp.asarray(len(text) - 1)))

    return logs


def slow_greedy(variant, prompt):
    text = list(prompt)
    for _ in range(LIMIT):
        text.append(int(whole(variant)(text).argmax()))
        if text[-1] == EOS:
            break
    written = text[len(prompt) :]
    return written + [PAD] * (LIMIT - len(written))


def written(variant, rows=4, **more):
    prompt, lengths = prompts(rows)
    how = {"limit": LIMIT, "eos": EOS, "pad": PAD} | more
    run = jax.jit(lambda params, prompt, lengths: generate(network(variant), params, "text", prompt, lengths, **how))
    return run(drawn(variant), prompt, lengths)


@pytest.mark.parametrize("variant", CHANGES)
def test_greedy_texts(variant):
    found, (prompt, lengths) = written(variant), prompts()
    expected = [slow_greedy(variant, row[:length].tolist()) for row, length in zip(prompt, lengths, strict=True)]
    assert np.asarray(found).tolist() == expected
    assert len({tuple(row) for row in expected}) > 1, "two prompts are answered in two ways"


def test_one_beam_is_greedy_and_more_are_likelier():
    prompt, lengths = prompts()
    greedy, single = written("plain"), written("plain", beams=1, penalty=0.0)
    np.testing.assert_array_equal(greedy, single)
    answers = jnp.stack([greedy, written("plain", beams=4, penalty=0.0)], axis=1)
    ended = jnp.cumsum(answers == EOS, axis=-1) - (answers == EOS) > 0  # after the end of the text
    sums, _ = ranked("plain", prompt, lengths, jnp.where(ended, -1, answers))
    assert (sums[:, 1] >= sums[:, 0] - 1e-5).all(), "without a penalty, a wider search finds no less likely text"


def ranked(variant, prompt, lengths, answers):
    run = jax.jit(lambda params, *given: rank(network(variant), params, "text", *given[:2], answers_BxCxT=given[2]))
    return run(drawn(variant), prompt, lengths, answers)


@pytest.mark.parametrize("variant", CHANGES)
def test_answers_are_ranked_by_their_likelihood(variant):
    prompt, lengths = prompts()
    rng = np.random.default_rng(9)
    answers, sizes = rng.integers(0, VOCAB, (4, 3, 5)), rng.integers(1, 6, (4, 3))
    sizes[2, 1] = 0
    answers = np.where(np.arange(5)[None, None] < sizes[..., None], answers, -1)
    sums, counts = ranked(variant, prompt, lengths, jnp.asarray(answers))
    np.testing.assert_array_equal(counts, sizes)
    for row, length, answers_CxT, sums_C in zip(prompt, lengths, answers, sums, strict=True):
        for answer, found in zip(answers_CxT, sums_C, strict=True):
            text, expected = row[:length].tolist(), 0.0
            for token in answer[answer >= 0].tolist():
                expected += float(whole(variant)(text)[token])
                text.append(token)
            # float32: up to five log-probabilities of order 10 are added.
            assert float(found) == pytest.approx(expected if (answer >= 0).any() else NEVER, rel=1e-5)


@pytest.mark.parametrize(
    ("strategy", "mesh", "variant"),
    [
        ("data", "any", "plain"),
        ("fsdp_tensor", "data2_fsdp2_tensor2", "plain"),
        ("fsdp_tensor", "data2_fsdp2_tensor2", "qk_norm"),
    ],
)
def test_eight_devices_write_what_one_writes(strategy, mesh, variant):
    """The cache is split like a row of tokens: by example, and by heads, unless all heads share keys."""
    model, here = network(variant), build_mesh(MESHES[mesh])
    _, abstract = creator(lambda: init_params(model, jax.random.key(0)), here, strategy)
    params = jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), drawn(variant), abstract)
    rows = jax.sharding.NamedSharding(here, jax.sharding.PartitionSpec(("data", "fsdp")))
    how = {"limit": LIMIT, "eos": EOS, "pad": PAD}
    run = jax.jit(lambda params, prompt, lengths: generate(model, params, "text", prompt, lengths, **how))
    with use_mesh(here, strategy):
        placed = jax.device_put(prompts(8), rows)
        found = run(params, *placed)
        text = run.lower(params, *placed).as_text()
    np.testing.assert_array_equal(found, written(variant, rows=8))
    config = model.config
    cache = f"tensor<{config.layers}x8x13x{config.groups}x{config.head_width}xf32>"
    constraints = [line for line in text.splitlines() if "sharding_constraint" in line and cache in line]
    assert constraints and all('"data", "fsdp"' in line for line in constraints), "the cache is not split"
