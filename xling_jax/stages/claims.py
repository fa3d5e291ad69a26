"""Who does what, where several workers share a folder: WORKDIR/claims/<what>.<number>, and nobody does a thing twice.

A claim is a file. Whoever makes the one with the next number has it, and a file can be made once only (O_CREAT and
O_EXCL; on a bucket ifGenerationMatch=0). Its time is set again every few seconds: one that was not is taken over by
making the next one, and the file before it is removed. So an owner who comes back late finds that its file is gone, or
not the last one, and stops. Numbers are never used again, because a claim is given back by making the next one, too,
which says that it is free.

Ages are told by the disk's clock, which stamps the claims, so workers' clocks need not agree; and a claim is taken over
only by who has watched it for two beats without a change. Of a process of the same machine it is known if it has ended.
"""

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Generator

from xling_jax.disk import create, lost, on_bucket, stamp, writing
from xling_jax.errors import ConfigError, DiskError, Interrupted
from xling_jax.processes import is_gone, is_here, me

FOLDER = "claims"
SECONDS = 120.0  # that a claim lives without a beat
BEATS = 12  # in that time
LOOK_EVERY = 2.0  # seconds between looks of an owner at the disk, as it works


class ClaimLost(Interrupted):
    """Another worker has taken over what this one was doing: it writes nothing more of it."""


@dataclasses.dataclass(frozen=True)
class Owner:
    """Who has claimed something: a process on a host. `seconds` is how long it may be silent."""

    process: str = ""
    host: str = ""
    pid: int = 0
    since: float = 0.0  # seconds since 1970, by the owner's clock
    seconds: float = SECONDS
    free: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.host else "a worker that has not said who it is"


