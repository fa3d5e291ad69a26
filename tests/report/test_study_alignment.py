"""Where damage begins, of curves by hand."""

import numpy as np
import pytest
from study_folders import StudyFolder, number

from xling_jax.report.study_alignment import alignment_section, damage
from xling_jax.report.watched import Track, read_watched


def track(*values):
    return Track(np.arange(0.0, 100.0 * len(values), 100.0), np.array(values, float))


def test_damage_begins_where_it_stays():
    assert damage(track(50, 40, 52, 48, 47)) == 300, "what came back was none"
    assert damage(track(50, 49, 49.5)) is None, "a point is no damage"
    assert damage(track(50, 60, 70)) is None
    assert damage(track(50, 48)) == 100


def test_watched_numbers_are_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 10, "train/qa/loss": 2.0}\n'
        '{"step": 20, "dev/world_qa.dev.qen/f1": 60.0}\n'
        '{"step": 10, "dev/world_qa.dev.qen/f1": 50.0, "align/qnd/layer2/accuracy": 40.0}\n'
        '{"step": 20, "dev/world_qa.dev.qen/f1": 61.0}\n'
    )
    watched = read_watched(path)
    assert watched.dev["world_qa.dev.qen", "f1"].values.tolist() == [50.0, 61.0], "the last of a step"
    assert watched.aligned["qnd", 2, "accuracy"].steps.tolist() == [10.0]
    assert read_watched(tmp_path / "none.jsonl").dev == {}


@pytest.fixture
def section(tmp_path):
    made = StudyFolder(tmp_path, {"method": "matrix"}, {"a": {"arms": {"none": {}, "qa": {}}}}, lambda *_: 50.0)
    for seed, more in ((0, 0.0), (1, 2.0)):
        lines = {
            step: {f"align/{code}/layer{layer}/accuracy": value + more for code in ("qnd", "qda") for layer in (0, 1)}
            for step, value in ((0, 60.0), (100, 60.0), (200, 50.0), (300, 45.0))
        }
        lines[100]["align/qnd/layer1/accuracy"] = lines[100]["align/qda/layer1/accuracy"] = 55.0 + more
        made.watch(made.stage("a", "qa", seed), lines)
    return alignment_section(made.write())


def test_where_damage_begins_in_an_arm(section):
    (table,) = section.tables
    assert [row.label for row in table.rows] == ["a_qa"], "arms that were not watched have no row"
    each = {column: number(table, "a_qa", column).value for column in ("at first", "at last", "change", "lowest")}
    assert each == {"at first": 61.0, "at last": 46.0, "change": -15.0, "lowest": 46.0}, "the mean of both seeds"
    assert number(table, "a_qa", "damage from step").value == 100
    assert number(table, "a_qa", "in layer").value == 1
    assert len(section.drawings) == 1


def test_nothing_was_watched(tmp_path):
    made = StudyFolder(tmp_path, {"method": "matrix"}, {"a": {}}, lambda *_: 50.0)
    section = alignment_section(made.write())
    assert not section.tables and not section.drawings
