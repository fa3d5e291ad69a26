"""Tables against numbers worked by hand from `conftest.RIGHT`."""

import dataclasses
import json

import pytest
from work_folders import collected_from, numbers

from xling_jax.errors import DataError
from xling_jax.report.aggregate import baseline_table, columns, gain_table, mark_floor, score_table, stage_uses
from xling_jax.report.answer import UNANSWERED, answer
from xling_jax.report.claims import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from xling_jax.report.record import Target
from xling_jax.report.table import Number


def test_columns_are_source_groups_means(make_workdir):
    collected, _ = collected_from(make_workdir())
    target = Target("t", "t", "test", "f1", ("qdt", "qda", "qen", "qms"))
    found = columns(collected.record, target)
    assert [column.label for column in found] == ["qen", "qms", "qda", "qdt", "middle", "distant", "other", "zero-shot"]
    assert [column.kind for column in found] == ["source"] + ["language"] * 3 + ["group"] * 3 + ["mean"]
    assert set(found[-1].languages) == {"qms", "qda", "qdt"}, "the source language is not zero-shot"


def test_scores(make_workdir):
    table = score_table(*collected_from(make_workdir()))
    none = numbers(table, "none")
    assert (none["qen"].value, none["qen"].low, none["qen"].high) == (87.5, 75.0, 100.0)
    assert (none["zero-shot"].value, none["zero-shot"].low, none["zero-shot"].high) == (25.0, 25.0, 25.0)
    assert none["qda"].value == 12.5
    assert none["qda"].state == "floor", "12.5 is not better than the floor of 15"
    multilingual = numbers(table, "multilingual")
    assert (multilingual["zero-shot"].value, multilingual["zero-shot"].low) == (81.25, 75.0)
    assert multilingual["mean near"].value == 87.5
    assert numbers(table, "floor")["zero-shot"].value == 17.5
    assert [row.label for row in table.rows] == ["none", "english", "multilingual", "floor"], (
        "a ceiling of 100 is left out"
    )


def test_a_score_at_the_floor_is_no_better_than_it():
    floor = Number(20.0)
    states = [mark_floor(Number(value), floor).state for value in (19.9, 20.0, 20.1)]
    assert states == ["floor", "floor", "ok"]
    assert mark_floor(Number(None, state="missing"), floor).state == "missing"
    assert mark_floor(Number(1.0), Number(None, state="none")).state == "ok"


def test_ceiling_below_100_is_shown(make_workdir):
    workdir = make_workdir()
    path = workdir.results("none", 0)
    path.write_text(path.read_text().replace('"ceiling": 100.0', '"ceiling": 98.0'))
    assert numbers(score_table(*collected_from(workdir)), "ceiling")["qnd"].value == 98.0


def test_gains(make_workdir):
    table = gain_table(*collected_from(make_workdir()))
    gains = numbers(table, "multilingual − english")
    assert [gains[name].value for name in ("qen", "qnd", "qda", "zero-shot")] == [0.0, 25.0, 50.0, 37.5]
    assert gains["zero-shot"].error == pytest.approx(182.2917**0.5), "by hand in test_statistics.py"
    assert numbers(table, "english − none")["zero-shot"].value == 18.75


def test_gain_over_baseline(make_workdir):
    table = baseline_table(*collected_from(make_workdir()))
    assert [row.label for row in table.rows] == ["english", "multilingual"]
    assert numbers(table, "multilingual")["qda"].value == 62.5


def test_missing_cell_is_not_averaged_over(make_workdir):
    workdir = make_workdir()
    path = workdir.results("english", 1)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"qnd"' not in line))
    collected, target = collected_from(workdir)
    english = numbers(score_table(collected, target), "english")
    assert [english[name].state for name in ("qen", "qnd", "qda", "mean near", "mean distant", "zero-shot")] == [
        *("ok", "missing", "ok", "missing", "ok", "missing")
    ]
    assert english["zero-shot"].note == "seed 1 qnd"
    gains = numbers(gain_table(collected, target), "multilingual − english")
    assert gains["zero-shot"].value is None
    assert gains["zero-shot"].note == "english seed 1 qnd"
    assert gains["qda"].value == 50.0
    assert numbers(baseline_table(collected, target), "english")["qnd"].state == "missing"
    found = answer(collected)
    assert found.verdict == UNANSWERED
    assert found.remarks == ("Missing: english seed 1 qnd.",)


def test_score_that_is_not_finite_is_shown(make_workdir):
    workdir = make_workdir()
    path = workdir.results("english", 1)
    path.write_text(path.read_text().replace('"value": 50.0', '"value": NaN'))
    collected, target = collected_from(workdir)
    assert numbers(score_table(collected, target), "english")["qnd"].state == "not finite"
    assert numbers(gain_table(collected, target), "english − none")["zero-shot"].state == "not finite"


def test_other_items_are_an_error_naming_both_files(make_workdir):
    workdir = make_workdir()
    path = workdir.items("english", 1, "qda")
    path.write_text(path.read_text().replace('"id": "3"', '"id": "33"'))
    collected, target = collected_from(workdir)
    with pytest.raises(
        DataError, match=r"multilingual_qa2_s0-bb/.*qda\.items\.jsonl and .*english_qa2_s1-bb/.*(.|\n)*'3'"
    ):
        gain_table(collected, target)


def test_order_of_items_does_not_matter(make_workdir):
    workdir = make_workdir()
    before = gain_table(*collected_from(workdir))
    path = workdir.items("english", 1, "qda")
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert gain_table(*collected_from(workdir)) == before


def test_answers(make_workdir):
    undecided = answer(collected_from(make_workdir("four"))[0])
    assert undecided.verdict == UNDECIDED
    assert undecided.remarks[0].startswith("With 2 trained pairs the noise of training is known from one difference")
    assert "points in 4 of 5 repetitions" in undecided.remarks[1]
    supported = answer(collected_from(make_workdir("forty", repeat=10))[0])
    assert supported.verdict == SUPPORTED
    assert supported.sentence.startswith(
        "multilingual minus english on qa2, mean over 2 zero-shot languages: +37.5 points, 95% interval ["
    )
    assert supported.sentence.endswith("], 2 seeds: supported.")
    turned = {
        "comparisons": [["english", "multilingual"]],
        "headline": {"comparison": ["english", "multilingual"], "target": "qa2"},
    }
    assert answer(collected_from(make_workdir("turned", repeat=10, **turned))[0]).verdict == NOT_SUPPORTED


def test_one_pair_of_models_decides_nothing(make_workdir):
    workdir = make_workdir(repeat=10)
    fields = json.loads(workdir.record().read_text())
    for cell in fields["cells"]:
        cell["stage"] = cell["stage"].replace("_s1", "_s0")
    workdir.record().write_text(json.dumps(fields))
    found = answer(collected_from(workdir)[0])
    assert found.verdict == UNDECIDED
    assert found.remarks[0].startswith("One pair of models")


def test_headline_needs_a_zero_shot_language(make_workdir):
    collected, target = collected_from(make_workdir())
    only_source = dataclasses.replace(target, languages=("qen",))
    record = dataclasses.replace(collected.record, targets=(only_source,))
    with pytest.raises(DataError, match="has no zero-shot language"):
        answer(dataclasses.replace(collected, record=record))


def test_stage_uses_count_cells_through_children(make_workdir):
    uses = stage_uses(collected_from(make_workdir())[0].record)
    assert uses["pretrain-aa"] == 6
    assert uses["english_qa2_s0-bb"] == 1
