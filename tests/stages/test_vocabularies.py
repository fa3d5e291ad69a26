"""The vocabulary of an experiment: trained or published, of the family that the config names, and fit for the model."""

import dataclasses
import importlib.util
import pathlib

import pytest

from xling_jax.data.tokenizers import load_tokenizer, train_vocabulary
from xling_jax.errors import ConfigError, DataError
from xling_jax.experiment import Vocabulary, from_config
from xling_jax.stages.cells import Cells
from xling_jax.stages.run import Run

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = ("world_text.train.qen",)


@pytest.fixture(scope="module")
def experiment():
    path = ROOT / "configs/quickstart.py"
    spec = importlib.util.spec_from_file_location("quickstart", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return from_config(module.get_config("test").to_dict())


def with_vocabulary(experiment, **fields):
    return dataclasses.replace(experiment, vocabulary=Vocabulary(**fields), limits={"train": 300})


@pytest.mark.parametrize(("kind", "size"), [("xlmr", 140), ("mt5", 400), ("llama", 400)])
def test_a_vocabulary_is_trained_in_its_family(experiment, kind, size, tmp_path):
    asked = with_vocabulary(experiment, kind=kind, size=size, data=TEXT)
    tokenizer = Cells(asked, tmp_path, None).tokenizer()
    assert tokenizer.family == kind
    (file,) = (tmp_path / "vocabularies").iterdir()
    assert load_tokenizer(file).fingerprint == tokenizer.fingerprint
    published = with_vocabulary(experiment, kind=kind, path=str(file))
    assert Cells(published, tmp_path, None).vocabulary_hash() == tokenizer.fingerprint


def test_vocabularies_of_two_families_have_two_hashes(experiment, tmp_path):
    hashes = {
        Cells(with_vocabulary(experiment, kind=kind, size=400, data=TEXT), tmp_path, None).vocabulary_hash()
        for kind in ("xlmr", "mt5", "llama", "qwen")
    }
    assert len(hashes) == 4


def test_a_file_of_another_family_is_refused(experiment, tmp_path):
    train_vocabulary("llama", ["the cat sat on the mat"] * 9, 280, tmp_path / "llama.model")
    cells = Cells(with_vocabulary(experiment, kind="xlmr", path=str(tmp_path / "llama.model")), tmp_path, None)
    with pytest.raises(DataError, match="not laid out as a model of family 'xlmr'"):
        cells.vocabulary_hash()


def test_an_encoder_is_not_trained_with_another_family(experiment, tmp_path):
    run = Run(with_vocabulary(experiment, kind="llama", size=400, data=TEXT), tmp_path, None)
    with pytest.raises(ConfigError) as caught:
        run()
    assert not list(tmp_path.iterdir()), "before anything is written"
    assert "the vocabulary is of family 'llama'" in str(caught.value) and "Allowed: " in str(caught.value)
