"""The gain of choosing the best arm, without the winner's curse.

The best of many arms by its score was also lucky, so its own score says too much of it. Here an arm is chosen on one
half of the test items, and on all other seeds where there are any, and scored on the other half and the seed that was
left out; then the halves and seeds change places. What is scored so is an arm of its own, with intervals as any other
has them. They are for the arms that were chosen: that other items might have chosen others is not in them.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.analyses.weights import Side, stages_of, target_of, transferred
from xling_jax.report.collect import Collected
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.items import Items
from xling_jax.report.record import Cell


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A study with an arm that is the chosen one everywhere, and how often each arm was chosen."""

    study: CollectedStudy
    side: Side
    picks: Mapping[str, int]


def choose(study: CollectedStudy, experiment: str, arms: Sequence[str], target: str, name: str) -> Chosen | None:
    """Returns the study with an arm `name` that is, item by item, the best of the arms by other items and seeds.

    Arms that lack a cell are not chosen; None if less than two are left, or an experiment has but one item.
    """
    collected = study.experiments[experiment]
    seeds, codes = collected.record.seeds, transferred(collected.record, target)
    whole = [arm for arm in arms if all((arm, s, target, code) in collected.items for s in seeds for code in codes)]
    if len(whole) < 2 or not codes:
        return None
    places = _places(collected, whole[0], target, codes)
    if len(places) < 2:
        return None
    score_AxSx2 = _score_halves(collected, whole, target, codes, places)
    items, cells, picks = dict(collected.items), [], collections.Counter()
    source = [code for code in _languages(collected, target) if code not in codes]
    for s, seed in enumerate(seeds):
        others = [other for other in range(len(seeds)) if other != s] or [s]
        best = [whole[int(score_AxSx2[:, others, 1 - half].mean(axis=1).argmax())] for half in (0, 1)]
        picks.update(best)
        for code in (*codes, *source):
            parts = [collected.items.get((arm, seed, target, code)) for arm in best]
            if all(parts):
                items[name, seed, target, code] = _joined([part for part in parts if part], places)
        stages = [stages_of(study, Side(experiment, arm)).get((seed, target), "") for arm in best]
        cells.append(Cell(name, seed, target, "+".join(stages)))
    record = dataclasses.replace(
        collected.record,
        arms=(*dict.fromkeys((*collected.record.arms, name)),),
        cells=(*collected.record.cells, *cells),
    )
    changed = dataclasses.replace(collected, record=record, items=items)
    return Chosen(with_experiment(study, changed), Side(experiment, name), picks)


def with_experiment(study: CollectedStudy, collected: Collected) -> CollectedStudy:
    """Returns the study with one of its experiments in another form."""
    return dataclasses.replace(study, experiments={**study.experiments, collected.record.name: collected})


def _languages(collected: Collected, name: str) -> tuple[str, ...]:
    target = target_of(collected.record, name)
    return target.languages if target else ()


def _places(collected: Collected, arm: str, target: str, codes: Sequence[str]) -> dict[str, int]:
    """Returns the number of each item among all of a target, so that translations of one item have the same."""
    seed = collected.record.seeds[0]
    ids = {name for code in codes for name in collected.items[arm, seed, target, code].ids}
    return {name: place for place, name in enumerate(sorted(ids))}


def _score_halves(
    collected: Collected, arms: Sequence[str], target: str, codes: Sequence[str], places: Mapping[str, int]
) -> np.ndarray:
    """Returns the mean over languages of arms and seeds, in percent, on the items with even numbers and on the rest."""
    seeds = collected.record.seeds
    score_AxSx2 = np.zeros((len(arms), len(seeds), 2))
    for a, arm in enumerate(arms):
        for s, seed in enumerate(seeds):
            for code in codes:
                items = collected.items[arm, seed, target, code]
                half_N = _half(items, places)
                for half in (0, 1):
                    den = items.den_N[half_N == half].sum()
                    score_AxSx2[a, s, half] += 100 * items.num_N[half_N == half].sum() / den if den else 0.0
    return score_AxSx2 / len(codes)


def _half(items: Items, places: Mapping[str, int]) -> np.ndarray:
    return np.array([places.get(name, 0) % 2 for name in items.ids])


def _joined(parts: Sequence[Items], places: Mapping[str, int]) -> Items:
    """Returns the even items of the first and the odd ones of the second; constant if either is."""
    first, second = parts
    order = {name: n for n, name in enumerate(second.ids)}
    other_N = np.array([order[name] for name in first.ids])
    odd_N = _half(first, places) == 1
    mixed = {
        field: np.where(odd_N, getattr(second, field)[other_N], getattr(first, field))
        for field in ("num_N", "den_N", "right_N")
    }
    shares = [part.share for part in parts if part.share is not None]
    return dataclasses.replace(first, **mixed, ranking_NxC=None, share=max(shares, default=None))
