"""`xling report`: pages and tables from result files. Needs no JAX."""

import pathlib
import shutil

from absl import flags

from xling_jax.disk import reach
from xling_jax.doors.flags import parse
from xling_jax.errors import ConfigError

ABOUT = """xling report WORKDIR... [--out=DIR]

Writes the report of one or several runs, finished or not: index.html, tables.md, tables.csv, figures."""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    flags.DEFINE_string("out", None, "Folder of the report; WORKDIR/report if not given.", flag_values=values)
    workdirs = [reach(word) for word in parse(values, "report", argv, ABOUT)]
    if not workdirs or (len(workdirs) > 1 and not values["out"].value):
        raise ConfigError(
            f"{len(workdirs)} work folders and --out={values['out'].value}.\n"
            "Allowed: one WORKDIR, or several and --out=DIR. `xling report --help` says more."
        )
    show_report(workdirs, reach(values["out"].value or workdirs[0] / "report"))


def show_report(workdirs: list[pathlib.Path], out: pathlib.Path) -> None:
    """Writes a report and prints its tables and where it is."""
    from xling_jax.report.render import write_report  # noqa: PLC0415 - draws figures, so it is slow to import

    report = write_report(workdirs, out)
    print(report.text(shutil.get_terminal_size((120, 40)).columns))
    print(f"report: {report.index}")
