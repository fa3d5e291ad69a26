"""Checkpoints of t5x, read without t5x: mT5 and umT5 as Google publishes them, and whatever was trained from them.

Three layouts of a folder checkpoint_<step> are read, leaf by leaf:

    legacy       a file `checkpoint` (msgpack) with the tree; its leaves are arrays, or name a folder with a zarr array
    Orbax        a folder `state` with one zarr array for each leaf, in folders or in an OCDBT database
    either       layers apart ("layers_3"), as t5x's minimal T5 has them, or scanned: on axis 1 of one array

All are shown as the same: matrices (inputs, outputs) under t5x's names of layers apart. Optimiser states are not read.
Also writes the legacy layout, parameters only, from which t5x continues with a fresh optimiser: layers apart for mT5,
scanned for umT5, as t5x's networks of the two are.
"""

import dataclasses
import functools
import math
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import tensorstore
from flax import serialization

from xling_jax.errors import CheckpointError
from xling_jax.models.build import HeadSpec
from xling_jax.models.seq2seq import Seq2SeqConfig
from xling_jax.models.weights.mt5 import PRETRAINED_LENGTH
from xling_jax.models.weights.tensors import Tensor, names, theirs_shape, to_theirs
from xling_jax.tables.models import MULTIPLE, Model

TARGET = "target"  # of the tree, what holds the parameters
VERSION, OLDEST = 3, 2  # of the legacy layout: what is written, and the first whose tree has an `optimizer`
CHUNK = 1 << 25  # bytes of a chunk that is written, so that a host which needs a part of an array reads little else
WHERE = "What is read of t5x's checkpoints is in xling_jax/models/weights/t5x.py."


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor of one layer, or of none: a matrix or a vector, whatever the axes of the array it is in.

    `source` is the array, or what tensorstore opened; `layer` is the place on its axis 1. `split`: so many of its axes
    are the matrix's first, without that of layers; -1 for all but one.
    """

    source: Any
    layer: int | None = None
    split: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix or vector."""
        shape = list(self.source.shape)
        if self.layer is not None:
            del shape[1]
        return tuple(math.prod(part) for part in (shape[: self.split], shape[self.split :]) if part)

    @property
    def dtype(self) -> np.dtype:
        """Of its numbers, bfloat16 included."""
        dtype = self.source.dtype
        return jnp.dtype(dtype.numpy_dtype if isinstance(dtype, tensorstore.dtype) else dtype)

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns the tensor, or the rows [start, stop) of its first axis; reads no layer but its own."""
        part = self.source if self.layer is None else self.source[:, self.layer]
        whole = stop is None or (self.split != 1 and len(part.shape) > 2)
        part = part if whole else part[start:stop]
        array = np.asarray(part.read().result() if isinstance(part, tensorstore.TensorStore) else part)
        array = array.reshape(self.shape if whole else (-1, *self.shape[1:]))
        return array[start:stop] if whole else array


def open_tensors(folder: pathlib.Path) -> dict[str, Stored]:
    """Returns the parameters of a checkpoint by the names of `tensors`. Reads no array that lies in a file of its own.

    Raises CheckpointError for a folder of another kind, and for arrays that are missing or not whole.
    """
    found = dict(_legacy(folder) if (folder / "checkpoint").is_file() else _orbax(folder))
    if not found:
        raise CheckpointError(f"{folder} has no parameters below '{TARGET}'.\n{WHERE}")
    return dict(_apart(found))


def _apart(found: Mapping[str, Any]) -> Iterator[tuple[str, Stored]]:
    """Yields name and tensor; scanned layers one by one, under the names they have apart."""
    for name, source in found.items():
        split = -1 if name.endswith("attention/out/kernel") else 1  # heads apart, or joined: both are written
        scanned = re.match(r"(encoder|decoder)/(?:\1|layers)/(.+)", name)
        if scanned is None:
            yield _renamed(name), Stored(source, split=split)
            continue
        for layer in range(source.shape[1]):
            yield _renamed(f"{scanned[1]}/layers_{layer}/{scanned[2]}"), Stored(source, layer, split)


def _renamed(name: str) -> str:
    return name.replace("relative_posemb", "relpos_bias")  # the networks of t5x's two examples call it so


def _legacy(folder: pathlib.Path) -> Iterator[tuple[str, Any]]:
    """Yields the leaves of the legacy layout."""
    path = folder / "checkpoint"
    raw = path.read_bytes()
    if raw.startswith(b"model_checkpoint_path"):
        raise CheckpointError(
            f"{path} belongs to a checkpoint of TensorFlow (Mesh TensorFlow's T5), not of t5x.\n"
            f"Allowed: one that t5x wrote, or converted with its checkpoint_importer. {WHERE}"
        )
    try:
        tree = serialization.msgpack_restore(raw)
    except Exception as error:  # msgpack raises its own, ValueError and more, for whatever bytes it is given
        raise CheckpointError(f"{path} is cut off or broken ({type(error).__name__}).\nCopy it again.") from error
    version = tree.get("version", 0) if isinstance(tree, dict) else None
    if not isinstance(version, int) or version < OLDEST or "optimizer" not in tree:
        raise CheckpointError(
            f"{path} has version {version} of t5x's layout.\nAllowed: {OLDEST} to {VERSION}, with a tree below "
            f"'optimizer'. Restore and save it again with t5x. {WHERE}"
        )
    for name, leaf in _leaves(tree["optimizer"].get(TARGET, {})):
        yield name, _opened_legacy(folder, name, leaf)


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the leaves of a nested dict; what says where an array lies is one of them."""
    if not isinstance(tree, dict) or "driver" in tree:
        yield path, tree
        return
    for name, part in tree.items():
        yield from _leaves(part, f"{path}/{name}" if path else name)


