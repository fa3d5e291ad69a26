"""What a contrast is made of: a weight for each score of a study.

A score is that of an arm of an experiment on a target in a language. A gain, a difference of gains, and the slope of a
line through gains at known places are all sums of weighted scores.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from xling_jax.report.averages import zero_shot
from xling_jax.report.collapse import whole_runs
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.record import Record, Target
from xling_jax.tables.tasks import TASKS

RETRIEVAL = ("retrieval", "mining", "dual_encoder")  # kinds whose scores are reported apart


@dataclasses.dataclass(frozen=True, order=True)
class Side:
    """An arm of an experiment."""

    experiment: str
    arm: str


Place = tuple[str, str, str, str]  # experiment, arm, target, language
Weights = Mapping[Place, float]


def mean_of(side: Side, target: str, codes: Sequence[str]) -> Weights:
    """Returns the weights of an arm's mean over languages of a target."""
    return {(side.experiment, side.arm, target, code): 1 / len(codes) for code in codes}


def total(parts: Iterable[tuple[float, Weights]]) -> Weights:
    """Returns the weights of a weighted sum; what cancels out is not in it."""
    found: dict[Place, float] = collections.defaultdict(float)
    for factor, weights in parts:
        for place, weight in weights.items():
            found[place] += factor * weight
    return {place: weight for place, weight in found.items() if abs(weight) > 1e-12}


def gain_of(side: Side, base: Side, target: str, codes: Sequence[str]) -> Weights:
    """Returns the weights of what one arm has over another in the mean over languages of a target."""
    return total([(1.0, mean_of(side, target, codes)), (-1.0, mean_of(base, target, codes))])


def average(parts: Sequence[Weights]) -> Weights:
    """Returns the weights of an unweighted mean."""
    return total([(1 / len(parts), part) for part in parts])


def slope(xs: Sequence[float], parts: Sequence[Weights]) -> Weights:
    """Returns the weights of the slope of the least-squares line through sums at known places."""
    apart_N = np.array(xs) - np.mean(xs)
    return total(zip(map(float, apart_N / (apart_N**2).sum()), parts, strict=True))


def sides(study: CollectedStudy) -> list[Side]:
    """Returns all arms of all experiments that have begun, in the order declared."""
    return [Side(record.name, arm) for record in study.records for arm in record.arms]


def label(study: CollectedStudy, side: Side) -> str:
    """Returns what an arm is called: by its experiment, too, where several have an arm."""
    return side.arm if len(study.record.experiments) == 1 else f"{side.experiment}: {side.arm}"


def targets(study: CollectedStudy, retrieval: bool = False) -> list[str]:
    """Returns the targets that have a zero-shot language: those of retrieval, or all others."""
    found = [
        target.name
        for record in study.records
        for target in record.targets
        if zero_shot(record, target) and is_retrieval(target) == retrieval
    ]
    return list(dict.fromkeys(found))


def is_retrieval(target: Target) -> bool:
    """Says if a target is answered by vectors, without training: those scores are not averaged with others."""
    return target.task in TASKS and TASKS[target.task].kind in RETRIEVAL


def target_of(record: Record, name: str) -> Target | None:
    """Returns the target of that name, or None if the experiment has none."""
    return next((target for target in record.targets if target.name == name), None)


def answering(study: CollectedStudy, record: Record) -> str:
    """Returns the target whose zero-shot mean answers: the analysis's, the headline's, or the first that has one."""
    named = study.record.analysis.target or (record.headline.target if record.headline else "")
    return named or next(iter((*targets(study), *targets(study, retrieval=True))), record.targets[0].name)


def transferred(record: Record, name: str) -> tuple[str, ...]:
    """Returns the zero-shot languages of a target; none if the experiment does not have it."""
    target = target_of(record, name)
    return zero_shot(record, target) if target else ()


def seeds_of(study: CollectedStudy, weights: Weights) -> tuple[int, ...]:
    """Returns the seeds that all experiments of a contrast have, in the order of the first."""
    names = list(dict.fromkeys(place[0] for place in weights))
    each = [study.experiments[name].record.seeds for name in names]
    return tuple(seed for seed in each[0] if all(seed in seeds for seeds in each[1:])) if each else ()


def models(study: CollectedStudy, weights: Weights, seeds: Sequence[int]) -> int:
    """Returns how many different sets of models the seeds of a contrast are; a stage that seeds share counts once."""
    stages = {side: stages_of(study, side) for side in {Side(*place[:2]) for place in weights}}
    cells = sorted({(Side(*place[:2]), place[2]) for place in weights})
    return len({tuple(stages[side].get((seed, target), "") for side, target in cells) for seed in seeds})


def stages_of(study: CollectedStudy, side: Side) -> Mapping[tuple[int, str], str]:
    """Returns the stage that answers each (seed, target) of an arm."""
    cells = study.experiments[side.experiment].record.cells
    return {(cell.seed, cell.target): cell.stage for cell in cells if cell.arm == side.arm}


def whole_seeds(study: CollectedStudy, weights: Weights) -> tuple[int, ...]:
    """Returns the seeds of a contrast in which no run collapsed."""
    left = seeds_of(study, weights)
    for experiment, arm, name in sorted({place[:3] for place in weights}):
        collected = study.experiments[experiment]
        target = target_of(collected.record, name)
        whole = whole_runs(collected, target, [arm]) if target else left
        left = tuple(seed for seed in left if seed in whole)
    return left


def line(xs: Sequence[float], parts: Sequence[Weights], at: float) -> Weights:
    """Returns the weights of the height of the least-squares line at a place."""
    return total([(1.0, average(parts)), (at - float(np.mean(xs)), slope(xs, parts))])
