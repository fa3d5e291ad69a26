"""The declared study: experiments in one folder, and how their numbers answer its question.

An experiment varies arms, targets and seeds on one model. A study varies what an experiment cannot: the model, the
source language, a recipe. Stages that experiments have in common are trained once.

    {"name": "mine", "question": "Which source language?", "experiments": {"qen": {...}, "qnd": {...}},
     "analysis": {"method": "matrix"}}
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from xling_jax.errors import ConfigError, unknown
from xling_jax.experiment import Experiment, convert, from_config

WHERE = "Fields are declared in xling_jax/study.py."
DISTANCES = ("grammar", "syntax", "phonology", "inventory")  # of generated languages; URIEL's of real ones

# method: (what it answers, the fields of an analysis that it needs)
METHODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "matrix": ("which intermediate task helps which target", ()),
    "curve": ("how the gain goes with an arm's factor", ("x",)),
    "batch": ("what a batch size costs and gives, each with its best learning rate", ("x", "tuned", "goal")),
    "pareto": ("which model gives most for its cost of inference", ("x",)),
    "interaction": ("whether the gain of one arm over another goes with an experiment's factor", ("x", "pair")),
    "regression": ("whether the gain from a source language falls with its distance", ("x", "distance")),
}


@dataclasses.dataclass(frozen=True)
class Analysis:
    """How a study is answered. Fields that its method does not name are left alone.

    `x` is the factor that is varied: of arms (curve, batch; a number), of experiments (pareto, interaction), or of
    either (regression; a language code).
    """

    method: str = "matrix"  # one of METHODS
    target: str = ""  # whose zero-shot mean answers; "" for that of the experiments' headline
    pair: tuple[str, ...] = ()  # the two arms that are compared; () for the headline's, or each arm with its baseline
    x: str = ""
    by: tuple[str, ...] = ()  # curve: factors that each curve has one value of; replicates share all of these and x
    tuned: str = ""  # batch: the factor whose best value is taken at each x, by the source-language dev cell
    goal: float = 0.0  # batch: the dev score, in percent, that steps are counted to
    within: float = 1.0  # pareto: points; the smallest model that is so close to the best
    distance: str = ""  # regression: one of DISTANCES


@dataclasses.dataclass(frozen=True)
class Published:
    """A number that others have published, to stand beside ours: of an arm on a target, in percent.

    Without an arm it is that of whichever was best on the target, the baseline apart, and ours is so, too.
    """

    arm: str = ""
    target: str = ""
    metric: str = ""
    value: float = 0.0
    source: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """Experiments, by name, and the analysis that answers the question.

    `size` says how much: test, world (generated data, a laptop), real (real data in hand), pod (the published scale).
    `topology` is the slice that costs are planned on.
    """

    name: str = ""
    question: str = ""
    size: str = ""
    experiments: Mapping[str, Experiment] = dataclasses.field(default_factory=dict)
    analysis: Analysis = Analysis()
    topology: str = ""
    published: tuple[Published, ...] = ()

    @property
    def synthetic(self) -> bool:
        """Whether any of its languages are generated."""
        return any(experiment.synthetic for experiment in self.experiments.values())


def study_from_config(config: Mapping[str, Any]) -> Study:
    """Returns the study of a config, each experiment checked. Raises ConfigError for what is not known.

    An experiment's name is that under which the study has it; without a question of its own it has the study's.
    """
    own = {name: value for name, value in config.items() if name != "experiments"}
    study = convert(Study, own, "config")
    declared = config.get("experiments", {})
    if not isinstance(declared, Mapping) or not declared:
        raise ConfigError(f"Study '{study.name}' has no experiments.\nAllowed: at least one, by name.\n{WHERE}")
    experiments = {}
    for name, fields in declared.items():
        if not isinstance(fields, Mapping):
            raise ConfigError(f"Experiment '{name}' is {fields!r}.\nAllowed: the fields of Experiment.\n{WHERE}")
        given = {field: fields.get(field) or value for field, value in (("name", name), ("question", study.question))}
        try:
            experiments[name] = from_config({**fields, **given})
        except ConfigError as error:
            raise ConfigError(f"In experiment '{name}' of study '{study.name}': {error}") from error
    study = dataclasses.replace(study, experiments=experiments)
    _check(study)
    return study


def is_study(config: Mapping[str, Any]) -> bool:
    """Whether a config declares a study, and not one experiment."""
    return "experiments" in config


def complete_study(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a config's fields with every default written out, so that each can be overridden by a flag."""
    return dataclasses.asdict(study_from_config(fields))


