"""Each verb as a user calls it, on a cloud in a folder; right inputs and wrong ones."""

import json
import pathlib
import re
import shutil

import pytest

from xling_jax.launch import job

THERE = ("--zone=us-west4-a", "--poll=0.01")
WHERE = (*THERE, "--type=v5e-8")
BUCKET = "--bucket=gs://mine/runs"
COMMAND = ("--", "xling", "run", "--workdir=work/w")


def test_a_slice_by_hand(place, cli):
    """Made, used, looked at, its results fetched, deleted; what was said once is known afterwards."""
    assert "WAITING_FOR_RESOURCES" in cli("create", "first", *WHERE, "--spot")
    assert "READY, v5litepod-8 in us-west4-a" in cli("status", "first") and "first" in cli("list", "--zone=us-west4-a")
    cli("run", "first", BUCKET, *COMMAND)
    while "running" in (said := cli("status", "first")):
        pass
    assert "ended with 0" in said and "[host] ended with 0" in said
    assert "step 10" in cli("logs", "first") and "step 10" not in cli("logs", "first", "--lines=1")
    cli("sync", "first", "down", "here")
    assert (place.folder / "here" / "results.jsonl").read_text().endswith("step 10\n")
    cli("stop", "first")
    assert "first is deleted" in cli("delete", "first") and place.is_empty()
    assert "step 10" in cli("logs", "first"), "the bucket has them"
    assert "deleted" in cli("delete", "first"), "what is gone is gone"
    assert "absent in us-west4-a" in cli("status", "first")
    assert place.counted("deleted") == 1


def test_a_folder_from_here_is_gone_on_with(place, cli):
    (place.folder / "here").mkdir()
    (place.folder / "here" / "results.jsonl").write_text("".join(f"step {step}\n" for step in range(1, 9)))
    cli("create", "first", *WHERE)
    cli("sync", "first", "up", "here", BUCKET)
    cli("run", "first", BUCKET, *COMMAND)
    while "running" in cli("status", "first"):
        pass
    assert "goes on from step 8" in cli("logs", "first")


def test_the_code_as_it_is_and_what_it_is_given(place, cli, monkeypatch):
    """Changes that are not committed go along, what git ignores does not; folders of the bucket are fetched."""
    mine = pathlib.Path(shutil.copytree(place.clone, place.folder / "clone"))
    monkeypatch.setattr(job, "ROOT", mine)
    (mine / ".gitignore").write_text("/work*/\n")
    (mine / "work").mkdir()
    (mine / "work" / "secret").touch()
    (mine / "mine.py").write_text("new")
    (place.bucket / "mine" / "data").mkdir(parents=True)
    (place.bucket / "mine" / "data" / "xnli.tsv").write_text("text")
    cli("create", "first", *WHERE)
    cli("run", "first", BUCKET, "--fetch=gs://mine/data=files/xnli", *COMMAND)
    run = place.vms / "first" / "0" / "xling" / "first"
    assert (run / "code" / "mine.py").read_text() == "new" and not (run / "code" / "work" / "secret").exists()
    assert (run / "code" / "files" / "xnli" / "xnli.tsv").read_text() == "text"
    installed = (place.vms / "first" / "0" / "installs").read_text()
    assert "-r requirements.lock --editable .[tpu,gcs]" in installed
    cli("run", "first", BUCKET, *COMMAND)
    assert (place.vms / "first" / "0" / "installs").read_text() == installed, "what is installed is not installed again"


@pytest.mark.slow
def test_several_hosts_and_slices(place, cli):
    """Every host of every slice gets the command."""
    place.write_plan(hosts=4)
    there = ("--workdir=gs://mine/w",)
    cli("create", "pod", "--zone=us-west4-a", "--type=v5e-16", "--slices=2", "--poll=0.01")
    (made,) = place.commands("queued-resources create")
    assert "--node-count=2 --node-prefix=pod" in made and "--accelerator-type=v5litepod-16" in made
    cli("run", "pod", BUCKET, "--", "xling", "run", *there)
    while "running" in (said := cli("status", "pod")):
        pass
    assert said.count(": ended with 0") == 8
    assert cli("status", "pod", "--zone=us-west4-a").count(": ended") == 8
    cli("delete", "pod")
    assert place.is_empty()


