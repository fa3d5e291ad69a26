"""The babysitter, around a stand-in program, on a cloud in a folder in which things go wrong."""

import json
import os
import signal
import subprocess
import time

import pytest

from xling_jax.launch import commands, gcloud

WHAT = ("--zone=us-west4-a", "--type=v5e-8", "--spot", "--bucket=gs://mine/runs", "--poll=0.05", "--every=1")
COMMAND = ("--", "xling", "run", "--workdir=work/w")
ROWS = "".join(f"step {step}\n" for step in range(1, 11))
BUSY = "ERROR: (gcloud.compute.tpus) UNAVAILABLE: The service is currently unavailable."
QUOTA = (
    "Quota limit 'TPUV5sPreemptibleLitepodPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone us-west4-a."
)


def results(place, name="first"):
    """Returns what the bucket says is whole."""
    folder = place.bucket / "mine" / "runs" / name / "workdir"
    return (folder / (folder / "whole").read_text() / "results.jsonl").read_text()


def wait_for(what, process=None, seconds=60):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until and (process is None or process.poll() is None), "it did not come to that"
        time.sleep(0.02)


def is_at(place, text, name="first"):
    path = place.vms / name / "0" / "xling" / name / "log"
    return lambda: path.exists() and text in path.read_text()


def test_a_run_to_its_end(place, cli):
    said = cli("babysit", "first", *WHAT, *COMMAND)
    assert "WAITING_FOR_RESOURCES" in said and "started on all hosts" in said and "ended with exit code 0" in said
    assert results(place) == ROWS and place.is_empty() and place.counted("made") == 1
    (log,) = (place.bucket / "mine" / "runs" / "first" / "logs").iterdir()
    assert "step 10" in log.read_text()
    assert json.loads((place.folder / "state" / "first.json").read_text())["seconds"] == 0, "the next run counts anew"


@pytest.mark.parametrize("of", ["tpu-vm describe", pytest.param("tpu-vm ssh", marks=pytest.mark.slow)])
def test_a_slice_that_is_taken_away_is_made_again(place, cli, of):
    """Before a look, or in the middle of one."""
    place.write_plan(faults=[{"of": of, "seen": "step 4", "does": "preempt"}])
    said = cli("babysit", "first", *WHAT, *COMMAND, "SCRIPT=slow")
    assert "SUSPENDED" in said and "the slices are gone; making them again (1 of 100" in said
    assert results(place) == ROWS and place.is_empty() and place.counted("made") == 2


def test_the_cloud_has_bad_days(place, cli):
    """No answers, half answers, a request that fails for want of room, one that was heard and denied, none deleted."""
    place.write_plan(
        refuses=1,
        why='There is no more capacity in the zone "us-west4-a"',
        faults=[
            {"of": "queued-resources describe", "times": 2, "says": BUSY},
            {"of": "queued-resources create", "says": BUSY, "after": True},
            {"of": "queued-resources delete", "times": 2, "says": BUSY},
            {"of": "tpu-vm ssh", "times": 2, "says": "ERROR: (gcloud.compute.tpus.tpu-vm.ssh) [255]", "code": 255},
        ],
    )
    said = cli("babysit", "first", *WHAT, *COMMAND)
    assert said.count("The service is currently unavailable") == 5 and "FAILED: There is no more capacity" in said
    assert results(place) == ROWS and place.is_empty() and place.counted("made") == 1


@pytest.mark.parametrize(
    "plan, says",
    [
        ({"refuses": 1, "why": QUOTA}, "Could not make first: Quota limit 'TPUV5s"),
        (
            {"faults": [{"of": "create", "says": f"ERROR: (gcloud.x) {QUOTA}"}]},
            "Could not make first: Quota limit 'TPUV5s",
        ),
        (
            {"faults": [{"of": "describe", "says": "ERROR: (gcloud.x) You do not currently have an active account."}]},
            "Could not look at first: You do not currently have an active account. Run `gcloud auth login`.",
        ),
        (
            {"faults": [{"of": "storage cp", "says": "ERROR: (gcloud.storage.cp) gs://mine bucket does not exist."}]},
            "Could not put the code into gs://mine/runs/first: gs://mine bucket does not exist. Run `gcloud storage b",
        ),
        ({"refuses": 9, "why": "Something new"}, "Could not make first: Something new. These are its words."),
        (
            {"faults": [{"of": "ssh", "times": 99, "says": "ERROR: (gcloud.x) Permission denied (publickey)."}]},
            "Could not hear from the hosts: Permission denied (publickey). Run `ssh-add",
        ),
    ],
)
def test_what_asking_again_does_not_change(place, cli, plan, says):
    """One line that says what helps, and nothing is left."""
    place.write_plan(**plan)
    said = cli("babysit", "first", *WHAT, *COMMAND, code=1)
    assert said.splitlines()[-1].startswith(f"error: {says}") and place.is_empty()


