"""How the gain of arms over their controls goes with a number: the number of languages that were trained on, say.

Points are arms that have the factor; a curve is of one value of each factor in `by`, and what else differs are
replicates, whose mean is taken at each x. A gain is over the arm's control: the second of the first comparison that
the experiment declares of it, or the baseline. Languages an arm had labels in, others, and the source stand apart:
a language that was trained on is no zero-shot language any more.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.analyses.evidence import bounds, estimates, fitted
from xling_jax.report.analyses.findings import Draft, Findings, answer_of, collapsed_table, decide, grid, summary
from xling_jax.report.analyses.weights import (
    Side,
    Weights,
    answering,
    average,
    gain_of,
    line,
    sides,
    slope,
    target_of,
    total,
)
from xling_jax.report.answer import UNASKED, Answer
from xling_jax.report.collect_study import CollectedStudy, Factor
from xling_jax.report.figures import file_name
from xling_jax.report.intervals import number
from xling_jax.report.record import Record
from xling_jax.report.study_figures import Band, Plane, Series, curve_plot
from xling_jax.report.study_report import Claim, Section
from xling_jax.report.table import Number, Table

ALL, SEEN, UNSEEN, NEVER, SOURCE = "zero-shot", "seen", "unseen", "never seen", "source"
LANGUAGES = {
    ALL: "all languages but the source",
    SEEN: "those that the arm had labels in",
    UNSEEN: "the others",
    NEVER: "those that no arm had labels in",
    SOURCE: "the source language",
}
DOUBLINGS = 4.0  # times the smallest x that the largest is, from which on a line is fitted to log2 x
NAMES = {kind: f"{kind} languages" for kind in (ALL, SEEN, UNSEEN)}
NAMES |= {NEVER: "languages never seen", SOURCE: "the source language"}
DOUBLING = "doubling"
FINE = 25  # points of a fitted line


@dataclasses.dataclass(frozen=True)
class Point:
    """An arm at its x, its control, the curve it belongs to, and which replicate it is of those at its x."""

    side: Side
    control: Side
    x: float
    curve: str
    replicate: tuple[tuple[str, Factor], ...]


@dataclasses.dataclass(frozen=True)
class Level:
    """The gain at one x of a curve over some languages: the mean of its replicates.

    `at` is where lines are fitted: x, or log2 x where `unit` is a doubling.
    """

    x: float
    at: float
    unit: str
    weights: Weights
    replicates: Mapping[tuple, Weights]


def answer(study: CollectedStudy) -> Findings:
    """Returns the gains against x, the line through them, what the end of it says, and whether more of x helps."""
    found = points(study)
    curves = {(name, kind): levels(study, found, name, kind) for name in _names(found) for kind in LANGUAGES}
    curves = {key: those for key, those in curves.items() if those}
    for name in _names(found):
        if curves.get((name, NEVER)) == curves.get((name, UNSEEN)):
            curves.pop((name, NEVER), None)
    drafts = [draft for key, those in curves.items() for draft in _drafts(study, key, those)]
    drafts = unique([*drafts[:1], *source_only(study, found), *drafts[1:]])
    claims = decide(study, drafts)
    collapsed = collapsed_table(study, drafts, claims)
    sections = [_section(study, curves, name) for name in _names(found) if any(key[0] == name for key in curves)]
    sections.append(Section("Collapsed seeds", (collapsed,)))
    said = _answer(study, drafts, claims, found)
    return Findings(said, claims, tuple(sections))


def points(study: CollectedStudy) -> list[Point]:
    """Returns the arms that have the factor, those that are their own control left out."""
    analysis, found = study.record.analysis, []
    for side in sides(study):
        factors, record = study.factors(side.experiment, side.arm), study.experiments[side.experiment].record
        x, control = factors.get(analysis.x), control_of(record, side.arm)
        if isinstance(x, int | float) and control != side.arm:
            curve = ", ".join(f"{name} {_said(factors[name])}" for name in analysis.by if name in factors)
            rest = tuple(sorted((k, v) for k, v in factors.items() if k not in (analysis.x, *analysis.by)))
            found.append(Point(side, Side(side.experiment, control), float(x), curve, rest))
    return found


def control_of(record: Record, arm: str) -> str:
    """Returns the arm that another is compared with: the second of its first comparison, or the baseline."""
    return next((second for first, second in record.comparisons if first == arm), record.baseline)


def languages(study: CollectedStudy, found: Sequence[Point], point: Point, kind: str) -> tuple[str, ...]:
    """Returns the languages of a kind, for an arm; none where its target has none."""
    record = study.experiments[point.side.experiment].record
    target = target_of(record, answering(study, record))
    codes = target.languages if target else ()
    source, seen = record.source_language, record.seen_languages.get(point.side.arm, ())
    ever = {code for one in found for code in _seen(study, one)}
    chosen = {
        ALL: [code for code in codes if code != source],
        SEEN: [code for code in codes if code != source and code in seen],
        UNSEEN: [code for code in codes if code != source and code not in seen],
        NEVER: [code for code in codes if code != source and code not in ever],
        SOURCE: [code for code in codes if code == source],
    }
    return tuple(chosen[kind])


def levels(study: CollectedStudy, found: Sequence[Point], name: str, kind: str) -> tuple[Level, ...]:
    """Returns a curve's gains over a kind of languages, by x; an arm that has none of them is left out."""
    by_x: dict[float, dict[tuple, Weights]] = {}
    for point in found:
        codes = languages(study, found, point, kind)
        if point.curve == name and codes:
            record = study.experiments[point.side.experiment].record
            gain = gain_of(point.side, point.control, answering(study, record), codes)
            there = by_x.setdefault(point.x, {})
            key = (point.side.experiment, *point.replicate)
            there[(*key, point.side.arm) if key in there else key] = gain  # no factor tells these two apart
    unit = unit_of([point.x for point in found])
    return tuple(Level(x, place_of(x, unit), unit, average([*by_x[x].values()]), by_x[x]) for x in sorted(by_x))


