"""What a study says of alignment: a table of each experiment, and a drawing of each kind of stage."""

import pytest
from study_folders import StudyFolder

from xling_jax.report.study_alignment import alignment_section
from xling_jax.report.watched import read_watched


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
        lines[0] |= {f"align/{code}/sentences": 1000.0 for code in ("qnd", "qda")}
        for fields in lines.values():
            fields |= {f"{name.removesuffix('accuracy')}similarity": 0.1 for name in [*fields] if "accuracy" in name}
        lines[100]["align/qnd/layer1/accuracy"] = lines[100]["align/qda/layer1/accuracy"] = 55.0 + more
        made.watch(made.stage("a", "qa", seed), lines)
    return alignment_section(made.write())


def test_where_alignment_falls_in_an_arm(section):
    (table,) = section.tables
    assert [row.label for row in table.rows] == ["a_qa"], "arms that were not watched have no row"
    found = {f"{column.label}": n.value for column, n in zip(table.columns, table.rows[0].numbers, strict=True)}
    assert found["layer"] == 0, "the best one where it begins, the lowest of equals"
    assert (found["before"], found["after"], found["lowest"]) == (61.0, 46.0, 46.0), "the mean of both seeds"
    assert found["falls at step"] == 200
    assert len(section.drawings) == 1


def test_nothing_was_watched(tmp_path):
    made = StudyFolder(tmp_path, {"method": "matrix"}, {"a": {}}, lambda *_: 50.0)
    section = alignment_section(made.write())
    assert not section.tables and not section.drawings
