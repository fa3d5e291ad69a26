"""Files that appear whole or not at all, and the error where a disk has no room for them.

A folder may be one on a bucket, gs://BUCKET/FOLDER: `as_path` makes a path of what a user names, and whatever a bucket
does otherwise than a disk is a function here, so that hardly anybody asks which it is (`bucket.py` does it).
"""

import contextlib
import errno
import glob
import importlib.util
import itertools
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Generator, Iterator
from typing import Any, Protocol

from xling_jax.errors import BucketError, ConfigError, DiskError
from xling_jax.processes import is_gone, me

PART = ".part"
BUCKET = "gs://"
WILD = "*?[]#"  # stand for other characters where objects are listed, and for an object's generation
CREDENTIALS = (
    "Allowed: a bucket that is there, and that the credentials of this machine may read and write (`gcloud auth "
    "application-default login`, or the machine's service account); see docs/buckets.md."
)
NEEDED = ("gcsfs", "fsspec", "etils.epath")  # of Python's packages, for a bucket
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xling_jax" / "buckets"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# TensorStore, ArrayRecord and others raise plain errors with the system's words in them.
FULL_WORDS = tuple(os.strerror(number) for number in FULL)


def as_path(named: "str | pathlib.Path") -> pathlib.Path:
    """Returns what a user names as a path: of a disk, or of a bucket. ConfigError for what is neither."""
    text = str(named)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*:)/", text)
    if scheme is None:
        return pathlib.Path(named)
    if not re.fullmatch(r"gs://[^/]+(/.*)?", text) or set(text) & set(WILD):
        raise ConfigError(
            f"{text} is no folder that can be worked in.\n"
            f"Allowed: a folder of a disk, or gs://BUCKET/FOLDER on Google Cloud Storage, without {' '.join(WILD)}"
        )
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing:
        raise ConfigError(
            f"{text} is on a bucket, and {', '.join(missing)} is not installed.\n"
            "Allowed: pip install 'xling_jax[gcs]', or a folder of a disk."
        )
    return _bucket().BucketPath(named)


def on_disk(named: str) -> pathlib.Path:
    """Returns what a user names as a path of a disk; ConfigError for a place on a bucket, or elsewhere."""
    path = as_path(named)
    if on_bucket(path):
        raise ConfigError(
            f"{path} is on a bucket.\nAllowed: a folder or file of a disk; docs/buckets.md says what may lie elsewhere."
        )
    return path


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def _bucket() -> Any:
    from xling_jax import bucket  # noqa: PLC0415 - half a second, for those who work on one

    return bucket


def on_bucket(path: pathlib.Path) -> bool:
    """Whether a path is one on a bucket."""
    return str(path).startswith(BUCKET)


def reach(named: "str | pathlib.Path") -> pathlib.Path:
    """Returns what a user names as a path. Raises ConfigError if it is on a bucket that cannot be read."""
    path = as_path(named)
    try:
        if on_bucket(path):
            path.exists()
    except Exception as error:
        why = "there is no such bucket" if isinstance(error, FileNotFoundError) else lost(error)
        if not why:
            raise
        raise ConfigError(f"{path} cannot be read: {why}.\n{CREDENTIALS}") from error
    return path


def here(path: pathlib.Path) -> pathlib.Path:
    """Returns where on this machine there is what has to be on a disk: the same place, or one for a bucket's folder."""
    return CACHE / str(path).removeprefix(BUCKET) if on_bucket(path) else path


def lost(error: BaseException) -> str:
    """Returns what an error, or what led to it, says of a bucket that does not answer; "" if it is another one."""
    if "xling_jax.bucket" not in sys.modules:
        return ""
    return next((why for one in _chain(error) if (why := _bucket().lost(one))), "")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def reason(error: BaseException) -> str:
    """Returns why the disk took no more, if that is what an error or what led to it says; else ""."""
    for one in _chain(error):
        for number, words in zip(FULL, FULL_WORDS, strict=True):
            if getattr(one, "errno", None) == number or words in str(one):
                return "the disk is full" + ("" if number == errno.ENOSPC else f" to this process: {words.lower()}")
    return ""


def free(path: pathlib.Path) -> str:
    """Returns how much room there is where a path lies or would lie."""
    there = next(folder for folder in (here(path), *here(path).absolute().parents) if folder.exists())
    room = shutil.disk_usage(there).free
    return f"{room / 1e9:.1f} GB" if room >= 1e9 else f"{room / 1e6:.1f} MB"


