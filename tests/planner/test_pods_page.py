"""The page on pods is the one that its figures make, and it says what it must."""

import importlib
import json
import pathlib

import pytest

from xling_jax.tables.slices import of_generation, slice_of

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def pods(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("pods")


@pytest.fixture
def kept(pods):
    return json.loads(pods.FOUND.read_text(encoding="utf-8"))


def test_the_page_is_the_generated_one(pods, kept):
    assert pods.PAGE.read_text(encoding="utf-8") == pods.page(kept), "python benchmarks/pods.py --page"


def test_every_big_row_is_planned_for_two_slices_that_it_fits(pods, kept):
    for model in pods.MODELS:
        fits = {one["topology"] for one in kept["found"] if one["model"] == model and one["fits"]}
        assert len(fits) >= 2, f"{model}: {fits}"
    for one in kept["found"]:
        where = slice_of(one["topology"])
        assert (one["chips"], one["hbm_per_chip_bytes"]) == (where.chips, where.chip.memory), "the table has changed"
        assert one["fits"] == (one["peak_bytes_per_chip"] <= where.chip.memory), one["topology"]


def test_xxl_fits_64_chips_and_its_smallest_slices_are_named(pods, kept):
    found = {one["topology"]: one for one in kept["found"] if one["model"] == "xlmr_xxl"}
    large = [one for one in found.values() if one["chips"] == 64 and one["fits"] and one["max_length"] >= 256]
    assert large and all(one["method"] == "compiled" for one in large)
    text = pods.page(kept)
    for chip in pods.GENERATIONS:
        names = [where.name for where in of_generation(chip)]
        smallest = next(name for name in names if name in found and found[name]["fits"])
        before = names[: names.index(smallest)][-1:]
        assert all(not found[name]["fits"] for name in before), f"nobody looked at {before}"
        assert f"| {chip} | {smallest} |" in text


def test_the_page_is_honest(pods, kept):
    text = pods.page(kept)
    for words in ("never checked on a chip", kept["date"], kept["machine"], kept["versions"]["libtpu"], "list prices"):
        assert words in text, words
