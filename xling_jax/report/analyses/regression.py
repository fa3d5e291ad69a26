"""Whether the gain from a source language falls with its distance from the language it is asked in.

A pair is a source language and another one that is evaluated. Its gain is that of the arm with this source over the
baseline; where the source is the experiment's, that of the analysis's pair of arms, or the score itself.

English is a source that most data were made in, so a good source may be good for its data and not for its place among
languages. So the slope that answers is the one within sources and languages (`pairs.py`); those over all pairs, and of
gains less that of the source at home, stand beside. The interval over items and seeds holds for these languages; of
others speak the interval over pairs, and for all pairs a permutation: the languages change places in the table of
distances, and the slope is taken again (Mantel 1967).
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from xling_jax.report.analyses.crossfit import with_experiment
from xling_jax.report.analyses.evidence import bounds, estimates
from xling_jax.report.analyses.findings import Draft, Findings, answer_of, collapsed_table, decide, grid, summary
from xling_jax.report.analyses.weights import (
    Side,
    Weights,
    answering,
    average,
    gain_of,
    line,
    mean_of,
    sides,
    slope,
    target_of,
    total,
)
from xling_jax.report.answer import UNASKED, Answer
from xling_jax.report.collect import Collected
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.figures import Drawing
from xling_jax.report.items import Items
from xling_jax.report.pairs import PairFit, fit_pairs
from xling_jax.report.study_figures import Band, Plane, Point, regression_plot
from xling_jax.report.study_report import Section
from xling_jax.report.table import Number, Table
from xling_jax.typology import distance_table
from xling_jax.world.typology import WORLD_LANGUAGES

STEP = 0.1  # of distance, that slopes are given for
EXACT = 5040  # permutations that are all tried; of more, DRAWS at random
DRAWS = 9999
FINE = 25  # points of a fitted line
GRAMMAR = "grammar"
FALLS = "The gain falls with distance"
WITHIN, PLAIN, AWAY = "within sources and languages", "over all pairs", "that at home removed"
P_VALUE = "p over languages"


@dataclasses.dataclass(frozen=True)
class Pair:
    """A source language, the language that is asked, the gain there and at home; home is empty if it is not asked."""

    source: str
    language: str
    distance: float
    gain: Weights
    home: Weights


def answer(study: CollectedStudy) -> Findings:
    """Returns the gains by distance, the slope of the line through them, and its controls."""
    study, same = at_equal_items(study)
    apart, lacking = distances_of(study)
    found = pairs(study, apart)
    missing = tuple(f"No distance of {source} and {code} is known: the pair is left out." for source, code in lacking)
    if len({pair.distance for pair in found}) < 2:
        none = f"Less than two distances of '{study.record.analysis.distance}' have gains yet."
        return Findings(Answer(none, UNASKED, None, missing), missing=missing)
    values = [estimate.number.value for estimate in estimates(study, [pair.gain for pair in found])]
    within, p = fit_within(found, values), permuted(found, values, apart)
    drafts = _drafts(study, found, within, p)
    claims = decide(study, drafts)
    collapsed = collapsed_table(study, drafts, claims)
    sections = (
        Section("Gain by distance", (source_table(study, found),), _drawing(study, found), same),
        Section("Slopes", (slope_table(study, found, within, p),)),
        Section("Collapsed seeds", (collapsed,)),
    )
    remarks = [*([] if within is None else [_over_pairs(within)]), *([] if p is None else [_permuted(p)]), same]
    others = list(zip(drafts, claims, strict=True))[1:]
    remarks += [summary(*pair) for pair in others if pair[0].text.startswith(FALLS)]
    return Findings(answer_of(study, drafts[0], claims[0], remarks), claims, sections, missing)


def pairs(study: CollectedStudy, apart: Mapping[tuple[str, str], float]) -> list[Pair]:
    """Returns all pairs of a source and another language whose distance is known; a gain is the mean of its arms'."""
    gains: dict[tuple[str, str], list[Weights]] = {}
    homes: dict[tuple[str, str], list[Weights]] = {}
    for source, record, first, second in _sources(study):
        target = target_of(record, answering(study, record))
        codes = target.languages if target else ()
        name = target.name if target else ""
        score = {code: _score(first, second, name, code) for code in codes}
        for code in codes:
            # Languages that the target was trained in are no zero-shot languages, whatever the source was.
            if code not in (source, record.source_language) and (source, code) in apart:
                gains.setdefault((source, code), []).append(score[code])
                homes.setdefault((source, code), []).append(score.get(source, {}))
    return [
        Pair(*pair, apart[pair], average(parts), average(homes[pair]) if all(homes[pair]) else {})
        for pair, parts in gains.items()
    ]


