"""Which scores of earlier stages were measured again after later ones.

A row whose `protocol` begins with `head=STAGE` says how well this stage's body does, with the head of the earlier stage
STAGE, what that stage was trained for. The score it is compared with stands in STAGE's own rows, without `head=`.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from xling_jax.report.record import Record
from xling_jax.results import Result

MARK = "head="


@dataclasses.dataclass(frozen=True)
class Rescored:
    """A task of an earlier stage after a later one, for an arm and seed. What was not measured is None."""

    arm: str
    seed: int
    own: str
    later: str
    task: str
    split: str
    language: str
    metric: str
    before: Result | None
    after: Result


def is_rescored(row: Result) -> bool:
    """Says if a row is of an earlier stage's task, and so belongs into no other table."""
    return row.protocol.startswith(MARK)


def rescored(record: Record, rows: Mapping[str, Sequence[Result]]) -> tuple[Rescored, ...]:
    """Returns what was measured again, once for each arm and seed that comes by.

    Args:
      record: of the experiment.
      rows: of each stage's own results, by its `dir`.
    """
    found: dict[tuple, Rescored] = {}
    for cell in record.cells:
        lineage = record.lineage(cell.stage)
        for later in lineage:
            for row in filter(is_rescored, rows[later]):
                own = row.protocol.removeprefix(MARK).partition(" ")[0]
                key = (cell.arm, cell.seed, own, later, row.task, row.split, row.language, row.metric)
                if key in found:
                    continue
                before = _chosen((r for r in rows.get(own, ()) if _same(r, row)), record.policy_of(own))
                again = (r for r in rows[later] if r.protocol == row.protocol and _alike(r, row))
                after = _chosen(again, record.policy_of(later))
                if after:
                    found[key] = Rescored(*key, before, after)
    return tuple(found.values())


def _alike(row: Result, other: Result) -> bool:
    return all(getattr(row, name) == getattr(other, name) for name in ("task", "split", "language", "metric"))


def _same(row: Result, other: Result) -> bool:
    return _alike(row, other) and not is_rescored(row)


def _chosen(rows: Iterable[Result], policy: str) -> Result | None:
    """Returns the row of the stage's policy; a stage that has no other choice was scored as it ended."""
    by_policy = {row.policy: row for row in rows}
    return by_policy.get(policy) or by_policy.get("last")
