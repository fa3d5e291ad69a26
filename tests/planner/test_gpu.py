"""A program compiled for H100s that are not here. Needs JAX's CUDA plugin, which needs no GPU, and skips without it."""

import json
import subprocess
import sys

import pytest

from xling_jax.planner.topology import ADVICE, compiler

pytestmark = pytest.mark.skipif(not compiler("cuda"), reason=f"no compiler of GPUs is installed: {ADVICE['cuda']}")


@pytest.mark.timeout(900)  # seconds of compiling on idle cores, minutes on busy ones
def test_a_small_step_on_eight_h100s(tmp_path):
    flags = ("--config=configs/quickstart.py:test", "--config.strategy=fsdp", "--config.mesh=1x8x1", "--stage=pretrain")
    command = [sys.executable, "-m", "xling_jax", "plan", *flags, "--topology=h100-8", "--json", f"--cache={tmp_path}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    (found,) = (json.loads(line) for line in done.stdout.splitlines())
    assert found["method"] == "compiled" and found["fits"] and found["hbm_per_chip_bytes"] == 80e9
    assert 0 < found["peak_bytes_per_chip"] < 2**30
    assert found["collectives"].get("all-gather", 0) > 0, "parameters are divided, so they are gathered"
