"""Work folders as a run leaves them, with numbers small enough to check by hand."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterable

from xling_jax.report.collect import Collected, collect
from xling_jax.report.record import Target
from xling_jax.report.table import Number, Table
from xling_jax.results import Result, read_results, write_results

ARMS, SEEDS, LANGUAGES = ("none", "english", "multilingual"), (0, 1), ("qen", "qnd", "qda")

# Right answers among four items, by arm, seed and language: 25 points each. `repeat` says them again.
RIGHT = {
    ("none", 0): {"qen": "1111", "qnd": "1100", "qda": "0000"},
    ("none", 1): {"qen": "1110", "qnd": "1000", "qda": "0001"},
    ("english", 0): {"qen": "1111", "qnd": "1110", "qda": "0001"},
    ("english", 1): {"qen": "1111", "qnd": "1100", "qda": "0001"},
    ("multilingual", 0): {"qen": "1111", "qnd": "1111", "qda": "0111"},
    ("multilingual", 1): {"qen": "1111", "qnd": "1110", "qda": "0111"},
}
FLOORS = {"qen": 30.0, "qnd": 20.0, "qda": 15.0}


def record(name: str = "tiny") -> dict:
    """The record of an experiment with one target of four items in three languages."""
    stages = [{"dir": "pretrain-aa", "name": "pretrain", "parents": [], "seed": 0, "steps": 3000, "done": True}]
    stages += [
        {"dir": stage(*cell), "name": f"{cell[0]}_qa2_s{cell[1]}", "parents": ["pretrain-aa"], "seed": cell[1]}
        | {"steps": 100, "done": True}
        for cell in RIGHT
    ]
    return {
        "name": name,
        "study": None,
        "question": "Does a <multilingual> set help more than English?",
        "synthetic": True,
        "config_hash": "c0ffee",
        "config": {"model": {"name": "tiny"}},
        "command": "xling run --config=configs/tiny.py",
        "versions": {"numpy": "2", "jax": "0.7"},
        "machine": "2 cores",
        "date": "2025-01-01",
        "source_language": "qen",
        "language_groups": {"near": ["qnd"], "middle": ["qms"], "distant": ["qda"]},
        "seeds": list(SEEDS),
        "baseline": "none",
        "arms": list(ARMS),
        "targets": [
            {"name": "qa2", "task": "world_qa2", "split": "test", "metric": "f1", "languages": list(LANGUAGES)}
        ],
        "comparisons": [["multilingual", "english"], ["english", "none"]],
        "headline": {"comparison": ["multilingual", "english"], "target": "qa2"},
        "cells": [{"arm": arm, "seed": seed, "target": "qa2", "stage": stage(arm, seed)} for arm, seed in RIGHT],
        "stages": stages,
    }


def stage(arm: str, seed: int) -> str:
    return f"{arm}_qa2_s{seed}-bb"


def row(seed: int, language: str, value: float, policy: str = "last") -> Result:
    """A row as a stage writes it: nobody's experiment, nobody's arm."""
    return Result(
        *(None, None, None, seed, "qa2", "bb", 100, policy, "world_qa2", language, "test", "f1", value, 4),
        *("squad", "none", "00", FLOORS[language], 100.0),
    )


def collected_from(workdir: "Workdir") -> tuple[Collected, Target]:
    """Returns the only experiment of a work folder, and its target."""
    (collected,) = collect([workdir.path])
    return collected, collected.record.target("qa2")


def numbers(table: Table, label: str) -> dict[str, Number]:
    """Returns the numbers of a row by column; a mean of a group is 'mean near', a measure has its group's name, too."""
    row = next(row for row in table.rows if row.label == label)
    prefix = {"group": lambda column: "mean ", "measure": lambda column: f"{column.group}: "}
    names = [prefix.get(column.kind, lambda column: "")(column) + column.label for column in table.columns]
    return dict(zip(names, row.numbers, strict=True))


def values(table: Table, label: str) -> dict[str, float | None]:
    """Returns the values alone."""
    return {name: number.value for name, number in numbers(table, label).items()}


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A work folder and where its files are, for tests that spoil one of them."""

    path: pathlib.Path

    def results(self, arm: str, seed: int) -> pathlib.Path:
        return self.path / "stages" / stage(arm, seed) / "results.jsonl"

    def items(self, arm: str, seed: int, language: str) -> pathlib.Path:
        return self.results(arm, seed).parent / "predictions" / "world_qa2" / f"test-{language}.items.jsonl"

    def metrics(self, arm: str, seed: int) -> pathlib.Path:
        return self.results(arm, seed).parent / "metrics.jsonl"

    def record(self, name: str = "tiny") -> pathlib.Path:
        return self.path / "experiments" / f"{name}.json"

    def rank(self, ranking: Callable[[str, int, str, int], list[int]]) -> None:
        """Gives every item a ranking, by arm, seed, language and number of the item."""
        for arm, seed in RIGHT:
            for language in LANGUAGES:
                place = functools.partial(ranking, arm, seed, language)
                self.edit(arm, seed, language, lambda n, item, place=place: item | {"ranking": place(n)})

    def edit(self, arm: str, seed: int, language: str, change: Callable[[int, dict], dict]) -> None:
        """Rewrites the items of a cell one by one."""
        path = self.items(arm, seed, language)
        items = [change(n, json.loads(line)) for n, line in enumerate(path.read_text().splitlines())]
        path.write_text("".join(json.dumps(item) + "\n" for item in items))

    def add_rows(self, dir: str, rows: Iterable[Result]) -> None:
        """Adds rows to the results of a stage, which may have none yet."""
        path = self.path / "stages" / dir / "results.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_results(path, [*(read_results(path) if path.exists() else ()), *rows])

    def change_record(self, **changes) -> None:
        fields = json.loads(self.record().read_text()) | changes
        self.record().write_text(json.dumps(fields))
