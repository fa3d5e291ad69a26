"""Compiling as the ledger hears of it."""

import threading

import jax
import jax.numpy as jnp
import pytest

from xling_jax.ledger import Ledger
from xling_jax.train import compiling
from xling_jax.train.compiling import COMPILING, DURATIONS, HIT, watch_compiling


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(compiling.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(compiling, "_spans", compiling._Spans())
    return now


def test_what_is_traced_within_is_counted_once(clock):
    """From 100 on: an inner trace of 2 s, another of 1 s, both inside an outer one of 5 s; then 4 s of compiling."""
    trace, _, compile_ = DURATIONS
    with Ledger().event("train", "a", 0) as event:
        for at, name, seconds in (
            (102.0, trace, 2.0),
            (104.0, trace, 1.0),
            (105.0, trace, 5.0),
            (110.0, compile_, 4.0),
        ):
            clock[0] = at
            compiling._took(name, seconds)
    assert event.spent == {"compile": 9.0} and event.counts == {"compiled": 1}


def test_a_program_from_the_cache_is_not_compiled(clock):
    with Ledger().event("train", "a", 0) as event:
        compiling._happened("/jax/compilation_cache/cache_misses")
        compiling._took(COMPILING, 1.0)
        compiling._happened(HIT)
        clock[0] += 1
        compiling._took(COMPILING, 0.5)
    assert event.counts == {"compiled": 1, "cached": 1} and event.spent == {"compile": 1.5}


def test_who_compiles_pays(clock):
    ledger = Ledger()
    with ledger.event("train", "a", 0) as mine, ledger.event("evaluate", "a") as inner:
        thread = threading.Thread(target=lambda: compiling._took(COMPILING, 3.0))
        thread.start()
        thread.join()
        compiling._took("/jax/checkpoint/write/durations_sec", 3.0)
        assert not mine.spent and not inner.spent, "neither another thread's compiling nor anything else"
        compiling._took(COMPILING, 2.0)
    assert not mine.spent and inner.spent == {"compile": 2.0}
    compiling._took(COMPILING, 1.0)  # nobody's


def test_jax_says_so():
    """With JAX itself: names of its events may change with its version."""
    watch_compiling()
    function = jax.jit(lambda x: jnp.sin(x) * 3 + 1)
    with Ledger().event("train", "a", 0) as event:
        function(jnp.ones((3,))).block_until_ready()
    programs = event.counts.get("compiled", 0) + event.counts.get("cached", 0)
    assert programs >= 1 and event.spent["compile"] > 0
    with Ledger().event("train", "a", 0) as event:
        function(jnp.ones((3,))).block_until_ready()
    assert not event.counts and not event.spent
