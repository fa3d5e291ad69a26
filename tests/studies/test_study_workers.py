"""Several workers in one folder do what one does: each stage once, whatever happens to one of them; and its page."""

import csv
import json
import random
import time

import pytest
from workers import LIMIT, ended, left_over, results, start, trainings

from tests.report import chromium, pdf_text

STAGES, HALF = 8, 4


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    """Returns the folder of two workers that nothing happened to, and what they said."""
    workdir = tmp_path_factory.mktemp("divided")
    processes = [start(workdir, "--only=far,near") for _ in range(2)]
    return workdir, [ended(process) for process in processes]


@pytest.mark.timeout(LIMIT)
@pytest.mark.slow
def test_two_workers_divide_a_study(divided):
    """The quick version: nothing happens to them, and the folder has all results once."""
    workdir, outputs = divided
    begun = trainings(workdir)
    assert len(begun) == HALF and all(steps == [0] for steps in begun.values()), begun
    assert len(list(workdir.glob("time-*.jsonl"))) == 2
    assert left_over(workdir) == []
    assert all(f"report: {workdir}/report/index.html" in output for output in outputs)
    rows = results(workdir)["report/results.jsonl"].decode()
    for language in ("qda", "qnd"):
        assert f'"language": "{language}"' in rows, "of a shared stage each experiment has its own evaluation"


# Of every table of scores: (experiment, title, labels of its columns, [label and texts of a row]), as they are seen.
SCORES = """[...document.querySelectorAll('details.experiment')].flatMap(part =>
  [...part.querySelectorAll('table')].filter(t => t.closest('.scroll').ariaLabel.endsWith(': scores')).map(t => {
    const text = cell => (cell.firstChild?.data ?? cell.innerText).trim();
    const [labels, ...rows] = [...t.rows].slice(1).map(r => [...r.cells].map(text));
    return [part.id, t.closest('.scroll').ariaLabel, labels, rows];
  }))"""
METRIC = {"world_pos": "f1", "world_parallel": "accuracy"}
FIRST = "document.querySelector('details.experiment table')"


@pytest.mark.timeout(LIMIT)
@pytest.mark.skipif(chromium.find() is None, reason=chromium.INSTALL)
@pytest.mark.slow
def test_its_page_in_a_browser(divided, tmp_path):
    """What is seen is what results.jsonl says; it sorts, changes its theme and prints."""
    report = divided[0] / "report"
    rows = [json.loads(line) for line in (report / "results.jsonl").read_text().splitlines()]
    value = {
        (row["experiment"], row["task"].removeprefix("world_"), row["arm"], row["language"]): row["value"]
        for row in rows
        if row["metric"] == METRIC[row["task"]]
    }
    assert {row["seed"] for row in rows} == {0}, "or scores were means"
    with chromium.chromium(chromium.find(), tmp_path) as browser:
        page = browser.page()
        page.size(1200, 900)
        page.open(report / "index.html")
        page.run("document.querySelectorAll('details').forEach(part => part.open = true)")
        seen = {}
        for experiment, title, labels, shown in page.run(SCORES):
            for arm, *texts in shown:
                cells = zip(labels[1:], texts, strict=True)
                seen |= {(experiment, title.partition(":")[0], arm, code): text for code, text in cells}
        assert {key: seen[key].rstrip("†‡") for key in value} == {key: f"{x:.1f}" for key, x in value.items()}
        gain = value["far", "pos", "nli", "qda"] - value["far", "pos", "none", "qda"]
        assert f"{gain:+.1f} points" in page.run("document.querySelector('.answer').innerText").replace("−", "-")
        page.click(f"{FIRST}.querySelectorAll('thead button')[1]")
        column = page.run(f"[...{FIRST}.tBodies[0].rows].map(row => row.cells[1].innerText)")
        assert column == sorted(column, key=lambda text: -float(text.split()[0].rstrip("†‡").replace("−", "-")))
        page.click("document.querySelector('#theme input[value=dark] + span')")
        dark = page.run("getComputedStyle(document.body).backgroundColor")
        page.click("document.querySelector('#theme input[value=light] + span')")
        assert page.run("getComputedStyle(document.body).backgroundColor") != dark
        printed = "".join(pdf_text.pages(page.pdf())).replace("−", "-")
        assert "DoesNLIhelptagging?" in printed and f"{gain:+.1f}points" in printed
        page.close()
    numbers = list(csv.DictReader((report / "tables.csv").open()))
    assert {type(float(row[name] or 0)) for row in numbers for name in ("value", "low", "high")} == {float}


@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT)
@pytest.mark.parametrize("seed", range(3))
def test_four_workers_one_of_which_is_killed(tmp_path, seed, undisturbed):
    """At a moment drawn by the seed, while it trains; nobody else's stage is trained twice."""
    rng = random.Random(seed)
    processes = [start(tmp_path, "--config=tests/studies/tiny.py:long", "--claim_seconds=30") for _ in range(4)]
    victim, after = rng.randrange(4), rng.randint(1, 5)
    until = time.monotonic() + LIMIT
    while len(list(tmp_path.glob("stages/*/checkpoints/*"))) < after and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(rng.random())
    processes[victim].kill()
    processes[victim].communicate()
    outputs = [ended(process) for number, process in enumerate(processes) if number != victim]
    begun = trainings(tmp_path)
    again = {stage: steps for stage, steps in begun.items() if len(steps) > 1}
    assert len(begun) == STAGES and len(again) <= 1, outputs
    assert all(len(steps) == 2 for steps in again.values()), "what the killed one was doing is gone on with, once"
    assert left_over(tmp_path) == []
    assert results(tmp_path) == results(undisturbed)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Returns the folder of a single worker that nothing happened to."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    ended(start(workdir, "--config=tests/studies/tiny.py:long"))
    return workdir
