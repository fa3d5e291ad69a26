"""Gains against the distance of languages: a slope that is planted is found, and none where there is none."""

import itertools
import json

import numpy as np
import pytest
from study_folders import StudyFolder, claim, drawn, number, target_fields

from xling_jax.report.analyses import regression
from xling_jax.report.collect_study import collect_study
from xling_jax.typology import distances, grammar_features

LANGUAGES = ("qen", "qnd", "qnr", "qms", "qda", "qdt")
SOURCES = ("qen", "qnd", "qms", "qda")
SEEDS = (0, 1, 2)
APART = dict(
    zip(itertools.product(LANGUAGES, LANGUAGES), distances(grammar_features(LANGUAGES)).ravel().tolist(), strict=True)
)


def by_distance(steep):
    """Returns scores that fall with distance, with noise of pairs of languages, of runs, and of runs in a language."""

    def truth(experiment, arm, seed, target, language):
        noise = drawn(arm, seed).normal(0, 0.3) + drawn(arm, seed, language).normal(0, 0.5)
        if arm == "none":
            return 40.0 + noise
        return 60.0 - steep * APART[arm, language] + noise + drawn(arm, language).normal(0, 0.7)

    return truth


def experiment(**more):
    arms = {"none": {}, **{source: {"source": source} for source in SOURCES}}
    return {"arms": arms, "seeds": SEEDS, "targets": [target_fields("qa2", LANGUAGES)], **more}


def folder(path, steep=30.0, distance="grammar", **more):
    analysis = {"method": "regression", "x": "source", "distance": distance}
    return StudyFolder(path, analysis, {"mine": experiment()}, by_distance(steep), **more)


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    return regression.answer(folder(tmp_path_factory.mktemp("regression")).write())


def table(findings, name):
    return next(table for section in findings.sections for table in section.tables if table.name == name)


def slope_of(findings, row):
    return number(table(findings, "slopes"), row, "items and seeds")


def test_a_planted_slope_is_found(findings):
    assert findings.answer.verdict == "supported"
    assert findings.answer.sentence.startswith("The gain falls with distance, within sources and languages: +")
    for row in ("within sources and languages", "over all pairs", "that at home removed"):
        assert slope_of(findings, row).value == pytest.approx(-3.0, abs=0.5), row
        assert claim(findings.claims, f"falls with distance, {row}").verdict == "supported"
    others = number(table(findings, "slopes"), "within sources and languages", "other pairs")
    assert others.low < -3.0 < others.high
    assert number(table(findings, "slopes"), "over all pairs", "p over languages").value < 0.02


def test_no_slope_is_no_claim(tmp_path):
    findings = regression.answer(folder(tmp_path, steep=0.0).write())
    assert findings.answer.verdict == "undecided at this size"


def test_pairs_are_of_two_languages_and_zero_shot(tmp_path):
    study = folder(tmp_path).write()
    found = regression.pairs(study, APART)
    assert {(pair.source, pair.language) for pair in found} == {
        (source, code) for source in SOURCES for code in LANGUAGES if code not in (source, "qen")
    }
    assert all(pair.distance == APART[pair.source, pair.language] for pair in found)


def test_a_good_source_is_not_taken_for_a_near_one(tmp_path):
    """qda is far from all and its arm is bad everywhere, at home too: the plain slope falls, the others do not."""
    made = folder(tmp_path)

    def truth(experiment, arm, seed, target, language):
        return 40.0 + {"none": 0.0, "qda": -10.0}.get(arm, 5.0) + drawn(arm, seed).normal(0, 0.2)

    made.truth = truth
    findings = regression.answer(made.write())
    assert slope_of(findings, "over all pairs").value < -1.0
    assert slope_of(findings, "that at home removed").value == pytest.approx(0.0, abs=0.1)
    assert slope_of(findings, "within sources and languages").value == pytest.approx(0.0, abs=0.1)
    assert findings.answer.verdict != "supported"


def test_permutation_by_hand():
    """Three languages, gains that fall with distance exactly: of six orders those that keep the table are as steep."""
    apart = {("a", "b"): 0.1, ("a", "c"): 0.9, ("b", "c"): 0.3}
    apart |= {(b, a): value for (a, b), value in apart.items()}
    found = [regression.Pair(a, b, value, {}, {}) for (a, b), value in apart.items()]
    p = regression.permuted(found, [-pair.distance for pair in found], apart)
    assert p == pytest.approx(1 / 6), "of six orders only that which is there"
    assert regression.permuted(found, [None, *(0.0 for _ in found[1:])], apart) is None


def test_distances_that_are_written_are_used(tmp_path):
    written = {a: {b: 0.5 * APART[a, b] for b in LANGUAGES} for a in LANGUAGES}
    study = folder(tmp_path, distance="syntax", study={"distances": written}).write()
    slope = slope_of(regression.answer(study), "over all pairs")
    assert slope.value == pytest.approx(-6.0, abs=1.0), "half the distance, twice the slope"


def test_distances_that_lack_are_said(tmp_path):
    findings = regression.answer(folder(tmp_path, distance="syntax").write())
    assert findings.answer.verdict == "scores only"
    assert "No distance of qda and qdt is known: the pair is left out." in findings.missing


def test_languages_are_asked_the_same_items(tmp_path):
    """An item that one language lacks is asked in none; the rows of scores stay as they are."""
    made = folder(tmp_path)
    made.write()
    for path in tmp_path.glob("stages/*/predictions/world_qa2/test-qdt.items.jsonl"):
        lines = path.read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["id"] != "0000"]
        path.write_text("\n".join(kept) + "\n")
        value = 100 * np.mean([json.loads(line)["f1"][0] for line in kept])
        results = path.parents[2] / "results.jsonl"
        rows = [json.loads(line) for line in results.read_text().splitlines()]
        rows = [row | ({"value": value} if row["language"] == "qdt" else {}) for row in rows]
        results.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study, said = regression.at_equal_items(collect_study(tmp_path))
    assert said == "On the 199 items that all languages have."
    assert {len(items.ids) for items in study.experiments["mine"].items.values()} == {199}


def test_a_source_may_be_an_experiments(tmp_path):
    """Targets trained in each source: the score itself, in all languages but that."""
    experiments = {
        source: {
            "factors": {"source": source},
            "source_language": source,
            "seeds": SEEDS,
            "targets": [target_fields("qa2", LANGUAGES)],
        }
        for source in SOURCES
    }

    def truth(experiment, arm, seed, target, language):
        return 60.0 - 30.0 * APART[experiment, language] + drawn(experiment, seed).normal(0, 0.2)

    analysis = {"method": "regression", "x": "source", "distance": "grammar"}
    findings = regression.answer(StudyFolder(tmp_path, analysis, experiments, truth).write())
    assert findings.answer.verdict == "supported"
    assert number(table(findings, "sources"), "qnd", "qen").value == pytest.approx(
        60 - 30 * APART["qnd", "qen"], abs=0.6
    )
    assert any("as a source gives more than qen" in found.text for found in findings.claims)
