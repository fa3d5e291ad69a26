"""The page of models is the one the tables make; what it says of tests is true."""

import pathlib

from xling_jax.convert.page import PARITY, fits, page
from xling_jax.models.weights.families import FAMILIES
from xling_jax.tables.models import MODELS

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_the_page_is_the_generated_one():
    assert (ROOT / "docs" / "models.md").read_text(encoding="utf-8") == page(), (
        "A row has changed. Read the difference, then: xling convert list > docs/models.md"
    )


def test_every_published_row_has_a_line():
    lines = [line for line in page().splitlines() if line.startswith("| `")]
    assert {line.split("`")[1] for line in lines} >= {row.name for row in MODELS.values() if row.source}


def test_parity_tests_are_there():
    for name in FAMILIES:
        assert (ROOT / PARITY[name]).is_file(), PARITY[name]


def test_slices_by_hand():
    """13 billion parameters are 208 GB in training: 13 chips of 16 GB, so 16; 6.5 of 32, so 8; 2.2 of 95, so 4.

    The names of v4 and v5p count cores, two of a chip, and their smallest slice has four chips.
    """
    assert fits(13_000_000_000) == "v5e-16, v6e-8, v4-16, v5p-8"
    assert fits(1_000) == "v5e-1, v6e-1, v4-8, v5p-8"
    assert fits(1_100_000_000).startswith("v5e-4, v6e-1"), "there is no slice of two"