def _sources(study: CollectedStudy) -> Iterator[tuple]:
    """Yields (source language, record, arm, arm it is compared with or None) of all that have the factor."""
    x, pair = study.record.analysis.x, study.record.analysis.pair
    for side in sides(study):
        record = study.experiments[side.experiment].record
        own = record.arm_factors.get(side.arm, {}).get(x)
        if own is not None and side.arm != record.baseline:
            yield str(own), record, side, Side(record.name, record.baseline)
    for record in study.records:
        if x in record.factors:
            arms = pair or (record.headline.comparison if record.headline else (record.baseline,))
            one, *others = (Side(record.name, arm) for arm in arms)
            yield str(record.factors[x]), record, one, next(iter(others), None)


def _score(first: Side, second: Side | None, target: str, code: str) -> Weights:
    return gain_of(first, second, target, (code,)) if second else mean_of(first, target, (code,))


def distances_of(study: CollectedStudy) -> tuple[dict[tuple[str, str], float], list[tuple[str, str]]]:
    """Returns the distances of all pairs of languages that are known, and the pairs of the study that lack one.

    They stand in the study's record. Those of generated languages, if not, are computed of their grammar.
    """
    codes = _codes(study)
    written = study.record.distances
    generated = bool(codes) and all(code in WORLD_LANGUAGES for code in codes)
    if generated and not written and study.record.analysis.distance == GRAMMAR:
        written = distance_table(codes, GRAMMAR)
    apart = {(a, b): written[a][b] for a in written for b in written[a]}
    apart |= {(b, a): value for (a, b), value in apart.items() if (b, a) not in apart}
    lacking = []
    for source, record, *_ in _sources(study):
        target = target_of(record, answering(study, record))
        lacking += [(source, code) for code in (target.languages if target else ()) if code != source]
    return apart, sorted({pair for pair in lacking if pair not in apart})


def _codes(study: CollectedStudy) -> list[str]:
    found: dict[str, None] = {}
    for source, record, *_ in _sources(study):
        target = target_of(record, answering(study, record))
        found |= dict.fromkeys((source, *(target.languages if target else ())))
    return list(found)


def at_equal_items(study: CollectedStudy) -> tuple[CollectedStudy, str]:
    """Returns the study on the items that all languages of the target have, if they are parallel; and what was done.

    Languages of other items would be compared by items, too. They are parallel if each has half of the items of all.
    """
    names = {record.name: answering(study, record) for record in study.records}
    ids: set[str] | None = None
    every = [
        items
        for name, collected in study.experiments.items()
        for (_, _, target, _), items in collected.items.items()
        if target == names[name]
    ]
    for items in every:
        ids = set(items.ids) if ids is None else ids & set(items.ids)
    if not every or not ids:
        return study, "The languages have no items in common: differences between them are of their items, too."
    least = min(len(ids) / len(items.ids) for items in every)
    if least == 1:
        return study, "All languages are asked the same items."
    if least < 0.5:
        return (
            study,
            "The languages have less than half of their items in common: they are compared on all of their own.",
        )
    for name, collected in study.experiments.items():
        study = with_experiment(study, _restricted(collected, names[name], ids))
    return study, f"On the {len(ids)} items that all languages have."


def _restricted(collected: Collected, target: str, ids: set[str]) -> Collected:
    items = {key: _only(cell, ids) if key[2] == target else cell for key, cell in collected.items.items()}
    return dataclasses.replace(collected, items=items)


def _only(items: Items, ids: set[str]) -> Items:
    kept_N = np.array([name in ids for name in items.ids])
    ranking = None if items.ranking_NxC is None else items.ranking_NxC[kept_N]
    names = tuple(name for name in items.ids if name in ids)
    arrays = {field: getattr(items, field)[kept_N] for field in ("num_N", "den_N", "right_N")}
    return dataclasses.replace(items, ids=names, ranking_NxC=ranking, **arrays)


