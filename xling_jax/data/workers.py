"""Preparing many cells with many processes.

A cell larger than its share of the work is divided: this process reads and writes it, the others make its features.
The rest are done side by side, a process each, and those read and write by themselves.
"""

import collections
import concurrent.futures
import concurrent.futures.process
import multiprocessing
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from xling_jax.data.prepare import is_prepared, prepare
from xling_jax.data.sources import size
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.errors import DataError
from xling_jax.experiment import Part

SMALL = 16 << 20  # bytes that one process prepares before others have started
ASK_EVERY = 2.0  # seconds of preparing a cell
_TOKENIZER: list[Tokenizer] = []  # of a process that prepares: it is sent there once


def _begin(tokenizer: Tokenizer) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # the process that started this one is told, and stops
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _TOKENIZER[:] = [tokenizer]


def _leave_with_parent() -> None:
    """Ends this process when the one that started it is gone, even if that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this runs in processes that were started to prepare"
    parent.join()
    os._exit(1)


def _with_tokenizer(function: Callable, first, second, *more):
    return function(first, second, _TOKENIZER[0], *more)


def _prepare_here(part: Part, root: pathlib.Path, tokenizer: Tokenizer, data_dir: pathlib.Path | None) -> None:
    prepare(part, tokenizer, root, data_dir)


def _ordered(pool: concurrent.futures.Executor, ahead: int) -> Callable:
    """Returns a `map` over a pool that keeps the order and is at most `ahead` items in front of who reads it."""

    def each(function: Callable, items: Iterable, parts: Iterable, tokenizers: Iterable) -> Iterator:
        waiting: collections.deque = collections.deque()
        for item, part, _ in zip(items, parts, tokenizers, strict=False):
            waiting.append(pool.submit(_with_tokenizer, function, item, part))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    return each


def _asking(pause: Callable[[], None], each: Callable) -> Callable:
    """Returns `each`, a `map`, with `pause` called every few seconds between two items."""

    def asking(*arguments: Any) -> Iterator:
        asked = time.monotonic()
        for made in each(*arguments):
            yield made
            if time.monotonic() - asked > ASK_EVERY:
                pause()
                asked = time.monotonic()

    return asking


def default_jobs() -> int:
    """Returns how many processes to prepare with: one for each core."""
    return len(os.sched_getaffinity(0))


def prepare_all(
    parts: Sequence[Part],
    tokenizer: Tokenizer,
    root: pathlib.Path,
    data_dir: pathlib.Path | None = None,
    *,
    jobs: int = 1,
    tell: Callable[[Part], None] = lambda part: None,
    pause: Callable[[], None] = lambda: None,
) -> None:
    """Prepares what is not there yet.

    Args:
      parts: what to prepare.
      tokenizer: the vocabulary.
      root: folder of all that is prepared.
      data_dir: the data folder, for tasks that are read from files.
      jobs: processes; what they make does not depend on their number.
      tell: gets each part as it is done.
      pause: called every few seconds while a large part is made; what it raises ends that.

    Raises:
      DataError: as `prepare`; what was done before stays.
    """
    missing = {part: size(part.cell, data_dir, part.count) for part in dict.fromkeys(parts)}
    for part in list(missing):
        if is_prepared(part, tokenizer, root, data_dir):
            del missing[part]
            tell(part)
    work = sum(missing.values())
    if jobs == 1 or work < SMALL:
        for part in missing:
            prepare(part, tokenizer, root, data_dir, _asking(pause, map))
            tell(part)
        return
    context = multiprocessing.get_context("spawn")  # threads of JAX and of ArrayRecord do not survive a fork
    with concurrent.futures.ProcessPoolExecutor(jobs, context, _begin, (tokenizer,)) as pool:
        try:
            large = [part for part, bytes_ in missing.items() if bytes_ > work / jobs]
            for part in large:
                prepare(part, tokenizer, root, data_dir, _asking(pause, _ordered(pool, 4 * jobs)))
                tell(part)
            rest = sorted(missing.keys() - set(large), key=lambda part: -missing[part])
            running = {pool.submit(_with_tokenizer, _prepare_here, part, root, data_dir): part for part in rest}
            for done in concurrent.futures.as_completed(running):
                done.result()
                tell(running[done])
        except concurrent.futures.process.BrokenProcessPool as error:
            raise DataError(
                "A process that prepared examples was killed, as a rule for want of memory.\n"
                f"Allowed: what {jobs} processes hold at once.\n"
                "Run the same command again; cells that were finished stay."
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)  # after the cells that are under way, so that no draft is left
            raise
