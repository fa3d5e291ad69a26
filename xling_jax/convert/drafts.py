"""Folders that appear whole or not at all."""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Generator

from xling_jax.disk import free, reason
from xling_jax.errors import CheckpointError, ConfigError


@contextlib.contextmanager
def draft(out: pathlib.Path) -> Generator[pathlib.Path, None, None]:
    """Gives a folder OUT.part to write to, which becomes OUT if the block ends, and is taken away if it does not.

    What an earlier process left in OUT.part goes first.

    Raises:
      ConfigError: another process is writing there.
      CheckpointError: the disk is full.
    """
    part = out.with_name(out.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    with _held(part):
        _empty(part)
        try:
            yield part
            part.rename(out)
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            if reason(error):
                raise CheckpointError(
                    f"{out} was not written: {reason(error)} ({free(out)} free now).\n"
                    "Nothing is left of it. Make room, or name a folder on another disk."
                ) from error
            raise


@contextlib.contextmanager
def _held(folder: pathlib.Path) -> Generator[None, None, None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ConfigError(
            f"Another process is writing to {folder}.\nAllowed: one at a time. Wait for it, or name another folder."
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def _empty(folder: pathlib.Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