def no_room(path: pathlib.Path, error: BaseException) -> DiskError:
    """Returns the error for a file or folder that a disk has no room for; what was said of another one comes first."""
    said = next((one for one in _chain(error) if isinstance(one, DiskError)), None)
    return said or DiskError(
        f"{path} was not written: {reason(error)} ({free(path)} free there now).\n"
        "Whatever was finished is kept, and nothing is left half-written under its name.\n"
        "Make room, and run the same command again to go on."
    )


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Generator[None, None, None]:
    """Names the file or folder that the block writes, if the disk has no room for it: DiskError."""
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        if reason(error):
            raise no_room(path, error) from error
        raise


def unreached(error: BaseException) -> ConfigError | BucketError:
    """Returns the error for a bucket that does not answer, or does not do what was asked."""
    if any(_bucket().is_refused(one) for one in _chain(error)):
        return ConfigError(f"The bucket refuses: {lost(error)}.\n{CREDENTIALS}")
    return BucketError(
        f"The bucket does not answer: {lost(error)}.\n"
        "Whatever was finished is kept, and nothing is left half-written under its name.\n"
        "Run the same command again to go on."
    )


_numbers = itertools.count()


def _sweep(path: pathlib.Path) -> None:
    """Removes what processes that were ended have left of a file."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*{PART}"):
        name = part.name.removeprefix(f"{path.name}.").removesuffix(PART).rpartition("-")[0]
        if is_gone(name):
            part.unlink(missing_ok=True)


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes a file, and its folder if need be. It is the old one or the new one, never half; DiskError if full.

    Several processes may write one file at once: the last one's is there in the end.
    """
    if on_bucket(path):
        path.write_bytes(content)
        return
    part = path.with_name(f"{path.name}.{me()}-{next(_numbers)}{PART}")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            part.write_bytes(content)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)  # what it holds is room, too
            raise


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a file of text as `write_bytes` does."""
    write_bytes(path, text.encode())


def create(path: pathlib.Path, content: bytes) -> bool:
    """Makes a file that nobody has made; returns whether it was this call that made it. `content` is its caller's own.

    On a disk it is there before it has its content: who reads it then finds less.
    """
    if on_bucket(path):
        return _bucket().create(path, content)
    with writing(path):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(content)
    return True


def stamp(path: pathlib.Path) -> None:
    """Sets the time of a file to now, by the clock of whoever keeps it. Raises FileNotFoundError if there is none."""
    _bucket().stamp(path) if on_bucket(path) else os.utime(path)


def remove(folder: pathlib.Path) -> None:
    """Removes a folder with all that is in it, if it is there."""
    _bucket().remove(folder) if on_bucket(folder) else shutil.rmtree(folder, ignore_errors=True)


def move(path: pathlib.Path, target: pathlib.Path, first: str) -> None:
    """Moves a file or folder. On a bucket it is copied and removed, `first` of all the file that says it is whole."""
    _bucket().move(path, target, first) if on_bucket(path) else shutil.move(path, target)


def send(source: pathlib.Path, target: pathlib.Path, last: str = "") -> None:
    """Copies what was made `here` to its place on a bucket; the file named `last` when all others are there.

    Does nothing where that is one place.
    """
    if on_bucket(target):
        _bucket().send(source, target, last)


def fetch(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies the files of a folder on a bucket into a folder that is there."""
    _bucket().fetch(source, target)


class Growing(Protocol):
    """A file that is appended to."""

    def write(self, data: bytes) -> Any:
        """Appends."""

    def keep(self) -> None:
        """Makes sure that what was written is not lost with this process. On a disk it never is."""

    def close(self) -> None:
        """Ends it."""


class _OfDisk:
    def __init__(self, path: pathlib.Path):
        self._file = open(path, "ab")  # noqa: SIM115 - `close` does

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    def keep(self) -> None:
        pass

    def close(self) -> None:
        self._file.close()


def growing(path: pathlib.Path) -> Growing:
    """Opens a file to append to; its folder is there. On a bucket it is written as a whole, from time to time."""
    return _bucket().Growing(path) if on_bucket(path) else _OfDisk(path)


def cut(path: pathlib.Path, size: int) -> None:
    """Cuts a file off behind so many bytes."""
    path.write_bytes(path.read_bytes()[:size]) if on_bucket(path) else os.truncate(path, size)
