"""Which intermediate task helps which target: gains of all arms over the baseline, and what choosing the best gives.

The replication of Phang et al. 2020 (arXiv 2005.13013): their study is one gain for each intermediate task and target,
and their headline the gain of the best intermediate task for each target. Retrieval stands apart, as most of what they
gained is there.
"""

import dataclasses
from collections.abc import Sequence

from xling_jax.report.analyses.benchmark import overall_table, published_table
from xling_jax.report.analyses.crossfit import choose
from xling_jax.report.analyses.evidence import Estimate, Judged, estimates, judge
from xling_jax.report.analyses.findings import Draft, Findings, answer_of, collapsed_table, decide, grid
from xling_jax.report.analyses.weights import (
    Side,
    Weights,
    answering,
    average,
    gain_of,
    label,
    sides,
    targets,
    transferred,
)
from xling_jax.report.answer import UNASKED, Answer
from xling_jax.report.claims import NOT_SUPPORTED, SUPPORTED
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.record import Record
from xling_jax.report.study_figures import transfer_matrix
from xling_jax.report.study_report import Section
from xling_jax.report.table import Number, Table, count
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS

BEST, BEST_SINGLE = "the best arm", "the best single task"
CURSE = (
    "The arm with the best score was also lucky: chosen and scored on the same items and seeds it gains too much (the "
    "winner's curse). Cross-fitted, an arm is chosen on one half of the items and on the other seeds, and scored on "
    "the rest; the interval holds for the arms that were chosen."
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """The gain of an arm over its baseline on a target, and what it says among all others."""

    side: Side
    target: str
    estimate: Estimate
    judged: Judged


@dataclasses.dataclass(frozen=True)
class Best:
    """The gain of the best arm of a target: as its own score says, and cross-fitted."""

    experiment: str
    target: str
    arms: tuple[str, ...]  # by how often they were chosen, the most first
    naive: Weights
    fair: Weights


def answer(study: CollectedStudy) -> Findings:
    """Returns the matrix of gains, the gain of the best arm for each target, and the declared comparisons."""
    cells, names = gains(study), (targets(study), targets(study, retrieval=True))
    shown = names[0] or names[1]
    others = Section("Scores as others give them", (overall_table(study), published_table(study)))  # of arms that ran
    study, best = best_arms(study, cells, shown)
    pairs = comparisons(study, shown)
    drafts = [*pairs, *_best_draft(best)] if study.record.analysis.pair else [*_best_draft(best), *pairs]
    study, more = multi_task(study, shown)
    drafts += more
    claims = decide(study, drafts)
    collapsed = collapsed_table(study, drafts, claims)
    sections = (
        _matrix_section(study, cells, names),
        Section("The best arm of each target", (best_table(study, best),), note=CURSE),
        others,
        Section("Collapsed seeds", (collapsed,)),
    )
    return Findings(_answer(study, drafts, claims, cells), claims, sections)


def gains(study: CollectedStudy) -> list[Cell]:
    """Returns the gain of every arm over its baseline on the zero-shot mean of every target, decided together."""
    places, weights = [], []
    for side in sides(study):
        record = study.experiments[side.experiment].record
        for target in record.targets if side.arm != record.baseline else ():
            codes = transferred(record, target.name)
            if codes:
                places.append((side, target.name))
                weights.append(gain_of(side, Side(record.name, record.baseline), target.name, codes))
    found = estimates(study, weights)
    return [Cell(*place, *pair) for place, *pair in zip(places, found, judge(found), strict=True)]


def best_arms(study: CollectedStudy, cells: Sequence[Cell], names: Sequence[str]) -> tuple[CollectedStudy, list[Best]]:
    """Returns the best arm of each target, and the study with the arm that cross-fitting makes of them."""
    found = []
    for record in study.records:
        base = Side(record.name, record.baseline)
        for name in names:
            known = {
                c.side: c.estimate.number.value for c in cells if (c.side.experiment, c.target) == (record.name, name)
            }
            scored = {side: value for side, value in known.items() if value is not None}
            chosen = choose(study, record.name, [side.arm for side in scored], name, BEST)
            if chosen is None:
                continue
            study, codes, winner = chosen.study, transferred(record, name), max(scored, key=scored.__getitem__)
            picks = tuple(sorted(chosen.picks, key=lambda arm: -chosen.picks[arm]))
            naive, fair = (gain_of(side, base, name, codes) for side in (winner, chosen.side))
            found.append(
                Best(record.name, name, (winner.arm, *(arm for arm in picks if arm != winner.arm)), naive, fair)
            )
    return study, found


def best_table(study: CollectedStudy, best: Sequence[Best]) -> Table:
    """Returns the gain of the best arm by targets, with the winner's curse and without, and their means."""
    rows = {f"{one.target}: {_listed(one.arms)}": (one.naive, one.fair) for one in best}
    if len(best) > 1:
        rows[f"mean of {len(best)}"] = average([one.naive for one in best]), average([one.fair for one in best])
    names = ("as its own score says", "cross-fitted")
    found = iter(estimates(study, [weights for pair in rows.values() for weights in pair]))
    made = {row: {name: next(found).number for name in names} for row in rows}
    note = "Gain over the baseline in points of the zero-shot mean, with 95% intervals; then the arms that were chosen."
    return grid("best", "The best arm of each target", note, made, names="target")


def comparisons(study: CollectedStudy, names: Sequence[str]) -> list[Draft]:
    """Returns the analysis's pair on the target that answers, and the declared ones on the mean over targets.

    The declared ones, too, are on the analysis's target alone if it names one.
    """
    named, pair = study.record.analysis.target, study.record.analysis.pair
    found = []
    for record in study.records:
        asked = [name for name in ([named] if named else names) if transferred(record, name)]
        answers = answering(study, record)
        if pair and transferred(record, answers):
            one, other = (Side(record.name, arm) for arm in pair)
            gain = gain_of(one, other, answers, transferred(record, answers))
            found.append(Draft(f"{label(study, one)} over {other.arm} on {answers}", gain))
        arms = [arm for arm in record.arms if arm != record.baseline]
        only = [(arms[0], record.baseline)] if len(arms) == 1 else []  # no best arm to be found
        for arms_of in dict.fromkeys([*record.comparisons, *only]) if asked else ():
            one, other = (Side(record.name, arm) for arm in arms_of)
            weights = average([gain_of(one, other, name, transferred(record, name)) for name in asked])
            found.append(Draft(f"{label(study, one)} over {other.arm} on {_on(asked)}", weights))
    return found


def multi_task(study: CollectedStudy, names: Sequence[str]) -> tuple[CollectedStudy, list[Draft]]:
    """Returns what arms of several tasks have over the best arm of one, and the study with that: it is cross-fitted."""
    found = []
    for record in study.records:
        tasks = {arm: labelled_heads(record, arm) for arm in record.arms}
        single = [arm for arm in tasks if len(tasks[arm]) == 1 and arm != record.baseline]
        weights: dict[str, list[Weights]] = {arm: [] for arm in tasks if len(tasks[arm]) > 1}
        asked = []
        for name in names if weights else ():
            chosen = choose(study, record.name, single, name, BEST_SINGLE)
            if chosen is None:
                continue
            study = chosen.study
            asked.append(name)
            for arm, parts in weights.items():
                parts.append(gain_of(Side(record.name, arm), chosen.side, name, transferred(record, name)))
        for arm, parts in weights.items() if asked else ():
            text = f"{label(study, Side(record.name, arm))} over {BEST_SINGLE} on {_on(asked)}"
            found.append(Draft(text, average(parts)))
    return study, found


def labelled_heads(record: Record, arm: str) -> tuple[str, ...]:
    """Returns the heads that an arm's stages train: sets under one head are one task; none where text is mixed in."""
    declared = record.config.get("arms", {}).get(arm) or {}
    stages = [declared.get(part) or {} for part in ("first", "stage", "then")]
    names = [text.partition(".")[0] for stage in stages for text in stage.get("data", ())]
    if not all(name in TASKS and KINDS[TASKS[name].kind].metrics for name in names):
        return ()
    return tuple(dict.fromkeys(TASKS[name].head_name for name in names))


def _matrix_section(study: CollectedStudy, cells: Sequence[Cell], names: Sequence[Sequence[str]]) -> Section:
    tables, drawings = [], []
    for name, title, these in zip(("matrix", "retrieval"), ("Gains", "Gains on retrieval"), names, strict=True):
        mine = [cell for cell in cells if cell.target in these]
        rows: dict[str, dict[str, Number]] = {}
        for cell in mine:
            rows.setdefault(label(study, cell.side), {})[cell.target] = cell.estimate.number
        note = (
            "Gain over the baseline in points of the zero-shot mean, with 95% intervals that are not corrected for "
            f"their number. Of {count(cells, 'gain')} in all, {_tally(cells)}, after correction."
        )
        table = grid(name, title, note, rows, names="arm")
        if mine:
            marks = {(label(study, cell.side), cell.target) for cell in mine if cell.judged.verdict == SUPPORTED}
            tables.append(table)
            drawings.append(transfer_matrix(f"{study.record.name}-{name}", table, marks))
    return Section("Gains over the baseline", tuple(tables), tuple(drawings))


def _answer(study: CollectedStudy, drafts: Sequence[Draft], claims: Sequence, cells: Sequence[Cell]) -> Answer:
    remarks = [f"Of {count(cells, 'gain')} (arms by targets), {_tally(cells)}, after correction for their number."]
    if not drafts:
        return Answer("No two arms can be compared yet.", UNASKED, None, tuple(remarks if cells else ()))
    return answer_of(study, drafts[0], claims[0], remarks)


def _best_draft(best: Sequence[Best]) -> list[Draft]:
    if not best:
        return []
    text = f"The best arm of each target, cross-fitted, over the baseline on {_on([one.target for one in best])}"
    return [Draft(text, average([one.fair for one in best]))]


def _tally(cells: Sequence[Cell]) -> str:
    verdicts = [cell.judged.verdict for cell in cells]
    return f"{verdicts.count(SUPPORTED)} are supported and {verdicts.count(NOT_SUPPORTED)} are losses"


def _on(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"the mean of {len(names)} targets"


def _listed(arms: Sequence[str]) -> str:
    return arms[0] if len(arms) == 1 else f"{arms[0]} (or {', '.join(arms[1:])})"
