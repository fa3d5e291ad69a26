"""The safetensors format, read and written as a stream: eight bytes, a JSON header, then the tensors' bytes.

Read here and not by the package of that name: its NumPy side has no bfloat16, it maps files into memory, so that what
was read counts as held, and a truncated file should say which one it is and how much of it is there. The layout is
the published one: little-endian, row-major, offsets from the end of the header.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping

import jax.numpy as jnp
import numpy as np

from xling_jax.errors import CheckpointError

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Of a tensor that holds nothing learned: known, so that it may be there, but never read.
BESIDE = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
LONGEST_HEADER = 100_000_000  # bytes, as the format allows
COPY_AGAIN = "Copy the file again from where it is published."


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a tensor lies: its file, dtype (a name of the format's), shape, and first byte."""

    path: pathlib.Path
    dtype: str
    shape: tuple[int, ...]
    begin: int

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Returns the tensor, or the rows [start, stop) of its first axis.

        Raises CheckpointError if its dtype is not of DTYPES.
        """
        if self.dtype not in DTYPES:
            raise CheckpointError(
                f"{self.path}: a tensor of shape {self.shape} has dtype {self.dtype}.\n"
                f"Allowed: {' '.join(DTYPES)}. Quantised weights have to be turned back into one of them first."
            )
        dtype = jnp.dtype(DTYPES[self.dtype])
        shape, skipped = self.shape, 0
        if stop is not None:
            shape = (stop - start, *self.shape[1:])
            skipped = start * math.prod(self.shape[1:])
        with open(self.path, "rb") as file:
            file.seek(self.begin + skipped * dtype.itemsize)
            # Read as bytes: NumPy reads from a file only what it has a format of its own for.
            raw = np.fromfile(file, np.uint8, math.prod(shape) * dtype.itemsize)
        return raw.view(dtype).reshape(shape)


def read_header(path: pathlib.Path) -> dict[str, Stored]:
    """Returns the tensors of a file by name. Raises CheckpointError if it is not whole."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        first = file.read(8)
        if first == b"version " or size < 8:
            raise CheckpointError(f"{path} has {size} bytes and no tensors: a pointer to a file, or cut.\n{COPY_AGAIN}")
        length = int.from_bytes(first, "little")
        if length > LONGEST_HEADER:
            raise CheckpointError(f"{path} does not begin like a safetensors file.\n{COPY_AGAIN}")
        text = file.read(length)
    if len(text) < length:
        raise CheckpointError(
            f"{path} is truncated: its header has {length:,} bytes, {len(text):,} are there.\n{COPY_AGAIN}"
        )
    try:
        rows = dict(json.loads(text))
        rows.pop("__metadata__", None)
        found = {name: _stored(path, 8 + length, name, row) for name, row in rows.items()}
        end = 8 + length + max((row["data_offsets"][1] for row in rows.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{path} has a header that is damaged ({error}).\n{COPY_AGAIN}") from error
    if size != end:
        what = "is truncated" if size < end else "is longer than its header says"
        raise CheckpointError(f"{path} {what}: {end:,} bytes were written, {size:,} are there.\n{COPY_AGAIN}")
    return found


def _stored(path: pathlib.Path, begin: int, name: str, row: Mapping) -> Stored:
    """Returns a row of a header; ValueError if it contradicts itself."""
    first, last = row["data_offsets"]
    stored = Stored(path, row["dtype"], tuple(int(axis) for axis in row["shape"]), begin + int(first))
    width = BESIDE.get(stored.dtype) or (jnp.dtype(DTYPES[stored.dtype]).itemsize if stored.dtype in DTYPES else None)
    if last < first or first < 0 or (width and math.prod(stored.shape) * width != last - first):
        raise ValueError(f"{name}: {last - first} bytes for {stored.dtype} of shape {stored.shape}")
    return stored


@dataclasses.dataclass(frozen=True)
class Planned:
    """A tensor to be written: its name, dtype (NumPy's name) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * jnp.dtype(self.dtype).itemsize


def write_file(path: pathlib.Path, planned: Iterable[Planned], arrays: Iterator[np.ndarray]) -> None:
    """Writes tensors, one array after another in the order that is planned; no more than one is held."""
    codes = {ours: theirs for theirs, ours in DTYPES.items()}
    planned, begin, header = list(planned), 0, {}
    for tensor in planned:
        spot = [begin, begin + tensor.bytes]
        header[tensor.name] = {"dtype": codes[tensor.dtype], "shape": tensor.shape, "data_offsets": spot}
        begin = spot[1]
    text = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor, array in zip(planned, arrays, strict=False):
            assert (tensor.dtype, tensor.shape) == (str(array.dtype), array.shape), f"{tensor} is written as another"
            file.write(np.ascontiguousarray(array).view(np.uint8).data)
