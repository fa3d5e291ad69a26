"""`xling data`: lists tasks, shows a cell, prepares cells."""

import collections
import json
import os
import pathlib

from absl import flags

from xling_jax.doors.flags import data_dir, define_config, define_workdir, experiment, parse, required
from xling_jax.errors import ConfigError, DataError, unknown
from xling_jax.tables.tasks import TASKS, Cell, parse_cells

ABOUT = """xling data list [--data_dir=DIR]       tasks, splits, languages, and whether their files are there
xling data show CELL [--data_dir=DIR]  a cell: source, size, words, labels, one example
xling data prepare --config=FILE --workdir=DIR   tokenises all cells of an experiment ahead of its run"""


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_config(values, argv)
    define_workdir(values)
    words = parse(values, "data", argv, ABOUT)
    verbs = {"list": _list, "show": _show, "prepare": _prepare}
    if not words or words[0] not in verbs:
        raise unknown("data verb", words[0] if words else "", verbs, "`xling data --help` says more.")
    verbs[words[0]](words[1:], values)


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
    from xling_jax.data.sources import checksum, paths, read  # noqa: PLC0415

    if len(words) != 1:
        raise ConfigError(f"`xling data show` takes one cell, for example udpos.test.ta; found {len(words)}.")
    where = data_dir(values)
    for cell in parse_cells(words[0]):
        examples = list(read(cell, where))
        if not examples:
            raise DataError(f"Cell {cell} has no examples.\nAllowed: at least one.")
        texts = [text for example in examples for text in _texts(example)]
        print(f"{cell}: {cell.row.kind}, {len(examples)} examples, {sum(len(text.split()) for text in texts)} words")
        print(f"source: {', '.join(paths(cell)) or 'generated'}  sha256 {checksum(cell, where)[:16]}")
        labels = collections.Counter(example["label"] for example in examples if "label" in example)
        labels.update(tag for example in examples for tag in example.get("tags", ()))
        if labels:
            print("labels: " + ", ".join(f"{label} {count}" for label, count in labels.most_common()))
        print(json.dumps(examples[0], ensure_ascii=False, indent=1))


def _texts(example: dict) -> list[str]:
    """Returns all texts of an example, whatever its kind."""
    fields = [example[name] for name in ("text", "text_pair", "question", "context") if name in example]
    return [*fields, *example.get("choices", ()), *example.get("tokens", ())]


def _prepare(words: list[str], values: flags.FlagValues) -> None:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing here needs an accelerator

    from xling_jax.data.token_report import write_report  # noqa: PLC0415
    from xling_jax.stages.run import Run  # noqa: PLC0415

    workdir = pathlib.Path(required(values, "workdir"))
    run = Run(experiment(values), workdir, data_dir(values))
    run.prepare()
    print(write_report(run.cells.prepared(), workdir / "prepared"))
