"""Compiling: its seconds and programs, told to the event under way in the thread that compiles."""

import collections
import functools
import threading
import time

import jax

from xling_jax.ledger import CACHED, COMPILE, COMPILED, current

# What JAX reports when it is over. Tracing a function traces those inside it, so durations may lie within each other.
DURATIONS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",  # reading a program from the cache is part of it
)
COMPILING = DURATIONS[-1]
HIT = "/jax/compilation_cache/cache_hits"
REMEMBERED = 4096  # durations that may turn out to lie within a longer one


class _Spans(threading.local):
    """What was reported in a thread: (begin, seconds), none within another."""

    def __init__(self):
        self.found: collections.deque[tuple[float, float]] = collections.deque(maxlen=REMEMBERED)

    def add(self, end: float, seconds: float) -> float:
        """Returns how many of the seconds are new."""
        begin, known = end - seconds, 0.0
        while self.found and self.found[-1][0] >= begin:
            known += self.found.pop()[1]
        self.found.append((begin, seconds))
        return max(0.0, seconds - known)


_spans = _Spans()


def _took(event: str, duration_secs: float, **_) -> None:
    under_way = current()
    if event in DURATIONS and under_way is not None:
        under_way.spend(COMPILE, _spans.add(time.monotonic(), duration_secs))
        if event == COMPILING:
            under_way.count(COMPILED)


def _happened(event: str, **_) -> None:
    under_way = current()
    if event == HIT and under_way is not None:  # the program is reported as compiled, too
        under_way.count(CACHED)
        under_way.count(COMPILED, -1)


@functools.cache
def watch_compiling() -> None:
    """Begins to listen, once for the process."""
    jax.monitoring.register_event_duration_secs_listener(_took)
    jax.monitoring.register_event_listener(_happened)
