"""`xling plan`: what an experiment would need on chips that are not here, before they are paid for."""

import json
import os
import pathlib
import sys

from absl import flags

from xling_jax.doors.flags import define_config, define_data_dir, experiment, named_data_dir, parse, required
from xling_jax.errors import ConfigError
from xling_jax.tables.slices import Slice, slice_of

ABOUT = """xling plan --config=FILE[:ARG] --topology=NAME[,NAME...] [--stage=NAME] [--search] [--json]

Compiles the real training and evaluation steps of an experiment ahead of time, for slices as the cloud names them
(v5e-64, v4-128, v5p-128, v6e-64; h100-8, cpu-8), and says whether they fit, what they compute, move and send, and a
lower bound of their time and cost. Needs no accelerator, no data and no checkpoint; where a compiler is missing, or
with --compile=none, figures are estimated and say so. Time bounds were never checked on a chip.

--json prints an object a line for each slice: the figures of the stage that takes the most memory, hours and cost of
all stages, and the same for each of them under "stages"."""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_config(values, argv)
    define_data_dir(values)
    _define_flags(values)
    if parse(values, "plan", argv, ABOUT):
        raise ConfigError("`xling plan` takes flags only.\n`xling plan --help` lists them.")
    slices = [slice_of(name, "'--topology'") for name in required(values, "topology")]
    declared = experiment(values)
    simulated = max([where.chips for where in slices if where.chip.platform == "cpu"], default=1)

    from xling_jax.planner.environment import prepare_environment  # noqa: PLC0415 - before JAX

    prepare_environment(simulated)
    from xling_jax.doors.run import quiet_libraries  # noqa: PLC0415

    quiet_libraries()
    from xling_jax.planner.planning import open_plan  # noqa: PLC0415

    plan = open_plan(declared, required(values, "model"))
    counted: dict = {}
    for where in slices:
        _print(_planned(plan, where, values, counted), values)


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_list("topology", None, "Slices, as the cloud names them: v5e-64,v4-128.", flag_values=values)
    flags.DEFINE_string(
        "stage", "", "One stage: pretrain, arms.NAME, targets.NAME; all if not given.", flag_values=values
    )
    flags.DEFINE_string("model", "", "A row of the models, where the checkpoint is not here.", flag_values=values)
    flags.DEFINE_bool("json", False, "Print JSON, an object a line for each slice.", flag_values=values)
    flags.DEFINE_bool("search", False, "Find strategy, mesh, remat and micro-batches: the fastest.", flag_values=values)
    about = "Batch sizes that --search may choose from; those of the config if not given."
    flags.DEFINE_list("batches", [], about, flag_values=values)
    about = "How many ways that fit --search compiles to choose from."
    flags.DEFINE_integer("tries", 3, about, lower_bound=1, flag_values=values)
    about = (
        "What is compiled: the largest training step and evaluation, that step alone, all, none. The rest is estimated."
    )
    flags.DEFINE_enum("compile", "largest", ["largest", "training", "all", "none"], about, flag_values=values)
    about = "Of the compiler: full, or fast, a third of the time and memory 3 to 13% off."
    flags.DEFINE_enum("effort", "full", ["full", "fast"], about, flag_values=values)
    about = "Folder that keeps what compilers said; by default below XDG_CACHE_HOME or ~/.cache."
    flags.DEFINE_string("cache", None, about, flag_values=values)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _cache(values: flags.FlagValues) -> pathlib.Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(values["cache"].value or pathlib.Path(home) / "xling_jax" / "plan")


def _planned(plan, where: Slice, values: flags.FlagValues, counted: dict) -> dict:
    """Returns the figures of a plan on a slice, after a search if one is asked for.

    `counted` keeps what is the same on all slices.
    """
    from xling_jax.planner.draft import Draft  # noqa: PLC0415
    from xling_jax.planner.planning import NONE, plan_on  # noqa: PLC0415
    from xling_jax.planner.topology import ADVICE, devices_of  # noqa: PLC0415
    from xling_jax.planner.work import counter  # noqa: PLC0415

    compiling, only = required(values, "compile"), required(values, "stage")
    count, cache = counter(named_data_dir(values)), _cache(values)
    devices = devices_of(where) if compiling != NONE else None
    if devices is None and compiling != NONE:
        _say(
            f"{where.name}: no compiler for {where.chip.platform} here, so everything is estimated. "
            f"{ADVICE[where.chip.platform]}."
        )
    asked = {"only": only, "compiling": compiling, "effort": required(values, "effort"), "say": _say}
    if not values["search"].value:
        return plan_on(Draft(plan, where, devices, cache=cache, counted=counted), count, **asked)
    from xling_jax.planner.search import search  # noqa: PLC0415

    batches = tuple(_number(text) for text in required(values, "batches"))
    how = {"batches": batches, "tries": required(values, "tries"), "effort": required(values, "effort")}
    found = search(plan, where, devices, count, only=only, cache=cache, counted=counted, say=_say, **how)
    return found.plan_on(count, **asked)


def _number(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise ConfigError(f"--batches has '{text}'.\nAllowed: numbers of examples, for example --batches=64,128.")
    return int(text)


def _print(found: dict, values: flags.FlagValues) -> None:
    from xling_jax.doors.plan_table import lines  # noqa: PLC0415

    print(json.dumps(found) if values["json"].value else "\n".join(lines(found)), flush=True)
