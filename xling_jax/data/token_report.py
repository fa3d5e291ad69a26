"""The table of what tokenising did to each prepared cell: the ceilings that stand beside its scores."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from xling_jax.data.prepare import Prepared
from xling_jax.disk import write_text
from xling_jax.tables.languages import LANGUAGES

NOTE = """`cut`: examples whose texts did not fit; `lost`: tokens cut off them. `pieces per`: fertility, per word where
spaces divide words, per character where they do not. `unknown`: pieces without a meaning. `outside`: gold answers that
no window holds; `inexact`: gold answers whose tokens say more than the answer. Shares are in percent."""
COLUMNS = "cell length examples inputs_per_example cut lost pieces_per unit unknown outside inexact".split()


def row_of(prepared: Prepared) -> dict[str, str | int | float | None]:
    """Returns a cell's line of the report: counts made into shares, None where there is nothing to take a share of."""
    counts = prepared.counts
    spaced = LANGUAGES[prepared.cell.language].spaced
    values = {
        "cell": str(prepared.cell),
        "length": prepared.max_length,
        "examples": counts.examples,
        "inputs_per_example": _share(counts.features, counts.examples),
        "cut": _percent(counts.cut, counts.examples),
        "lost": _percent(counts.lost, counts.tokens),
        "pieces_per": _share(counts.pieces, counts.words if spaced else counts.characters),
        "unit": "word" if spaced else "character",
        "unknown": _percent(counts.unknown, counts.pieces),
        "outside": _percent(counts.outside, counts.gold),
        "inexact": _percent(counts.inexact, counts.gold),
    }
    assert list(values) == COLUMNS, "a column without a place in the table"
    return values


def markdown(prepared: Sequence[Prepared]) -> str:
    """Returns the report as a Markdown table whose columns are aligned, so that it reads in a terminal too."""
    rows = [[_text(value) for value in row_of(each).values()] for each in prepared]
    cells = [[column.replace("_", " ") for column in COLUMNS], *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [f"| {' | '.join(_aligned(row, widths))} |" for row in cells]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join([*lines, "", NOTE, ""])


def write_report(prepared: Sequence[Prepared], folder: pathlib.Path) -> str:
    """Writes report.md and report.json, which has the counts themselves too, and returns the former's text."""
    ordered = sorted(prepared, key=lambda each: (each.cell, each.max_length, each.path.name))
    text = markdown(ordered)
    rows = [{**row_of(each), "counts": dataclasses.asdict(each.counts), "folder": each.path.name} for each in ordered]
    write_text(folder / "report.md", text)
    write_text(folder / "report.json", json.dumps(rows, indent=1) + "\n")
    return text


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _text(value: str | int | float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Returns the texts of a line: the name to the left, numbers to the right."""
    return [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
