"""What writes large files says which one has no room, whenever that comes out, and leaves what was there.

A limit on the size of files stands for the disk: the system refuses to write in the same place.
"""

import contextlib
import json
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import LIMIT, ROOT, environment

from xling_jax import world
from xling_jax.data.prepare import prepare
from xling_jax.data.tokenizers import PieceTokenizer
from xling_jax.disk import writing
from xling_jax.errors import DiskError
from xling_jax.experiment import Part
from xling_jax.ledger import Ledger
from xling_jax.tables.tasks import parse_cells
from xling_jax.train.checkpoint import Checkpoints, sweep
from xling_jax.train.sinks import file_sinks, open_sinks

# Orbax leaves its other writes unawaited where one of them fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SMALL = 4096  # bytes


@contextlib.contextmanager
def confined(size: int = SMALL):
    """No file of this process may be larger while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def state(seed: int) -> dict:
    kernel = np.random.default_rng(seed).standard_normal((64, 64)).astype(np.float32)  # 16 KB
    return {"params": {"kernel": jnp.asarray(kernel)}, "step": jnp.int32(seed)}


def abstract() -> dict:
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), state(0))


def save_and_close(checkpoints):
    checkpoints.save(2, state(2))
    checkpoints.close()


def save_and_save(checkpoints):
    try:
        checkpoints.save(2, state(2))
        checkpoints.save(3, state(3))
    finally:
        with contextlib.suppress(DiskError):  # it may be said again
            checkpoints.close()


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("write", [save_and_close, save_and_save])
def test_a_checkpoint(tmp_path, background, write):
    """Of a save in the background it comes out at the end of it, or with the next one; the one before is whole."""
    folder = tmp_path / "checkpoints"
    checkpoints = Checkpoints(folder, background=background)
    checkpoints.save(1, state(1))
    checkpoints.close()
    checkpoints = Checkpoints(folder, background=background)
    with confined(), pytest.raises(DiskError, match=rf"{folder} was not written: the disk is full to this process"):
        write(checkpoints)
    assert [path.name for path in folder.iterdir() if path.name.isdigit()] == ["1"]
    until = time.monotonic() + 10  # Orbax's other threads end a little after the one that failed
    while len(list(folder.iterdir())) > 1 and time.monotonic() < until:
        sweep(folder)
    assert [path.name for path in folder.iterdir()] == ["1"]
    checkpoints = Checkpoints(folder, background=background)
    jax.tree.map(np.testing.assert_array_equal, checkpoints.restore(1, abstract()), state(1))
    save_and_close(checkpoints)
    assert [path.name for path in folder.iterdir()] == ["2"]


def test_a_prepared_cell(tmp_path):
    (cell,) = parse_cells("world_nli.train.qen")
    given = Part(cell, 0, 40, 48), PieceTokenizer(world.pieces()), tmp_path
    with confined(), pytest.raises(DiskError, match=rf"{tmp_path}/{cell}-\w+ was not written: the disk is full"):
        prepare(*given)
    assert not list(tmp_path.iterdir()), "no draft, and no cell"
    assert prepare(*given).examples == 40


def test_metrics(tmp_path):
    """The line that did not fit is dropped when training goes on; those before it stay."""
    folder, events = tmp_path / "stage", tmp_path / "tensorboard"
    folder.mkdir()

    def write(start, stop):
        with writing(folder / "metrics.jsonl"), open_sinks(file_sinks(folder, events, start)) as sinks:
            for step in range(start, stop):
                sinks.write(step + 1, {"train/xnli/loss": 1.0, "text": 0.0})

    with confined(), pytest.raises(DiskError, match=rf"({folder}/metrics.jsonl|{events}/events\S+) was not written"):
        write(0, 1000)
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")
    whole = len(lines) - 1
    write(whole - 3, whole + 3)
    found = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert found == list(range(1, whole + 4))


def test_the_ledger(tmp_path):
    path = tmp_path / "time.jsonl"
    with confined(), Ledger(path) as ledger, pytest.raises(DiskError, match=f"{path} was not written"):
        for number in range(1000):
            with ledger.event("save", f"stage{number}"):
                pass
    assert Ledger(path).session == 1, "the next one goes on behind what is there"


SAVES = """
import pathlib, resource, sys
import jax.numpy as jnp, numpy as np
from xling_jax.doors.run import quiet_libraries
from xling_jax.errors import DiskError
from xling_jax.train.checkpoint import Checkpoints

quiet_libraries()
draw = np.random.default_rng(0).standard_normal
params = {f"kernel{number}": jnp.asarray(draw((96, 96)), jnp.float32) for number in range(60)}
checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    checkpoints.save(1, {"params": params, "step": jnp.int32(1)})
    checkpoints.close()
except DiskError:
    print("told")
"""


@pytest.mark.slow
def test_many_writes_that_fail_are_told_once(tmp_path):
    """Orbax, asyncio and TensorStore each have a traceback to print for writes that end after the first that failed."""
    command = [sys.executable, "-c", SAVES, str(tmp_path / "checkpoints")]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True, timeout=LIMIT
    )
    assert (done.stdout, done.stderr) == ("told\n", "")
