"""Devices that are not here: what a compiler is told of a slice, and which compilers there are.

libtpu compiles for any TPU on a machine without one, the CUDA plugin for an H100 on one without a GPU. Both are large
and come on their own; without them a plan is estimated.
"""

import importlib.metadata
import os
from collections.abc import Sequence
from typing import Any

import jax

from xling_jax.tables.slices import Slice

PACKAGES = {"tpu": ("libtpu",), "cuda": ("jax-cuda13-pjrt", "jax-cuda12-pjrt"), "cpu": ("jaxlib",)}
ADVICE = {
    "tpu": "pip install 'xling_jax[tpu-aot]' brings the compiler of TPUs, which needs none",
    "cuda": "pip install --no-deps jax-cuda12-pjrt==V jax-cuda12-plugin==V, V the version of jax, brings that of GPUs",
    "cpu": "JAX was started with fewer CPU devices than that",
}
# An H100 SXM as XLA describes GPUs (xla.GpuTargetConfigProto).
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 85899345920
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def compiler(platform: str) -> str:
    """Returns the package that compiles for a platform and its version, "libtpu 0.0.42.1"; "" if there is none."""
    for name in PACKAGES[platform]:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    if platform == "tpu" and os.path.isfile(os.environ.get("TPU_LIBRARY_PATH", "")):
        return f"libtpu of {os.environ['TPU_LIBRARY_PATH']}"
    return ""


def devices_of(where: Slice) -> Sequence[Any] | None:
    """Returns the devices of a slice, to compile for; None if there is no compiler for them here."""
    if where.chip.platform == "cpu":
        here = jax.devices("cpu")
        return here[: where.chips] if len(here) >= where.chips else None
    if not compiler(where.chip.platform):
        return None
    from jax.experimental import topologies  # noqa: PLC0415 - it loads the compiler

    if where.chip.platform == "cuda":
        name, shape = f"{where.chip.name}x{where.chips}", f"1x1x{where.chips}"
        found = topologies.get_topology_desc(name, "cuda", topology=shape, target_config=H100)
    else:
        more: dict[str, Any] = {}
        if where.chip.name == "v4":  # its two cores are one device only to programs that are told so
            more = {"chip_config_name": "megacore", "chips_per_host_bounds": (2, 2, 1)}
        if where.chips == 1:
            more = {"chips_per_host_bounds": (1, 1, 1)}
        found = topologies.get_topology_desc(where.topology, "tpu", **more)
    return found.devices
