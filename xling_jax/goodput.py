"""What a run's wall time went to, from its ledger: goodput is the share that was spent in training steps that count.

Wall time is that of the sessions together; time between them is nobody's. Where several threads are at work, each
moment is divided among them equally, so that the parts add up to the wall time. In a thread the innermost event has
the time.

A step counts unless it was done again: if a stage goes on from step r, what an earlier session did beyond r is lost,
and so is what it did after its last mark if it was killed.
"""

import collections
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xling_jax.ledger import CACHED, COMPILED, KINDS, LOST, STEPS, TRAIN, read_lines, time_of


@dataclasses.dataclass
class Piece:
    """A piece of an event between two of its marks.

    It went from step `first` to `last`; None where nobody knows how far it came. `begins`: it is the first piece.
    `seconds` are its own, what is inside other events left out; `share` is what it has of them where several threads
    are at work. `spent` went to other things.
    """

    name: str
    stage: str | None
    first: int = 0
    last: int | None = None
    begins: bool = False
    seconds: float = 0.0
    share: float = 0.0
    spent: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def split(self) -> dict[str, float]:
        """Returns what its share went to; its own name has the rest."""
        whole = max(self.seconds, sum(self.spent.values())) or 1.0
        parts = {name: self.share * seconds / whole for name, seconds in self.spent.items()}
        return parts | {self.name: self.share - sum(parts.values())}


@dataclasses.dataclass(frozen=True)
class Goodput:
    """What a run's time went to: `seconds` by the names of KINDS, those without any left out; they add up to `wall`.

    `compiled` and `cached`: how many programs were compiled, and how many read from the cache. `killed`: sessions that
    did not end by themselves.
    """

    seconds: Mapping[str, float]
    sessions: int
    killed: int
    compiled: int
    cached: int

    @property
    def wall(self) -> float:
        return sum(self.seconds.values())

    @property
    def goodput(self) -> float:
        """The share of wall time in steps that count."""
        return self.share(STEPS)

    def share(self, name: str) -> float:
        """Returns the share of wall time that something has."""
        return self.seconds.get(name, 0.0) / self.wall if self.wall else 0.0

    def text(self) -> str:
        """Returns a line for the terminal: goodput, and what has the rest of the time, the most first."""
        rest = sorted((name for name in self.seconds if name != STEPS), key=self.seconds.__getitem__, reverse=True)
        parts = [f"{name} {100 * self.share(name):.1f}%" for name in rest if self.share(name) >= 0.0005]
        killed = f", {self.killed} of them killed" if self.killed else ""
        sessions = f" in {self.sessions} sessions{killed}" if self.sessions > 1 else ""
        return (
            f"time: {self.wall:.0f} s{sessions}, {100 * self.goodput:.1f}% of it in training steps"
            + (f"; {', '.join(parts)}" if parts else "")
            + f". {self.compiled} programs compiled, {self.cached} read from the cache."
        )


class _Replay:
    """Lines of one session, in order, to pieces."""

    def __init__(self):
        self.pieces: list[Piece] = []
        self.counts: dict[tuple, Mapping[str, int]] = {}
        self._open: dict[int, tuple[int, Piece, Mapping[str, float]]] = {}  # id: lane, piece, spent before it
        self._lanes: dict[int, list[int]] = collections.defaultdict(list)  # ids, the innermost last
        self._now: float | None = None
        self.wall = 0.0
        self.killed = False

    def read(self, line: Mapping[str, Any]) -> None:
        """Takes a line."""
        self._pass_until(time_of(line))
        number = line.get("id", -1)
        if "begin" in line:
            piece = Piece(line["name"], line.get("stage"), line.get("step", 0), begins=True)
            self._open[number] = line["lane"], piece, {}
            self._lanes[line["lane"]].append(number)
            self.pieces.append(piece)
        elif number in self._open:
            self._cut(number, line)

    def _pass_until(self, at: float) -> None:
        """Gives the time since the last line to whoever is at work."""
        before, self._now = self._now, at if self._now is None else max(at, self._now)
        if before is None:
            return
        passed = self._now - before
        self.wall += passed
        busy = [ids[-1] for ids in self._lanes.values() if ids]
        for number in busy:
            piece = self._open[number][1]
            piece.seconds += passed
            piece.share += passed / len(busy)

    def _cut(self, number: int, line: Mapping[str, Any]) -> None:
        """Ends a piece; a mark begins another one."""
        lane, piece, before = self._open[number]
        if line.get("killed"):
            self.killed = True
        else:
            spent = line.get("spent", {})
            piece.spent = {name: seconds - before.get(name, 0.0) for name, seconds in spent.items()}
            piece.last = line.get("step")
            self.counts[line["session"], number] = line.get("counts", {})
        if "end" in line:
            del self._open[number]
            self._lanes[lane].remove(number)
            return
        following = Piece(piece.name, piece.stage, piece.last if piece.last is not None else piece.first)
        self._open[number] = lane, following, line.get("spent", {})
        self.pieces.append(following)


def goodput(path: pathlib.Path) -> Goodput | None:
    """Returns what the time of a ledger went to; None if there is no ledger, or nothing in it."""
    sessions: dict[int, _Replay] = {}
    for line in read_lines(path):
        sessions.setdefault(line["session"], _Replay()).read(line)
    if not sessions:
        return None
    replays = [sessions[number] for number in sorted(sessions)]
    pieces = [piece for replay in replays for piece in replay.pieces]
    seconds: dict[str, float] = collections.defaultdict(float)
    for name, share in _split(pieces):
        seconds[name] += share
    wall = sum(replay.wall for replay in replays)
    seconds["other"] += max(0.0, wall - sum(seconds.values()))
    counts: collections.Counter[str] = collections.Counter()
    for replay in replays:
        for counted in replay.counts.values():
            counts.update(counted)
    known = {name: seconds[name] for name in KINDS if seconds.get(name)}
    killed = sum(replay.killed for replay in replays)
    return Goodput(known, len(replays), killed, counts[COMPILED], counts[CACHED])


def _split(pieces: Sequence[Piece]) -> Iterator[tuple[str, float]]:
    """Yields (name of KINDS, seconds) of every piece; what an event of another name took is "other"."""
    again = _begun_again(pieces)
    for piece, step in zip(pieces, again, strict=True):
        for name, share in piece.split.items():
            if name == TRAIN:
                lost = _lost(piece, step)
                yield LOST, share * lost
                yield STEPS, share * (1 - lost)
            else:
                yield name if name in KINDS else "other", share


def _begun_again(pieces: Sequence[Piece]) -> list[int | None]:
    """Returns for each piece the lowest step that its stage went on from in a later event; None if there is none."""
    lowest: dict[str | None, int] = {}
    found: list[int | None] = []
    for piece in reversed(pieces):
        again = lowest.get(piece.stage) if piece.name == TRAIN else None
        found.append(again)
        if piece.name == TRAIN and piece.begins:
            lowest[piece.stage] = piece.first if again is None else min(piece.first, again)
    return found[::-1]


def _lost(piece: Piece, again: int | None) -> float:
    """Returns the share of a piece's steps that were done again."""
    if again is None:
        return 0.0
    if piece.last is None:  # killed: whatever was saved has a mark, and this comes after it
        return 1.0
    if piece.last == piece.first:
        return float(again <= piece.first)
    return min(1.0, max(0.0, (piece.last - max(again, piece.first)) / (piece.last - piece.first)))
