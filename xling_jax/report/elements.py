"""Pieces of the page: elements, tables, figures. Text is escaped where it enters an element."""

import dataclasses
import html
import itertools
import math
from collections.abc import Iterable, Sequence

from xling_jax.report.answer import SIGNS, Answer
from xling_jax.report.figures import Drawing
from xling_jax.report.plain import legend, number_kind, range_text, value_text
from xling_jax.report.table import VERDICT, Column, Number, Row, Table
from xling_jax.tables.languages import LANGUAGES

PLAIN = ("ok", "language", "source", "none", "value", "measure", VERDICT)  # look like any other number


ON_PAPER = 12  # columns that fit on A4 across
WORDY = 40  # characters of a row's name from which on it may be broken


class Markup(str):
    """Text that is HTML already. All other text is escaped where it enters an element."""


def element(name: str, *parts: str, **attributes: str | None) -> Markup:
    """Returns <name attributes>parts</name>, escaped; `class_` is `class`, `data_x` is `data-x`, None is left out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    inside = "".join(f' {key}="{html.escape(value)}"' for key, value in given.items())
    return Markup(f"<{name}{inside}>{''.join(map(_escaped, parts))}</{name}>")


def section(table: Table, level: int) -> Iterable[Markup]:
    """Yields a table below its title and its note, and what its marks mean."""
    yield element(f"h{level}", table.title.split(": ")[-1].capitalize())
    yield element("p", table.note, class_="note")
    yield table_element(table)
    for words in legend(table):
        yield element("p", words, class_="note")


def table_element(table: Table) -> Markup:
    """Returns a table that sorts; one that is wider than paper is printed in pieces, the last with the means."""
    classes = "scores pinned" if table.columns[-1].kind == "mean" else "scores"
    classes += " wordy" if max(len(row.label) for row in table.rows) > WORDY else ""
    pieces = list(_pieces(table))
    if len(pieces) == 1:
        return scroll(_table(table, classes), table.title)
    printed = [element("div", _table(piece, "scores"), class_="paper") for piece in pieces]
    return Markup("".join([scroll(_table(table, classes), table.title, "scroll screen"), *printed]))


def _pieces(table: Table) -> Iterable[Table]:
    """Yields the table with some of its columns after the others, as many as paper has room for."""
    count = math.ceil(len(table.columns) / ON_PAPER)
    size = math.ceil(len(table.columns) / count)
    for first in range(0, len(table.columns), size):
        here = slice(first, first + size)
        rows = tuple(dataclasses.replace(row, numbers=row.numbers[here]) for row in table.rows)
        yield dataclasses.replace(table, columns=table.columns[here], rows=rows)


def _table(table: Table, classes: str) -> Markup:
    """Returns a table of numbers: groups and columns in the head, bounds in the foot."""
    groups = [
        element("th", *([element("span", group)] if group else []), colspan=str(len(list(members))), scope="colgroup")
        for group, members in itertools.groupby(column.group for column in table.columns)
    ]
    top = [element("tr", element("td", ""), *groups, class_="group")] if any(c.group for c in table.columns) else []
    heads = [
        head(column.label, title=language_name(column.label), class_="left" if column.kind == VERDICT else None)
        for column in table.columns
    ]
    body = [_row(row, table) for row in table.rows if row.kind != "bound"]
    foot = [_row(row, table) for row in table.rows if row.kind == "bound"]
    inside = (
        element("thead", *top, element("tr", head(table.names, class_="text"), *heads)),
        element("tbody", *body),
        *([element("tfoot", *foot)] if foot else []),
    )
    return element("table", *inside, class_=classes)


def head(label: str, title: str | None = None, class_: str | None = None) -> Markup:
    """Returns the head of a column that sorts; without a script the button is its text and no more."""
    return element("th", element("button", label, type="button", title=title), scope="col", class_=class_)


def scroll(inside: Markup, label: str, class_: str = "scroll") -> Markup:
    """Returns a box that scrolls sideways where what is inside is wider than the page, by keyboard, too."""
    return element("div", inside, class_=class_, tabindex="0", role="region", aria_label=label)


def answer_element(answer: Answer) -> Markup:
    """Returns the answer: its verdict as a sign and words, its sentence, what is to be said of it."""
    remarks = [element("p", remark, class_="remark") for remark in answer.remarks]
    kind = answer.verdict.replace(" ", "-")
    verdict = element("p", *_signed(answer.verdict), class_="verdict")
    return element("div", verdict, element("p", answer.sentence, class_="sentence"), *remarks, class_=f"answer {kind}")


def figure(drawing: Drawing) -> Markup:
    """Returns a drawing above its caption; one that is wider than a phone scrolls in its box."""
    return element("figure", scroll(Markup(drawing.inline), drawing.name), element("figcaption", drawing.caption))


def figures(drawings: Sequence[Drawing], class_: str = "figures") -> Markup:
    """Returns drawings side by side, as many as there is room for."""
    return element("div", *map(figure, drawings), class_=class_)


def facts(entries: dict[str, str]) -> Markup:
    """Returns names and what is to be said of them."""
    return element(
        "dl", *(part for name, text in entries.items() for part in (element("dt", name), element("dd", text)))
    )


def folded(summary: str | Markup, *parts: str, **attributes: str | None) -> Markup:
    """Returns what is shown once it is asked for, and on paper."""
    return element("details", element("summary", summary), *parts, **attributes)


def language_name(code: str) -> str | None:
    """Returns the English name of a language, or None where it is no code of one."""
    return LANGUAGES[code].name if code in LANGUAGES else None


def _row(row: Row, table: Table) -> Markup:
    cells = [_number(number, row, column) for number, column in zip(row.numbers, table.columns, strict=True)]
    return element("tr", element("th", row.label, scope="row"), *cells)


def _number(number: Number, row: Row, column: Column) -> Markup:
    kind = number_kind(row, column)
    below = range_text(number, kind)
    classes = " ".join(name for name in (number.state.replace(" ", "-"), column.kind) if name not in PLAIN)
    small = [element("small", below.replace("[-", "[−").replace(" -", " −"))] if below else []
    hint = number.note if number.constant else None
    if column.kind == VERDICT:
        return element("td", *_signed(number.state), *small, class_=f"left {classes}", data_value=_rank(number.state))
    value = None if number.value is None else f"{number.value:.6f}"
    text = value_text(number, kind).replace("-", "−")
    return element("td", text, *small, class_=classes or None, data_value=value, title=hint)


def _signed(verdict: str) -> list[str]:
    """Returns a verdict's sign and its words: colour alone would not tell them apart."""
    sign = [element("span", SIGNS[verdict], class_="sign", aria_hidden="true"), " "] if verdict in SIGNS else []
    return [*sign, verdict]


def _rank(verdict: str) -> str | None:
    """Returns what a verdict is sorted by: supported above undecided above not supported; others have none."""
    order = [*SIGNS]
    return str(len(order) - order.index(verdict)) if verdict in order else None


def _escaped(part: str) -> str:
    return part if isinstance(part, Markup) else html.escape(part)
