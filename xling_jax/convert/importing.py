"""From a folder of weights, in whatever layout, to a checkpoint that a stage can start from, tensor by tensor."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from xling_jax import __version__
from xling_jax.axes import LABELS
from xling_jax.convert.drafts import draft
from xling_jax.convert.vocabulary import copy_vocabulary, read_vocabulary
from xling_jax.errors import CheckpointError, Interrupted
from xling_jax.models.build import HeadSpec, build_config, build_model, init_params
from xling_jax.models.card import NAME, TOKENIZER, Card, VocabularyCard, as_text, read_card
from xling_jax.models.weights import mt5, t5x
from xling_jax.models.weights.families import family_of, head_of, kind_of, labels_of, row_named
from xling_jax.models.weights.folder import CONFIG, open_tensors, read_json, weight_files
from xling_jax.models.weights.matching import Leaf, Matching, Stored, match
from xling_jax.models.weights.tensors import Family
from xling_jax.tables.models import MULTIPLE, Model
from xling_jax.tables.tasks import task
from xling_jax.train.checkpoint import CHECKPOINTS
from xling_jax.train.streaming import Stream, save_streams
from xling_jax.train.writer import Display

MARK = "conversion"  # key of a card's origin: a hash of all that decides the outcome


@dataclasses.dataclass(frozen=True)
class Options:
    """How to import.

    `dtype` is that of the parameters here. `head`: "auto" for that of config.json's architecture, "none" for the body
    alone. `task`: the head becomes the one that answers it, its labels in the order of the task's row; "" for a head
    that is named by its kind. `tokenizer`: a folder or file with the vocabulary; "" for that of the folder, "none" for
    no vocabulary. The vocabulary's rows are filled up to a multiple of `multiple`.
    """

    dtype: str = "float32"
    head: str = "auto"
    task: str = ""
    tokenizer: str = ""
    multiple: int = MULTIPLE


@dataclasses.dataclass(frozen=True)
class Import:
    """What is to be imported: checked as far as that goes without reading numbers."""

    card: Card
    matching: Matching
    options: Options
    order: tuple[int, ...]  # number there of each label here; () where that is the same
    turned: Mapping[str, int]  # leaves whose labels change their order -> the axis of the labels

    def lines(self) -> list[str]:
        """Returns what is used, unused and fresh, as lines of text."""
        row, matching = self.card.model, self.matching
        spare = -row.vocab % row.multiple
        size = f"{row.layers} layers of width {row.width}, {row.vocab:,} rows of vocabulary"
        lines = [f"model {row.name}: {size}{f' and {spare} of zeros' if spare else ''}, {self.options.dtype}"]
        for leaf in matching.leaves:
            shape = "x".join(map(str, leaf.shape)) or "one number"
            lines.append(f"  {leaf.tensor.ours} [{shape}] from {leaf.tensor.theirs}")
        lines.append(f"used {matching.used()} tensors for {len(matching.leaves)} leaves")
        lines.append(f"unused {len(matching.unused)}: {', '.join(matching.unused) or 'none'}")
        if matching.ignored:
            lines.append(f"ignored {len(matching.ignored)}, which hold nothing learned: {', '.join(matching.ignored)}")
        heads = ", ".join(f"{head.name} ({head.kind})" for head in self.card.heads) or "none"
        lines.append(f"heads: {heads}; fresh: nothing. A stage makes the heads that it needs and that are not there.")
        vocabulary = self.card.vocabulary
        if vocabulary is None:
            lines.append("vocabulary: none. An experiment needs one: convert again with --tokenizer=FOLDER")
        else:
            lines.append(f"vocabulary: {vocabulary.size:,} ids of family {vocabulary.family}")
        return lines


@dataclasses.dataclass(frozen=True)
class Source:
    """A folder that was opened: what its model is, and where its tensors lie. `files` decide what is in them."""

    family: Family
    row: Model
    kind: str  # of its head; "" for none
    config: Mapping[str, Any]
    stored: Mapping[str, Stored]
    files: tuple[pathlib.Path, ...]


def open_hf(folder: pathlib.Path, options: Options) -> Source:
    """Returns a folder as Hugging Face lays it out."""
    config = read_json(folder / CONFIG)
    family = family_of(config)
    row = row_named(family.row_from(config), options.multiple)
    kind = kind_of(family, config) if options.head == "auto" else ""
    return Source(family, row, kind, config, open_tensors(folder), (folder / CONFIG, *weight_files(folder)))


def open_t5x(folder: pathlib.Path, options: Options) -> Source:
    """Returns a checkpoint of t5x: mT5 or umT5."""
    stored = t5x.open_tensors(folder)
    family = dataclasses.replace(mt5.FAMILY, tensors=t5x.tensors, prefix="", ignored=())
    row = row_named(t5x.row_of(stored), options.multiple)
    files = tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
    return Source(family, row, mt5.KIND, family.config_of(row), stored, files)


def plan_import(folder: pathlib.Path, options: Options, opened: Callable[..., Source] = open_hf) -> Import:
    """Returns what a folder is imported as. Reads no numbers.

    Args:
      folder: what is there.
      options: see there.
      opened: opens it, by its layout.

    Raises:
      CheckpointError: something is missing, damaged, not modelled, or does not fit.
      ConfigError: an option is wrong.
      DataError: the vocabulary's files are damaged.
    """
    source = opened(folder, options)
    row, config = source.row, build_config(source.row, source.row.vocab)
    heads, labels, order = _heads(source, options)
    boxed = boxed_shapes(config, heads)
    shapes = {path: leaf.unbox().shape for path, leaf in boxed.items()}
    matching = match(source.family, source.family.tensors(config, heads), shapes, source.stored, row.vocab)
    vocabulary = _vocabulary(folder, source, options)
    origin = {"config": source.config, "unused": matching.unused, MARK: _mark(source.files, options, vocabulary)}
    ids = source.config.items()
    special = {name: number for name, number in ids if name.endswith("_token_id") and number is not None}
    turned = {path: leaf.names.index(LABELS) for path, leaf in boxed.items() if order and LABELS in leaf.names}
    return Import(Card(row, heads, labels, vocabulary, special, origin), matching, options, order, turned)


def boxed_shapes(config: Any, heads: tuple[HeadSpec, ...]) -> dict[str, Any]:
    """Returns the shapes of all leaves of a model, by path, in boxes with the names of their axes."""
    shapes = jax.eval_shape(lambda: init_params(build_model(config, heads), jax.random.key(0)))
    flat, _ = jax.tree_util.tree_flatten_with_path(shapes, is_leaf=lambda leaf: isinstance(leaf, nn.meta.AxisMetadata))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}


def _heads(source: Source, options: Options):
    """Returns the head, if there is one, the words of its labels, and the order in which they are there."""
    kind = source.kind
    if not kind:
        return (), {}, ()
    labels, name, order = labels_of(source.config, kind), kind, ()
    if options.task:
        row = task(options.task, "--task")
        if row.kind != kind:
            raise CheckpointError(
                f"--task={row.name} is of kind '{row.kind}', and the head is of kind '{kind}'.\n"
                "Allowed: a task of the same kind. Tasks are rows of xling_jax/tables/rows."
            )
        name = row.head_name
        if labels:
            labels, order = tuple(row.labels), _order(labels, tuple(row.labels), row.name)
    return (head_of(kind, name, labels),), {name: labels} if labels else {}, order


def _order(there: tuple[str, ...], here: tuple[str, ...], name: str) -> tuple[int, ...]:
    """Returns the number there of each label here. Raises CheckpointError if they are not the same words."""
    spelled = [word.casefold() for word in there]
    if sorted(spelled) != sorted(word.casefold() for word in here):
        raise CheckpointError(
            f"The head answers {', '.join(there)}; task '{name}' has {', '.join(here)}.\n"
            "Allowed: the same words in any order, upper or lower case. Put them into id2label of config.json if you "
            "know which is which; or leave --task out, and the head is not that of a task."
        )
    return tuple(spelled.index(word.casefold()) for word in here)


def _vocabulary(folder: pathlib.Path, source: Source, options: Options) -> VocabularyCard | None:
    if options.tokenizer == "none":
        return None
    path = pathlib.Path(options.tokenizer) if options.tokenizer else folder
    return read_vocabulary(path, source.config["model_type"], source.row.vocab)


def _mark(files: tuple[pathlib.Path, ...], options: Options, vocabulary: VocabularyCard | None) -> str:
    """Returns a hash of what is converted and how: sizes and times of the files stand for their contents."""
    found = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    pieces = vocabulary.fingerprint if vocabulary else ""
    asked = dataclasses.asdict(dataclasses.replace(options, tokenizer=""))
    return hashlib.sha256(json.dumps([__version__, found, asked, pieces]).encode()).hexdigest()[:16]


def bring_in(
    planned: Import,
    out: pathlib.Path,
    display: Display,
    stop_asked: Callable[[], bool] = lambda: False,
) -> None:
    """Writes OUT: checkpoints/0, model.json, tokenizer/. Says what it does; nothing is left of what does not finish.

    Memory: about one tensor of the folder, or one layer of a leaf here, at a time.

    Raises:
      CheckpointError: numbers that are not finite, tied tensors that differ, another thing at OUT, a full disk.
      Interrupted: it was asked to stop.
    """
    for line in planned.lines():
        display.say(line)
    if out.exists():
        _check_same(out, planned.card)
        display.say(f"{out} is this conversion already: nothing to do")
        return
    with draft(out) as part:
        _write(part, planned, display, stop_asked)
    display.say(f"wrote {out}")


def _check_same(out: pathlib.Path, card: Card) -> None:
    """Raises CheckpointError if OUT is anything but this conversion."""
    try:
        there = read_card(out).origin.get(MARK)
    except CheckpointError:
        there = None
    if there != card.origin[MARK]:
        raise CheckpointError(
            f"{out} is there, and is not this conversion.\n"
            "Allowed: a folder that does not exist yet; or the same files converted with the same options again, which "
            "does nothing. Delete it, or name another."
        )


def _write(part: pathlib.Path, planned: Import, display: Display, stop_asked: Callable[[], bool]) -> None:
    card = planned.card
    if card.vocabulary is not None:
        copy_vocabulary(card.vocabulary, part / TOKENIZER)
    streams = {leaf.tensor.ours: _stream(leaf, planned) for leaf in planned.matching.leaves}
    tree = unflatten_dict(streams, sep="/")
    total = sum(stream.nbytes for stream in jax.tree.leaves(tree))
    megabyte, done = 10**6, 0
    with display.bar("converting", -(-total // megabyte), unit="MB") as bar:

        def tell(written: int) -> None:
            nonlocal done
            done += written
            bar.advance(-(-done // megabyte))
            if stop_asked():
                raise Interrupted("Stopped. Nothing of it is left.\nRun the same command again to convert.")

        save_streams(part / CHECKPOINTS, 0, tree, tell)
    (part / NAME).write_text(as_text(card), encoding="utf-8")


def _stream(leaf: Leaf, planned: Import) -> Stream:
    dtype, axis = jnp.dtype(planned.options.dtype), planned.turned.get(leaf.tensor.ours)

    def read(start: int, stop: int):
        piece = leaf.read(start, stop, dtype)
        return piece if axis is None else piece.take(planned.order, axis=axis)

    return Stream(leaf.shape, dtype, read, leaf.rows(dtype))
