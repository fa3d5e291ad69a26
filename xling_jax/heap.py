"""What glibc does with memory that is freed; other C libraries are left alone.

XLA's CPU backend allocates the buffers of a program anew each time it is run. By default glibc gives large ones back to
the system each time, which then has to map and clear as many pages again.
"""

import contextlib
import ctypes
import functools
import sys
import threading
from collections.abc import Generator
from typing import Any

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -2, -3, -4, -8  # malloc.h
LARGE = 2**25  # bytes, the most that glibc can be told to keep among other things
MAPPED = 65536  # times that larger things may be mapped by themselves: glibc's default
RESERVE = 2**28  # bytes


@functools.cache
def _glibc() -> Any:
    """Returns the C library of this process, None if it is another one."""
    libc: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        return None
    libc.malloc.restype = libc.realloc.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    return libc


class _Heap:
    """What this process was told."""

    def __init__(self):
        self.lock = threading.Lock()
        self.keeps = False  # whether `keep_memory` was called
        self.users = 0  # of `large_kept`
        self.fence: int | None = None  # what stands behind the reserve


_heap = _Heap()


def keep_memory() -> None:
    """Tells glibc to keep freed memory: 500 steps of the small encoder took 74 s of processor time instead of 130.

    What is larger than 32 MiB is given back all the same: kept among small things, it leaves gaps that the next one
    does not fit. For those `cli.py` tells glibc more, and there is `large_kept`.
    """
    if libc := _glibc():
        for option, value in ((MMAP_THRESHOLD, LARGE), (ARENA_MAX, 1), (TRIM_THRESHOLD, -1), (TOP_PAD, RESERVE)):
            libc.mallopt(option, value)
        _heap.keeps = True


@contextlib.contextmanager
def large_kept() -> Generator[None]:
    """Keeps everything that is freed while this runs, if `keep_memory` was called; then gives back what is free.

    For as long as the same programs run again and again: each finds the place for its buffers as it has left it.
    """
    libc = _glibc() if _heap.keeps else None
    if libc is None:
        yield
        return
    with _heap.lock:
        _heap.users += 1
        if _heap.users == 1:
            libc.mallopt(MMAP_MAX, 0)
    set_apart()
    try:
        yield
    finally:
        with _heap.lock:
            _heap.users -= 1
            if not _heap.users:
                libc.mallopt(MMAP_MAX, MAPPED)
                libc.free(_heap.fence)
                _heap.fence = None
                libc.malloc_trim(0)


def set_apart() -> None:
    """Makes a free place for small things while large ones are kept; to be called when no program is running.

    They are taken from the smallest place that they fit. Without this one, that is soon the place of a program's
    buffers, which then do not fit there the next time: a step of XLM-R base came to hold 13 GiB instead of 6. What
    compiles uses it up, so after that another one is needed.
    """
    with _heap.lock:
        if _heap.users and (libc := _glibc()):
            libc.free(_heap.fence)
            reserve, fence = libc.malloc(RESERVE), libc.malloc(RESERVE)  # as large as that, it stands behind
            libc.free(reserve)
            _heap.fence = libc.realloc(fence, 1) if fence else None
