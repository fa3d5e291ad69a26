"""A program through the compiler of devices that are not here: does it fit, how much memory does it take, what moves.

Results are kept under a hash of what decides them: the program as it is given to the compiler, the slice, the effort
and the versions. (JAX's own cache cannot hold programs of devices that are not here.)
"""

import dataclasses
import hashlib
import json
import pathlib
import re
import time
from typing import Any

import jax

from xling_jax.errors import ConfigError
from xling_jax.eval.suite import write_text
from xling_jax.planner.hlo import traffic
from xling_jax.planner.topology import compiler
from xling_jax.tables.slices import Slice

VERSION = 1  # raise it when what is read off a compiled program changes
FAST, FULL = "fast", "full"  # efforts of the compiler
OUT_OF_MEMORY = re.compile(r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)")
FEWER = {"exec_time_optimization_effort": -1.0}  # passes of the TPU's compiler
UNTUNED = {"xla_gpu_enable_triton_gemm": False}  # tiles of those are found by trying them on a GPU
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What a compiler says of a program, in bytes of one chip.

    `peak` is the most that is held at once; where the program does not fit, what the compiler says it would need (of a
    fast compilation a few percent off). `temporaries` are what is neither argument nor result. `moved` and
    `collectives` are of one call, and empty where the program does not fit. `seconds` it took to compile.
    """

    fits: bool
    peak: int
    temporaries: int
    moved: int
    collectives: dict[str, int]
    seconds: float


def compile_for(
    lowered: Any, where: Slice, *, effort: str, loops: int = 1, cache: pathlib.Path | None = None
) -> Compiled:
    """Returns what the compiler says of a lowered program.

    Args:
      lowered: from `jax.jit(...).trace(...).lower()`, for devices of the slice.
      where: the slice.
      effort: "full"; or "fast", a third of the time, whose peak is 3 to 13% off and whose program is slower.
      loops: how often a loop runs whose end is not known ahead.
      cache: a folder for results; None for none.
    """
    path = cache / f"{_address(lowered, where, effort, loops)}.json" if cache else None
    if path and path.is_file():
        return Compiled(**json.loads(path.read_text(encoding="utf-8")))
    began = time.monotonic()
    options = {("tpu", FAST): FEWER, ("cuda", FAST): UNTUNED, ("cuda", FULL): UNTUNED}
    try:
        found = _read(lowered.compile(compiler_options=options.get((where.chip.platform, effort))), where, loops, began)
    except jax.errors.JaxRuntimeError as error:
        refused = too_large(str(error), time.monotonic() - began)
        if refused is None:
            said = str(error).splitlines()[0][:300]
            raise ConfigError(
                f"{compiler(where.chip.platform)} refuses the program for {where.name}: {said}\n"
                "Allowed: another mesh or strategy; a compiler of JAX's own version; --compile=none, which estimates."
            ) from error
        found = refused
    if path:
        write_text(path, json.dumps(dataclasses.asdict(found)) + "\n")
    return found


def too_large(message: str, seconds: float) -> Compiled | None:
    """Returns what a compiler's message says of a program that does not fit; None if it says something else."""
    found = OUT_OF_MEMORY.search(message)
    if not found or "RESOURCE_EXHAUSTED" not in message:
        return None
    needed, unit = found.group(1, 2)
    return Compiled(False, round(float(needed) * UNITS[unit]), 0, 0, {}, round(seconds, 1))


def _read(made: Any, where: Slice, loops: int, began: float) -> Compiled:
    memory = made.memory_analysis()
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = kept + memory.temp_size_in_bytes
    if where.chip.platform == "tpu":  # whose compiler knows how much of both is held at the same time
        peak = getattr(memory, "peak_memory_in_bytes", 0) or peak
    moves = traffic(made.as_text(), where.chips, loops)
    # A GPU's compiler asks for no limit; what is too large is told by the peak.
    fits = peak <= where.chip.memory
    seconds = round(time.monotonic() - began, 1)
    return Compiled(fits, peak, memory.temp_size_in_bytes, moves.moved, moves.collectives, seconds)


def _address(lowered: Any, where: Slice, effort: str, loops: int) -> str:
    decides = (VERSION, lowered.as_text(), where.topology, where.chip.memory, effort, loops, jax.__version__)
    return hashlib.sha256(repr((*decides, compiler(where.chip.platform))).encode()).hexdigest()[:16]
