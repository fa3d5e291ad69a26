"""Cells as SeqIO Tasks, stages as SeqIO Mixtures (Roberts et al. 2022, arXiv 2203.17189).

Nothing is registered at import, and nothing is read at registration. A Task is a cell's row run by SeqIO:
its source yields the raw examples, its one preprocessor is the format that `prepare.py` runs too. So
`seqio.get_mixture_or_task("world_qa.train.qen")` gives the features that are trained on, in the same order.
"""

import functools
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from xling_jax.data.formats import format_of
from xling_jax.data.prepare import raw_examples
from xling_jax.data.tokenizers import Tokenizer
from xling_jax.errors import ConfigError
from xling_jax.experiment import Part
from xling_jax.scoring.metrics import SCORERS, value
from xling_jax.tables.tasks import TASKS, cells

_CONTENT: dict[str, tuple] = {}  # name in SeqIO's registry -> all that decides what is behind it


def _is_new(name: str, content: tuple) -> bool:
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


def _task(part: Part, tokenizer: Tokenizer, data_dir: pathlib.Path | None) -> dict[str, Any]:
    """Returns source, preprocessor and features of a part's SeqIO Task."""
    import seqio  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    row, kind = part.cell.row, format_of(part.cell.row.kind)
    shapes = {name: [int(a) if a.isdigit() else None for a in spec.axes] for name, spec in kind.FEATURES.items()}
    sizes = {"input_ids": tokenizer.size}

    def read(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del split, shuffle_files, seed  # SeqIO shuffles the features
        return tf.data.Dataset.from_generator(
            lambda: ({"json": json.dumps(example)} for example in raw_examples(part, data_dir)),
            output_signature={"json": tf.TensorSpec([], tf.string)},
        )

    def preprocess(dataset: tf.data.Dataset) -> tf.data.Dataset:
        def features() -> Iterator[dict[str, np.ndarray]]:
            for raw in dataset.as_numpy_iterator():
                yield from kind.features(json.loads(raw["json"]), tokenizer, part.max_length, row)

        signature = {name: tf.TensorSpec(shape, tf.int32) for name, shape in shapes.items()}
        return tf.data.Dataset.from_generator(features, output_signature=signature)

    def feature(name: str) -> seqio.Feature:
        vocabulary = seqio.PassThroughVocabulary(sizes.get(name, len(row.labels)))
        return seqio.Feature(vocabulary, add_eos=False, dtype=tf.int32, rank=len(shapes[name]))

    return {
        "source": seqio.FunctionDataSource(read, splits=(part.cell.split,)),
        "preprocessors": [preprocess],
        "output_features": {name: feature(name) for name in shapes},
    }


def _metric_fns(kind: str) -> list[Callable]:
    """Returns the kind's scorer as SeqIO calls it, over answers: label words, texts, lists of tags."""

    def score(targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        return {metric: value(pairs) for metric, pairs in SCORERS[kind].score(targets, predictions).items()}

    return [score] if kind in SCORERS else []


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
    if _is_new(name, (part, tokenizer.fingerprint, str(data_dir))):
        metric_fns = _metric_fns(part.cell.row.kind)
        seqio.TaskRegistry.add(name, metric_fns=metric_fns, **_task(part, tokenizer, data_dir))
    return name


def register_stage(
    name: str, parts: Sequence[Part], tokenizer: Tokenizer, data_dir: pathlib.Path | None, mixing: str
) -> str:
    """Registers the parts of a stage, and a SeqIO Mixture of them that is drawn at the rates of `batches.py`.

    Where the rate is the number of a part's features, they are counted when the Mixture is first used.

    Raises:
      ConfigError: a name is taken by something else, or the parts differ in what SeqIO wants to be the same.
    """
    import seqio  # noqa: PLC0415

    if len({(part.cell.row.kind, part.cell.row.labels, part.cell.split) for part in parts}) != 1:
        raise ConfigError(
            f"Cannot register '{name}' as a SeqIO mixture of {', '.join(str(part.cell) for part in parts)}.\n"
            "Allowed: cells of one split name whose tasks have the same kind and labels.\n"
            "Register the others as a mixture of their own; `batches.py` trains on any of them together."
        )
    members = {register_cell(part, tokenizer, data_dir): part for part in parts}
    if _is_new(name, (mixing, *members.items(), tokenizer.fingerprint, str(data_dir))):
        counts = {member: _counter(part, tokenizer, data_dir) for member, part in members.items()}
        rates = counts if mixing == "proportional" else dict.fromkeys(members, 1.0)
        seqio.MixtureRegistry.add(name, list(rates.items()))
    return name


def _counter(part: Part, tokenizer: Tokenizer, data_dir: pathlib.Path | None) -> Callable[[Any], float]:
    """Returns a SeqIO rate: the number of a part's features, counted when first asked for."""

    @functools.cache
    def count(task: Any) -> float:
        del task
        make = format_of(part.cell.row.kind).features
        examples = raw_examples(part, data_dir)
        return float(sum(len(make(example, tokenizer, part.max_length, part.cell.row)) for example in examples))

    return count


def register_all(tokenizer: Tokenizer, max_length: int, data_dir: pathlib.Path | None) -> list[str]:
    """Registers every cell of every row, whole, and returns the names."""
    every = [cell for task in TASKS.values() for split in task.splits for cell in cells(task.name, split)]
    return [register_cell(Part(cell, 0, 0, max_length), tokenizer, data_dir) for cell in every]
