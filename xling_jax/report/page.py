"""The report as one HTML file that needs nothing else: no network, no library, no font."""

import json
from collections.abc import Iterable, Mapping, Sequence

from xling_jax.goodput import Goodput
from xling_jax.report.aggregate import stage_uses
from xling_jax.report.answer import Answer
from xling_jax.report.contents import ExperimentReport
from xling_jax.report.elements import (
    Markup,
    answer_element,
    element,
    facts,
    figures,
    folded,
    head,
    language_name,
    scroll,
    section,
)
from xling_jax.report.record import Record
from xling_jax.report.study_report import Origin, StudyReport
from xling_jax.report.table import count
from xling_jax.report.theme import CSS, EARLY_SCRIPT, SCRIPT

METHOD = (
    "A gain is paired: both arms have the same seeds and answer the same test items. Its 95% interval knows two "
    "crossed levels. Test items with one id count as one, in both arms, all seeds and all languages, as translations "
    "are not independent. The variance between seeds has one degree of freedom less than there are seeds, and the "
    "interval pays for that as Student's t does, as far as the noise is from seeds.",
    "docs/statistics.md has the formulas, how often the intervals hold the truth in simulated studies, and what fails. "
    "With one seed an interval speaks of the test items only.",
    "Means over languages are unweighted. A mean over a missing cell is missing.",
    "A seed that gives one answer to at least 99% of the source language's items has collapsed. It stays in every "
    "average, as leaving it out would be a choice made after the scores are known; averages without it stand beside.",
)
SOURCES = (
    "Banerjee 1960, Approximate confidence interval for linear functions of means of k populations when the population "
    "variances are not equal; Obuchowski & Rockette 1995, Hypothesis testing of diagnostic accuracy for multiple "
    "readers and multiple tests; Hillis 2014, A marginal-mean ANOVA approach for analyzing multireader multicase data."
)


def page(experiments: Sequence[ExperimentReport], studies: Sequence[StudyReport] = ()) -> str:
    """Returns the whole page: studies, then experiments that belong to none of them."""
    named = [*(f"study {study.name}" for study in studies), *(experiment.record.name for experiment in experiments)]
    title = f"xling_jax: {named[0]}" if len(named) == 1 else f"xling_jax: {_counted(experiments, studies)}"
    top = (
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        element("style", Markup(CSS)),
        element("script", Markup(EARLY_SCRIPT)),
    )
    contents = [_contents(experiments, studies)] if len(named) > 1 else []
    articles = [*map(study_article, studies), *map(article, experiments)]
    bar = element("header", element("span", "xling_jax report"), _theme_switch(), class_="top")
    body = element("body", bar, element("main", *contents, *articles), element("script", Markup(SCRIPT)))
    return f'<!doctype html>\n<html lang="en">{element("head", *top)}{body}</html>\n'


def article(experiment: ExperimentReport) -> Markup:
    """Returns one experiment: question, answer, targets, curves, method, provenance."""
    record = experiment.record
    parts = [element("h1", record.question), *_banner(record.synthetic), *_results(experiment, 2), *_method(2)]
    parts += [element("h2", "Provenance"), *_provenance(record, {}), *_stages(record, 3)]
    return element("article", *parts, id=record.name)


def study_article(study: StudyReport) -> Markup:
    """Returns a study: question, answers, claims, its own tables and drawings, its experiments folded, provenance."""
    parts = [element("h1", study.question), *_banner(study.synthetic)]
    parts += [element("p", f"Study {study.name}, size {study.size}, {count(study.experiments, 'experiment')}.")]
    parts += map(answer_element, study.answers)
    if study.claims:
        parts += [element("h2", "Claims"), *list(section(study.claims_table, 3))[1:]]
    for part in study.sections:
        parts += [element("h2", part.title), *([element("p", part.note, class_="note")] if part.note else [])]
        parts += [piece for table in part.tables for piece in section(table, 3)]
        parts += [figures(part.drawings)] if part.drawings else []
    parts += _method(2)
    parts += [element("h2", "Experiments"), *(_folded_experiment(experiment) for experiment in study.experiments)]
    parts += [element("h2", "Provenance"), element("pre", study.command), facts(_study_facts(study))]
    for origin in study.origins:
        parts += [element("h3", origin.record.name), *_provenance(origin.record, _spent(origin))]
        parts += _stages(origin.record, 4)
    return element("article", *parts, id=f"study-{study.name}")


def _folded_experiment(experiment: ExperimentReport) -> Markup:
    record, answer = experiment.record, experiment.answer
    summary = element("span", element("strong", record.name), Markup("<br>"), answer.sentence)
    return folded(
        summary, element("h3", record.question), *_results(experiment, 4), class_="experiment", id=record.name
    )


def _results(experiment: ExperimentReport, level: int) -> Iterable[Markup]:
    """Yields the answer, the tables and figures of each target, and the training, below titles of that level."""
    yield answer_element(experiment.answer)
    yield _languages(experiment.record)
    for target in experiment.targets:
        yield element(f"h{level}", target.name)
        yield from (piece for table in target.tables for piece in section(table, level + 1))
        yield figures(target.drawings)
    yield element(f"h{level}", "Training")
    yield from (piece for table in experiment.stages for piece in section(table, level + 1))
    if experiment.curves:
        yield figures(experiment.curves, "curves")
    else:
        yield element("p", "No training curve was found.", class_="note")


