"""`xling data`: lists tasks, shows a cell, checks a data folder, prepares cells."""

import os

from absl import flags

from xling_jax.disk import on_disk, reach
from xling_jax.doors.flags import data_dir, define_config, define_workdir, experiment, parse, required
from xling_jax.errors import ConfigError, unknown
from xling_jax.tables.coverage import page
from xling_jax.tables.prompts import HEADS, PROMPTS
from xling_jax.tables.prompts import page as prompts_page
from xling_jax.tables.tasks import TASKS, Cell, parse_cells

ABOUT = """xling data list [--data_dir=DIR]       tasks, splits, languages, and whether their files are there
xling data show CELL [--data_dir=DIR]  a cell: source, size, words, labels, one example raw and in pieces
xling data doctor [--data_dir=DIR]     every file: there, missing or broken; counts, checksums, licences, what leaks
xling data coverage                    tasks, benchmarks, languages and sources, as the page docs/tasks.md
xling data prompts                     how tasks are asked in words, as the page docs/prompts.md
xling data labels --benchmark=xtreme|xtreme-r --out=DIR [--data_dir=DIR]   label files for `xling score`
xling data prepare --config=FILE --workdir=DIR   tokenises all cells of an experiment ahead of its run"""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_config(values, argv)
    define_workdir(values)
    _define_flags(values)
    words = parse(values, "data", argv, ABOUT)
    verbs = {"list": _list, "show": _show, "doctor": _doctor, "coverage": _coverage, "prompts": _prompts}
    verbs |= {"labels": _labels, "prepare": _prepare}
    if not words or words[0] not in verbs:
        raise unknown("data verb", words[0] if words else "", verbs, "`xling data --help` says more.")
    verbs[words[0]](words[1:], values)


def _define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("vocabulary", None, "show: a SentencePiece model to cut the example with.", flag_values=values)
    flags.DEFINE_enum("prompts", None, list(PROMPTS), "show: the example asked in words.", flag_values=values)
    flags.DEFINE_bool("json", False, "doctor: print JSON instead of tables.", flag_values=values)
    flags.DEFINE_string("checksums", None, "doctor: a table of checksums instead of ours.", flag_values=values)
    flags.DEFINE_string("benchmark", None, "labels: xtreme or xtreme-r.", flag_values=values)
    flags.DEFINE_string("out", None, "labels: the folder that they are written to.", flag_values=values)
    flags.DEFINE_string("split", "test", "labels: which split of each task.", flag_values=values)
    flags.DEFINE_string("record", None, "doctor: write the checksums of this folder to a file.", flag_values=values)


def _list(words: list[str], values: flags.FlagValues) -> None:
    from xling_jax.data.sources import is_there  # noqa: PLC0415

    where = data_dir(values)
    for name, row in TASKS.items():
        for split, source in row.splits.items():
            codes = source.languages.split()
            there = [code for code in codes if is_there(Cell(name, split, code), where)]
            state = "there" if len(there) == len(codes) else f"{len(there)} of {len(codes)} there"
            print(f"{name + '.' + split:24} {row.kind:20} {len(codes):3} languages, {state:16} {source.languages}")


def _show(words: list[str], values: flags.FlagValues) -> None:
    from xling_jax.doors.data_show import show  # noqa: PLC0415

    if len(words) != 1:
        raise ConfigError(f"`xling data show` takes one cell, for example udpos.test.ta; found {len(words)}.")
    for cell in parse_cells(words[0]):
        show(cell, data_dir(values), values["vocabulary"].value, values["prompts"].value or HEADS)


def _doctor(words: list[str], values: flags.FlagValues) -> None:
    from xling_jax.doors.data_doctor import run  # noqa: PLC0415

    run(data_dir(values), bool(values["json"].value), values["checksums"].value, values["record"].value)


def _coverage(words: list[str], values: flags.FlagValues) -> None:
    print(page(), end="")


def _prompts(words: list[str], values: flags.FlagValues) -> None:
    print(prompts_page(), end="")


def _labels(words: list[str], values: flags.FlagValues) -> None:
    from xling_jax.doors.data_labels import check_split, run  # noqa: PLC0415
    from xling_jax.scoring.submission import named  # noqa: PLC0415 - imports NumPy

    row, split = named(required(values, "benchmark")), str(values["split"].value)
    check_split(row, split)
    run(row, on_disk(required(values, "out")), split, data_dir(values))


def _prepare(words: list[str], values: flags.FlagValues) -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing here needs an accelerator

    from xling_jax.data.token_report import write_report  # noqa: PLC0415
    from xling_jax.stages.run import Run  # noqa: PLC0415

    workdir = reach(required(values, "workdir"))
    run = Run(experiment(values), workdir, data_dir(values))
    run.prepare()
    print(write_report([run.cells.prepare(part) for part in run.plan.parts()], workdir / "prepared"))
