"""A cloud in a folder, and `scripts/tpu.sh` as a user calls it there."""

import signal
import sys

import pytest
from place import HERE, Inside, Place, clone

from xling_jax.launch import gcloud, job, verbs


@pytest.fixture(scope="session")
def cloned(tmp_path_factory):
    return clone(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def place(tmp_path, cloned):
    """Returns a cloud whose hosts have a stand-in for xling, program.py beside this file."""
    found = Place(tmp_path, f"{sys.executable} -S -E {HERE / 'program.py'}")
    found.clone = cloned
    yield found
    found.sweep()


@pytest.fixture
def cli(place, monkeypatch, capfd):
    """Returns `scripts/tpu.sh` as a function: what is printed, and the exit code, which has to be as given."""
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(job, "ROOT", place.clone)
    monkeypatch.setattr(gcloud.Gcloud, "_start", lambda self, command: self._show(command) or Inside(command.argv))
    monkeypatch.chdir(place.folder)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as left:
            verbs.main(list(words))
        said = "".join(capfd.readouterr())
        assert left.value.code == code, said
        return said

    return run
