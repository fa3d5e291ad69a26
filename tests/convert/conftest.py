"""Fixtures that make and convert folders of tiny models."""

import pathlib
from collections.abc import Callable

import hub_folders
import pytest

from xling_jax.convert.importing import Options, bring_in, plan_import
from xling_jax.data.tokenizers import train_sentencepiece
from xling_jax.train.writer import Display

TEXTS = [" ".join(f"{word}{number % 7}" for word in "der die das ein eine haus baum".split()) for number in range(300)]


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