def test_a_name_that_is_taken_meanwhile(place, cli):
    """Asking is refused, and looking finds nothing: it is given up, and does not go round and round."""
    taken = "ERROR: (gcloud.compute.tpus.queued-resources.create) ALREADY_EXISTS: Resource 'first' already exists"
    place.write_plan(faults=[{"of": "queued-resources create", "times": 99, "says": taken}])
    said = cli("babysit", "first", *WHAT, *COMMAND, code=1)
    assert said.splitlines()[-1].startswith("error: Could not make first: ALREADY_EXISTS") and place.is_empty()
    assert len(place.commands("queued-resources create")) == 6


def test_a_run_that_fails_is_not_tried_again(place, cli):
    said = cli("babysit", "first", *WHAT, *COMMAND, "SCRIPT=fail4", code=4)
    assert "error: the checkpoint is damaged." in said and "ended with exit code 4" in said
    assert place.is_empty() and place.counted("made") == 1
    assert results(place).endswith("step 5\n"), "what it had is kept"


@pytest.mark.slow
def test_a_run_that_is_interrupted_is_started_again(place, cli):
    """On the slice that is there; and after a reboot of a host, which leaves no exit code."""
    said = cli("babysit", "first", *WHAT, *COMMAND, "SCRIPT=again")
    assert "interrupted; starting again (1 of 100" in said and place.counted("made") == 1
    assert results(place) == ROWS and place.is_empty()
    place.write_plan(faults=[{"of": "tpu-vm ssh", "seen": "step 3", "does": "reboot"}])
    said = cli("babysit", "second", *WHAT, *COMMAND, "SCRIPT=slow")
    assert "interrupted; starting again" in said and place.counted("made") == 2
    assert results(place, "second") == ROWS and place.is_empty()


@pytest.mark.slow
def test_tries_have_an_end(place, cli):
    said = cli("babysit", "first", *WHAT, "--tries=1", *COMMAND, "SCRIPT=again", code=75)
    assert "ended with exit code 75" in said and place.is_empty()


@pytest.mark.slow
def test_a_limit(place, cli):
    """The command saves, the slice goes, and the same limit makes none again; a higher one goes on."""
    words = ("babysit", "first", *WHAT, "--price=100")
    said = cli(*words, "--max_dollars=0.5", *COMMAND, "SCRIPT=hang", code=1)
    assert "error: The limit is reached: --max_dollars=0.5, spent" in said and "asking the command to save" in said
    assert place.is_empty()
    assert "The limit is reached" in cli(*words, "--max_dollars=0.5", *COMMAND, code=1)
    assert place.counted("made") == 1
    cli(*words, "--max_dollars=900", *COMMAND)
    assert results(place).startswith(ROWS) and place.is_empty()


@pytest.mark.slow
def test_hours_are_counted_too(place, cli):
    said = cli("babysit", "first", *WHAT, "--max_hours=0.0001", *COMMAND, "SCRIPT=hang", code=1)
    assert "error: The limit is reached: --max_hours=0.0001" in said and place.is_empty()


def test_what_cannot_be_deleted_is_said(place, cli):
    denied = "ERROR: (gcloud.compute.tpus.queued-resources.delete) PERMISSION_DENIED: Permission 'tpu.x' denied"
    place.write_plan(faults=[{"of": "queued-resources delete", "times": 99, "says": denied}])
    said = cli("babysit", "first", *WHAT, *COMMAND, code=1).splitlines()[-1]
    assert said.startswith("error: first was NOT deleted and costs up to $9.60 an hour: Could not delete first: PERM")
    assert said.endswith("Delete it: scripts/tpu.sh delete first --zone=us-west4-a")
    assert len(place.commands("queued-resources delete")) == 1, "asking again would change nothing"


@pytest.mark.slow
def test_what_stays_when_it_is_to_stay(place, cli):
    assert "first stays and costs up to $9.60 an hour" in cli("babysit", "first", *WHAT, "--keep", *COMMAND)
    assert not place.is_empty()
    cli("delete", "first")
    assert place.is_empty()


