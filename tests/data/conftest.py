"""The generated world's vocabulary, which every test of its cells reads them with."""

import pytest

from xling_jax import world
from xling_jax.data.tokenizers import PieceTokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return PieceTokenizer(world.pieces())
