"""Fixtures that make and convert folders of tiny models."""

import pathlib
import random
from collections.abc import Callable

import hub_folders
import pytest

from xling_jax.convert.importing import Options, bring_in, plan_import
from xling_jax.data.tokenizers import train_sentencepiece
from xling_jax.train.writer import Display

SYLLABLES = [one + other for one in "bdfgklmnprst" for other in "aeiou"]
TEXTS = [" ".join(random.Random(number).choices(SYLLABLES, k=30)) for number in range(200)]


@pytest.fixture
def publish(tmp_path) -> Callable:
    """Returns a function like `hub_folders.publish`, which returns (the folder it made, tensors by name)."""

    def make(name="published", **how):
        return tmp_path / name, hub_folders.publish(tmp_path / name, **how)

    return make


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory) -> pathlib.Path:
    """Returns a folder with a vocabulary of XLM-R's kind and 80 ids."""
    folder = tmp_path_factory.mktemp("vocabulary")
    train_sentencepiece(TEXTS, 78, folder / "sentencepiece.bpe.model")
    return folder


@pytest.fixture
def convert(tmp_path) -> Callable:
    """Returns a function that imports a folder, with options, and returns OUT."""

    def run(folder, out="out", stop_asked=lambda: False, **options):
        bring_in(plan_import(folder, Options(**options)), tmp_path / out, Display(), stop_asked)
        return tmp_path / out

    return run
