"""`xling run`: one experiment, all its stages, evaluation, report."""

import os
import pathlib
import shlex
import sys

from absl import flags

from xling_jax.disk import on_bucket, reach
from xling_jax.doors.compiled import remove_halves
from xling_jax.doors.flags import (
    data_dir,
    define_config,
    define_hosts,
    define_trials,
    define_workdir,
    experiment,
    joined,
    parse,
    required,
)
from xling_jax.doors.report import show_report
from xling_jax.doors.stopping import catch_signals
from xling_jax.errors import ConfigError
from xling_jax.heap import keep_memory
from xling_jax.ledger import process_began

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
    define_trials(values)
    flags.DEFINE_bool("dry_run", False, "Print the plan and stop.", flag_values=values)
    about = "Go back behind a checkpoint that is damaged, and keep it aside; else it is an error."
    flags.DEFINE_bool("skip_damaged", False, about, flag_values=values)
    _define_telemetry(values)
    parse(values, "run", argv, ABOUT)
    stop_asked = catch_signals()  # before anything that takes long
    keep_memory()
    declared, workdir = experiment(values), reach(required(values, "workdir"))
    quiet_libraries()

    from xling_jax.partitioning import hosts  # noqa: PLC0415 - after the flags, which answer at once
    from xling_jax.stages.plan import describe  # noqa: PLC0415
    from xling_jax.stages.run import Run  # noqa: PLC0415

    asked = _asked(values)
    call_one_by_one()
    compilation_cache(workdir)
    where, command = data_dir(values), "xling run " + shlex.join(argv)
    if values["dry_run"].value:
        print("\n".join(describe(Run(declared, workdir, where, command).plan, workdir)))
        return
    skip_damaged = bool(values["skip_damaged"].value)
    with joined(values, stop_asked):
        run = Run(declared, workdir, where, command)
        how = {"jobs": required(values, "jobs"), "trials": required(values, "trials"), "skip_damaged": skip_damaged}
        run(hosts.together(stop_asked), asked=asked, **how)
        if hosts.first():
            with run.ledger.event("report"):
                show_report([workdir], workdir / "report")


def _define_telemetry(values: flags.FlagValues) -> None:
    steps = "Profile so many steps from this one on: STEP[:COUNT], counted from 1; into WORKDIR/profiles."
    flags.DEFINE_string("profile", None, steps, flag_values=values)
    flags.DEFINE_list("profile_stages", [], "Stages to profile, as --dry_run names them; else all.", flag_values=values)
    flags.DEFINE_string("wandb", "", "Send metrics to this project of Weights & Biases, too.", flag_values=values)


def _asked(values: flags.FlagValues):
    """Returns what is to be told beside results; ConfigError for what it cannot be."""
    from xling_jax.stages.telemetry import Asked  # noqa: PLC0415
    from xling_jax.train.sinks import check_wandb  # noqa: PLC0415
    from xling_jax.train.tracing import Profile  # noqa: PLC0415

    text, stages, project = values["profile"].value, required(values, "profile_stages"), required(values, "wandb")
    if stages and text is None:
        raise ConfigError("--profile_stages is given without --profile.\nAllowed: both, or neither.")
    if project:
        check_wandb()
    return Asked(Profile.parse(text, tuple(stages)) if text is not None else None, project, process_began())


def quiet_libraries() -> None:
    """Keeps the libraries' progress notes off the terminal; errors come through."""
    import logging  # noqa: PLC0415

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "jax", "orbax", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    _say_errors_once(logging)


def _say_errors_once(logging) -> None:
    """Keeps the tracebacks of checkpoints off the terminal: what fails comes out where it is waited for.

    Orbax logs what fails in its threads, asyncio what nobody awaits because another write has failed first, and
    TensorStore calls back into an event loop that is closed by then.
    """
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    logging.getLogger("absl").addFilter(lambda record: not (record.exc_info and "orbax" in record.pathname))
    told = sys.unraisablehook

    def tell(found):
        if not (isinstance(found.exc_value, RuntimeError) and str(found.exc_value) == "Event loop is closed"):
            told(found)

    sys.unraisablehook = tell


def call_one_by_one() -> None:
    """Tells JAX, before it looks for devices, to begin a program of a CPU when the one before has ended.

    One that waits for another, which has all cores, gains nothing, and has its memory already: a step of 32 windows of
    SQuAD and XLM-R base held 7 GiB twice.
    """
    import jax  # noqa: PLC0415

    jax.config.update("jax_cpu_enable_async_dispatch", False)


def compilation_cache(workdir: pathlib.Path) -> None:
    """Keeps compiled programs in the run's folder, unless JAX was told of another place.

    That folder and no place of the user's, because it is what a run that is ended and started again on another machine
    still has, what all hosts of a pod see, and what goes away with the run: nothing has to be thrown out of it, and
    JAX's own way of doing that does not survive kill -9 between an entry and its time stamp.
    """
    import jax  # noqa: PLC0415

    if jax.config.values["jax_compilation_cache_dir"] is None:
        folder = (workdir / "compiled").absolute()
        if not on_bucket(folder):  # where nothing is half-written
            remove_halves(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))
    everything = {"jax_persistent_cache_min_compile_time_secs": 0.0, "jax_persistent_cache_min_entry_size_bytes": -1}
    for name, value in everything.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