def test_what_is_another_s_is_left_alone(place, cli):
    """Another slice, or another command, of that name."""
    cli("create", "first", "--zone=us-west4-a", "--type=v5e-4", "--poll=0.01")
    said = cli("babysit", "first", *WHAT, *COMMAND, code=1)
    assert "error: first is a v5litepod-4 already, no v5litepod-8. Choose another name" in said
    assert "already, no v5litepod-8" in cli("create", "first", *WHAT[:2], code=1)
    cli("delete", "first")
    cli("create", "first", *WHAT[:3], "--poll=0.01")
    cli("run", "first", WHAT[3], "--every=1", *COMMAND, "SCRIPT=hang")
    assert "error: Another command runs on first." in cli("babysit", "first", *WHAT, *COMMAND, code=1)
    assert "running" in cli("status", "first") and place.counted("made") == 2
    assert "another command runs on" in cli("run", "first", WHAT[3], *COMMAND, code=1)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_asked_to_stop_leaves_nothing(place, number):
    """The command saves, the slice is deleted; a terminal that is closed does not keep it from that."""
    process = place.start("babysit", "first", *WHAT, *COMMAND, "SCRIPT=hang")
    wait_for(is_at(place, "step 3"), process)
    if number == signal.SIGHUP:
        process.stdout.close()
    process.send_signal(number)
    assert process.wait(timeout=60) == 75
    if number != signal.SIGHUP:
        said = process.stdout.read()
        assert f"error: asked to stop by {number.name}; the same command goes on" in said and "Traceback" not in said
    assert place.is_empty() and "step 3" in results(place)
    (log,) = (place.bucket / "mine" / "runs" / "first" / "logs").iterdir()
    assert "saved at step" in log.read_text()


@pytest.mark.slow
def test_nohup_is_meant(place):
    process = place.start("babysit", "first", *WHAT, *COMMAND, "SCRIPT=slow", preexec_fn=ignore_hangups)
    wait_for(is_at(place, "step 2"), process)
    process.send_signal(signal.SIGHUP)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "asked to stop" not in said and place.is_empty()


def ignore_hangups():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.mark.slow
def test_a_host_that_was_not_reached_is_started_later(place, cli):
    """Of two hosts one has the command: it is started on the other, and goes on where it runs."""
    place.write_plan(hosts=2)
    words = ("--bucket=gs://mine/runs", "--", "xling", "run", "--workdir=gs://mine/w", "SCRIPT=hang")
    cli("create", "first", "--zone=us-west4-a", "--type=v5e-16", "--poll=0.01")
    cli("run", "first", *words)
    for pid in place.processes("first/1"):
        os.kill(pid, signal.SIGKILL)
    said = cli(
        "babysit", "first", "--zone=us-west4-a", "--type=v5e-16", "--poll=0.05", "--max_hours=0.001", *words, code=1
    )
    assert "started on all hosts" in said and place.counted("made") == 1 and place.is_empty()


@pytest.mark.slow
def test_who_is_asked_to_stop_while_it_asks_waits_for_the_answer(place):
    """Else the request would be granted after it was looked for."""
    place.write_plan(faults=[{"of": "queued-resources create", "delay": 1.5}])
    process = place.start("babysit", "first", *WHAT, *COMMAND)
    wait_for(lambda: place.commands("queued-resources create"), process)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 75 and "waiting for the request that is under way" in said
    assert place.is_empty() and place.counted("deleted") == 1


@pytest.mark.slow
def test_who_does_not_wait_for_the_end_is_told_what_stays(place):
    place.write_plan(faults=[{"of": "queued-resources delete", "times": 9, "delay": 5}])
    process = place.start("babysit", "first", *WHAT, *COMMAND)
    wait_for(lambda: place.commands("queued-resources delete"), process)
    process.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "first was NOT deleted and costs up to $9.60 an hour: asked to stop" in said


@pytest.mark.slow
def test_kill_and_the_same_command_goes_on(place):
    """After kill -9 the run goes on by itself; the next babysitter watches it. Two at a time there are not."""
    words = ("babysit", "first", *WHAT, *COMMAND, "SCRIPT=hang")
    process = place.start(*words)
    wait_for(is_at(place, "step 2"), process)
    said = place.run(*words, code=2)
    assert said == "error: Another tpu.sh looks after 'first' here. Allowed: one at a time.\n"
    process.kill()
    process.wait()
    process = place.start(*words)
    said = process.stdout.readline()
    while "watching it" not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    process.terminate()
    assert process.wait(timeout=60) == 75 and place.is_empty() and place.counted("made") == 1
    assert "goes on from step 0" in results_log(place) and results_log(place).count("goes on from") == 1


def results_log(place):
    return "".join(log.read_text() for log in (place.bucket / "mine" / "runs" / "first" / "logs").iterdir())


@pytest.mark.slow
def test_a_slow_answer_shows_that_it_is_awaited(place, monkeypatch, capfd):
    """And one that does not come at all is given up."""
    monkeypatch.setenv("FAKE_CLOUD", str(place.folder))
    monkeypatch.setenv("PATH", f"{place.folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setitem(gcloud.LIMITS, "show", 0.5)
    place.write_plan(faults=[{"of": "storage cat", "delay": 30}])
    said = []
    with pytest.raises(gcloud.CloudError, match=r"Could not read it: no answer in \d s\.") as failed:
        gcloud.Gcloud(said.append, progress=0.2)(commands.show("gs://mine/x"), "read it")
    assert failed.value.kind == "again" and said[0].startswith("still at it (read it), 0 s")
    assert not subprocess.run(["pgrep", "-f", str(place.folder)], check=False, capture_output=True).stdout
