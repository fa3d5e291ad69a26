"""Checkpoints and prepared cells on a bucket: Orbax's and TensorStore's own writing, and ours around it."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stand_in import BUCKET, Refused

from xling_jax import disk, world
from xling_jax.data.prepare import Records, is_prepared, place, prepare
from xling_jax.data.tokenizers import FAMILIES, PieceTokenizer, load_tokenizer, train_vocabulary
from xling_jax.errors import BucketError, ConfigError, DamagedError
from xling_jax.experiment import Part
from xling_jax.tables.tasks import parse_cells
from xling_jax.train.checkpoint import COMMIT, Checkpoints, save_alone, sweep, whole_steps

# Orbax leaves its other reads unawaited where one of them fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def make(step: int) -> dict:
    drawn = np.random.default_rng(step).standard_normal((64, 64))  # 16 KB: what is smaller is put into the index
    return {"params": {"kernel": jnp.asarray(drawn, jnp.float32)}, "step": jnp.int32(step)}


def shapes(state: dict) -> dict:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def save(folder: pathlib.Path, *steps: int) -> None:
    checkpoints = Checkpoints(folder, keep=1)
    for step in steps:
        checkpoints.save(step, make(step), [(step, 0.5)])
    checkpoints.close()


def read(folder: pathlib.Path, step: int) -> dict:
    checkpoints = Checkpoints(folder, keep=None, create=False)
    try:
        return checkpoints.restore(step, shapes(make(step)))
    finally:
        checkpoints.close()


def test_what_is_saved_is_read(shelf):
    save(shelf / "checkpoints", 1, 2)
    assert whole_steps(shelf / "checkpoints") == [2], "the one before is removed"
    jax.tree.map(np.testing.assert_array_equal, read(shelf / "checkpoints", 2), make(2))


def test_a_save_that_was_ended_is_not_seen_and_swept(shelf):
    """Its folder has its name from the beginning, and not the file that is written last."""
    folder = shelf / "checkpoints"
    save(folder, 1)
    for path in (folder / "1").glob("*"):
        if path.is_file() and path.name != COMMIT:
            disk.write_bytes(folder / "2" / path.name, path.read_bytes())
    disk.write_text(folder / "2" / "params" / "d" / "x", "half")
    assert whole_steps(folder) == [1]
    looking = Checkpoints(folder, create=False)
    assert looking.latest() == 1 and looking.steps() == [1]
    looking.close()
    sweep(folder)
    assert not (folder / "2").exists() and whole_steps(folder) == [1]


@pytest.mark.slow
def test_a_flipped_byte_is_damage(shelf, stand_in):
    save(shelf / "checkpoints", 1)
    params = str(shelf / "checkpoints" / "1" / "params").removeprefix(f"gs://{BUCKET}/")
    key = max(stand_in.keys(f"{params}/"), key=lambda key: len(stand_in.read(key)))
    content = bytearray(stand_in.read(key))
    content[len(content) // 2] ^= 1
    stand_in.put(BUCKET, key, bytes(content), {})
    with pytest.raises(DamagedError, match="step 1 is damaged") as error:
        read(shelf / "checkpoints", 1)
    assert not error.value.is_other()
    save_alone(shelf / "checkpoints", 1, make(1)["params"])
    assert error.value.is_other(), "another one lies there by now"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["meta", "params"])
def test_a_bucket_that_refuses_is_no_damage(shelf, stand_in, part):
    """Or a good checkpoint would be set aside."""
    save(shelf / "checkpoints", 1)

    def refuse(method, what, name):
        if what == "read" and f"/1/{part}/" in name:
            raise Refused(403, "no")

    stand_in.refuse = refuse
    with pytest.raises((ConfigError, BucketError), match="The bucket refuses"):
        read(shelf / "checkpoints", 1)


@pytest.fixture(scope="module")
def tokenizer():
    return PieceTokenizer(world.pieces())


def part() -> Part:
    return Part(*parse_cells("world_pos.dev.qen"), 0, 20, 12)


def bytes_of(prepared) -> list[bytes]:
    return Records(prepared).bytes(list(range(prepared.features)))


def test_a_cell_is_prepared_once_and_copied_to_other_machines(shelf, stand_in, tokenizer, tmp_path, monkeypatch):
    root = shelf / "prepared"
    assert not is_prepared(part(), tokenizer, root, None)
    made = prepare(part(), tokenizer, root)
    assert made.path.is_relative_to(disk.CACHE) and is_prepared(part(), tokenizer, root, None)
    monkeypatch.setattr(disk, "CACHE", tmp_path / "another machine")
    monkeypatch.setattr("xling_jax.data.prepare.raw_examples", lambda *_: pytest.fail("it is made again"))
    stand_in.requests.clear()
    copied = prepare(part(), tokenizer, root)
    assert copied.path.is_relative_to(tmp_path / "another machine") and bytes_of(copied) == bytes_of(made)
    assert copied.raw() == made.raw()
    assert not [what for _, what, _ in stand_in.requests if what == "write"]
    assert [path.name for path in disk.here(root).iterdir()] == [made.path.name], "no draft is left"


@pytest.mark.parametrize("family", ["mt5", "qwen"])
def test_a_vocabulary_is_trained_to_and_read_from_a_bucket(shelf, tmp_path, family):
    texts = [f"{word} {other}" for word in ("one", "two", "three") for other in ("four", "five", "six")] * 20
    size = {"mt5": 275, "qwen": 270}[family]
    places = [folder / f"v{FAMILIES[family].suffix}" for folder in (tmp_path, shelf)]
    for place_ in places:
        train_vocabulary(family, texts, size, place_)
    here, there = (load_tokenizer(str(place_), family) for place_ in places)
    assert here.fingerprint == there.fingerprint and there.size >= size


@pytest.mark.slow
def test_what_was_not_sent_whole_is_sent_again(shelf, stand_in, tokenizer, tmp_path, monkeypatch):
    """The file that is sent last says that all is there."""
    root = shelf / "prepared"
    sent = []

    def refuse(method, what, name):
        if what == "write":
            sent.append(name)
            if len(sent) == 3:
                raise Refused(403, "no")

    stand_in.refuse = refuse
    with pytest.raises(OSError, match="no"):
        prepare(part(), tokenizer, root)
    assert place(part(), tokenizer, root, None).exists() and not is_prepared(part(), tokenizer, root, None)
    stand_in.refuse = lambda *_: None
    made = prepare(part(), tokenizer, root)
    assert is_prepared(part(), tokenizer, root, None)
    monkeypatch.setattr(disk, "CACHE", tmp_path / "another machine")
    assert bytes_of(prepare(part(), tokenizer, root)) == bytes_of(made)
