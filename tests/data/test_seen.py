"""Ids in little memory: what a dict says, in a fraction of its bytes."""

import tracemalloc

import pytest

from xling_jax.data import seen as module
from xling_jax.data.seen import Seen


def test_it_says_what_a_dict_says():
    found, expected = Seen(), {}
    for number in range(20_000):
        text = f"id {number * 7 % 15_000}"
        assert (text in found) == (text in expected)
        found[text] = expected[text] = number
    assert len(found) == len(expected) == 15_000
    assert all(found[text] == number for text, number in expected.items())
    assert "id 15000" not in found
    with pytest.raises(KeyError, match="id 15000"):
        found["id 15000"]


def test_hashes_that_begin_at_one_place_are_kept_apart(monkeypatch):
    monkeypatch.setattr(module, "_code", lambda text: 1024 * (1 + int(text)))
    found = Seen()
    for number in range(3000):
        found[str(number)] = number
    assert [found[str(number)] for number in range(3000)] == list(range(3000)) and "3000" not in found


def test_it_is_small():
    def size(make):
        tracemalloc.start()
        held = make()
        for number in range(60_000):
            held[f"{number:030}"] = number
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return taken / len(held)

    assert size(Seen) < 64, "bytes an id"
    assert size(dict) > 120, "what this is for"
