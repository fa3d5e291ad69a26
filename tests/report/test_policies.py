"""Policies side by side; all other tables know the experiment's policy alone."""

import dataclasses
import json

import pytest
from work_folders import LANGUAGES, RIGHT, collected_from, numbers, row, stage, values

from xling_jax.errors import DataError
from xling_jax.report.aggregate import gain_table, score_table
from xling_jax.report.policies import policy_table
from xling_jax.report.render import write_report

# What a policy scores above `last`, in every cell.
ABOVE = {"source_dev": 2.0, "average": 3.0, "target_dev": 5.0, "oracle": 8.0}


def add_policies(workdir, above=None):
    for (arm, seed), right in RIGHT.items():
        rows = [
            row(seed, language, 25.0 * right[language].count("1") + more, policy)
            for policy, more in (above or ABOVE).items()
            for language in LANGUAGES
        ]
        workdir.add_rows(stage(arm, seed), rows)


def test_policies_side_by_side(make_workdir):
    workdir = make_workdir()
    add_policies(workdir)
    collected, target = collected_from(workdir)
    table = policy_table(collected, target)
    assert values(table, "none") == {
        "last": 25.0,
        "source_dev": 27.0,
        "average": 28.0,
        "looks at the target: target_dev": 30.0,
        "looks at the target: oracle": 33.0,
        "source_dev − last": 2.0,
        "average − last": 3.0,
        "target_dev − last": 5.0,
        "oracle − last": 8.0,
    }
    english = numbers(table, "english")["average"]
    assert (english.value, english.low, english.high) == (46.75, 40.5, 53.0)
    assert [row.label for row in table.rows] == ["none", "english", "multilingual", "floor"]
    assert values(table, "floor")["last"] == 17.5
    assert values(table, "floor")["oracle − last"] is None


def test_a_policy_below_the_floor_is_marked(make_workdir):
    workdir = make_workdir()
    add_policies(workdir, {"average": -10.0})
    found = numbers(policy_table(*collected_from(workdir)), "none")
    assert (found["average"].value, found["average"].state) == (15.0, "floor")
    assert found["last"].state == "ok"


def test_other_tables_know_one_policy(make_workdir):
    plain, workdir = make_workdir("plain"), make_workdir("many")
    add_policies(workdir)
    for build in (score_table, gain_table):
        assert build(*collected_from(workdir)) == build(*collected_from(plain))
    assert len(collected_from(workdir)[0].rows) == 5 * 18, "the rows behind the report are of all policies"


def test_the_policy_of_an_experiment(make_workdir):
    """`source_dev` has the scores of the items; `last`, here, is what is 3 below."""
    workdir = make_workdir(policy="source_dev", policies=["last", "source_dev"])
    for arm, seed in RIGHT:
        path = workdir.results(arm, seed)
        path.write_text(path.read_text().replace('"last"', '"source_dev"'))
    add_policies(workdir, {"last": -3.0})
    collected, target = collected_from(workdir)
    assert numbers(score_table(collected, target), "none")["qen"].value == 87.5
    table = policy_table(collected, target)
    assert values(table, "none") == {"last": 22.0, "source_dev": 25.0, "last − source_dev": -3.0}
    assert "All other tables show source_dev" in table.note


def test_one_policy_has_no_table(make_workdir):
    assert policy_table(*collected_from(make_workdir())).rows == ()
    assert policy_table(*collected_from(make_workdir(policy="last", policies=["last"]))).rows == ()


def test_a_policy_that_was_asked_for_and_is_missing(make_workdir):
    found = numbers(policy_table(*collected_from(make_workdir(policies=["last", "average"]))), "english")
    assert (found["average"].state, found["average − last"].state) == ("missing", "missing")
    assert found["average"].note == "seed 0 qnd, seed 0 qda, seed 1 qnd and 1 more"


def test_a_policy_of_another_target_is_not_missed(make_workdir):
    workdir = make_workdir()
    add_policies(workdir)
    collected, target = collected_from(workdir)
    assert policy_table(collected, dataclasses.replace(target, name="other")).rows == ()


def test_without_a_zero_shot_language(make_workdir):
    workdir = make_workdir()
    add_policies(workdir)
    collected, target = collected_from(workdir)
    assert policy_table(collected, dataclasses.replace(target, languages=("qen",))).rows == ()


@pytest.mark.parametrize("policy", ["oracle", "target_dev"])
def test_what_looks_at_the_target_is_never_the_experiments_policy(make_workdir, policy):
    with pytest.raises(
        DataError, match=rf"policy '{policy}' looks at the target language(.|\n)*Allowed: last source_dev"
    ):
        collected_from(make_workdir(policy=policy))


def test_policies_are_written(make_workdir, tmp_path):
    workdir = make_workdir()
    add_policies(workdir)
    report = write_report([workdir.path], tmp_path)
    text, lines = (tmp_path / "tables.md").read_text(), (tmp_path / "tables.csv").read_text().splitlines()
    assert (
        "|  | last | source\\_dev | average | looks at the target: target\\_dev | looks at the target: oracle |" in text
    )
    assert "| none | 25.0 | 27.0 | 28.0 | 30.0 | 33.0 | +2.0 | +3.0 | +5.0 | +8.0 |" in text
    assert "tiny,qa2,policies,none,oracle − last,8.0,,,ok," in lines
    assert '<th colspan="2" scope="colgroup"><span>looks at the target</span></th>' in report.index.read_text()
    for width in (60, 100):
        words = report.text(width).splitlines()
        assert max(map(len, words)) <= width and "qa2: selection policies" in words
        assert not any("…" in line for line in words), "the name of a column was cut"
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {row["policy"] for row in rows} == {"last", *ABOVE}
