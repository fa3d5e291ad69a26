"""A cloud in a folder of a test, and `scripts/tpu.sh` called there as a user calls it."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import fake_gcloud
from fake_gcloud import Cloud

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# What a new machine has: a python3 that "installs" an environment whose xling is the one that is tested.
IMAGE = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$HOME/installs"
[[ $* == *"uv venv"* ]] || exit 0
mkdir -p "${@: -1}/bin"
printf '%s\\n' '#!/usr/bin/env bash' 'exec @XLING@ "$@"' >"${@: -1}/bin/xling"
chmod +x "${@: -1}/bin/xling"
"""


def program(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Place(Cloud):
    """The cloud of a test, with gcloud on PATH and a clone of what is sent."""

    clone: pathlib.Path

    def __init__(self, folder: pathlib.Path, xling: str):
        super().__init__(folder)
        gcloud = f'#!/bin/sh\nexec {sys.executable} -S -E {HERE / "fake_gcloud.py"} "$@"\n'
        program(folder / "bin" / "gcloud", gcloud)
        program(folder / "image" / "python3", IMAGE.replace("@XLING@", xling))
        (folder / "image" / "gcloud").symlink_to(folder / "bin" / "gcloud")

    def environment(self) -> dict[str, str]:
        own = {"FAKE_CLOUD": str(self.folder), "XLING_TPU_STATE": str(self.folder / "state")}
        own |= {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "XLING_PYTHON": sys.executable}
        return os.environ | own

    def start(self, *words: str, root: pathlib.Path | None = None, **how) -> subprocess.Popen[str]:
        command = ["bash", str((root or self.clone) / "scripts" / "tpu.sh"), *words]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": self.environment()} | how
        return subprocess.Popen(command, text=True, cwd=self.folder, **how)

    def run(self, *words: str, code: int = 0, **how) -> str:
        """Returns what a verb says, which ends with this code, in the time of a test, and without a traceback."""
        process = self.start(*words, **how)
        try:
            said, _ = process.communicate(timeout=how.get("timeout", 60))
        finally:
            process.kill()
        assert process.returncode == code, said
        assert "Traceback" not in said, said
        return said

    def commands(self, what: str = "") -> list[str]:
        """Returns the user's gcloud commands so far that have this in them, not those of hosts."""
        path = self.folder / "log"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in (" ".join(words) for host, *words in lines if not host) if what in line]

    def is_empty(self) -> bool:
        """Whether nothing is left that costs money or runs, and nothing was ever there twice."""
        assert not (self.folder / "broken").exists(), (self.folder / "broken").read_text()
        left = [*(self.folder / "queue").glob("*.json"), *(self.folder / "nodes").glob("*.json")]
        return not left and not any(self.vms.iterdir())

    def sweep(self) -> None:
        for path in (self.folder / "nodes").glob("*.json"):
            self.remove_node(path.stem)


def clone(folder: pathlib.Path) -> pathlib.Path:
    """Makes a small repository that has what is sent to hosts; the package is the one that is tested."""
    for name in ("scripts/tpu.sh", "scripts/tpu_host.sh", "requirements.lock", "setup.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    package = folder / "xling_jax"
    package.mkdir()
    for name in ("__init__.py", "errors.py", "launch", "tables"):
        source = ROOT / "xling_jax" / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, package / name)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


class Inside:
    """A gcloud that has already run, in this process: a hundred times as quick."""

    def __init__(self, argv):
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        self.returncode = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                fake_gcloud.main(list(argv[1:]))
            except fake_gcloud.Failed as failed:
                print(failed, file=err)
                self.returncode = failed.code
            out.flush()
        self.answer = out.buffer.getvalue().decode(), err.getvalue()

    def communicate(self, timeout=None):
        return self.answer

    def kill(self):
        """It has ended."""

    wait = kill
