"""Writes the report of one or many runs: page, tables, joined results, figures.

OUT/index.html     everything, in one self-contained file
OUT/results.jsonl  the rows behind it, with experiment and arm filled in
OUT/tables.md      the tables to paste; OUT/tables.csv  every number, in full precision
OUT/figures/       each figure as SVG and PNG
"""

import dataclasses
import pathlib
from collections.abc import Sequence

from xling_jax.disk import write_bytes
from xling_jax.report import page, plain
from xling_jax.report.collect import collect
from xling_jax.report.contents import ExperimentReport, build_experiment
from xling_jax.results import write_results


@dataclasses.dataclass(frozen=True)
class Report:
    """A report that has been written, and where."""

    experiments: tuple[ExperimentReport, ...]
    out: pathlib.Path

    @property
    def index(self) -> pathlib.Path:
        return self.out / "index.html"

    def text(self, width: int) -> str:
        """Returns the report for a terminal of that many characters."""
        return plain.terminal(self.experiments, width)


def write_report(workdirs: Sequence[pathlib.Path], out: pathlib.Path) -> Report:
    """Reads all experiments of the work folders and writes their report to `out`; DataError if files disagree."""
    experiments = tuple(build_experiment(collected) for collected in collect(workdirs))
    for experiment in experiments:
        for drawing in experiment.drawings:
            write_bytes(out / "figures" / f"{drawing.name}.svg", drawing.svg.encode())
            write_bytes(out / "figures" / f"{drawing.name}.png", drawing.png)
    write_results(out / "results.jsonl", [row for experiment in experiments for row in experiment.rows])
    write_bytes(out / "tables.md", plain.markdown(experiments).encode())
    write_bytes(out / "tables.csv", plain.comma_separated(experiments).encode())
    write_bytes(out / "index.html", page.page(experiments).encode())
    return Report(experiments, out)
