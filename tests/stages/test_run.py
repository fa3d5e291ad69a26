"""Asked to stop, a run stops between two cells, prepared or evaluated, and what was done stays."""

import contextlib
import importlib.util
import pathlib
import types

import pytest

from xling_jax.errors import Interrupted
from xling_jax.experiment import from_config
from xling_jax.stages.run import Run
from xling_jax.stages.stage import StageRunner

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def run(tmp_path):
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "configs" / "quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Run(from_config(module.get_config("test").to_dict()), tmp_path / "work", None)


def after(calls):
    """Returns a function that is False for so many calls and True from then on."""
    answers = iter([False] * calls)
    return lambda: next(answers, True)


def test_preparing_stops_between_cells(run):
    with pytest.raises(Interrupted, match=r"Stopped at cell 3 of \d+\.\nRun the same command again"):
        run.prepare(after(2))
    prepared = list((run.workdir / "prepared").iterdir())
    assert len(prepared) == 3 < len(run.plan.parts())
    assert not [path for path in prepared if path.name.startswith(".")]


def test_evaluation_stops_between_cells(run):
    node = run.plan.nodes[0]
    (run.workdir / "stages" / node.folder).mkdir(parents=True)
    output = types.SimpleNamespace(send=None, whole=None)
    programs = types.SimpleNamespace(
        output=lambda heads, target: output, mesh=None, keeping=contextlib.nullcontext, laid_out=dict
    )
    runner = StageRunner(run.plan, run.workdir, run.cells, programs, run.display, alone=True)
    with pytest.raises(Interrupted, match=r"Stopped before world_parallel\.test\.qen\.\nRun the same command again"):
        runner._evaluate(node, {"last": ({}, 1)}, lambda: True)
