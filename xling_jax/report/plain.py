"""Tables as text: Markdown, CSV, and the terminal."""

import csv
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from xling_jax.report.answer import Answer
from xling_jax.report.contents import ExperimentReport
from xling_jax.report.study_report import StudyReport
from xling_jax.report.table import Column, Number, Row, Table

PADDING = 3  # spaces a column of the terminal costs beside its text
LABEL = 46  # characters of a row's name in a line of the terminal
CSV_COLUMNS = "experiment target table row column value low high state note".split()
FLOOR_MARK, CONSTANT_MARK = "†", "‡"
FLOOR_NOTE = f"{FLOOR_MARK} not better than the floor."
CONSTANT_NOTE = f"{CONSTANT_MARK} in some seed one answer to at least 99% of the items."
WITH_INTERVAL = ("gain", "interval")  # kinds of columns
IN_TERMINAL = ("scores", "policies", "gains")  # what answers the question; the other tables are in the report


def number_kind(row: Row, column: Column) -> str:
    """Returns how a number is written: "gain" with sign and interval, "interval" with the latter, or the row's kind."""
    return column.kind if column.kind in WITH_INTERVAL else row.kind


def value_text(number: Number, kind: str) -> str:
    """Returns the number as read in a table: 61.2, +3.4, or its state; marked if it is none to rely on."""
    if number.value is None:
        return "–" if number.state == "none" else number.state
    text = f"{number.value:{'+' if kind == 'gain' else ''}.{number.digits}f}"
    return text + FLOOR_MARK * (number.state == "floor") + CONSTANT_MARK * number.constant


def legend(table: Table) -> list[str]:
    """Returns what the marks in a table mean."""
    numbers = [number for row in table.rows for number in row.numbers]
    floor, constant = any(n.state == "floor" for n in numbers), any(n.constant for n in numbers)
    return [FLOOR_NOTE] * floor + [CONSTANT_NOTE] * constant


def range_text(number: Number, kind: str) -> str:
    """Returns what stands below it: lowest and highest seed, an interval, what is missing, or nothing."""
    if number.value is None:
        return number.note
    if number.low is None or number.high is None:
        return ""
    if kind in WITH_INTERVAL:
        return f"[{number.low:.{number.digits}f}, {number.high:.{number.digits}f}]"
    return f"{number.low:.{number.digits}f}–{number.high:.{number.digits}f}" if number.low != number.high else ""


def is_interesting(column: Column, kind: str) -> bool:
    """Says if the terminal shows a column: all languages of scores, but only means of gains."""
    return column.kind != ("language" if kind == "gain" else "group")


def markdown(experiments: Iterable[ExperimentReport], studies: Iterable[StudyReport] = ()) -> str:
    """Returns answers and tables as Markdown: those of each study and its experiments, then of all others."""
    parts = []
    for study in studies:
        parts += [f"# {_cell(study.name)}", _cell(study.question)]
        for answer in study.answers:
            parts += [f"**{_cell(answer.sentence)}**", *map(_cell, answer.remarks)]
        parts += ["Synthetic data."] if study.synthetic else []
        parts += _markdown_origin(study.date, study.machine, study.versions, study.command)
        parts += [part for table in study.tables for part in _markdown_part(table)]
        parts += [part for experiment in study.experiments for part in _markdown_experiment(experiment)]
    parts += [part for experiment in experiments for part in _markdown_experiment(experiment)]
    return "\n\n".join(parts) + "\n"


def owned_tables(
    experiments: Iterable[ExperimentReport], studies: Iterable[StudyReport] = ()
) -> Iterable[tuple[str, str, Table]]:
    """Yields every table with whose it is, the name of a study or of an experiment, and its target, or ""."""
    for study in studies:
        yield from ((study.name, "", table) for table in study.tables)
        yield from owned_tables(study.experiments)
    for experiment in experiments:
        yield from ((experiment.record.name, target, table) for target, table in experiment.named_tables)


