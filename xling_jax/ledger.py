"""Where the wall time of a run goes: WORKDIR/time.jsonl, appended to as things begin and end.

    {"session": 0, "id": 3, "begin": T, "name": "train", "stage": "pretrain-1f", "lane": 1, "step": 0}
    {"session": 0, "id": 3, "at": T, "step": 50, "spent": {"input": 0.2}, "counts": {}}       a mark: 50 steps are done
    {"session": 0, "at": T}                                                                   a sign of life
    {"session": 0, "id": 3, "end": T, "step": 100, "spent": {...}, "counts": {...}}
    {"session": 0, "id": 3, "end": T, "killed": true}                                         the next session says so

Workers of one folder write a file each, WORKDIR/time-WORKER.jsonl; whoever reads time.jsonl reads all of them.
T is in seconds since 1970. A session is a process at work in the folder, a lane a thread of it. What is too short for
an event of its own is added up inside one (`spent`, in seconds, and `counts`). A line is written whole or is the last
one, so nothing but that line is lost to kill -9: what was under way then ends at the last sign of life, at most PULSE
seconds early. `goodput.py` adds up.
"""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Generator, Mapping
from typing import Any

from xling_jax.disk import Growing, growing, lost, on_bucket, writing
from xling_jax.errors import DiskError
from xling_jax.processes import me

TIME = "time.jsonl"
PULSE = 30.0  # seconds between signs of life
MARK = 10.0  # seconds between marks, at least

# What time goes to, as tables show it. The first ones are what is left of "train" once the others are taken from it.
KINDS = {
    "steps": "training steps that count",
    "lost": "training steps that were done again after a run was ended",
    "input": "waiting for batches",
    "transfer": "sending batches to the devices",
    "compile": "tracing, lowering and compiling, or reading the compilation cache",
    "save": "writing checkpoints, as far as training waited",
    "evaluate": "evaluation, that of checkpoints on the dev cell among it",
    "clock": "measuring how fast the trained model answers",
    "startup": "starting Python, importing libraries, finding devices",
    "plan": "reading checksums and laying out the plan",
    "prepare": "vocabulary, prepared examples, order of batches",
    "restore": "making the state a stage starts with, or reading it",
    "profile": "starting and writing profiles",
    "report": "writing the report",
    "other": "everything else",
}
TRAIN = "train"
STEPS, LOST, INPUT, TRANSFER, COMPILE, PROFILE = "steps", "lost", "input", "transfer", "compile", "profile"
COMPILED, CACHED = "compiled", "cached"  # counts: programs that were compiled, and those read from the cache

_IMPORTED = time.time()
_BASE = time.time() - time.monotonic()
_thread = threading.local()


def now() -> float:
    """Returns the time in seconds since 1970; it never goes back within a process, whatever is done to its clock."""
    return _BASE + time.monotonic()


def process_began() -> float:
    """Returns when this process was started; where the system does not say it, when this module was imported."""
    try:
        after_name = pathlib.Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(after_name[19])  # since the machine was started; proc(5) numbers it 22
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return _IMPORTED
    return min(time.time() - max(age, 0.0), _IMPORTED)


