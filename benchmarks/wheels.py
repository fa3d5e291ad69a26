"""Fetches the wheels that benchmarks/accelerator.sh needs beside what a machine with an accelerator has.

    python benchmarks/wheels.py FOLDER 3.11

Those of WANTED, for that version of Python on Linux, and all that they require, but for what is THERE, or is of no use
without a network.
"""

import email.parser
import pathlib
import subprocess
import sys
import zipfile

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

# What reads prepared texts, and the peer.
WANTED = "absl-py array-record grain ml-collections sentencepiece transformers accelerate"
THERE = {
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "torch",
    "numpy",
    "scipy",
    "ml-dtypes",
    "rich",
    "pygments",
}
USELESS = {"hf-xet"}


def required(wheel: pathlib.Path, extras: set[str], version: str) -> list[Requirement]:
    """Returns what a wheel requires, with some of its extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.parser.BytesParser().parsebytes(archive.read(name))
    where = default_environment() | {"python_version": version, "python_full_version": f"{version}.0"}
    found = (Requirement(text) for text in said.get_all("Requires-Dist") or ())
    return [
        one for one in found if not one.marker or any(one.marker.evaluate(where | {"extra": e}) for e in (*extras, ""))
    ]


def main() -> None:
    """Fetches until nothing is missing."""
    folder, version = pathlib.Path(sys.argv[1]), sys.argv[2]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    left, done = [Requirement(name) for name in WANTED.split()], {}
    while left:
        one = left.pop()
        name, asked = canonicalize_name(one.name), done.get(canonicalize_name(one.name), set())
        if name in THERE | USELESS or (name in done and one.extras <= asked):
            continue
        done[name] = asked | one.extras
        wheels = {parse_wheel_filename(path.name)[0]: path for path in folder.glob("*.whl")}
        if name not in wheels:
            one.extras, one.marker = set(), None
            subprocess.run([*pip, f"--python-version={version}", f"--dest={folder}", str(one)], check=True)
            wheels = {parse_wheel_filename(path.name)[0]: path for path in folder.glob("*.whl")}
        left += required(wheels[name], done[name], version)


if __name__ == "__main__":
    main()
