"""`xling run`: one experiment, all its stages, evaluation, report."""

import os
import pathlib
import shlex
import sys

from absl import flags

from xling_jax.doors.flags import data_dir, define_config, define_workdir, experiment, parse, required
from xling_jax.doors.report import show_report
from xling_jax.doors.stopping import catch_signals

ABOUT = """xling run --config=FILE[:ARG] --workdir=DIR [--config.FIELD=VALUE ...]

Runs an experiment: pretraining, intermediate stages, targets, evaluation in every language, report.
Run the same command again to go on after anything, or to see the report."""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_config(values, argv)
    define_workdir(values)
    about = "Stages to run at once; 0: as many as there are cores where the only device is a CPU, else 1."
    flags.DEFINE_integer("jobs", 0, about, lower_bound=0, flag_values=values)
    flags.DEFINE_bool("dry_run", False, "Print the plan and stop.", flag_values=values)
    about = "Go back behind a checkpoint that is damaged, and keep it aside; else it is an error."
    flags.DEFINE_bool("skip_damaged", False, about, flag_values=values)
    parse(values, "run", argv, ABOUT)
    stop_asked = catch_signals()  # before anything that takes long
    keep_memory()
    declared, workdir = experiment(values), pathlib.Path(required(values, "workdir"))
    quiet_libraries()

    from xling_jax.stages.plan import describe  # noqa: PLC0415 - after the flags, which answer at once
    from xling_jax.stages.run import Run  # noqa: PLC0415

    compilation_cache(workdir)
    run = Run(declared, workdir, data_dir(values), "xling run " + shlex.join(argv))
    if values["dry_run"].value:
        print("\n".join(describe(run.plan, workdir)))
        return
    run(stop_asked=stop_asked, jobs=required(values, "jobs"), skip_damaged=bool(values["skip_damaged"].value))
    show_report([workdir], workdir / "report")


def quiet_libraries() -> None:
    """Keeps the libraries' progress notes off the terminal; errors come through, once.

    Orbax writes the traceback of what fails in its threads, which then comes out where it is waited for.
    """
    import logging  # noqa: PLC0415

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "jax", "orbax", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("absl").addFilter(lambda record: not (record.exc_info and "orbax" in record.pathname))


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
