"""`xling study`: all experiments of a study in one folder, by one worker or many; or its costs; or job files."""

import shlex

from absl import flags

from xling_jax.disk import reach
from xling_jax.doors.flags import (
    data_dir,
    define_config,
    define_hosts,
    define_trials,
    define_workdir,
    joined,
    parse,
    required,
    study,
)
from xling_jax.doors.report import show_report
from xling_jax.doors.run import call_one_by_one, compilation_cache, quiet_libraries
from xling_jax.doors.stopping import catch_signals
from xling_jax.heap import keep_memory
from xling_jax.ledger import process_began

ABOUT = """xling study --config=FILE[:ARG] --workdir=DIR [--only=PATTERN,...] [--config.FIELD=VALUE ...]

Runs a study: all its experiments in one folder, each stage that they have in common once, and the report.
Run the same command again to go on after anything; run it several times at once, also on machines that share DIR, and
the stages are divided among these workers. --dry_run shows what there is to do and what it would cost; --emit writes
job files for slices in place of running. See docs/studies.md."""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_config(values, argv)
    define_workdir(values)
    define_hosts(values)
    _define_flags(values)
    parse(values, "study", argv, ABOUT)
    if values["dry_run"].value or values["emit"].value:
        from xling_jax.doors.study_plan import emit, show  # noqa: PLC0415

        emit(values, argv) if values["emit"].value else show(values)
        return
    stop_asked = catch_signals()  # before anything that takes long
    keep_memory()
    declared, workdir = study(values), reach(required(values, "workdir"))
    quiet_libraries()

    from xling_jax.partitioning import hosts  # noqa: PLC0415 - after the flags, which answer at once
    from xling_jax.stages.study_run import How, StudyRun  # noqa: PLC0415

    call_one_by_one()
    compilation_cache(workdir)
    how = How(
        tuple(required(values, "only")),
        values["max_stages"].value,
        required(values, "jobs"),
        required(values, "claim_seconds"),
        bool(values["skip_damaged"].value),
        process_began(),
        required(values, "trials"),
    )
    with joined(values, stop_asked):
        run = StudyRun(declared, workdir, data_dir(values), "xling study " + shlex.join(argv))
        run(hosts.together(stop_asked), how, lambda: show_report([workdir], workdir / "report"))


def _define_flags(values: flags.FlagValues) -> None:
    about = "Experiments and EXPERIMENT/STAGE to do, with * and ?; what they come from is done, too."
    flags.DEFINE_list("only", [], about, flag_values=values)
    flags.DEFINE_integer("max_stages", None, "Train at most so many, then stop.", lower_bound=0, flag_values=values)
    about = "Stages to run at once; 0: as many as there are cores where the only device is a CPU, else 1."
    flags.DEFINE_integer("jobs", 0, about, lower_bound=0, flag_values=values)
    define_trials(values)
    about = "Seconds that a worker may be silent before another one takes over what it was doing."
    flags.DEFINE_float("claim_seconds", 120.0, about, lower_bound=1.0, flag_values=values)
    about = "Go back behind a checkpoint that is damaged, and keep it aside; no other worker may be there then."
    flags.DEFINE_bool("skip_damaged", False, about, flag_values=values)
    flags.DEFINE_bool(
        "dry_run", False, "Print the plan, what is missing, and what it costs; then stop.", flag_values=values
    )
    about = "Slice that costs are planned on and jobs are written for; that of the study if not given."
    flags.DEFINE_string("topology", None, about, flag_values=values)
    about = "Write job files for what is ready: skypilot, xpk or sh."
    flags.DEFINE_enum("emit", None, ["skypilot", "xpk", "sh"], about, flag_values=values)
    flags.DEFINE_string(
        "jobs_dir",
        None,
        "Folder of job files; WORKDIR/jobs if not given, ./jobs where that is on a bucket.",
        flag_values=values,
    )
    about = "Where jobs of skypilot and xpk find the shared disk, from which relative paths are taken."
    flags.DEFINE_string("mount", "/xling", about, flag_values=values)
    flags.DEFINE_string("bucket", "", "gs://NAME that skypilot mounts there.", flag_values=values)
