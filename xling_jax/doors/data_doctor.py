"""`xling data doctor`: what is there, missing, broken, and what leaks, as a table or as JSON."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import track
from rich.table import Table

from xling_jax.data.doctor import MISSING, THERE, Finding, Report, examine
from xling_jax.errors import DataError
from xling_jax.tables.checksums import load_checksums, save_checksums
from xling_jax.tables.tasks import TASKS, Cell

WIDTH = 180  # characters, where the output is not a terminal
SHOWN = 1.0  # percent of shared texts from which the table shows an overlap; the JSON has all


def run(data_dir: pathlib.Path | None, as_json: bool, checksums: str | None, record: str | None) -> None:
    """Examines the data folder and prints what is found.

    Raises DataError if something is broken; what is missing is not.
    """
    table = load_checksums(pathlib.Path(checksums) if checksums else None)
    report = examine(data_dir, {} if record else table, _progress)
    if record:
        save_checksums(report.files(), pathlib.Path(record))
    print(_json(report) if as_json else "", end="\n" if as_json else "")
    if not as_json:
        _print(report)
    if report.broken and not record:
        raise DataError(
            f"{len(report.broken)} of {len(report.findings)} cells are broken.\n"
            "Allowed: files as they are published. `xling data doctor` lists them; copy them again."
        )


def _progress(cells: Iterable[Cell]) -> Iterator[Cell]:
    return iter(track(cells, "reading", console=Console(stderr=True), transient=True))


def _json(report: Report) -> str:
    return json.dumps(
        {
            "cells": [finding.as_json() for finding in report.findings],
            "overlaps": [dataclasses.asdict(overlap) for overlap in report.overlaps],
            "kin": [dataclasses.asdict(kin) for kin in report.kin],
            "broken": len(report.broken),
        },
        ensure_ascii=False,
        indent=1,
    )


def _print(report: Report) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_summary(report))
    for finding in report.broken:
        console.print(f"broken: {finding.cell}: {finding.error}", markup=False, highlight=False)
    for finding in report.findings:
        if finding.faults:
            met = ", ".join(f"{fault}: {count}" for fault, count in finding.faults.items())
            console.print(f"known fault of {finding.cell}: {met}", markup=False, highlight=False)
    console.print(_shared(report))
    for kin in report.kin:
        console.print(f"same content, {kin.name}: {kin.splits}: {kin.why}", markup=False, highlight=False)
    states = [finding.state for finding in report.findings]
    console.print(
        f"{states.count(THERE)} cells are there, {states.count(MISSING)} missing, {len(report.broken)} broken.",
        highlight=False,
    )


def _grid(title: str, names: str) -> Table:
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names.split(", "):
        grid.add_column(name, overflow="fold", justify="right" if name in ("examples", "percent", "texts") else "left")
    return grid


def _summary(report: Report) -> Table:
    """Returns one row for each split of each task."""
    grid = _grid("Cells", "split, kind, cells, examples, checksums, labels, licence, source, missing")
    splits: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        splits.setdefault((finding.cell.task, finding.cell.split), []).append(finding)
    order = {name: number for number, name in enumerate(TASKS)}
    for (task, split), found in sorted(splits.items(), key=lambda item: order[item[0][0]]):
        row = TASKS[task]
        there = [finding for finding in found if finding.state == THERE]
        missing = " ".join(finding.cell.language for finding in found if finding.state == MISSING)
        grid.add_row(
            f"{task}.{split}",
            row.kind,
            f"{len(there)} of {len(found)}",
            _counts(there),
            " ".join(sorted({finding.checksums for finding in there})),
            "none" if row.kind == "mlm" else row.splits[split].labels,
            row.licence,
            row.source,
            missing if there else "all" if missing else "",
        )
    return grid


def _counts(there: list[Finding]) -> str:
    """Returns the examples of some cells, and how many were published if that is known of all and not the same."""
    if not there:
        return ""
    total = sum(finding.examples or 0 for finding in there)
    known = [finding.published for finding in there if finding.published is not None]
    as_many = len(known) < len(there) or sum(known) == total
    return f"{total:,}" if as_many else f"{total:,} of {sum(known):,}"


def _shared(report: Report) -> Table:
    grid = _grid("Texts in two splits", "first, second, texts, percent, what, languages of the second")
    for overlap in report.overlaps:
        if overlap.percent >= SHOWN:
            what = "trained on and evaluated" if overlap.trains else "both evaluated"
            numbers = f"{overlap.texts:,}", f"{overlap.percent:.1f}"
            grid.add_row(overlap.first, overlap.second, *numbers, what, " ".join(overlap.languages))
    return grid
