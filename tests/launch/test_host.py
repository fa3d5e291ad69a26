"""What hosts do with a work folder on their disk: the bucket has a whole one at every moment."""

import os
import pathlib
import signal

import pytest
from test_babysit import COMMAND, ROWS, WHAT, results

from xling_jax.launch.gcloud import CloudError
from xling_jax.launch.job import HostState, _host, verdict

LOST = "ERROR: (gcloud.storage.cat) HTTPError 503: the service is unavailable"


def give(place, cli, steps):
    """Puts a work folder of so many steps into the bucket."""
    here = place.folder / "here"
    here.mkdir()
    (here / "results.jsonl").write_text("".join(f"step {step}\n" for step in range(1, steps + 1)))
    (here / "count").write_text(str(steps))
    cli("sync", "first", "up", str(here), "--zone=us-west4-a", WHAT[3])


def test_a_copy_that_is_torn_is_none(place, cli):
    """The slice goes in the middle of a copy: what is gone on with is the one before it, as a whole."""
    give(place, cli, 3)
    place.write_plan(faults=[{"of": "storage rsync", "seen": "step 7", "does": "tear"}])
    cli("babysit", "first", *WHAT, *COMMAND, "SCRIPT=slow")
    assert results(place) == ROWS and place.is_empty() and place.counted("made") == 2
    logs = [log.read_text() for log in sorted((place.bucket / "mine" / "runs" / "first" / "logs").iterdir())]
    assert "goes on from step 3" in logs[-1] and "are counted" not in logs[-1]


def test_a_bucket_that_does_not_answer_is_not_an_empty_one(place, cli):
    """Else the run would begin anew, and in the end take the place of what was there."""
    give(place, cli, 8)
    place.write_plan(faults=[{"of": "storage cat", "seen": "xling run", "says": LOST}])
    said = cli("babysit", "first", *WHAT, *COMMAND)
    assert "interrupted; starting again" in said and place.counted("made") == 1
    said = "".join(log.read_text() for log in (place.bucket / "mine" / "runs" / "first" / "logs").iterdir())
    assert "the bucket does not answer" in said and "goes on from step 8" in said and "from step 0" not in said


@pytest.mark.slow
def test_results_that_could_not_be_kept_are_not_deleted(place, cli):
    """The command is done, and its folder does not get into the bucket: the slice is not done."""
    no_room = "ERROR: (gcloud.storage.rsync) HTTPError 429: rate limit"
    place.write_plan(faults=[{"of": "storage rsync", "times": 4, "says": no_room}])
    said = cli("babysit", "first", *WHAT, *COMMAND)
    assert "interrupted; starting again" in said and results(place) == ROWS and place.is_empty()


@pytest.mark.slow
def test_a_command_without_its_keeper_still_runs(place, cli):
    """The script around it is killed: it is not started a second time beside itself."""
    cli("create", "first", *WHAT[:2], "--poll=0.01")
    cli("run", "first", WHAT[3], *COMMAND, "SCRIPT=hang")
    found = [
        pid for pid in place.processes("first") if b"\0hold\0" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(found[0], signal.SIGKILL)
    assert "running" in cli("status", "first")
    cli("run", "first", WHAT[3], *COMMAND, "SCRIPT=hang")
    log = next(place.vms.glob("first/0/xling/first/log")).read_text()
    assert log.count("goes on from step") == 1
    cli("stop", "first")
    assert "absent" in cli("status", "first")


def host(state, code=0):
    return HostState("vm", "id", state, code)


@pytest.mark.parametrize(
    "hosts, code",
    [
        ([host("running"), host("ended", 4)], None),
        ([host("ended"), host("ended")], 0),
        ([host("ended"), host("ended", 75)], 75),
        ([host("ended", 75), host("ended", 3)], 3),
        ([host("ended"), host("absent")], 75),
        ([host("absent"), host("absent")], 75),
    ],
)
def test_the_exit_code_of_all_hosts(hosts, code):
    assert verdict(hosts) == code


def test_what_a_host_says():
    found = _host("xling-host t1v-n-w-0 1f7d ended 75 qa2_s0: 40/100 steps")
    assert found == HostState("t1v-n-w-0", "1f7d", "ended", 75, "qa2_s0: 40/100 steps")
    assert _host("xling-host vm - absent 0 ").state == "absent"
    for line in ("xling-host vm 1f7d ended  no room", "xling-host vm"):
        with pytest.raises(CloudError, match="A host says of itself"):
            _host(line)
