"""Which model gives most for its cost of inference, and the smallest that is as good as the best.

Each experiment is one model. Its score is the zero-shot mean of one arm: the first of the analysis's pair or of the
headline, or the baseline. What inference costs was measured apart (see `clock.py`): the training of a model does not
change it.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from xling_jax.report.aggregate import mean_score
from xling_jax.report.analyses.evidence import estimates
from xling_jax.report.analyses.findings import (
    VALUE,
    Draft,
    Findings,
    answer_of,
    collapsed_table,
    decide,
    grid,
    in_points,
)
from xling_jax.report.analyses.weights import Side, Weights, answering, mean_of, target_of, total, transferred
from xling_jax.report.answer import UNASKED, Answer
from xling_jax.report.claims import NOT_SUPPORTED, SUPPORTED
from xling_jax.report.clock import Clock
from xling_jax.report.collapse import Runs
from xling_jax.report.collect_study import CollectedStudy
from xling_jax.report.figures import Drawing
from xling_jax.report.pareto import pareto_front
from xling_jax.report.statistics import Estimate as Contrast
from xling_jax.report.study_figures import Plane, Point, pareto_plot
from xling_jax.report.study_report import Claim, Section
from xling_jax.report.table import NONE, Number, Table

Clocks = Sequence[Clock]


@dataclasses.dataclass(frozen=True)
class Cost:
    """A cost of inference: what it is called, how it is read off the clock, and whether less of it is better."""

    name: str
    read: Callable[[Clocks], float | None]
    less: bool = True
    digits: int = 1


def _alone(clocks: Clocks, field: str) -> float | None:
    return next((getattr(clock, field) for clock in clocks if clock.batch == 1), None)


def _most(clocks: Clocks, field: str, scale: float = 1.0) -> float | None:
    return max((scale * value for clock in clocks if (value := getattr(clock, field)) is not None), default=None)


COSTS = (
    Cost("ms at batch 1", lambda clocks: _alone(clocks, "latency_ms"), digits=2),
    Cost("examples/s", lambda clocks: _most(clocks, "examples_per_second"), less=False, digits=0),
    Cost("GFLOPs an example", lambda clocks: _most(clocks, "flops_per_example", 1e-9), digits=3),
    Cost("MB of parameters", lambda clocks: _most(clocks, "parameter_bytes", 1e-6)),
    Cost("MB at most", lambda clocks: _most(clocks, "peak_bytes", 1e-6)),
)
SIZE = 3  # of COSTS: what makes a model small, where experiments have no factor WEIGHTS
WEIGHTS = "weights"


@dataclasses.dataclass(frozen=True)
class Model:
    """An experiment as a model: its name, its score, and what it costs, by the names of COSTS."""

    name: str
    side: Side
    target: str
    weights: Weights
    score: Number
    costs: Mapping[str, float | None]
    weights_of: float | None  # parameters, as the experiment's factor WEIGHTS says; None if it says nothing


def answer(study: CollectedStudy) -> Findings:
    """Returns the models by score and cost, the fronts, and the smallest model that is nearly as good as the best."""
    found = models(study)
    scored = [model for model in found if model.score.value is not None]
    untimed = [model.name for model in found if not any(model.costs.values())]
    missing = tuple(f"{name}: what inference costs was not measured." for name in untimed)
    best = max(scored, key=_points, default=None)
    drafts = _drafts(study, scored, best) if best else []
    claims = decide(study, drafts, headline=False)
    collapsed = collapsed_table(study, drafts, claims)
    sections = (
        Section(
            "Score and cost",
            (model_table(study, found), front_table(study, scored)),
            _drawings(study, scored),
            _devices(study),
        ),
        Section("Collapsed seeds", (collapsed,)),
    )
    return Findings(_answer(study, scored, best, drafts, claims), claims, sections, missing)


def models(study: CollectedStudy) -> list[Model]:
    """Returns the experiments that have begun as models, from the smallest to the largest where sizes are known."""
    found = []
    for record in study.records:
        name, side = answering(study, record), Side(record.name, scored_arm(study, record.name))
        codes, target = transferred(record, name), target_of(record, name)
        collected, clocks = study.experiments[record.name], study.clocks.get(record.name, ())
        score = mean_score(collected.scores, target, Runs(side.arm, record.seeds), codes) if target and codes else NONE
        costs = {cost.name: cost.read(clocks) for cost in COSTS}
        model = str(record.factors.get(study.record.analysis.x, record.name))
        size = record.factors.get(WEIGHTS)
        own = float(size) if isinstance(size, int | float) else None
        found.append(Model(model, side, name, mean_of(side, name, codes) if codes else {}, score, costs, own))
    return sorted(found, key=_size)


def scored_arm(study: CollectedStudy, experiment: str) -> str:
    """Returns the arm that a model is scored by."""
    record = study.experiments[experiment].record
    if study.record.analysis.pair:
        return study.record.analysis.pair[0]
    return record.headline.comparison[0] if record.headline else record.baseline


def model_table(study: CollectedStudy, found: Sequence[Model]) -> Table:
    """Returns score and costs by model."""
    rows: dict[str, dict[str, Number]] = {}
    for model in found:
        rows[model.name] = {"score": model.score}
        for cost in COSTS:
            value = model.costs[cost.name]
            if value is not None:
                rows[model.name][cost.name] = Number(value, digits=cost.digits)
    note = (
        "Score: zero-shot mean in percent, mean over seeds, lowest and highest below. Of batch sizes that were timed, "
        "examples/s and memory are the largest; FLOPs are those of one example with its padding."
    )
    return grid("models", "Score and cost", note, rows, kind=VALUE, names=study.record.analysis.x)


def front_table(study: CollectedStudy, scored: Sequence[Model]) -> Table:
    """Returns for each cost where each model stands: on the front of score and cost, maybe on it, or beaten."""
    rows: dict[str, dict[str, Number]] = {model.name: {} for model in scored}
    weights = {model.name: model.weights for model in scored}
    for cost in COSTS:
        costs = {m.name: value if cost.less else -value for m in scored if (value := m.costs[cost.name]) is not None}
        for name, place in pareto_front(costs, lambda a, b: _apart(study, weights[a], weights[b])).items():
            rows[name][cost.name] = Number(None, state=place.state)
    note = (
        "A model is beaten if one that costs no more surely scores more, on the front if none does or can, and maybe "
        "on it where no difference of scores decides; all that is sure of a column is right in 95 of 100 studies "
        "(Holm 1979)."
    )
    return grid("front", "The front of score and cost", note, rows, kind=VALUE, names=study.record.analysis.x)


def _apart(study: CollectedStudy, one: Weights, other: Weights) -> Contrast:
    (found,) = estimates(study, [total([(1.0, one), (-1.0, other)])])
    assert found.found is not None, "models with a score have all their cells"
    return found.found


def _drafts(study: CollectedStudy, scored: Sequence[Model], best: Model) -> list[Draft]:
    """Returns a claim for each smaller model: it is within so many points of the best."""
    within, found = study.record.analysis.within, []
    for model in scored:
        if _size(model) < _size(best):
            text = f"{model.name} is within {in_points(within)} of {best.name}, the best"
            found.append(Draft(text, total([(1.0, model.weights), (-1.0, best.weights)]), margin=within))
    return found


def _answer(
    study: CollectedStudy, scored: Sequence[Model], best: Model | None, drafts: Sequence[Draft], claims: Sequence[Claim]
) -> Answer:
    """Returns the smallest model whose claim holds; the best where none does."""
    if best is None:
        return Answer("No model has a score yet.", UNASKED, None, ())
    within = study.record.analysis.within
    lead = f"The smallest model that is surely within {in_points(within)} of the best, {best.name}"
    for draft, claim in zip(drafts, claims, strict=True):
        if claim.verdict == SUPPORTED:
            return answer_of(study, draft, claim, (f"{lead}: it is the smallest of which that can be said.",))
    if not drafts:
        return Answer(f"{best.name} has the best score and is the smallest of {len(scored)}.", UNASKED, best.score, ())
    open_ones = [
        draft.text.split(" is within ")[0]
        for draft, c in zip(drafts, claims, strict=True)
        if c.verdict != NOT_SUPPORTED
    ]
    remark = f"{lead}, is itself; not excluded: {', '.join(open_ones)}." if open_ones else f"{lead}, is itself."
    nearest = max(
        range(len(drafts)), key=lambda n: claims[n].number.value if claims[n].number.value is not None else -1e9
    )
    return answer_of(study, drafts[nearest], claims[nearest], (remark,))


def _drawings(study: CollectedStudy, scored: Sequence[Model]) -> tuple[Drawing, ...]:
    found = estimates(study, [model.weights for model in scored])
    drawings = []
    for n, cost in enumerate(COSTS):
        points = [
            Point(model.name, value, estimate.number.value, estimate.number.low, estimate.number.high)
            for model, estimate in zip(scored, found, strict=True)
            if (value := model.costs[cost.name]) is not None and estimate.number.value is not None
        ]
        if len(points) < 2:
            continue
        shown = points if cost.less else [dataclasses.replace(point, x=1000 / point.x) for point in points]
        axis = cost.name if cost.less else "ms an example at the best batch size"
        caption = f"Zero-shot score with its 95% interval against {axis}."
        drawings.append(
            pareto_plot(f"{study.record.name}-pareto-{n}", caption, shown, Plane(axis, "zero-shot score", log_x=True))
        )
    return tuple(drawings)


def _devices(study: CollectedStudy) -> str:
    devices = dict.fromkeys(clock.device for clocks in study.clocks.values() for clock in clocks if clock.device)
    return f"Inference was timed on {', '.join(devices)}." if devices else ""


def _points(model: Model) -> float:
    return -math.inf if model.score.value is None else model.score.value


def _size(model: Model) -> float:
    """Returns what makes a model small: its parameters as declared, or as measured; infinite where neither is known."""
    known = (size for size in (model.weights_of, model.costs[COSTS[SIZE].name]) if size is not None)
    return next(known, math.inf)
