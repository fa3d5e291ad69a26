"""Compiling as the ledger hears of it, and a cache whose writer was killed."""

import subprocess
import sys
import threading
import zlib

import jax
import jax.numpy as jnp
import pytest

from xling_jax.ledger import Ledger
from xling_jax.train import compiling
from xling_jax.train.compiling import COMPILING, DURATIONS, HIT, drop_torn, watch_compiling


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


def test_torn_entries_are_removed(tmp_path):
    whole = zlib.compress(b"a program" * 1000)
    for number in range(12):
        (tmp_path / f"jit-{number:02}-cache").write_bytes(whole)
    (tmp_path / "jit-20-cache").write_bytes(whole[:-9])
    (tmp_path / "jit-21-cache").write_bytes(b"")
    (tmp_path / "jit-22-cache").write_bytes(bytes.fromhex("28b52ffd") + b"of another kind")
    drop_torn(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"jit-{n:02}-cache" for n in (*range(12), 22)]
    drop_torn(tmp_path / "not there")


TWICE = """
import pathlib, sys, warnings
import jax, jax.numpy as jnp
from xling_jax.train.compiling import drop_torn
warnings.simplefilter("error")
folder = pathlib.Path(sys.argv[1])
drop_torn(folder)
jax.config.update("jax_compilation_cache_dir", str(folder))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((4, 4))).block_until_ready()
print(hits.count("/jax/compilation_cache/cache_hits"), hits.count("/jax/compilation_cache/cache_misses"))
"""


@pytest.mark.slow
def test_what_was_torn_is_compiled_once_more_and_then_kept(tmp_path):
    """With JAX's own cache, in processes of their own: nothing is torn, then a program is, then nothing again."""

    def run():
        command = [sys.executable, "-c", TWICE, str(tmp_path)]
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout.split()

    _, compiled = run()
    assert run() == [compiled, "0"]
    for path in tmp_path.glob("jit__lambda*-cache"):
        path.write_bytes(path.read_bytes()[:-20])
    assert run()[1] == "1", "compiled once more, without a warning"
    assert run() == [compiled, "0"]
