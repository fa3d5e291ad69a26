"""What a table of the report is, before it is put into any format."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Column:
    """What stands in a column: a language, a mean over languages, or another number of the row.

    `kind`: source, language, group or mean; where columns are no languages: value, measure for one that has its
    name only together with its group, gain for a difference in points with its interval, interval for a score with its
    own, or verdict for what a number's state says of a claim.
    """

    label: str
    group: str
    languages: tuple[str, ...]
    kind: str


@dataclasses.dataclass(frozen=True)
class Number:
    """What a place of a table says.

    `state`: "ok"; "floor" for a score no better than no model; "missing" and "not finite" have no
    value, "none" has none because none is defined, "not parallel" because items are not translations of the
    source language's. `low` and `high`: of a score, the lowest and highest seed; of a gain, its 95% interval, with
    `error` the standard error. `constant` says that some seed gave one answer to practically all items; `note` which.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    state: str = "ok"
    note: str = ""
    constant: bool = False
    digits: int = 1


NONE = Number(None, state="none")
VERDICT = "verdict"  # the kind of a column
NO_SEED = "every seed collapsed"  # the note where nothing is left to average


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table. `kind`: arm, gain, bound for what stays below the others (floor, ceiling, mean), or value."""

    label: str
    kind: str
    numbers: tuple[Number, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """One table of the report, of scores or of gains, in percent or points. `names` says what its rows are."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    names: str = "name"

    def column(self, kind: str) -> int | None:
        """Returns the place of the last column of a kind."""
        places = [place for place, column in enumerate(self.columns) if column.kind == kind]
        return places[-1] if places else None


def count(things: Sequence[object], noun: str) -> str:
    """Returns "1 seed", "2 seeds"."""
    return f"{len(things)} {noun}" + ("s" if len(things) != 1 else "")


def listed(cells: Sequence[str]) -> str:
    """Returns the first cells and how many more there are: a table's place is small."""
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return ", ".join(cells[:3]) + more
