"""Asked to stop, a run stops between two cells that it prepares, two batches that it answers; what was done stays."""

import contextlib
import importlib.util
import io
import pathlib
import types

import pytest

from xling_jax.errors import Interrupted
from xling_jax.eval.suite import OpenCell
from xling_jax.experiment import from_config
from xling_jax.stages.evaluation import Examiner, known_rows, write_rows
from xling_jax.stages.run import Run
from xling_jax.stages.stage import StageRunner
from xling_jax.train.writer import Display

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


def test_evaluation_stops_between_batches(run, monkeypatch):
    """What was answered before is written; the rest is left for another time."""

    def evaluator(*asked, heed, **how):
        def answered(cells, place):
            for at, cell in enumerate(cells):
                told.append(cell.language)
                heed(at + 1.5)
                yield {"accuracy": 50.0}, OpenCell(cell, [], types.SimpleNamespace(checksum="c" * 64), {}, {})

        return answered

    node = run.plan.nodes[0]
    folder = run.workdir / "stages" / node.folder
    folder.mkdir(parents=True)
    monkeypatch.setattr(Examiner, "evaluator", evaluator)
    programs = types.SimpleNamespace(keeping=contextlib.nullcontext)
    out, told = io.StringIO(), []
    runner = StageRunner(run.plan, run.workdir, run.cells, programs, Display(out), alone=True)
    with pytest.raises(Interrupted, match=r"Stopped before world_parallel\.test\.qnr\.\nRun the same command again"):
        runner._evaluate(node, {"last": ({}, 1)}, after(2))
    assert [row.language for row in known_rows(folder)] == ["qen", "qnd"]
    assert "retrieval: 2/" in out.getvalue()
    told.clear()
    with pytest.raises(Interrupted):
        runner._evaluate(node, {"last": ({}, 1)}, after(5))
    assert told[:3] == ["qen", "qnd", "qnr"], "all that share rows are answered again"
    languages = [row.language for row in known_rows(folder)]
    assert len(languages) == len(set(languages)) == 5, "and have one row each"
    runner._evaluate(node, {"last": ({}, 1)}, after(6))
    write_rows(folder, [row for row in known_rows(folder) if row.language != "qnd"])
    told.clear()
    runner._evaluate(node, {"last": ({}, 1)}, after(2))
    assert told == ["qen", "qnd"], "nothing behind the last one that has no answer"
    assert len(known_rows(folder)) == 6