def permuted(
    found: Sequence[Pair], values: Sequence[float | None], apart: Mapping[tuple[str, str], float]
) -> float | None:
    """Returns the share of permutations of languages whose slope is at least as steep; None if a number is missing.

    All permutations are tried where there are few; of many, some at random, and the one that is observed is counted.
    """
    codes = sorted({code for pair in found for code in (pair.source, pair.language)})
    table = [[0.0 if a == b else apart.get((a, b), math.nan) for b in codes] for a in codes]
    apart_GxG = np.array(table)
    if any(value is None for value in values) or np.isnan(apart_GxG).any():
        return None
    y_N = np.array(values, float)
    y_N = y_N - y_N.mean()
    from_N, to_N = (np.array([codes.index(getattr(pair, name)) for pair in found]) for name in ("source", "language"))
    steep = [_steepness(apart_GxG[np.ix_(order, order)][from_N, to_N], y_N) for order in _orders(len(codes))]
    return float(np.mean(np.array(steep) >= steep[0] - 1e-12))


def _orders(count: int) -> Iterator[np.ndarray]:
    """Yields permutations, the one that changes nothing first."""
    if math.factorial(count) <= EXACT:
        yield from map(np.array, itertools.permutations(range(count)))
        return
    rng = np.random.default_rng(0)
    yield np.arange(count)
    yield from (rng.permutation(count) for _ in range(DRAWS))


def _steepness(x_N: np.ndarray, y_N: np.ndarray) -> float:
    apart_N = x_N - x_N.mean()
    square = float(apart_N @ apart_N)
    return abs(float(apart_N @ y_N)) / square if square > 0 else 0.0


def slopes(found: Sequence[Pair], within: PairFit | None) -> dict[str, Weights]:
    """Returns the slopes of the gain by distance, each of STEP; those that cannot be told are left out.

    Within sources and languages stands first: it is what neither a good source nor an easy language explains.
    """
    made: dict[str, Weights] = {}
    if within is not None:
        parts = zip(map(float, within.weights), (pair.gain for pair in found), strict=True)
        made[WITHIN] = total(parts)
    made[PLAIN] = slope([pair.distance for pair in found], [pair.gain for pair in found])
    homely = [pair for pair in found if pair.home]
    if len({pair.distance for pair in homely}) > 1:
        parts = [total([(1.0, pair.gain), (-1.0, pair.home)]) for pair in homely]
        made[AWAY] = slope([pair.distance for pair in homely], parts)
    return {name: total([(STEP, weights)]) for name, weights in made.items()}


def fit_within(found: Sequence[Pair], values: Sequence[float | None]) -> PairFit | None:
    """Returns the slope within sources and languages; None where a gain is missing or pairs are too few."""
    known = [value for value in values if value is not None]
    if len(known) < len(found):
        return None
    distance_P = np.array([pair.distance for pair in found])
    sources, languages = [pair.source for pair in found], [pair.language for pair in found]
    return fit_pairs(np.array(known), distance_P, sources, languages)


def slope_table(study: CollectedStudy, found: Sequence[Pair], within: PairFit | None, p: float | None) -> Table:
    """Returns the slopes with their intervals over items and seeds; what is known of other languages beside."""
    asked = slopes(found, within)
    rows = {
        name: {"items and seeds": estimate.number}
        for name, estimate in zip(asked, estimates(study, [*asked.values()]), strict=True)
    }
    if within is not None:
        rows[WITHIN]["other pairs"] = Number(STEP * within.slope, STEP * within.low, STEP * within.high)
        rows[WITHIN][P_VALUE] = Number(within.p_value, digits=3)
    if p is not None:
        rows[PLAIN][P_VALUE] = Number(p, digits=3)
    note = (
        f"Points a {STEP:g} of distance, with 95% intervals: over items and seeds, with these languages; and over "
        "other pairs of languages, from what is left of these once each source and each language has an effect of its "
        "own (docs/statistics.md). p over all pairs: the share of orders of the languages in the table of distances "
        "that give a slope as steep."
    )
    return grid("slopes", "Slopes", note, rows, kinds={P_VALUE: "value"}, names="slope")


