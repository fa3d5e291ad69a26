"""What a compiled program moves: bytes of a chip's memory and of its links, read from the compiler's text.

The text has each loop once. How often one runs is written beside it by some backends; on others it is the constant its
counter is compared with over the step that is added to it. Both hold for loops over layers, over micro-batches and over
the parts of a product; a loop whose end is not known ahead counts as `loops`.
"""

import dataclasses
import functools
import math
import re
from collections import Counter
from collections.abc import Iterator

SIZES = {"pred": 1, "bf16": 2, "token": 0, "opaque": 0} | {
    f"{kind}{bits}": max(1, bits // 8) for kind in "sufc" for bits in (4, 8, 16, 32, 64, 128)
}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# They name what is there, or are counted where what they do is done.
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id")
FREE += ("while", "conditional", "call", "async-start", "async-update", "async-done", "copy-done")

_TYPE = re.compile(r"(\w+)\[([\d,]*)\](\{[^}]*\})?")
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_NAMED = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_GROUPS = re.compile(r"replica_groups=(?:\[(\d+),(\d+)\]|\{\{([\d,]*)\})")
_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}")
_CALLED = re.compile(r"(?:calls|body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of the text: what it makes, by which operation, of what."""

    name: str
    shapes: tuple[tuple[int, bool], ...]  # bytes of each part of what it makes, and whether it lies in the main memory
    operation: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    @property
    def bytes(self) -> int:
        return sum(size for size, _ in self.shapes)

    @property
    def held(self) -> int:
        """Returns the bytes that lie in the chip's main memory, and not in a faster one beside it."""
        return sum(size for size, main in self.shapes if main)

    def attribute(self, name: str) -> str:
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return found.group(1) if found else ""


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Bytes of one chip in one call: read from and written to its memory; sent over its links, by kind."""

    moved: int
    collectives: dict[str, int]


Computation = dict[str, Instruction]


def _shapes(text: str) -> tuple[tuple[int, bool], ...]:
    found = []
    for kind, sizes, layout in _TYPE.findall(text):
        count = math.prod(int(size) for size in sizes.split(",") if size)
        found.append((count * SIZES.get(kind, 1), "S(" not in layout))  # S(1) is a memory on the core itself
    return tuple(found)


def _closing(text: str, begin: int) -> int:
    """Returns where the parenthesis that opens at `begin` is closed."""
    depth = 0
    for at in range(begin, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    return len(text) - 1


def _instruction(line: str) -> Instruction | None:
    found = _NAMED.match(line)
    if not found:
        return None
    body = line[found.end() :]
    end = _closing(body, 0) + 1 if body.startswith("(") else body.find(" ")
    kind, body = body[:end], body[end:].lstrip()
    opens = body.find("(")
    closes = _closing(body, opens)
    operands = tuple(re.findall(r"%([\w.\-]+)", body[opens:closes]))
    if body[:opens] in ("parameter", "constant"):
        operands = (body[opens + 1 : closes],)
    return Instruction(
        found.group(2), _shapes(kind), body[:opens], operands, body[closes + 1 :], found.group(1) is not None
    )


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """Returns (the computations by name, the name of the one that is entered)."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in text.splitlines():
        if header := (None if line.startswith(" ") else _HEADER.match(line)):
            current = computations.setdefault(header.group(2), {})
            entry = header.group(2) if header.group(1) else entry
        elif current is not None and (made := _instruction(line)):
            current[made.name] = made
    return computations, entry


def traffic(text: str, devices: int, loops: int = 1) -> Traffic:
    """Returns what a program of so many devices moves. `loops`: how often a loop runs whose end is not known ahead."""
    computations, entry = parse(text)
    program = _Program(computations, devices, loops)
    moved = sum(times * program.moved(name) for name, times in program.runs(entry, 1))
    return Traffic(moved, program.collectives(entry))


class _Program:
    def __init__(self, computations: dict[str, Computation], devices: int, loops: int):
        self._computations, self._devices, self._loops = computations, devices, loops
        self.trips = functools.cache(self._trips)

    def _called(self, made: Instruction) -> list[str]:
        branches = re.search(r"branch_computations=\{([^}]*)\}", made.rest)
        names = _CALLED.findall(made.rest) + (re.findall(r"%?([\w.\-]+)", branches.group(1)) if branches else [])
        return [name for name in names if name in self._computations]

    def runs(self, name: str, times: int) -> Iterator[tuple[str, int]]:
        """Yields (computation, how often it runs) of all that stand on their own; what is fused is part of another."""
        yield name, times
        for made in self._computations[name].values():
            if made.operation in ("while", "conditional", "call", "async-start"):
                more = self.trips(name, made.name) if made.operation == "while" else 1
                for called in self._called(made):
                    yield from self.runs(called, times * more)

    def _trips(self, name: str, loop: str) -> int:
        """Returns how often a loop runs."""
        made = self._computations[name][loop]
        known = re.search(r"known_trip_count[^\d]*(\d+)", made.rest)
        if known:
            return int(known.group(1))
        condition = self._computations.get(made.attribute("condition"), {})
        limits = [limit for limit in self._constants(condition) if limit > 0]
        return math.ceil(max(limits) / self._step(made.attribute("body"))) if limits else self._loops

    def _constants(self, computation: Computation) -> Iterator[int]:
        for made in computation.values():
            if made.operation == "constant" and re.fullmatch(r"-?\d+", made.operands[0]):
                yield int(made.operands[0])
            if made.operation == "fusion":
                yield from self._constants(self._computations.get(made.attribute("calls"), {}))

    def _step(self, body: str) -> int:
        """Returns what the counter of a loop grows by: what is added to a part of its state that takes that place."""
        lines = self._computations.get(body, {})
        root = next((made for made in lines.values() if made.root), None)
        for place, operand in enumerate(root.operands if root else ()):
            added = lines.get(operand)
            if added is None or added.operation != "add" or added.bytes != 4:
                continue
            parts = [lines[name] for name in added.operands if name in lines]
            same = any(part.attribute("index") == str(place) for part in parts)
            numbers = [int(part.operands[0]) for part in parts if part.operation == "constant"]
            if same and numbers and numbers[0] > 1:
                return numbers[0]
        return 1

    def collectives(self, entry: str) -> dict[str, int]:
        """Returns the bytes that a chip sends, by kind.

        A compiler that hides a collective behind other work repeats it in the text: those of one channel are one.
        """
        channels: dict[tuple[str, str], int] = {}
        for name, made, times in self._everything(entry, 1):
            kind = made.operation.removesuffix("-start")
            if kind in COLLECTIVES:
                kind = "reduce-scatter" if "all-reduce-scatter" in name and kind == "all-reduce" else kind
                channel = made.attribute("channel_id") or f"{name}/{made.name}"
                sent = times * self._sent(kind, made, self._computations[name])
                channels[kind, channel] = max(sent, channels.get((kind, channel), 0))
        found: Counter[str] = Counter()
        for (kind, _), sent in channels.items():
            found[kind] += sent
        return dict(sorted(found.items()))

    def _everything(self, name: str, times: int) -> Iterator[tuple[str, Instruction, int]]:
        """Yields every instruction, those of fused computations too, and how often it runs."""
        for made in self._computations[name].values():
            yield name, made, times
            more = self.trips(name, made.name) if made.operation == "while" else 1
            for called in self._called(made):
                yield from self._everything(called, times * more)

    def _sent(self, kind: str, made: Instruction, lines: Computation) -> int:
        """Returns the bytes that one chip sends in a ring, which is as few as can be."""
        given = sum(lines[name].bytes for name in made.operands if name in lines)
        group = self._group(made)
        if kind == "collective-permute":
            return given
        if kind == "all-gather":
            return given * (group - 1)
        return given * (2 if kind == "all-reduce" else 1) * (group - 1) // max(group, 1)

    def _group(self, made: Instruction) -> int:
        """Returns how many chips take part, of groups that are listed, counted, or said as axes of a mesh."""
        if mesh := _MESH.search(made.rest):
            sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh.group(1))}
            # Of an axis 'a' all of it, or, as 'a':(4)2, 2 of what 4 others leave.
            axes = re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", mesh.group(2))
            return math.prod(int(part) if part else sizes[name] for name, part in axes)
        found = _GROUPS.search(made.rest)
        if not found:
            return self._devices
        return int(found.group(2)) if found.group(2) else len(found.group(3).split(","))

    def moved(self, name: str) -> int:
        """Returns the bytes that the instructions of a computation read and write, each array once."""
        lines = self._computations[name]
        return sum(self._moved(made, lines) for made in lines.values())

    def _moved(self, made: Instruction, lines: Computation) -> int:
        if made.operation in FREE or made.operation.endswith("-done"):
            return 0
        if made.operation == "fusion":
            return self._fused(made, lines)
        given = [lines[name].held for name in made.operands if name in lines]
        if made.operation in ("dynamic-slice", "gather", "slice"):
            return 2 * made.held
        if made.operation in ("dynamic-update-slice", "scatter"):
            return 2 * sum(given[1:])
        return made.held + sum(given)

    def _fused(self, made: Instruction, lines: Computation) -> int:
        """Returns the bytes of a fusion: of what it only takes a slice of, or only writes one into, the slice."""
        inside = self._computations.get(made.attribute("calls"), {})
        places = {part.operands[0]: part for part in inside.values() if part.operation == "parameter"}
        total = 0
        for number, name in enumerate(made.operands):
            if name in lines and lines[name].held:
                total += self._read(places.get(str(number)), inside, lines[name].held)
        root = next((part for part in inside.values() if part.root), None)
        parts = [root] if root and root.operation != "tuple" else []
        if root and root.operation == "tuple":
            parts = [inside[name] for name in root.operands if name in inside]
        written = [self._written(part, inside) for part in parts]
        return total + (min(sum(written), made.held) if written else made.held)

    def _read(self, place: Instruction | None, inside: Computation, whole: int) -> int:
        if place is None:
            return whole
        users = [part for part in inside.values() if place.name in part.operands]
        slices = 0
        for user in users:
            if user.operation in ("dynamic-slice", "gather", "slice") and user.operands[0] == place.name:
                slices += user.bytes
            elif user.operation == "dynamic-update-slice" and user.operands[0] == place.name:
                continue  # written in place
            else:
                return whole
        return min(slices, whole) if users else whole

    def _written(self, part: Instruction, inside: Computation) -> int:
        while part.operation == "bitcast" and part.operands[0] in inside:
            part = inside[part.operands[0]]
        if part.operation == "dynamic-update-slice" and part.operands[1] in inside:
            return inside[part.operands[1]].bytes
        return part.bytes