def unit_of(xs: Sequence[float]) -> str:
    """Returns what a slope is of: a doubling where x spans some, or a unit."""
    return DOUBLING if min(xs) > 0 and max(xs) >= DOUBLINGS * min(xs) else "unit"


def place_of(x: float, unit: str) -> float:
    """Returns where a line is fitted."""
    return math.log2(x) if unit == DOUBLING else x


def rise(found: Sequence[Level]) -> Weights:
    """Returns the weights of the slope of the line through a curve."""
    return slope([level.at for level in found], [level.weights for level in found])


def rises(found: Sequence[Level]) -> dict[tuple, Weights]:
    """Returns the slope of each replicate that has an arm at every x; where there is one arm, it is in all of them."""
    names = dict.fromkeys(name for level in found for name in level.replicates if len(level.replicates) > 1)
    each = {}
    for name in names:
        parts = [
            level.replicates.get(name) or (level.weights if len(level.replicates) == 1 else None) for level in found
        ]
        if None not in parts:
            each[name] = slope([level.at for level in found], [part for part in parts if part])
    return each


def source_only(study: CollectedStudy, found: Sequence[Point]) -> list[Draft]:
    """Returns, for the largest x of each curve, the gain over arms that had labels in the source language alone.

    They are those of the declared comparisons; replicates are averaged.
    """
    parts: dict[str, list[Weights]] = {}
    for point in found:
        if point.x < max(other.x for other in found if other.curve == point.curve):
            continue
        record = study.experiments[point.side.experiment].record
        codes, alone = languages(study, found, point, ALL), {record.source_language}
        for first, second in record.comparisons if codes and set(_seen(study, point)) - alone else ():
            if first == point.side.arm and set(record.seen_languages.get(second, ())) == alone:
                data = _examples(record, second)
                equal = " at equal data" if data and data == _examples(record, first) else ""
                where = f" ({point.curve})" if point.curve else ""
                text = f"{point.x:g} {study.record.analysis.x} over the source language alone{equal}{where}"
                gain = gain_of(point.side, Side(record.name, second), answering(study, record), codes)
                parts.setdefault(text, []).append(gain)
    return [Draft(text, average(gains)) for text, gains in parts.items()]