def source_table(study: CollectedStudy, found: Sequence[Pair]) -> Table:
    """Returns the gains by source and language, each source's mean and its mean distance."""
    rows: dict[str, dict[str, Number]] = {}
    numbers = estimates(study, [pair.gain for pair in found])
    for pair, estimate in zip(found, numbers, strict=True):
        rows.setdefault(pair.source, {})[pair.language] = estimate.number
    for source, numbers_of in rows.items():
        mine = [pair for pair in found if pair.source == source]
        (mean,) = estimates(study, [average([pair.gain for pair in mine])])
        numbers_of["mean"] = mean.number
        numbers_of["mean distance"] = Number(float(np.mean([pair.distance for pair in mine])), digits=2)
    note = (
        "In points, with 95% intervals: by source language, in each other language. Languages that the target was "
        "trained in are left out, as they are no zero-shot languages."
    )
    return grid("sources", "Gains by source language", note, rows, kinds={"mean distance": "value"}, names="source")


def _drafts(study: CollectedStudy, found: Sequence[Pair], within: PairFit | None, p: float | None) -> list[Draft]:
    """Returns the claims: the gain falls with distance, within, plain and away from home; another source gives more.

    What speaks of these languages alone is not enough: a claim holds where the test over languages says so, too.
    """
    unit = f"points a {STEP:g} of {study.record.analysis.distance} distance"
    least = {PLAIN: p, WITHIN: within.p_value if within else None}
    drafts = [
        Draft(f"{FALLS}, {name}", total([(-1.0, weights)]), unit, least_p=least.get(name))
        for name, weights in slopes(found, within).items()
    ]
    return [*drafts, *_best_source(study, found)]


def _best_source(study: CollectedStudy, found: Sequence[Pair]) -> list[Draft]:
    """Returns, for each other source, the claim that it gives more than the first experiment's own source does.

    On the languages that both are asked in, so that neither has an easier set.
    """
    home = study.records[0].source_language
    by_source: dict[str, dict[str, Weights]] = {}
    for pair in found:
        by_source.setdefault(pair.source, {}).setdefault(pair.language, pair.gain)
    drafts = []
    for source, gains in by_source.items() if home in by_source else ():
        both = [code for code in gains if code in by_source[home]]
        if source != home and both:
            parts = [(sign / len(both), by[code]) for code in both for sign, by in ((1, gains), (-1, by_source[home]))]
            text = f"{source} as a source gives more than {home} in the {len(both)} languages that are neither"
            drafts.append(Draft(text, total(parts)))
    return drafts


def _drawing(study: CollectedStudy, found: Sequence[Pair]) -> tuple[Drawing, ...]:
    """Returns the gain of each pair against its distance, and the line with its interval."""
    xs, parts = [pair.distance for pair in found], [pair.gain for pair in found]
    points = [
        Point(
            f"{pair.source}→{pair.language}",
            pair.distance,
            estimate.number.value,
            estimate.number.low,
            estimate.number.high,
            pair.source,
        )
        for pair, estimate in zip(found, estimates(study, parts), strict=True)
        if estimate.number.value is not None
    ]
    if len(points) < 2:
        return ()
    fine_N = np.linspace(min(xs), max(xs), FINE)
    fitted = bounds(estimates(study, [line(xs, parts, float(at)) for at in fine_N]))
    band = Band(fine_N, *fitted) if np.isfinite(fitted[0]).all() else None
    plane = Plane(f"{study.record.analysis.distance} distance", "gain in points", zero=True)
    caption = "Gain of each source language (its sign, or before the arrow) in each other, 95% intervals, and the line."
    return (regression_plot(f"{study.record.name}-distance", caption, points, band, plane),)


def _over_pairs(within: PairFit) -> str:
    low, high = -STEP * within.high, -STEP * within.low
    return (
        f"Over other pairs of languages: {-STEP * within.slope:+.1f} [{low:.1f}, {high:.1f}], p {within.p_value:.3f}."
    )


def _permuted(p: float) -> str:
    return f"Of all orders of the languages in the table of distances {100 * p:.1f}% give a slope over all as steep."
