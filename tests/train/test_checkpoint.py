"""Checkpoints: whole or refused, on any mesh."""

import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from xling_jax.errors import CheckpointError
from xling_jax.experiment import Optim
from xling_jax.partitioning.mesh import build_mesh
from xling_jax.tables.meshes import MESHES
from xling_jax.train.checkpoint import Checkpoints, paths
from xling_jax.train.optimizer import make_optimizer
from xling_jax.train.step import init_state

# Orbax leaves its other reads unawaited where one of them fails.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def make() -> dict:
    draw = np.random.default_rng(0).standard_normal
    # 16 KB: Orbax puts what is much smaller into the index.
    encoder = {"kernel": jnp.asarray(draw((64, 64)), jnp.float32), "bias": jnp.asarray(draw(8), jnp.float32)}
    params = {"encoder": encoder, "head_xnli": {"kernel": jnp.asarray(draw((8, 3)), jnp.float32)}}
    state = init_state(params, make_optimizer(Optim()))
    return state | {"step": jnp.int32(12)}


def on(mesh_name: str, tree, devices: int = 8):
    """Returns the shapes of a tree with shardings over a mesh: the first axis split where it can be."""
    mesh = build_mesh(MESHES[mesh_name], jax.devices()[-devices:])

    def place(leaf):
        spec = P("fsdp") if leaf.ndim and leaf.shape[0] % mesh.shape["fsdp"] == 0 else P()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(place, tree)


def placed(mesh_name: str) -> dict:
    state = make()
    return jax.tree.map(lambda leaf, there: jax.device_put(leaf, there.sharding), state, on(mesh_name, state))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> pathlib.Path:
    """A folder with one checkpoint, saved from eight devices. Not to be changed."""
    folder = tmp_path_factory.mktemp("stage") / "checkpoints"
    checkpoints = Checkpoints(folder)
    checkpoints.save(12, placed("data2_fsdp4"))
    checkpoints.close()
    return folder


@pytest.fixture
def copy(saved, tmp_path) -> pathlib.Path:
    """A checkpoint to damage."""
    return pathlib.Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def restore(folder, abstract=None, mesh="one"):
    checkpoints = Checkpoints(folder)
    try:
        step = checkpoints.latest()
        return checkpoints.restore(step, on(mesh, make()) if abstract is None else abstract)
    finally:
        checkpoints.close()


def assert_refused(folder, *texts, abstract=None):
    with pytest.raises(CheckpointError) as error:
        restore(folder, abstract)
    for text in (f"{folder}: step 12", *texts):
        assert text in str(error.value), f"{text!r} is not in:\n{error.value}"
    assert len(str(error.value)) < 700, "a dump is no message"


@pytest.mark.parametrize(
    ("mesh", "devices"),
    [("one", 1), ("fsdp", 2), ("any", 4), ("fsdp", 4), ("fsdp", 8), ("data2_fsdp4", 8), ("data2_fsdp2_tensor2", 8)],
)
def test_what_was_saved_comes_back_on_any_mesh(saved, mesh, devices):
    expected, abstract = make(), on(mesh, make(), devices)
    state = restore(saved, abstract)
    assert jax.tree.structure(state) == jax.tree.structure(expected), "tuples of the optimiser are tuples again"
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    for (path, leaf), promised in zip(paths(state).items(), jax.tree.leaves(abstract), strict=True):
        assert leaf.sharding.is_equivalent_to(promised.sharding, leaf.ndim), f"{path}: {leaf.sharding}"
        assert leaf.dtype == promised.dtype, path


def test_a_part_of_the_parameters_is_read_alone(saved):
    checkpoints = Checkpoints(saved)
    wanted = on("fsdp", {"encoder": make()["params"]["encoder"]})
    read = checkpoints.restore_params(12, wanted)
    checkpoints.close()
    assert set(read) == {"encoder"}
    jax.tree.map(np.testing.assert_array_equal, read, {"encoder": make()["params"]["encoder"]})


def test_a_leaf_the_checkpoint_lacks(saved):
    state = make()
    state["params"]["head_new"] = {"kernel": jnp.zeros((8, 2))}
    wanted = on("one", state)
    assert_refused(saved, "nothing at params/head_new/kernel", "[[8, 2], 'float32']", "Allowed: ", abstract=wanted)


