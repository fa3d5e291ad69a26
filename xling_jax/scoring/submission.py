"""Folders of predictions and labels, `<task>/test-<language>.<ending>`, to the scores of a benchmark.

As its published scorer averages: a task's score is the mean over its languages of the mean of its metrics, a group's
the mean over its tasks, and the overall score the mean over all. Where that scorer goes on with what is not as it must
be (a sentence of another length, an id twice, a label that the task has not), this one stops; docs/scoring.md lists
where.
"""

import dataclasses
import difflib
import pathlib
import re
import statistics
from typing import Any

from xling_jax.errors import DataError, MissingError
from xling_jax.scoring.files import Scored, Scores, open_file
from xling_jax.scoring.layouts import LAYOUTS, Layout
from xling_jax.scoring.metrics import scorer_of
from xling_jax.tables.benchmarks import BENCHMARKS, Benchmark, Entry, benchmark
from xling_jax.tables.tasks import TASKS

Detail = dict[str, Any]  # {metric: {language: percent}, "avg_<metric>": percent, "avg_metric": percent}


@dataclasses.dataclass(frozen=True)
class Report:
    """What a submission scores, in percent, under the published scorer's own names.

    `overall` has `all_task` and the groups, those of which every task is there. `corrected` are numbers beside the
    published ones, for the tasks where those mislead. `scorers` names the rule of each task, and of its corrected
    numbers. `unanswered` counts questions without an answer, which score 0 as published. `missing` are languages that
    were passed over, `not_scored` the folders that were, and why.
    """

    benchmark: str
    overall: dict[str, float]
    detailed: dict[str, Detail]
    corrected: dict[str, Detail]
    scorers: dict[str, dict[str, str]]
    unanswered: dict[str, dict[str, int]]
    missing: dict[str, list[str]]
    not_scored: dict[str, str]


def named(name: str) -> Benchmark:
    """Returns a benchmark by its name in the table or as its publisher writes it: xtreme_r, xtreme-r."""
    return benchmark(name.replace("-", "_"), "--benchmark")


def evaluate(
    row: Benchmark, predictions: pathlib.Path, labels: pathlib.Path, split: str = "test", partial: bool = False
) -> Report:
    """Scores the tasks whose folder is on both sides.

    Args:
      row: the benchmark.
      predictions: folder of predictions.
      labels: folder of labels.
      split: what the names of files begin with.
      partial: passes over languages without a file on both sides, tasks without one, and languages that only another
        benchmark scores. A task that lacks a language enters no group.

    Raises:
      DataError: no task is on both sides, a file is missing, or one is not as it must be.
    """
    sides = [_folders(folder) for folder in (predictions, labels)]
    entries = [entry for entry in row.entries if all(entry.name in side for side in sides)]
    if not entries:
        raise DataError(
            f"No task of {row.name} has a folder in both {predictions} and {labels}.\n"
            f"Found: {' '.join(sides[0]) or 'nothing'}; and {' '.join(sides[1]) or 'nothing'}.\n"
            f"Allowed: {' '.join(entry.name for entry in row.entries)}."
        )
    detailed, corrected, unanswered, missing, passed = {}, {}, {}, {}, {}
    for entry in entries:
        scores = evaluate_task(row, entry, predictions, labels, split, partial=partial)
        if not scores:
            passed[entry.name] = f"no {split} file on both sides"
            continue
        detailed[entry.name] = _detail(entry, {code: scored.published for code, scored in scores.items()})
        corrected |= _corrected(entry.name, scores)
        if silent := {code: scored.unanswered for code, scored in scores.items() if scored.unanswered}:
            unanswered[entry.name] = silent
        if lacking := [code for code in entry.languages.split() if code not in scores]:
            missing[entry.name] = lacking
    if not detailed:
        raise _Files(row, entries[0], predictions / entries[0].name, labels / entries[0].name, split).lacks()
    whole = {name: detail["avg_metric"] for name, detail in detailed.items() if name not in missing}
    return Report(
        row.name,
        _overall(row, whole),
        detailed,
        corrected,
        {entry.name: _scorers(entry, entry.name in corrected) for entry in entries if entry.name in detailed},
        unanswered,
        missing,
        _not_scored(row, *sides) | passed,
    )


def evaluate_task(
    row: Benchmark,
    entry: Entry,
    predictions: pathlib.Path,
    labels: pathlib.Path,
    split: str = "test",
    *,
    partial: bool = False,
) -> dict[str, Scored]:
    """Returns what each language of a task scores; see `evaluate`."""
    files = _Files(row, entry, predictions / entry.name, labels / entry.name, split)
    return {code: files.score(code) for code in files.languages(partial)}


def _folders(folder: pathlib.Path) -> list[str]:
    if not folder.is_dir():
        raise MissingError(f"There is no folder {folder}.\nAllowed: a folder with a folder for each task.")
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


