"""Models by score and cost: the fronts, and the smallest model that is surely as good as the best."""

import json

import pytest
from study_folders import StudyFolder, claim, drawn, number

from xling_jax.report.analyses import pareto

MODELS = {"small": 40.0, "middle": 59.5, "large": 60.0}
BYTES = {"small": 1e6, "middle": 4e6, "large": 16e6}
SEEDS = (0, 1, 2, 3)


def truth(experiment, arm, seed, target, language):
    return MODELS[experiment] + drawn(experiment, seed).normal(0, 0.2)


def folder(path, within=2.0, clocks=tuple(MODELS), **more):
    experiments = {name: {"factors": {"model": name}, "seeds": SEEDS} for name in ("large", "small", "middle")}
    made = StudyFolder(path, {"method": "pareto", "x": "model", "within": within}, experiments, truth, **more)
    (path / "clock").mkdir(parents=True)
    for name in clocks:
        slower = BYTES[name] / 1e6
        rows = [
            {"batch": size, "latency_ms": slower * size**0.5, "examples_per_second": 1000 * size**0.5 / slower}
            | {
                "parameter_bytes": BYTES[name],
                "flops_per_example": 1e9 * slower,
                "peak_bytes": 1e7 * size,
                "device": "cpu",
            }
            for size in (1, 16)
        ]
        (path / "clock" / f"{name}.json").write_text(json.dumps(clock(rows)))
    return made


def clock(rows):
    """Returns what a file of the clock holds: what is the same for all batch sizes stands beside them."""
    same = {
        "model": "tiny",
        "device": "cpu",
        "cell": "world_qa2.test.qda",
        "lengths": [44],
        "examples": 64,
        "repeats": 5,
    }
    return {**same, "flops_per_example": None, "batches": rows}


def table(findings):
    return findings.sections[0].tables[0]


def test_models_from_small_to_large_with_their_costs(tmp_path):
    findings = pareto.answer(folder(tmp_path).write())
    shown = table(findings)
    assert [row.label for row in shown.rows] == ["small", "middle", "large"]
    assert number(shown, "middle", "ms at batch 1").value == 4.0, "of batch 1 alone"
    assert number(shown, "middle", "examples/s").value == 1000.0, "of the best batch"
    assert number(shown, "middle", "GFLOPs an example").value == 4.0
    assert number(shown, "large", "MB of parameters").value == 16.0
    assert "timed on cpu" in findings.sections[0].note


def test_where_models_stand(tmp_path, monkeypatch):
    """Small costs most and scores least: it is beaten; middle is cheapest; large may be no better than middle."""
    monkeypatch.setitem(BYTES, "small", 64e6)
    monkeypatch.setitem(MODELS, "middle", 59.9)
    front = pareto.answer(folder(tmp_path).write()).sections[0].tables[1]
    states = {row.label: number(front, row.label, "MB of parameters").state for row in front.rows}
    assert states == {"middle": "on the front", "large": "maybe on the front", "small": "beaten"}
    assert number(front, "small", "examples/s").state == "beaten", "of which more is better"


def test_the_smallest_model_that_is_surely_within_reach(tmp_path):
    findings = pareto.answer(folder(tmp_path).write())
    assert findings.answer.verdict == "supported"
    assert findings.answer.sentence.startswith("middle is within 2 points of large, the best: ")
    assert claim(findings.claims, "small is within 2 points").verdict == "not supported"


def test_no_smaller_model_is_within_reach(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "middle", 50.0)
    findings = pareto.answer(folder(tmp_path).write())
    assert findings.answer.verdict == "not supported"
    assert any("large, is itself." in remark for remark in findings.answer.remarks)


def test_models_that_were_not_timed_are_said(tmp_path):
    findings = pareto.answer(folder(tmp_path, clocks=("small", "large")).write())
    assert findings.missing == ("middle: what inference costs was not measured.",)
    assert not [found for found in findings.claims if "middle" in found.text], "nobody knows how large it is"


def test_a_missing_cell_is_a_missing_score(tmp_path):
    findings = pareto.answer(folder(tmp_path, missing=[("middle", "none", 0, "qa2", "qda")]).write())
    assert number(table(findings), "middle", "score").state == "missing"
    assert pytest.approx(60.0, abs=1.0) == number(table(findings), "large", "score").value
