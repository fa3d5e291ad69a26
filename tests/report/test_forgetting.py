"""Scores of earlier stages' tasks after later stages; none of them enters another table."""

import dataclasses
import json

from work_folders import collected_from, numbers, record, row, values

from xling_jax.report.aggregate import gain_table, score_table
from xling_jax.report.forgetting import forgetting_table
from xling_jax.report.render import write_report

NLI = ("world_nli", "dev", "accuracy")
TEXT = ("world_text", "dev", "loss")
# Accuracy of NLI after its own stage, and after the target's, by seed; both are multiples of a quarter.
BEFORE, AFTER = {0: 80.0, 1: 90.0}, {0: 60.0, 1: 85.0}


def result(task, value, head="", policy="last"):
    name, split, metric = task
    fields = {"task": name, "split": split, "metric": metric, "protocol": f"head={head}" if head else "none"}
    return dataclasses.replace(row(0, "qen", value, policy), **fields)


def with_intermediate(make_workdir, **changes):
    """Arm `english` has an NLI stage between pretraining and the target's."""
    fields = record()
    stages = [stage | {} for stage in fields["stages"]]
    for stage in stages:
        if stage["name"].startswith("english"):
            stage["parents"] = [f"nli_s{stage['seed']}-cc"]
    base = {"parents": ["pretrain-aa"], "steps": 50, "done": True}
    stages += [base | {"dir": f"nli_s{seed}-cc", "name": f"nli_s{seed}", "seed": seed} for seed in (0, 1)]
    workdir = make_workdir(stages=stages, **changes)
    workdir.add_rows("pretrain-aa", [result(TEXT, 2.0)])
    for seed in (0, 1):
        workdir.add_rows(f"nli_s{seed}-cc", [result(NLI, BEFORE[seed]), result(TEXT, 2.25 + seed / 2, "pretrain-aa")])
        later = [result(NLI, AFTER[seed], f"nli_s{seed}-cc"), result(TEXT, 3.0, "pretrain-aa")]
        workdir.add_rows(f"english_qa2_s{seed}-bb", later)
        workdir.add_rows(f"none_qa2_s{seed}-bb", [result(TEXT, 2.5, "pretrain-aa")])
    return workdir


def test_forgetting(make_workdir):
    """The stage of pretraining is one for both seeds; a stage's name loses its seed, so that seeds make one row."""
    table = forgetting_table(collected_from(with_intermediate(make_workdir))[0])
    assert [r.label for r in table.rows] == [
        "none: world_text (loss), pretrain → none_qa2",
        "english: world_text (loss), pretrain → english_qa2",
        "english: world_text (loss), pretrain → nli",
        "english: world_nli (accuracy), nli → english_qa2",
    ], "in the order of the stages"
    nli = numbers(table, "english: world_nli (accuracy), nli → english_qa2")
    own, later, difference = nli.values()
    assert (own.value, own.low, own.high) == (85.0, 80.0, 90.0)
    assert (later.value, later.low, later.high) == (72.5, 60.0, 85.0)
    assert difference.value == -12.5
    loss = numbers(table, "english: world_text (loss), pretrain → nli")
    assert [number.value for number in loss.values()] == [2.0, 2.5, 0.5]
    assert {number.digits for number in loss.values()} == {3}


def test_rescored_rows_are_in_no_other_table(make_workdir):
    """Here the earlier task is the target's own: the same cell, told apart by its protocol alone."""
    target = ("world_qa2", "test", "f1")
    plain, workdir = make_workdir("plain"), make_workdir("again")
    workdir.add_rows("english_qa2_s0-bb", [result(target, 12.0, "pretrain-aa")])
    workdir.add_rows("pretrain-aa", [result(target, 50.0)])
    for build in (score_table, gain_table):
        assert build(*collected_from(workdir)) == build(*collected_from(plain))
    found = values(forgetting_table(collected_from(workdir)[0]), "english: world_qa2 (f1), pretrain → english_qa2")
    assert list(found.values()) == [None, None, None], "seed 1 was not scored again"


def test_what_is_missing_stays_visible(make_workdir):
    workdir = with_intermediate(make_workdir)
    path = workdir.path / "stages" / "nli_s1-cc" / "results.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "world_nli" not in line))
    label = "english: world_nli (accuracy), nli → english_qa2"
    own, later, difference = numbers(forgetting_table(collected_from(workdir)[0]), label).values()
    assert (own.state, own.note) == ("missing", "seed 1")
    assert later.value == 72.5
    assert (difference.value, difference.state) == (None, "none")