def study_languages(study: Study) -> tuple[str, ...]:
    """Returns the languages that a study's regression may need the distances of, each once.

    They are those that its targets are evaluated in, and those that are values of its factor.
    """
    found: dict[str, None] = {}
    for experiment in study.experiments.values():
        rows = [experiment.factors, *(arm.factors for arm in experiment.arms.values())]
        found |= dict.fromkeys(str(row[study.analysis.x]) for row in rows if study.analysis.x in row)
        found |= dict.fromkeys(cell.language for target in experiment.targets.values() for cell in target.cells())
    return tuple(found)


def _check(study: Study) -> None:
    if not study.name.replace("_", "").isalnum():
        raise ConfigError(f"The study's name is '{study.name}'.\nAllowed: letters, digits and _.\n{WHERE}")
    for name, experiment in study.experiments.items():
        if experiment.name != name:
            raise ConfigError(
                f"Experiment '{name}' of study '{study.name}' calls itself '{experiment.name}'.\n"
                f"Allowed: the same name, or none.\n{WHERE}"
            )
    _check_analysis(study)
    _check_published(study)


def _check_analysis(study: Study) -> None:
    analysis = study.analysis
    if analysis.method not in METHODS:
        raise unknown("method", analysis.method, METHODS, "Methods are rows of xling_jax/study.py.")
    answers, needed = METHODS[analysis.method]
    lacking = [field for field in needed if not getattr(analysis, field)]
    if lacking:
        raise ConfigError(
            f"Analysis '{analysis.method}' of study '{study.name}' says {answers}, and has no {', '.join(lacking)}.\n"
            f"Needed: {', '.join(needed)}.\n{WHERE}"
        )
    if analysis.distance and analysis.distance not in DISTANCES:
        raise unknown("distance", analysis.distance, DISTANCES, WHERE)
    for factor in filter(None, (analysis.x, analysis.tuned, *analysis.by)):
        _check_factor(study, factor)
    for experiment in study.experiments.values():
        for arm in analysis.pair:
            if arm not in experiment.arms:
                raise unknown("arm", arm, experiment.arms, WHERE, f"the pair of study '{study.name}'")
        if analysis.target and analysis.target not in experiment.targets:
            raise unknown("target", analysis.target, experiment.targets, WHERE, f"study '{study.name}'")
    if len(analysis.pair) not in (0, 2):
        raise ConfigError(f"The pair of study '{study.name}' is {analysis.pair}.\nAllowed: two arms, or none.\n{WHERE}")


def _check_factor(study: Study, name: str) -> None:
    """Raises ConfigError for a factor that nothing in the study has."""
    known = {factor for experiment in study.experiments.values() for factor in experiment.factors}
    known |= {f for experiment in study.experiments.values() for arm in experiment.arms.values() for f in arm.factors}
    if name not in known:
        raise unknown(
            "factor", name, known, "Factors are declared of experiments and arms.", f"the analysis of '{study.name}'"
        )


def _check_published(study: Study) -> None:
    arms = {arm for experiment in study.experiments.values() for arm in experiment.arms}
    targets = {target for experiment in study.experiments.values() for target in experiment.targets}
    for row in study.published:
        for what, name, known in (("arm", row.arm, arms), ("target", row.target, targets)):
            if name not in known and (what, name) != ("arm", ""):
                raise unknown(what, name, known, WHERE, f"a published number of study '{study.name}'")
        if not row.source:
            raise ConfigError(
                f"The published number {row.value:g} of study '{study.name}' has no source.\n"
                f"Needed: where it was published.\n{WHERE}"
            )
