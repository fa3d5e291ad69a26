"""From a checkpoint of ours to a folder that `transformers` loads, leaf by leaf."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from xling_jax.convert.drafts import draft
from xling_jax.convert.vocabulary import export_vocabulary
from xling_jax.errors import CheckpointError, Interrupted, unknown
from xling_jax.models.build import HeadSpec, build_config
from xling_jax.models.card import Card, read_card
from xling_jax.models.lora import ADAPTERS, merge_lora
from xling_jax.models.weights.families import FAMILIES, class_of
from xling_jax.models.weights.folder import CONFIG, INDEX, SINGLE
from xling_jax.models.weights.safetensors import Planned, write_file
from xling_jax.models.weights.tensors import Family, Tensor, names, theirs_shape, to_theirs
from xling_jax.train.checkpoint import PARAMS, open_own
from xling_jax.train.writer import Display

GIGABYTE = 10**9


@dataclasses.dataclass(frozen=True)
class Options:
    """How to export.

    `dtype` is that of the file's numbers, "" for that of the checkpoint. `head`: its name, "none" for the body alone,
    "auto" for the only one. `tokenizer`: a folder or file with the vocabulary, where it is no longer where it was;
    "none" for no vocabulary. `shard_size`: bytes of a file, in GB, above which there are several; 0 for one file.
    """

    dtype: str = ""
    head: str = "auto"
    tokenizer: str = ""
    shard_size: float = 5.0


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A leaf here, and its row. `parts`: path -> [shape, dtype] of itself and of adapters, which are merged into it."""

    tensor: Tensor
    shape: tuple[int, ...]
    parts: dict[str, Any]

    def read(self, restore: Callable[[Any], Any]) -> np.ndarray:
        """Returns all of it, adapters merged; `restore` gives the arrays of a tree of shapes."""
        parts = {  # NumPy's, of which there is one copy while they are read
            tuple(path.split("/")): np.broadcast_to(np.zeros((), jnp.dtype(dtype)), shape)
            for path, (shape, dtype) in self.parts.items()
        }
        (whole,) = map(np.asarray, jax.tree.leaves(merge_lora(restore(unflatten_dict(parts)))))
        return whole


@dataclasses.dataclass(frozen=True)
class Export:
    """What is to be written: the tensors of each leaf, by the rows of the family."""

    card: Card
    head: HeadSpec | None
    class_name: str
    dtype: str
    leaves: tuple[Leaf, ...]
    prefix: str  # of the names, which the class leaves out

    def planned(self) -> Iterator[Planned]:
        """Yields the tensors in the order in which they are written."""
        for leaf in self.leaves:
            for name in names(leaf.tensor, leaf.shape[0] if leaf.shape else 1):
                yield Planned(name.removeprefix(self.prefix), self.dtype, self.shape_there(leaf))

    def shape_there(self, leaf: Leaf) -> tuple[int, ...]:
        """Returns the shape of one tensor there."""
        shape = leaf.shape[1:] if "{}" in leaf.tensor.theirs else leaf.shape
        return theirs_shape(leaf.tensor, shape, self.card.model.vocab)

    def config(self, family: Family) -> dict[str, Any]:
        """Returns the contents of config.json."""
        labels = self.card.labels.get(self.head.name, ()) if self.head else ()
        words = {str(number): word for number, word in enumerate(labels)}
        labelled = {"id2label": words, "label2id": {word: int(number) for number, word in words.items()}}
        return {
            "architectures": [self.class_name],
            **self.card.special,
            **family.config_of(self.card.model),
            **(labelled if labels else {}),
            "torch_dtype": self.dtype,
        }


def plan_export(card: Card, saved: dict[str, Any], options: Options) -> Export:
    """Returns what a checkpoint is exported as.

    Args:
      card: of the checkpoint.
      saved: path -> [shape, dtype] of its leaves.
      options: see there.

    Raises:
      CheckpointError: it has no such head, no class has one, or its leaves are not those of its card.
      ConfigError: there is no head of that name.
    """
    family = FAMILIES[card.model.family]
    head = _head(card, options.head)
    class_name = class_of(family, card.model, head.kind if head else "")
    heads = (head,) if head else ()
    tensors = family.tensors(build_config(card.model, card.model.vocab), heads)
    dtype = options.dtype or next(iter(saved.values()))[1]
    return Export(card, head, class_name, dtype, leaves_of(card, tensors, saved, heads), "" if head else family.prefix)


