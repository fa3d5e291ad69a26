"""Time and cost of a step from what it computes, moves and sends: bounds, never checked on a chip."""

import dataclasses

from xling_jax.tables.slices import PRICES_CHANGE, Slice

HOUR = 3600.0
COMPILED, ESTIMATED = "compiled", "estimated"  # how a program's figures came about
ASSUMPTIONS = (
    "time is a lower bound that was never checked on a chip: the longest of computing, memory and links, each at its "
    "published peak and hidden behind the others",
    "FLOPs are those of matrix products, counted in the traced program, what is computed again included",
    "bytes moved are those that the operations of the compiled program read and write, each array once; a fast "
    "compilation may move more than a full one",
    "every batch is full and as long as the stage's longest inputs; shorter buckets and packing take less",
    "links: each collective as a ring over all links of a chip at once, one way; a slice without wrap-around links may "
    "take twice that",
    "examples are those that publishers count, one feature each (long contexts become several); where nobody counts a "
    "language that is evaluated, as many as the largest of its split has",
    "start-up, compiling, saving, reading data, and decoding beyond its longest answer are not in it",
    PRICES_CHANGE,
)
NOT_COMPILED = (
    "what is estimated is so by sizes alone, without a compiler: memory is within a factor of two of what a compiler "
    "says, and corrected by how far it was off where the largest step was compiled"
)


@dataclasses.dataclass(frozen=True)
class Figures:
    """What one call of a program takes: `flops` of all chips together, everything else of one chip, in bytes.

    `method` is compiled or estimated; `effort` of the compiler. Where a program does not fit, its compiler says no
    more than how much memory it asks for.
    """

    method: str
    effort: str
    fits: bool
    peak: int
    parameters: int
    optimizer: int
    temporaries: int
    flops: int
    moved: int
    collectives: dict[str, int]
    tokens: int
    compile_seconds: float = 0.0

    @property
    def sent(self) -> int:
        return sum(self.collectives.values())


def seconds(figures: Figures, where: Slice) -> dict[str, float]:
    """Returns the least time of each of the three that a call needs."""
    chip = where.chip
    return {
        "compute": figures.flops / where.chips / chip.flops,
        "memory": figures.moved / chip.bandwidth,
        "links": figures.sent / (chip.link * chip.links),
    }


def step_seconds(figures: Figures, where: Slice) -> float:
    """Returns the least time of a call: nothing is faster than its slowest part."""
    return max(seconds(figures, where).values())


def bound(figures: Figures, where: Slice) -> str:
    """Returns which part is the slowest."""
    parts = seconds(figures, where)
    return max(parts, key=lambda name: parts[name])


def chip_hours(figures: Figures, where: Slice, calls: float) -> float:
    """Returns the hours of all chips that so many calls take."""
    return calls * step_seconds(figures, where) * where.chips / HOUR
