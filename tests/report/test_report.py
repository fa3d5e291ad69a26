"""The written report: files, numbers as printed, self-containment, and no need of JAX."""

import csv
import json
import re
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest

from xling_jax.report.collect import Curve, collect
from xling_jax.report.contents import build_experiment
from xling_jax.report.elements import element
from xling_jax.report.figures import POINTS, thin
from xling_jax.report.render import write_report


@pytest.fixture(scope="module")
def report(make_workdir, tmp_path_factory):
    return write_report([make_workdir().path], tmp_path_factory.mktemp("report") / "out")


def test_files(report):
    names = {str(path.relative_to(report.out)) for path in report.out.rglob("*") if path.is_file()}
    kinds = ["none_qa2", "english_qa2", "multilingual_qa2"]
    figures = ["tiny-qa2-heat", "tiny-qa2-gains", *(f"tiny-curve-{kind}" for kind in kinds)]
    assert names == {
        *("index.html", "results.jsonl", "tables.md", "tables.tex", "tables.csv"),
        *(f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png")),
    }
    for name in figures:
        xml.etree.ElementTree.parse(report.out / "figures" / f"{name}.svg")
        assert (report.out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_an_experiment_without_comparisons_is_reported(make_workdir, tmp_path):
    alone = write_report([make_workdir(comparisons=[], headline=None).path], tmp_path)
    assert "No comparison is declared" in alone.text(100) and "qa2: scores" in alone.text(100)
    page = (tmp_path / "index.html").read_text()
    assert "scores only" in page and "cells missing" not in page, "none is missing that was asked for"
    assert "gains" not in alone.text(100) and not list((tmp_path / "figures").glob("*-gains.svg"))


def test_joined_results(report):
    rows = [json.loads(line) for line in (report.out / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 18
    assert {row["experiment"] for row in rows} == {"tiny"}
    assert {row["arm"] for row in rows} == {"none", "english", "multilingual"}


def test_markdown(report):
    text = (report.out / "tables.md").read_text()
    assert "| none | 87.5 (75.0–100.0) | 37.5 (25.0–50.0) | 12.5† (0.0–25.0) |" in text
    assert "| multilingual − english | +0.0 [0.0, 0.0] | +25.0 [" in text
    assert "Does a \\<multilingual\\> set" in text
    assert "Synthetic data." in text


def test_csv_has_full_precision(report):
    rows = list(csv.DictReader((report.out / "tables.csv").open()))
    (row,) = [r for r in rows if (r["table"], r["row"], r["column"]) == ("gains", "english − none", "zero-shot")]
    assert (float(row["value"]), row["state"], row["target"]) == (18.75, "ok", "qa2")


def test_page(report):
    page = report.index.read_text()
    assert "Does a &lt;multilingual&gt; set help" in page
    assert "<multilingual>" not in page
    assert "Synthetic data" in page
    assert re.search(r'<td class="mean" data-value="81.250000">81.3<small>75.0–87.5</small>|>81.2<small>', page)
    assert '<td class="floor" data-value="12.500000">12.5†' in page
    assert "95% interval [-5.5, 80.5]" in page
    assert "undecided at this size" in page
    assert "prefers-color-scheme:dark" in page
    assert "xling run --config=configs/tiny.py" in page
    assert not re.search(r"""(src|href)=["'](?!#)|@import|url\((?!#)""", page), "the page loads something"
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "ids of figures must not meet in the page"


def test_page_without_synthetic_data_has_no_banner(make_workdir, tmp_path):
    page = write_report([make_workdir(synthetic=False).path], tmp_path / "out").index.read_text()
    assert "Synthetic" not in page


def test_many_work_folders(make_workdir, tmp_path):
    folders = [make_workdir("one").path, make_workdir("two", name="other").path]
    report = write_report(folders, tmp_path / "out")
    assert [experiment.record.name for experiment in report.experiments] == ["other", "tiny"]
    assert re.search('<h1>2 experiments</h1>.*href="#other".*href="#tiny"', report.index.read_text())


def test_same_input_same_files(make_workdir, tmp_path):
    workdir = make_workdir()
    for out in ("first", "second"):
        write_report([workdir.path], tmp_path / out)
    for path in (tmp_path / "first").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes(), path


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_text(report, width):
    lines = report.text(width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines), "a number was cut"
    none, floor = (next(words for words in map(str.split, lines) if words[:1] == [name]) for name in ("none", "floor"))
    assert none == ["none", "87.5", "37.5", "12.5†", "25.0"]
    assert floor == ["floor", "30.0", "20.0", "15.0", "17.5"]
    assert any("multilingual minus english on qa2" in line for line in lines)


def test_elements_escape():
    assert element("p", "a<b & c", title='"') == '<p title="&quot;">a&lt;b &amp; c</p>'
    assert element("p", element("b", "<")) == "<p><b>&lt;</b></p>"


def test_thin_curve_keeps_its_mean_and_its_holes():
    steps = np.arange(1000.0)
    thinned_steps, losses = thin(Curve(steps, steps))
    assert len(losses) <= POINTS
    assert losses[0] == thinned_steps[0] == 1.5, "the mean of steps 0 to 3"
    assert np.isnan(thin(Curve(steps, np.where(steps == 5, np.nan, steps)))[1][1])


def test_needs_no_jax(make_workdir, tmp_path):
    blocked = "import sys; sys.modules.update(dict.fromkeys(['jax', 'jaxlib', 'flax', 'tensorflow', 'seqio']))"
    code = f"""{blocked}
import pathlib
from xling_jax.report.render import write_report
print(write_report([pathlib.Path({str(make_workdir().path)!r})], pathlib.Path({str(tmp_path / "out")!r})).text(80))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "undecided at this size" in done.stdout


def test_one_arm_one_seed_one_language(make_workdir, tmp_path):
    """The smallest experiment there is: no mean over languages but that of one, nothing to compare."""
    target = {"name": "qa2", "task": "world_qa2", "split": "test", "metric": "f1", "languages": ["qen", "qnd"]}
    alone = {"arms": ["none"], "seeds": [0], "targets": [target], "comparisons": [], "headline": None}
    cells = [{"arm": "none", "seed": 0, "target": "qa2", "stage": "none_qa2_s0-bb"}]
    write_report([make_workdir(**alone, cells=cells).path], tmp_path)
    text = (tmp_path / "tables.md").read_text()
    assert "| none | 100.0 | 50.0 | +50.0 [-41.9, 100.0] | – |" in text, "gap"
    assert "| family generated (1: qnd) | 20.0 | 50.0 |" in text
    assert "| qnd | 50.0 | 50.0 | 50.0 | 0.0 |" in text and "mean of" not in text, "consistency"


def test_files_of_before_have_the_old_keys_alone(make_workdir):
    """No policy, no ranking, no second scores: what is not there is not shown."""
    workdir = make_workdir()
    assert not {"policy", "policies"} & set(json.loads(workdir.record().read_text()))
    (collected,) = collect([workdir.path])
    assert collected.record.policy == "last"
    assert [table.name for _, table in build_experiment(collected).named_tables] == [
        *("scores", "gains", "gap", "languages", "consistency")
    ]
