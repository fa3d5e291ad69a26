"""The gain of an arm by a factor of experiments: a planted difference is found, and none where there is none."""

import json

import numpy as np
import pytest
from study_folders import StudyFolder, claim, drawn, number

from xling_jax.report.analyses import interaction
from xling_jax.report.collect_study import collect_study

SEEDS = (0, 1, 2, 3)
SIZES = {"m7": 7.0, "m13": 13.0}


def truth(more):
    """Returns a gain of 5 points at size 7, and of `more` besides at 13; the base is 10 points higher there."""

    def scores(experiment, arm, seed, target, language):
        large = experiment == "m13"
        gain = (5.0 + more * large) * (arm == "many") if language != "qen" else 0.0
        return 40.0 + 10.0 * large + gain + drawn(experiment, arm, seed).normal(0, 0.3)

    return scores


def folder(path, more, values=None, **given):
    experiments = {
        name: {
            "factors": {"size": (values or SIZES)[name]},
            "arms": {"none": {}, "one": {}, "many": {}},
            "seeds": SEEDS,
        }
        for name in ("m13", "m7")
    }
    analysis = {"method": "interaction", "x": "size", "pair": ["many", "one"]}
    return StudyFolder(path, analysis, experiments, truth(more), **given)


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return interaction.answer(folder(tmp_path_factory.mktemp("interaction"), 6.0).write())


def table(findings, name):
    return next(table for section in findings.sections for table in section.tables if table.name == name)


def test_a_planted_difference_of_gains_is_found(findings):
    assert findings.answer.verdict == "supported"
    assert "The gain of many over one grows from size 7 to 13: +" in findings.answer.sentence
    assert claim(findings.claims, "many over one at size 7").number.value == pytest.approx(5.0, abs=0.6)
    assert claim(findings.claims, "one scores more from size 7 to 13").number.value == pytest.approx(10.0, abs=0.6)


def test_no_difference_is_no_claim(tmp_path):
    findings = interaction.answer(folder(tmp_path, 0.0).write())
    assert findings.answer.verdict == "undecided at this size"
    assert claim(findings.claims, "many over one at size 13").verdict == "supported"


def test_differences_by_hand(findings):
    gains = table(findings, "interaction")
    each = {row: number(gains, row, "many − one").value for row in ("7", "13", "13 − 7")}
    assert each["13 − 7"] == pytest.approx(each["13"] - each["7"])
    assert number(gains, "7", "many").value - number(gains, "7", "one").value == pytest.approx(each["7"])


def test_values_may_be_words(tmp_path):
    findings = interaction.answer(folder(tmp_path, 6.0, {"m7": "small", "m13": "large"}).write())
    assert "from size large to small" in findings.answer.sentence, "words are in the order declared"
    assert not [one for section in findings.sections for one in section.drawings]


def test_consistency_stands_beside(findings):
    shown = table(findings, "consistency")
    assert [row.label for row in shown.rows] == ["7", "13", "13 − 7"]
    assert number(shown, "7", "many").low is not None
    apart = number(shown, "13", "many − one").value - number(shown, "7", "many − one").value
    assert number(shown, "13 − 7", "many − one").value == pytest.approx(apart)


def test_consistency_by_hand(tmp_path):
    """Four items, one seed: of qen and qnd half agree, where each is right on half: kappa is 0."""
    made = folder(tmp_path, 0.0, items=4)
    for given in made.experiments.values():
        given |= {"seeds": (0,), "targets": [{**TARGET, "languages": ["qen", "qnd"]}]}
    made.truth = lambda *cell: 50.0
    made.write()
    for name in made.experiments:
        for arm in ("one", "many"):
            folder_of = made.stage(name, arm, 0, "qa2") / "predictions" / "world_qa2"
            for code, marks in {"qen": "1100", "qnd": "1010"}.items():
                lines = [json.dumps({"id": f"000{n}", "f1": [int(mark), 1]}) for n, mark in enumerate(marks)]
                (folder_of / f"test-{code}.items.jsonl").write_text("\n".join(lines) + "\n")
    shown = table(interaction.answer(collect_study(tmp_path)), "consistency")
    assert number(shown, "7", "many").value == pytest.approx(0.0)
    assert number(shown, "7", "many").low is None, "one seed has no interval over seeds"


TARGET = {"name": "qa2", "task": "world_qa2", "split": "test", "metric": "f1"}


def test_an_experiment_that_has_not_begun(tmp_path):
    findings = interaction.answer(folder(tmp_path, 6.0, begun=["m7"]).write())
    assert findings.answer.verdict == "scores only"
    assert "Less than two values of 'size'" in findings.answer.sentence
    assert number(table(findings, "interaction"), "7", "many − one").value is not None


def test_seeds_are_paired_by_number(tmp_path):
    made = folder(tmp_path, 6.0)
    made.experiments["m7"]["seeds"] = (3, 2, 1)
    findings = interaction.answer(made.write())
    assert "3 seeds" in findings.answer.sentence
    scores = {name: collected.scores for name, collected in made.write().experiments.items()}
    codes = ("qnd", "qms", "qda")

    def gain(name):
        return np.mean(
            [
                scores[name]["many", s, "qa2", c].value - scores[name]["one", s, "qa2", c].value
                for s in (1, 2, 3)
                for c in codes
            ]
        )

    assert findings.answer.number.value == pytest.approx(gain("m13") - gain("m7"))
