"""Whether the gain of one arm over another goes with a factor of experiments: the size of the model, say.

The gain is a difference, and so the answer is a difference of differences. Consistency with the source language stands
beside accuracy: larger models were found to be more accurate and no more consistent (Qi et al. 2023, arXiv 2310.10378).
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.analyses.curve import DOUBLING, place_of, unit_of
from xling_jax.report.analyses.evidence import bounds, estimates, from_seeds
from xling_jax.report.analyses.findings import (
    GAIN,
    INTERVAL,
    Draft,
    Findings,
    answer_of,
    collapsed_table,
    decide,
    grid,
    summary,
)
from xling_jax.report.analyses.weights import (
    Side,
    Weights,
    answering,
    average,
    gain_of,
    mean_of,
    slope,
    target_of,
    total,
    transferred,
)
from xling_jax.report.answer import UNASKED, Answer
from xling_jax.report.collect_study import CollectedStudy, Factor
from xling_jax.report.consistency import measure
from xling_jax.report.figures import Drawing
from xling_jax.report.study_figures import Plane, Series, curve_plot
from xling_jax.report.study_report import Section
from xling_jax.report.table import Number, Table


@dataclasses.dataclass(frozen=True)
class Level:
    """The experiments that have one value of the factor: the gain of the first arm over the second, and both scores."""

    value: Factor
    experiments: tuple[str, ...]
    gain: Weights
    arms: tuple[Weights, Weights]


def answer(study: CollectedStudy) -> Findings:
    """Returns the gain at each value of the factor, and how it differs between them; then the same of consistency."""
    found = levels(study)
    drafts = _drafts(study, found)
    claims = decide(study, drafts)
    agreed = {level.value: consistency(study, level) for level in found}
    collapsed = collapsed_table(study, drafts, claims)
    sections = (
        Section(
            f"Gain by {study.record.analysis.x}",
            (gain_table(study, found), each_table(study, found)),
            _drawings(study, found),
        ),
        Section("Consistency with the source language", (consistency_table(study, agreed),)),
        Section("Collapsed seeds", (collapsed,)),
    )
    if not drafts:
        none = f"Less than two values of '{study.record.analysis.x}' have begun."
        return Findings(Answer(none, UNASKED, None, ()), (), sections)
    remarks = [summary(draft, claim) for draft, claim in zip(drafts[1:], claims[1:], strict=True)]
    return Findings(answer_of(study, drafts[0], claims[0], remarks), claims, sections)


def levels(study: CollectedStudy) -> list[Level]:
    """Returns the values of the factor in order: of numbers the smallest first, of words as they were declared."""
    pair, by_value = study.record.analysis.pair, {}
    for record in study.records:
        value, name = record.factors.get(study.record.analysis.x), answering(study, record)
        if value is not None and all(arm in record.arms for arm in pair) and transferred(record, name):
            by_value.setdefault(value, []).append(record.name)
    values = [*by_value]
    if all(isinstance(value, int | float) for value in values):
        values = sorted(values)
    return [_level(study, value, by_value[value]) for value in values]


def _level(study: CollectedStudy, value: Factor, names: Sequence[str]) -> Level:
    first, second = study.record.analysis.pair
    gains, ones, others = [], [], []
    for name in names:
        record = study.experiments[name].record
        target = answering(study, record)
        codes = transferred(record, target)
        gains.append(gain_of(Side(name, first), Side(name, second), target, codes))
        ones.append(mean_of(Side(name, first), target, codes))
        others.append(mean_of(Side(name, second), target, codes))
    return Level(value, tuple(names), average(gains), (average(ones), average(others)))


def gain_table(study: CollectedStudy, found: Sequence[Level]) -> Table:
    """Returns by the factor's values the scores of both arms and the gain; then how the gain differs."""
    first, second = study.record.analysis.pair
    columns = (first, second, f"{first} − {second}")
    asked = [weights for level in found for weights in (*level.arms, level.gain)]
    numbers = iter(estimates(study, asked))
    rows = {_said(level.value): {column: next(numbers).number for column in columns} for level in found}
    for one, other in itertools.pairwise(found):
        (apart,) = estimates(study, [total([(1.0, other.gain), (-1.0, one.gain)])])
        rows[f"{_said(other.value)} − {_said(one.value)}"] = {columns[-1]: apart.number}
    note = (
        "Zero-shot means in percent and gains in points, paired over seeds and items, with 95% intervals; then what "
        "each value has over the one before."
    )
    kinds = {columns[-1]: GAIN}
    return grid("interaction", "Gains", note, rows, kind=INTERVAL, kinds=kinds, names=study.record.analysis.x)


def each_table(study: CollectedStudy, found: Sequence[Level]) -> Table:
    """Returns the gain in each experiment, where several have one value of the factor: the mean hides what differs."""
    first, second = study.record.analysis.pair
    rows: dict[str, dict[str, Number]] = {}
    for level in found if any(len(level.experiments) > 1 for level in found) else ():
        for name in level.experiments:
            (gain,) = estimates(study, [_level(study, level.value, [name]).gain])
            rows[name] = {f"{study.record.analysis.x} {_said(level.value)}": gain.number}
    note = f"Gain of {first} over {second} in points of the zero-shot mean, with 95% intervals."
    return grid("experiments", "Gains by experiment", note, rows, names="experiment")


