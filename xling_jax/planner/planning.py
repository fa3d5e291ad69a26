"""An experiment on a slice: a row of figures for each of its stages, and one for all of them."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from xling_jax.checks import check_model
from xling_jax.data.tokenizers import PieceTokenizer, load_tokenizer
from xling_jax.disk import as_path
from xling_jax.errors import ConfigError
from xling_jax.experiment import Experiment, Vocabulary, digest
from xling_jax.models.card import NAME, Card, read_card
from xling_jax.planner.draft import Draft
from xling_jax.planner.roofline import (
    ASSUMPTIONS,
    COMPILED,
    ESTIMATED,
    NOT_COMPILED,
    Figures,
    bound,
    chip_hours,
    seconds,
    step_seconds,
)
from xling_jax.planner.work import Asking, Counter, StageWork, Training, work_of
from xling_jax.stages.plan import Node, Plan, Start, make_plan
from xling_jax.tables.models import MODELS, Model, decides, model

LARGEST, TRAINING, ALL, NONE = "largest", "training", "all", "none"  # which programs of a slice are compiled
Say = Callable[[str], None]


def open_plan(experiment: Experiment, name: str = "", known: dict[str, Node] | None = None) -> Plan:
    """Returns the plan of an experiment whose checkpoint, vocabulary and data need not be there.

    `name` is a row of the models; "" for that of the checkpoint if it is there, for the row that its folder is named
    by, or for the experiment's own. `known`: stages of others, as `make_plan` has them; the same checkpoint is a folder
    of the same name. Raises ConfigError if there is no such row, and CheckpointError for a damaged checkpoint.
    """
    row, heads = _model(experiment, name)
    check_model(experiment, row)
    start = None
    if experiment.checkpoint:
        card, step = Card(row, heads, {}, None), experiment.checkpoint_step or 0
        fingerprint = digest(experiment.checkpoint, step)
        start = Start(as_path(experiment.checkpoint), step, card, Vocabulary(), fingerprint)
    plan = make_plan(experiment, digest(experiment.vocabulary), str, start, known)
    return dataclasses.replace(plan, row=dataclasses.replace(row, vocab=row.vocab or _pieces(experiment.vocabulary)))


def _model(experiment: Experiment, name: str) -> tuple[Model, tuple]:
    folder = as_path(experiment.checkpoint)
    if experiment.checkpoint and (folder / NAME).is_file():
        card = read_card(folder)
        if name and decides(model(name, "'--model'")) != decides(card.model):
            raise ConfigError(f"--model={name}, and {folder} is '{card.model.name}'.\nAllowed: no --model.")
        return card.model, card.heads
    if experiment.checkpoint and not name and folder.name not in MODELS:
        raise ConfigError(
            f"There is no checkpoint {folder}, so nobody knows of which model it would be.\n"
            f"Allowed: --model=NAME, for example xlmr_xxl; or a folder that is named like its model.\n"
            "Models are rows of xling_jax/tables/models.py."
        )
    return model(name or (folder.name if experiment.checkpoint else experiment.model), "'--model'"), ()


def _pieces(vocabulary: Vocabulary) -> int:
    """Returns the pieces of a vocabulary that is not published with the model."""
    if vocabulary.kind == "world":
        from xling_jax import world  # noqa: PLC0415 - only experiments on generated data need it

        return PieceTokenizer(world.pieces()).size
    return load_tokenizer(vocabulary.path, vocabulary.kind).size if vocabulary.path else vocabulary.size


def choose_effort(
    draft: Draft, work: Iterable[StageWork], compiling: str, effort: str
) -> Callable[[Training | Asking], str]:
    """Returns what says of a program how it is compiled; "" for one that is estimated."""
    if compiling in (ALL, NONE):
        return lambda one: effort if compiling == ALL else ""
    trainings = [one for stage in work for one in stage.trainings]
    askings = [one for stage in work for one in stage.askings]
    chosen: list[Any] = []
    for ones, figures in ((trainings, draft.training), (askings, draft.asking)):
        if ones and (compiling == LARGEST or ones is trainings):
            chosen.append(max(ones, key=lambda one: figures(one).peak))
    return lambda one: effort if one in chosen else ""


def plan_on(
    draft: Draft, count: Counter, *, only: str = "", compiling: str = LARGEST, effort: str, say: Say = lambda text: None
) -> dict[str, Any]:
    """Returns the figures of an experiment on a slice: those of its largest stage, sums of hours, a row for each stage.

    Args:
      draft: the experiment on the slice.
      count: of examples.
      only: one stage.
      compiling: largest (the training step and the evaluation that take the most memory), training (the first of
        these alone), all, or none.
      effort: of the compiler, full or fast.
      say: is told what is being done.

    Raises:
      ConfigError: a batch that the mesh does not divide, a stage that is not there.
    """
    return plan_work(draft, work_of(draft.plan, count, only), compiling=compiling, effort=effort, say=say)


def plan_work(
    draft: Draft, work: list[StageWork], *, compiling: str = NONE, effort: str = "", say: Say = lambda text: None
) -> dict[str, Any]:
    """Returns the figures of what an experiment does on a slice, as `plan_on` does."""
    how = choose_effort(draft, work, compiling, effort)
    every = [(stage.name, one) for stage in work for one in (*stage.trainings, *stage.askings)]
    for name, one in sorted(every, key=lambda pair: not how(pair[1])):  # estimates gain from what was compiled
        _make(draft, one, how(one), f"{draft.where.name}: {name}", say)
    return _whole(draft, [_row(draft, stage, how) for stage in work])


def _make(draft: Draft, one: Training | Asking, effort: str, name: str, say: Say) -> None:
    what = "training step" if isinstance(one, Training) else f"evaluation of {one.name}"
    if effort:
        say(f"{name}: compiling the {what} ({one.batch.rows} x {one.batch.length}), which takes minutes")
    made = draft.figures(one, effort)
    took = f" ({made.compile_seconds:.0f} s)" if made.method == COMPILED else ""
    say(f"{name}: {what}: {made.method}, {made.peak / 2**30:.2f} GiB a chip{took}")


def _row(draft: Draft, stage: StageWork, how: Callable) -> dict[str, Any]:
    """Returns the figures of a stage and of all evaluations after it."""
    trainings = [(one, draft.training(one, how(one))) for one in stage.trainings]
    askings = [(one, draft.asking(one, how(one))) for one in stage.askings]
    figures = [made for _, made in (*trainings, *askings)]
    fits = all(made.fits for made in figures)
    where = draft.where
    train = sum(chip_hours(made, where, one.steps * stage.trained) for one, made in trainings)
    ask = sum(chip_hours(made, where, one.batches) for one, made in askings)
    largest, made = max(trainings or askings, key=lambda pair: pair[1].peak)
    peak = max(each.peak for each in figures)
    accumulate = largest.stage.accumulate if isinstance(largest, Training) else 1
    return {
        "stage": stage.name,
        **_step(draft, made, fits, peak),
        "global_batch": largest.batch.rows,
        "accumulate": accumulate,
        "max_length": largest.batch.length,
        "steps": sum(one.steps for one, _ in trainings),
        "trained": stage.trained,
        "training_chip_hours": train if fits else None,
        "evaluation_chip_hours": ask if fits else None,
        **_cost(draft, train + ask, fits),
        "evaluations": [_evaluation(draft, one, each) for one, each in askings],
    }


def _step(draft: Draft, made: Figures, fits: bool, peak: int) -> dict[str, Any]:
    """Returns the figures of one call of a stage's largest program; no times where the stage does not fit."""
    where, runs = draft.where, fits and (made.method == ESTIMATED or made.moved > 0)
    experiment = draft.plan.experiment
    return {
        "topology": where.name,
        "chips": where.chips,
        "hosts": where.hosts,
        "hbm_per_chip_bytes": where.chip.memory,
        "peak_bytes_per_chip": peak,
        "spare_bytes_per_chip": where.chip.memory - peak,
        "fits": fits,
        "parameter_bytes_per_chip": made.parameters,
        "optimizer_bytes_per_chip": made.optimizer,
        "temporary_bytes_per_chip": made.temporaries,
        "flops_per_step": made.flops,
        "bytes_moved_per_chip": made.moved,
        "collective_bytes_per_chip": made.sent,
        "collectives": made.collectives,
        "seconds": seconds(made, where) if runs else None,
        "bound": bound(made, where) if runs else None,
        "step_seconds_roofline": step_seconds(made, where) if runs else None,
        "tokens_per_step": made.tokens,
        "tokens_per_second": made.tokens / step_seconds(made, where) if runs else None,
        "strategy": experiment.strategy,
        "mesh": "x".join(map(str, draft.sizes)),
        "remat": experiment.remat,
        "dtype": experiment.dtype,
        "method": made.method,
        "effort": made.effort,
    }