def _opened_legacy(folder: pathlib.Path, name: str, leaf: Any) -> Any:
    if not isinstance(leaf, dict):
        return np.asarray(leaf)
    # The driver and the bucket are those of where it was written; the oldest files have the path on top.
    written = leaf.get("kvstore", leaf).get("path", "")
    home = folder / pathlib.PurePosixPath(written.rstrip("/")).name
    wanted = leaf.get("metadata", {}).get("shape")
    return _opened(_files(home), f"{name} in {home}", tuple(wanted) if wanted else None)


def _orbax(folder: pathlib.Path) -> Iterator[tuple[str, Any]]:
    """Yields the leaves of Orbax's layout."""
    state = folder / "state" if (folder / "state").is_dir() else folder
    if (state / "manifest.ocdbt").is_file():
        store = {"driver": "ocdbt", "base": f"file://{state.absolute()}/"}
    elif state != folder or (state / "_METADATA").is_file():
        store = {"driver": "file", "path": f"{state.absolute()}/"}
    else:
        inside = sorted(path.name for path in folder.iterdir())[:8] if folder.is_dir() else []
        raise CheckpointError(
            f"{folder} is no checkpoint of t5x: it has neither a file 'checkpoint' nor a folder 'state' with arrays.\n"
            f"Found: {' '.join(inside) or 'nothing'}. Allowed: a folder checkpoint_<step>. {WHERE}"
        )
    keys = [key.decode() for key in tensorstore.KvStore.open(store).result().list().result()]
    for key in keys:
        leaf, _, last = key.rpartition("/")
        if last in (".zarray", "zarr.json") and leaf.split(".")[0] == TARGET:
            place = f"{leaf} in {state}"
            inside = store | {"path": f"{store.get('path', '')}{leaf}/"}
            yield leaf.partition(".")[2].replace(".", "/"), _opened(inside, place, driver=_DRIVERS[last])


_DRIVERS = {".zarray": "zarr", "zarr.json": "zarr3"}


def _files(home: pathlib.Path) -> dict[str, str]:
    return {"driver": "file", "path": f"{home.absolute()}/"}


