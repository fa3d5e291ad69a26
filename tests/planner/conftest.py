"""A small experiment, planned."""

import pytest
from small_plans import fields

from xling_jax.experiment import from_config
from xling_jax.planner.planning import open_plan
from xling_jax.planner.work import counter


@pytest.fixture(scope="session")
def count():
    return counter(None)


@pytest.fixture(scope="session")
def counted():
    """What is the same however the small experiment is divided: counted once for all tests."""
    return {}


@pytest.fixture(scope="session")
def plan():
    return open_plan(from_config(fields()))
