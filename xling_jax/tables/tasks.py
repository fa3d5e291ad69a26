"""Tasks: one row per data set. Cells, readers, heads, evaluators and coverage follow from the rows.

A cell is `task.split.language`, for example `udpos.test.ta`. Split names are ours; a row maps each to
the place where the publisher put it and to the languages that exist there. Rows lie in `tables/rows`, by kind.
"""

import dataclasses

from xling_jax.errors import ConfigError, choose, unknown
from xling_jax.tables.kinds import KINDS
from xling_jax.tables.languages import LANGUAGES, language
from xling_jax.tables.rows import ROWS
from xling_jax.tables.rows.task import NLI, UPOS, Split, Task
from xling_jax.tables.rows.world import NER, WORLD

__all__ = ["NER", "NLI", "TASKS", "UPOS", "WORLD", "Cell", "Split", "Task", "cells", "parse_cells", "task"]

WHERE = "Tasks are rows of xling_jax/tables/rows."

TASKS = {row.name: row for row in ROWS}


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """One language of one split of one task: the unit that is prepared, trained on, evaluated."""

    task: str
    split: str
    language: str

    def __str__(self) -> str:
        return f"{self.task}.{self.split}.{self.language}"

    @property
    def row(self) -> Task:
        return TASKS[self.task]

    @property
    def withheld(self) -> bool:
        """Whether its publisher keeps its labels: it can be answered, and not scored or trained on."""
        return self.row.splits[self.split].labels == "withheld"

    @property
    def among(self) -> tuple["Cell", ...]:
        """Returns the cells that its queries are searched among, of all languages; none if it has no queries."""
        among = self.row.splits[self.split].among
        return cells(self.task, among) if among else ()

    @property
    def searched(self) -> bool:
        """Whether the queries of another split are searched among its examples."""
        return any(split.among == self.split for split in self.row.splits.values())


def task(name: str, inside: str = "") -> Task:
    """Returns the row of a task name; ConfigError with suggestions if there is none."""
    return choose("task", name, TASKS, WHERE, inside)


def tasks_of_head(head: str) -> tuple[str, ...]:
    """Returns the names of the tasks that a head answers."""
    return tuple(row.name for row in TASKS.values() if row.head_name == head)


def cells(name: str, split: str, languages: str = "all", inside: str = "") -> tuple[Cell, ...]:
    """Returns the cells of a task's split in the named languages.

    Args:
      name: a task.
      split: one of the row's splits.
      languages: codes separated by spaces or '+'; "all" means every language the split exists in.
      inside: where the names come from, for the error.
    """
    row = task(name, inside)
    if split not in row.splits:
        raise unknown("split", split, row.splits, WHERE, f"task '{name}'")
    there = row.splits[split].languages.split()
    asked = there if languages == "all" else languages.replace("+", " ").split()
    for code in asked:
        language(code, inside or f"task '{name}'")
        if code not in there:
            raise unknown("language", code, there, WHERE, f"cell '{name}.{split}'")
    return tuple(Cell(name, split, code) for code in asked)


def parse_cells(text: str, inside: str = "") -> tuple[Cell, ...]:
    """Returns the cells of `task.split.language`, where language is codes joined by '+', or 'all'."""
    parts = text.split(".")
    if len(parts) != 3 or not parts[2].strip("+ "):
        raise ConfigError(
            f"'{text}'{' in ' + inside if inside else ''} is not a cell.\n"
            f"A cell is task.split.language, for example mnli.dev.en or world_qa.train.qen+qnd.\n{WHERE}"
        )
    return cells(parts[0], parts[1], parts[2], inside)


assert all(row.kind in KINDS for row in ROWS), "a task of an unknown kind"
assert all(code in LANGUAGES for row in ROWS for split in row.splits.values() for code in split.languages.split())
