"""Folders of studies: what is read, what is not there yet, and what contradicts itself."""

import json

import pytest
from study_folders import LANGUAGES, StudyFolder, drawn

from xling_jax.errors import DataError
from xling_jax.report.collect_study import collect_study
from xling_jax.report.render import write_report
from xling_jax.report.study_contents import build_study

ARMS = {"none": {}, "qa": {"languages": 1}}


def truth(experiment, arm, seed, target, language):
    return 40.0 + 8.0 * (arm == "qa") + drawn(experiment, arm, seed).normal(0, 0.3)


def folder(path, **more):
    experiments = {name: {"arms": ARMS, "factors": {"model": name}} for name in ("a", "b")}
    return StudyFolder(path, {"method": "matrix"}, experiments, truth, **more)


def test_experiments_are_those_that_the_study_names(tmp_path):
    made = folder(tmp_path)
    made.write()
    other = json.loads((tmp_path / "experiments" / "a.json").read_text()) | {"name": "other", "study": None}
    (tmp_path / "experiments" / "other.json").write_text(json.dumps(other))
    study = collect_study(tmp_path)
    assert [*study.experiments] == ["a", "b"]
    assert study.factors("b", "qa") == {"model": "b", "languages": 1}
    report = write_report([tmp_path], tmp_path / "out")
    assert [experiment.record.name for experiment in report.experiments] == ["other"], "it is reported by itself"
    assert [study.name for study in report.studies] == ["mine"]


def test_shared_stages_are_counted_once(tmp_path):
    """Both have 1 + 6 + 6 stages; pretraining is the same. Each of the 12 cells by itself would train three."""
    counts = folder(tmp_path).write().counts
    assert (counts.asked, counts.different, counts.alone) == (26, 25, 36)
    assert (counts.done, counts.begun_again) == (25, 0)


def test_stages_that_say_epochs_are_counted_and_checkpoints_from_elsewhere_are_not(tmp_path):
    made = folder(tmp_path)
    made.write()
    for path in (tmp_path / "experiments").iterdir():
        record = json.loads(path.read_text())
        for stage in record["stages"]:
            stage |= {"steps": 0, "imported": not stage["parents"]}
        path.write_text(json.dumps(record))
    assert collect_study(tmp_path).counts.alone == 24


def test_stages_that_were_trained_again_are_counted(tmp_path):
    made = folder(tmp_path)
    begun = {"session": 0, "name": "train", "stage": "pretrain-aa", "lane": 0}
    lines = [begun | {"id": n, "begin": float(n), "step": step} for n, step in ((1, 0), (2, 50), (3, 0))]
    for count, again in ((2, 0), (3, 1)):
        (tmp_path / "time.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:count]))
        assert made.write().counts.begun_again == again, "going on at step 50 is not beginning again"


def test_an_unfinished_study_says_what_is_missing(tmp_path):
    made = folder(tmp_path, begun=["a"], missing=[("a", "qa", 0, "qa2", "qms")])
    made.write()
    path = tmp_path / "experiments" / "a.json"
    record = json.loads(path.read_text())
    record["stages"][-1]["done"] = False
    path.write_text(json.dumps(record))
    report = write_report([tmp_path], tmp_path / "out")
    page = report.index.read_text()
    assert "Not begun: b, of 2 experiments." in page
    assert f"Not done: {record['stages'][-1]['dir']}, of 13 stages." in page
    assert "cells missing" in page or "No two arms can be compared yet" in page


def test_a_failed_stage_is_said_and_its_cells_are_missing(tmp_path):
    made = folder(tmp_path)
    missing = [("a", "qa", 1, "qa2", code) for code in LANGUAGES]
    made.missing = missing
    stage = made.stage("a", "qa", 1, "qa2").name
    (tmp_path / "failed").mkdir(parents=True)
    failure = {"name": stage, "error": "The loss was not finite.\nAllowed: a smaller rate.", "exit_code": 5}
    (tmp_path / "failed" / f"{stage}.json").write_text(json.dumps(failure))
    report = build_study(made.write())
    assert f"Failed: {stage}: The loss was not finite." in report.answers[0].remarks
    assert report.answers[0].verdict == "cells missing"
    whole = next(found for found in report.claims if found.text.startswith("b: qa over none"))
    assert whole.verdict == "supported", "the other experiment has its answer"


def test_a_study_that_has_not_begun_has_a_page(tmp_path):
    folder(tmp_path, begun=[]).write()
    report = write_report([tmp_path], tmp_path / "out")
    assert "Not begun: a, b, of 2 experiments." in report.text(100)
    assert "Does it &lt;help&gt;?" in report.index.read_text()


@pytest.mark.parametrize("method", ["matrix", "curve", "batch", "pareto", "interaction", "regression"])
def test_every_method_has_a_page_before_anything_is_measured(tmp_path, method):
    """And with one seed, which is no answer."""
    analysis = {"method": method, "x": "languages", "pair": ["qa", "none"], "tuned": "languages", "distance": "grammar"}
    made = folder(tmp_path, begun=[])
    made.analysis = analysis
    assert build_study(made.write()).answers[0].verdict in ("scores only", "cells missing")
    made.begun = None
    for given in made.experiments.values():
        given["seeds"] = (0,)
    assert build_study(made.write()).answers[0].verdict in ("scores only", "undecided at this size")


def test_a_record_of_another_study_is_an_error(tmp_path):
    made = folder(tmp_path)
    made.write()
    path = tmp_path / "experiments" / "b.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"study": "yours"}))
    with pytest.raises(DataError, match="experiment 'b' of study 'yours'"):
        collect_study(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"analysis": {"method": "guess"}}, "method 'guess' is not known"),
        ({"analysis": None}, "Needed"),
        ({}, "not JSON"),
    ],
)
def test_a_broken_record_is_an_error(tmp_path, changes, said):
    folder(tmp_path).write()
    path = tmp_path / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes) if changes else "{")
    with pytest.raises(DataError, match=said):
        collect_study(tmp_path)


def test_all_files_are_written(tmp_path):
    folder(tmp_path).write()
    report = write_report([tmp_path], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("index.html", "results.jsonl", "tables.md", "tables.tex", "tables.csv", "figures")
    }
    page = report.index.read_text()
    assert page.index("study-mine") < page.index('id="a"'), "the study comes first"
    assert "each was trained once" in page and "1 trainings were saved" in page
    assert "mine,,claims," in (tmp_path / "out" / "tables.csv").read_text()
    assert max(map(len, report.text(80).splitlines())) <= 80
