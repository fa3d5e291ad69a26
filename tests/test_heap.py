"""Memory that is freed: what is kept for the next step, and what is given back."""

import ctypes
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LARGE = 3 * 10**8
# A process is needed, for what glibc is told lasts. It "trains": a large buffer comes and goes, and before and after it
# goes small things come, which stay. NumPy allocates as XLA does.
PROGRAM = f"""
import contextlib, ctypes, json, resource, sys, numpy
from xling_jax import heap

class Mallinfo2(ctypes.Structure):  # malloc.h
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
kept = heap.large_kept if "large_kept" in sys.argv else contextlib.nullcontext

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def steps(count):
    for step in range(count):
        large = numpy.empty({LARGE}, numpy.uint8)
        mapped = libc.mallinfo2().hblkhd
        if step == count - 1:
            large[:] = 1
        small.extend(bytearray(1000 + 700 * step) for _ in range(20))
        del large
        small.extend(bytearray(1000 + 700 * step) for _ in range(20))
    return mapped

small, found = [], {{}}
if "keep_memory" in sys.argv:
    heap.keep_memory()
with kept():
    steps(1)
    small.extend(bytearray(30_000) for _ in range(9_000))  # as compiling does
    heap.set_apart()
    with kept():  # as evaluation inside training
        steps(1)
    before = libc.mallinfo2().arena
    found["mapped"] = steps(40)
    found["grown"] = libc.mallinfo2().arena - before
    held = resident()
found["given back"] = held - resident()
found["mapped afterwards"] = steps(1)
print(json.dumps(found))
"""


def found(*told: str) -> dict[str, int]:
    run = subprocess.run([sys.executable, "-c", PROGRAM, *told], cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc from 2.33 on")
def test_large_memory_is_kept_while_programs_run_and_then_given_back():
    kept = found("keep_memory", "large_kept")
    assert kept["mapped"] < LARGE, "the buffer is at a place that is kept, and not mapped by itself"
    assert kept["grown"] < LARGE / 2, "small things have not taken that place, so that another was needed"
    assert kept["given back"] > LARGE / 2
    for others in (found("keep_memory"), found("large_kept"), found()):  # nobody is told anything who did not ask
        assert others["mapped"] >= LARGE
        assert others["given back"] < LARGE / 2
    assert kept["mapped afterwards"] >= LARGE
