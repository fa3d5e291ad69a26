"""Asked to stop, a run stops between two cells, prepared or evaluated, and what was done stays."""

import contextlib
import importlib.util
import pathlib
import types

import pytest

from xling_jax.errors import Interrupted
from xling_jax.eval.suite import OpenCell
from xling_jax.experiment import from_config
from xling_jax.stages.evaluation import Examiner, known_rows
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


def test_evaluation_stops_between_cells(run, monkeypatch):
    """What was asked for before is answered and written; the rest is left for another time."""

    def answered(cells, place):
        for cell in cells:
            yield {"accuracy": 50.0}, OpenCell(cell, [], types.SimpleNamespace(checksum="c" * 64), {}, {})

    node = run.plan.nodes[0]
    folder = run.workdir / "stages" / node.folder
    folder.mkdir(parents=True)
    monkeypatch.setattr(Examiner, "evaluator", lambda *asked, **how: answered)
    programs = types.SimpleNamespace(keeping=contextlib.nullcontext)
    runner = StageRunner(run.plan, run.workdir, run.cells, programs, run.display, alone=True)
    with pytest.raises(Interrupted, match=r"Stopped before world_parallel\.test\.qnr\.\nRun the same command again"):
        runner._evaluate(node, {"last": ({}, 1)}, after(2))
    assert [row.language for row in known_rows(folder)] == ["qen", "qnd"]
