"""The examples for SkyPilot and xpk: what they say, and, where these are installed, that their own parsers take it."""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from xling_jax.launch.job import HOST, ROOT
from xling_jax.tables.slices import slice_of

SKYPILOT, XPK = ROOT / "scripts" / "skypilot.yaml", ROOT / "scripts" / "xpk.sh"
INSTALLED = "-r requirements.lock --editable '.[tpu,gcs]'"
WHERE = slice_of("v5e-16")


def xpk_words(folder: pathlib.Path, *words: str) -> list[str]:
    """Returns what xpk is called with, by a program that stands in for it."""
    show = folder / "xpk"
    show.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    show.chmod(0o755)
    own = {"PATH": f"{folder}:{os.environ['PATH']}", "XPK_CLUSTER": "mine", "BUCKET": "gs://mine/runs"}
    done = subprocess.run(["bash", XPK, *words], env=os.environ | own, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_skypilot_runs_the_same_command_on_the_same_slice():
    task = yaml.safe_load(SKYPILOT.read_text(encoding="utf-8"))
    assert task["resources"]["accelerators"] == f"tpu-{WHERE.sold}"
    assert task["resources"]["accelerator_args"] == {"runtime_version": WHERE.chip.runtime}
    assert task["resources"]["job_recovery"] == {"recover_on_exit_codes": [75]}
    assert INSTALLED in task["setup"] and INSTALLED in (ROOT / HOST).read_text(encoding="utf-8").replace("\\\n", "")
    said = subprocess.run(
        ["bash", "-c", task["run"].replace("~/.xling/bin/xling", "echo")],
        env=os.environ | task["envs"] | {"BUCKET": "gs://mine/runs"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said == "run --config=configs/quickstart.py --workdir=gs://mine/runs/first/work\n"
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n"], input=script, check=False, text=True).returncode == 0


def test_xpk_runs_the_same_command_on_the_same_slice(tmp_path):
    words = xpk_words(tmp_path, "run", "--config=configs/quickstart.py", "--config.seeds=(0, 1)")
    assert f"--tpu-type={WHERE.sold}" in words and "--restart-on-exit-codes=75" in words
    (command,) = (word.removeprefix("--command=") for word in words if word.startswith("--command="))
    install, run = command.split(" && ")
    assert install == f"python3 -m pip install --quiet {INSTALLED}"
    said = subprocess.run(
        ["bash", "-c", run.replace("xling", "printf '%s\\n'", 1)], check=True, capture_output=True, text=True
    )
    assert said.stdout.splitlines() == [
        "run",
        "--config=configs/quickstart.py",
        "--config.seeds=(0, 1)",
        "--workdir=gs://mine/runs/first/work",
    ]


def test_xpk_lacks_what_it_needs():
    environment = {name: text for name, text in os.environ.items() if name not in ("BUCKET", "XPK_CLUSTER")}
    for given, says in (({}, "BUCKET: gs://NAME"), ({"BUCKET": "gs://mine"}, "XPK_CLUSTER: the name of a cluster")):
        done = subprocess.run(["bash", XPK], env=environment | given, check=False, capture_output=True, text=True)
        assert done.returncode and says in done.stderr


def test_the_real_skypilot_reads_it(monkeypatch):
    sky = pytest.importorskip("sky", reason="SkyPilot is not installed: pip install 'skypilot[gcp]'")
    monkeypatch.chdir(ROOT)
    (resources,) = sky.Task.from_yaml(str(SKYPILOT)).resources
    assert resources.accelerators == {f"tpu-{WHERE.sold}": 1}
    assert resources.job_recovery["recover_on_exit_codes"] == [75]


def test_the_real_xpk_takes_every_flag(tmp_path):
    core = pytest.importorskip("xpk.parser.core", reason="xpk is not installed: pip install xpk")
    parser = argparse.ArgumentParser("xpk")
    core.set_parser(parser=parser)
    values = parser.parse_args(xpk_words(tmp_path, "run", "--config=configs/quickstart.py"))
    assert values.tpu_type == WHERE.sold and values.restart_on_exit_codes == "75"
    assert re.search(r"xling run --config=configs/quickstart.py --workdir=gs://mine/runs/first/work", values.command)
