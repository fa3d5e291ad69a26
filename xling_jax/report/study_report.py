"""What the report shows of a study, before it is put into any format. Whoever analyses the study fills it in."""

import dataclasses
from collections.abc import Mapping, Sequence

from xling_jax.goodput import Goodput
from xling_jax.report.answer import Answer
from xling_jax.report.contents import ExperimentReport
from xling_jax.report.figures import Drawing
from xling_jax.report.record import Record
from xling_jax.report.table import NONE, VERDICT, Column, Number, Row, Table
from xling_jax.results import Result


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim of a study: what it says, the number it rests on with its interval, and the verdict.

    `adjusted` is its p-value among all claims of the study, corrected for their number; None where that has no p-value.
    `needed` says how many seeds would settle an undecided one, and `advice` the same in a sentence.
    """

    text: str
    verdict: str  # of answer.SIGNS
    number: Number
    adjusted: float | None = None
    needed: Number = NONE
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """Tables and drawings of a study that belong together, below a title."""

    title: str
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where an experiment's numbers come from, and what they took.

    Of its stages, `trained` are those that no earlier experiment of the study has, `shared` those that one has, and
    `waiting` those that are not done. `time` and `cost` are the experiment's own, where they are known.
    """

    record: Record
    trained: int
    shared: int
    waiting: int
    time: Goodput | None = None
    cost: str = ""


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """What the report shows of a study. `claims_note` says how claims were corrected for their number.

    `time` is that of the whole folder, `cost` what that is in money and where, "" if nobody knows.
    """

    name: str
    question: str
    size: str
    synthetic: bool
    answers: tuple[Answer, ...]
    claims: tuple[Claim, ...]
    claims_note: str
    sections: tuple[Section, ...]
    experiments: tuple[ExperimentReport, ...]
    origins: tuple[Origin, ...]
    command: str
    versions: Mapping[str, str]
    machine: str
    date: str
    time: Goodput | None = None
    cost: str = ""

    @property
    def claims_table(self) -> Table:
        """The claims as a table: the number, its p-value where one has any, the verdict."""
        tested = any(claim.adjusted is not None for claim in self.claims)
        columns = [Column("estimate", "", (), "gain")]
        columns += [Column("adjusted p", "", (), "value")] if tested else []
        columns += [Column("verdict", "", (), VERDICT)]
        open_ones = any(claim.needed != NONE for claim in self.claims)
        columns += [Column("seeds it would take", "", (), "value")] if open_ones else []
        rows = tuple(Row(claim.text, "value", _numbers(claim, tested, open_ones)) for claim in self.claims)
        return Table("claims", "Claims", self.claims_note, tuple(columns), rows, names="claim")

    @property
    def tables(self) -> list[Table]:
        """The study's own tables, the claims first; those of its experiments are theirs."""
        claims = [self.claims_table] if self.claims else []
        return claims + [table for section in self.sections for table in section.tables]

    @property
    def drawings(self) -> list[Drawing]:
        own = [drawing for section in self.sections for drawing in section.drawings]
        return own + [drawing for experiment in self.experiments for drawing in experiment.drawings]

    @property
    def rows(self) -> list[Result]:
        return [row for experiment in self.experiments for row in experiment.rows]


def build_origins(
    records: Sequence[Record], times: Mapping[str, Goodput] | None = None, costs: Mapping[str, str] | None = None
) -> tuple[Origin, ...]:
    """Returns where each experiment's numbers come from, in order: a stage is trained for the first that has it."""
    times, costs = times or {}, costs or {}
    seen: set[str] = set()
    found = []
    for record in records:
        done = [stage.dir for stage in record.stages if stage.done]
        shared = len(seen.intersection(done))
        waiting, trained = len(record.stages) - len(done), len(done) - shared
        found.append(Origin(record, trained, shared, waiting, times.get(record.name), costs.get(record.name, "")))
        seen.update(done)
    return tuple(found)


def _numbers(claim: Claim, tested: bool, open_ones: bool) -> tuple[Number, ...]:
    adjusted = NONE if claim.adjusted is None else Number(claim.adjusted, digits=3)
    verdict = Number(None, state=claim.verdict)
    return claim.number, *([adjusted] if tested else []), verdict, *([claim.needed] if open_ones else [])
