"""Cells as SeqIO Tasks, sets and stages as SeqIO Mixtures (Roberts et al. 2022, arXiv 2203.17189).

Nothing is registered at import, and nothing is read at registration. A Task is a cell's row run by SeqIO:
its source yields the raw examples, its one preprocessor is the format that `prepare.py` runs too. So
`seqio.get_mixture_or_task("world_qa.train.qen")` gives the features that are trained on, in the same order, and
`seqio.get_mixture_or_task("world_qa.train")` those of all languages at the rates that training draws them at.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xling_jax.data.formats import format_of
from xling_jax.data.prepare import raw_examples
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.errors import ConfigError
from xling_jax.experiment import Part, Stage
from xling_jax.scoring.metrics import SCORERS, scorer_of, value
from xling_jax.tables.sets import SETS
from xling_jax.tables.tasks import TASKS, Cell, cells

_CONTENT: dict[str, tuple] = {}  # name in SeqIO's registry -> all that decides what is behind it


def is_new(name: str, content: tuple) -> bool:
    """Says whether a name is still to be registered. Raises ConfigError if it stands for something else."""
    import seqio  # noqa: PLC0415 - many seconds

    if name not in {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}:
        _CONTENT[name] = content
        return True
    if _CONTENT.get(name) != content:
        raise ConfigError(
            f"Cannot register '{name}' with SeqIO as {content}.\n"
            f"Found: it is there already, as {_CONTENT.get(name, 'something of another package')}.\n"
            "Allowed: a name for one thing. Use one vocabulary and one data folder in a process, or another name."
        )
    return False


def _shape(axes: str) -> list[int | None]:
    """Returns the dimensions of a feature as TensorFlow writes them: numbers, and None for L and C."""
    return [int(axis) if axis.isdigit() else None for axis in axes]


def _layout(parts: Sequence[Part]) -> dict[str, str]:
    """Returns {feature: its axes} over all parts. Raises ConfigError if a feature has several shapes.

    Where parts differ in kind or labels, a feature "task" says which of their sorted tasks an example is of.
    """
    layout: dict[str, str] = {}
    for part in parts:
        for name, spec in format_of(part.cell.row.kind).FEATURES.items():
            if layout.setdefault(name, spec.axes) != spec.axes:
                raise ConfigError(
                    f"Cannot mix {parts[0].cell} and {part.cell} in SeqIO.\n"
                    f"Found: '{name}' with axes '{layout[name]}' and '{spec.axes}'; SeqIO knows one shape of a name.\n"
                    "Allowed: no multiple choice beside other kinds. `batches.py` trains on any of them together."
                )
    several = len({(part.cell.row.kind, part.cell.row.labels) for part in parts}) > 1
    return layout | ({"task": ""} if several else {})


def _metric_fns(cell: Cell) -> list[Callable]:
    """Returns the cell's scorer as SeqIO calls it, over answers: label words, texts, lists of tags."""
    row = cell.row
    if row.kind not in SCORERS:
        return []

    def score(targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        found = scorer_of(row.kind, row.scorer).pairs(targets, predictions, cell.language)
        return {metric: value(pairs) for metric, pairs in found.items()}

    return [score]


@dataclasses.dataclass(frozen=True)
class _Registrar:
    """Adds to SeqIO's registries what is read with one vocabulary from one data folder."""

    tokenizer: Tokenizer
    data_dir: pathlib.Path | None

    def _content(self, *rest: Any) -> tuple:
        return (*rest, self.tokenizer.fingerprint, str(self.data_dir))

    def add_task(self, name: str, part: Part, among: Sequence[Part], split: str) -> None:
        """Adds a part as a Task, with the features of all parts that it is `among`."""
        import seqio  # noqa: PLC0415

        if is_new(name, self._content(part, tuple(_layout(among)), split)):
            metric_fns = _metric_fns(part.cell)
            seqio.TaskRegistry.add(name, metric_fns=metric_fns, **self._task(part, among, split))

    def add_mixture(self, name: str, members: Sequence[str], parts: Sequence[Part], stage: Stage) -> None:
        """Adds the Mixture of some Tasks at a stage's rates, for which features are counted when they are asked for."""
        import seqio  # noqa: PLC0415

        @functools.cache
        def rates() -> dict[str, float]:
            return dict(zip(members, stage.rates([self._count(part) for part in parts]), strict=True))

        if is_new(name, self._content(stage.mixing, stage.data, *parts)):
            seqio.MixtureRegistry.add(name, [(member, lambda task: rates()[task.name]) for member in members])

    def _count(self, part: Part) -> int:
        make = format_of(part.cell.row.kind).features
        examples = raw_examples(part, self.data_dir)
        return sum(len(make(example, self.tokenizer, part.max_length, part.cell.row)) for example in examples)

    def _task(self, part: Part, among: Sequence[Part], split: str) -> dict[str, Any]:
        """Returns source, preprocessor and features of a Task. What its kind does not have is -1, or empty."""
        import seqio  # noqa: PLC0415
        import tensorflow as tf  # noqa: PLC0415

        row, kind, layout = part.cell.row, format_of(part.cell.row.kind), _layout(among)
        absent = {name: np.full([size or 0 for size in _shape(axes)], -1, np.int32) for name, axes in layout.items()}
        absent["task"] = np.array(sorted({each.cell.task for each in among}).index(row.name), np.int32)
        sizes = dict.fromkeys(layout, max(len(each.cell.row.labels) for each in among))
        sizes["input_ids"] = self.tokenizer.size

        def read(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
            del split, shuffle_files, seed  # SeqIO shuffles the features
            return tf.data.Dataset.from_generator(
                lambda: ({"json": json.dumps(example)} for example in raw_examples(part, self.data_dir)),
                output_signature={"json": tf.TensorSpec([], tf.string)},
            )

        def preprocess(dataset: tf.data.Dataset) -> tf.data.Dataset:
            def features() -> Iterator[dict[str, np.ndarray]]:
                for raw in dataset.as_numpy_iterator():
                    for made in kind.features(json.loads(raw["json"]), self.tokenizer, part.max_length, row):
                        yield {name: made.get(name, absent[name]) for name in layout}

            signature = {name: tf.TensorSpec(_shape(axes), tf.int32) for name, axes in layout.items()}
            return tf.data.Dataset.from_generator(features, output_signature=signature)

        def feature(name: str) -> seqio.Feature:
            vocabulary = seqio.PassThroughVocabulary(sizes[name])
            return seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32, rank=len(layout[name]))

        most = {split: part.count} if part.count else None  # SeqIO keeps a small part in memory
        return {
            "source": seqio.FunctionDataSource(read, splits=(split,), num_input_examples=most),
            "preprocessors": [preprocess],
            "output_features": {name: feature(name) for name in layout},
        }


def register_cell(part: Part, tokenizer: Tokenizer, data_dir: pathlib.Path | None) -> str:
    """Registers a part of a cell as a SeqIO Task and returns its name.

    That is the cell's; or, if the cell is there in another part or length, the cell's with first example,
    count and length behind it. Registering the same again does nothing.

    Raises:
      ConfigError: the name is taken by something else.
    """
    import seqio  # noqa: PLC0415

    name = str(part.cell)
    held = _CONTENT.get(name)
    if held and held[0] != part and name in seqio.TaskRegistry.names():
        name = f"{name}.{part.first}_{part.count}_{part.max_length}"
    _Registrar(tokenizer, data_dir).add_task(name, part, [part], part.cell.split)
    return name


def register_stage(
    name: str, stage: Stage, limits: Mapping[str, int], tokenizer: Tokenizer, data_dir: pathlib.Path | None
) -> str:
    """Registers a stage as a SeqIO Mixture, drawn at the rates of its batches. Its one split is "train".

    Its members are the stage's parts, named `name.cell`, whatever split and kind they are of.

    Raises:
      ConfigError: a name is taken by something else, or SeqIO cannot have the parts in one mixture.
    """
    parts = stage.parts(limits)
    members = [f"{name}.{part.cell}" for part in parts]
    if len(set(members)) != len(members):
        raise ConfigError(
            f"Cannot register '{name}' with SeqIO: a cell is twice in {' '.join(stage.data)}.\n"
            "Allowed: each cell once. Give it a higher rate instead, with mixing.rates."
        )
    _layout(parts)  # what cannot be mixed is said before anything is registered
    registrar = _Registrar(tokenizer, data_dir)
    for member, part in zip(members, parts, strict=True):
        registrar.add_task(member, part, parts, "train")
    registrar.add_mixture(name, members, parts, stage)
    return name


def register_set(
    name: str, data: Sequence[str], max_length: int, tokenizer: Tokenizer, data_dir: pathlib.Path | None
) -> str:
    """Registers whole cells of one split, kind and labels as a SeqIO Mixture of their Tasks, in proportion.

    Raises:
      ConfigError: a name is taken by something else, or the cells differ.
    """
    stage = Stage(data=tuple(data), max_length=max_length)
    parts = stage.parts({})
    if len({(part.cell.row.kind, part.cell.row.labels, part.cell.split) for part in parts}) != 1:
        raise ConfigError(
            f"Cannot register '{name}' as a SeqIO mixture of {' '.join(data)}.\n"
            "Allowed: cells of one split name whose tasks have the same kind and labels.\n"
            "Sets are rows of xling_jax/tables/sets.py; a stage may mix any."
        )
    members = [register_cell(part, tokenizer, data_dir) for part in parts]
    _Registrar(tokenizer, data_dir).add_mixture(name, members, parts, stage)
    return name


def register_all(tokenizer: Tokenizer, max_length: int, data_dir: pathlib.Path | None) -> list[str]:
    """Registers every cell of every row, whole, and every set of `tables/sets.py`; returns their names."""
    every = [cell for task in TASKS.values() for split in task.splits for cell in cells(task.name, split)]
    tasks = [register_cell(Part(cell, 0, 0, max_length), tokenizer, data_dir) for cell in every]
    return tasks + [register_set(name, data, max_length, tokenizer, data_dir) for name, data in SETS.items()]
