"""Claims that stand alone and families of them; other tests that a claim has to pass; replicates that were drawn."""

import dataclasses

import pytest
from study_folders import StudyFolder, drawn

from xling_jax.report.analyses.evidence import estimates, judge, over_replicates
from xling_jax.report.analyses.findings import Draft, decide
from xling_jax.report.analyses.weights import Side, gain_of, total

CODES = ("qnd", "qms", "qda")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of an arm that gains and of many that do not."""

    def truth(experiment, arm, seed, target, language):
        return 40.0 + 8.0 * (arm == "good") + drawn(arm, seed).normal(0, 1.0)

    arms = {"none": {}, "good": {}, **{f"idle{n}": {} for n in range(8)}}
    declared = {"mine": {"arms": arms, "seeds": (0, 1, 2, 3)}}
    return StudyFolder(tmp_path_factory.mktemp("evidence"), {"method": "matrix"}, declared, truth).write()


def gain(arm):
    return gain_of(Side("mine", arm), Side("mine", "none"), "qa2", CODES)


def test_the_headline_stands_alone_and_the_others_are_a_family(study):
    found = estimates(study, [gain("good"), *(gain(f"idle{n}") for n in range(8))])
    alone, family = judge(found, alone=True)[0], judge(found)[0]
    assert alone.adjusted == pytest.approx(found[0].found.p_value)
    assert family.adjusted == pytest.approx(9 * alone.adjusted), "the smallest of nine"
    assert family.number.low < alone.number.low == found[0].number.low


def test_a_claim_has_to_pass_another_test_too(study):
    draft = Draft("good", gain("good"))
    (plain,) = decide(study, [draft])
    (other,) = decide(study, [dataclasses.replace(draft, least_p=0.4)])
    assert plain.verdict == "supported"
    assert (other.verdict, other.adjusted) == ("undecided at this size", 0.4)


def test_an_undecided_claim_says_what_would_settle_it(study):
    found = estimates(study, [gain("idle0")])
    (judged,) = judge(found)
    assert judged.verdict == "undecided at this size"
    assert judged.needed.value is None or judged.needed.value > 4
    assert "in 4 of 5 repetitions" in judged.advice


def test_arms_that_answer_alike_differ_by_nothing(study):
    """Sums of the same scores in another order differ in their last digit."""
    thirds = total([(1 / 3, gain_of(Side("mine", "good"), Side("mine", "none"), "qa2", (code,))) for code in CODES])
    same = dict(total([(1.0, gain("good")), (-1.0, thirds)])) or {("mine", "good", "qa2", "qnd"): 1e-16}
    (estimate,) = estimates(study, [same])
    assert estimate.number.value == 0.0 and judge([estimate])[0].verdict == "undecided at this size"


def test_replicates_that_were_drawn(study):
    """The mean of sums, with the variance between them: of two, one degree of freedom."""
    parts = [gain("idle0"), gain("idle1")]
    each, both = estimates(study, parts), over_replicates(study, parts)
    assert both.number.value == pytest.approx(sum(one.number.value for one in each) / 2)
    assert both.found.noise.seeds == 2 and both.runs == 2
    assert over_replicates(study, parts[:1]).found is None
