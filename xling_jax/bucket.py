"""A folder on a bucket of Google Cloud Storage as a path: what `disk.py` needs where there is no disk.

Everything else takes such a path for one of pathlib's. What differs:

    an object appears whole when its upload has ended      so nothing is written under another name first
    there are no folders, only names with slashes in them  so none is made, and an empty one is not there
    nothing is appended to, locked or renamed              see `Growing`, `create`, `stamp`, `move`

Orbax, TensorStore and JAX's compilation cache write to buckets themselves, and are given these paths as they are.
Credentials are found as every program of Google's finds them.
"""

import contextlib
import dataclasses
import datetime
import io
import logging
import os
import pathlib
import time
from typing import Any

# Both are asked when the libraries are first used. etils would import TensorFlow where it is installed; gcsfs would ask
# a second service, which needs a right of its own, what kind of bucket it is.
os.environ["EPATH_USE_TF"] = "false"
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

import fsspec.config
from etils.epath import backend, gpath

SCHEME = "gs://"
KEPT_EVERY = 30.0  # seconds between uploads of a file that grows
# Whose errors say that a bucket does not answer as it should.
LIBRARIES = ("aiohttp.", "gcsfs.", "google.api_core.", "google.auth.", "requests.")
# How TensorStore begins to say so, which has no errors of its own, and gcsfs, where it takes one of Python's.
LOST = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
REFUSED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "Forbidden: ", "Project was not passed")  # by google-cloud-storage

logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it prints the stack of what it raises, too
# A list that is remembered would hide what other processes write.
fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def service() -> Any:
    """Returns the client, the one that etils has, too."""
    return backend.fsspec_backend.fs(SCHEME)


@dataclasses.dataclass(frozen=True)
class Stat:
    """What is known of an object, by the names of pathlib and by those of etils; of a folder, of its newest object."""

    st_size: int
    st_ino: int  # its generation: no other content has the same
    st_mtime_ns: int
    is_directory: bool = False

    @property
    def st_mtime(self) -> float:
        return self.st_mtime_ns / 1e9

    @property
    def length(self) -> int:
        return self.st_size

    @property
    def mtime(self) -> int:
        return int(self.st_mtime)


class BucketPath(gpath.PosixGPath):
    """A path below gs://BUCKET. It is what etils has for one, with fewer requests, and never by way of TensorFlow."""

    @property
    def _backend(self) -> Any:
        return backend.fsspec_backend

    def absolute(self) -> "BucketPath":
        return self

    def resolve(self, strict: bool = False) -> "BucketPath":
        return self

    def stat(self) -> Any:
        found = service().info(str(self))
        if found["type"] != "directory":
            return _stat(found)
        below = [_stat(one) for one in service().find(str(self), detail=True).values()]
        return dataclasses.replace(max(below, key=lambda one: one.st_mtime_ns), is_directory=True)

    def is_file(self) -> bool:
        try:
            service().call("GET", "b/{}/o/{}", *service().split_path(str(self))[:2])
            return True
        except FileNotFoundError:
            return False

    def is_dir(self) -> bool:
        """Whether there is something below it. Raises FileNotFoundError if there is no such bucket."""
        name, key, _ = service().split_path(str(self))
        below = {"prefix": f"{key}/"} if key else {}
        return "items" in service().call("GET", "b/{}/o", name, maxResults=1, json_out=True, **below) or not key

    def exists(self) -> bool:
        """Whether there is such an object, or one below it: as few requests as that takes, and the cheap one first."""
        return (len(self.parts) > 3 and self.is_file()) or self.is_dir()  # parts: "/", "gs", the bucket, ...

    def open(self, mode: str = "r", encoding: str | None = None, errors: str | None = None, **more: Any) -> Any:
        if mode == "rb":
            return io.BytesIO(self.read_bytes())
        if mode == "r":
            return io.StringIO(self.read_text(encoding, errors))
        return super().open(mode, encoding=encoding, errors=errors, **more)

    def read_bytes(self) -> bytes:
        return service().cat_file(str(self))

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def write_bytes(self, data: bytes) -> int:
        service().pipe_file(str(self), bytes(data))
        return len(data)

    def write_text(self, data: str, encoding: str | None = None, errors: str | None = None) -> int:
        return self.write_bytes(data.encode(encoding or "utf-8", errors or "strict"))

    def unlink(self, missing_ok: bool = False) -> None:
        with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])):
            service().rm_file(str(self))

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Makes an empty object, or sets the time of one that is there."""
        try:
            stamp(self)
        except FileNotFoundError:
            self.write_bytes(b"")

    def mkdir(self, mode: int | None = None, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes nothing; etils' own would make the bucket."""
        if not exist_ok and self.exists():
            raise FileExistsError(str(self))

    def chmod(self, mode: int) -> None:
        """Does nothing: who may read an object is said of the bucket."""

    def rename(self, target: Any) -> Any:
        raise AssertionError(f"{self} cannot be renamed at once; see `disk.move`")

    replace = rename


