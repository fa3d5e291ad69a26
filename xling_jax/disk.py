"""Files that appear whole or not at all, and the error where a disk has no room for them."""

import contextlib
import errno
import glob
import itertools
import os
import pathlib
import shutil
from collections.abc import Generator, Iterator

from xling_jax.errors import DiskError
from xling_jax.processes import is_gone, me

PART = ".part"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# TensorStore, ArrayRecord and others raise plain errors with the system's words in them.
FULL_WORDS = tuple(os.strerror(number) for number in FULL)


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
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
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
