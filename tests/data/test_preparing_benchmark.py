"""The benchmark of preparing: how it sums up, that all arms do one job, and that its committed figures are its own."""

import importlib
import json
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def preparing(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("preparing")


def test_a_summary_is_of_medians(preparing):
    runs = [{"cpu_s": cpu, "wall_s": 2 * cpu, "examples": 12, "features": 15, "tokens": 99} for cpu in (1, 2, 6)]
    assert preparing.summary(runs) == {
        "examples": 12,
        "features": 15,
        "tokens": 99,
        "examples_per_cpu_second": {"median": 6, "min": 2, "max": 12},
        "examples_per_wall_second": 3,
    }


def test_the_committed_figures(preparing):
    found = json.loads((ROOT / "benchmarks/preparing.json").read_text())
    assert {"command", "date", "commit", "machine", "versions", "load_average", "repetitions"} <= found.keys()
    assert list(found["cells"]) == list(preparing.CELLS)
    for cell, arms in found["cells"].items():
        rate = {arm: arms[arm]["examples_per_cpu_second"]["median"] for arm in preparing.ARMS}
        assert arms["ratio_to_fastest_other"] == round(rate["prepare"] / max(rate["seqio"], rate["datasets"]), 2), cell
        assert len({arms[arm]["examples"] for arm in preparing.ARMS}) == 1, "all prepare the same examples"
    for cell in ("mnli.dev.en", "squad.dev.en"):
        ours, theirs = (found["cells"][cell][arm] for arm in ("prepare", "seqio"))
        assert (ours["features"], ours["tokens"]) == (theirs["features"], theirs["tokens"]), "and make the same of them"
