"""What JAX and the compilers read of the environment when they are imported: so nothing here imports them."""

import os

QUIET = {  # what libtpu would else look for, or wait for, on a machine without a TPU; which TPU is said does not matter
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # a lock would keep a second process from compiling
    "TPU_MIN_LOG_LEVEL": "3",
    "TPU_STDERR_LOG_LEVEL": "3",
}


def prepare_environment(chips: int = 1) -> None:
    """Sets that no accelerator is looked for and `chips` CPU devices are simulated; before JAX is imported."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["JAX_PLATFORMS"] = "cpu"
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags and chips > 1:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={chips}".strip()
