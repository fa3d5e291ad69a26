"""Scores of made-up submissions equal to what the published scorer said of them (tests/scoring/remake_published.py)."""

import json
import pathlib

import pytest
from submissions import write

from xling_jax.scoring.submission import evaluate, named

GOLDEN = json.loads((pathlib.Path(__file__).resolve().parents[1] / "golden/published_scores.json").read_text())
SUBMISSIONS = [key.split() for key in GOLDEN if key != "made_with"]


def leaves(scores, path=()):
    """Yields (path, number) of a nested dict."""
    for key, value in scores.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


@pytest.mark.parametrize(("name", "seed"), SUBMISSIONS)
def test_every_score_equals_the_published_one(tmp_path, name, seed):
    row = named(name)
    report = evaluate(row, *write(row, int(seed), tmp_path))
    published = GOLDEN[f"{name} {seed}"]
    ours = {"overall": report.overall, "detailed": report.detailed}
    expected, found = dict(leaves(published)), dict(leaves(ours))
    assert found.keys() == expected.keys()
    far = {path: (found[path], value) for path, value in expected.items() if abs(found[path] - value) > 1e-9}
    assert not far, "ours and the published"
    assert {(entry.name, code) for entry in row.entries if entry.groups for code in entry.languages.split()} == {
        (path[1], path[3]) for path in expected if len(path) == 4
    }, "every task and language of the benchmark, but LAReQA"


def test_the_submissions_tell_rules_apart():
    """What is equal to the published scorer is worth as much as what the submissions would show to be wrong."""
    detailed = GOLDEN["xtreme 0"]["detailed"]
    for task in detailed.values():
        assert 10 < task["avg_metric"] < 90
        for metric in ("accuracy", "f1", "exact_match"):
            assert len(set(task.get(metric, {"": 0, " ": 1}).values())) > 1
