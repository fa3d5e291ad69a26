"""Half-written entries of the compilation cache go; whole ones stay, and are looked at once."""

import os
import subprocess
import sys
import time
import zlib

import pytest

from xling_jax.doors import compiled

WHOLE = zlib.compress(os.urandom(100_000))


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}-cache").write_bytes(content)


@pytest.mark.parametrize("half", [WHOLE[:-1], WHOLE[: len(WHOLE) // 2], WHOLE[:1], b""])
def test_halves_are_removed(tmp_path, half):
    folder = tmp_path / "compiled"
    write(folder, "jit_step-12", WHOLE)
    write(folder, "jit_step-34", half)
    assert compiled.remove_halves(folder) == [folder / "jit_step-34-cache"]
    assert sorted(path.name for path in folder.iterdir()) == [".checked", "jit_step-12-cache"]
    assert compiled.remove_halves(folder) == []


def test_what_was_whole_is_not_read_again(tmp_path, monkeypatch):
    write(tmp_path, "old", WHOLE)
    os.utime(tmp_path / "old-cache", (1e9, 1e9))
    assert compiled.remove_halves(tmp_path) == []
    read, real = [], compiled._whole
    monkeypatch.setattr(compiled, "_whole", lambda path: read.append(path.name) or real(path))
    later = time.time() + 5
    write(tmp_path, "new", WHOLE[:50])
    os.utime(tmp_path / "new-cache", (later, later))
    assert [path.name for path in compiled.remove_halves(tmp_path)] == read == ["new-cache"]


def test_there_need_be_no_folder(tmp_path):
    assert compiled.remove_halves(tmp_path / "compiled") == []


def test_what_cannot_be_read_here_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    write(tmp_path, "frame", compiled.ZSTANDARD + b"rest")
    assert compiled.remove_halves(tmp_path) == []


def test_jax_never_replaces_a_half(tmp_path):
    """Why this is needed; if it fails, JAX mends its cache itself, and this module can go."""
    cache = pytest.importorskip("jax._src.lru_cache").LRUCache(str(tmp_path), max_size=-1)
    write(tmp_path, "jit_step", b"half")
    cache.put("jit_step", WHOLE)
    assert cache.get("jit_step") == b"half"


TWICE = """
import pathlib, sys, warnings
import jax, jax.numpy as jnp
from xling_jax.doors.compiled import remove_halves
warnings.simplefilter("error")
folder = pathlib.Path(sys.argv[1])
remove_halves(folder)
jax.config.update("jax_compilation_cache_dir", str(folder))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((4, 4))).block_until_ready()
print(hits.count("/jax/compilation_cache/cache_hits"), hits.count("/jax/compilation_cache/cache_misses"))
"""


@pytest.mark.slow
def test_what_was_torn_is_compiled_once_more_and_then_kept(tmp_path):
    """With JAX's own cache, in processes of their own: nothing is torn, then a program is, then nothing again."""

    def run():
        command = [sys.executable, "-c", TWICE, str(tmp_path)]
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout.split()

    _, compiled = run()
    assert run() == [compiled, "0"]
    for path in tmp_path.glob("jit__lambda*-cache"):
        path.write_bytes(path.read_bytes()[:-20])
    assert run()[1] == "1", "compiled once more, without a warning"
    assert run() == [compiled, "0"]
