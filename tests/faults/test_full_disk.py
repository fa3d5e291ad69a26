"""A full disk, wherever it strikes: one clear message, nothing half-written; with room again the results are the same.

The disk is a small tmpfs where this user may mount one. Elsewhere a limit on the size of files stands for it: the
system then refuses to write in the same places, if not for the same reason.
"""

import functools
import pathlib
import re
import resource
import shutil
import subprocess

import pytest
from harness import LIMIT, finish, left_over, results, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * LIMIT)]

LARGE = 40_000  # bytes: more than results and what is said of a run, less than a cell and a checkpoint
FULL = r"error: (\S+) was not written: the disk is full( to this process: \S.*)? \(\d+\.\d [MG]B free there now\)\."


@pytest.fixture
def disk(tmp_path):
    """Returns (folder, function that sets the size of the disk it is, in bytes)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")

    def resize(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)

    yield folder, resize
    subprocess.run(["umount", folder], check=True)


def used(workdir: pathlib.Path, *patterns: str) -> int:
    """Returns what files take on a disk, in whole pages."""
    files = (path for pattern in patterns for path in workdir.glob(pattern) if path.is_file())
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in files)


def struck(output: str) -> pathlib.Path:
    """Returns what was not written, by the one message there is."""
    found = re.findall(FULL, output)
    assert len(found) == 1 and output.count("error:") == 1, output
    assert "Make room, and run the same command again to go on." in output
    return pathlib.Path(found[0][0])


@pytest.mark.parametrize("share", [0.0, 0.04, 0.3, 0.5, 0.7, 0.9])
def test_at_every_size(straight, disk, share):
    """The disk holds a part of what a run writes; it is made larger by and by, until the run ends."""
    folder, resize = disk
    resize(max(4096 * 2, int(share * used(straight, "**/*"))))
    workdir = folder / "work"
    missing = struck(finish(workdir, "--jobs=1", code=3))
    assert folder in missing.parents or missing == folder
    assert [path for path in left_over(workdir) if "orbax" not in path] == [], "what is half-written is room, too"
    if missing.is_file():
        assert missing.name == "metrics.jsonl" or missing.read_bytes(), "the old file"
    resize(4 * used(straight, "**/*"))
    finish(workdir, "--jobs=1")
    assert results(workdir) == results(straight) and left_over(workdir) == []


@pytest.mark.parametrize("place", ["prepared", "checkpoints"])
def test_where_files_may_not_be_large(straight, tmp_path, place):
    """A limit on the size of files strikes prepared cells, or, where these are there, checkpoints."""
    if place == "checkpoints":
        shutil.copytree(straight / "prepared", tmp_path / "prepared")
    confine = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (LARGE, LARGE))
    for jobs in ("--jobs=1", "--jobs=2"):  # in the background, and not
        process = start(tmp_path, jobs, preexec_fn=confine)
        output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 3 and "Traceback" not in output, output
        assert place in struck(output).parts
    finish(tmp_path)
    assert results(tmp_path) == results(straight) and left_over(tmp_path) == []