def unique(drafts: Sequence[Draft]) -> list[Draft]:
    """Returns drafts of different sums, of those with the same one the first; what is one claim is counted once."""
    found: dict[tuple, Draft] = {}
    for draft in drafts:
        found.setdefault((frozenset(draft.weights.items()), len(draft.drawn)), draft)
    return [*found.values()]


def _drafts(study: CollectedStudy, key: tuple[str, str], found: Sequence[Level]) -> list[Draft]:
    """Returns the claims of a curve: it rises; it rises at its end; there is a gain at the largest x."""
    (name, kind), x = key, study.record.analysis.x
    where = f" ({name})" if name else ""
    drafts = []
    if len(found) > 1:
        per = f"points a {found[0].unit} of {x}"
        drafts.append(Draft(f"More {x} help {NAMES[kind]}{where}", rise(found), per))
        drawn = tuple(rises(found).values())
        if kind == ALL and len(drawn) > 1:
            text = f"More {x} help {NAMES[kind]}, whichever of {len(drawn)} replicates was drawn{where}"
            drafts.append(Draft(text, average(drawn), per, drawn=drawn))
    if len(found) > 2 and kind == ALL:
        before, last = found[-2:]
        end = total([(1 / (last.at - before.at), last.weights), (-1 / (last.at - before.at), before.weights)])
        text = f"From {before.x:g} to {last.x:g} {x} the gain in {NAMES[kind]} still grows{where}"
        drafts.append(Draft(text, end, f"points a {last.unit} of {x}"))
    if kind in (ALL, UNSEEN):
        drafts.append(Draft(f"Gain at {found[-1].x:g} {x} in {NAMES[kind]}{where}", found[-1].weights))
    return drafts


def gain_table(study: CollectedStudy, curves: Mapping[str, Sequence[Level]], title: str) -> Table:
    """Returns the gains by x and kind of languages, and the slope of the line through them."""
    x, asked = study.record.analysis.x, []
    rows: dict[str, dict[str, Number]] = {
        f"{x} {at:g}": {} for at in sorted({level.x for found in curves.values() for level in found})
    }
    for kind, found in curves.items():
        asked += [(f"{x} {level.x:g}", kind, level.weights) for level in found]
        if len(found) > 1:
            asked.append((f"a {found[0].unit}", kind, rise(found)))
    for (row, kind, _), estimate in zip(asked, estimates(study, [weights for *_, weights in asked]), strict=True):
        rows.setdefault(row, {})[kind] = estimate.number
    kinds = "; ".join(f"{kind}: {LANGUAGES[kind]}" for kind in curves)
    note = (
        f"Points over each arm's control, with 95% intervals; the last rows are slopes of the least-squares line. "
        f"{kinds[0].upper()}{kinds[1:]}. Which languages are seen and unseen changes with {x}."
    )
    return grid("curve", f"{title}: gains", note, rows, names=x)


def fit_table(study: CollectedStudy, curves: Mapping[str, Sequence[Level]], title: str) -> Table:
    """Returns what a line on log2 x and a curve that saturates say at the largest x, and which predicts better.

    Of curves of which every gain is measured, over the seeds that all have.
    """
    rows: dict[str, dict[str, Number]] = {}
    for kind, found in curves.items():
        fit = fitted({level.x: level.weights for level in found}, study)
        if fit is not None:
            rows[kind] = {
                "measured": number(fit.at_largest),
                "line": number(fit.line),
                "error of the line": Number(fit.line_error),
            }
            if fit.saturating and fit.saturating_error is not None and fit.scale is not None:
                rows[kind] |= {
                    "saturating": number(fit.saturating),
                    "error of the saturating": Number(fit.saturating_error),
                    f"63% gained at {study.record.analysis.x}": Number(fit.scale),
                }
    note = (
        "The gain at the largest value as measured, on a line on log2, and on a + b (1 - exp(-x / c)), with 95% "
        "intervals that do not allow for the curve being wrong. Errors are root mean squares of what each predicts for "
        "a point that it was not fitted to: of the smaller one the shape is nearer. With three points none saturates."
    )
    kinds = dict.fromkeys(("measured", "line", "saturating"), "gain")
    return grid("fits", f"{title}: fits", note, rows, kind="value", kinds=kinds, names="languages")