def leaves_of(
    card: Card, tensors: tuple[Tensor, ...], saved: dict[str, Any], heads: tuple[HeadSpec, ...] = ()
) -> tuple[Leaf, ...]:
    """Returns the leaves of the body and of some heads. Raises CheckpointError if they are not those of the card."""
    mine = {path for path in saved if path.startswith(("body/", *(f"head_{head.name}/" for head in heads)))}
    adapters = {path for path in mine if path.rpartition("/")[2] in ADAPTERS}
    differing = sorted((mine - adapters) ^ {tensor.ours for tensor in tensors})
    if differing:
        raise CheckpointError(
            f"The checkpoint and model '{card.model.name}' differ in {len(differing)} leaves: {differing[0]} ...\n"
            "Allowed: the parameters of the model and no others. Was it written by another version?"
        )
    return tuple(_leaf(tensor, saved, adapters) for tensor in tensors)


def _leaf(tensor: Tensor, saved: dict[str, Any], adapters: set[str]) -> Leaf:
    folder, _, last = tensor.ours.rpartition("/")
    beside = [path for path in adapters if last == "kernel" and path.rpartition("/")[0] == folder]
    return Leaf(tensor, tuple(saved[tensor.ours][0]), {path: saved[path] for path in (tensor.ours, *beside)})


def _head(card: Card, name: str) -> HeadSpec | None:
    """Returns the head to export, None for the body alone."""
    heads = {head.name: head for head in card.heads}
    if name == "none" or (name == "auto" and not heads):
        return None
    if name == "auto" and len(heads) > 1:
        raise CheckpointError(
            f"The checkpoint has {len(heads)} heads: {', '.join(heads)}.\n"
            "Allowed: one in a folder there. --head=NAME says which, --head=none takes the body alone."
        )
    if name != "auto" and name not in heads:
        raise unknown("head", name, (*heads, "none"), "Heads are named in model.json of the checkpoint.", "'--head'")
    return next(iter(heads.values())) if name == "auto" else heads[name]


def to_hf(
    folder: pathlib.Path,
    out: pathlib.Path,
    options: Options,
    display: Display,
    stop_asked: Callable[[], bool] = lambda: False,
) -> None:
    """Writes OUT: config.json, safetensors, the vocabulary's files. Nothing is left of what does not finish.

    Memory: about one leaf at a time, which has all layers.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, has no such head, or OUT is there.
      Interrupted: it was asked to stop.
    """
    card = read_card(folder)
    if out.exists():
        raise CheckpointError(
            f"{out} is there.\nAllowed: a folder that does not exist yet. Delete it, or name another."
        )
    with open_own(folder) as (checkpoints, step):
        export = plan_export(card, checkpoints.meta(step)[PARAMS]["shapes"], options)
        with draft(out) as part:
            for line in export_vocabulary(card, folder, options.tokenizer, part):
                display.say(line)
            config = export.config(FAMILIES[card.model.family])
            (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            planned = list(export.planned())
            with display.bar("writing", len(planned), unit="tensors") as bar:
                arrays = _arrays(export, functools.partial(checkpoints.restore_params, step), bar.advance, stop_asked)
                _write(part, planned, arrays, int(options.shard_size * GIGABYTE))
    display.say(f"wrote {out}: {export.class_name}, {len(planned)} tensors in {export.dtype}")


def _arrays(
    export: Export,
    restore: Callable[[Any], Any],
    tell: Callable[[int], None],
    stop_asked: Callable[[], bool],
) -> Iterator[np.ndarray]:
    """Yields the tensors in the order of `Export.planned`."""
    written = 0
    for leaf in export.leaves:
        whole = leaf.read(restore)
        for array in whole if "{}" in leaf.tensor.theirs else (whole,):
            if stop_asked():
                raise Interrupted("Stopped. Nothing of it is left.\nRun the same command again to convert.")
            written += 1
            tell(written)
            yield to_theirs(leaf.tensor, array, export.shape_there(leaf)).astype(jnp.dtype(export.dtype))


def _write(part: pathlib.Path, planned: list[Planned], arrays: Iterator[np.ndarray], limit: int) -> None:
    """Writes one file, or several with an index, none larger than the limit unless one tensor is."""
    shards: list[list[Planned]] = [[]]
    for tensor in planned:
        if limit and shards[-1] and sum(each.bytes for each in shards[-1]) + tensor.bytes > limit:
            shards.append([])
        shards[-1].append(tensor)
    if len(shards) == 1:
        write_file(part / SINGLE, planned, arrays)
        return
    files = {
        f"model-{number:05}-of-{len(shards):05}.safetensors": shard for number, shard in enumerate(shards, start=1)
    }
    for name, shard in files.items():
        write_file(part / name, shard, arrays)
    index = {
        "metadata": {"total_size": sum(tensor.bytes for tensor in planned)},
        "weight_map": {tensor.name: name for name, shard in files.items() for tensor in shard},
    }
    (part / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
