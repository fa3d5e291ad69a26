"""Work folders as a run leaves them, with numbers small enough to check by hand."""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import pytest

from xling_jax.results import Result, write_results

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


def row(seed: int, language: str, value: float) -> Result:
    """A row as a stage writes it: nobody's experiment, nobody's arm."""
    return Result(
        *(None, None, None, seed, "qa2", "bb", 100, "last", "world_qa2", language, "test", "f1", value, 4),
        *("squad", "none", "00", FLOORS[language], 100.0),
    )


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


@pytest.fixture(scope="session")
def make_workdir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Workdir]:
    """Returns the maker of work folders, each a new one."""

    def make(folder: str = "work", repeat: int = 1, **changes) -> Workdir:
        workdir = Workdir(tmp_path_factory.mktemp("run") / folder)
        fields = record() | changes
        (workdir.path / "experiments").mkdir(parents=True)
        workdir.record(fields["name"]).write_text(json.dumps(fields))
        for (arm, seed), right in RIGHT.items():
            for language, marks in right.items():
                path = workdir.items(arm, seed, language)
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [{"id": str(n), "f1": [int(mark), 1]} for n, mark in enumerate(marks * repeat)]
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            rows = [row(seed, language, 25.0 * marks.count("1")) for language, marks in right.items()]
            write_results(workdir.results(arm, seed), rows)
            losses = [{"step": step, "train/world_qa2/loss": 2.0 - step / 100} for step in (10, 50, 100)]
            workdir.metrics(arm, seed).write_text("".join(json.dumps(line) + "\n" for line in losses))
        return workdir

    return make
