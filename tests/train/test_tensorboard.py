"""TensorBoard's files: bytes by hand, numbers read back, a training that was killed and goes on."""

import struct

import pytest

from xling_jax.train.tensorboard import EventFile, masked_crc, read_records, record, scalars, step_of


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"\x00" * 32, 0x8A9136AA),  # RFC 3720, B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_published_checksums(data, crc):
    assert masked_crc(data) == ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32


def test_an_event_by_hand():
    event = scalars(1.5, 300, {"a": 0.25})
    assert (
        event == b"\x09" + struct.pack("<d", 1.5) + b"\x10\xac\x02" + b"\x2a\x0a\x0a\x08\x0a\x01a\x15\x00\x00\x80\x3e"
    )
    assert record(event)[:8] == struct.pack("<Q", len(event))


@pytest.mark.parametrize("step", [0, 1, 127, 128, 300, 10**9])
def test_steps_are_read_back(step):
    assert step_of(scalars(1e9, step, {"a": 1.0})) == step


def values_of(folder):
    """Returns (step, {tag: value}) of all files of a folder, in order, read by code that has nothing of the writer."""
    found = []
    for path in sorted(folder.iterdir()):
        for _, event in read_records(path):
            fields = dict(message(event))
            values = [dict(message(value)) for number, value in message(fields.get(5, b"")) if number == 1]
            found.append((fields.get(2), {value[1].decode(): struct.unpack("<f", value[2])[0] for value in values}))
    return [(step, values) for step, values in found if values]


def message(data):
    """Yields (number, payload) of the fields of a protobuf message."""
    while data:
        tag, data = varint(data)
        if tag & 7 == 0:
            value, data = varint(data)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, data = varint(data)
            value, data = data[:size], data[size:]
        yield tag >> 3, value


def varint(data):
    value = 0
    for place, byte in enumerate(data):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, data[place + 1 :]
    raise AssertionError("a number without an end")


def write(folder, start, steps):
    events = EventFile(folder, start)
    for step in steps:
        events.write(step, {"train/loss": step / 2, "time/step": 0.125})
    events.close()


def test_what_is_written_is_read(tmp_path):
    write(tmp_path / "stage", 0, (10, 20))
    assert values_of(tmp_path / "stage") == [(step, {"train/loss": step / 2, "time/step": 0.125}) for step in (10, 20)]
    (path,) = (tmp_path / "stage").iterdir()
    first = next(event for _, event in read_records(path))
    assert dict(message(first))[3] == b"brain.Event:2"


@pytest.mark.parametrize("torn", [0, 1, 11, 40])
@pytest.mark.parametrize("start", [0, 20, 25, 40])
def test_a_curve_goes_on_without_doubles(tmp_path, start, torn):
    write(tmp_path, 0, (10, 20))
    write(tmp_path, 20, (30, 40))
    last = max(tmp_path.iterdir())
    last.write_bytes(last.read_bytes()[: -torn or None])  # the record that was being written when it was killed
    write(tmp_path, start, (50, 60))
    kept = [step for step in ((10, 20, 30, 40) if not torn else (10, 20, 30)) if step <= start]
    assert [step for step, _ in values_of(tmp_path)] == [*kept, 50, 60]
    starts = [dict(message(event)) for _, event in read_records(max(tmp_path.iterdir()))]
    sessions = [fields for fields in starts if 7 in fields]
    assert [fields[2] for fields in sessions] == ([start + 1] if start else []), "what TensorBoard is to forget"


def test_damage_ends_the_reading(tmp_path):
    write(tmp_path, 0, (10, 20, 30))
    (path,) = tmp_path.iterdir()
    places = [at for at, _ in read_records(path)]
    data = bytearray(path.read_bytes())
    data[places[2] + 20] ^= 1
    path.write_bytes(data)
    assert [step for step, _ in values_of(tmp_path)] == [10]


def test_tensorboard_reads_it(tmp_path):
    """With its own package, where that is installed: the curve of a training that was killed once."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path, 0, (10, 20, 30))
    write(tmp_path, 20, (30, 40))
    found = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert found.Tags()["scalars"] == ["train/loss", "time/step"]
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [
        (10, 5.0),
        (20, 10.0),
        (30, 15.0),
        (40, 20.0),
    ]
