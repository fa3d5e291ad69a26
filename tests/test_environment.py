"""What tests/conftest.py promises to all other tests."""

import os
import pathlib
import subprocess
import sys

import pytest

CONFTEST = pathlib.Path(__file__).with_name("conftest.py")

STRICT = """
import jax, jax.numpy as jnp
assert jax.device_count() == 8, jax.devices()
assert jax.default_backend() == "cpu"
assert jax.config.jax_compilation_cache_dir
try:
    jnp.ones((8, 1)) + jnp.ones(8)
except ValueError:
    pass
else:
    raise AssertionError("ranks were promoted in silence")
"""

SINE = "jax.jit(lambda x: jax.numpy.sin(x) * 3)(jax.numpy.ones(5)).block_until_ready()"


def run(program: str, **environment: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, env=os.environ | environment)


def test_jax_has_eight_strict_devices():
    exec(STRICT)


def test_programs_started_by_a_test_have_them_too_and_are_kept(tmp_path):
    run(STRICT + SINE, JAX_COMPILATION_CACHE_DIR=str(tmp_path), JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0")
    assert any(tmp_path.iterdir()), "a compiled program left nothing in the cache folder"


def test_tests_without_jax_do_not_pay_for_it():
    run(f"import runpy, sys; runpy.run_path({str(CONFTEST)!r}); assert 'jax' not in sys.modules")


@pytest.mark.parametrize(("value", "outcome"), [("", "1 skipped"), ("{tmp}", "1 passed"), ("{tmp}/nowhere", "1 error")])
def test_data_lie_where_the_environment_says(tmp_path, value, outcome):
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_it.py").write_text("def test_it(data_dir): assert data_dir.is_dir()", encoding="utf-8")
    environment = {name: text for name, text in os.environ.items() if name != "XLING_DATA"}
    if value:
        environment["XLING_DATA"] = value.format(tmp=tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    done = subprocess.run(
        command, check=False, timeout=120, env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert outcome in done.stdout, done.stdout + done.stderr
