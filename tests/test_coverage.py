"""The page of tasks is the one the tables make; no cell of it is empty."""

import pathlib
import re

from xling_jax.tables.benchmarks import BENCHMARKS
from xling_jax.tables.coverage import page
from xling_jax.tables.tasks import TASKS

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "tasks.md"


def rows(text):
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ") and "---" not in line]


def test_the_page_is_the_generated_one():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "A row of the tables has changed. Read the difference, then: xling data coverage > docs/tasks.md"
    )


def test_every_split_and_every_entry_has_a_line_without_gaps():
    lines = rows(page())
    splits = {f"{name}.{split}" for name, row in TASKS.items() if row.reader != "world" for split in row.splits}
    named = [line[0] for line in lines]
    assert splits <= set(named)
    assert all(named.count(entry.name) >= 1 for benchmark in BENCHMARKS.values() for entry in benchmark.entries)
    assert all(cell.strip() for line in lines for cell in line)


def test_benchmarks_are_said():
    lines = {line[0]: line for line in rows(page()) if "." in line[0]}
    assert lines["xnli.test"][2] == "xtreme, xtreme_r"
    assert lines["mnli.train"][2].startswith("xtreme (to train xnli)")
    assert lines["mewslix.candidates"][2] == "searched for dev, test"
    assert lines["hellaswag.train"][2] == "none: an intermediate task"
    assert re.match(r"4: de fr ru zh", lines["bucc2018.dev"][3]) and "de" not in lines["bucc2018.dev"][4]
