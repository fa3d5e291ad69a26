"""Gains of arms by targets: what is planted is found, what is not there is not, and luck is no gain."""

import numpy as np
import pytest
from study_folders import StudyFolder, claim, drawn, number, target_fields

from xling_jax.report.analyses import matrix
from xling_jax.report.analyses.crossfit import choose
from xling_jax.report.collect_study import collect_study
from xling_jax.report.study_contents import build_study

GAINS = {"qa": {"qa2": 12.0, "pos": 0.0}, "nli": {"qa2": 0.0, "pos": 8.0}, "idle": {"qa2": 0.0, "pos": 0.0}}
SEEDS = (0, 1, 2, 3, 4)


def planted(experiment, arm, seed, target, language):
    """A gain in every language but the source, and a point of noise of seeds."""
    gain = GAINS.get(arm, {}).get(target, 0.0) if language != "qen" else 0.0
    return 50.0 + gain + drawn(arm, seed, target).normal(0, 0.8)


def experiment(**more):
    arms = {"none": {}, **{arm: {} for arm in GAINS}}
    targets = [target_fields("qa2"), target_fields("pos")]
    return {"arms": arms, "seeds": SEEDS, "targets": targets, "comparisons": [["qa", "idle"]], **more}


def folder(path, truth=planted, **more):
    return StudyFolder(path, {"method": "matrix"}, {"mine": experiment()}, truth, **more)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("matrix")).write()


@pytest.fixture(scope="module")
def findings(study):
    return matrix.answer(study)


def table(findings, name):
    return next(table for section in findings.sections for table in section.tables if table.name == name)


def test_planted_gains_are_supported_and_no_others(study):
    verdicts = {(cell.side.arm, cell.target): cell.judged.verdict for cell in matrix.gains(study)}
    assert {cell for cell, verdict in verdicts.items() if verdict == "supported"} == {("qa", "qa2"), ("nli", "pos")}
    assert len(verdicts) == 6


def test_a_gain_is_the_difference_of_zero_shot_means(study, findings):
    scores = study.experiments["mine"].scores
    mean = {
        arm: np.mean([scores[arm, seed, "qa2", code].value for seed in SEEDS for code in ("qnd", "qms", "qda")])
        for arm in ("qa", "none")
    }
    assert number(table(findings, "matrix"), "qa", "qa2").value == pytest.approx(mean["qa"] - mean["none"])


def test_the_best_arm_of_each_target(findings):
    best = table(findings, "best")
    rows = [row.label for row in best.rows]
    assert rows[0].startswith("qa2: qa") and rows[1].startswith("pos: nli") and rows[2] == "mean of 2"
    fair = number(best, "mean of 2", "cross-fitted")
    assert fair.value == pytest.approx(10.0, abs=1.0)
    assert fair.low < 10.0 < fair.high
    assert findings.answer.verdict == "supported"
    assert (
        "best arm of each target, cross-fitted, over the baseline on the mean of 2 targets" in findings.answer.sentence
    )
    assert any("Of 6 gains" in remark and "2 are supported" in remark for remark in findings.answer.remarks)


def test_luck_is_no_gain(tmp_path):
    """Eight arms without any effect: the best one's own score gains, its cross-fitted one does not."""

    def luck(experiment, arm, seed, target, language):
        return 50.0 + drawn(arm, seed).normal(0, 4)

    arms = {"none": {}, **{f"arm{n}": {} for n in range(8)}}
    declared = experiment(arms=arms, comparisons=[], targets=[target_fields("qa2")])
    study = StudyFolder(tmp_path, {"method": "matrix"}, {"mine": declared}, luck).write()
    findings = matrix.answer(study)
    (row,) = table(findings, "best").rows
    naive, fair = row.numbers
    assert naive.value > fair.value + 1.5
    assert fair.low < 0 < fair.high
    assert findings.answer.verdict == "undecided at this size"


def test_cross_fitting_by_hand(tmp_path):
    """One seed, four items: each arm is right on one half, so each half chooses the arm that is wrong on the other."""
    study = StudyFolder(
        tmp_path,
        {"method": "matrix"},
        {
            "mine": {
                "arms": {"none": {}, "a": {}, "b": {}},
                "seeds": (0,),
                "targets": [target_fields("qa2", ("qen", "qnd"))],
            }
        },
        lambda *cell: 50.0,
        items=4,
    )
    study.write()
    for arm, marks in {"a": "1010", "b": "0101"}.items():
        path = study.stage("mine", arm, 0, "qa2") / "predictions" / "world_qa2" / "test-qnd.items.jsonl"
        path.write_text("".join(f'{{"id": "000{n}", "f1": [{mark}, 1]}}\n' for n, mark in enumerate(marks)))
    chosen = choose(collect_study(tmp_path), "mine", ["a", "b"], "qa2", "best")
    assert chosen is not None
    items = chosen.study.experiments["mine"].items["best", 0, "qa2", "qnd"]
    assert items.num_N.tolist() == [0, 0, 0, 0], "even items chose a, which is wrong on odd ones, and so on"
    assert chosen.picks == {"a": 1, "b": 1}


def test_declared_comparisons_are_claims(findings):
    found = claim(findings.claims, "qa over idle on the mean of 2 targets")
    assert found.verdict == "supported"
    assert found.number.value == pytest.approx(6.0, abs=1.0)