def replicate_table(study: CollectedStudy, curves: Mapping[str, Sequence[Level]], title: str) -> Table:
    """Returns how far replicates lie apart: the mean of their gains, the lowest and highest; none where there are none.

    They are arms of their own, of other languages in another order, say. Intervals are for those that were trained.
    """
    rows: dict[str, dict[str, Number]] = {}
    for kind, found in curves.items():
        for level in found:
            if len(level.replicates) > 1:
                values = [estimate.number.value for estimate in estimates(study, [*level.replicates.values()])]
                known = [value for value in values if value is not None]
                number = Number(None, state="missing")
                if len(known) == len(values):
                    number = Number(float(np.mean(known)), min(known), max(known))
                row = f"{study.record.analysis.x} {level.x:g}, {len(level.replicates)} replicates"
                rows.setdefault(row, {})[kind] = number
    note = "Points over each arm's control: mean of the replicates, and below it the lowest and the highest."
    return grid("replicates", f"{title}: replicates", note, rows, kind="value", names=study.record.analysis.x)


def _section(study: CollectedStudy, curves: Mapping[tuple[str, str], Sequence[Level]], name: str) -> Section:
    mine = {kind: those for (curve, kind), those in curves.items() if curve == name}
    title = f"Gains by {study.record.analysis.x}" + (f", {name}" if name else "")
    tables = (gain_table(study, mine, title), fit_table(study, mine, title), replicate_table(study, mine, title))
    series = [_series(study, kind, those) for kind, those in mine.items() if len(those) > 1]
    drawings = []
    if series:
        log = mine[ALL][0].unit == DOUBLING
        caption = f"{title}: gain over the control with 95% intervals, and the least-squares line with its own."
        stem = "-".join(part for part in (study.record.name, "curve", file_name(name)) if part)
        plane = Plane(study.record.analysis.x, "gain in points", log_x=log, zero=True)
        drawings.append(curve_plot(stem, caption, series, plane))
    return Section(title, tables, tuple(drawings))


def _series(study: CollectedStudy, kind: str, found: Sequence[Level]) -> Series:
    """Returns the gains of a kind of languages, and the fitted line with its interval; NaN where cells are missing."""
    parts, xs = [level.weights for level in found], [level.at for level in found]
    fine_N = np.linspace(min(xs), max(xs), FINE)
    measured = bounds(estimates(study, parts))
    fitted = bounds(estimates(study, [line(xs, parts, float(at)) for at in fine_N]))
    at_N = 2**fine_N if found[0].unit == DOUBLING else fine_N
    band = Band(at_N, *fitted) if np.isfinite(fitted[0]).all() else None
    return Series(kind, np.array([level.x for level in found]), *measured, band)


def _answer(study: CollectedStudy, drafts: Sequence[Draft], claims: Sequence[Claim], found: Sequence[Point]) -> Answer:
    """Returns the rise of the first curve in all languages, and that of the others as remarks."""
    if not drafts:
        return Answer(f"No arm has a number of '{study.record.analysis.x}' and a control yet.", UNASKED, None, ())
    rises = [n for n, draft in enumerate(drafts) if draft.text.startswith("More ") and f" {ALL} " in draft.text]
    first, *others = rises or [0]
    remarks = [summary(drafts[n], claims[n]) for n in others]
    if any(len(languages(study, found, point, SEEN)) for point in found):
        remarks.append("Seen languages are no zero-shot languages; the table has seen and unseen ones apart.")
    return answer_of(study, drafts[first], claims[first], remarks)


def _names(found: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys(point.curve for point in found))


def _seen(study: CollectedStudy, point: Point) -> Sequence[str]:
    return study.experiments[point.side.experiment].record.seen_languages.get(point.side.arm, ())


def _examples(record: Record, arm: str) -> float | None:
    """Returns how many examples an arm's intermediate stage has, as its configuration says; None if it does not."""
    declared = record.config.get("arms", {}).get(arm) or {}
    return (declared.get("stage") or {}).get("examples") or None


def _said(factor: Factor) -> str:
    return factor if isinstance(factor, str) else f"{factor:g}"
