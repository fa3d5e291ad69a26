"""What a batch size costs and gives, each with its best learning rate.

At each batch size the learning rate is that with the best score on the source language's dev cell: no target language
is looked at. Steps are counted until that score reaches a goal; `batches.py` has the critical batch size. A run that
does not reach the goal is censored: it needs more steps than it had, and nobody knows how many.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from xling_jax.report.aggregate import mean_score
from xling_jax.report.analyses.evidence import bounds, estimates
from xling_jax.report.analyses.findings import (
    GAIN,
    VALUE,
    Draft,
    Findings,
    answer_of,
    collapsed_table,
    decide,
    grid,
    in_points,
    summary,
)
from xling_jax.report.analyses.weights import (
    Side,
    Weights,
    answering,
    gain_of,
    label,
    mean_of,
    sides,
    stages_of,
    target_of,
    total,
    transferred,
)
from xling_jax.report.answer import UNASKED, Answer
from xling_jax.report.batches import OVERHEAD, critical_batch
from xling_jax.report.collapse import Runs
from xling_jax.report.collect_study import CollectedStudy, Factor
from xling_jax.report.figures import Drawing, file_name
from xling_jax.report.record import Record
from xling_jax.report.study_figures import Plane, Series, curve_plot
from xling_jax.report.study_report import Section
from xling_jax.report.table import NONE, Number, Table, listed
from xling_jax.report.watched import Track
from xling_jax.selection import SOURCE_DEV
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.tasks import TASKS

LOSE = "Large batches lose zero-shot score"
FEWEST = 3  # batch sizes that a critical one can be told from
INFERENCE = (
    "A batch size of training changes no shape of the model: what inference costs is the same for all of them, and "
    "differs only with the batch size of inference itself."
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed of an arm: the dev curve of the stage that is varied, and what that stage took.

    `judged` says that its checkpoint was chosen by this curve. `speed` has what `collect.read_speed` says.
    """

    track: Track
    judged: bool
    steps: int
    speed: Mapping[str, float]

    @property
    def dev(self) -> float:
        """The dev score of the checkpoint that is handed on."""
        return float(self.track.values.max() if self.judged else self.track.values[-1])

    def reached(self, goal: float) -> float | None:
        """Returns the step at which the goal was reached, between checkpoints on a line; None if it never was."""
        above = np.flatnonzero(self.track.values >= goal)
        if not len(above):
            return None
        if above[0] == 0:
            return float(self.track.steps[0])
        (x0, x1), (y0, y1) = (axis[above[0] - 1 : above[0] + 1] for axis in (self.track.steps, self.track.values))
        return float(x0 + (x1 - x0) * (goal - y0) / (y1 - y0))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A batch size with one learning rate. `runs` are by seed, those without a dev curve left out."""

    side: Side
    x: float
    rate: Factor
    runs: Mapping[int, Run]
    seeds: tuple[int, ...]
    group: str  # the values of all other factors: those of one group are compared

    @property
    def dev(self) -> Number:
        """The dev score: mean over seeds, lowest and highest; missing if a seed has no curve."""
        return self.over_seeds({seed: run.dev for seed, run in self.runs.items()})

    def over_seeds(self, values: Mapping[int, float | None], digits: int = 1) -> Number:
        """Returns a number of each seed as their mean, the lowest and the highest; missing if one is."""
        known = {seed: value for seed, value in values.items() if value is not None}
        lacking = [f"seed {seed}" for seed in self.seeds if seed not in known]
        if lacking:
            return Number(None, state="missing", note=listed(lacking))
        return Number(float(np.mean([*known.values()])), min(known.values()), max(known.values()), digits=digits)


def answer(study: CollectedStudy) -> Findings:
    """Returns scores, steps and costs by batch size, and whether the largest keeps the zero-shot score."""
    found = candidates(study)
    groups = {name: [one for one in found if one.group == name] for name in dict.fromkeys(one.group for one in found)}
    best = {name: tuned(those) for name, those in groups.items()}
    drafts = [draft for those in best.values() for draft in comparisons(study, those)]
    claims = decide(study, drafts)
    missing = tuple(
        f"{label(study, one.side)}: no dev scores of the source language in every seed, so its rate was not judged."
        for one in found
        if one.dev.value is None
    )
    sections = [section for name in groups for section in _sections(study, groups[name], best[name])]
    collapsed = collapsed_table(study, drafts, claims)
    sections += [Section("Inference", note=INFERENCE), Section("Collapsed seeds", (collapsed,))]
    if not drafts:
        none = f"Less than two values of '{study.record.analysis.x}' have dev scores and targets yet."
        return Findings(Answer(none, UNASKED, None), (), tuple(sections), missing)
    remarks = [critical_sentence(study, those) for those in best.values()]
    others = [summary(*pair) for pair in zip(drafts, claims, strict=True) if pair[0].text.startswith(LOSE)][1:]
    answered = answer_of(study, drafts[0], claims[0], (*others, *remarks, INFERENCE))
    return Findings(answered, claims, tuple(sections), missing)


def _sections(study: CollectedStudy, found: Sequence[Candidate], best: Sequence[Candidate]) -> list[Section]:
    """Returns the sections of one group; a title says which, if there are several."""
    where = f", {found[0].group}" if found[0].group else ""
    scores, steps = (score_table(study, best), tuning_table(study, found)), (step_table(study, best),)
    return [
        Section(f"Scores by batch size{where}", scores, _drawing(study, best)),
        Section(
            f"Training{where}",
            (*steps, cost_table(study, best)),
            _steps_drawing(study, best),
            critical_sentence(study, best),
        ),
    ]


def candidates(study: CollectedStudy) -> list[Candidate]:
    """Returns the arms that have a batch size, with their dev curves."""
    analysis, found = study.record.analysis, []
    for side in sides(study):
        factors, record = study.factors(side.experiment, side.arm), study.experiments[side.experiment].record
        x = factors.get(analysis.x)
        if isinstance(x, int | float):
            runs = {seed: run for seed in record.seeds if (run := _run(study, side, seed))}
            rest = {name: value for name, value in factors.items() if name not in (analysis.x, analysis.tuned)}
            group = ", ".join(f"{name} {_said(value)}" for name, value in sorted(rest.items()))
            found.append(Candidate(side, float(x), factors.get(analysis.tuned, ""), runs, record.seeds, group))
    return found


def tuned(found: Sequence[Candidate]) -> list[Candidate]:
    """Returns for each batch size, in order, the candidate with the best dev score; the first among equals."""
    best: dict[float, tuple[float, Candidate]] = {}
    for one in found:
        dev = one.dev.value
        if dev is not None and (one.x not in best or dev > best[one.x][0]):
            best[one.x] = dev, one
    return [best[x][1] for x in sorted(best)]


def comparisons(study: CollectedStudy, best: Sequence[Candidate]) -> list[Draft]:
    """Returns the claims: the largest batch loses zero-shot score; it keeps it; it loses more there than at home."""
    if len(best) < 2:
        return []
    small, large = best[0], best[-1]
    where = f" ({large.group})" if large.group else ""
    loss = total([(1.0, _zero_shot(study, small)), (-1.0, _zero_shot(study, large))])
    pair, within = f"{study.record.analysis.x} {large.x:g} against {small.x:g}{where}", study.record.analysis.within
    drafts = [
        Draft(f"{LOSE}: {pair}", loss),
        Draft(f"They keep it within {in_points(within)}: {pair}", total([(-1.0, loss)]), margin=within),
    ]
    at_home = [_source(study, one) for one in (small, large)]
    if all(at_home):
        home = total([(1.0, at_home[0]), (-1.0, at_home[1])])
        drafts.append(
            Draft(f"They lose more zero-shot than in the source language: {pair}", total([(1.0, loss), (-1.0, home)]))
        )
    return drafts


def critical_sentence(study: CollectedStudy, best: Sequence[Candidate]) -> str:
    """Returns the sentence on the critical batch size, over the seeds that all sizes have; what is censored is said."""
    goal, x = study.record.analysis.goal, study.record.analysis.x
    known = [one for one in best if steps_to(one, goal) is not None]
    censored = [f"{one.x:g}" for one in best if steps_to(one, goal) is None]
    late = f" The goal was not reached in every seed at {x} {listed(censored)}." if censored else ""
    seeds = [seed for seed in known[0].seeds if all(seed in one.seeds for one in known)] if known else []
    if len(known) < FEWEST or not seeds:
        return f"The critical {x} cannot be said: less than {FEWEST} values reach a dev score of {goal:g}.{late}"
    steps_RxB = np.array([[one.runs[seed].reached(goal) for one in known] for seed in seeds], float)
    found = critical_batch(np.array([one.x for one in known]), steps_RxB)
    size = (
        f"about {found.value:,.0f}" if np.isfinite(found.value) else f"beyond all that were tried, to {known[-1].x:g}"
    )
    between = f", 95% interval [{found.low:,.0f}, {found.high:,.0f}] over seeds" if found.low is not None else ""
    beyond = ", which is beyond all that were tried" if found.extrapolated and np.isfinite(found.value) else ""
    where = f" ({known[0].group})" if known[0].group else ""
    return (
        f"Critical {x}{where}: {size}{between}{beyond}: up to there a dev score of {goal:g} takes at most "
        f"{100 * OVERHEAD:.0f}% more steps than linear scaling from {known[0].x:g}.{late}"
    )


def steps_to(one: Candidate, goal: float) -> float | None:
    """Returns the mean steps of a candidate's seeds to a goal; None if one did not reach it."""
    found = [one.runs[seed].reached(goal) for seed in one.seeds]
    known = [steps for steps in found if steps is not None]
    return float(np.mean(known)) if len(known) == len(found) else None


