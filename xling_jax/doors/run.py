"""`xling run`: one experiment, all its stages, evaluation, report."""

import os
import pathlib
import shlex
import signal
import sys

from absl import flags

from xling_jax.doors.flags import (
    data_dir,
    define_config,
    define_hosts,
    define_workdir,
    experiment,
    joined,
    parse,
    required,
)
from xling_jax.doors.report import show_report

ABOUT = """xling run --config=FILE[:ARG] --workdir=DIR [--config.FIELD=VALUE ...]

Runs an experiment: pretraining, intermediate stages, targets, evaluation in every language, report.
Run the same command again to go on after anything, or to see the report.
On several hosts, run it on each with its own --host: xling run ... --coordinator=HOST:PORT --hosts=N --host=I."""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_config(values, argv)
    define_workdir(values)
    define_hosts(values)
    about = "Stages to run at once; 0: as many as there are cores where the only device is a CPU, else 1."
    flags.DEFINE_integer("jobs", 0, about, lower_bound=0, flag_values=values)
    flags.DEFINE_bool("dry_run", False, "Print the plan and stop.", flag_values=values)
    parse(values, "run", argv, ABOUT)
    keep_memory()
    declared, workdir = experiment(values), pathlib.Path(required(values, "workdir"))
    quiet_libraries()

    from xling_jax.partitioning import hosts  # noqa: PLC0415 - after the flags, which answer at once
    from xling_jax.stages.plan import describe  # noqa: PLC0415
    from xling_jax.stages.run import Run  # noqa: PLC0415

    compilation_cache(workdir)
    where, command = data_dir(values), "xling run " + shlex.join(argv)
    if values["dry_run"].value:
        print("\n".join(describe(Run(declared, workdir, where, command).plan, workdir)))
        return
    with joined(values):
        run = Run(declared, workdir, where, command)
        run(stop_asked=hosts.together(catch_signals()), jobs=required(values, "jobs"))
        if hosts.first():
            show_report([workdir], workdir / "report")


def catch_signals():
    """Returns a function that says whether SIGTERM or Ctrl-C has come; a second Ctrl-C ends the process at once."""
    asked = []

    def ask(number, _frame):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.write(2, b"asked to stop: saving first; Ctrl-C stops at once\n")

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    return lambda: bool(asked)


def quiet_libraries() -> None:
    """Keeps the libraries' progress notes off the terminal; errors come through."""
    import logging  # noqa: PLC0415

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "jax", "orbax", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)


def keep_memory() -> None:
    """Tells glibc to keep freed memory for the next step; other C libraries are left alone.

    XLA's CPU backend allocates its buffers anew in every step. By default glibc gives large ones back to the
    system each time, which then has to map and clear as many pages again: with this, 500 steps of the small
    encoder took 74 seconds of processor time instead of 130, and 0.3 million page faults instead of 13 million.
    """
    import ctypes  # noqa: PLC0415

    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        for option, value in ((mmap_max, 0), (arena_max, 1), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
            mallopt(option, value)


def compilation_cache(workdir: pathlib.Path) -> None:
    """Keeps compiled programs in the run's folder, unless JAX was told of another place."""
    import jax  # noqa: PLC0415

    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str((workdir / "compiled").absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
