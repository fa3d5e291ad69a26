"""`xling study --dry_run` and `--emit`: what a study is and costs, and job files for it. Nothing is run."""

import functools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from absl import flags

from xling_jax.disk import on_bucket, reach
from xling_jax.doors.flags import named_data_dir, required, study
from xling_jax.tables.slices import Slice, slice_of


def _prepare() -> None:
    """Sets the environment of a machine that only plans."""
    from xling_jax.planner.environment import prepare_environment  # noqa: PLC0415 - before JAX

    prepare_environment()
    from xling_jax.doors.run import quiet_libraries  # noqa: PLC0415

    quiet_libraries()


def _where(values: flags.FlagValues, declared) -> Slice | None:
    name = values["topology"].value or declared.topology
    return slice_of(name, "'--topology'" if values["topology"].value else "the study's topology") if name else None


def show(values: flags.FlagValues) -> None:
    """Prints the plan of a study: what sharing saves, what is done and missing, what it costs."""
    declared, workdir, data = study(values), reach(required(values, "workdir")), named_data_dir(values)
    where = _where(values, declared)
    _prepare()
    from xling_jax.planner.study import cost, open_study, to_fetch  # noqa: PLC0415
    from xling_jax.planner.work import counter  # noqa: PLC0415
    from xling_jax.stages.study import StudyPlan, describe_study  # noqa: PLC0415

    drafts, here = open_study(declared), StudyPlan(declared, workdir, data)
    units = here.units(required(values, "only"))
    _print(describe_study(declared, drafts | here.plans, workdir))
    left = [unit for unit in units.values() if not here.is_done(unit)]
    asked = f" of what --only={','.join(values['only'].value)} asks for" if values["only"].value else ""
    _print([f"{len(units) - len(left)} of {len(units)} stages{asked} are done"] if units else [])
    _print(f"experiment {name} cannot begin: {str(why).splitlines()[0]}" for name, why in here.absent.items())
    _print(f"to be fetched: {what}: {how}" for what, how in to_fetch(drafts, data).items())
    if where is not None:
        _print(cost_lines(cost(drafts, where, counter(data), lambda text: print(text, file=sys.stderr, flush=True))))


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def cost_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yields what a study takes at least."""
    yield f"on {found['topology']} ({found['chips']} chips) at least, each stage counted once, by estimate:"
    width = max(len(row["experiment"]) for row in found["experiments"])
    for row in found["experiments"]:
        hours = f"{row['chip_hours']:10,.2f} chip-hours" if row["chip_hours"] is not None else row["why"]
        yield f"  {row['experiment']:{width}}  {row['model']}, {row['trained']} stages more  {hours}"
    yield (
        f"  in all {found['chip_hours']:,.2f} chip-hours, ${found['cost_dollars']:,.2f} "
        f"(prices of {found['priced']} in xling_jax/tables/slices.py). Never checked on a chip; `xling plan` compiles."
    )


def emit(values: flags.FlagValues, argv: list[str]) -> None:
    """Writes job files for what is ready, and says what to do with them."""
    declared, workdir = study(values), reach(required(values, "workdir"))
    where, engine = _where(values, declared), required(values, "emit")
    _prepare()
    from xling_jax.disk import write_text  # noqa: PLC0415
    from xling_jax.planner.study import open_study  # noqa: PLC0415
    from xling_jax.stages.emit import AGAIN, Place, jobs, write_jobs  # noqa: PLC0415
    from xling_jax.stages.stage import is_done  # noqa: PLC0415
    from xling_jax.stages.study import StudyPlan  # noqa: PLC0415

    here = StudyPlan(declared, workdir, named_data_dir(values))
    config, rest = _words(argv)
    place = Place(os.getcwd(), config, rest, required(values, "mount"), required(values, "bucket"))
    made = jobs(declared.name, open_study(declared) | here.plans, functools.partial(is_done, workdir))
    out = reach(values["jobs_dir"].value or ("jobs" if on_bucket(workdir) else workdir / "jobs"))
    files = write_jobs(engine, made, where, place) if made else {}
    for name, text in files.items():
        write_text(out / name, text)
        (out / name).chmod(0o755 if name.endswith(".sh") else 0o644)
    _print(f"{job.name}: {job.model} on mesh {job.mesh}, {job.stages} stages" for job in made)
    _print(f"wrote {out / name}" for name in files)
    _print([f"{AGAIN}." if made else "nothing is left to do"])


def _words(argv: list[str]) -> tuple[str, tuple[str, ...]]:
    """Returns (FILE[:ARG] of --config, the other flags of a job: what is said here of planning and hosts is none)."""
    own = (
        "emit",
        "dry_run",
        "only",
        "topology",
        "jobs_dir",
        "mount",
        "bucket",
        "max_stages",
        "coordinator",
        "hosts",
        "host",
    )
    words, rest, config = iter(argv), [], ""
    for word in words:
        name, given, value = word.lstrip("-").partition("=")
        if name in ("dry_run", "nodry_run"):
            continue
        if not given and not name.startswith(("skip_damaged", "noskip_damaged")):
            value = next(words, "")
        if name == "config":
            config = _relative(value)
        elif name not in own:
            rest.append(f"--{name}={value}" if value or given else f"--{name}")
    return config, tuple(rest)


def _relative(config: str) -> str:
    """Returns a config's path as from the current folder, if it lies below it."""
    path, cwd = config, os.getcwd()
    return os.path.relpath(path, cwd) if path.startswith(f"{cwd}/") else path
