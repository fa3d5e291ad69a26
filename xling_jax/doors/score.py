"""`xling score`: a folder of predictions against a folder of labels, as the benchmark's published scorer has it."""

import dataclasses
import json
import pathlib

from absl import flags
from rich.console import Console
from rich.table import Table

from xling_jax.disk import on_disk
from xling_jax.doors.flags import parse, required
from xling_jax.errors import ConfigError, DataError
from xling_jax.scoring.submission import Report, evaluate, named

ABOUT = """xling score --benchmark=xtreme|xtreme-r --predictions=DIR --labels=DIR [--json[=FILE]] [--verbose]

Scores <task>/test-<language>.{tsv,json,jsonl}, the same names on both sides; docs/scoring.md says what they hold.
`xling data labels` writes the labels of the published data files. --json prints JSON instead of tables."""

STDOUT = "-"
WIDTH = 140  # characters, where the output is not a terminal


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    flags.DEFINE_string("benchmark", None, "xtreme or xtreme-r.", flag_values=values)
    flags.DEFINE_string("predictions", None, "Folder of predictions.", flag_values=values)
    flags.DEFINE_string("labels", None, "Folder of labels.", flag_values=values)
    flags.DEFINE_string("split", "test", "What the names of files begin with.", flag_values=values)
    flags.DEFINE_string("json", None, "Print JSON instead of tables; with =FILE, write it there.", flag_values=values)
    flags.DEFINE_bool("verbose", False, "A row for each language, too.", flag_values=values)
    flags.DEFINE_bool("partial", False, "Score the languages that are there on both sides.", flag_values=values)
    words = parse(values, "score", [f"--json={STDOUT}" if word == "--json" else word for word in argv], ABOUT)
    if words:
        raise ConfigError(f"`xling score` takes flags only; found '{words[0]}'.\n`xling score --help` lists them.")
    row = named(required(values, "benchmark"))
    folders = [on_disk(required(values, name)) for name in ("predictions", "labels")]
    report = evaluate(row, *folders, str(values["split"].value), bool(values["partial"].value))
    if values["json"].value != STDOUT:
        _print(report, bool(values["verbose"].value))
    if values["json"].value:
        _write(report, values["json"].value)


def _write(report: Report, where: str) -> None:
    text = json.dumps(dataclasses.asdict(report), ensure_ascii=False, indent=2)
    if where == STDOUT:
        print(text)
        return
    try:
        pathlib.Path(where).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{where} cannot be written: {error.strerror}.\nAllowed: --json=FILE in a folder.") from error


def _print(report: Report, verbose: bool) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_table(report, verbose))
    for group, percent in report.overall.items():
        console.print(f"{group}: {percent:.2f}", highlight=False)
    if "all_task" not in report.overall:
        console.print(f"No overall score: not all tasks of {report.benchmark} are there whole.", highlight=False)
    for task, counts in report.unanswered.items():
        listed = ", ".join(f"{count} of {code}" for code, count in counts.items())
        console.print(f"{task}: without an answer, which scores 0: {listed}", markup=False, highlight=False)
    for task, codes in report.missing.items():
        console.print(f"{task}: without {' '.join(codes)}", markup=False, highlight=False)
    for folder, why in report.not_scored.items():
        console.print(f"not scored: {folder}: {why}", markup=False, highlight=False)


def _table(report: Report, verbose: bool) -> Table:
    """Returns a row for each metric of each task, with what its mean is of; `verbose`: and for each language."""
    grid = Table(title=f"{report.benchmark}, percent", title_justify="left", box=None, pad_edge=False)
    for name in ("task", "metric", "language", "published", "corrected", "scorer"):
        grid.add_column(name, justify="right" if name in ("published", "corrected") else "left")
    for task, detail in report.detailed.items():
        beside = report.corrected.get(task, {})
        rule = report.scorers[task]
        for metric in [name for name, by in {**detail, **beside}.items() if isinstance(by, dict)]:
            by = {**beside.get(metric, {}), **detail.get(metric, {})}
            scorer = rule["official"] if metric in detail else ""
            scorer += f"; corrected: {rule['corrected']}" if metric in beside else ""
            mean = f"avg_{metric}"
            grid.add_row(
                task,
                metric,
                f"mean of {len(by)}",
                _number(detail, mean),
                _number(beside, mean),
                scorer.removeprefix("; "),
            )
            for code in by if verbose else ():
                columns = (_number(each.get(metric, {}), code) for each in (detail, beside))
                grid.add_row("", "", code, *columns, "")
        grid.add_row(task, "score", "", f"{detail['avg_metric']:.2f}", "", "")
    return grid


def _number(scores: dict[str, float], name: str) -> str:
    return f"{scores[name]:.2f}" if name in scores else ""