def comma_separated(experiments: Iterable[ExperimentReport], studies: Iterable[StudyReport] = ()) -> str:
    """Returns every number of every table, one in a line, in full precision; a study's own stand under its name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for owner, target, table in owned_tables(experiments, studies):
        for row in table.rows:
            for column, number in zip(table.columns, row.numbers, strict=True):
                measured = ["" if x is None else repr(float(x)) for x in (number.value, number.low, number.high)]
                place = [owner, target, table.name, row.label, column_name(column)]
                writer.writerow([*place, *measured, number.state, number.note])
    return text.getvalue()


def terminal(experiments: Iterable[ExperimentReport], width: int, studies: Iterable[StudyReport] = ()) -> str:
    """Returns the report for a terminal of that many characters: scores with floors, gains, the answer.

    Of a study, its claims and its answers; its experiments are in the report.
    """
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    for experiment in experiments:
        console.print(Text(f"{experiment.record.name}: {experiment.record.question}"))
        for table in (table for table in experiment.tables if table.name in IN_TERMINAL):
            _print_table(console, table, width)
        console.print()
        console.print(Text("\n".join(_answer_lines(experiment.answer, experiment.record.synthetic))))
    for study in studies:
        console.print(Text(f"{study.name}: {study.question}"))
        if study.claims:
            _print_table(console, study.claims_table, width)
        for answer in study.answers:
            console.print()
            console.print(Text("\n".join(_answer_lines(answer, study.synthetic))))
    assert isinstance(console.file, io.StringIO), "the console writes to memory"
    return console.file.getvalue()


def _print_table(console: Console, table: Table, width: int) -> None:
    console.print()
    console.print(Text(table.title))
    for grid in _grids(table, width):
        console.print(grid)
    for words in legend(table):
        console.print(Text(words))


def _markdown_experiment(experiment: ExperimentReport) -> Iterable[str]:
    record, answer = experiment.record, experiment.answer
    yield from (f"# {_cell(record.name)}", f"{_cell(record.question)}", f"**{_cell(answer.sentence)}**")
    yield from map(_cell, answer.remarks)
    if record.synthetic:
        yield "Synthetic data."
    yield from _markdown_origin(record.date, record.machine, record.versions, record.command)
    yield from (part for table in experiment.tables for part in _markdown_part(table))


def _markdown_origin(date: str, machine: str, versions: Mapping[str, str], command: str) -> Iterable[str]:
    listed = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    return f"Made on {date} on {_cell(machine)} ({listed}) by:", f"    {command}"


def _markdown_part(table: Table) -> Iterable[str]:
    return f"## {_cell(table.title)}", _cell(table.note), markdown_table(table), *legend(table)


def _answer_lines(answer: Answer, synthetic: bool) -> list[str]:
    return [answer.sentence, *answer.remarks, *(["Synthetic data."] if synthetic else [])]


def _grids(table: Table, width: int) -> Iterable[Grid]:
    """Yields the table in as many pieces, side by side in thought, as the width asks for."""
    kind = table.rows[-1].kind
    shown = [place for place, column in enumerate(table.columns) if is_interesting(column, kind)]
    texts = {place: [_terminal_cell(row, place, table.columns[place]) for row in table.rows] for place in shown}
    labels = [textwrap.fill(row.label.replace("−", "-"), LABEL, break_long_words=False) for row in table.rows]
    label_width = max(len(line) for label in labels for line in label.split("\n")) + PADDING
    pieces: list[list[int]] = [[]]
    used = label_width
    for place in shown:
        lines = [line for text in (*texts[place], column_name(table.columns[place])) for line in text.split("\n")]
        size = max(map(len, lines)) + PADDING
        if pieces[-1] and used + size > width:
            pieces.append([])
            used = label_width
        pieces[-1].append(place)
        used += size
    for piece in pieces:
        grid = Grid(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
        grid.add_column("", no_wrap=True)
        for place in piece:
            grid.add_column(Text(column_name(table.columns[place])), justify="right", no_wrap=True)
        for index, label in enumerate(labels):
            grid.add_row(Text(label), *(Text(texts[place][index]) for place in piece))
        yield grid


def _terminal_cell(row: Row, place: int, column: Column) -> str:
    number, kind = row.numbers[place], number_kind(row, column)
    below = range_text(number, kind) if kind in WITH_INTERVAL and number.value is not None else ""
    return value_text(number, kind) + (f"\n{below}" if below else "")


def column_name(column: Column) -> str:
    """Returns a column's name where its group does not stand above it."""
    prefix = {"group": "mean ", "measure": f"{column.group}: "}.get(column.kind, "")
    return prefix + column.label


def markdown_table(table: Table) -> str:
    """Returns a table as Markdown, without its title and note."""
    rows: list[Sequence[str]] = [["", *(_cell(column_name(column)) for column in table.columns)]]
    rows.append(["---", *["---:"] * len(table.columns)])
    for row in table.rows:
        pairs = zip(row.numbers, table.columns, strict=True)
        rows.append([_cell(row.label), *(_both(number, number_kind(row, column)) for number, column in pairs)])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _both(number: Number, kind: str) -> str:
    below = range_text(number, kind)
    return (
        f"{value_text(number, kind)} {below if kind == 'gain' else f'({below})'}" if below else value_text(number, kind)
    )


def _cell(text: str) -> str:
    """Text that Markdown neither reads as markup nor lets out of its table cell."""
    for character in "\\`*_<>|[]":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