def test_now_or_not_at_all(place, cli):
    """Without the queue: asked again while there is no room."""
    no_room = (
        'ERROR: (gcloud.compute.tpus.tpu-vm.create) {"code": 8, "message": "There is no more capacity in the zone"}'
    )
    place.write_plan(faults=[{"of": "tpu-vm create", "times": 2, "says": no_room}])
    said = cli("create", "now", *WHERE, "--noqueued", "--runtime=mine", "--create_flag=--network=net")
    assert said.count("no more capacity") == 2 and not place.commands("queued-resources")
    made = place.commands("tpu-vm create")
    assert len(made) == 3 and "--version=mine" in made[0] and "--network=net" in made[0] and "--spot" not in made[0]
    cli("delete", "now")
    assert place.is_empty()


def test_a_slice_that_another_machine_made(place, cli, monkeypatch):
    """Nothing is known of it here, and it was made without the queue: it is found, and no second one is made."""
    cli("create", "now", *WHERE, "--noqueued")
    monkeypatch.setenv("XLING_TPU_STATE", str(place.folder / "elsewhere"))
    assert "now: READY, v5litepod-8" in cli("status", "now", *THERE)
    said = cli("babysit", "now", *WHERE, BUCKET, *COMMAND, code=1)
    assert "error: now is there already, made without the queue. Choose another name, or delete it" in said
    assert "now" in place.alive() and place.counted("made") == 1
    cli("delete", "now", *THERE)
    assert place.is_empty()


@pytest.mark.parametrize(
    "words, says",
    [
        ((), "required: VERB"),
        (("grow", "first"), "invalid choice: 'grow'"),
        (("create",), "required: name"),
        (("create", "first", "--type=v5e-8"), "--zone is not given, and nothing is known of 'first'"),
        (("create", "first", "--zone=us-west4-a"), "--type is not given"),
        (("create", "First", *WHERE), "name is 'First'. Allowed: small letters"),
        (("create", "f" * 40, *WHERE), "name is 'fff"),
        (("create", "first", "--zone=us-west4", "--type=v5e-8"), "--zone is 'us-west4'"),
        (("create", "first", "--zone=us-west4-a", "--type=v5e-12"), "Did you mean: v5e-1"),
        (("create", "first", "--zone=us-west4-a", "--type=h100-8"), "--type=h100-8 is no slice of TPUs. Allowed: v4-8"),
        (("create", "first", *WHERE, "--slices=0"), "--slices=0"),
        (("create", "first", *WHERE, "--slices=2", "--noqueued"), "--noqueued. Allowed: several slices as a queued"),
        (("create", "first", *WHERE, "--price=-1"), "invalid positive float value: '-1'"),
        (("create", "first", *WHERE, "--max_hours=1"), "unrecognized arguments: --max_hours=1"),
        (("create", "first", *WHERE, *COMMAND), "create takes no command"),
        (("babysit", "first", *WHERE, BUCKET), "There is nothing to run. Allowed: -- xling run"),
        (("babysit", "first", *WHERE, BUCKET, "--"), "There is nothing to run"),
        (("babysit", "first", *WHERE, *COMMAND), "--bucket is not given"),
        (("babysit", "first", *WHERE, "--bucket=mine", *COMMAND), "--bucket is 'mine'. Allowed: gs://NAME"),
        (("babysit", "first", *WHERE, BUCKET, "--", "xling", "run"), "'xling run' has 0 --workdir"),
        (("babysit", "first", *WHERE, BUCKET, "--max_hours=nan", *COMMAND), "invalid positive float value: 'nan'"),
        (
            ("babysit", "first", *WHERE, BUCKET, "--fetch=data", *COMMAND),
            "--fetch is 'data'. Allowed: gs://FOLDER=FOLDER",
        ),
        (
            ("babysit", "first", "--zone=us-west4-a", "--type=v5e-16", BUCKET, *COMMAND),
            "4 hosts, which do not see each other's disks. Allowed: --workdir=gs://..., for example gs://mine/runs/work/w",
        ),
        (("run", "first", *WHERE, BUCKET, *COMMAND), "first is absent in us-west4-a. Allowed: a slice that is ready"),
        (("stop", "first", *THERE), "first is absent"),
        (("logs", "first", *THERE), "--bucket is ''"),
        (("logs", "first", *THERE, "--lines=0"), "invalid positive int value: '0'"),
        (("sync", "first", "sideways", "here", "--zone=us-west4-a"), "invalid choice: 'sideways'"),
        (("sync", "first", "down", "here", "--zone=us-west4-a", BUCKET), "holds no work folder yet"),
        (("sync", "first", "up", "nowhere", "--zone=us-west4-a", BUCKET), "There is no folder nowhere"),
        (("list",), "--zone is not given"),
    ],
)
def test_what_is_not_allowed(place, cli, words, says):
    said = cli(*words, code=2)
    assert says in said and said.startswith("error: ") and said.count("\n") == 1
    assert not place.commands("create") and place.is_empty()


