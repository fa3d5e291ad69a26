"""Batch sizes, each with its best rate: scores, steps to a goal, what is censored, what training costs."""

import pytest
from study_folders import StudyFolder, claim, drawn, number, target_fields

from xling_jax.report.analyses import batch

SEEDS = (0, 1, 2, 3)
SIZES, RATES = (8, 32, 128), (0.001, 0.01)
BEST = {8: 0.001, 32: 0.001, 128: 0.01}
STEPS = {8: 400, 32: 100, 128: 50}  # to a dev score of 60; four times the batch takes a quarter, then half


def arms():
    declared = {f"b{size}r{rate:g}": {"batch": size, "rate": rate} for size in SIZES for rate in RATES}
    return {"none": {}, **declared}


def experiment(**more):
    return {"arms": arms(), "seeds": SEEDS, "targets": [target_fields("qa2")], **more}


def truth(loss):
    """Returns scores: 10 points over the baseline, less `loss` zero-shot points at the largest batch."""

    def scores(experiment, arm, seed, target, language):
        noise = drawn(arm, seed).normal(0, 0.3)
        if arm == "none":
            return 40.0 + noise
        return 50.0 + noise - (loss if arm.startswith("b128") and language != "qen" else 0.0)

    return scores


def folder(path, loss=0.0, curves=None, **more):
    analysis = {"method": "batch", "x": "batch", "tuned": "rate", "goal": 60.0, "within": 3.0}
    made = StudyFolder(path, analysis, {"mine": experiment(**more)}, truth(loss))
    for size in SIZES:
        for rate in RATES:
            for seed in SEEDS:
                top = 80.0 if rate == BEST[size] else 70.0
                dev = (curves or dev_curve)(size, top)
                lines = {step: {"dev/world_qa.dev.qen/f1": score} for step, score in dev.items()}
                lines[1000] |= {
                    "time/step": 0.1,
                    "time/input": 0.0,
                    "rate/tokens": 1.0,
                    "rate/padded_tokens": 2.0,
                    "rate/flops": 2e9,
                }
                made.watch(made.stage("mine", f"b{size}r{rate:g}", seed), lines)
    return made


def dev_curve(size, top):
    """Returns a line to 60 at half of twice the steps that are asked for, and the top at the end."""
    return {0: 20.0, STEPS[size] * 2: 100.0 if top == 80.0 else 90.0, 1000: top}


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return batch.answer(folder(tmp_path_factory.mktemp("batch"), loss=6.0).write())


def table(findings, name):
    return next(table for section in findings.sections for table in section.tables if table.name == name)


def test_each_size_has_its_best_rate(findings):
    assert [row.label for row in table(findings, "batch").rows] == ["8, rate 0.001", "32, rate 0.001", "128, rate 0.01"]
    assert number(table(findings, "tuning"), "32", "rate 0.01").value == 70.0
    assert number(table(findings, "batch"), "8, rate 0.001", "dev").value == 80.0


def test_a_planted_loss_is_found(findings):
    assert findings.answer.verdict == "supported"
    assert "Large batches lose zero-shot score: batch 128 against 8: +6" in findings.answer.sentence
    assert claim(findings.claims, "They keep it within 3 points").verdict == "not supported"
    assert claim(findings.claims, "more zero-shot than in the source language").verdict == "supported"


def test_no_loss_is_kept(tmp_path):
    findings = batch.answer(folder(tmp_path).write())
    assert findings.answer.verdict != "supported"
    assert claim(findings.claims, "They keep it within 3 points").verdict == "supported"


def test_steps_to_the_goal_by_hand(findings):
    """From 20 to 100 in twice the steps: 60 is half of the way."""
    steps = table(findings, "steps")
    assert [number(steps, row.label, "steps").value for row in steps.rows] == [400, 100, 50]
    assert [number(steps, row.label, "examples").value for row in steps.rows] == [3200, 3200, 6400]
    assert [number(steps, row.label, "% of the smallest's").value for row in steps.rows] == [100, 100, 200]


def test_the_critical_batch_size_is_said(findings):
    """400, 100, 50 steps at 8, 32, 128: a + b / B bends between the last two."""
    (said,) = [remark for remark in findings.answer.remarks if remark.startswith("Critical batch: about ")]
    size = float(said.removeprefix("Critical batch: about ").partition(",")[0])
    assert 8 < size < 128
    assert "20% more steps than linear scaling from 8" in said and "over seeds" in said


def test_what_does_not_reach_the_goal_is_censored(tmp_path):
    def never(size, top):
        return {0: 20.0, 1000: 55.0 + top / 100} if size == 128 else dev_curve(size, top)

    findings = batch.answer(folder(tmp_path, curves=never).write())
    last = number(table(findings, "steps"), "128, rate 0.01", "steps")
    assert (last.value, last.state) == (None, "censored") and "in 100 steps" in last.note
    assert any("The goal was not reached in every seed at batch 128" in remark for remark in findings.answer.remarks)
    assert any("The critical batch cannot be said: less than 3" in remark for remark in findings.answer.remarks)


def test_costs_of_training_and_of_inference(findings):
    costs = table(findings, "cost")
    assert number(costs, "32, rate 0.001", "examples").value == 3200, "100 steps of 32"
    assert number(costs, "32, rate 0.001", "TFLOPs").value > 0
    assert any("what inference costs is the same" in remark for remark in findings.answer.remarks)


def test_without_dev_scores_nothing_is_judged(tmp_path):
    analysis = {"method": "batch", "x": "batch", "tuned": "rate", "goal": 60.0}
    findings = batch.answer(StudyFolder(tmp_path, analysis, {"mine": experiment()}, truth(0.0)).write())
    assert findings.answer.verdict == "scores only"
    assert len(findings.missing) == 6 and "its rate was not judged" in findings.missing[0]


def test_models_are_compared_with_themselves(tmp_path):
    """Other factors make groups: each has its best rates, claims and sections."""
    made = folder(tmp_path)
    other = made.experiments["mine"] | {"factors": {"model": "other"}}
    made.experiments = {"mine": made.experiments["mine"] | {"factors": {"model": "own"}}, "other": other}
    findings = batch.answer(made.write())
    titles = [section.title for section in findings.sections]
    assert "Scores by batch size, model own" in titles
    assert [found.text for found in findings.claims if "model other" in found.text] == [], "it has no dev scores"
    assert len(findings.missing) == 6