@dataclasses.dataclass(frozen=True)
class _Files:
    """The files of a task on both sides."""

    row: Benchmark
    entry: Entry
    predictions: pathlib.Path
    labels: pathlib.Path
    split: str

    @property
    def layout(self) -> Layout:
        return LAYOUTS[TASKS[self.entry.task].kind]

    def name(self, code: str) -> str:
        return f"{self.split}-{code}.{self.layout.ending}"

    def languages(self, partial: bool) -> list[str]:
        """Returns the languages that are scored. Raises DataError for a file too few or too many."""
        codes = self.entry.languages.split()
        for side in (self.predictions, self.labels):
            for code in self._there(side):
                if code not in codes and not (partial and self._elsewhere(code)):
                    raise self._extra(side / self.name(code), code)
        lacking = self._lacking()
        if lacking and not partial:
            raise self.lacks()
        return [code for code in codes if code not in lacking.values()]

    def _lacking(self) -> dict[pathlib.Path, str]:
        """Returns the files that are not there, each with its language."""
        codes = self.entry.languages.split()
        return {path: code for code in codes for path in self._paths(code) if not path.is_file()}

    def _elsewhere(self, code: str) -> list[str]:
        """Returns the benchmarks that score the task in a language."""
        entries = [(row.name, entry) for row in BENCHMARKS.values() for entry in row.entries]
        return [name for name, entry in entries if entry.name == self.entry.name and code in entry.languages.split()]

    def _paths(self, code: str) -> tuple[pathlib.Path, pathlib.Path]:
        """Returns the paths of predictions and labels."""
        return self.predictions / self.name(code), self.labels / self.name(code)

    def _there(self, side: pathlib.Path) -> list[str]:
        pattern = re.compile(rf"{re.escape(self.split)}-([^.]+)\.{self.layout.ending}")
        return sorted(found[1] for path in side.iterdir() if (found := pattern.fullmatch(path.name)))

    def _extra(self, path: pathlib.Path, code: str) -> DataError:
        others = self._elsewhere(code)
        beside = f" {' and '.join(others)} has it." if others else ""
        return DataError(
            f"{path}: {self.row.name} does not score {self.entry.name} in '{code}'.{beside}\n"
            f"Allowed: {self.entry.languages}.\nLanguages are those of xling_jax/tables/benchmarks.py."
        )

    def lacks(self) -> MissingError:
        """Returns the error for files that are not there."""
        lacking = list(self._lacking())
        near = [path.name for path in sorted(lacking[0].parent.glob(f"{lacking[0].stem}.*"))]
        beside = f" {near[0]} is there." if near else ""
        return MissingError(
            f"There is no file {lacking[0]}, and {len(lacking) - 1} others are missing.{beside}\n"
            f"Allowed: {self.name('LANGUAGE')} for each of {self.entry.languages}.\n"
            "With --partial the languages are scored that are there, and the task counts in no group."
        )

    def score(self, code: str) -> Scored:
        """Returns what a language scores."""
        found, gold = map(open_file, self._paths(code))
        return self.layout.score(gold, found, TASKS[self.entry.task], code)


def _detail(entry: Entry, scores: dict[str, Scores]) -> Detail:
    """Returns the metrics of a task by language, the mean of each, and the mean of those that count."""
    metrics = list(next(iter(scores.values())))
    detail: Detail = {metric: {code: values[metric] for code, values in scores.items()} for metric in metrics}
    means = {f"avg_{metric}": statistics.fmean(values[metric] for values in scores.values()) for metric in metrics}
    return detail | means | {"avg_metric": statistics.fmean(means[f"avg_{metric}"] for metric in entry.metrics)}


def _corrected(name: str, scores: dict[str, Scored]) -> dict[str, Detail]:
    """Returns {task: corrected numbers}: languages where there is one; the means are over all, with those in place."""
    metrics = {metric: None for scored in scores.values() for metric in scored.corrected}
    found: Detail = {}
    for metric in metrics:
        found[metric] = {code: each.corrected[metric] for code, each in scores.items() if metric in each.corrected}
        everywhere = [(each.published | each.corrected)[metric] for each in scores.values()]
        found[f"avg_{metric}"] = statistics.fmean(everywhere)
    return {name: found} if found else {}


def _overall(row: Benchmark, whole: dict[str, float]) -> dict[str, float]:
    """Returns the overall score and those of groups, of which all tasks are there."""
    groups = {"all_task": tuple(entry.name for entry in row.entries)} | row.groups()
    return {
        group: statistics.fmean(whole[name] for name in names)
        for group, names in groups.items()
        if set(names) <= set(whole)
    }


def _scorers(entry: Entry, corrected: bool) -> dict[str, str]:
    task = TASKS[entry.task]
    found = {"official": scorer_of(task.kind, task.scorer).id}
    return found | ({"corrected": LAYOUTS[task.kind].corrected} if corrected else {})


def _not_scored(row: Benchmark, predictions: list[str], labels: list[str]) -> dict[str, str]:
    """Returns {folder: why it is not scored}."""
    names = [entry.name for entry in row.entries]
    found = {}
    for folder in dict.fromkeys([*predictions, *labels]):
        close = difflib.get_close_matches(folder, names, n=1)
        if folder not in names:
            found[folder] = f"no task of {row.name}" + (f"; is it {close[0]}?" if close else "")
        elif folder not in predictions or folder not in labels:
            found[folder] = "no predictions" if folder not in predictions else "no labels"
    return found
