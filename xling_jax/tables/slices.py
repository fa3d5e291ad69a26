"""Chips, one row a generation, and slices of them under the names that clouds sell them by.

A chip's memory bandwidth and links are those of "How to Scale Your Model" (Austin et al. 2025,
jax-ml.github.io/scaling-book), table "TPU specs"; of the H100 (SXM) those of NVIDIA's data sheet. Memory is what the
compiler says there is for a program: a little less than what is sold; of the H100, whose compiler asks for no limit,
all of it. The CPU's numbers are an example and mean nothing: put your own.

Prices are list prices on demand in the US, as remembered and not looked up. THEY CHANGE: put those of your contract.
"""

import dataclasses
import math
from typing import Any

from xling_jax.errors import choose
from xling_jax.tables.peaks import PEAKS

GIB = 2**30
WHERE = "Slices follow from rows of xling_jax/tables/slices.py."
PRICES_CHANGE = "Prices change: put your own into xling_jax/tables/slices.py."


@dataclasses.dataclass(frozen=True)
class Chip:
    """A generation of chips, for programs in bfloat16.

    `platform` is the compiler's: tpu, cuda or cpu; `topology` its own name of the generation. `memory` in bytes;
    `flops` at most in a second; `bandwidth` of its memory and `link` in bytes a second, one way over one of `links`.
    `price` of a chip for an hour in dollars, as of `priced`. `counted` is how many a cloud's name counts for each chip
    (cores of v4 and v5p). Up to `alone` chips are one host, larger slices have `host` chips on each. `sold` is what
    Google's cloud calls the generation in the names of slices, `runtime` the software of its machines
    (cloud.google.com/tpu/docs/runtimes).
    """

    name: str
    platform: str
    topology: str
    memory: int
    flops: float
    bandwidth: float
    link: float
    links: int
    price: float
    priced: str
    shapes: str
    counted: int = 1
    alone: int = 4
    host: int = 4
    sold: str = ""
    runtime: str = ""


_CUBES = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8"
_SQUARES = "1x1 2x2 2x4 4x4 4x8 8x8 8x16 16x16"

_V4: dict[str, Any] = {"sold": "v4", "runtime": "tpu-ubuntu2204-base"}
_V5E: dict[str, Any] = {"sold": "v5litepod", "runtime": "v2-alpha-tpuv5-lite"}
_V5P: dict[str, Any] = {"sold": "v5p", "runtime": "v2-alpha-tpuv5"}
_V6E: dict[str, Any] = {"sold": "v6e", "runtime": "v2-alpha-tpuv6e"}

_ROWS = (
    # name, platform, topology, memory, flops, bandwidth, link, links, price, priced, shapes
    Chip("v4", "tpu", "v4", int(30.75 * GIB), PEAKS["TPU v4"], 1.2e12, 45e9, 6, 3.22, "2025", _CUBES, counted=2, **_V4),
    Chip(
        "v5e",
        "tpu",
        "v5e",
        int(15.75 * GIB),
        PEAKS["TPU v5 lite"],
        0.81e12,
        45e9,
        4,
        1.20,
        "2025",
        _SQUARES,
        alone=8,
        **_V5E,
    ),
    Chip(
        "v5p", "tpu", "v5p", int(95.74 * GIB), PEAKS["TPU v5"], 2.8e12, 90e9, 6, 4.20, "2025", _CUBES, counted=2, **_V5P
    ),
    Chip(
        "v6e",
        "tpu",
        "v6e",
        int(31.25 * GIB),
        PEAKS["TPU v6 lite"],
        1.6e12,
        90e9,
        4,
        2.70,
        "2025",
        _SQUARES,
        alone=8,
        **_V6E,
    ),
    Chip(
        "h100",
        "cuda",
        "h100",
        80 * 10**9,
        PEAKS["NVIDIA H100 80GB HBM3"],
        3.35e12,
        25e9,
        18,
        11.06,
        "2025",
        "1 2 4 8",
        alone=8,
        host=8,
    ),
    Chip("cpu", "cpu", "cpu", 16 * GIB, 0.1e12, 0.02e12, 1e9, 1, 0.05, "2025", "1 2 4 8", alone=8, host=8),
)
CHIPS = {row.name: row for row in _ROWS}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are joined by links: a cloud's name for them, which chips, and how they are laid out."""

    name: str
    chip: Chip
    shape: str

    @property
    def chips(self) -> int:
        return math.prod(int(size) for size in self.shape.split("x"))

    @property
    def hosts(self) -> int:
        """Returns how many machines the chips are attached to."""
        return 1 if self.chips <= self.chip.alone else self.chips // self.chip.host

    @property
    def sold(self) -> str:
        """Returns Google's name of a slice of TPUs, "v5litepod-64"."""
        return f"{self.chip.sold}-{self.name.rpartition('-')[2]}"

    @property
    def topology(self) -> str:
        """Returns the compiler's name, "v5e:8x8"."""
        return f"{self.chip.topology}:{self.shape}"


def _slices(chip: Chip) -> dict[str, Slice]:
    made = [Slice("", chip, shape) for shape in chip.shapes.split()]
    named = [dataclasses.replace(each, name=f"{chip.name}-{each.chips * chip.counted}") for each in made]
    return {each.name: each for each in named}


SLICES = {name: row for chip in _ROWS for name, row in _slices(chip).items()}
ALIASES = {"v5litepod": "v5e", "tpu-v5p": "v5p", "trillium": "v6e"}  # what clouds also call a generation


def slice_of(name: str, inside: str = "") -> Slice:
    """Returns the slice of a cloud's name (v5e-64, v4-128); ConfigError with suggestions if there is none.

    The numbers of v4 and v5p count cores, two of a chip: v4-128 has 64 chips.
    """
    generation, dash, count = name.rpartition("-")
    return choose("topology", ALIASES.get(generation, generation) + dash + count, SLICES, WHERE, inside)


def of_generation(chip: str) -> tuple[Slice, ...]:
    """Returns all slices of a generation, the smallest first; ConfigError if there is no such chip."""
    row = choose("chip", chip, CHIPS, "Chips are rows of xling_jax/tables/slices.py.")
    return tuple(each for each in SLICES.values() if each.chip == row)
