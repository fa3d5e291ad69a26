"""Programs compiled for TPUs that are not here. Needs libtpu (the extra tpu-aot), and skips without it."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from xling_jax.partitioning.mesh import build_mesh
from xling_jax.planner.compiled import OUT_OF_MEMORY
from xling_jax.planner.environment import prepare_environment
from xling_jax.planner.topology import compiler, devices_of
from xling_jax.tables.meshes import MESHES, mesh
from xling_jax.tables.slices import CHIPS, GIB, SLICES, of_generation, slice_of

pytestmark = pytest.mark.skipif(not compiler("tpu"), reason="libtpu is not installed: pip install 'xling_jax[tpu-aot]'")
TPUS = [name for name, chip in CHIPS.items() if chip.platform == "tpu"]
MINUTES = 1500  # a compilation takes a minute or two on two idle cores, and many on busy ones


def plan(tmp_path, *flags):
    """Returns what `xling plan` prints as JSON, of each slice."""
    command = [sys.executable, "-m", "xling_jax", "plan", "--json", "--effort=fast", f"--cache={tmp_path}", *flags]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=MINUTES)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module", autouse=True)
def quiet():
    prepare_environment()


@pytest.mark.slow
def test_the_compiler_knows_every_slice():
    for where in SLICES.values():
        if where.chip.platform == "tpu":
            devices = devices_of(where)
            assert len(devices) == where.chips, where.name
            hosts = len({device.process_index for device in devices})
            # Eight chips of a v5e or v6e are one machine, where the compiler thinks of machines of four.
            assert hosts == where.hosts or where.chips == where.chip.alone, where.name


@pytest.mark.slow
def test_a_mesh_that_cuts_an_axis_of_the_network():
    """A v4 of 4 x 8 x 8 chips has no axes of 64 and 4 but by dividing one; JAX's own mesh refuses."""
    made = build_mesh(mesh("1x128x2"), devices_of(slice_of("v4-512")))
    assert dict(made.shape) == {"data": 1, "fsdp": 128, "tensor": 2} and made.devices.size == 256


@pytest.mark.slow
@pytest.mark.parametrize("chip", TPUS)
def test_the_memory_of_a_chip_is_what_the_compiler_says(chip):
    where = next(where for where in of_generation(chip) if where.chips == 4)
    whole = NamedSharding(build_mesh(MESHES["fsdp"], devices_of(where)), PartitionSpec())
    large = jax.ShapeDtypeStruct((300 * 2**18, 1024), np.float32, sharding=whole)  # 300 GiB
    with pytest.raises(jax.errors.JaxRuntimeError) as error:
        jax.jit(lambda x: jax.numpy.sin(x).T @ jax.numpy.cos(x)).lower(large).compile()
    found = OUT_OF_MEMORY.search(str(error.value))
    assert found is not None and float(found.group(3)) == where.chip.memory / GIB and found.group(4) == "G"


@pytest.mark.timeout(MINUTES)
def test_a_small_step_on_a_v5e(tmp_path):
    """The quick one: a stage of the quickstart, a few seconds of compiling."""
    flags = ("--config=configs/quickstart.py:test", "--config.strategy=fsdp", "--config.mesh=1x4x1")
    (found,) = plan(tmp_path, *flags, "--topology=v5e-4", "--stage=targets.pos")
    assert found["method"] == "compiled" and found["fits"] and found["hbm_per_chip_bytes"] == int(15.75 * 2**30)
    assert 0 < found["peak_bytes_per_chip"] < 2**30 and found["collectives"]


@pytest.mark.slow
@pytest.mark.timeout(MINUTES)
def test_xxl_with_adamw_fits_64_chips_and_not_8(tmp_path):
    divided = ("--config.strategy=fsdp", "--config.mesh=fsdp", "--config.remat=full")
    flags = ("--config=configs/pods.py:xlmr_xxl", "--stage=targets.xnli", *divided)
    fits, not_fits = plan(tmp_path, *flags, "--topology=v5e-64,v5e-8")
    assert fits["fits"] and fits["max_length"] == 256 and fits["method"] == "compiled"
    # 10.7 billion parameters with two moments in float32, divided by 64
    assert fits["parameter_bytes_per_chip"] == pytest.approx(10.7e9 * 4 / 64, rel=0.02)
    assert 6 * 10.3e9 * 128 * 256 < fits["flops_per_step"] < 9 * 10.7e9 * 128 * 256, "6 N and what is computed again"
    assert not not_fits["fits"] and not_fits["peak_bytes_per_chip"] > not_fits["hbm_per_chip_bytes"]
    assert not_fits["step_seconds_roofline"] is None and not_fits["chip_hours"] is None


@pytest.mark.slow
@pytest.mark.timeout(MINUTES)
@pytest.mark.parametrize("model", ["xlmr_xl", "mt5_xl", "llama2_7b"])
def test_an_estimate_is_within_a_factor_of_two(model, tmp_path):
    flags = (f"--config=configs/pods.py:{model}", "--stage=targets.xnli", "--topology=v5e-64")
    (compiled,), (estimated,) = plan(tmp_path, *flags), plan(tmp_path, *flags, "--compile=none")
    assert (compiled["method"], estimated["method"]) == ("compiled", "estimated")
    assert compiled["flops_per_step"] == estimated["flops_per_step"]
    assert 0.5 < estimated["peak_bytes_per_chip"] / compiled["peak_bytes_per_chip"] < 2
