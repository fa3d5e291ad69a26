"""The page of measured speed has the figures of the files that benchmarks have written."""

import importlib.util
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"


def program(monkeypatch):
    spec = importlib.util.spec_from_file_location("performance", ROOT / "benchmarks" / "performance.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "performance", module)
    spec.loader.exec_module(module)
    return module


def test_its_tables_are_those_of_the_files(monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    assert program(monkeypatch).filled(text) == text, "run `python benchmarks/performance.py` and read the difference"


def test_a_figure_that_is_changed_is_seen(monkeypatch):
    text = PAGE.read_text(encoding="utf-8")
    spoilt = re.sub(r"(\| packed / grouped \| )\d", r"\g<1>9", text, count=1)
    assert spoilt != text and program(monkeypatch).filled(spoilt) == text
