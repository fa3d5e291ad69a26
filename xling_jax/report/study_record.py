"""A study's own record: what was asked, by which experiments, and how their numbers answer it.

    WORKDIR/study.json     {"name", "question", "size", "synthetic", "analysis": {...}, "experiments": [names], ...}

`distances` are those of languages that the analysis goes by, {source: {language: distance}}: they stand in the file
because the report may be written where the features of URIEL are not.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

from xling_jax.errors import DataError
from xling_jax.report.record import build, build_all
from xling_jax.study import METHODS, Analysis, Published

STUDY = "study.json"
RENEW = "`xling study` writes this file; run the study again to renew it."


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """A study as it was declared, and where it was run."""

    name: str
    question: str
    size: str
    synthetic: bool
    analysis: Analysis
    experiments: tuple[str, ...]
    published: tuple[Published, ...] = ()
    distances: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    command: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    machine: str = ""
    date: str = ""


def read_study(path: pathlib.Path) -> StudyRecord:
    """Returns the record of a study. Raises DataError for a file that is no such record."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON ({error}).\n{RENEW}") from error
    record = build(StudyRecord, fields, str(path), RENEW)
    record = dataclasses.replace(
        record,
        analysis=build(Analysis, record.analysis, f"{path}: analysis", RENEW),
        published=build_all(Published, record.published, f"{path}: published", RENEW),
    )
    if record.analysis.method not in METHODS:
        raise DataError(
            f"{path}: method '{record.analysis.method}' is not known.\nKnown: {', '.join(METHODS)}.\n{RENEW}"
        )
    return record