def test_a_leaf_the_model_lacks(saved):
    state = make()
    del state["params"]["head_xnli"]
    wanted = on("one", state)
    assert_refused(saved, "params/head_xnli/kernel", "the model has nothing", "Allowed: ", abstract=wanted)


@pytest.mark.parametrize(
    ("change", "found"),
    [({"shape": (8, 7)}, "[[8, 7], 'float32']"), ({"dtype": jnp.bfloat16}, "[[8, 3], 'bfloat16']")],
)
def test_a_leaf_of_another_shape(saved, change, found):
    wanted = on("one", make())
    leaf = wanted["params"]["head_xnli"]["kernel"]
    how = {"shape": leaf.shape, "dtype": leaf.dtype, "sharding": leaf.sharding} | change
    wanted["params"]["head_xnli"]["kernel"] = jax.ShapeDtypeStruct(**how)
    assert_refused(saved, "[[8, 3], 'float32'] at params/head_xnli/kernel", f"has {found}", abstract=wanted)


def largest(folder: pathlib.Path) -> pathlib.Path:
    """Returns the largest file below a folder: of numbers in a process's own folder, or else of the index."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_every_flipped_byte_is_noticed_or_harmless(copy):
    """Flips one byte after another of the numbers' files: either it is refused, or what is read is right."""
    files = [path for path in (copy / "12" / "params").rglob("*") if path.parent.name == "d"]
    places = [(path, at) for path in files for at in range(path.stat().st_size)]
    assert len(places) > 15_000, f"{files} cannot hold the kernel"
    refused = 0
    for path, at in places[:: len(places) // 12]:
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            state = restore(copy)
        except CheckpointError as error:
            assert f"{copy}: step 12 is damaged" in str(error)
            refused += 1
        else:
            jax.tree.map(np.testing.assert_array_equal, state, make())
        path.write_bytes(whole)
    assert refused >= 6, "most of the files is numbers"


@pytest.mark.parametrize("kind", [jnp.array, np.array])
def test_a_flipped_number_is_found_by_its_checksum(copy, monkeypatch, kind):
    """Reads a tree whose files are whole and whose number is not, as a flipped byte without compression gives."""
    manager = Checkpoints(copy)
    real = manager._manager.restore

    def flipped(step, args):
        read = real(step, args=args)
        if "params" in read:
            kernel = np.array(read["params"]["encoder"]["kernel"])
            kernel[3, 4] += 1e-6
            read["params"]["encoder"]["kernel"] = kind(kernel)
        return read

    monkeypatch.setattr(manager._manager, "restore", flipped)
    with pytest.raises(CheckpointError) as error:
        if kind is jnp.array:
            manager.restore(12, on("one", make()))
        else:
            manager.restore_params(12, jax.tree.map(np.asarray, make()["params"]))
    manager.close()
    assert "step 12 is damaged (params/encoder/kernel does not have the checksum" in str(error.value)
    assert f"Delete {copy / '12'}" in str(error.value)


@pytest.mark.parametrize("part", ["params", "params/d", "train/d"])
@pytest.mark.parametrize("damage", ["truncate", "delete"])
def test_a_broken_data_file(copy, part, damage):
    path = largest(copy / "12" / part)
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_refused(copy, "is damaged", f"Delete {copy / '12'}")


@pytest.mark.parametrize("text", ['{"params": {"sha', "", None, "{}"])
def test_a_broken_fingerprint(copy, text):
    path = copy / "12" / "meta" / "metadata"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    assert_refused(copy, "is damaged", f"Delete {copy / '12'}")


def test_what_a_killed_save_left_is_not_a_checkpoint(copy):
    shutil.copytree(copy / "12", copy / "20.orbax-checkpoint-tmp")
    checkpoints = Checkpoints(copy)
    assert checkpoints.latest() == 12
    checkpoints.save(20, make())
    checkpoints.close()
    assert Checkpoints(copy).latest() == 20


def test_there_need_be_no_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new" / "checkpoints")
    assert checkpoints.latest() is None
    checkpoints.close()


def test_the_newest_are_kept_and_older_steps_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (1, 2, 3):
        checkpoints.save(step, make())
    checkpoints.close()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["2", "3"]


def test_a_saved_state_may_be_donated(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    state = placed("any")
    expected = jax.device_get(state)
    checkpoints.save(12, state)
    jax.tree.map(lambda leaf: leaf.delete(), state)
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, restore(tmp_path / "checkpoints"), expected)
