"""A bucket for tests: the real libraries, and a stand-in for the service in this process."""

import os
import re

import pytest
from stand_in import BUCKET, StandIn, environment, served

from xling_jax import disk


@pytest.fixture(scope="session")
def service():
    """Returns (the stand-in, its address), one for all tests: TensorStore asks for the address once."""
    pytest.importorskip("gcsfs", reason="a bucket needs gcsfs: pip install '.[gcs]'")
    with served() as found:
        yield found


@pytest.fixture
def stand_in(service, monkeypatch, tmp_path) -> StandIn:
    """Returns the stand-in, to which this process's libraries talk; what is kept on this machine is the test's own."""
    found, address = service
    for name, value in environment(address).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(disk, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found.requests.clear()
    yield found
    found.refuse, found.lose = lambda *_: None, lambda *_: False


@pytest.fixture
def shelf(stand_in, request):
    """Returns a folder on the bucket that nobody else works in."""
    return disk.as_path(f"gs://{BUCKET}/{os.getpid()}/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}")