def score_table(study: CollectedStudy, best: Sequence[Candidate]) -> Table:
    """Returns the dev score, the scores on the target and the gain over the baseline at each batch size."""
    rows: dict[str, dict[str, Number]] = {}
    weights = [_gain(study, one) for one in best]
    for one, gain in zip(best, estimates(study, weights), strict=True):
        collected = study.experiments[one.side.experiment]
        record, name = collected.record, answering(study, collected.record)
        target, codes, runs = target_of(record, name), transferred(record, name), Runs(one.side.arm, record.seeds)
        numbers = {"dev": one.dev}
        if target and record.source_language in target.languages:
            numbers["source"] = mean_score(collected.scores, target, runs, (record.source_language,))
        if target and codes:
            numbers |= {"zero-shot": mean_score(collected.scores, target, runs, codes), "gain": gain.number}
        rows[_row(study, one)] = numbers
    note = (
        f"Each {study.record.analysis.x} with the {study.record.analysis.tuned} that has the best dev score in the "
        "source language: in percent, mean over seeds, lowest and highest below. The gain is over the baseline, in "
        "points of the zero-shot mean, with its 95% interval."
    )
    return grid("batch", "Scores", note, rows, kind=VALUE, kinds={"gain": GAIN}, names=study.record.analysis.x)


