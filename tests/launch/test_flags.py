"""Every gcloud command that is built, before the parser of the real gcloud, which complains of one bogus flag alone.

What it does not check: required flags that are missing, and values. It needs neither an account nor the network.
"""

import os
import re
import shutil
import subprocess

import fake_gcloud
import pytest
from test_tpu_page import GCLOUD

from xling_jax.launch import commands
from xling_jax.launch.job import HOST, ROOT
from xling_jax.launch.request import request

ONE = request("first", "us-west4-a", "v5e-16", spot=True, project="mine")
MANY = request("pod", "us-west4-a", "v4-16", slices=2, runtime="tpu-ubuntu2204-base")
NOW = request("now", "us-west4-a", "v6e-8", queued=False, spot=True)
BUILT = [
    commands.create(ONE),
    commands.create(MANY),
    commands.create(NOW),
    commands.describe(ONE),
    commands.describe_node(ONE, "first"),
    commands.delete(ONE),
    commands.delete(NOW),
    *commands.list_all("us-west4-a", "mine"),
    commands.ssh(ONE, "first", "true", "status"),
    commands.upload("code.tar.gz", "gs://mine/code.tar.gz"),
    commands.sync("here", "gs://mine/there", exactly=True),
    commands.show("gs://mine/there/whole"),
]


def from_host() -> list[tuple[str, ...]]:
    """Returns the commands that hosts run, as they stand in the script, with words for what is in quotes."""
    text = (ROOT / HOST).read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"gcloud storage [^|&;)>\n]*", text)
    return [tuple(re.sub(r'"[^"]*"', "gs://mine/x", one).split()) for one in found]


def test_the_script_of_hosts_is_read():
    verbs = [words[2] for words in from_host()]
    assert sorted(set(verbs)) == ["cat", "cp", "rsync"] and len(verbs) == 6


@pytest.mark.slow
def test_the_real_gcloud_takes_every_flag():
    if not shutil.which("gcloud"):
        pytest.skip("there is no gcloud here, whose parser could be asked")
    environment = os.environ | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false"}
    asked = [command.argv for command in BUILT] + sorted(set(from_host())) + [tuple(words) for words in GCLOUD]
    how = {"env": environment, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    running = [subprocess.Popen([*argv, "--zz-sentinel"], text=True, **how) for argv in asked]
    for argv, process in zip(asked, running, strict=True):
        _, said = process.communicate(timeout=240)
        complaint = re.search(r"unrecognized arguments:(.*)", said)
        assert complaint and complaint.group(1).split() == ["--zz-sentinel"], f"{' '.join(argv)}\n{said}"


def test_the_fake_knows_no_flag_that_is_not_built():
    """Else it would take what the real one was never asked about."""
    words = [command.argv for command in BUILT] + from_host()
    built = {word.split("=")[0] for argv in words for word in argv if word.startswith("--")}
    known = set().union(*fake_gcloud.FLAGS.values()) | fake_gcloud.WHERE
    assert known - built == {"--network", "--tags", "--reserved"}, "these are for --create_flag"
