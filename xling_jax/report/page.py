"""The report as one HTML file that needs nothing else: no network, no library, no font."""

import html
import itertools
import json
from collections.abc import Iterable, Sequence

from xling_jax.report.aggregate import stage_uses
from xling_jax.report.answer import Answer
from xling_jax.report.contents import ExperimentReport
from xling_jax.report.figures import Drawing
from xling_jax.report.plain import legend, number_kind, range_text, value_text
from xling_jax.report.record import Record
from xling_jax.report.table import Column, Number, Row, Table
from xling_jax.report.theme import CSS, SCRIPT
from xling_jax.tables.languages import LANGUAGES

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


class Markup(str):
    """Text that is HTML already. All other text is escaped where it enters an element."""


def element(name: str, *parts: str, **attributes: str | None) -> Markup:
    """Returns <name attributes>parts</name>, escaped; `class_` is `class`, `data_x` is `data-x`, None is left out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    inside = "".join(f' {key}="{html.escape(value)}"' for key, value in given.items())
    return Markup(f"<{name}{inside}>{''.join(map(_escaped, parts))}</{name}>")


def page(experiments: Sequence[ExperimentReport]) -> str:
    """Returns the whole page."""
    many = len(experiments) > 1
    head = (
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", "xling_jax: " + (f"{len(experiments)} experiments" if many else experiments[0].record.name)),
        element("style", Markup(CSS)),
    )
    top = element(
        "div", element("span", "xling_jax report"), element("button", "light / dark", id="theme"), class_="top"
    )
    contents = [_contents(experiments)] if many else []
    articles = [article(experiment) for experiment in experiments]
    body = element("body", top, *contents, *articles, element("script", Markup(SCRIPT)))
    return f'<!doctype html>\n<html lang="en">{element("head", *head)}{body}</html>\n'


def article(experiment: ExperimentReport) -> Markup:
    """Returns one experiment: question, answer, targets, curves, method, provenance."""
    record = experiment.record
    parts = [element("h1", record.question)]
    if record.synthetic:
        words = "Synthetic data: generated languages. These numbers say nothing of real ones."
        parts.append(
            element("div", element("strong", "Synthetic data"), words.removeprefix("Synthetic data"), class_="banner")
        )
    parts.append(_answer(experiment.answer))
    parts.append(_languages(record))
    for target in experiment.targets:
        tables = [piece for table in target.tables for piece in _section(table)]
        figures = [_figure(drawing) for drawing in target.drawings]
        parts += [element("h2", target.name), *tables, element("div", *figures, class_="figures")]
    parts.append(element("h2", "Training"))
    parts += [piece for table in experiment.stages for piece in _section(table)]
    curves = [_figure(drawing) for drawing in experiment.curves]
    parts.append(
        element("div", *curves, class_="curves")
        if curves
        else element("p", "No training curve was found.", class_="note")
    )
    parts += [element("h2", "Method"), *(element("p", text) for text in METHOD), element("p", SOURCES, class_="note")]
    parts += [element("h2", "Provenance"), *_provenance(record)]
    return element("article", *parts, id=record.name)


def table_element(table: Table) -> Markup:
    """Returns a table of numbers: groups and columns in the head, bounds in the foot."""
    groups = [
        element("th", *([element("span", group)] if group else []), colspan=str(len(list(members))), scope="colgroup")
        for group, members in itertools.groupby(column.group for column in table.columns)
    ]
    heads = [
        element("th", element("button", column.label, title=_language_name(column.label)), scope="col")
        for column in table.columns
    ]
    corner = element("th", "")
    body = [_row(row, table) for row in table.rows if row.kind != "bound"]
    foot = [_row(row, table) for row in table.rows if row.kind == "bound"]
    inside = (
        element("thead", element("tr", corner, *groups, class_="group"), element("tr", corner, *heads)),
        element("tbody", *body),
        *([element("tfoot", *foot)] if foot else []),
    )
    classes = "scores pinned" if table.columns[-1].kind == "mean" else "scores"
    return element("div", element("table", *inside, class_=classes), class_="scroll", tabindex="0")


def _row(row: Row, table: Table) -> Markup:
    cells = [_number(number, row, column) for number, column in zip(row.numbers, table.columns, strict=True)]
    return element("tr", element("th", row.label, scope="row"), *cells)


def _number(number: Number, row: Row, column: Column) -> Markup:
    kind = number_kind(row, column)
    below = range_text(number, kind)
    classes = " ".join(
        name
        for name in (number.state.replace(" ", "-"), column.kind)
        if name not in ("ok", "language", "source", "none", "value", "measure")
    )
    value = None if number.value is None else f"{number.value:.6f}"
    text = value_text(number, kind).replace("-", "−")
    small = [element("small", below.replace("[-", "[−").replace(" -", " −"))] if below else []
    hint = number.note if number.constant else None
    return element("td", text, *small, class_=classes or None, data_value=value, title=hint)


def _section(table: Table) -> Iterable[Markup]:
    yield element("h3", table.title.split(": ")[-1].capitalize())
    yield element("p", table.note, class_="note")
    yield table_element(table)
    for words in legend(table):
        yield element("p", words, class_="note")


def _answer(answer: Answer) -> Markup:
    remarks = [element("p", remark, class_="remark") for remark in answer.remarks]
    kind = answer.verdict.replace(" ", "-")
    verdict, sentence = element("p", answer.verdict, class_="verdict"), element("p", answer.sentence, class_="sentence")
    return element("div", verdict, sentence, *remarks, class_=f"answer {kind}")


def _contents(experiments: Sequence[ExperimentReport]) -> Markup:
    entries = [
        element("li", element("a", e.record.question, href=f"#{e.record.name}"), Markup("<br>"), e.answer.sentence)
        for e in experiments
    ]
    return element("nav", element("h1", f"{len(experiments)} experiments"), element("ol", *entries))


def _languages(record: Record) -> Markup:
    codes = dict.fromkeys(code for target in record.targets for code in target.languages)
    entries = [
        element(
            "li",
            element("strong", code),
            f" {_language_name(code) or ''}",
            " (source)" if code == record.source_language else "",
        )
        for code in codes
    ]
    return element("ul", *entries, class_="legend note")


def _language_name(code: str) -> str | None:
    return LANGUAGES[code].name if code in LANGUAGES else None


def _figure(drawing: Drawing) -> Markup:
    return element("figure", Markup(drawing.inline), element("figcaption", drawing.caption))


def _provenance(record: Record) -> Iterable[Markup]:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    facts = {
        "experiment": record.name,
        "study": record.study or "none",
        "configuration": record.config_hash,
        "date": record.date,
        "machine": record.machine,
        "versions": versions,
        "seeds": " ".join(map(str, record.seeds)),
        "baseline": record.baseline,
        "selection policies": " ".join(dict.fromkeys(record.policy_of(cell.stage) for cell in record.cells)),
    }
    yield element("pre", record.command)
    yield element("dl", *(part for name, text in facts.items() for part in (element("dt", name), element("dd", text))))
    yield element("h3", "Stages")
    yield element("p", "A stage is trained once for all cells (arm, seed, target) that rest on it.", class_="note")
    yield _stages(record)
    config = json.dumps(record.config, indent=2, sort_keys=True, ensure_ascii=False)
    yield element("details", element("summary", "Configuration"), element("pre", config))


def _stages(record: Record) -> Markup:
    uses = stage_uses(record)
    kinds = {"stage": None, "seed": None, "steps": None, "cells": None, "state": "text", "starts from": "text"}
    heads = [element("th", name, scope="col", class_=kind) for name, kind in kinds.items()]
    rows = []
    for stage in record.stages:
        seed, state = "–" if stage.seed is None else str(stage.seed), "done" if stage.done else "not done"
        texts = (seed, f"{stage.steps:,}", str(uses[stage.dir]), state, ", ".join(stage.parents) or "–")
        cells = [element("td", text, class_=kinds[name]) for name, text in zip([*kinds][1:], texts, strict=True)]
        rows.append(element("tr", element("th", element("code", stage.dir), scope="row"), *cells))
    inside = element("thead", element("tr", *heads)), element("tbody", *rows)
    return element("div", element("table", *inside), class_="scroll", tabindex="0")


def _escaped(part: str) -> str:
    return part if isinstance(part, Markup) else html.escape(part)