def tuning_table(study: CollectedStudy, found: Sequence[Candidate]) -> Table:
    """Returns the dev score of each batch size with each learning rate."""
    rows: dict[str, dict[str, Number]] = {}
    for one in sorted(found, key=lambda one: (one.x, str(one.rate))):
        rows.setdefault(f"{one.x:g}", {})[f"{study.record.analysis.tuned} {_said(one.rate)}"] = one.dev
    note = "Dev score in the source language, in percent: mean over seeds, lowest and highest below."
    return grid("tuning", "Which rate is best", note, rows, kind=VALUE, names=study.record.analysis.x)


def step_table(study: CollectedStudy, best: Sequence[Candidate]) -> Table:
    """Returns the steps and examples to the goal at each batch size; what did not reach it is censored."""
    goal, rows = study.record.analysis.goal, {}
    fewest = next((one.x * steps for one in best if (steps := steps_to(one, goal)) is not None), None)
    for one in best:
        by_seed = {seed: run.reached(goal) for seed, run in one.runs.items()}
        late = [f"seed {seed} in {one.runs[seed].steps} steps" for seed, steps in by_seed.items() if steps is None]
        if late:
            rows[_row(study, one)] = dict.fromkeys(
                ("steps", "examples", "% of the smallest's"),
                Number(None, state="censored", note=f"not by {listed(late)}"),
            )
            continue
        steps = one.over_seeds(by_seed, digits=0)
        examples = one.over_seeds({seed: one.x * (found or 0.0) for seed, found in by_seed.items()}, digits=0)
        share = NONE if not fewest or examples.value is None else Number(100 * examples.value / fewest, digits=0)
        rows[_row(study, one)] = {"steps": steps, "examples": examples, "% of the smallest's": share}
    note = (
        f"Until the dev score in the source language is {goal:g}: mean over seeds, lowest and highest below, between "
        "checkpoints on a line. Perfect scaling is 100% of the smallest batch's examples. Censored: the goal was not "
        "reached."
    )
    return grid("steps", f"Steps to a dev score of {goal:g}", note, rows, kind=VALUE, names=study.record.analysis.x)


def cost_table(study: CollectedStudy, best: Sequence[Candidate]) -> Table:
    """Returns what the whole training at each batch size took."""
    rows: dict[str, dict[str, Number]] = {}
    for one in best:
        each = {
            "steps": {seed: float(run.steps) for seed, run in one.runs.items()},
            "examples": {seed: one.x * run.steps for seed, run in one.runs.items()},
            "seconds": {seed: run.speed.get("seconds") for seed, run in one.runs.items()},
            "TFLOPs": {seed: run.speed.get("flops", 0.0) / 1e12 or None for seed, run in one.runs.items()},
        }
        digits = {"seconds": 1, "TFLOPs": 3}
        rows[_row(study, one)] = {
            name: one.over_seeds(values, digits.get(name, 0)) if any(values.values()) else NONE
            for name, values in each.items()
        }
    note = (
        "The whole stage whose batch size is varied: mean over seeds, lowest and highest below. Seconds are those of "
        "its steps; TFLOPs those of one device in the model's products, padding left out."
    )
    return grid("cost", "Cost of training", note, rows, kind=VALUE, names=study.record.analysis.x)