def _cost(draft: Draft, hours: float, fits: bool) -> dict[str, Any]:
    chip = draft.where.chip
    return {
        "chip_hours": hours if fits else None,
        "cost_dollars": hours * chip.price if fits else None,
        "price_per_chip_hour": chip.price,
        "priced": chip.priced,
    }


def _evaluation(draft: Draft, one: Asking, made: Figures) -> dict[str, Any]:
    return {
        "target": one.name,
        "batches": one.batches,
        "batch": one.batch.rows,
        "max_length": one.batch.length,
        "method": made.method,
        "peak_bytes_per_chip": made.peak,
        "fits": made.fits,
        "flops_per_step": made.flops,
        "step_seconds_roofline": step_seconds(made, draft.where) if made.fits else None,
        "chip_hours": chip_hours(made, draft.where, one.batches) if made.fits else None,
    }


def _whole(draft: Draft, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the figures of all stages: the step of the one that takes the most memory, the hours of all."""
    trained = [row for row in rows if row["trained"]] or rows
    largest = max(trained, key=lambda row: (row["method"] == COMPILED, row["peak_bytes_per_chip"]))
    fits = all(row["fits"] for row in rows)
    peak = max(row["peak_bytes_per_chip"] for row in rows)
    hours = sum(row["chip_hours"] or 0.0 for row in rows)
    first = {"experiment": draft.plan.experiment.name, "model": draft.plan.row.name, "stage": largest["stage"]}
    whole = {name: value for name, value in largest.items() if name not in ("evaluations", "steps", "trained")}
    whole |= {"peak_bytes_per_chip": peak, "spare_bytes_per_chip": draft.where.chip.memory - peak, "fits": fits}
    for name in ("training_chip_hours", "evaluation_chip_hours"):
        whole[name] = sum(row[name] or 0.0 for row in rows) if fits else None
    methods = {row["method"] for row in rows} | {one["method"] for row in rows for one in row["evaluations"]}
    said = [*ASSUMPTIONS, *([NOT_COMPILED] if ESTIMATED in methods else [])]
    uncounted = sorted({one["target"] for row in rows for one in row["evaluations"] if not one["batches"]})
    if uncounted:
        said.append(
            f"{', '.join(uncounted)}: not in the hours, as nobody counts the examples; --data_dir=DIR counts files"
        )
    return first | whole | _cost(draft, hours, fits) | {"assumptions": said, "stages": rows}
