"""Every test runs on eight simulated CPU devices, under strict rules. Set here, before anything imports JAX.

All of it goes through the environment: it holds for every supported JAX, for the programs that tests start, and costs
nothing where a test needs no JAX.
"""

import importlib.metadata
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEVICES = 8

assert "jax" not in sys.modules, "JAX was imported before tests/conftest.py could set its devices"

FLAGS = (
    f"--xla_force_host_platform_device_count={DEVICES}",
    "--xla_backend_optimization_level=0",  # of machine code alone: tests compile more than they run
    # A third less to compile. Said to the release that is locked alone: a flag that XLA does not know ends the process.
    *(("--xla_cpu_use_fusion_emitters=false",) if importlib.metadata.version("jax").startswith("0.10.") else ()),
)
os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *FLAGS])
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"  # [8, 1] + [8] is a mistake until someone writes the axis
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.environ.get("XLING_TEST_CACHE", f"{ROOT}/.pytest_cache/xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
os.environ.setdefault("EPATH_USE_TF", "false")  # as bucket.py says it, before Orbax first asks; and gcsfs
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """Returns the folder of real data, named by XLING_DATA; skips where there is none."""
    if "XLING_DATA" not in os.environ:
        pytest.skip("no real data here: XLING_DATA, which names their folder, is not set")
    path = pathlib.Path(os.environ["XLING_DATA"])
    assert path.is_dir(), f"XLING_DATA={path} is not a folder"
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest file first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: "test_end_to_end" not in item.nodeid)
