"""What a work folder says of the study in it: its declaration, to whom the folder belongs, and what has failed.

WORKDIR/study.json               the study as it was declared, for the report
WORKDIR/failed/<name>.json       a stage that has failed, or an experiment that could not begin; gone once it is done
"""

import dataclasses
import datetime
import json
import os
import pathlib
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xling_jax.errors import ConfigError, XlingError
from xling_jax.partitioning import hosts
from xling_jax.partitioning.hosts import write_text
from xling_jax.stages.plan import Plan
from xling_jax.stages.record import STUDY, check_recorded, circumstances, recorded
from xling_jax.study import Study, study_languages
from xling_jax.typology import distance_table

FAILED = "failed"
URIEL = "lang2vec"  # a folder of the data
SHOWN = 20  # lines of what has failed, and names of what is left


@dataclasses.dataclass(frozen=True)
class Failure:
    """What has failed: a stage's folder or an experiment, the error in full, and the exit code it stands for."""

    name: str
    error: str
    exit_code: int

    @property
    def line(self) -> str:
        """Returns what failed and why."""
        return f"{self.name}: {self.error.splitlines()[0]}"


class StudyFailed(XlingError):
    """Some of a study has failed; everything else is done. The exit code is that of the first failure."""

    def __init__(self, study: str, workdir: pathlib.Path, failed: Mapping[str, Failure], left: Sequence[str]):
        """Says what has `failed`, by name, and what is `left` to do for that reason: folders of stages."""
        lines = [f"  {failure.line}" for failure in failed.values()]
        if lines[SHOWN:]:
            lines[SHOWN:] = [f"  and {len(lines) - SHOWN} more, see {workdir / FAILED}"]
        waiting = [still_to_do(others)] if (others := [name for name in left if name not in failed]) else []
        super().__init__(
            "\n".join(
                [
                    f"{len(failed)} of study '{study}' failed, everything that does not need it is done:",
                    *lines,
                    *waiting,
                    f"Whole errors are in {workdir / FAILED}; run the same command again to try again.",
                ]
            )
        )
        self.exit_code = next(iter(failed.values())).exit_code


def still_to_do(names: Sequence[str]) -> str:
    """Returns a sentence of which stages are left."""
    more = f" ... ({len(names)})" if len(names) > SHOWN else ""
    return f"Left to do: {' '.join(names[:SHOWN])}{more}."


def distances_of(study: Study, data_dir: pathlib.Path | None) -> dict[str, dict[str, float]]:
    """Returns the distances that a study's analysis goes by, if it does. Raises DataError if they are not here."""
    if not study.analysis.distance:
        return {}
    return distance_table(study_languages(study), study.analysis.distance, data_dir / URIEL if data_dir else None)


def write_study(
    workdir: pathlib.Path, study: Study, distances: Mapping[str, Mapping[str, float]], command: str
) -> None:
    """Writes what a study is made of."""
    record = {
        "name": study.name,
        "question": study.question,
        "size": study.size,
        "synthetic": study.synthetic,
        "analysis": dataclasses.asdict(study.analysis),
        "experiments": list(study.experiments),
        "published": [dataclasses.asdict(row) for row in study.published],
        "topology": study.topology,
        "distances": distances,
        **circumstances(command),
    }
    write_text(workdir / STUDY, json.dumps(record, indent=1) + "\n")


def check_folder(workdir: pathlib.Path, study: Study, plans: Iterable[Plan]) -> None:
    """Raises ConfigError if a folder holds something else: a run, another study, an experiment that has changed.

    Experiments may be added to a study, and its analysis may change.
    """
    path, by_name = workdir / STUDY, {plan.experiment.name: plan for plan in plans}
    name = _study_name(path)
    if name not in ("", study.name):
        raise ConfigError(
            f"{workdir} was written by study '{name}', and this is study '{study.name}'.\nAllowed: another --workdir."
        )
    for there in recorded(workdir):
        own = there["config"]["name"]
        if there.get("study") != study.name or own not in study.experiments:
            by = f"as part of study '{there['study']}'" if there.get("study") else "by `xling run`"
            raise ConfigError(
                f"{workdir} holds experiment '{own}', written {by}, and study '{study.name}' has "
                f"{'another one of that name' if own in study.experiments else 'none of that name'}.\n"
                "Allowed: another --workdir; or, for an experiment that was taken out of the study, one without "
                f"{workdir / 'experiments' / own}.json."
            )
        if own in by_name:  # the others cannot be opened yet
            check_recorded(workdir, there, by_name[own])


def _study_name(path: pathlib.Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):  # it is written anew
        return ""


def write_failure(workdir: pathlib.Path, name: str, error: XlingError) -> Failure:
    """Writes that something has failed, and returns it."""
    failure = Failure(name, str(error), error.exit_code)
    where: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid()}
    where["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    text = json.dumps(dataclasses.asdict(failure) | {"kind": type(error).__name__} | where, indent=1)
    write_text(workdir / FAILED / f"{name}.json", text + "\n")
    return failure


def clear_failure(workdir: pathlib.Path, name: str) -> None:
    """Takes back that something has failed."""
    if hosts.first():
        (workdir / FAILED / f"{name}.json").unlink(missing_ok=True)


def failures(workdir: pathlib.Path) -> Mapping[str, str]:
    """Returns the files of all that has failed, by name, as they are."""
    found = {}
    for path in sorted((workdir / FAILED).glob("*.json")):
        try:
            found[path.stem] = path.read_text(encoding="utf-8")
        except FileNotFoundError:  # it was done meanwhile
            continue
    return found


def read_failure(text: str) -> Failure:
    """Returns what such a file says."""
    fields = json.loads(text)
    return Failure(fields["name"], fields["error"], fields["exit_code"])