def _stat(found: dict[str, Any]) -> Stat:
    at: datetime.datetime = found["mtime"]
    micros = (at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
    return Stat(found["size"], int(found["generation"]), micros * 1000)


def create(path: BucketPath, content: bytes) -> bool:
    """Makes an object that is not there (ifGenerationMatch=0); returns whether it was this call that made it.

    `content` must be this caller's own: an answer may be lost, and the request that is sent again finds what the first
    one has made.
    """
    try:
        service().pipe_file(str(path), content, mode="create")
        return True
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes() == content
        return False


def stamp(path: BucketPath) -> None:
    """Sets the time of an object to now, by the service's clock. Raises FileNotFoundError if there is none."""
    name, key, _ = service().split_path(str(path))
    service().call("PATCH", "b/{}/o/{}", name, key, json={"metadata": {"stamp": str(time.time_ns())}})


def remove(path: BucketPath) -> None:
    """Removes a folder, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        service().rm(str(path), recursive=True)


def move(path: BucketPath, target: BucketPath, first: str) -> None:
    """Copies an object or a folder, and removes it, `first` of all the file of that name: it says what is whole."""
    keys = service().find(str(path))
    for key in keys:
        service().cp_file(key, str(target) + key.removeprefix(str(path).removeprefix(SCHEME)))
    for key in sorted(keys, key=lambda key: not key.endswith(f"/{first}")):
        service().rm_file(key)


def send(source: pathlib.Path, target: BucketPath, last: str = "") -> None:
    """Copies the files of a folder of this machine to one on a bucket, that named `last` when the others are there."""
    files = [path for path in source.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: path.name == last):
        service().put_file(str(path), str(target / str(path.relative_to(source))))


def fetch(source: BucketPath, target: pathlib.Path) -> None:
    """Copies the objects of a folder, and not what is in folders below it, into one of this machine that is there."""
    for path in source.iterdir():
        if path.is_file():
            service().get_file(str(path), str(target / path.name))


class Growing:
    """An object that grows: it is written anew, whole, every half minute in which it did, and when `keep` is called."""

    def __init__(self, path: BucketPath):
        """Goes on with what is there."""
        self._path, self._kept = path, time.monotonic()
        self._content = bytearray(path.read_bytes() if path.exists() else b"")
        self._new = False

    def write(self, data: bytes) -> None:
        """Appends."""
        self._content += data
        self._new = True
        if time.monotonic() - self._kept >= KEPT_EVERY:
            self.keep()

    def keep(self) -> None:
        """Writes what is not written yet."""
        if self._new:
            self._path.write_bytes(bytes(self._content))
            self._new, self._kept = False, time.monotonic()

    close = keep


def lost(error: BaseException) -> str:
    """Returns what an error says of a bucket that does not answer, or not as it should; "" if it is another one."""
    text = " ".join(str(error).split()) or type(error).__name__
    known = type(error).__module__.startswith(LIBRARIES) or text.startswith((*LOST, *REFUSED))
    return text[:300] if known else ""


def is_refused(error: BaseException) -> bool:
    """Whether an error says that this machine may not do what it asked for, so that asking again is of no use."""
    return str(error).startswith(REFUSED) or getattr(error, "code", None) in (401, 403)
