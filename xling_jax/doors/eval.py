"""`xling eval`: zero-shot evaluation of a checkpoint, or of each that a training makes."""

import dataclasses
import pathlib

from absl import flags

from xling_jax.disk import reach
from xling_jax.doors.flags import data_dir, define_hosts, define_workdir, joined, parse, required
from xling_jax.doors.run import call_one_by_one, compilation_cache, quiet_libraries
from xling_jax.doors.stopping import catch_signals
from xling_jax.errors import ConfigError
from xling_jax.heap import keep_memory

ABOUT = """xling eval --checkpoint=DIR --tasks=TASK,... --workdir=DIR [--languages=CODE,...] [--follow]

Evaluates a checkpoint, the folder of a stage or of an import, in every language: predictions in the layout of XTREME,
results.jsonl. --tasks are tasks (xnli), their splits (bucc2018.dev) or benchmarks (xtreme, xtreme_r).
--follow evaluates each checkpoint of a training in progress, once; start it before, during or after the training.
Run the same command again to go on."""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_workdir(values)
    define_hosts(values)
    _define_flags(values)
    if parse(values, "eval", argv, ABOUT):
        raise ConfigError("`xling eval` takes flags only.\n`xling eval --help` lists them.")
    keep_memory()
    workdir, where = reach(required(values, "workdir")), data_dir(values)
    for name in ("checkpoint", "tasks"):
        required(values, name)
    quiet_libraries()

    call_one_by_one()
    compilation_cache(workdir)
    stop_asked = catch_signals()
    with joined(values, stop_asked):
        _evaluate(values, workdir, where, stop_asked)


def _evaluate(values: flags.FlagValues, workdir: pathlib.Path, where: pathlib.Path | None, stop_asked) -> None:
    """Evaluates what the flags ask for, on all hosts that have joined."""
    from xling_jax.experiment import digest  # noqa: PLC0415 - after the flags
    from xling_jax.partitioning import hosts  # noqa: PLC0415
    from xling_jax.stages.follow import Follower, summary, wait_for  # noqa: PLC0415
    from xling_jax.stages.record import check_shared  # noqa: PLC0415
    from xling_jax.train.writer import Display  # noqa: PLC0415

    display, stop_asked = Display(), hosts.together(stop_asked)
    checkpoint, names = reach(required(values, "checkpoint")), required(values, "tasks")
    check_shared(workdir)
    card = wait_for(checkpoint, bool(values["follow"].value), stop_asked, display)
    experiment = _experiment(values, names, checkpoint, card, where)
    hosts.check_same("list of questions", digest(experiment))
    follower = Follower(experiment, workdir, where, display, _swept(values, experiment, where))
    step = values["step"].value
    found = follower.follow(stop_asked) if values["follow"].value else [follower.evaluate(step, stop_asked)]
    for rows in found:
        if hosts.first():
            print("\n".join(summary(rows, experiment.source_language)), flush=True)
    if hosts.first():
        print(f"results: {workdir / 'results.jsonl'}")


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "Folder with model.json.", flag_values=values)
    flags.DEFINE_list("tasks", None, "Tasks, splits of tasks, benchmarks.", flag_values=values)
    flags.DEFINE_string("languages", "all", "Codes, or all.", flag_values=values)
    flags.DEFINE_list(
        "protocol", [], "FIELD=VALUE,...: layer, pooling, margin ... (xling_jax/protocol.py).", flag_values=values
    )
    flags.DEFINE_integer("step", None, "One of the checkpoints of a stage; else the stage's own.", flag_values=values)
    flags.DEFINE_bool("follow", False, "Evaluate each new checkpoint until the stage is done.", flag_values=values)
    flags.DEFINE_bool(
        "sweep_layers", False, "Choose the layer of sentence vectors on dev languages.", flag_values=values
    )
    flags.DEFINE_string("dev_languages", "", "Those, of tasks without a dev split.", flag_values=values)
    flags.DEFINE_bool("probabilities", False, "Write how sure the model is of its answers.", flag_values=values)
    flags.DEFINE_integer("max_length", 0, "Tokens of an input; 0: as XTREME has it.", lower_bound=0, flag_values=values)
    flags.DEFINE_integer("batch_size", 32, "Examples of a batch.", lower_bound=1, flag_values=values)
    flags.DEFINE_string("form", "", "Of answers: heads or text; else the model family's own.", flag_values=values)
    flags.DEFINE_string("source_language", "en", "The language of the labels, for the summary.", flag_values=values)
    flags.DEFINE_string("mesh", "any", "A row of xling_jax/tables/meshes.py.", flag_values=values)
    flags.DEFINE_string("strategy", "data", "How parameters are divided.", flag_values=values)
    flags.DEFINE_string("dtype", "float32", "float32 or bfloat16.", flag_values=values)


def _swept(values: flags.FlagValues, experiment, where) -> dict:
    """Returns the targets whose layer is to be chosen, with the cells to choose it on."""
    from xling_jax.stages.sweep import dev_cells, has_layers  # noqa: PLC0415

    languages = required(values, "dev_languages").replace(",", " ").replace("+", " ")
    targets = {name: target for name, target in experiment.targets.items() if has_layers(target)}
    if not values["sweep_layers"].value:
        if languages:
            raise ConfigError("--dev_languages is given without --sweep_layers.\nAllowed: both, or neither.")
        return {}
    if not targets:
        raise ConfigError("--sweep_layers is given, and no task asked here has a layer.\nAllowed: tatoeba, bucc2018.")
    return {name: dev_cells(target, languages, where) for name, target in targets.items()}


def _experiment(values: flags.FlagValues, names: list[str], checkpoint: pathlib.Path, card, where):
    """Returns what is asked as an experiment without stages."""
    from xling_jax.experiment import from_config  # noqa: PLC0415
    from xling_jax.partitioning import hosts  # noqa: PLC0415
    from xling_jax.stages.asking import asked  # noqa: PLC0415

    pairs = [field.partition("=") for field in required(values, "protocol")]
    fields = {name: value for name, _, value in pairs}
    length, languages, form = (required(values, name) for name in ("max_length", "languages", "form"))
    found = asked(names, languages, card=card, fields=fields, data_dir=where, max_length=length, form=form)
    for line in found.left_out if hosts.first() else ():
        print(f"left out: {line}")
    plain = {
        name: values[name].value for name in ("probabilities", "form", "source_language", "mesh", "strategy", "dtype")
    }
    return from_config(
        {
            "name": "eval",
            "checkpoint": str(checkpoint),
            "arms": {"checkpoint": {}},
            "targets": {name: dataclasses.asdict(target) for name, target in found.targets.items()},
            "eval_batch_size": values["batch_size"].value,
            **plain,
        }
    )
