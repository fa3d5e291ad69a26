"""`xling study` and what other verbs say of studies: one clear error for each mistake, and plans without anything."""

import pathlib
import re
import types

import pytest

from xling_jax import cli
from xling_jax.experiment import from_config
from xling_jax.planner.planning import open_plan
from xling_jax.planner.study import cost, counted_once, open_study, to_fetch
from xling_jax.planner.work import counter
from xling_jax.stages.study import sharing
from xling_jax.study import study_from_config
from xling_jax.tables.slices import slice_of

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TINY = "--config=tests/studies/tiny.py"


@pytest.fixture
def xling(capsys, monkeypatch, tmp_path):
    """Returns a function of arguments to (exit code, standard output, standard error)."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("XLING_DATA", raising=False)

    def run(*argv):
        with pytest.raises(SystemExit) as left:
            cli.main([word.replace("DIR", str(tmp_path)) for word in argv])
        return left.value.code, *capsys.readouterr()

    return run


WRONG = {
    ("study",): (2, "--config is not given"),
    ("study", TINY): (2, "--workdir is not given"),
    ("run", TINY, "--workdir=DIR"): (2, "declares a study, 'tiny_study'"),
    ("plan", TINY, "--topology=v5e-4"): (2, "xling study --config=... --workdir=DIR"),
    ("study", "--config=configs/quickstart.py:test", "--workdir=DIR"): (2, "Allowed: xling run --config"),
    ("study", TINY, "--workdir=DIR", "--config.experiments.far.seds=(1,)"): (2, "Did you mean seeds"),
    ("study", TINY, "--workdir=DIR", "--dry_run", "--topology=v5e-65"): (2, "Unknown topology 'v5e-65'"),
    ("study", TINY, "--workdir=DIR", "--dry_run", "--only=fra"): (2, "Unknown pattern 'fra' in --only"),
    ("study", TINY, "--workdir=DIR", "--emit=slurm"): (2, "--emit"),
    ("study", TINY, "--workdir=DIR", "--emit=skypilot"): (2, "--bucket=''"),
    ("study", TINY, "--workdir=DIR", "--data_dir=DIR/nowhere"): (3, "There is no data folder"),
}


@pytest.mark.parametrize("argv", WRONG, ids=" ".join)
def test_mistakes(xling, argv):
    code, words = WRONG[argv]
    left, _, err = xling(*argv)
    assert (left, words in err) == (code, True), err
    assert err.startswith("error: ") and "Traceback" not in err and len(err.splitlines()) <= 5


def test_a_dry_run_says_what_there_is_and_writes_nothing(xling, tmp_path):
    code, out, _ = xling("study", TINY, "--workdir=DIR/work", "--dry_run", "--only=far,near")
    assert code == 0 and "8 stages are trained; experiments one by one declare 12" in out
    assert "0 of 4 stages of what --only=far,near asks for are done" in out
    assert "on v5e-1 (1 chips) at least" in out and "chip-hours, $" in out
    assert not (tmp_path / "work").exists()


def test_jobs_are_written_and_named(xling, tmp_path):
    code, out, _ = xling(
        *("study", TINY, "--workdir", "DIR/work", "--emit=sh", "--claim_seconds", "60", "--noskip_damaged"),
        "--config.experiments.far.seeds=(0, 1)",
    )
    assert code == 0 and "tiny-study-tiny-one: tiny on mesh one, 11 stages" in out and "the same --emit writes" in out
    text = (tmp_path / "work" / "jobs" / "tiny-study-tiny-one.sh").read_text()
    words = f"--workdir={tmp_path}/work --claim_seconds=60 --noskip_damaged '--config.experiments.far.seeds=(0, 1)'"
    assert f"xling study {TINY} {words} --only=far,near,other &" in text and f"cd {ROOT} " in text
    assert (tmp_path / "work" / "jobs" / "run_all.sh").stat().st_mode & 0o100


def fields(**more):
    """Returns an experiment on a published model whose checkpoint is not here."""
    stage = {"data": ("mnli.train.en",), "epochs": 1.0, "batch_size": 64, "max_length": 64, "buckets": (64,)}
    targets = {"xnli": {"task": "xnli", "languages": "sw th", "stage": stage}}
    arms = {"none": {}, "mnli": {"stage": stage | {"epochs": 2.0}}}
    return {"checkpoint": "work/xlmr_base", "arms": arms, "targets": targets} | more


@pytest.fixture(scope="module")
def study():
    experiments = {"one": fields(), "same": fields(), "more": fields(seeds=(0, 1))}
    more = {"task": "xnli", "languages": "ur", "stage": fields()["targets"]["xnli"]["stage"]}
    experiments["further"] = fields(targets={"xnli": more})
    return study_from_config({"name": "pods", "question": "?", "experiments": experiments})


def test_every_stage_is_counted_once(study):
    plans = open_study(study)
    assert sharing(plans.values()) == (6, 15, 15)
    found = [
        (len([node for node in plan.nodes if not node.imported and node.hash not in before]), len(plan.evaluations))
        for plan, before in counted_once(plans.values())
    ]
    assert found == [(3, 2), (0, 0), (3, 2), (0, 2)], "the last one trains nothing, and is asked in another language"


def test_what_is_shared_costs_nothing_more(study):
    where, count = slice_of("v5e-8"), counter(None)
    rows = {row["experiment"]: row for row in cost(open_study(study), where, count)["experiments"]}
    assert rows["same"]["chip_hours"] == 0 and rows["one"]["trained"] == rows["more"]["trained"] == 3
    assert 0 < rows["further"]["chip_hours"] < 0.1 * rows["one"]["chip_hours"], "evaluation alone"
    alone = study_from_config({"name": "s", "question": "?", "experiments": {"more": fields(seeds=(0, 1))}})
    whole = cost(open_study(alone), where, count)["chip_hours"]
    assert rows["one"]["chip_hours"] + rows["more"]["chip_hours"] == pytest.approx(whole)


def test_what_a_slice_does_not_divide_is_said(study):
    found = cost(open_study(study), slice_of("v5e-128"), counter(None))
    assert "splits a batch over 128 chips" in found["experiments"][0]["why"]
    assert found["experiments"][0]["chip_hours"] is None and found["chip_hours"] < 0.1


def test_what_is_not_here_is_named_with_what_makes_it(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = to_fetch(open_study(study), tmp_path)
    assert found["checkpoint work/xlmr_base"].startswith(
        "xling convert from-hf path/to/xlm-roberta-base work/xlmr_base"
    )
    assert found["data xnli (test: sw th ur)"] and found["data mnli (train: en)"] and len(found) == 3


def test_checkpoints_of_other_folders_are_others():
    plans = [open_plan(from_config({"name": "x", **fields(checkpoint=f"{at}/xlmr_base")})) for at in ("a", "b", "a")]
    assert plans[0].nodes[0].hash == plans[2].nodes[0].hash != plans[1].nodes[0].hash


def test_the_study_of_the_guide_is_one(tmp_path):
    """The block of docs/studies.md is a config, as it says, of 15 lines."""
    text = (ROOT / "docs" / "studies.md").read_text()
    (block,) = re.findall(r"<!-- a test builds this block -->\n```python\n(.*?)```", text, re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) == 15
    module = types.ModuleType("guide")
    exec(compile(block, "docs/studies.md", "exec"), module.__dict__)
    study = study_from_config(module.get_config().to_dict())
    plans = open_study(study)
    assert [plan.row.name for plan in plans.values()] == ["world", "small"] and sharing(plans.values())[0] == 14
