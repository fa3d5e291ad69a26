"""A worker of a study, in this process: what it does, what it leaves, and what it says of failures and of others."""

import copy
import importlib.util
import json
import pathlib
import re
import threading

import pytest

from xling_jax.errors import CheckpointError, ConfigError, DiskError, Interrupted, NumericalError
from xling_jax.experiment import from_config
from xling_jax.ledger import TIME, TRAIN, read_lines
from xling_jax.stages import claims, shelf, study_record, study_run, trials
from xling_jax.stages.claims import ClaimLost, Claims
from xling_jax.stages.run import Run
from xling_jax.stages.stage import StageRunner
from xling_jax.stages.study import StudyPlan
from xling_jax.stages.study_record import StudyFailed
from xling_jax.stages.study_run import How, StudyRun
from xling_jax.study import study_from_config

HERE = pathlib.Path(__file__).resolve().parent
PROGRAMS: dict = {}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Compiles what all tests have in common once, and looks often."""
    real = shelf.make_programs
    monkeypatch.setattr(
        shelf, "make_programs", lambda plan, cells: PROGRAMS.setdefault(plan.row, None) or keep(real(plan, cells))
    )
    monkeypatch.setattr(study_run, "LOOK_EVERY", 0.05)

    def keep(programs):
        PROGRAMS.update({row: programs for row, known in PROGRAMS.items() if known is None})
        return programs


def fields(*names):
    """Returns the tiny study, or these experiments of it."""
    spec = importlib.util.spec_from_file_location("tiny", HERE / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.get_config().to_dict()
    found["experiments"] = {name: each for name, each in found["experiments"].items() if not names or name in names}
    return found


def run(declared, workdir, stop=lambda: False, report=lambda: None, **how):
    """Runs a study, one stage at a time, and returns the worker."""
    worker = StudyRun(study_from_config(declared), workdir, None, "the command")
    worker(stop, How(jobs=1, **how), report)
    return worker


def done(workdir):
    return sorted(path.parent.name.rpartition("-")[0] for path in workdir.glob("stages/*/DONE"))


def failed(workdir):
    return sorted(path.stem.rpartition("-")[0] or path.stem for path in workdir.glob("failed/*"))


def held(workdir):
    return [path.name for path in workdir.glob("claims/[!.]*") if not json.loads(path.read_text())["free"]]


def raises(monkeypatch, error, *names):
    """Makes stages of some names fail. Returns a function that ends that."""
    real = StageRunner._run

    def fail(self, node, stop_asked):
        if node.name in names:
            raise error
        real(self, node, stop_asked)

    monkeypatch.setattr(StageRunner, "_run", fail)
    return lambda: monkeypatch.setattr(StageRunner, "_run", real)


ALL = ["nli_pos_s0", "nli_s0", "none_pos_s0", "pretrain"]


def test_a_study_is_run_once(tmp_path, capsys):
    reported = []
    worker = run(fields("far", "near"), tmp_path, report=lambda: reported.append(1))
    assert done(tmp_path) == ALL and reported == [1] and held(tmp_path) == []
    said = json.loads((tmp_path / "study.json").read_text())
    assert said["name"] == "tiny_study" and said["experiments"] == ["far", "near"] and said["command"] == "the command"
    assert said["analysis"]["method"] == "matrix" and said["synthetic"] and said["published"] == []
    for name, language in (("far", "qda"), ("near", "qnd")):
        record = json.loads((tmp_path / "experiments" / f"{name}.json").read_text())
        assert record["study"] == "tiny_study" and record["factors"] == {"model": "tiny"}
        assert all(stage["done"] for stage in record["stages"])
        assert list(tmp_path.glob(f"submissions/{name}/nli_s0/world_pos/test-{language}.*"))
    assert worker._shelf._programs == {} and worker._shelf._cells == {}, "nothing is kept that nobody needs"
    before = len(read_lines(tmp_path / TIME))
    assert "evaluates pos" in capsys.readouterr().out
    run(fields("far", "near"), tmp_path, report=lambda: reported.append(2))
    assert reported == [1, 2] and len(read_lines(tmp_path / TIME)) == before, "there was nothing to do"


def test_an_experiment_may_be_added(tmp_path):
    """Stages that were there have their names, and are evaluated further, not trained again."""
    run(fields("near"), tmp_path)
    more = fields("far", "near")
    arms = more["experiments"]["far"]["arms"]
    more["experiments"]["far"] |= {"arms": {"none": arms["none"], "other_name": arms["nli"]}}
    more["experiments"]["far"] |= {"comparisons": (("other_name", "none"),), "headline": ("other_name", "none", "pos")}
    run(more, tmp_path)
    assert done(tmp_path) == ALL
    begun = [line["stage"] for line in read_lines(tmp_path / TIME) if line.get("name") == TRAIN]
    assert len(begun) == len(set(begun)) == 4
    assert list(tmp_path.glob("submissions/far/other_name_s0/world_pos/test-qda.*"))


def test_what_does_not_need_a_failed_stage_is_done(tmp_path, monkeypatch, capsys):
    mend = raises(monkeypatch, NumericalError("The loss of step 3 is not finite.\nMore of it."), "nli_s0")
    with pytest.raises(
        StudyFailed, match=r"1 of study 'tiny_study' failed.*\n  nli_s0-\w+: The loss of step 3"
    ) as error:
        run(fields("far"), tmp_path, report=lambda: pytest.fail("it is not done"))
    assert (
        error.value.exit_code == 5
        and "Left to do: nli_pos_s0-" in str(error.value)
        and "More of" not in str(error.value)
    )
    assert done(tmp_path) == ["none_pos_s0", "pretrain"] and failed(tmp_path) == ["nli_s0"] and held(tmp_path) == []
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("failed/*"))
    assert "More of it" in record["error"] and record["kind"] == "NumericalError"
    assert "failed: nli_s0-" in capsys.readouterr().out
    mend()
    run(fields("far"), tmp_path)
    assert done(tmp_path) == ALL and failed(tmp_path) == []


def test_what_failed_in_another_worker_is_not_tried_again(tmp_path, monkeypatch):
    mend = raises(monkeypatch, NumericalError("Not finite."), "nli_s0")
    real = StudyRun._open_claims

    def fail_elsewhere(worker):
        study_record.write_failure(
            tmp_path, next(n for n in names if n.startswith("nli_s0")), NumericalError("Elsewhere.")
        )
        return real(worker)

    names = [unit.node.folder for unit in StudyPlan(study_from_config(fields("far")), tmp_path, None).units().values()]
    monkeypatch.setattr(StudyRun, "_open_claims", fail_elsewhere)
    mend()
    with pytest.raises(StudyFailed, match="Elsewhere"):
        run(fields("far"), tmp_path)
    assert done(tmp_path) == ["none_pos_s0", "pretrain"]


def test_a_full_disk_ends_the_worker(tmp_path, monkeypatch):
    raises(monkeypatch, DiskError("The disk is full."), "nli_s0", "none_pos_s0")
    with pytest.raises(DiskError):
        run(fields("far"), tmp_path)
    assert done(tmp_path) == ["pretrain"] and failed(tmp_path) == [] and held(tmp_path) == []


def test_an_experiment_that_cannot_begin_is_told_of_and_the_others_are_run(tmp_path):
    declared = fields("far", "other")
    start = {"checkpoint": str(tmp_path / "nowhere"), "model": "", "pretrain": {}, "pretrain_seed": 0, "vocabulary": {}}
    declared["experiments"]["other"] |= start
    with pytest.raises(StudyFailed, match=r"\n  other: .*nowhere has no model.json") as error:
        run(declared, tmp_path / "work")
    assert error.value.exit_code == CheckpointError.exit_code
    assert done(tmp_path / "work") == ALL and failed(tmp_path / "work") == ["other"]
    run(declared, tmp_path / "work", only=("far",))


@pytest.mark.slow
def test_an_experiment_may_start_from_a_stage_of_the_study(tmp_path):
    declared = fields("far", "other")
    plan = StudyPlan(study_from_config(fields("far")), tmp_path, None).plans["far"]
    start = {"checkpoint": str(tmp_path / "stages" / plan.nodes[0].folder), "model": "", "pretrain": {}}
    declared["experiments"]["other"] |= {**start, "pretrain_seed": 0, "vocabulary": {}}
    worker = run(declared, tmp_path)
    assert failed(tmp_path) == [] and worker.broken == {}
    other = json.loads((tmp_path / "experiments" / "other.json").read_text())
    assert other["stages"][0]["name"] == "checkpoint" and all(stage["done"] for stage in other["stages"])


@pytest.mark.parametrize(
    "only, wanted",
    [
        (("far/none_*",), ["none_pos_s0", "pretrain"]),
        (("*/nli_pos_s0",), ["nli_pos_s0", "nli_s0", "pretrain"]),
        (("f*", "near/pretrain"), ALL),
    ],
)
def test_only_what_is_asked_for_and_what_it_comes_from(tmp_path, only, wanted):
    units = StudyPlan(study_from_config(fields("far", "near")), tmp_path, None).units(only)
    assert sorted(unit.node.name for unit in units.values()) == wanted
    by_name = {unit.node.name: unit.experiments for unit in units.values()}
    assert by_name["pretrain"] == (["far"] if only[0] == "far/none_*" else ["far", "near"])


def test_only_is_run_and_a_mistake_in_it_is_an_error(tmp_path):
    run(fields("far"), tmp_path, only=("far/none_pos_s0",))
    assert done(tmp_path) == ["none_pos_s0", "pretrain"]
    assert not list(tmp_path.glob("submissions/*")), "the experiment is not finished"
    with pytest.raises(ConfigError, match=r"Unknown pattern 'fra' in --only\.\nDid you mean: far"):
        run(fields("far"), tmp_path, only=("fra",))


def test_so_many_stages_and_no_more(tmp_path, capsys):
    run(fields("far"), tmp_path, most=2, report=lambda: pytest.fail("it is not done"))
    assert len(done(tmp_path)) == 2 and held(tmp_path) == []
    assert re.search(
        r"2 stages were trained, as --max_stages says\. Left to do: nli\w+-\w+ nli", capsys.readouterr().out
    )
    run(fields("far"), tmp_path, most=0)
    assert len(done(tmp_path)) == 2


@pytest.mark.slow
def test_seeds_are_trained_together_whoever_has_them(tmp_path, monkeypatch):
    """Two seeds of an experiment and one of another: what starts from one checkpoint, and what starts from three."""
    declared, taken, real = fields("far", "near"), [], trials._at_once
    for name, seeds in (("far", (0, 1)), ("near", (0, 2))):
        declared["experiments"][name]["seeds"] = seeds
    monkeypatch.setattr(trials, "_at_once", lambda come: taken.append([one.work.seed for one in come]) or real(come))
    run(declared, tmp_path, trials=3)
    assert done(tmp_path) == sorted(
        ["pretrain", *(f"{name}_s{seed}" for name in ("nli", "nli_pos", "none_pos") for seed in (0, 1, 2))]
    )
    assert taken == [[0, 1, 2]] * 18, "three NLI and six of tagging, all steps together"
    assert held(tmp_path) == []
    with pytest.raises(ConfigError, match="--trials=3, and the mesh of experiment 'far'"):
        declared["experiments"]["far"]["mesh"] = "fsdp"
        run(declared, tmp_path / "other", trials=3)


def test_asked_to_stop_it_gives_back_what_it_had(tmp_path):
    asked = iter([False] * 12)
    with pytest.raises(Interrupted) as error:
        run(fields("far"), tmp_path, stop=lambda: next(asked, True))
    assert error.value.exit_code == 75 and held(tmp_path) == [] and failed(tmp_path) == []
    run(fields("far"), tmp_path)
    assert done(tmp_path) == ALL


def test_it_waits_for_who_has_what_is_left(tmp_path, capsys):
    """And says so once."""
    (first, *_) = StudyPlan(study_from_config(fields("far")), tmp_path, None).units()
    with Claims(tmp_path) as other:
        claim = other.take(first)
        worker = threading.Thread(target=run, args=(fields("far"), tmp_path))
        worker.start()
        worker.join(1.5)
        assert worker.is_alive() and done(tmp_path) == []
        other.give_back(claim)
        worker.join(120)
    assert done(tmp_path) == ALL
    said = capsys.readouterr().out
    assert said.count("waiting for process") == 1 and "(pretrain-" in said and "4 stages are left" in said


def test_a_stage_that_is_lost_is_left_at_once_and_nothing_more_of_it_is_written(tmp_path, monkeypatch, capsys):
    """Here nobody else goes on with it, so it is taken again, and begins where it was saved last: nowhere."""
    seen, real = [], claims.Claim.check

    def check(claim):
        real(claim)
        if list(tmp_path.glob("stages/*/metrics.jsonl")) and not seen:  # it trains; before the first checkpoint
            seen.append(claim)
            assert not list(tmp_path.glob("stages/*/checkpoints/[0-9]*"))
            claim._lost = True
            real(claim)

    monkeypatch.setattr(claims.Claim, "check", check)
    given = claims.Claim.give_back
    monkeypatch.setattr(claims.Claim, "give_back", lambda claim: (setattr(claim, "_lost", False), given(claim)))
    run(fields("far"), tmp_path)
    begun = [
        line["step"]
        for line in read_lines(tmp_path / TIME)
        if line.get("name") == TRAIN and "pretrain" in line["stage"]
    ]
    assert begun == [0, 0] and "pretrain was taken over: Another worker has taken over" in capsys.readouterr().out
    assert done(tmp_path) == ALL


def test_a_stage_that_is_lost_in_the_end_is_not_marked_done(tmp_path, monkeypatch):
    def renew(claim):
        raise ClaimLost("Another worker has it.")

    monkeypatch.setattr(claims, "LOOK_EVERY", 1e9)
    monkeypatch.setattr(claims.Claim, "renew", renew)
    monkeypatch.setattr(StudyRun, "_ended", lambda worker, unit, error: worker._end(error))
    with pytest.raises(ClaimLost):
        run(fields("far"), tmp_path, only=("far/pretrain",))
    assert done(tmp_path) == [] and list(tmp_path.glob("stages/*/results.jsonl"))


def test_a_study_and_a_run_do_not_share_a_folder(tmp_path):
    run(fields("far"), tmp_path / "study", most=0)
    experiment = from_config(copy.deepcopy(fields("far")["experiments"]["far"]))
    with pytest.raises(ConfigError, match="was written by a study"):
        Run(experiment, tmp_path / "study", None)()
    (tmp_path / "run" / "experiments").mkdir(parents=True)
    record = json.loads((tmp_path / "study" / "experiments" / "far.json").read_text()) | {"study": None}
    (tmp_path / "run" / "experiments" / "far.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="written by `xling run`"):
        run(fields("far"), tmp_path / "run")


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda study: study.update(name="another"), "was written by study 'tiny_study', and this is study 'another'"),
        (lambda study: study["experiments"]["far"].update(seeds=(0, 1)), r"Fields that differ: seeds\."),
        (
            lambda study: study["experiments"].update(new=study["experiments"].pop("far")),
            "'tiny_study' has none of that",
        ),
    ],
)
def test_a_study_that_has_changed_is_kept_out(tmp_path, change, says):
    run(fields("far"), tmp_path, most=0)
    other = fields("far")
    other["experiments"]["far"]["name"] = ""
    change(other)
    with pytest.raises(ConfigError, match=says):
        run(other, tmp_path)
    other = fields("far") | {"question": "Why not?"}
    other["experiments"]["far"]["question"] = fields("far")["experiments"]["far"]["question"]
    run(other, tmp_path, most=0)  # how it is answered may change
    assert json.loads((tmp_path / "study.json").read_text())["question"] == "Why not?"


def test_going_back_behind_damage_is_done_alone(tmp_path):
    (tmp_path / "work").mkdir()
    with study_run.hold(tmp_path / "work", shared=True), pytest.raises(ConfigError, match="Another process is running"):
        run(fields("far"), tmp_path / "work", most=0, skip_damaged=True)


def test_inference_is_timed_once_by_who_has_its_claim(tmp_path):
    declared, reported = fields("near"), []
    declared["experiments"]["near"]["clock"] = {"target": "pos", "batches": (8,), "repeats": 1, "language": "qnd"}
    path = tmp_path / "clock" / "near.json"
    run(declared, tmp_path, only=("near/pretrain",))
    assert not path.exists(), "its stages are not done"
    with Claims(tmp_path) as others:
        theirs = others.take("clock-near")
        assert theirs is not None
        run(declared, tmp_path, report=lambda: reported.append(1))
        assert done(tmp_path) == ALL and reported == [1] and not path.exists(), "another worker times it"
        others.give_back(theirs)
    run(declared, tmp_path)
    assert [one["batch"] for one in json.loads(path.read_text())["batches"]] == [8] and held(tmp_path) == []
    before = path.stat().st_mtime_ns
    run(declared, tmp_path)
    assert path.stat().st_mtime_ns == before, "it is not timed again"


def test_of_many_failures_the_first_are_told(tmp_path):
    failed = {
        f"s{n:02}": study_record.Failure(f"s{n:02}", f"No {n}.\nMore of it.", 5 if n == 0 else 3) for n in range(22)
    }
    error = StudyFailed("sizes", tmp_path, failed, [*failed, *(f"t{n}" for n in range(21))])
    said = str(error).splitlines()
    assert said[0] == "22 of study 'sizes' failed, everything that does not need it is done:"
    assert said[1:21] == [f"  s{n:02}: No {n}." for n in range(20)]
    assert said[21] == f"  and 2 more, see {tmp_path / 'failed'}"
    assert said[22] == f"Left to do: {' '.join(f't{n}' for n in range(20))} ... (21)."
    assert said[23].startswith(f"Whole errors are in {tmp_path / 'failed'}")
    assert len(said) == 24
    assert error.exit_code == 5
