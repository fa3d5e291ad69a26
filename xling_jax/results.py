"""The one record of a measured number."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator

from xling_jax.disk import write_text
from xling_jax.errors import DataError


@dataclasses.dataclass(frozen=True)
class Result:
    """One number: what was measured, on which cell, of which checkpoint, by which rules.

    `value`, `floor` and `ceiling` are percentages in [0, 100]. The floor is what a program without
    a model scores on the same cell; the ceiling is what a perfect model could score after
    truncation. `experiment`, `study` and `arm` are None in a stage's own file, because a stage
    belongs to every experiment that shares it; they are filled in where results are joined.
    """

    experiment: str | None
    study: str | None
    arm: str | None
    seed: int
    stage: str
    stage_hash: str
    step: int
    policy: str
    task: str
    language: str
    split: str
    metric: str
    value: float
    n: int
    scorer: str
    protocol: str
    data_checksum: str
    floor: float | None
    ceiling: float | None


def write_results(path: pathlib.Path, rows: Iterable[Result]) -> None:
    """Writes rows as JSON lines, atomically: the file is the old one or the new one, never half."""
    write_text(path, "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows))


def read_results(path: pathlib.Path) -> Iterator[Result]:
    """Yields the rows of a results file. Raises DataError naming the line that is not a row."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield Result(**json.loads(line))
        except (json.JSONDecodeError, TypeError) as error:
            raise DataError(
                f"{path}:{number}: not a results row ({error}).\n"
                "A run that has lost its rows measures them again: delete that file and run its command."
            ) from error