def test_several_tasks_against_the_best_single_one(tmp_path):
    config = {
        "arms": {
            "none": {},
            "qa": {"stage": {"data": ["world_qa.train.qen"]}},
            "nli": {"stage": {"data": ["world_nli.train.qen"]}},
            "idle": {"stage": {"data": ["world_nli.train.qen", "world_text.train.qen"]}},
            "multi": {"stage": {"data": ["world_qa.train.qen", "world_nli.train.qen"]}},
        }
    }

    def truth(experiment, arm, seed, target, language):
        return 50.0 + {"qa": 5.0, "nli": 1.0, "multi": 11.0}.get(arm, 0.0) + drawn(arm, seed).normal(0, 0.5)

    arms = {arm: {} for arm in config["arms"]}
    declared = experiment(arms=arms, comparisons=[], config=config, targets=[target_fields("qa2")])
    findings = matrix.answer(StudyFolder(tmp_path, {"method": "matrix"}, {"mine": declared}, truth).write())
    found = claim(findings.claims, "multi over the best single task")
    assert found.number.value == pytest.approx(6.0, abs=1.0)
    assert len([one for one in findings.claims if "best single" in one.text]) == 1, "idle mixes in text"


def test_retrieval_stands_apart(tmp_path):
    targets = [target_fields("qa2"), target_fields("parallel", metric="accuracy")]
    study = StudyFolder(tmp_path, {"method": "matrix"}, {"mine": experiment(targets=targets)}, planted).write()
    findings = matrix.answer(study)
    assert [column.label for column in table(findings, "matrix").columns] == ["qa2"]
    assert [column.label for column in table(findings, "retrieval").columns] == ["parallel"]
    assert "on qa2" in findings.answer.sentence, "retrieval is in no mean"


def test_published_numbers_stand_beside_ours(tmp_path):
    published = [{"arm": "qa", "target": "qa2", "metric": "f1", "value": 61.5, "source": "Phang et al. 2020"}]
    study = folder(tmp_path, study={"published": published}).write()
    shown, scores = table(matrix.answer(study), "published"), study.experiments["mine"].scores
    label = "qa, qa2 (f1): Phang et al. 2020"
    ours = np.mean([scores["qa", seed, "qa2", code].value for seed in SEEDS for code in ("qen", "qnd", "qms", "qda")])
    assert number(shown, label, "published").value == 61.5
    assert number(shown, label, "ours").value == pytest.approx(ours), "over all languages, the source among them"
    assert number(shown, label, "ours − published").value == pytest.approx(ours - 61.5)


def test_published_numbers_of_the_best_arm(tmp_path):
    """The baseline is no intermediate task, and while one arm is missing nobody knows which is best."""
    published = [{"arm": "", "target": "qa2", "metric": "f1", "value": 61.5, "source": "Phang et al. 2020"}]
    scored = {arm: planted("mine", arm, 0, "qa2", "qnd") for arm in GAINS}
    made = folder(tmp_path / "whole", study={"published": published})
    shown = table(matrix.answer(made.write()), "published")
    label = f"the best ({max(scored, key=scored.get)}), qa2 (f1): Phang et al. 2020"
    assert [row.label for row in shown.rows] == [label]
    lost = min(scored, key=scored.get)
    missing = [("mine", lost, SEEDS[0], "qa2", "qnd")]
    some = folder(tmp_path / "some", study={"published": published}, missing=missing).write()
    (row,) = table(matrix.answer(some), "published").rows
    assert row.label.startswith(f"the best ({lost})") and row.numbers[1].state == "missing"


def test_scores_as_xtreme_averages_them(tmp_path):
    """PAWS-X and XNLI are XTREME's classification; nothing else is covered, and so there is no overall score."""
    xnli = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()
    pawsx = "de en es fr ja ko zh".split()
    targets = [
        target_fields("xnli", xnli, task="xnli", metric="accuracy"),
        target_fields("pawsx", pawsx, task="pawsx", metric="accuracy"),
    ]
    declared = experiment(targets=targets, source_language="en", seeds=(0,), comparisons=[])
    study = StudyFolder(
        tmp_path,
        {"method": "matrix"},
        {"mine": declared},
        lambda e, arm, seed, target, code: 60.0 if target == "xnli" else 80.0,
    ).write()
    shown = table(matrix.answer(study), "overall")
    assert number(shown, "none", "xtreme classification").value == pytest.approx(70.0)
    overall = number(shown, "none", "xtreme all tasks")
    assert overall.value is None and "no target covers" in overall.note


def test_missing_cells_are_said(tmp_path):
    missing = [("mine", "qa", 1, "qa2", "qms")]
    findings = matrix.answer(folder(tmp_path, missing=missing).write())
    gap = number(table(findings, "matrix"), "qa", "qa2")
    assert (gap.value, gap.state) == (None, "missing") and "qa seed 1 qms" in gap.note
    assert number(table(findings, "matrix"), "qa", "pos").value is not None
    rows = [row.label for row in table(findings, "best").rows]
    assert not any(row.startswith("qa2: qa") for row in rows), "what lacks a cell is not chosen"


def test_collapsed_seeds_stand_beside(tmp_path):
    collapsed = [("mine", "qa", 2, "qa2", "qen")]
    findings = matrix.answer(folder(tmp_path, collapsed=collapsed).write())
    both = table(findings, "collapsed")
    assert [row.label for row in both.rows] == [found.text for found in findings.claims], "both rest on qa"
    assert both.rows[1].numbers[0] != both.rows[1].numbers[1]
    assert any("Collapsed in some arm: seed 2. Without: +" in remark for remark in findings.answer.remarks)


def test_the_page_is_written(study):
    report = build_study(study)
    assert report.tables[0].name == "claims"
    assert {"mine-matrix"} <= {drawing.name for drawing in report.drawings}
