"""Agreement with the source language, worked by hand from `work_folders.RIGHT`."""

import dataclasses
import math

import pytest
from work_folders import collected_from, numbers, values

from xling_jax.errors import DataError
from xling_jax.report.consistency import consistency_table, is_parallel


def test_right_and_wrong(make_workdir):
    """none, qnd: 1111 and 1100 agree in 2 of 4, as by chance; 1110 and 1000 in 2 of 4, where chance is 37.5."""
    table = consistency_table(*collected_from(make_workdir()))
    assert [column.label for column in table.columns] == ["f1", "agreement", "chance", "kappa"] * 3
    none = numbers(table, "qnd")
    assert [none[f"none: {name}"].value for name in ("f1", "agreement", "chance", "kappa")] == [37.5, 50.0, 43.75, 10.0]
    kappa = none["none: kappa"]
    assert (kappa.low, kappa.high) == (0.0, 20.0)
    assert [row.label for row in table.rows] == ["qnd", "qda", "mean of 2 languages"]
    mean = numbers(table, "mean of 2 languages")
    assert [mean[f"none: {name}"].value for name in ("f1", "agreement", "chance", "kappa")] == [
        25.0,
        25.0,
        31.25,
        -10.0,
    ]
    assert numbers(table, "qda")["none: f1"].state == "floor"
    undefined = numbers(table, "qnd")["multilingual: kappa"]
    assert (undefined.value, undefined.state) == (None, "none"), "seed 0 is right in all items of both languages"


def test_rankings(make_workdir):
    """Seed 0 of `english` orders every item of qnd the other way round; all other cells order as the source does."""
    workdir = make_workdir()
    workdir.rank(lambda arm, seed, code, n: [0, 1] if (arm, seed, code) != ("english", 0, "qnd") else [1, 0])
    table = consistency_table(*collected_from(workdir))
    assert [column.label for column in table.columns] == ["f1", "RankC", "chance"] * 3
    english = numbers(table, "qnd")["english: RankC"]
    turned = 100 / (1 + math.e)
    assert (english.value, english.low, english.high) == pytest.approx(((turned + 100) / 2, turned, 100))
    assert values(table, "qnd")["english: chance"] == pytest.approx((turned + 100) / 2), (
        "always one order: all by chance"
    )
    assert values(table, "qda")["english: RankC"] == pytest.approx(100)
    assert values(table, "mean of 2 languages")["english: RankC"] == pytest.approx((turned + 300) / 4)


@pytest.mark.parametrize("ranked", [False, True])
def test_order_of_items_does_not_matter(make_workdir, ranked):
    workdir = make_workdir(repeat=3)
    if ranked:
        workdir.rank(lambda arm, seed, code, n: [n % 3, (n + 1) % 3, (n + 2) % 3] if code != "qda" else [2, 0, 1])
    before = consistency_table(*collected_from(workdir))
    path = workdir.items("none", 1, "qnd")
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert consistency_table(*collected_from(workdir)) == before


def test_only_shared_items_count(make_workdir):
    """Items 0 and 1 of qnd have a partner, in all arms; the others, which are wrong, would lower the agreement."""
    workdir = make_workdir()
    everywhere(workdir, "qnd", lambda n, item: item | {"id": item["id"] if n < 2 else f"qnd.{n}"})
    collected, target = collected_from(workdir)
    source, items = (collected.items["none", 0, "qa2", code] for code in ("qen", "qnd"))
    assert is_parallel(source, items)
    assert numbers(consistency_table(collected, target), "qnd")["none: agreement"].low == 50.0, "seed 1: 11 and 10"
    assert numbers(consistency_table(collected, target), "qnd")["none: agreement"].high == 100.0, "seed 0: 11 and 11"


def test_languages_that_are_not_parallel(make_workdir):
    workdir = make_workdir()
    everywhere(workdir, "qnd", lambda n, item: item | {"id": item["id"] if n < 1 else f"qnd.{n}"})
    table = consistency_table(*collected_from(workdir))
    found = numbers(table, "qnd")
    assert [found[f"none: {name}"].state for name in ("f1", "agreement", "chance", "kappa")] == ["ok"] + [
        "not parallel"
    ] * 3
    assert [row.label for row in table.rows] == ["qnd", "qda"], "one language has no mean"
    everywhere(workdir, "qda", lambda n, item: item | {"id": f"qda.{n}"})
    (row,) = consistency_table(*collected_from(workdir)).rows
    assert row.label == "all 2 languages"
    assert {number.state for number in row.numbers} == {"not parallel"}


def test_missing_cells_stay_visible(make_workdir):
    workdir = make_workdir()
    path = workdir.results("english", 1)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"qnd"' not in line))
    table = consistency_table(*collected_from(workdir))
    for label, note in (("qnd", "seed 1 qnd"), ("mean of 2 languages", "seed 1 qnd")):
        found = numbers(table, label)["english: agreement"]
        assert (found.state, found.note) == ("missing", note)
    assert numbers(table, "qda")["english: agreement"].state == "ok"
    path.unlink()
    assert numbers(consistency_table(*collected_from(workdir)), "qda")["english: agreement"].state == "missing"


def test_a_missing_source_cell(make_workdir):
    workdir = make_workdir()
    path = workdir.results("english", 1)
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if '"qen"' not in line))
    assert numbers(consistency_table(*collected_from(workdir)), "qnd")["english: agreement"].state == "missing"


def test_without_the_source_language_there_is_nothing_to_compare(make_workdir):
    collected, target = collected_from(make_workdir())
    assert consistency_table(collected, dataclasses.replace(target, languages=("qnd", "qda"))).rows == ()
    assert consistency_table(collected, dataclasses.replace(target, languages=("qen",))).rows == ()


def test_one_item_with_other_candidates(make_workdir):
    workdir = make_workdir()
    workdir.rank(lambda arm, seed, code, n: [0, 1, 2] if (code, n) == ("qnd", 3) else [0, 1])
    with pytest.raises(
        DataError, match=r"qen\.items\.jsonl and .*qnd\.items\.jsonl rank different candidates of item '3'"
    ):
        consistency_table(*collected_from(workdir))


def test_rankings_in_some_cells_only(make_workdir):
    """Cells of older and newer files: what all of them have is which items are right."""
    workdir = make_workdir()
    workdir.edit("english", 0, "qnd", lambda n, item: item | {"ranking": [0, 1]})
    assert "agreement" in [column.label for column in consistency_table(*collected_from(workdir)).columns]


def everywhere(workdir, language, change):
    for arm in ("none", "english", "multilingual"):
        for seed in (0, 1):
            workdir.edit(arm, seed, language, change)
