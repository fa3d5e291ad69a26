"""Families, scripts, resource classes, and the gap to the source language, worked by hand from `work_folders.RIGHT`."""

import dataclasses
import json

import pytest
from work_folders import collected_from, numbers, values

from xling_jax.report.aggregate import gain_table
from xling_jax.report.averages import gap_table, kinds_table, language_kinds


def test_kinds_of_languages():
    """Haitian Creole is in the published list twice, in two classes; 'xx' is in no table."""
    assert language_kinds(("de", "sw", "ht", "hu", "fa", "xx")) == {
        "family French creole (1: ht)": ("ht",),
        "family Indo-European (2)": ("de", "fa"),
        "family Niger-Congo (1: sw)": ("sw",),
        "family Uralic (1: hu)": ("hu",),
        "family unknown (1: xx)": ("xx",),
        "script Arabic (1: fa)": ("fa",),
        "script Latin (4)": ("de", "sw", "ht", "hu"),
        "script unknown (1: xx)": ("xx",),
        "resource class 2 (1: sw)": ("sw",),
        "resource class 4 (2)": ("hu", "fa"),
        "resource class 5 (1: de)": ("de",),
        "resource class unknown (2)": ("ht", "xx"),
    }


def test_averages_over_kinds(make_workdir):
    collected, target = collected_from(make_workdir())
    table = kinds_table(collected, target)
    assert [row.label for row in table.rows] == [
        "family generated (2)",
        "script Latin (1: qnd)",
        "script generated B (1: qda)",
    ], "generated languages have no resource class, and the source language is in no average"
    assert "Joshi" not in table.note
    assert [column.label for column in table.columns] == [
        *("floor", "none", "english", "multilingual", "english − none", "multilingual − none")
    ]
    assert list(values(table, "family generated (2)").values()) == [17.5, 25.0, 43.75, 81.25, 18.75, 56.25]
    assert list(values(table, "script generated B (1: qda)").values()) == [15.0, 12.5, 25.0, 75.0, 12.5, 62.5]
    assert numbers(table, "script generated B (1: qda)")["none"].state == "floor"


def test_the_source_of_resource_classes_is_named(make_workdir):
    collected, target = collected_from(make_workdir())
    table = kinds_table(collected, dataclasses.replace(target, languages=("qen", "sw", "hi")))
    assert "Joshi et al. 2020 (arXiv 2004.09095)" in table.note
    assert numbers(table, "resource class 2 (1: sw)")["none"].state == "missing"


def test_gains_of_kinds_are_those_of_the_other_tables(make_workdir):
    """The same draws of items and seeds, so the mean over the family has the interval of the zero-shot mean."""
    collected, target = collected_from(make_workdir(repeat=10))
    found = numbers(kinds_table(collected, target), "family generated (2)")["english − none"]
    gain = numbers(gain_table(collected, target), "english − none")["zero-shot"]
    assert found == gain
    assert found.low < found.value < found.high


def test_missing_cell_of_a_kind(make_workdir):
    workdir = make_workdir()
    path = workdir.results("english", 1)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"qnd"' not in line))
    collected, target = collected_from(workdir)
    table = kinds_table(collected, target)
    whole, script = numbers(table, "family generated (2)"), numbers(table, "script Latin (1: qnd)")
    for row in (whole, script):
        assert [row[name].state for name in ("none", "english", "english − none")] == ["ok", "missing", "missing"]
    assert numbers(table, "script generated B (1: qda)")["english − none"].value == 12.5
    gap = numbers(gap_table(collected, target), "english")
    assert [gap[name].state for name in ("qen", "zero-shot", "gap")] == ["ok", "missing", "missing"]
    assert gap["gap"].note == "english seed 1 qnd"


def test_gap(make_workdir):
    """none: seeds 100 - 25 and 75 - 25; english: 100 - 50 and 100 - 37.5."""
    table = gap_table(*collected_from(make_workdir()))
    assert values(table, "none") == {"qen": 87.5, "zero-shot": 25.0, "gap": 62.5, "gap − that of none": None}
    assert list(values(table, "english").values()) == [100.0, 43.75, 56.25, -6.25]
    assert numbers(table, "none")["gap − that of none"].state == "none"


def test_interval_of_a_gap(make_workdir):
    """Of 400 items three quarters are right in the source language, and the others in the zero-shot one.

    An item adds +1 or -1 to the difference, mean 0.5, so one seed has a standard error of sqrt(1 - 0.25) / 20.
    """
    workdir = make_workdir(repeat=100, seeds=[0], cells=[cell(arm) for arm in ("none", "english", "multilingual")])
    for language, right in (("qen", "1110"), ("qnd", "0001"), ("qda", "0001")):
        for arm in ("none", "english", "multilingual"):
            workdir.edit(arm, 0, language, lambda n, item, right=right: item | {"f1": [int(right[n % 4]), 1]})
            results = workdir.results(arm, 0)
            rows = results.read_text().splitlines(keepends=True)
            results.write_text("".join(set_value(row, language, 25.0 * right.count("1")) for row in rows))
    found = numbers(gap_table(*collected_from(workdir)), "english")
    assert found["gap"].value == 50.0
    assert found["gap"].error == pytest.approx(100 * (0.75 / 399) ** 0.5)
    change = found["gap − that of none"]
    assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0), "both arms answer every item alike"


def test_no_gap_without_the_source_language_or_others(make_workdir):
    collected, target = collected_from(make_workdir())
    assert gap_table(collected, dataclasses.replace(target, languages=("qnd", "qda"))).rows == ()
    alone = dataclasses.replace(target, languages=("qen",))
    assert gap_table(collected, alone).rows == () == kinds_table(collected, alone).rows


def cell(arm):
    return {"arm": arm, "seed": 0, "target": "qa2", "stage": f"{arm}_qa2_s0-bb"}


def set_value(row, language, value):
    fields = json.loads(row)
    return json.dumps(fields | ({"value": value} if fields["language"] == language else {})) + "\n"
