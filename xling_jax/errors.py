"""The house error: what was asked, what was found, what is allowed, where to change it.

Every error a user can cause is an `XlingError`; the doors print it without a traceback and
leave with its exit code. What only we can cause is an `assert`.
"""

import difflib
import pathlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Row = TypeVar("Row")
EXIT_DONE = 0
EXIT_INTERRUPTED = 75


class XlingError(Exception):
    """Base of all errors a user can cause."""

    exit_code = 1


class ConfigError(XlingError):
    """Wrong usage or configuration."""

    exit_code = 2


class DataError(XlingError):
    """A data file is missing, broken, or not what its row says."""

    exit_code = 3


class MissingError(DataError):
    """Data are not where they are looked for."""


class CheckpointError(XlingError):
    """A checkpoint is missing, broken, or does not fit the model."""

    exit_code = 4


class DamagedError(CheckpointError):
    """What was saved is not there any more as it was saved."""

    def __init__(self, text: str, path: pathlib.Path):
        """Takes the path of a checkpoint, or of a file beside it."""
        super().__init__(text)
        self.path = path
        self._found = _mark(path)

    def is_other(self) -> bool:
        """Whether something else lies there by now."""
        return _mark(self.path) != self._found


def _mark(path: pathlib.Path) -> tuple[int, int] | None:
    return (path.stat().st_ino, path.stat().st_mtime_ns) if path.exists() else None


class DiskError(XlingError):
    """A disk has no room for what is to be written."""

    exit_code = 3


class BucketError(XlingError):
    """A bucket does not answer, or not as it should; what was finished is kept."""

    exit_code = EXIT_INTERRUPTED


class NumericalError(XlingError):
    """Training produced a loss or gradient that is not finite."""

    exit_code = 5


class Interrupted(XlingError):
    """The run was asked to stop, saved, and can be started again."""

    exit_code = EXIT_INTERRUPTED


class HostError(XlingError):
    """Another host of the run does not come, is gone or has failed; what was saved stays."""

    def __init__(self, said: str, exit_code: int = EXIT_INTERRUPTED):
        """Takes the exit code of the host that failed, if one did; a lost host is a reason to start again."""
        super().__init__(said)
        self.exit_code = exit_code


def unknown(what: str, name: str, known: Iterable[str], where: str, inside: str = "") -> ConfigError:
    """Returns the error for a name that is not in a table or a list of fields.

    Args:
      what: the kind of thing, singular: "language".
      name: what the user wrote.
      known: all names allowed here.
      where: the sentence that says where such names are declared.
      inside: what it was found in, for example "task 'xcopa'".
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    guess = f"Did you mean: {', '.join(close)}? " if close else ""
    shown = " ".join(names) if len(names) <= 12 else f"{' '.join(names[:4])} ... {names[-1]}"
    ending = {"y": "ies", "h": "hes"}.get(what[-1])
    plural = what if len(names) == 1 else what[:-1] + ending if ending else what + "s"
    place = f" in {inside}" if inside else ""
    return ConfigError(f"Unknown {what} '{name}'{place}.\n{guess}Known: {shown} ({len(names)} {plural}).\n{where}")


def choose(what: str, name: str, table: Mapping[str, Row], where: str, inside: str = "") -> Row:
    """Returns the row of a table; the error of `unknown` if it has none of that name."""
    if name not in table:
        raise unknown(what, name, table, where, inside)
    return table[name]


def broken_line(path: str, line: int, found: str, allowed: str) -> DataError:
    """Returns the error for a line of a data file that does not say what its format promises.

    Args:
      path: the file, as the user named it.
      line: 1-based line number.
      found: what is there.
      allowed: what the format allows.
    """
    return DataError(f"{path}:{line}: {found}.\nAllowed: {allowed}.")
