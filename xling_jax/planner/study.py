"""A study on a slice: what all its stages take, each counted once, and what has to be fetched first."""

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xling_jax.data.sources import is_there
from xling_jax.disk import as_path
from xling_jax.errors import ConfigError
from xling_jax.experiment import Experiment
from xling_jax.models.card import NAME
from xling_jax.planner.draft import Draft
from xling_jax.planner.planning import Say, open_plan, plan_work
from xling_jax.planner.work import Counter, work_of
from xling_jax.stages.plan import Evaluation, Node, Plan
from xling_jax.study import Study
from xling_jax.tables.models import MODELS
from xling_jax.tables.slices import Slice
from xling_jax.tables.tasks import Cell, parse_cells


def open_study(study: Study) -> dict[str, Plan]:
    """Returns the plans of a study whose checkpoints, vocabularies and data need not be there, by experiment."""
    known: dict[str, Node] = {}
    return {name: open_plan(experiment, known=known) for name, experiment in study.experiments.items()}


def counted_once(plans: Iterable[Plan]) -> Iterator[tuple[Plan, set[str]]]:
    """Yields plans without what those before them do, each with the stages that are trained there already."""
    trained: set[str] = set()
    asked: set[tuple] = set()
    for plan in plans:
        new: list[Evaluation] = []
        for evaluation in plan.evaluations:
            target = plan.experiment.targets[evaluation.target]
            cells = {(evaluation.node.hash, repr(target.protocol), target.metric, cell) for cell in target.cells()}
            if not cells <= asked:
                asked |= cells
                new.append(evaluation)
        evaluated = {evaluation.node.hash for evaluation in new}
        before = {node.hash for node in plan.nodes} & trained
        trained |= {node.hash for node in plan.nodes}
        nodes = tuple(node for node in plan.nodes if node.hash not in before or node.hash in evaluated)
        yield dataclasses.replace(plan, nodes=nodes, evaluations=tuple(new)), before


def cost(study_plans: Mapping[str, Plan], where: Slice, count: Counter, say: Say = lambda text: None) -> dict[str, Any]:
    """Returns chip-hours and dollars of a study on a slice, estimated; by experiment, for what it adds to those before.

    An experiment that the slice does not divide or hold has no hours, and says why.
    """
    counted: dict[tuple, dict] = {}
    rows, hours = [], 0.0
    for plan, before in counted_once(study_plans.values()):
        row: dict[str, Any] = {"experiment": plan.experiment.name, "model": plan.row.name, "why": ""}
        row["trained"] = sum(node.hash not in before and not node.imported for node in plan.nodes)
        same = counted.setdefault((plan.row, plan.experiment.dtype), {})
        try:
            work = work_of(plan, count, trained=before)
            found = plan_work(Draft(plan, where, None, counted=same), work, say=say) if work else {"chip_hours": 0.0}
        except ConfigError as error:
            found = {"chip_hours": None, "why": str(error).splitlines()[0]}
        row |= {name: found[name] for name in ("chip_hours", "peak_bytes_per_chip", "why") if name in found}
        if row["chip_hours"] is None and not row["why"]:
            row["why"] = f"does not fit {where.name}"
        hours += row["chip_hours"] or 0.0
        rows.append(row)
    whole = {"topology": where.name, "chips": where.chips, "chip_hours": hours, "priced": where.chip.priced}
    return whole | {"cost_dollars": hours * where.chip.price, "experiments": rows}


def to_fetch(plans: Mapping[str, Plan], data_dir: pathlib.Path | None) -> dict[str, str]:
    """Returns what is not here, by what makes it: checkpoints, vocabularies, files of data."""
    found: dict[str, str] = {}
    for plan in plans.values():
        experiment = plan.experiment
        if experiment.checkpoint and not (as_path(experiment.checkpoint) / NAME).is_file():
            found[f"checkpoint {experiment.checkpoint}"] = _converting(experiment, plan)
        if experiment.vocabulary.path and not as_path(experiment.vocabulary.path).exists():
            found[f"vocabulary {experiment.vocabulary.path}"] = "that is a file or a folder of a published model"
    for task, cells in _missing(plans, data_dir).items():
        languages = " ".join(sorted({cell.language for cell in cells}))
        splits = " ".join(sorted({cell.split for cell in cells}))
        found[f"data {task} ({splits}: {languages})"] = "xling data doctor --data_dir=DIR says which files"
    return found


def _converting(experiment: Experiment, plan: Plan) -> str:
    folder = as_path(experiment.checkpoint)
    if folder.parent.name == "stages":
        return "a stage of a study or of a run, which makes it"
    source = MODELS[plan.row.name].source if plan.row.name in MODELS else ""
    return f"xling convert from-hf path/to/{source.rpartition('/')[2] or plan.row.name} {folder}" + (
        f" (published as {source})" if source else ""
    )


def _missing(plans: Mapping[str, Plan], data_dir: pathlib.Path | None) -> dict[str, list[Cell]]:
    """Returns the cells that are not here, by task, each looked for once."""
    cells = {part.cell for plan in plans.values() for part in plan.parts()}
    for plan in plans.values():
        cells |= {cell for text in plan.experiment.vocabulary.data for cell in parse_cells(text)}
    missing: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=str):
        if not is_there(cell, data_dir):
            missing.setdefault(cell.task, []).append(cell)
    return missing