def test_a_loss_that_is_not_finite(make_workdir):
    workdir = with_intermediate(make_workdir)
    path = workdir.path / "stages" / "nli_s1-cc" / "results.jsonl"
    path.write_text(path.read_text().replace("2.75", "NaN"))
    found = numbers(forgetting_table(collected_from(workdir)[0]), "english: world_text (loss), pretrain → nli")
    assert found["after the later stage"].state == "not finite"
    assert found["difference"].state == "none"


def test_one_metric_of_a_task_and_one_policy(make_workdir):
    workdir = with_intermediate(make_workdir, policy="source_dev")
    for arm in ("none", "english", "multilingual"):
        for seed in (0, 1):
            path = workdir.results(arm, seed)
            path.write_text(path.read_text().replace('"last"', '"source_dev"'))
    qa = [("world_qa", "dev", "f1"), ("world_qa", "dev", "exact_match")]
    for seed in (0, 1):
        workdir.add_rows(f"nli_s{seed}-cc", [result(task, 40.0) for task in qa])
        again = [
            result(task, 30.0, f"nli_s{seed}-cc", policy=policy) for task in qa for policy in ("source_dev", "last")
        ]
        again = [dataclasses.replace(r, value=r.value + 5 * (r.policy == "last")) for r in again]
        workdir.add_rows(f"english_qa2_s{seed}-bb", again)
    table = forgetting_table(collected_from(workdir)[0])
    assert [r.label for r in table.rows if "qa " in r.label] == ["english: world_qa (f1), nli → english_qa2"]
    found = list(values(table, "english: world_qa (f1), nli → english_qa2").values())
    assert found == [40.0, 30.0, -10.0], "scored again under the experiment's policy; its own stage has only `last`"


def test_a_task_of_two_stages(make_workdir):
    """NLI was trained again in a second stage, which scored the first one's head as well."""
    workdir = with_intermediate(make_workdir)
    workdir.add_rows("english_qa2_s0-bb", [result(NLI, 70.0)])
    path = workdir.results("english", 0)
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    fields = json.loads(workdir.record().read_text())
    fields["stages"].append(fields["stages"][1] | {"dir": "last-dd", "name": "last", "parents": ["english_qa2_s0-bb"]})
    fields["cells"] = [{"arm": "english", "seed": 0, "target": "qa2", "stage": "last-dd"}]
    workdir.change_record(seeds=[0], cells=fields["cells"], stages=fields["stages"])
    workdir.add_rows("last-dd", [result(NLI, 50.0, "english_qa2_s0-bb"), result(NLI, 40.0, "nli_s0-cc")])
    table = forgetting_table(collected_from(workdir)[0])
    nli = {r.label: [number.value for number in r.numbers] for r in table.rows if "nli (" in r.label}
    assert nli == {
        "english: world_nli (accuracy), nli → english_qa2": [80.0, 60.0, -20.0],
        "english: world_nli (accuracy), nli → last": [80.0, 40.0, -40.0],
        "english: world_nli (accuracy), english_qa2 → last": [70.0, 50.0, -20.0],
    }


def test_scored_again_under_other_policies_alone(make_workdir):
    workdir = make_workdir()
    workdir.add_rows("pretrain-aa", [result(TEXT, 2.0)])
    workdir.add_rows("none_qa2_s0-bb", [result(TEXT, 2.5, "pretrain-aa", policy="oracle")])
    assert forgetting_table(collected_from(workdir)[0]).rows == ()


def test_nothing_was_scored_again(make_workdir):
    assert forgetting_table(collected_from(make_workdir())[0]).rows == ()


def test_forgetting_is_written(make_workdir, tmp_path):
    workdir = with_intermediate(make_workdir)
    report = write_report([workdir.path], tmp_path)
    text = (tmp_path / "tables.md").read_text()
    assert "| none: world\\_text (loss), pretrain → none\\_qa2 | 2.000 | 2.500 | +0.500 |" in text
    assert "tiny,,forgetting," in (tmp_path / "tables.csv").read_text()
    page = report.index.read_text()
    assert page.index("<h2>Training</h2>") < page.index("<h3>Forgetting</h3>") < page.index("<h2>Method</h2>")
    assert "orgetting" not in report.text(100)
    rows = collected_from(workdir)[0].rows
    assert sum(r.protocol.startswith("head=") for r in rows) == 8, "2 + 2 + 4: of nli's stages, of none, of english"
    assert all(r.arm in ("none", "english") for r in rows if r.task != "world_qa2")