def test_no_gcloud(place):
    """As a process: it is PATH that lacks it."""
    environment = place.environment() | {"PATH": "/usr/bin/nowhere:/bin/nowhere"}
    environment["PATH"] = str(place.folder / "few")
    (place.folder / "few").mkdir()
    for name in ("bash", "dirname", "env"):
        (place.folder / "few" / name).symlink_to(f"/usr/bin/{name}")
    said = place.run("status", "first", *WHERE[:1], code=1, env=environment)
    assert said.startswith("error: There is no gcloud on PATH. Install the Google Cloud CLI") and said.count("\n") == 1


def test_a_python_that_is_too_old(place):
    environment = place.environment() | {"XLING_PYTHON": "false"}
    assert place.run("status", "first", code=2, env=environment).startswith("error: false is not Python 3.11 or newer.")


ALL = [
    ("create", "first", *WHERE, "--spot"),
    ("run", "first", *WHERE, BUCKET, *COMMAND),
    ("babysit", "first", *WHERE, BUCKET, "--max_hours=3", *COMMAND),
    ("status", "first", *THERE),
    ("logs", "first", *THERE, "--follow"),
    ("sync", "first", "down", "here", *THERE, BUCKET),
    ("stop", "first", *THERE),
    ("delete", "first", *THERE),
    ("list", "--zone=us-west4-a"),
]


@pytest.mark.parametrize("words", ALL, ids=lambda words: words[0])
def test_a_dry_run_prints_every_command_and_does_nothing(place, cli, words):
    """What it prints is what the verb runs, in that order, when all goes well."""
    at = words.index("--") if "--" in words else len(words)
    said = cli(*words[:at], "--dry_run", *words[at:])
    shown = [line for line in said.splitlines() if line.startswith("gcloud ")]
    assert shown and not place.commands() and place.is_empty() and not (place.folder / "state").exists()
    kinds = {" ".join(line.split()[1:5]) for line in shown}
    if words[0] == "babysit":
        for part in ("queued-resources create", "tpu-vm ssh", "queued-resources delete"):
            assert any(part in line for line in shown), kinds


def test_a_dry_run_is_what_is_run(place, cli):
    """The commands of a whole run, but for how often it looks and how a temporary file is called."""
    place.write_plan(looks=1)
    words = ("babysit", "first", *WHERE, BUCKET, "--every=1")
    shown = [line for line in cli(*words, "--dry_run", *COMMAND).splitlines() if line.startswith("gcloud ")]
    cli(*words, *COMMAND)

    def steps(lines):
        plain = [line.replace("'", "").removeprefix("gcloud ") for line in lines]
        return [re.sub(r"/\S*/code", "code", line) for line in plain if not re.search("describe|status", line)]

    assert steps(place.commands()) == steps(shown) and len(steps(shown)) == 5


def test_what_is_remembered_is_not_used_to_make_another(place, cli):
    cli("create", "first", *WHERE, "--spot", "--project=mine")
    known = json.loads((place.folder / "state" / "first.json").read_text())
    assert known["spot"] is True and known["type"] == "v5e-8" and known["project"] == "mine"
    assert all("--project=mine" in line for line in place.commands("compute"))
    cli("delete", "first")
    assert "--zone is not given" in cli("create", "first", "--type=v5e-8", code=2)
