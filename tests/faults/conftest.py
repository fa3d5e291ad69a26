"""An undisturbed run, which all others are compared with."""

import pathlib

import pytest
from harness import finish, left_over

from xling_jax.stages.run import Run

PROGRAMS: dict = {}


@pytest.fixture(scope="session")
def straight(tmp_path_factory) -> pathlib.Path:
    """Returns the folder of a run that nothing happened to. Not to be changed."""
    workdir = tmp_path_factory.mktemp("straight")
    finish(workdir)
    assert not left_over(workdir)
    return workdir


@pytest.fixture(scope="module")
def shared_programs():
    """Makes all runs of a module that have one model have the same programs, which are compiled once."""
    real = Run._programs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_programs", lambda run: PROGRAMS.setdefault(run.experiment.checkpoint, real(run)))
        yield
