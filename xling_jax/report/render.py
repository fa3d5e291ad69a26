"""Writes the report of one or many runs, or of studies: page, tables, joined results, figures.

OUT/index.html     everything, in one self-contained file
OUT/results.jsonl  the rows behind it, with experiment and arm filled in
OUT/tables.md      the tables to paste; OUT/tables.tex  the same for LaTeX
OUT/tables.csv     every number, in full precision
OUT/figures/       each figure as SVG and PNG
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from xling_jax.disk import write_bytes, write_text
from xling_jax.report import latex, page, plain
from xling_jax.report.collect import collect
from xling_jax.report.collect_study import collect_study, is_study
from xling_jax.report.contents import ExperimentReport, build_experiment
from xling_jax.report.study_contents import build_study
from xling_jax.report.study_report import StudyReport
from xling_jax.results import write_results


@dataclasses.dataclass(frozen=True)
class Report:
    """A report that has been written, and where. `experiments` are those of no study in it."""

    experiments: tuple[ExperimentReport, ...]
    out: pathlib.Path
    studies: tuple[StudyReport, ...] = ()

    @property
    def index(self) -> pathlib.Path:
        return self.out / "index.html"

    def text(self, width: int) -> str:
        """Returns the report for a terminal of that many characters."""
        return plain.terminal(self.experiments, width, self.studies)


def write_report(workdirs: Sequence[pathlib.Path], out: pathlib.Path) -> Report:
    """Reads all studies and experiments of the work folders and writes their report; DataError if files disagree."""
    found = {workdir: collect_study(workdir) for workdir in workdirs if is_study(workdir)}
    apart = {workdir: study.record.experiments for workdir, study in found.items()}
    experiments = tuple(build_experiment(collected) for collected in collect(workdirs, apart))
    return write(Report(experiments, out, tuple(map(build_study, found.values()))))


def write_study(study: StudyReport, out: pathlib.Path) -> Report:
    """Writes the report of a study, with all its experiments, to `out`."""
    return write(Report((), out, (study,)))


def write(report: Report) -> Report:
    """Writes all files of a report, and returns it."""
    experiments, studies, out = report.experiments, report.studies, report.out
    for part in (*studies, *experiments):
        for drawing in part.drawings:
            write_text(out / "figures" / f"{drawing.name}.svg", drawing.svg)
            write_bytes(out / "figures" / f"{drawing.name}.png", drawing.png)
    write_results(out / "results.jsonl", [row for part in (*studies, *experiments) for row in part.rows])
    write_text(out / "tables.md", plain.markdown(experiments, studies))
    write_text(out / "tables.tex", latex.document(plain.owned_tables(experiments, studies)))
    write_text(out / "tables.csv", plain.comma_separated(experiments, studies))
    write_text(out / "index.html", page.page(experiments, studies))
    return report
