"""Searches against slow readings of what they promise, with a model whose next token depends on the last two only."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xling_jax.models.decoding import NEVER, beam, greedy, log_likelihood

VOCAB, PAD, START = 7, 0, 6
TABLE = np.random.default_rng(5).normal(0, 1.5, (30, VOCAB, VOCAB, VOCAB)).astype(np.float32)


def step(cache, tokens_N, positions_N):
    """Logits by place, the token before the last, and the last; the cache holds the tokens, and counts its calls."""
    before_N = cache["tokens"][0]
    logits = jnp.asarray(TABLE)[positions_N, before_N, tokens_N]
    return logits, {"tokens": tokens_N[None], "calls": cache["calls"] + 1}


def empty(rows: int) -> dict:
    return {"tokens": jnp.zeros((1, rows), jnp.int32), "calls": jnp.zeros((1, rows), jnp.int32)}


def after(text: list[int], start: int, place: int) -> np.ndarray:
    """Returns the log-probabilities of the next token."""
    before, last = ([0, start, *text])[-2:]
    logits = TABLE[place + len(text), before, last].astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def slow_greedy(start: int, limit: int, eos: tuple[int, ...], place: int = 0) -> list[int]:
    text: list[int] = []
    while len(text) < limit and not (text and text[-1] in eos):
        text.append(int(after(text, start, place).argmax()))
    return text + [PAD] * (limit - len(text))


def slow_beam(start, limit, eos, *, beams, penalty, place):
    """Returns (texts, scores), best first: what `beam` promises, with lists."""
    running, finished = [([], 0.0)], []
    while True:
        extended = [
            ([*text, token], score + log)
            for text, score in running
            for token, log in enumerate(after(text, start, place))
        ]
        length = len(extended[0][0])
        extended = sorted(extended, key=lambda pair: -pair[1])[: max(2, 1 + len(eos)) * beams]
        ends = [text[-1] in eos or length == limit for text, _ in extended]
        new = [
            (text, score / length**penalty)
            for (text, score), end in zip(extended[:beams], ends[:beams], strict=True)
            if end
        ]
        finished = sorted(finished + new, key=lambda pair: -pair[1])[:beams]
        running = [pair for pair, end in zip(extended, ends, strict=True) if not end][:beams]
        hopeless = len(finished) == beams and running and running[0][1] / length**penalty <= finished[-1][1]
        if length == limit or hopeless:
            return finished


@pytest.mark.parametrize("eos", [1, (1, 4)])
@pytest.mark.parametrize("limit", [1, 5, 9])
def test_greedy_against_a_slow_reading(eos, limit):
    starts, places = jnp.array([6, 2, 3, 5, 6]), jnp.array([0, 0, 4, 2, 11])
    search = jax.jit(lambda: greedy(step, empty(5), starts, limit=limit, eos=eos, pad=PAD, positions_N=places))
    ends = (eos,) if isinstance(eos, int) else eos
    expected = [slow_greedy(int(start), limit, ends, int(place)) for start, place in zip(starts, places, strict=True)]
    np.testing.assert_array_equal(search(), expected)
    if limit == 9:
        lengths = {len([token for token in text if token != PAD]) for text in expected}
        assert len(lengths) > 1, "texts of several lengths"


def test_greedy_stops_when_all_rows_have_ended():
    """Counted from outside: a step is not taken for rows that have all ended."""
    taken = []

    def counted(cache, tokens_N, positions_N):
        jax.debug.callback(lambda: taken.append(1), ordered=True)
        return jnp.full((3, VOCAB), -1.0).at[:, 1].set(jnp.where(positions_N >= jnp.array([0, 2, 1]), 5.0, -2.0)), cache

    search = jax.jit(lambda: greedy(counted, (), jnp.full(3, START), limit=20, eos=1, pad=PAD))
    texts = np.asarray(search())
    jax.effects_barrier()
    assert len(taken) == 3, "the last row ends with its third token"
    assert [int((text == 1).sum()) for text in texts] == [1, 1, 1]
    assert (texts[:, 3:] == PAD).all()


@pytest.mark.parametrize("eos", [1, (1, 4)])
@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("beams", [1, 2, 4])
def test_beam_against_a_slow_reading(beams, penalty, eos):
    limit, starts, places = 7, jnp.array([6, 2, 3, 5]), jnp.array([0, 3, 0, 9])
    how = {"limit": limit, "eos": eos, "pad": PAD, "beams": beams, "penalty": penalty, "positions_B": places}
    texts, scores = jax.jit(lambda: beam(step, empty(4), starts, **how))()
    ends = (eos,) if isinstance(eos, int) else eos
    for row, (start, place) in enumerate(zip(starts, places, strict=True)):
        expected = slow_beam(int(start), limit, ends, beams=beams, penalty=penalty, place=int(place))
        for number, (text, score) in enumerate(expected):
            assert texts[row, number].tolist() == text + [PAD] * (limit - len(text))
            assert float(scores[row, number]) == pytest.approx(score, rel=1e-5)
        assert (scores[row, len(expected) :] <= NEVER * 0.9).all(), "no more texts than were found"


def test_more_beams_find_what_is_likelier():
    """Not always so, but for this table; and the best of one beam is the greedy text."""
    start, how = jnp.full(1, 4), {"limit": 6, "eos": 1, "pad": PAD, "penalty": 0.0}
    found = {beams: jax.jit(functools.partial(beam, step, empty(1), start, beams=beams, **how))() for beams in (1, 5)}
    alone = jax.jit(lambda: greedy(step, empty(1), start, limit=6, eos=1, pad=PAD))()
    np.testing.assert_array_equal(found[1][0][:, 0], alone)
    assert float(found[5][1][0, 0]) > float(found[1][1][0, 0])


def test_likelihood_by_hand():
    logits = jnp.log(jnp.array([[[1.0, 3.0], [2.0, 2.0], [9.0, 1.0]]])).astype(jnp.bfloat16)
    found = log_likelihood(logits, jnp.array([[1, 0, -1]]))
    assert found.dtype == jnp.float32
    assert float(found[0]) == pytest.approx(np.log(3 / 4) + np.log(1 / 2), rel=1e-2), "bfloat16 logits"
    assert log_likelihood(logits, jnp.full((1, 3), -1)).tolist() == [0.0]