def _run(study: CollectedStudy, side: Side, seed: int) -> Run | None:
    """Returns a seed's dev curve on the source language: of the first stage that has one, the arm's own first."""
    collected = study.experiments[side.experiment]
    record, entries = collected.record, {stage.dir: stage for stage in collected.record.stages}
    for name in _varied(study, side, seed):
        track = _source_track(study, name, record.source_language)
        if track is not None:
            judged = record.policy_of(name) == SOURCE_DEV
            return Run(track, judged, entries[name].steps, collected.speeds.get(name, {}))
    return None


def _varied(study: CollectedStudy, side: Side, seed: int) -> list[str]:
    """Returns the stages whose batch size the factor may be: the arm's, the last first, then the target's own.

    Where the factor is the experiment's and not the arm's, it is the recipe of the target that is varied.
    """
    record = study.experiments[side.experiment].record
    name = answering(study, record)
    stage = stages_of(study, side).get((seed, name))
    roots = {entry.dir for entry in record.stages if not entry.parents}
    own, *before = [one for one in record.lineage(stage) if one not in roots] if stage else []
    if not _trains(record, name) or study.record.analysis.x not in record.arm_factors.get(side.arm, {}):
        return [own, *before]
    return [*before, own]


def _trains(record: Record, target: str) -> bool:
    declared = record.config.get("targets", {}).get(target)
    return declared is None or declared.get("stage") is not None


def _source_track(study: CollectedStudy, stage: str, source: str) -> Track | None:
    """Returns the dev curve of a stage in the source language, by its task's first metric."""
    for (cell, metric), track in study.watched[stage].dev.items() if stage in study.watched else ():
        task, _, language = cell.split(".")
        first = KINDS[TASKS[task].kind].metrics[0] if task in TASKS else metric
        if language == source and metric == first:
            return track
    return None


def _zero_shot(study: CollectedStudy, one: Candidate) -> Weights:
    record = study.experiments[one.side.experiment].record
    name = answering(study, record)
    return mean_of(one.side, name, transferred(record, name))


def _source(study: CollectedStudy, one: Candidate) -> Weights:
    """Returns the weights of the score in the source language; none where the target does not have it."""
    record = study.experiments[one.side.experiment].record
    target = target_of(record, answering(study, record))
    there = target is not None and record.source_language in target.languages
    return mean_of(one.side, target.name, (record.source_language,)) if target and there else {}


def _gain(study: CollectedStudy, one: Candidate) -> Weights:
    record = study.experiments[one.side.experiment].record
    name = answering(study, record)
    return gain_of(one.side, Side(record.name, record.baseline), name, transferred(record, name))


def _drawing(study: CollectedStudy, best: Sequence[Candidate]) -> tuple[Drawing, ...]:
    """Returns the scores by batch size."""
    if len(best) < 2:
        return ()
    x_N = np.array([one.x for one in best])
    series = [Series("zero-shot", x_N, *bounds(estimates(study, [_zero_shot(study, one) for one in best])))]
    if all(_source(study, one) for one in best):
        series.append(Series("source", x_N, *bounds(estimates(study, [_source(study, one) for one in best]))))
    x = study.record.analysis.x
    caption = f"Scores by {x}, each with its best {study.record.analysis.tuned}, and 95% intervals."
    return (curve_plot(_file(study, best, "batch"), caption, series, Plane(x, "score in percent", log_x=True)),)


def _steps_drawing(study: CollectedStudy, best: Sequence[Candidate]) -> tuple[Drawing, ...]:
    """Returns the steps to the goal by batch size beside what they were if they fell as the batch grew."""
    x, goal = study.record.analysis.x, study.record.analysis.goal
    known = {one.x: steps for one in best if (steps := steps_to(one, goal)) is not None}
    if len(known) < 2:
        return ()
    x_N, y_N = np.array([*known]), np.array([*known.values()])
    ideal = Series("perfect scaling", x_N, y_N[0] * x_N[0] / x_N)
    caption = f"Steps to a dev score of {goal:g} by {x}, and what they were if twice the batch took half the steps."
    plane = Plane(x, "steps", log_x=True, log_y=True)
    return (curve_plot(_file(study, best, "steps"), caption, [Series("measured", x_N, y_N), ideal], plane),)


def _file(study: CollectedStudy, best: Sequence[Candidate], name: str) -> str:
    return "-".join(filter(None, (study.record.name, name, file_name(best[0].group))))


def _row(study: CollectedStudy, one: Candidate) -> str:
    return f"{one.x:g}, {study.record.analysis.tuned} {_said(one.rate)}"


def _said(factor: Factor) -> str:
    return factor if isinstance(factor, str) else f"{factor:g}"
