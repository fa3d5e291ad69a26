"""`xling doctor`: what is installed, which devices there are, what is missing and how to get it."""

import os
import pathlib
import platform
import sys
from importlib import metadata

from absl import flags

from xling_jax.doors.flags import define_data_dir, named_data_dir, parse
from xling_jax.errors import ConfigError

ABOUT = """xling doctor [--data_dir=DIR]

Checks the installation: Python, libraries, devices, data folder. Leaves with 2 if something needed is missing."""

# package: (what it is for, whether nothing runs without it)
PACKAGES = {
    "jax": ("arrays, compiling", True),
    "flax": ("models", True),
    "optax": ("optimisers", True),
    "orbax-checkpoint": ("checkpoints", True),
    "grain": ("reading prepared examples", True),
    "array-record": ("prepared examples", True),
    "ml-collections": ("config files", True),
    "sentencepiece": ("vocabularies of real text", True),
    "tokenizers": ("vocabularies of Qwen", False),
    "scipy": ("statistics of the report", True),
    "matplotlib": ("figures of the report", True),
    "seqio": ("tasks and mixtures for SeqIO and t5x programs", False),
    "tensorflow-datasets": ("tasks that TFDS has", False),
    "wandb": ("metrics on Weights & Biases", False),
    "libtpu": ("TPUs", False),
}


def main(argv: list[str]) -> None:
    """Opens the door."""
    values = flags.FlagValues()
    define_data_dir(values)
    parse(values, "doctor", argv, ABOUT)
    missing = [*_python(), *_packages(), *_devices(), *_data(named_data_dir(values))]
    if missing:
        raise ConfigError("The installation is not complete.\n" + "\n".join(missing))
    print("Nothing needed is missing.")


def _python() -> list[str]:
    print(f"{'python':22} {platform.python_version()}")
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return [] if fits else ["Python: 3.11, 3.12 or 3.13 is needed."]


def _packages() -> list[str]:
    missing = []
    for name, (use, needed) in PACKAGES.items():
        try:
            print(f"{name:22} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            print(f"{name:22} not installed; for {use}{'' if needed else ' (optional)'}")
            if needed:
                missing.append(f"{name}: pip install {name}")
    return missing


def _devices() -> list[str]:
    try:
        import jax  # noqa: PLC0415 - the import is what is tested

        devices = jax.devices()
    except (ImportError, RuntimeError) as error:
        return [f"JAX finds no device ({error}). For a TPU: pip install '.[tpu]'; for a GPU: pip install '.[gpu]'."]
    kinds = sorted({device.device_kind for device in devices})
    print(f"{'devices':22} {len(devices)} x {', '.join(kinds)}; {os.cpu_count()} processor cores")
    return []


def _data(path: pathlib.Path | None) -> list[str]:
    if path is None:
        print(f"{'data folder':22} none; set XLING_DATA or --data_dir to run on real data (optional)")
        return []
    if not path.is_dir():
        return [f"The data folder {path} does not exist. Set XLING_DATA or --data_dir to one that does."]
    folders = sorted(child.name for child in path.iterdir() if child.is_dir())
    print(f"{'data folder':22} {path}: {' '.join(folders) or 'empty'}")
    return []