def _method(level: int) -> list[Markup]:
    texts = [element("p", text) for text in METHOD]
    return [element(f"h{level}", "Method"), *texts, element("p", SOURCES, class_="note")]


def _banner(synthetic: bool) -> list[Markup]:
    """Returns what has to be read before any number of generated languages."""
    strong, rest = element("strong", "Synthetic data"), ": generated languages. These numbers say nothing of real ones."
    return [element("div", strong, rest, class_="banner")] if synthetic else []


def _theme_switch() -> Markup:
    """Returns the switch, which is shown once a script is there to do what it says."""
    choices = [
        element(
            "label",
            Markup(f'<input type="radio" name="theme" value="{name}"{" checked" * (name == "auto")}>'),
            element("span", name),
        )
        for name in ("auto", "light", "dark")
    ]
    return element("fieldset", element("legend", "Theme"), *choices, id="theme", hidden="")


def _counted(experiments: Sequence[ExperimentReport], studies: Sequence[StudyReport]) -> str:
    parts = ((studies, "study"), (experiments, "experiment"))
    return ", ".join(count(things, noun).replace("studys", "studies") for things, noun in parts if things)


def _contents(experiments: Sequence[ExperimentReport], studies: Sequence[StudyReport]) -> Markup:
    entries = [(f"study-{study.name}", study.question, study.answers) for study in studies]
    entries += [(one.record.name, one.record.question, (one.answer,)) for one in experiments]
    items = [
        element("li", element("a", question, href=f"#{id}"), *_lines(answers)) for id, question, answers in entries
    ]
    return element("nav", element("h1", _counted(experiments, studies)), element("ol", *items))


def _lines(answers: Sequence[Answer]) -> list[Markup]:
    return [element("div", answer.sentence) for answer in answers]


def _languages(record: Record) -> Markup:
    codes = dict.fromkeys(code for target in record.targets for code in target.languages)
    entries = [
        element(
            "li",
            element("strong", code),
            f" {language_name(code) or ''}",
            " (source)" if code == record.source_language else "",
        )
        for code in codes
    ]
    return element("ul", *entries, class_="legend note")


def _study_facts(study: StudyReport) -> dict[str, str]:
    """Returns what the whole study took."""
    trained = sum(origin.trained for origin in study.origins)
    shared = sum(origin.shared for origin in study.origins)
    waiting = sum(origin.waiting for origin in study.origins)
    stages = f"{trained} trained; experiments shared {shared} of them with others"
    found = {"study": study.name, "size": study.size, "date": study.date, "machine": study.machine}
    found |= {"versions": _versions(study.versions), "stages": stages + (f", {waiting} not done" if waiting else "")}
    return found | _time(study.time, study.cost)


def _spent(origin: Origin) -> dict[str, str]:
    waiting = f", {origin.waiting} not done" if origin.waiting else ""
    stages = f"{origin.trained} trained here first, {origin.shared} shared with an experiment above{waiting}"
    return {"stages": stages} | _time(origin.time, origin.cost)


def _time(time: Goodput | None, cost: str) -> dict[str, str]:
    """Returns wall time, goodput and cost, as far as they are known."""
    known = {}
    if time and time.wall:
        known["wall time"] = f"{time.wall:,.0f} s in {time.sessions} session{'s' if time.sessions != 1 else ''}"
        known["goodput"] = f"{100 * time.goodput:.1f}% of it in training steps that count"
    return known | ({"cost": cost} if cost else {})


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _provenance(record: Record, more: dict[str, str]) -> Iterable[Markup]:
    yield element("pre", record.command)
    yield facts(
        {
            "experiment": record.name,
            "study": record.study or "none",
            "configuration": record.config_hash,
            "date": record.date,
            "machine": record.machine,
            "versions": _versions(record.versions),
            "seeds": " ".join(map(str, record.seeds)),
            "baseline": record.baseline,
            "selection policies": " ".join(dict.fromkeys(record.policy_of(cell.stage) for cell in record.cells)),
        }
        | more
    )
    config = json.dumps(record.config, indent=2, sort_keys=True, ensure_ascii=False)
    yield folded(f"Configuration of {record.name}", element("pre", config))


def _stages(record: Record, level: int) -> Iterable[Markup]:
    """Yields the stages of an experiment, each with what it starts from and how many cells rest on it."""
    yield element(f"h{level}", "Stages")
    yield element("p", "A stage is trained once for all cells (arm, seed, target) that rest on it.", class_="note")
    uses = stage_uses(record)
    kinds = {"stage": "text", "seed": None, "steps": None, "cells": None, "state": "text", "starts from": "text"}
    rows = []
    for stage in record.stages:
        numbers = {"seed": stage.seed, "steps": stage.steps, "cells": uses[stage.dir]}
        cells = [
            element("td", "–" if number is None else f"{number:,}", data_value=None if number is None else str(number))
            for number in numbers.values()
        ]
        texts = ("done" if stage.done else "not done", ", ".join(stage.parents) or "–")
        cells += [element("td", text, class_="text") for text in texts]
        rows.append(element("tr", element("th", element("code", stage.dir), scope="row"), *cells))
    heads = [head(name, class_=kind) for name, kind in kinds.items()]
    inside = element("thead", element("tr", *heads)), element("tbody", *rows)
    yield scroll(element("table", *inside), f"Stages of {record.name}")
