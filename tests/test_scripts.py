"""Shell scripts: shellcheck has nothing to say of them, and each says at its top what it is for."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))


def test_shellcheck():
    found = shutil.which("shellcheck", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("shellcheck")
    if not found:
        pytest.skip("there is no shellcheck here; `pip install '.[dev]'` has it")
    checked = subprocess.run([found, *SCRIPTS], cwd=ROOT, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_is_for(path):
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert first in ("#!/usr/bin/env bash", "# shellcheck shell=bash") and second.startswith("# ")
