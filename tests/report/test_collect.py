"""What is read, and that files which contradict each other are named."""

import json

import pytest

from xling_jax.errors import DataError
from xling_jax.report.collect import collect, read_curves
from xling_jax.report.items import read_items


def test_reads_rows_items_and_curves(make_workdir):
    (collected,) = collect([make_workdir().path])
    assert len(collected.rows) == 18
    first = collected.rows[0]
    assert (first.experiment, first.arm, first.seed, first.language) == ("tiny", "english", 0, "qda")
    assert collected.scores["english", 1, "qa2", "qnd"].value == 50.0
    assert collected.items["english", 1, "qa2", "qnd"].score == 50.0
    assert list(collected.curves["english_qa2_s1-bb"]["world_qa2"].losses) == pytest.approx([1.9, 1.5, 1.0])
    assert "pretrain-aa" not in collected.curves, "a stage without a curve has none"


def test_unfinished_stage_leaves_cells_missing(make_workdir):
    workdir = make_workdir()
    workdir.results("english", 1).unlink()
    (collected,) = collect([workdir.path])
    assert len(collected.rows) == 15
    assert ("english", 1, "qa2", "qnd") not in collected.items


def test_shared_stage_serves_each_seed(make_workdir):
    workdir = make_workdir()
    fields = json.loads(workdir.record().read_text())
    for cell in fields["cells"]:
        cell["stage"] = cell["stage"].replace("none_qa2_s1", "none_qa2_s0")
    workdir.record().write_text(json.dumps(fields))
    (collected,) = collect([workdir.path])
    assert collected.scores["none", 1, "qa2", "qnd"].value == 50.0, "seed 1 of 'none' is the stage of seed 0"
    assert {row.seed for row in collected.rows if row.arm == "none"} == {0, 1}, "the joined row has the cell's seed"


def test_items_must_be_there_and_agree(make_workdir):
    workdir = make_workdir()
    items = workdir.items("english", 0, "qnd")
    whole = items.read_text()
    items.write_text(whole.replace("[0, 1]", "[1, 1]"))
    with pytest.raises(DataError, match=r"results\.jsonl and .*qnd\.items\.jsonl disagree(.|\n)*75.0000.*100.0000"):
        collect([workdir.path])
    items.unlink()
    with pytest.raises(DataError, match=r"qnd\.items\.jsonl is missing(.|\n)*english_qa2_s0-bb/results\.jsonl"):
        collect([workdir.path])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "1"}', "is not an item of f1"),
        ('{"id": 1, "f1": [1, 1]}', "is not an item of f1"),
        ('{"id": "1", "f1": [NaN, 1]}', "is not an item of f1"),
        ('{"id": "1", "f1": [1, Infinity]}', "is not an item of f1"),
        ('{"id": "1", "f1": [-1, 1]}', "is not an item of f1"),
        ('{"id": "0", "f1": [1, 1]}', "'0' is there a second time"),
        ("[1]", "not a JSON object"),
        ('{"id": ', "not JSON"),
    ],
)
def test_broken_item_is_named_by_line(tmp_path, line, message):
    path = tmp_path / "stages" / "x" / "predictions" / "t" / "test-qen.items.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"id": "0", "f1": [1, 1]}\n' + line + "\n")
    with pytest.raises(DataError, match=rf"items\.jsonl:2: .*{message}"):
        read_items(path, "f1")


def test_two_rows_of_a_cell(make_workdir):
    workdir = make_workdir()
    results = workdir.results("none", 0)
    results.write_text(results.read_text() + results.read_text().splitlines()[0].replace("100,", "200,") + "\n")
    with pytest.raises(DataError, match=r"two rows of f1 on world_qa2\.test\.qen(.|\n)*100 and 200 of policy last"):
        collect([workdir.path])


def test_experiments_of_one_name(make_workdir):
    one, other = make_workdir("one"), make_workdir("other")
    with pytest.raises(DataError, match=r"one/experiments/tiny\.json and in .*other/experiments/tiny\.json"):
        collect([one.path, other.path])


def test_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match=r"No experiment to report"):
        collect([tmp_path])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baseline": "nothing"}, "arm 'nothing' is used but not declared"),
        ({"seeds": [0]}, "seed '1' is used"),
        ({"comparisons": [["english", "none"]]}, "comparison 'multilingual english' is used"),
        ({"stages": []}, "stage 'none_qa2_s0-bb' is used"),
        ({"headline": {"target": "qa2"}}, "headline: lacks comparison"),
        ({"targets": [{"name": "qa2"}]}, r"targets\[0\]: lacks task, split, metric, languages"),
        ({"cells": [{"arm": "none", "seed": 0, "target": "qa2", "stage": "pretrain-aa"}] * 2}, "two cells for"),
        ({"comparisons": [["english"]]}, "not a pair of arms"),
    ],
)
def test_record_is_checked(make_workdir, changes, message):
    with pytest.raises(DataError, match=rf"tiny\.json.*{message}"):
        collect([make_workdir(**changes).path])


def test_curve_keeps_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['"train/qa/loss": 2.0', '"time/step": 0.1', '"train/nli/loss": 1.0', '"train/qa/loss": NaN']
    path.write_text("".join(f'{{"step": {step}, {line}}}\n' for step, line in enumerate(lines, start=1)))
    curves = read_curves(path)
    assert {task: list(curve.steps) for task, curve in curves.items()} == {"qa": [1, 4], "nli": [3]}
    curve = curves["qa"]
    assert str(curve.losses[1]) == "nan"
