"""The plain scorer that benchmarks/scoring.py measures against reads the rules as ours does: slow reference code."""

import pathlib
import sys

import pytest
from submissions import write

from xling_jax.scoring.submission import evaluate_task
from xling_jax.tables.benchmarks import BENCHMARKS

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def plain_scorer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import plain_scorer  # noqa: PLC0415 - not a package

    yield plain_scorer
    sys.modules.pop("plain_scorer")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_plain_scorer_gives_the_same_scores(tmp_path, plain_scorer, name):
    """At another size and seed than what the published scorer was asked."""
    row = BENCHMARKS[name]
    sides = write(row, 11, tmp_path, size=25)
    for entry in row.entries:
        if not entry.groups:
            continue
        ours, plain = evaluate_task(row, entry, *sides), plain_scorer.score_task(entry, *sides)
        for code, scores in plain.items():
            published, corrected = ours[code].published, ours[code].corrected
            expected = {metric: percent for metric, percent in scores.items() if metric != "token accuracy"}
            assert published == pytest.approx(expected, abs=1e-9), (entry.name, code)
            if "token accuracy" in scores:
                assert corrected["accuracy"] == pytest.approx(scores["token accuracy"], abs=1e-9)
