"""`xling convert` from the command line: exit codes, one error on stderr, help at once."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "convert"))

import hub_folders

from xling_jax import cli
from xling_jax.convert.page import page
from xling_jax.doors import convert as door
from xling_jax.models.weights.folder import open_tensors


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Leaves signals and logging as they are: a test is not a process of its own."""
    monkeypatch.setattr(door, "catch_signals", lambda: lambda: False)
    monkeypatch.setattr(door, "quiet_libraries", lambda: None)


def leaves(*words):
    with pytest.raises(SystemExit) as left:
        cli.main(["convert", *map(str, words)])
    return left.value.code


def test_there_and_back(tmp_path, capsys):
    tensors = hub_folders.publish(tmp_path / "there", kind="mlm")
    assert leaves("from-hf", tmp_path / "there", tmp_path / "ours", "--multiple=16") == 0
    assert "unused 0: none" in capsys.readouterr().out
    assert leaves("to-hf", tmp_path / "ours", tmp_path / "back", "--dtype=bfloat16", "--head=mlm") == 0
    assert "XLMRobertaForMaskedLM" in capsys.readouterr().out
    back = {name: stored.dtype for name, stored in open_tensors(tmp_path / "back").items()}
    assert back == dict.fromkeys(tensors, "BF16")


def test_the_page_of_models(capsys):
    assert leaves("list") == 0
    assert capsys.readouterr().out == page()


@pytest.mark.parametrize(
    "case",
    [
        ((), 2, "Unknown conversion ''"),
        (("from-h",), 2, "Unknown conversion 'from-h'.\nDid you mean: from-hf"),
        (("from-hf", "one"), 2, "takes two folders, from and to; found 1"),
        (("from-hf", "one", "two", "--dtype=int8"), 2, "--dtype"),
        (("from-hf", "one", "two", "--head=nli"), 2, "Unknown value 'nli' in '--head'"),
        (("from-hf", "nowhere", "two"), 4, "nowhere has no config.json.\nFound: no such folder"),
        (("from-t5x", "nowhere", "two"), 4, "nowhere"),
        (("to-hf", "nowhere", "two"), 4, "nowhere has no model.json"),
        (("to-t5x", "nowhere", "checkpoint_0"), 4, "nowhere has no model.json"),
        (("to-t5x", "nowhere", "two"), 2, "t5x does not read a folder called two"),
    ],
)
def test_errors(case, capsys, tmp_path, monkeypatch):
    words, code, said = case
    monkeypatch.chdir(tmp_path)
    assert leaves(*words) == code
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and said in printed and "Traceback" not in printed
    assert not list(tmp_path.iterdir())
