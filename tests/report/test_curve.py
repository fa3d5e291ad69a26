"""Gains against the number of languages: a slope that is planted is found, and none where there is none."""

import math

import numpy as np
import pytest
from study_folders import StudyFolder, claim, drawn, number, target_fields

from xling_jax.report.analyses import curve

LANGUAGES = ("qen", "qnd", "qnr", "qms", "qda", "qdt")
SEEN = {1: ("qen",), 2: ("qen", "qnd"), 4: ("qen", "qnd", "qnr", "qms")}
SEEDS = (0, 1, 2, 3)


def arms(orders=(0,)):
    """Returns an arm for each number of languages and order, a control with the source alone, and no task at all."""
    found = {"none": {}, "english": {}}
    for count in SEEN:
        for order in orders:
            found[f"n{count}o{order}"] = {"languages": count, "regime": "total", "order": order}
    return found


def experiment(orders=(0,), **more):
    declared = arms(orders)
    seen = {arm: SEEN[factors["languages"]] for arm, factors in declared.items() if factors}
    return {
        "arms": declared,
        "seeds": SEEDS,
        "targets": [target_fields("qa2", LANGUAGES)],
        "comparisons": [[arm, "english"] for arm, factors in declared.items() if factors],
        "seen_languages": seen | {"english": ("qen",)},
        **more,
    }


def folder(path, truth, **more):
    analysis = {"method": "curve", "x": "languages", "by": ["regime"]}
    return StudyFolder(path, analysis, {"mine": experiment(**more)}, truth)


def rising(experiment, arm, seed, target, language):
    """Two points a doubling in seen languages, one in others, nothing in the source."""
    noise = drawn(arm, seed).normal(0, 0.3)
    if arm in ("none", "english"):
        return 40.0 + noise
    count = int(arm[1])
    each = {True: 2.0, False: 1.0}[language in SEEN[count]] if language != "qen" else 0.0
    return 40.0 + each * math.log2(count) + noise


def flat(experiment, arm, seed, target, language):
    return 40.0 + drawn(arm, seed).normal(0, 0.5)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return folder(tmp_path_factory.mktemp("curve"), rising).write()


@pytest.fixture(scope="module")
def findings(study):
    return curve.answer(study)


def table(findings, name):
    return next(table for section in findings.sections for table in section.tables if table.name == name)


def test_a_planted_slope_is_found(findings):
    assert findings.answer.verdict == "supported"
    assert "points a doubling of languages" in findings.answer.sentence
    assert claim(findings.claims, "More languages help unseen").number.value == pytest.approx(1.0, abs=0.4)
    assert claim(findings.claims, "More languages help the source").verdict != "supported"


def test_no_slope_is_no_claim(tmp_path):
    findings = curve.answer(folder(tmp_path, flat).write())
    assert findings.answer.verdict == "undecided at this size"
    assert not [found for found in findings.claims if found.verdict == "supported"]


def test_gains_by_languages(study, findings):
    """At two languages one is seen, qnd, and four are not; each gain is over the control."""
    scores = study.experiments["mine"].scores

    def mean(arm, *codes):
        return np.mean([scores[arm, seed, "qa2", code].value for seed in SEEDS for code in codes])

    gains = table(findings, "curve")
    seen, unseen = number(gains, "languages 2", "seen"), number(gains, "languages 2", "unseen")
    assert seen.value == pytest.approx(mean("n2o0", "qnd") - mean("english", "qnd"))
    others = ("qnr", "qms", "qda", "qdt")
    assert unseen.value == pytest.approx(mean("n2o0", *others) - mean("english", *others))
    assert number(gains, "languages 1", "seen").state == "none", "with the source alone none is seen"
    assert "never seen" in [column.label for column in gains.columns], "qda and qdt are in no arm"


def test_the_slope_by_hand(findings):
    """Of gains at log2 1, 2, 4: half the last less the first."""
    gains = table(findings, "curve")
    first, last = (number(gains, f"languages {count}", "zero-shot").value for count in (1, 4))
    assert number(gains, "a doubling", "zero-shot").value == pytest.approx((last - first) / 2)


def test_whether_it_still_grows(findings):
    gains = table(findings, "curve")
    before, last = (number(gains, f"languages {count}", "zero-shot").value for count in (2, 4))
    found = claim(findings.claims, "From 2 to 4 languages")
    assert found.number.value == pytest.approx(last - before)


def test_source_alone_at_equal_data(tmp_path):
    stages = {arm: {"stage": {"examples": 800}} for arm in arms()}
    findings = curve.answer(folder(tmp_path, rising, config={"arms": stages}).write())
    found = claim(findings.claims, "4 languages over the source language alone at equal data (regime total)")
    assert found.verdict == "supported"


def test_replicates_are_averaged_and_their_spread_is_shown(tmp_path):
    def truth(experiment, arm, seed, target, language):
        return rising(experiment, arm, seed, target, language) + 4.0 * (arm == "n2o1")

    findings = curve.answer(folder(tmp_path, truth, orders=(0, 1)).write())
    spread = number(table(findings, "replicates"), "languages 2, 2 replicates", "zero-shot")
    assert spread.high - spread.low == pytest.approx(4.0, abs=1.0)
    assert spread.value == pytest.approx(number(table(findings, "curve"), "languages 2", "zero-shot").value)


def test_regimes_are_curves_of_their_own(tmp_path):
    declared = arms() | {f"e{count}": {"languages": count, "regime": "each"} for count in SEEN}
    comparisons = [[arm, "english"] for arm, factors in declared.items() if factors]
    findings = curve.answer(folder(tmp_path, flat, arms=declared, comparisons=comparisons).write())
    assert [section.title for section in findings.sections][:2] == [
        "Gains by languages, regime total",
        "Gains by languages, regime each",
    ]
    assert any("More languages help zero-shot languages (regime each)" in remark for remark in findings.answer.remarks)


def test_without_comparisons_the_baseline_is_the_control(tmp_path):
    study = folder(tmp_path, rising, comparisons=[]).write()
    assert {point.control.arm for point in curve.points(study)} == {"none"}


def test_a_missing_cell_is_missing_in_its_sums_alone(tmp_path):
    made = folder(tmp_path, rising)
    made.missing = [("mine", "n4o0", 0, "qa2", "qda")]
    gains = table(curve.answer(made.write()), "curve")
    assert number(gains, "languages 4", "zero-shot").state == "missing"
    assert number(gains, "languages 4", "seen").value is not None
    assert number(gains, "a doubling", "zero-shot").state == "missing"


def test_the_rise_over_orders_that_were_drawn(tmp_path):
    """Each order has a slope of its own; the claim on others goes by how they differ."""
    findings = curve.answer(folder(tmp_path, rising, orders=(0, 1, 2)).write())
    found = claim(findings.claims, "whichever of 3 replicates was drawn")
    seeds = claim(findings.claims, "More languages help zero-shot languages (regime total)")
    assert found.number.value == pytest.approx(seeds.number.value)
    assert (found.number.low, found.number.high) != (seeds.number.low, seeds.number.high)


def test_which_curve_is_nearer(findings):
    fits, gains = table(findings, "fits"), table(findings, "curve")
    measured = number(gains, "languages 4", "zero-shot").value
    assert number(fits, "zero-shot", "measured").value == pytest.approx(measured)
    assert number(fits, "zero-shot", "error of the line").value is not None
    assert "saturating" not in [column.label for column in fits.columns], "of three points none saturates"
