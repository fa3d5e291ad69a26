"""Job files: one for each group that can begin, valid for their engines, and the same as their golden texts."""

import argparse
import dataclasses
import importlib.util
import os
import pathlib
import re
import subprocess

import pytest
import yaml

from xling_jax.errors import ConfigError
from xling_jax.planner.study import open_study
from xling_jax.stages.emit import LONGEST, Job, Place, jobs, sanitised, write_jobs
from xling_jax.study import study_from_config
from xling_jax.tables.slices import SLICES, slice_of

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden" / "jobs"
REST = ("--workdir=work/my study", "--config.experiments.far.seeds=(0, 1)")
PLACE = Place("/home/me/xling_jax", "configs/studies/mine.py:pod", REST, bucket="gs://my-bucket")
JOB = Job("mine-xlmr-xl-1x32x2", "xlmr_xl", "1x32x2", ("far", "near/nli_s0"), ("pretrain-1a", "nli_s0-2b"), 5)
SECOND = dataclasses.replace(JOB, name="mine-tiny-one", model="tiny", mesh="one")
WHERE = slice_of("v5e-64")


@pytest.fixture(scope="module")
def plans():
    spec = importlib.util.spec_from_file_location("tiny", HERE / "tiny.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fields = module.get_config().to_dict()
    fields["experiments"]["other"]["mesh"] = "any"
    fields["experiments"]["third"] = fields["experiments"]["near"] | {"name": "third", "mesh": "any"}
    return open_study(study_from_config(fields))


def test_a_job_for_each_slice_with_what_follows(plans):
    one, any_ = jobs("tiny_study", plans, lambda plan, node: False)
    assert (one.name, one.model, one.mesh, one.only) == ("tiny-study-tiny-one", "tiny", "one", ("far", "near"))
    assert one.stages == 4 and len(one.begins) == 1 and one.begins[0].startswith("pretrain-")
    assert any_.only == ("other",) and any_.stages == 4, "what 'third' shares with the first job is done there"


def test_when_it_is_done_the_next_is_written(plans):
    done = {node.hash for node in plans["far"].nodes if node.name != "nli_pos_s0"}
    (one, _) = jobs("tiny_study", plans, lambda plan, node: node.hash in done)
    assert one.begins[0].startswith("nli_pos_s0-") and one.stages == 1
    assert jobs("tiny_study", plans, lambda plan, node: True) == []


def test_evaluation_that_only_another_slice_has_left_is_its_job(plans):
    left = {("third", node.hash) for node in plans["third"].nodes if node.name in ("pretrain", "nli_s0")}
    left |= {("far", node.hash) for node in plans["far"].nodes if node.name == "nli_pos_s0"}
    made = jobs("s", plans, lambda plan, node: (plan.experiment.name, node.hash) not in left)
    far, third = sorted(made, key=lambda job: job.mesh, reverse=True)
    assert (far.only, third.only) == (("far",), ("third",)) and third.stages == 2


def test_a_part_of_an_experiment_is_named_by_its_stages(plans):
    """The first stage is shared with an experiment on another mesh, whose job has it; the rest comes later."""
    changed = {name: plans[name] for name in ("third", "far")}
    one, *more = jobs("s", changed, lambda plan, node: False)
    assert one.only == ("third",) and not more, "of 'far' nothing can begin that 'third' does not do"


def golden():
    made = {}
    for engine in ("sh", "skypilot", "xpk"):
        files = write_jobs(engine, [JOB, SECOND], WHERE, PLACE)
        made |= {f"{engine}-{name}": text for name, text in files.items()}
    return made


@pytest.mark.parametrize("name", golden())
def test_job_files_are_what_they_were(name):
    path, text = GOLDEN / name, golden()[name]
    if "XLING_WRITE_GOLDEN" in os.environ:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists() and text == path.read_text(), "if that is meant, run this test with XLING_WRITE_GOLDEN=1"


@pytest.mark.parametrize("name", [name for name in golden() if name.endswith(".sh")])
def test_scripts_are_scripts(name, tmp_path):
    (tmp_path / name).write_text(golden()[name])
    checked = subprocess.run(["bash", "-n", tmp_path / name], check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("where", [one for one in SLICES if not one.startswith("cpu")])
def test_skypilot_reads_it(where):
    (text,) = write_jobs("skypilot", [JOB], slice_of(where), PLACE).values()
    task = yaml.safe_load(text)
    assert set(task) == {"name", "workdir", "num_nodes", "resources", "file_mounts", "setup", "run"}
    assert task["resources"]["job_recovery"] == {"recover_on_exit_codes": [75]} and task["num_nodes"] == 1
    assert task["file_mounts"] == {"/xling": {"source": "gs://my-bucket", "mode": "MOUNT"}}
    if where.startswith("h100"):
        assert task["resources"]["accelerators"] == f"H100:{where[5:]}" and "'.[gpu]'" in task["setup"]
    else:
        assert re.fullmatch(r"tpu-(v4|v5litepod|v5p|v6e)-\d+", task["resources"]["accelerators"])
        assert task["resources"]["accelerator_args"]["runtime_version"] and "'.[tpu]'" in task["setup"]
        assert task["resources"]["accelerators"].rpartition("-")[2] == where.rpartition("-")[2]
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n"], input=script, check=False, text=True).returncode == 0


def fake(tmp_path, name, program):
    """Puts a program of that name in front of all others, and returns the environment that has it."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    path = tmp_path / "bin" / name
    path.write_text(f"#!/usr/bin/env bash\n{program}\n")
    path.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "LOG": str(tmp_path / "log")}


def scripts(tmp_path, *made):
    (tmp_path / "code").mkdir(exist_ok=True)
    place = dataclasses.replace(PLACE, root=str(tmp_path / "code"))
    for name, text in write_jobs("sh", made, None, place).items():
        (tmp_path / name).write_text(text)


SAID = "study --config=configs/studies/mine.py:pod --workdir=work/my study --config.experiments.far.seeds=(0, 1)"


def test_a_script_runs_until_it_is_done(tmp_path):
    """Interrupted twice, then done; the words arrive as they were given."""
    program = 'printf "%s\\n" "$*" >>"$LOG"; [ "$(wc -l <"$LOG")" -ge 3 ] || exit 75'
    env = fake(tmp_path, "xling", program)
    scripts(tmp_path, JOB)
    done = subprocess.run(["bash", tmp_path / f"{JOB.name}.sh"], check=False, env=env, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == [f"{SAID} --only=far,near/nli_s0"] * 3


@pytest.mark.parametrize("tries, code, runs", [("2", 75, 2), ("5", 4, 1)])
def test_a_script_leaves_with_the_code(tmp_path, tries, code, runs):
    env = fake(tmp_path, "xling", f'echo >>"$LOG"; exit {code}') | {"TRIES": tries}
    scripts(tmp_path, JOB)
    done = subprocess.run(["bash", tmp_path / f"{JOB.name}.sh"], check=False, env=env, timeout=60)
    assert done.returncode == code and (tmp_path / "log").read_text().count("\n") == runs


@pytest.mark.parametrize("script", [f"{JOB.name}.sh", "run_all.sh"])
def test_a_script_that_is_told_to_stop_lets_it_save(tmp_path, script):
    program = 'trap "echo saved >>$LOG; exit 75" TERM; echo began >>"$LOG"; while :; do sleep 0.1; done'
    env = fake(tmp_path, "xling", program)
    scripts(tmp_path, JOB)
    process = subprocess.Popen(["bash", tmp_path / script], env=env)
    while not (tmp_path / "log").exists():
        assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=60) == 75
    assert (tmp_path / "log").read_text().split() == ["began", "saved"], "and it is not run again"


@pytest.mark.parametrize("at_once", ["", "1"])
def test_all_are_run_and_the_first_failure_is_the_code(tmp_path, at_once):
    env = fake(tmp_path, "xling", 'echo >>"$LOG"; exit 5') | {"AT_ONCE": at_once}
    scripts(tmp_path, JOB, SECOND)
    done = subprocess.run(["bash", tmp_path / "run_all.sh"], check=False, env=env, timeout=60)
    assert done.returncode == 5 and (tmp_path / "log").read_text().count("\n") == 2


def test_xpk_is_told_what_to_run(tmp_path):
    env = fake(tmp_path, "xpk", 'printf "%s\\n" "$@" >>"$LOG"') | {"XPK_CLUSTER": "mine"}
    place = dataclasses.replace(PLACE, root=str(tmp_path))
    (text,) = write_jobs("xpk", [JOB], WHERE, place).values()
    subprocess.run(["bash"], input=text, check=True, env=env, text=True, timeout=60)
    said = (tmp_path / "log").read_text().splitlines()
    assert said[:5] == ["workload", "create", "--cluster=mine", f"--workload={JOB.name}", "--tpu-type=v5litepod-64"]
    assert "--restart-on-exit-codes=75" in said
    (command,) = (word.removeprefix("--command=") for word in said if word.startswith("--command="))
    inside = fake(tmp_path, "xling", 'printf "%s\\n" "$*" >"$LOG"')
    fake(tmp_path, "python3", "true")
    there = command.replace("cd /xling", f"cd {tmp_path}")
    subprocess.run(["bash", "-c", there], check=True, env=inside, cwd=HERE, timeout=60)
    assert (tmp_path / "log").read_text().replace(f"{HERE}/", "") == f"{SAID} --only=far,near/nli_s0\n"


def test_the_real_skypilot_reads_it(tmp_path):
    sky = pytest.importorskip("sky", reason="SkyPilot is not installed: pip install 'skypilot[gcp]'")
    (text,) = write_jobs("skypilot", [JOB], WHERE, dataclasses.replace(PLACE, root=str(tmp_path))).values()
    (tmp_path / "task.yaml").write_text(text)
    (resources,) = sky.Task.from_yaml(str(tmp_path / "task.yaml")).resources
    assert resources.accelerators == {"tpu-v5litepod-64": 1}
    assert resources.job_recovery["recover_on_exit_codes"] == [75]


def test_the_real_xpk_takes_every_flag(tmp_path):
    core = pytest.importorskip("xpk.parser.core", reason="xpk is not installed: pip install xpk")
    env = fake(tmp_path, "xpk", 'printf "%s\\0" "$@" >"$LOG"') | {"XPK_CLUSTER": "mine"}
    (text,) = write_jobs("xpk", [JOB], WHERE, dataclasses.replace(PLACE, root=str(tmp_path))).values()
    subprocess.run(["bash"], input=text, check=True, env=env, text=True, timeout=60)
    parser = argparse.ArgumentParser("xpk")
    core.set_parser(parser=parser)
    values = parser.parse_args((tmp_path / "log").read_text().split("\0")[:-1])
    assert values.tpu_type == "v5litepod-64" and values.restart_on_exit_codes == "75"


def test_names_are_taken_by_clouds():
    assert sanitised("My_Study--xlmr_xl-1x32x2") == "my-study-xlmr-xl-1x32x2" and sanitised("7b") == "x-7b"
    long = sanitised("a" * 50)
    assert len(long) <= LONGEST and re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", long)


@pytest.mark.parametrize(
    "engine, where, place, says",
    [
        ("skypilot", None, PLACE, "for no slice"),
        ("xpk", slice_of("cpu-8"), PLACE, "for cpu-8"),
        ("skypilot", WHERE, dataclasses.replace(PLACE, bucket="my-bucket"), "--bucket='my-bucket'"),
    ],
)
def test_what_an_engine_needs(engine, where, place, says):
    with pytest.raises(ConfigError, match=says):
        write_jobs(engine, [JOB], where, place)