class Event:
    """Something under way in a thread. `spent` is in seconds; both dicts may be added to by that thread alone."""

    def __init__(self, ledger: "Ledger", id: int, step: int | None):
        self._ledger, self.id = ledger, id
        self._marked, self._written = now(), step
        self.step = step
        self.spent: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def spend(self, what: str, seconds: float) -> None:
        """Takes seconds of the event for something else, a name of KINDS."""
        self.spent[what] = self.spent.get(what, 0.0) + seconds

    @contextlib.contextmanager
    def spending(self, what: str) -> Generator[None]:
        """Takes the seconds of the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spend(what, time.perf_counter() - began)

    def count(self, what: str, number: int = 1) -> None:
        """Counts so many more."""
        self.counts[what] = self.counts.get(what, 0) + number

    def mark(self, step: int, always: bool = False) -> None:
        """Says that so many steps are done; written every MARK seconds, or always."""
        self.step = step
        if step != self._written and (always or now() - self._marked >= MARK):
            self._marked, self._written = now(), step
            self._ledger.write({"id": self.id, "at": now(), **self.facts()})

    def facts(self) -> dict[str, Any]:
        """Returns what a line says of it."""
        spent = {name: round(seconds, 4) for name, seconds in self.spent.items()}
        step = {} if self.step is None else {"step": self.step}
        return step | {"spent": spent, "counts": dict(self.counts)}


def current() -> Event | None:
    """Returns the innermost event under way in this thread."""
    stack = getattr(_thread, "stack", ())
    return stack[-1] if stack else None


class Ledger:
    """Writes one session. Without a path it writes nothing, and events still count. Safe for threads."""

    def __init__(self, path: pathlib.Path | None = None):
        """Opens a session; what an earlier one left open is closed."""
        self._path = path
        self._lock = threading.Lock()
        self._ids = 0
        self._lanes: dict[int, int] = {}
        self._over = threading.Event()
        self.session = 0
        self._grown: Growing | None = None  # on a bucket, where a line cannot be appended by itself
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._grown = growing(path) if on_bucket(path) else None
            self._take_up(path)
            threading.Thread(target=self._live, name="time ledger", daemon=True).start()

    def _take_up(self, path: pathlib.Path) -> None:
        """Closes what was left open, at its session's last sign of life."""
        lines = _lines(path)
        if path.is_file() and not path.read_bytes().endswith(b"\n"):
            self._append("\n")  # behind the line that a killed process was writing
        left: dict[tuple[int, int], None] = {}
        last: dict[int, float] = {}
        for line in lines:
            last[line["session"]] = max(last.get(line["session"], 0.0), time_of(line))
            if "begin" in line:
                left[line["session"], line["id"]] = None
            elif "end" in line:
                left.pop((line["session"], line["id"]), None)
        for session, number in reversed(left):  # what is inside first
            self._append(json.dumps({"session": session, "id": number, "end": last[session], "killed": True}) + "\n")
        self.session = max(last, default=-1) + 1

    def _live(self) -> None:
        while not self._over.wait(PULSE):
            try:
                self.write({"at": now()})
                self.keep()
            except (OSError, DiskError):  # the run itself will say so
                return
            except Exception as error:
                if not lost(error):  # a bucket may answer again, and has all lines then
                    raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self.keep()

    def keep(self) -> None:
        """Makes sure that what was written is not lost with this process."""
        with self._lock:
            if self._grown is not None:
                self._grown.keep()

    def write(self, line: dict[str, Any]) -> None:
        """Appends a line of this session."""
        if self._path is not None:
            with self._lock:
                self._append(json.dumps({"session": self.session} | line) + "\n")

    def _append(self, text: str) -> None:
        assert self._path is not None, "a ledger without a file writes nothing"
        if self._grown is not None:
            self._grown.write(text.encode())
            if self._over.is_set():  # nobody comes to keep it later
                self._grown.keep()
            return
        with writing(self._path), open(self._path, "a", encoding="utf-8") as file:
            file.write(text)

    def _begin(self, name: str, at: float, stage: str | None, step: int | None) -> Event:
        with self._lock:
            self._ids += 1
            lane = self._lanes.setdefault(threading.get_ident(), len(self._lanes))
            event = Event(self, self._ids, step)
        given = {key: value for key, value in {"stage": stage, "step": step}.items() if value is not None}
        self.write({"id": event.id, "begin": at, "name": name, "lane": lane} | given)
        return event

    def record(self, name: str, begin: float, end: float) -> None:
        """Writes an event that is over. It comes before everything else of this thread."""
        event = self._begin(name, begin, None, None)
        self._end(event, end)

    def _end(self, event: Event, at: float) -> None:
        self.write({"id": event.id, "end": at, **event.facts()})

    @contextlib.contextmanager
    def event(self, name: str, stage: str | None = None, step: int | None = None) -> Generator[Event]:
        """Something under way while the block runs: its name (of KINDS, or train), its stage's folder, steps done."""
        stack = _thread.__dict__.setdefault("stack", [])
        event = self._begin(name, now(), stage, step)
        stack.append(event)
        try:
            yield event
        except BaseException:
            stack.remove(event)
            with contextlib.suppress(OSError, DiskError):  # the error that ends the run is the news
                self._end(event, now())
            raise
        stack.remove(event)
        self._end(event, now())


def time_of(line: Mapping[str, Any]) -> float:
    """Returns when a line was true."""
    return next(line[name] for name in ("begin", "at", "end") if name in line)


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of a ledger that are whole, in the order they were written; none if there is no file.

    Those of workers, which lie beside it, are among them: sessions of all then have numbers in the order they began.
    """
    beside = sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"))
    if not beside:
        return _lines(path)
    sessions: dict[tuple[pathlib.Path, int], list[dict[str, Any]]] = {}
    for file in (path, *beside):
        for line in _lines(file):
            sessions.setdefault((file, line["session"]), []).append(line)
    ordered = sorted(sessions.values(), key=lambda lines: time_of(lines[0]))
    return [line | {"session": number} for number, lines in enumerate(ordered) for line in lines]


@contextlib.contextmanager
def worker_ledger(workdir: pathlib.Path) -> Generator[pathlib.Path]:
    """Gives a path for the ledger of a worker that nobody else writes to while the block runs.

    A worker that is started again on the same machine takes up the file that it, or another one, has left; on a bucket,
    where there are no locks, each has one of its own.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    stem, suffix = TIME.split(".")
    if on_bucket(workdir):
        yield workdir / f"{stem}-{socket.gethostname()}-{me()}.{suffix}"
        return
    for number in itertools.count():
        path = workdir / f"{stem}-{socket.gethostname()}-{number}.{suffix}"
        with open(path, "a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield path
            return


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the lines of one file."""
    found = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            line = json.loads(text)
            time_of(line), line["session"]
        except (ValueError, KeyError, TypeError, StopIteration):
            continue  # what a killed process was writing
        found.append(line)
    return found