@dataclasses.dataclass(frozen=True)
class _Files:
    """The files of one claim; their numbers only go up."""

    folder: pathlib.Path
    name: str

    def file(self, number: int) -> pathlib.Path:
        return self.folder / f"{self.name}.{number}"

    def numbers(self) -> list[int]:
        found = (path.name.rpartition(".")[2] for path in self.folder.glob(f"{self.name}.*"))
        return sorted(int(number) for number in found if number.isdigit())

    def make(self, number: int, owner: Owner) -> bool:
        """Makes a file that nobody has made; returns whether nobody had."""
        return create(self.file(number), json.dumps(dataclasses.asdict(owner)).encode())

    def read(self, number: int) -> Owner | None:
        """Returns whose a file is, None if it is gone. Who is just making it, or was ended there, is not known."""
        try:
            return Owner(**json.loads(self.file(number).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return Owner()

    def remove_before(self, number: int) -> None:
        for old in self.numbers():
            if old < number:
                self.file(old).unlink(missing_ok=True)


@contextlib.contextmanager
def _no_news() -> Generator[None]:
    """The block tidies up: if that fails, it is no matter, and whatever ended the work is what is to be told."""
    try:
        yield
    except (ClaimLost, OSError, DiskError):
        pass
    except Exception as error:
        if not lost(error):
            raise


class Claim:
    """Something that this worker has claimed."""

    def __init__(self, files: _Files, number: int, seconds: float):
        self.name = files.name
        self._files, self._number, self._seconds = files, number, seconds
        # A bucket is asked by the thread alone while that gives signs of life: asking takes longer than a step.
        self._look_every = 2 * seconds / BEATS if on_bucket(files.folder) else LOOK_EVERY
        self._looked = self._renewed = time.time()
        self._lost = False
        self._lock = threading.Lock()

    def renew(self) -> None:
        """Says that the owner is there. Raises ClaimLost if it is not the owner any more."""
        with self._lock:
            self._looked = time.time()
            try:
                stamp(self._files.file(self._number))
                self._renewed = self._looked
                self._lost = self._lost or self._files.numbers()[-1:] != [self._number]
            except Exception as error:  # removed by who has taken over; or the disk, or the bucket, does not answer
                if not (isinstance(error, OSError) or lost(error)):
                    raise
                gone = isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ESTALE
                self._lost = self._lost or gone or self._looked - self._renewed > self._seconds
        self._tell()

    def check(self) -> None:
        """Raises ClaimLost as `renew` does. It is cheap: the disk is asked every few seconds."""
        self._tell()
        if not 0 <= time.time() - self._looked < self._look_every:  # or the machine was stopped, and its clock set
            self.renew()

    def give_back(self) -> None:
        """Says that it is free. Does nothing if it was lost; if the disk is full, it is free once it is too old."""
        with _no_news():
            self.renew()
            if self._files.make(self._number + 1, Owner(free=True)):
                self._files.remove_before(self._number + 1)

    def _tell(self) -> None:
        if self._lost:
            raise ClaimLost(
                f"Another worker has taken over '{self.name}', as this one was silent for {self._seconds:g} s.\n"
                "Nothing more of it is written here. --claim_seconds says how long a worker may be silent."
            )


class Claims:
    """What this worker has claimed in a folder; a thread says that it is there."""

    def __init__(self, workdir: pathlib.Path, seconds: float = SECONDS):
        """Claims nothing yet. `seconds`: how long this worker may be silent."""
        self._folder, self._seconds = workdir / FOLDER, seconds
        self._mine: dict[str, Claim] = {}
        self._watched: dict[pathlib.Path, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> "Claims":
        self._folder.mkdir(parents=True, exist_ok=True)
        threading.Thread(target=self._live, name="claims", daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        for claim in list(self._mine.values()):
            self.give_back(claim)
        with _no_news():
            for clock in self._folder.glob(".*"):
                if clock.name == f".{me()}" or is_gone(clock.name[1:]):
                    clock.unlink(missing_ok=True)

    def take(self, name: str) -> Claim | None:
        """Returns the claim to something, None if another worker has it, or was quicker."""
        files = _Files(self._folder, name)
        last = max(files.numbers(), default=-1)
        if last >= 0 and not self._is_open(files, last):
            return None
        claim = Claim(files, last + 1, self._seconds)
        if not files.make(last + 1, Owner(me(), socket.gethostname(), os.getpid(), time.time(), self._seconds)):
            return None
        # While we looked, it may have been taken and given back, and the file that we looked at removed.
        if files.numbers()[-1:] != [last + 1]:
            files.file(last + 1).unlink(missing_ok=True)
            return None
        files.remove_before(last + 1)
        with self._lock:
            self._mine[name] = claim
        return claim

    def give_back(self, claim: Claim) -> None:
        """Says that something is free again."""
        with self._lock:
            self._mine.pop(claim.name, None)
        claim.give_back()

    def names(self, begin: str) -> set[str]:
        """Returns what was ever claimed here and whose name begins so."""
        return {path.name.rpartition(".")[0] for path in self._folder.glob(f"{begin}*.*")}

    def is_free(self, name: str) -> bool:
        """Whether something could be taken: nobody has it, or its owner has ended or was silent for too long."""
        files = _Files(self._folder, name)
        last = max(files.numbers(), default=-1)
        return last < 0 or self._is_open(files, last)

    def clear(self, name: str) -> None:
        """Removes every trace of what nobody will claim again."""
        files = _Files(self._folder, name)
        files.remove_before(max(files.numbers(), default=-1) + 1)

    def owner(self, name: str) -> Owner | None:
        """Returns who has something, None if it is free."""
        files = _Files(self._folder, name)
        found = next((files.read(number) for number in files.numbers()[-1:]), None)
        return None if found is None or found.free else found

    def sign(self, name: str) -> tuple[int, int]:
        """Returns something that is another with each sign of life of who has something."""
        files = _Files(self._folder, name)
        last = max(files.numbers(), default=-1)
        try:
            return last, files.file(last).stat().st_mtime_ns
        except FileNotFoundError:
            return last, 0

    def _is_open(self, files: _Files, number: int) -> bool:
        """Whether a claim may be taken: it is free, or its owner has ended, or was silent for too long."""
        owner, file = files.read(number), files.file(number)
        if owner is None:
            return False
        if owner.free or is_gone(owner.process):
            return True
        try:
            stamped = file.stat().st_mtime_ns
        except FileNotFoundError:  # another worker has taken it
            return False
        before, since = self._watched.get(file, (0, 0.0))
        if before != stamped:
            since = time.monotonic()
            self._watched[file] = stamped, since
        silent = self._disk_time() - stamped / 1e9
        return silent > owner.seconds and time.monotonic() - since >= 2 * owner.seconds / BEATS

    def _disk_time(self) -> float:
        """Returns the time, in seconds since 1970, of the clock that stamps files."""
        path = self._folder / f".{me()}"
        with writing(path):
            path.touch()
        return path.stat().st_mtime

    def _live(self) -> None:
        while not self._over.wait(self._seconds / BEATS):
            with self._lock:
                mine = list(self._mine.values())
            for claim in mine:
                with contextlib.suppress(ClaimLost):  # whoever does the work is told when it asks
                    claim.renew()


ALONE, TOGETHER = "alone", "worker"  # names of claims to a whole folder


@contextlib.contextmanager
def held(workdir: pathlib.Path, shared: bool, say: Callable[[str], None]) -> Generator[Callable[[], None]]:
    """Keeps other processes out of a folder on a bucket, where there are no locks; those that share it may share it.

    Gives what raises ClaimLost once the folder is another one's, because this process was silent for too long. Each
    claims first and looks at the others' claims then, so of two that come at once at most one stays.

    Raises ConfigError if another process is there. Of one on another machine that shows with its next sign of life
    only, so where one was killed elsewhere it is waited until it was silent for long enough.
    """
    with Claims(workdir) as claims:
        mine = f"{TOGETHER}-{me()}" if shared else ALONE
        while (claim := claims.take(mine)) is None:
            _wait(claims, mine, workdir, say)
        try:
            workers = claims.names(f"{TOGETHER}-") - {mine}
            for name in [ALONE] if shared else sorted(workers):
                _wait(claims, name, workdir, say)
            yield claim.check
        finally:
            claims.give_back(claim)
            with _no_news():
                _tidy(claims, mine)


def _tidy(claims: Claims, mine: str) -> None:
    """Removes the claims of workers that nobody will take again: one's own, and those of processes that have ended."""
    for name in claims.names(f"{TOGETHER}-"):
        if name == mine or is_gone(name.removeprefix(f"{TOGETHER}-")):
            claims.clear(name)


def _wait(claims: Claims, name: str, workdir: pathlib.Path, say: Callable[[str], None]) -> None:
    """Waits until a claim to a folder is free. Raises ConfigError if its owner is there."""
    sign, told = claims.sign(name), False
    while not claims.is_free(name):
        owner = claims.owner(name)
        if owner is None:  # given back since
            continue
        if is_here(owner.process) or claims.sign(name) != sign:
            raise ConfigError(
                f"Another process is running in {workdir}: {owner}.\nWait for it, or use another --workdir."
            )
        if not told:
            told = True
            say(f"{owner} was at work in {workdir}: waiting for a sign of life, at most {owner.seconds:g} s")
        time.sleep(LOOK_EVERY)