def _opened(store: dict[str, str], place: str, shape: tuple[int, ...] | None = None, driver: str = "zarr") -> Any:
    """Returns an array opened by tensorstore. Raises CheckpointError if it is missing or not whole."""
    try:
        array = tensorstore.open({"driver": driver, "kvstore": store}, open=True, read=True).result()
    except ValueError as error:  # what tensorstore raises for whatever it cannot open
        raise CheckpointError(f"Array {place} is missing or cannot be read.\nCopy the checkpoint again.") from error
    if shape is not None and array.shape != shape:
        raise CheckpointError(
            f"Array {place} has shape {array.shape}, the tree says {shape}.\n"
            "It is of another checkpoint. Copy all of it again from one place."
        )
    if driver == "zarr" and array.fill_value is None:  # then every chunk is written; a lost one would read as zeros
        keys = tensorstore.KvStore.open(store).result().list().result()
        held = sum(not key.endswith(b".zarray") for key in keys)
        chunks: Any = array.chunk_layout.read_chunk.shape
        size = math.prod(-(-size // chunk) for size, chunk in zip(array.shape, chunks, strict=True))
        if held < size:
            raise CheckpointError(f"Array {place} has {held} of {size} chunks.\nCopy the checkpoint again.")
    return array


def row_of(stored: Mapping[str, Stored]) -> Model:
    """Returns the row of a checkpoint, from names and shapes alone: t5x writes no configuration.

    Raises CheckpointError if it is not mT5's or umT5's architecture.
    """
    needed = ("encoder/layers_0/mlp/wi_0/kernel", "decoder/layers_0/mlp/wi_0/kernel", "decoder/logits_dense/kernel")
    missing = [name for name in needed if name not in stored]
    if missing:
        raise CheckpointError(
            f"The checkpoint has no {missing[0]}: it is not of mT5 or umT5.\n"
            "Allowed: T5 version 1.1, with gated feed-forward layers and an output matrix of its own (T5 1.0 and plain "
            f"encoders are not modelled). {WHERE}"
        )

    def layers(stack: str) -> int:
        return len({name.split("/")[1] for name in stored if name.startswith(f"{stack}/layers_")})

    per_layer = "encoder/layers_0/relpos_bias/rel_embedding" in stored
    heads, buckets = stored[f"encoder/{'layers_0/' if per_layer else ''}relpos_bias/rel_embedding"].shape
    vocab, width = stored["token_embedder/embedding"].shape
    return Model(
        name="",
        family="seq2seq",
        layers=layers("encoder"),
        decoder_layers=layers("decoder"),
        width=width,
        heads=heads,
        head_width=stored["encoder/layers_0/attention/query/kernel"].shape[1] // heads,
        mlp=stored[needed[0]].shape[1],
        vocab=vocab,
        relative="layer" if per_layer else "shared",
        buckets=buckets,
        positions=PRETRAINED_LENGTH,
        multiple=MULTIPLE,
        pad=0,
        eps=1e-6,
        gelu="tanh",
    )


_ATTENTION = "{0}query=query {0}key=key {0}value=value {1}out=out"
_ENCODER = {
    "attention_norm": "pre_attention_layer_norm",
    "attention": ("attention", _ATTENTION.format("", "attention_")),
    "mlp_norm": "pre_mlp_layer_norm",
    "mlp": ("mlp", "mlp_gate=wi_0 mlp_in=wi_1 mlp_out=wo"),
}
_DECODER = _ENCODER | {
    "attention_norm": "pre_self_attention_layer_norm",
    "attention": ("self_attention", _ATTENTION.format("", "attention_")),
    "memory_norm": "pre_cross_attention_layer_norm",
    "memory": ("encoder_decoder_attention", _ATTENTION.format("memory_", "memory_")),
}


def tensors(config: Seq2SeqConfig, heads: tuple[HeadSpec, ...] = ()) -> tuple[Tensor, ...]:
    """Returns the rows of a model under t5x's names; see `mt5.tensors`."""
    rows = [
        Tensor("body/word/embedding", "token_embedder/embedding", rows=True),
        Tensor("body/output/kernel", "decoder/logits_dense/kernel", turned=True, rows=True),
    ]
    for stack, parts in (("encoder", _ENCODER), ("decoder", _DECODER)):
        rows.append(Tensor(f"body/{stack}/norm/scale", f"{stack}/{stack}_norm/scale"))
        own, there = ("layers/", "layers_{}/") if config.relative == "layer" else ("", "")
        table = f"{stack}/{there}relpos_bias/rel_embedding"
        rows.append(Tensor(f"body/{stack}/{own}relative/table", table, turned=True))
        for ours, theirs in parts.items():
            if isinstance(theirs, str):
                rows.append(Tensor(f"body/{stack}/layers/{ours}/scale", f"{stack}/layers_{{}}/{theirs}/scale"))
                continue
            module, names = theirs
            for pair in names.split():
                name, part = pair.split("=")
                split = 2 if part == "out" else 1
                there = f"{stack}/layers_{{}}/{module}/{part}/kernel"
                rows.append(Tensor(f"body/{stack}/layers/{name}/kernel", there, split=split))
    return tuple(rows)


def arrays_there(tensor: Tensor, shape: tuple[int, ...], row: Model) -> list[tuple[str, tuple[int, ...]]]:
    """Returns (name, shape) of what t5x's network has of a leaf of ours: one for each layer of mT5, one of umT5.

    Args:
      tensor: the row of the leaf.
      shape: here.
      row: of the model.
    """
    layered = "{}" in tensor.theirs
    apart = theirs_shape(tensor, shape[1:] if layered else shape, row.vocab)
    if not layered or row.relative == "shared":
        return [(name, apart) for name in names(tensor, shape[0])]
    (name,) = set(names(tensor, 1))
    stack = name.partition("/")[0]
    first, *others = _heads_apart(name, apart, row)
    return [(name.replace("layers_0", stack), (first, shape[0], *others))]


def _heads_apart(name: str, shape: tuple[int, ...], row: Model) -> tuple[int, ...]:
    """Returns the shape of a layer's array in the scanned network, whose kernels of attention have axes for heads."""
    if "attention/" not in name:
        return shape
    inner, (into, out) = (row.heads, row.head_width), shape
    return (*inner, out) if name.endswith("/out/kernel") else (into, *inner)


def arrays_of(tensor: Tensor, whole: np.ndarray, row: Model) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, array) of what t5x's network has of a leaf of ours; see `arrays_there`."""
    parts = list(whole) if "{}" in tensor.theirs else [whole]
    apart = [to_theirs(tensor, part, theirs_shape(tensor, part.shape, row.vocab)) for part in parts]
    there = arrays_there(tensor, whole.shape, row)
    if len(there) == len(apart):
        yield from ((name, part.reshape(shape)) for (name, shape), part in zip(there, apart, strict=True))
        return
    ((name, (first, _, *others)),) = there
    yield name, np.stack([part.reshape(first, *others) for part in apart], axis=1)


def write_legacy(folder: pathlib.Path, step: int, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes parameters in the legacy layout, one array after another.

    t5x begins from it with a fresh optimiser: gin/runs/fresh_optimizer.gin.

    Args:
      folder: checkpoint_<step>, not there yet or empty.
      step: as what it is written.
      arrays: t5x's names, and the arrays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target: dict[str, Any] = {}
    for name, array in arrays:
        home = f"{TARGET}.{name.replace('/', '.')}"
        rows = max(1, CHUNK // (array.nbytes // array.shape[0] or 1))
        chunks = [min(rows, array.shape[0]), *array.shape[1:]]
        metadata = {"shape": list(array.shape), "chunks": chunks, "compressor": {"id": "gzip", "level": 1}}
        dtype = tensorstore.dtype(array.dtype).name
        spec = {"driver": "zarr", "dtype": dtype, "kvstore": _files(folder / home), "metadata": metadata}
        tensorstore.open(spec, create=True).result().write(array).result()
        *above, last = name.split("/")
        node = functools.reduce(lambda node, part: node.setdefault(part, {}), above, target)
        node[last] = spec | {"kvstore": {"driver": "file", "path": f"{home}/"}}
    tree = {"version": VERSION, "optimizer": {TARGET: target, "state": {"step": np.int32(step)}}}
    (folder / "checkpoint").write_bytes(serialization.msgpack_serialize(tree))
