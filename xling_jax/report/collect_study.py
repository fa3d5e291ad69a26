"""Reads a study's folder: its record, its experiments, and what belongs to the folder and to no single experiment.

    WORKDIR/study.json                  see `study_record.py`
    WORKDIR/experiments/<name>.json     of each experiment that has begun; others of the folder are no part of the study
    WORKDIR/clock/<experiment>.json     what inference costs, see `clock.py`
    WORKDIR/stages/<dir>/metrics.jsonl  what was watched, see `watched.py`
    WORKDIR/failed/<name>.json          {"name", "error", ...} of a stage or an experiment that has failed

What is not there yet is missing; what contradicts another file is an error.
"""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

from xling_jax.errors import DataError
from xling_jax.goodput import Goodput, goodput
from xling_jax.ledger import TIME, TRAIN, read_lines
from xling_jax.report.clock import Clock, clocks_of
from xling_jax.report.collect import Collected, collect_folder
from xling_jax.report.record import Record, Stage, read_record
from xling_jax.report.study_record import STUDY, StudyRecord, read_study
from xling_jax.report.watched import Watched

Factor = float | str


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many stages a study has. `asked`: those of all experiments, one by one; `different`: each hash once.

    `alone`: those there were if every arm, seed and target began by itself, as single runs do.
    `begun_again` are the different ones that were trained from their start more than once, which nothing should be
    but what was ended before its first checkpoint.
    """

    asked: int
    different: int
    alone: int
    done: int
    begun_again: int


@dataclasses.dataclass(frozen=True)
class CollectedStudy:
    """A study and all that its experiments have measured so far.

    `experiments` are in the order declared; `absent` those that have left no record yet. `failed` says by stage or
    experiment why it has. `clocks` are by experiment, `watched` by stage; neither has what was not measured. `time` is
    that of the whole folder.
    """

    record: StudyRecord
    workdir: pathlib.Path
    experiments: Mapping[str, Collected]
    absent: tuple[str, ...]
    failed: Mapping[str, str]
    clocks: Mapping[str, tuple[Clock, ...]]
    watched: Mapping[str, Watched]
    counts: Counts
    time: Goodput | None

    @property
    def records(self) -> list[Record]:
        return [collected.record for collected in self.experiments.values()]

    def factors(self, experiment: str, arm: str) -> dict[str, Factor]:
        """Returns what an arm's place in the study is: the factors of its experiment and its own."""
        record = self.experiments[experiment].record
        return {**record.factors, **record.arm_factors.get(arm, {})}

    def unfinished(self) -> list[str]:
        """Returns the stages that are not done, each once."""
        stages = {stage.dir: stage for record in self.records for stage in record.stages}
        return [name for name, stage in stages.items() if not stage.done]


def is_study(workdir: pathlib.Path) -> bool:
    """Says if a folder is that of a study."""
    return (workdir / STUDY).is_file()


def collect_study(workdir: pathlib.Path) -> CollectedStudy:
    """Returns the study of a folder. Raises DataError where files contradict each other."""
    study = read_study(workdir / STUDY)
    paths = {name: workdir / "experiments" / f"{name}.json" for name in study.experiments}
    records = [_read_own(path, study) for path in paths.values() if path.is_file()]
    stages = {stage.dir: stage for record in records for stage in record.stages}
    experiments = {one.record.name: one for one in collect_folder(workdir, records)}
    clocks = {name: clocks_of(one.inference, name) for name, one in experiments.items()}
    return CollectedStudy(
        study,
        workdir,
        experiments,
        tuple(name for name, path in paths.items() if not path.is_file()),
        _read_failed(workdir / "failed"),
        {name: clock for name, clock in clocks.items() if clock},
        {stage: found for one in experiments.values() for stage, found in one.watched.items()},
        _counts(workdir, records, stages),
        goodput(workdir / TIME),
    )


def _read_own(path: pathlib.Path, study: StudyRecord) -> Record:
    record = read_record(path)
    if (record.name, record.study) != (path.stem, study.name):
        raise DataError(
            f"{path} is the record of experiment '{record.name}' of study '{record.study}'.\n"
            f"Needed: experiment '{path.stem}' of study '{study.name}', as {STUDY} says.\n"
            "Use a folder of its own for each study."
        )
    return record


def _read_failed(folder: pathlib.Path) -> dict[str, str]:
    """Returns the first line of the error of all that has failed, by name."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            error = json.loads(path.read_text(encoding="utf-8"))["error"]
        except (ValueError, KeyError, TypeError) as problem:
            raise DataError(
                f"{path} does not say what has failed ({problem}).\nDelete it; what fails again is written anew."
            ) from problem
        found[path.stem] = str(error).partition("\n")[0]
    return found


def _counts(workdir: pathlib.Path, records: Sequence[Record], stages: Mapping[str, Stage]) -> Counts:
    asked = sum(len(record.stages) for record in records)
    begun = collections.Counter(
        line.get("stage") for line in read_lines(workdir / TIME) if line.get("name") == TRAIN and line.get("step") == 0
    )
    again = sum(begun[name] > 1 for name in stages)
    alone = sum(len(_lineage(stages, cell.stage)) for record in records for cell in record.cells)
    return Counts(asked, len(stages), alone, sum(stage.done for stage in stages.values()), again)


def _lineage(stages: Mapping[str, Stage], name: str) -> set[str]:
    """Returns the stages that one is trained from, and itself, without what came from elsewhere."""
    found = set() if stages[name].imported else {name}
    return found.union(*(_lineage(stages, parent) for parent in stages[name].parents))
