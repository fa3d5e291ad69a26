"""Scalars for TensorBoard, in its own file format and without its libraries.

A file is a run of records: length (8 bytes), masked CRC-32C of these, an Event in protobuf's encoding, masked CRC-32C
of it; little-endian. Of an Event four fields are written: wall_time, step, file_version, and a summary with a tag and
a number for each scalar; and of the first one in a file that goes on with a curve the session_log by which TensorBoard
forgets what it had read of later steps (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).
Libraries that write this are TensorFlow, PyTorch, or one more dependency for what fits on this page.
"""

import os
import pathlib
import socket
import struct
import time
from collections.abc import Iterator, Mapping

from xling_jax.disk import cut, growing, writing

TENSORBOARD = "tensorboard"
NAME = "events.out.tfevents"
VERSION = b"brain.Event:2"
POLYNOMIAL = 0x82F63B78  # Castagnoli's, bits reversed
MASK = 0xA282EAD8
DOUBLE, VARINT, BYTES, FLOAT = 1, 0, 2, 5  # protobuf's wire types


def _entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value


_TABLE = tuple(_entry(value) for value in range(256))


def masked_crc(data: bytes) -> int:
    """Returns the CRC-32C of some bytes as records have it: rotated, and with a constant added."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, kind: int, payload: bytes) -> bytes:
    size = _varint(len(payload)) if kind == BYTES else b""
    return _varint(number << 3 | kind) + size + payload


def _event(wall_time: float, step: int, more: bytes) -> bytes:
    return _field(1, DOUBLE, struct.pack("<d", wall_time)) + _field(2, VARINT, _varint(step)) + more


def scalars(wall_time: float, step: int, values: Mapping[str, float]) -> bytes:
    """Returns an Event with a number for each tag."""
    each = (
        _field(1, BYTES, tag.encode()) + _field(2, FLOAT, struct.pack("<f", value)) for tag, value in values.items()
    )
    return _event(wall_time, step, _field(5, BYTES, b"".join(_field(1, BYTES, value) for value in each)))


def record(event: bytes) -> bytes:
    """Returns an Event as a record of a file."""
    size = struct.pack("<Q", len(event))
    return size + struct.pack("<I", masked_crc(size)) + event + struct.pack("<I", masked_crc(event))


def read_records(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Yields (where it begins, Event) of the records of a file, up to the first that is not whole."""
    data, at = path.read_bytes(), 0
    while at + 16 <= len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        event = data[at + 12 : at + 12 + size]
        if len(data) < at + 16 + size or data[at : at + 16 + size] != record(event):
            return
        yield at, event
        at += 16 + size


def step_of(event: bytes) -> int:
    """Returns the step of an Event that this module wrote."""
    step, at = 0, 10  # behind the wall time: a byte of field and type, eight of number, and field and type of the step
    for place, byte in enumerate(event[at:]):
        step |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    return step


class EventFile:
    """Writes the scalars of a training that begins or goes on at a step."""

    def __init__(self, folder: pathlib.Path, start: int):
        """Opens a new file; from those that are there, records of later steps are removed, as they come again.

        Of a training that begins everything comes again, what it begins with (step 0) too.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"{NAME}.*"):
            _forget(path, start) if start else path.unlink()
        now = time.time()
        name = f"{NAME}.{now:.6f}.{socket.gethostname()}.{os.getpid()}"  # the order of names is that of files
        self._path = folder / name
        self._file = growing(self._path)
        self._append(_event(now, 0, _field(3, BYTES, VERSION)))
        if start:  # whoever has the old files open forgets the later steps, too
            self._append(_event(now, start + 1, _field(7, BYTES, _field(1, VARINT, _varint(1)))))

    def _append(self, event: bytes) -> None:
        with writing(self._path):
            self._file.write(record(event))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a step."""
        self._append(scalars(time.time(), step, values))

    def keep(self) -> None:
        """Makes sure that what was written is not lost with this process."""
        self._file.keep()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _forget(path: pathlib.Path, start: int) -> None:
    """Cuts a file off at its first record of a later step than `start`, or that is not whole."""
    end = 0
    for at, event in read_records(path):
        if step_of(event) > start:
            break
        end = at + 16 + len(event)
    cut(path, end)
