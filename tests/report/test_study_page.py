"""The page and the files of a study: nothing is left out, everything is told apart without colour."""

import csv
import dataclasses
import json
import re

import pytest
from study_samples import TIME, sample_study
from work_folders import collected_from

from xling_jax.report.answer import SIGNS
from xling_jax.report.page import page
from xling_jax.report.render import write_study
from xling_jax.report.study_report import build_origins


@pytest.fixture(scope="module")
def study(make_workdir):
    return sample_study(make_workdir())


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    return write_study(study, tmp_path_factory.mktemp("study") / "out")


def text_of(html):
    return re.sub(r"<[^>]*>", " ", html)


def test_files(report, study):
    names = {str(path.relative_to(report.out)) for path in report.out.rglob("*") if path.is_file()}
    figures = [drawing.name for drawing in study.drawings]
    assert len(set(figures)) == len(figures) and {"s-matrix", "s-pareto", "tiny-qa2-heat"} <= set(figures)
    assert names == {
        *("index.html", "results.jsonl", "tables.md", "tables.tex", "tables.csv"),
        *(f"figures/{name}.{kind}" for name in figures for kind in ("svg", "png")),
    }
    rows = [json.loads(line) for line in (report.out / "results.jsonl").read_text().splitlines()]
    assert [row["experiment"] for row in rows] == ["second"] * 18 + ["tiny"] * 18


def test_the_page_answers_before_it_explains(report):
    html = report.index.read_text()
    order = [
        *("Which intermediate task helps &lt;which&gt; target?", "Synthetic data", "95% interval [1.0, 5.5]"),
        *(">Claims<", ">Transfer<", "s-matrix", ">Curves<", "s-pareto", ">Method<", ">Experiments<"),
        *('id="second"', 'id="tiny"', ">Provenance<", "xling study --config=", "Configuration of tiny"),
    ]
    places = [html.index(words) for words in order]
    assert places == sorted(places)
    assert html.count(">Method<") == 1, "once for all experiments"
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert not re.search(r"""(src|href)=["'](?!#)|@import|url\((?!#)""", html), "the page loads something"


def test_provenance(report):
    words = " ".join(text_of(report.index.read_text()).split())
    for fact in (
        "stages 7 trained; experiments shared 7 of them with others wall time 100 s in 2 sessions",
        "goodput 90.0% of it in training steps that count cost 0.20 USD on v5e-4",
        "stages 7 trained here first, 0 shared with an experiment above",
        "stages 0 trained here first, 7 shared with an experiment above wall time 100 s in 2 sessions",
        "cost 0.12 USD",
        "configuration c0ffee",
    ):
        assert fact in words, fact


def test_origins_count_a_stage_once(make_workdir):
    record = collected_from(make_workdir())[0].record
    halfway = tuple(dataclasses.replace(stage, done=stage.dir.startswith("none")) for stage in record.stages)
    first = dataclasses.replace(record, name="first", stages=halfway)
    found = build_origins([first, record, record], {"first": TIME})
    assert [(one.trained, one.shared, one.waiting) for one in found] == [(2, 0, 5), (5, 2, 0), (0, 7, 0)]
    assert [one.time for one in found] == [TIME, None, None]


def test_verdicts_have_signs_and_words(report):
    html = report.index.read_text()
    cells = re.findall(r'<td class="left ([a-z-]+)".*?<span class="sign"[^>]*>(.)</span> (.*?)</td>', html)
    assert cells == [
        ("supported", "✓", "supported"),
        ("undecided-at-this-size", "?", "undecided at this size"),
        ("not-supported", "✗", "not supported"),
    ]
    assert len(set(SIGNS.values())) == len(SIGNS)


def test_same_numbers_in_all_formats(report):
    rows = list(csv.DictReader((report.out / "tables.csv").open()))
    claims = [row for row in rows if row["table"] == "claims"]
    assert [(row["row"], row["column"], row["value"], row["state"]) for row in claims[:3]] == [
        ("qa helps panx", "estimate", "3.25", "ok"),
        ("qa helps panx", "adjusted p", "0.004", "ok"),
        ("qa helps panx", "verdict", "", "supported"),
    ]
    assert {row["experiment"] for row in rows} == {"intermediate", "second", "tiny"}
    text = (report.out / "tables.md").read_text()
    assert "| pos helps panx | -12.0 [-15.0, -9.0] | 0.001 | not supported |" in text
    assert "| pos | +100.0 | missing seed 1 qda | -12.0 | – |" in text
    assert text.index("# intermediate") < text.index("# second") < text.index("# tiny")


def test_terminal(report):
    text = report.text(100)
    assert max(map(len, text.splitlines())) <= 100
    for words in ("intermediate: Which", "undecided at this size", "[-15.0, -9.0]", "95% interval [1.0, 5.5]"):
        assert words in text


def test_claims_without_tests_have_no_p(study):
    untested = tuple(dataclasses.replace(claim, adjusted=None) for claim in study.claims)
    table = dataclasses.replace(study, claims=untested).claims_table
    assert [column.label for column in table.columns] == ["estimate", "verdict"]
    mixed = (dataclasses.replace(study.claims[0], adjusted=None), *study.claims[1:])
    assert dataclasses.replace(study, claims=mixed).claims_table.rows[0].numbers[1].state == "none"


def test_studies_and_experiments_share_a_page(study):
    alone = dataclasses.replace(study.experiments[0], record=dataclasses.replace(study.experiments[0].record, name="x"))
    html = page([alone], [dataclasses.replace(study, experiments=study.experiments[1:])])
    assert "<h1>1 study, 1 experiment</h1>" in html
    assert re.search(
        r'href="#study-intermediate".*href="#x".*<article id="study-intermediate">.*<article id="x">', html, re.DOTALL
    )


def test_same_input_same_files(make_workdir, tmp_path):
    workdir = make_workdir()
    for out in ("first", "second"):
        write_study(sample_study(workdir), tmp_path / out)
    paths = [path for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert paths
    for path in paths:
        assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes(), path
