"""A checkpoint of parameters that are never all in memory: each leaf is read, converted and written in pieces.

It has the layout and the fingerprint of `checkpoint.py`, so that what reads a stage's checkpoint reads this one.
"""

import asyncio
import dataclasses
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from xling_jax.train.checkpoint import CHUNK, META, PARAMS, paths
from xling_jax.train.checksums import checksum

SMALL = 1 << 20  # bytes of a layer, up to which several may stand in one chunk


@dataclasses.dataclass
class Stream:
    """A leaf that is written piece by piece.

    `read(start, stop)` returns rows of its first axis, in its dtype. `rows` is how many it is best asked for at a time,
    at least; all at once where it has no axis.
    """

    shape: tuple[int, ...]
    dtype: Any
    read: Callable[[int, int], np.ndarray]
    rows: int
    checksum: int = 0  # of what has been written

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * jnp.dtype(self.dtype).itemsize

    def __deepcopy__(self, memo: dict) -> "Stream":
        return self  # Orbax copies what it is given, lest it change meanwhile

    def pieces(self, multiple: int):
        """Yields (start, stop, piece) in order; all but the last have a multiple of so many rows."""
        if not self.shape:
            yield 0, 1, self.read(0, 1)
            return
        step = -(-self.rows // multiple) * multiple
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            yield start, stop, self.read(start, stop)


class _StreamHandler(ocp.type_handlers.NumpyHandler):
    """Writes streams one after another. They are recorded as what they are read back as.

    `error` is what ended the writing: Orbax wraps some errors and not others.
    """

    def __init__(self, tell: Callable[[int], None]):
        super().__init__()
        self._tell = tell
        self._one_at_a_time = asyncio.Lock()
        self.error: BaseException | None = None

    def typestr(self) -> str:
        return "jax.Array"

    async def _open_and_write(self, value: Any, tspec: dict, ts_context: Any) -> None:
        async with self._one_at_a_time:
            if self.error is not None:
                return
            try:
                spec = tensorstore.Spec(tspec)
                await self._write(value, await tensorstore.open(spec, create=True, open=True, context=ts_context))
            except BaseException as error:
                self.error = error
                raise

    async def _write(self, value: Stream, array: tensorstore.TensorStore) -> None:
        chunk: Any = array.chunk_layout.write_chunk.shape
        for start, stop, piece in value.pieces(chunk[0] if chunk else 1):
            assert piece.dtype == value.dtype and piece.shape[1:] == value.shape[1:], "a piece of another leaf"
            first = start * math.prod(value.shape[1:])
            value.checksum = (value.checksum + checksum(piece, first)) % 2**32
            await (array[start:stop] if value.shape else array).write(piece)
            self._tell(piece.nbytes)


def _chunks(stream: Stream) -> ocp.SaveArgs:
    """Returns how an array is cut. Orbax halves the longest axis: said nothing else, every chunk has all layers."""
    apart = stream.shape and stream.rows == 1 and stream.nbytes // stream.shape[0] > SMALL
    return ocp.SaveArgs(chunk_byte_size=CHUNK, shard_axes=(0,) if apart else ())


def save_streams(
    folder: pathlib.Path, step: int, tree: Any, tell: Callable[[int], None] = lambda written: None
) -> None:
    """Writes parameters as step `step` of a folder of checkpoints.

    No more than a piece of a leaf is held at a time. A call that does not return leaves files behind that no
    `Checkpoints` may be opened on: write to a folder that is thrown away then.

    Args:
      folder: of the checkpoints.
      step: under which they are saved.
      tree: nested dict of `Stream`.
      tell: gets the number of bytes after each piece. What it raises ends the writing, and comes out here.
    """
    streams = paths(tree)
    home = folder.absolute() / str(step)
    home.mkdir(parents=True)
    handler = _StreamHandler(tell)
    handlers = ocp.type_handlers.create_type_handler_registry((Stream, handler))
    arguments = ocp.args.PyTreeSave(tree, save_args=jax.tree.map(_chunks, tree))
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(type_handler_registry=handlers)) as checkpointer:
            checkpointer.save(home / PARAMS, args=arguments)
    except BaseException as error:
        raise handler.error or error from None
    shapes = {path: [list(stream.shape), str(jnp.dtype(stream.dtype))] for path, stream in streams.items()}
    sums = {path: stream.checksum for path, stream in streams.items()}
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        checkpointer.save(home / META, args=ocp.args.JsonSave({PARAMS: {"shapes": shapes, "checksums": sums}}))