def consistency(study: CollectedStudy, level: Level) -> dict[str, dict[int, float]]:
    """Returns by arm and seed how consistent the zero-shot languages are with the source: RankC, or kappa.

    The mean over the experiments of a level and over its languages; seeds that lack one are left out.
    """
    parts: dict[str, list[dict[int, float]]] = {}
    for name in level.experiments:
        collected = study.experiments[name]
        target = target_of(collected.record, answering(study, collected.record))
        codes = transferred(collected.record, target.name) if target else ()
        if target is None or collected.record.source_language not in target.languages:
            return {}
        measured = measure(collected, target, codes)
        for arm in study.record.analysis.pair:
            by_seed = {}
            for seed in collected.record.seeds:
                cells = [measured.agreements.get((arm, seed, code)) for code in measured.parallel]
                values = [cell.observed if measured.ranked else cell.kappa for cell in cells if cell]
                known = [value for value in values if value is not None]
                if known and len(known) == len(cells):
                    by_seed[seed] = float(np.mean(known))
            parts.setdefault(arm, []).append(by_seed)
    return {
        arm: {seed: float(np.mean([one[seed] for one in each])) for seed in each[0] if all(seed in one for one in each)}
        for arm, each in parts.items()
    }


def consistency_table(study: CollectedStudy, agreed: Mapping[Factor, Mapping[str, Mapping[int, float]]]) -> Table:
    """Returns by the factor's values the consistency of both arms and its gain; then how the gain differs."""
    first, second = study.record.analysis.pair
    name = f"{first} − {second}"
    rows: dict[str, dict[str, Number]] = {}
    gains: dict[Factor, dict[int, float]] = {}
    for value, by_arm in agreed.items():
        one, other = by_arm.get(first, {}), by_arm.get(second, {})
        gains[value] = {seed: one[seed] - other[seed] for seed in one if seed in other}
        if one and other:
            rows[_said(value)] = {first: from_seeds(one), second: from_seeds(other), name: from_seeds(gains[value])}
    for low, high in itertools.pairwise(agreed):
        apart = {seed: gains[high][seed] - gains[low][seed] for seed in gains[high] if seed in gains[low]}
        if apart and rows:
            rows[f"{_said(high)} − {_said(low)}"] = {name: from_seeds(apart)}
    note = (
        "RankC where candidates are ranked, and else kappa of right answers, of zero-shot languages with the source: "
        "mean over languages, in percent. Intervals are Student's t over seeds: items are not resampled. None where no "
        "language is parallel with the source, or there is one seed."
    )
    kinds = {name: GAIN}
    return grid("consistency", "Consistency", note, rows, kind=INTERVAL, kinds=kinds, names=study.record.analysis.x)


def _drafts(study: CollectedStudy, found: Sequence[Level]) -> list[Draft]:
    """Returns the claims: the gain grows with the factor, from the first value to the last; it is there at each."""
    if len(found) < 2:
        return []
    x, (first, second), ends = study.record.analysis.x, study.record.analysis.pair, (found[0], found[-1])
    between = f"{x} {_said(ends[0].value)} to {_said(ends[1].value)}"
    apart = total([(1.0, ends[1].gain), (-1.0, ends[0].gain)])
    drafts = [Draft(f"The gain of {first} over {second} grows from {between}", apart)]
    numbers = [level.value for level in found if isinstance(level.value, int | float)]
    if len(numbers) == len(found) > 2:
        unit = unit_of(numbers)
        rise = slope([place_of(number, unit) for number in numbers], [level.gain for level in found])
        drafts.append(Draft(f"The gain of {first} over {second} rises with {x}", rise, f"points a {unit} of {x}"))
    drafts += [Draft(f"{first} over {second} at {x} {_said(level.value)}", level.gain) for level in found]
    better = total([(1.0, ends[1].arms[1]), (-1.0, ends[0].arms[1])])
    return [*drafts, Draft(f"{second} scores more from {between}", better)]


def _drawings(study: CollectedStudy, found: Sequence[Level]) -> tuple[Drawing, ...]:
    """Returns the gain against the factor, where that is a number."""
    numbers = [float(level.value) for level in found if isinstance(level.value, int | float)]
    if len(numbers) < 2 or len(numbers) < len(found):
        return ()
    first, second = study.record.analysis.pair
    series = [Series(f"{first} − {second}", np.array(numbers), *bounds(estimates(study, [one.gain for one in found])))]
    plane = Plane(study.record.analysis.x, "gain in points", log_x=unit_of(numbers) == DOUBLING, zero=True)
    caption = f"Gain of {first} over {second} by {study.record.analysis.x}, with 95% intervals."
    return (curve_plot(f"{study.record.name}-interaction", caption, series, plane),)


def _said(value: Factor) -> str:
    return value if isinstance(value, str) else f"{value:g}"
