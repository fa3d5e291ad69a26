"""Folders of studies as a run leaves them, with scores that are exactly what a test plants."""

import dataclasses
import json
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xling_jax.report.collect_study import CollectedStudy, collect_study
from xling_jax.report.study_report import Claim
from xling_jax.report.table import Number, Table
from xling_jax.results import Result, write_results

LANGUAGES = ("qen", "qnd", "qms", "qda")
Truth = Callable[[str, str, int, str, str], float]  # experiment, arm, seed, target, language: a score in percent


def drawn(*names: object) -> np.random.Generator:
    """Returns numbers that are the same in every run for the same names."""
    return np.random.default_rng(zlib.crc32(repr(names).encode()))


@dataclasses.dataclass
class StudyFolder:
    """A folder to be written. What is changed before `write` is in it.

    `experiments` are the fields of records; what they lack has a default: three seeds, one target in four languages, an
    arm "none" that is the baseline. `missing` cells are not measured, `collapsed` ones have one answer to all items.
    """

    path: pathlib.Path
    analysis: dict[str, Any]
    experiments: dict[str, dict[str, Any]]
    truth: Truth
    items: int = 200
    study: dict[str, Any] = dataclasses.field(default_factory=dict)
    missing: Sequence[tuple] = ()
    collapsed: Sequence[tuple] = ()
    begun: Sequence[str] | None = None  # experiments that have a record; None for all

    def write(self) -> CollectedStudy:
        """Writes everything and reads it back."""
        fields = {
            "name": "mine",
            "question": "Does it <help>?",
            "size": "test",
            "synthetic": True,
            "analysis": self.analysis,
            "experiments": list(self.experiments),
            "published": [],
            "command": "xling study --config=configs/studies/mine.py",
            "versions": {"numpy": "2"},
            "machine": "2 cores",
            "date": "2025-01-01",
        }
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "study.json").write_text(json.dumps(fields | self.study))
        for name, given in self.experiments.items():
            if self.begun is None or name in self.begun:
                self._write_experiment(name, given)
        return collect_study(self.path)

    def stage(self, experiment: str, arm: str, seed: int, target: str = "") -> pathlib.Path:
        """Returns the folder of an arm's own stage, or of a target's."""
        name = "_".join(filter(None, (experiment, arm, target, f"s{seed}")))
        return self.path / "stages" / f"{name}-{zlib.crc32(name.encode()):08x}"

    def watch(self, stage: pathlib.Path, lines: Mapping[int, Mapping[str, float]]) -> None:
        """Adds lines of what was watched to a stage's metrics."""
        stage.mkdir(parents=True, exist_ok=True)
        with open(stage / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.writelines(json.dumps({"step": step} | dict(fields)) + "\n" for step, fields in lines.items())

    def _write_experiment(self, name: str, given: Mapping[str, Any]) -> None:
        arms = given.get("arms", {"none": {}})
        seeds = given.get("seeds", (0, 1, 2))
        targets = given.get("targets", [target_fields("qa2")])
        cells, stages = [], [_stage("pretrain-aa", "pretrain", [], 0)]
        for arm in arms:
            for seed in seeds:
                own = self.stage(name, arm, seed).name
                stages.append(_stage(own, own.rpartition("-")[0], ["pretrain-aa"], seed))
                for target in targets:
                    folder = self.stage(name, arm, seed, target["name"])
                    stages.append(_stage(folder.name, folder.name.rpartition("-")[0], [own], seed))
                    cells.append({"arm": arm, "seed": seed, "target": target["name"], "stage": folder.name})
                    self._write_cell(folder, name, arm, seed, target)
        record = {
            "name": name,
            "study": "mine",
            "question": "Does it <help>?",
            "synthetic": True,
            "config_hash": "c0ffee",
            "config": {},
            "command": "",
            "versions": {},
            "machine": "",
            "date": "",
            "source_language": "qen",
            "language_groups": {},
            "seeds": list(seeds),
            "baseline": "none",
            "comparisons": [],
            "headline": None,
            "factors": {},
            "seen_languages": {},
            "cells": cells,
            "stages": stages,
        }
        record |= {"arms": list(arms), "arm_factors": arms, "targets": targets}
        record |= {key: value for key, value in given.items() if key not in ("arms", "targets", "seeds")}
        path = self.path / "experiments" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))

    def _write_cell(
        self, folder: pathlib.Path, experiment: str, arm: str, seed: int, target: Mapping[str, Any]
    ) -> None:
        rows = []
        for language in target["languages"]:
            cell = (experiment, arm, seed, target["name"], language)
            if cell in self.missing:
                continue
            marks = right(self.truth(*cell), self.items, target["name"], cell)
            metric, path = target["metric"], folder / "predictions" / target["task"]
            path.mkdir(parents=True, exist_ok=True)
            lines = [{"id": f"{n:04}", metric: [int(mark), 1]} for n, mark in enumerate(marks)]
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (path / f"{target['split']}-{language}.items.jsonl").write_text(text)
            answers = ["same" if cell in self.collapsed else str(n) for n in range(self.items)]
            (path / f"{target['split']}-{language}.tsv").write_text("\n".join(answers) + "\n")
            value = 100 * float(np.mean(marks))
            rows.append(
                Result(
                    *(None, None, None, seed, "", folder.name.rpartition("-")[2], 100, "last", target["task"]),
                    *(language, target["split"], metric, value, self.items, "", "none", "00", 0.0, 100.0),
                )
            )
        write_results(folder / "results.jsonl", rows)


def right(percent: float, count: int, target: str, cell: tuple) -> np.ndarray:
    """Returns which items are right: exactly the share that is asked for, mostly the easy ones."""
    easy_N = drawn("items", target).random(count) + 0.3 * drawn(cell).random(count)
    marks_N = np.zeros(count, bool)
    marks_N[np.argsort(easy_N)[: round(percent / 100 * count)]] = True
    return marks_N


def target_fields(name: str, languages: Sequence[str] = LANGUAGES, **more: str) -> dict[str, Any]:
    """Returns a target as a record has it."""
    fields = {"name": name, "task": f"world_{name}", "split": "test", "metric": "f1", "languages": list(languages)}
    return fields | more


def _stage(folder: str, name: str, parents: list[str], seed: int) -> dict[str, Any]:
    return {"dir": folder, "name": name, "parents": parents, "seed": seed, "steps": 100, "done": True}


def claim(claims: Sequence[Claim], words: str) -> Claim:
    """Returns the only claim whose text has these words."""
    (found,) = [one for one in claims if words in one.text]
    return found


def number(table: Table, row: str, column: str) -> Number:
    """Returns a number of a table."""
    (place,) = [n for n, one in enumerate(table.columns) if one.label == column]
    (found,) = [one for one in table.rows if one.label == row]
    return found.numbers[place]
