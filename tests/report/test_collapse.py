"""Seeds that give one answer to all items: named, marked, and left out beside the whole averages."""

import pytest
from work_folders import collected_from, numbers, values

from xling_jax.report.aggregate import baseline_table, gain_table, score_table
from xling_jax.report.answer import answer
from xling_jax.report.render import write_report

HEADLINE = "multilingual − english"


def healthy(n):
    return [n % 3, (n + 1) % 3, (n + 2) % 3]


@pytest.fixture
def collapsed(make_workdir):
    """English seed 1 gives one answer everywhere; none seed 0 in qda only, so it has not collapsed."""
    workdir = make_workdir(repeat=10)

    def ranking(arm, seed, code, n):
        constant = (arm, seed) == ("english", 1) or (arm, seed, code) == ("none", 0, "qda")
        return [1, 0, 2] if constant else healthy(n)

    workdir.rank(ranking)
    return workdir


def test_averages_with_and_without(collapsed):
    table = score_table(*collected_from(collapsed))
    assert [row.label for row in table.rows] == ["none", "english", "english without seed 1", "multilingual", "floor"]
    assert values(table, "english")["zero-shot"] == 43.75, "the seed stays in the average"
    rest = numbers(table, "english without seed 1")["zero-shot"]
    assert (rest.value, rest.low, rest.high) == (50.0, 50.0, 50.0)
    assert "Collapsed, one answer to all items of the source language: english seed 1." in table.note
    assert [row.label for row in baseline_table(*collected_from(collapsed)).rows] == ["english", "multilingual"]


def test_cells_are_marked(collapsed):
    table = score_table(*collected_from(collapsed))
    english, none = numbers(table, "english"), numbers(table, "none")
    assert [name for name, number in english.items() if number.constant] == ["qen", "qnd", "qda"]
    assert english["qda"].note == "one answer: seed 1"
    assert [name for name, number in none.items() if number.constant] == ["qda"]
    assert (none["qda"].state, none["qda"].value) == ("floor", 12.5), "both marks can stand together"
    assert not any(number.constant for number in numbers(table, "english without seed 1").values())


def test_gains_with_and_without(collapsed):
    """Seed 0: multilingual has 100 and 75, english 75 and 25; both arms lose the seed in which one collapsed."""
    table = gain_table(*collected_from(collapsed))
    assert [row.label for row in table.rows] == [
        *(HEADLINE, "english − none", f"{HEADLINE} without seed 1", "english − none without seed 1")
    ]
    assert values(table, HEADLINE)["zero-shot"] == 37.5
    assert values(table, f"{HEADLINE} without seed 1")["zero-shot"] == 37.5
    assert values(table, "english − none without seed 1")["zero-shot"] == 25.0


def test_the_answer_says_so(collapsed):
    found = answer(collected_from(collapsed)[0])
    assert found.number.value == 37.5
    assert found.remarks[0].startswith(
        "Collapsed in one of the two arms: seed 1. Without: +37.5 points, 95% interval ["
    )


def test_every_seed_collapsed(make_workdir):
    workdir = make_workdir(repeat=10)
    workdir.rank(lambda arm, seed, code, n: [1, 0, 2] if arm == "english" else healthy(n))
    collected, target = collected_from(workdir)
    rest = numbers(score_table(collected, target), "english without seeds 0, 1")["zero-shot"]
    assert (rest.value, rest.state, rest.note) == (None, "none", "every seed collapsed")
    gain = numbers(gain_table(collected, target), f"{HEADLINE} without seeds 0, 1")["zero-shot"]
    assert (gain.value, gain.state) == (None, "none")
    assert answer(collected).remarks[0] == "Collapsed in one of the two arms: seeds 0, 1. No other seed is left."


def test_nothing_to_look_at(make_workdir):
    """Items without rankings, and no answers beside them."""
    assert "Constant predictions were not looked for" in score_table(*collected_from(make_workdir())).note
    workdir = make_workdir(repeat=10)
    workdir.rank(lambda arm, seed, code, n: healthy(n))
    assert "onstant" not in score_table(*collected_from(workdir)).note


def test_marks_are_written(collapsed, tmp_path):
    report = write_report([collapsed.path], tmp_path)
    text, page = (tmp_path / "tables.md").read_text(), report.index.read_text()
    assert "| none | 87.5 (75.0–100.0) | 37.5 (25.0–50.0) | 12.5†‡ (0.0–25.0) |" in text
    legend = "‡ in some seed one answer to at least 99% of the items."
    assert f"\n\n{legend}\n" in text and f'<p class="note">{legend}</p>' in page and legend in report.text(100)
    assert '<td data-value="100.000000" title="one answer: seed 1">100.0‡</td>' in page
    csv = (tmp_path / "tables.csv").read_text()
    assert "tiny,qa2,scores,english,qen,100.0,100.0,100.0,ok,one answer: seed 1\n" in csv
