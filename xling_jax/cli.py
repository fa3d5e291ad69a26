"""`xling VERB ...`: finds the verb's door and opens it. Imports nothing heavy."""

import contextlib
import importlib
import os
import pathlib
import sys
from typing import NoReturn

from xling_jax.disk import lost, no_room, reason, unreached
from xling_jax.errors import EXIT_DONE, EXIT_INTERRUPTED, XlingError, unknown

VERBS = {
    "run": "runs an experiment, all its stages, evaluation and report; run again to resume",
    "study": "runs all experiments of a study in one folder, by one worker or many; or writes job files for slices",
    "plan": "says what a run would need on chips that are not here: whether it fits, time bounds, cost",
    "eval": "evaluates a checkpoint zero-shot, or each that a training makes",
    "score": "scores predictions of XTREME or XTREME-R, any system's, as the published scorer does",
    "report": "writes the report of finished or unfinished runs",
    "data": "lists tasks, shows a cell with an example, writes labels to score with, prepares cells",
    "convert": "reads and writes weights as Hugging Face lays them out; lists the models there are",
    "doctor": "checks the installation: versions, devices, what is missing and how to get it",
}


HEAVY = ("run", "study", "eval")  # verbs that compute
TUNABLES = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.tcache_count=0")


def usage() -> str:
    """Returns the help text."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {does}" for verb, does in VERBS.items())
    return f"xling VERB [flags]\n\n{verbs}\n\n`xling VERB --help` says more."


def main(argv: list[str] | None = None) -> None:
    """Runs a verb and leaves with its exit code: 0, or that of the error (see `errors.py`)."""
    if argv is None:
        argv = sys.argv[1:]
        if argv and argv[0] in HEAVY:
            _ask_for_huge_pages()
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(EXIT_DONE)
    try:
        if argv[0] not in VERBS:
            raise unknown("verb", argv[0], VERBS, "`xling --help` lists them.")
        door = importlib.import_module(f"xling_jax.doors.{argv[0]}")
        door.main(argv[1:])
    except XlingError as error:
        _leave(error)
    except BrokenPipeError:  # whoever read the output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at the end
        sys.exit(EXIT_DONE)
    except Exception as error:
        if isinstance(error, OSError) and reason(error):
            _leave(no_room(pathlib.Path(error.filename or "."), error))
        if not lost(error):
            raise
        _leave(unreached(error))
    except KeyboardInterrupt:
        print("error: interrupted. Run the same command again to go on.", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(EXIT_DONE)


def _ask_for_huge_pages() -> None:
    """Starts this process again, on Linux, with glibc told to ask for huge pages: it reads that once, before Python.

    A step of XLM-R base on a CPU maps 3 GB anew, in pages of 4 KiB a sixth of its processor time. And threads are to
    have no caches: behind a large buffer glibc leaves a rest, which counts as used while it lies in a cache, so that
    the buffer does not fit its own place again (`heap.py`). Where the variable says something already, it stays; other
    C libraries and systems pay no heed to it.
    """
    name, value = TUNABLES
    if sys.platform == "linux" and name not in os.environ and sys.executable:
        os.environ[name] = value
        with contextlib.suppress(OSError):  # it is faster with, and runs without
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _leave(error: XlingError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
