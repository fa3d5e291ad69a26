"""Span corruption: nothing is lost, so much of it goes as is said, and rare lengths."""

import numpy as np
import pytest

from xling_jax.data.corruption import FEWEST, corrupt

EOS = 1
SENTINELS = tuple(range(999, 899, -1))


def parts(ids, sentinels=SENTINELS, seed=0):
    read, said = corrupt(ids, sentinels, EOS, np.random.default_rng(seed))
    assert read.dtype == said.dtype == np.int32
    assert read[-1] == said[-1] == EOS
    return read[:-1].tolist(), said[:-1].tolist()


def put_together(read, said):
    """Returns the text again: each sentinel's span in its place."""
    spans, last = {}, None
    for number in said:
        if number in SENTINELS:
            last = spans.setdefault(number, [])
        else:
            last.append(number)
    return [number for each in read for number in (spans[each] if each in SENTINELS else [each])]


@pytest.mark.parametrize("length", [FEWEST, 3, 7, 20, 128, 511])
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost(length, seed):
    ids = np.arange(10, 10 + length)
    read, said = parts(ids, seed=seed)
    assert put_together(read, said) == ids.tolist()
    used = [number for number in read if number in SENTINELS]
    assert used == list(SENTINELS[: len(used)]) == [number for number in said if number in SENTINELS]


def test_as_much_goes_as_was_published():
    counts = np.array([[len(said) - spans, spans] for said, spans in map(_counted, range(50))])
    gone, spans = counts.sum(0)
    assert (gone, spans) == (50 * 75, 50 * 25), "15% of 500 tokens, in spans of 3"


def _counted(seed):
    _, said = parts(np.arange(10, 510), seed=seed)
    return said, sum(number in SENTINELS for number in said)


def test_every_place_can_go_and_a_seed_decides():
    gone = set()
    for seed in range(300):
        read, _ = parts(np.arange(10, 30), seed=seed)
        gone |= set(range(10, 30)) - set(read)
    assert gone == set(range(10, 30))
    assert parts(np.arange(10, 30), seed=4) == parts(np.arange(10, 30), seed=4) != parts(np.arange(10, 30), seed=5)


def test_few_sentinels_make_longer_spans():
    read, said = parts(np.arange(10, 510), SENTINELS[:2])
    assert [number for number in read if number in SENTINELS] == list(SENTINELS[:2])
    assert len(said) == 75 + 2
    assert put_together(read, said) == list(range(10, 510))
