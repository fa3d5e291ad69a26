"""What is drawn once and shared by all tables is not mixed up between targets, seeds, languages and experiments."""

import dataclasses

import pytest
from work_folders import ARMS, LANGUAGES, RIGHT, SEEDS, collected_from, row

from xling_jax.errors import DataError
from xling_jax.report.intervals import contrast_number, gain_weights, intervals, measured
from xling_jax.report.statistics import combined, contrast

QDA = [{"qda": 1.0}]


def only(numbers):
    (number,) = numbers
    return number


def test_a_language_that_lacks_an_item(make_workdir):
    """Item 1 of qda is gone: english is right in 1 of 3 with both seeds, none in 0 and 1 of 3."""
    workdir = make_workdir()
    for arm, seed in RIGHT:
        path = workdir.items(arm, seed, "qda")
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"id": "1"' not in line))
        marks = RIGHT[arm, seed]["qda"]
        score = 100 * (marks[0] + marks[2:]).count("1") / 3
        path = workdir.results(arm, seed)
        rows = [line for line in path.read_text().splitlines(keepends=True) if '"qda"' not in line]
        path.write_text("".join(rows))
        workdir.add_rows(path.parent.name, [row(seed, "qda", score)])
    collected, target = collected_from(workdir)
    assert only(intervals(collected, target, ("english", "none"), QDA)).value == pytest.approx(100 / 6)


def test_one_arm_is_its_own_score(make_workdir):
    collected, target = collected_from(make_workdir())
    assert only(intervals(collected, target, ("english",), QDA)).value == 25.0
    assert only(intervals(collected, target, ("english", "none"), QDA)).value == 12.5
    assert only(intervals(collected, target, ("english",), QDA, seeds=(1,))).value == 25.0
    assert only(intervals(collected, target, ("none",), QDA, seeds=(1,))).value == 25.0
    assert only(intervals(collected, target, ("none",), QDA, seeds=(0,))).value == 0.0


def test_targets_are_drawn_apart(make_workdir):
    """The second target has the items, seeds and languages of the first, and is right where that is wrong."""
    targets = [
        {"name": name, "task": "world_qa2", "split": "test", "metric": metric, "languages": list(LANGUAGES)}
        for name, metric in (("qa2", "f1"), ("turned", "exact_match"))
    ]
    cells = [
        {"arm": arm, "seed": seed, "target": target["name"], "stage": f"{arm}_qa2_s{seed}-bb"}
        for arm, seed in RIGHT
        for target in targets
    ]
    workdir = make_workdir(targets=targets, cells=cells)
    for (arm, seed), right in RIGHT.items():
        for code in LANGUAGES:
            workdir.edit(arm, seed, code, lambda n, item: item | {"exact_match": [1 - item["f1"][0], 1]})
        rows = [row(seed, code, 25.0 * right[code].count("0")) for code in LANGUAGES]
        workdir.add_rows(f"{arm}_qa2_s{seed}-bb", [dataclasses.replace(r, metric="exact_match") for r in rows])
    collected, target = collected_from(workdir)
    first = only(intervals(collected, target, ("english", "none"), QDA))
    second = only(intervals(collected, collected.record.target("turned"), ("english", "none"), QDA))
    assert (first.value, second.value) == (12.5, -12.5)


def test_nothing_is_shared_with_another_experiment(make_workdir):
    collected, target = collected_from(make_workdir())
    assert only(intervals(collected, target, ("english",), QDA)).value == 25.0
    swapped = {
        (arm, seed, "qa2", code): collected.items["multilingual", seed, "qa2", code]
        for arm in ARMS
        for seed in SEEDS
        for code in LANGUAGES
    }
    other = dataclasses.replace(collected, items=swapped)
    assert only(intervals(other, target, ("english",), QDA)).value == 75.0


def test_an_arm_with_missing_languages_does_not_hinder_others(make_workdir):
    workdir = make_workdir()
    workdir.results("multilingual", 0).unlink()
    collected, target = collected_from(workdir)
    assert only(intervals(collected, target, ("english", "none"), QDA)).value == 12.5
    lacking = only(intervals(collected, target, ("multilingual", "none"), QDA))
    assert (lacking.state, lacking.note) == ("missing", "multilingual seed 0 qda")


def test_a_contrast_of_two_experiments(make_workdir):
    """The gain of english in the second, where its seed 1 has qda as seed 1 of multilingual, less that in the first."""
    first, _ = collected_from(make_workdir())
    second, _ = collected_from(make_workdir(name="other"))
    second.items["english", 1, "qa2", "qda"] = second.items["multilingual", 1, "qa2", "qda"]
    gains = [gain_weights(name, "qa2", ("english", "none"), {"qda": 1.0}) for name in ("other", "tiny")]
    weights = combined([(1, gains[0]), (-1, gains[1])])
    cells = measured([first, second], weights, SEEDS)
    found = contrast(cells, weights)
    assert found.by_seed == (0.0, 50.0), "items 1 and 2 of four, under seed 1"
    shared = contrast(cells, {key: weight for key, weight in weights.items() if key[1] == "none"})
    assert (shared.value, shared.error) == (0.0, 0.0), "the same answers to the same items cancel"
    only_first = contrast_number([first, second], {("tiny", "english", "qa2", "qms"): 1.0}, SEEDS)
    assert (only_first.state, only_first.note) == ("missing", "tiny: english seed 0 qms, tiny: english seed 1 qms")


def test_experiments_must_have_the_same_items(make_workdir):
    first, _ = collected_from(make_workdir())
    workdir = make_workdir(name="other")
    for arm, seed in RIGHT:
        path = workdir.items(arm, seed, "qda")
        path.write_text(path.read_text().replace('"id": "3"', '"id": "33"'))
    second, _ = collected_from(workdir)
    keys = [(name, "english", "qa2", "qda") for name in ("tiny", "other")]
    with pytest.raises(DataError, match="are not of the same items"):
        measured([first, second], keys, SEEDS)
