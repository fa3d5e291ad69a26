"""How fast stages were and what the time went to, as the report shows it, against numbers worked out by hand."""

import json

import pytest
from work_folders import collected_from, stage, values

from xling_jax.report.collect import read_speed
from xling_jax.report.render import write_report
from xling_jax.report.speed import speed_table, time_table


def line(step, seconds, **more):
    rates = {"rate/examples": 10.0, "rate/tokens": 100.0, "rate/padded_tokens": 200.0}
    return {"step": step, "train/world_qa2/loss": 1.0, "time/step": seconds, "time/input": 0.1} | rates | more


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(fields) + "\n" for fields in lines))


@pytest.fixture
def workdir(make_workdir):
    """A work folder whose stages say how fast they were, and which has a ledger."""
    made = make_workdir()
    for arm, seed in (("none", 0), ("none", 1), ("english", 0)):
        write(made.metrics(arm, seed), line(50, 0.5 + seed), line(100, 0.5 + seed))
    times = [
        {"id": 1, "begin": 0.0, "name": "startup", "lane": 0},
        {"id": 1, "end": 10.0, "spent": {}, "counts": {}},
        {"id": 2, "begin": 10.0, "name": "train", "lane": 0, "stage": stage("none", 0), "step": 0},
        {"id": 2, "end": 50.0, "step": 100, "spent": {"compile": 8.0}, "counts": {"compiled": 3, "cached": 1}},
    ]
    write(made.path / "time.jsonl", *({"session": 0} | fields for fields in times))
    return made


def test_speed_over_windows_of_other_lengths(tmp_path):
    """Ten steps of 1 s with 100 tokens a second, then 30 of 0.5 s with 400: 7,000 tokens in 25 s."""
    path = tmp_path / "metrics.jsonl"
    write(path, line(10, 1.0), line(40, 0.5, **{"rate/tokens": 400.0, "share/mfu": 0.5, "time/input": 0.2}))
    found = read_speed(path)
    assert (found["seconds"], found["steps"], found["tokens"]) == (25, 40, 10 * 100 + 15 * 400)
    assert found["input"] == pytest.approx(10 * 0.1 + 30 * 0.2) and found["mfu"] == 7.5


def test_what_was_watched_is_no_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, {"step": 10, "dev/world_qa.dev.qen/f1": 50.0}, line(10, 1.0))
    assert read_speed(path)["steps"] == 10


def test_metrics_without_speed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_speed(path) == {}
    write(path, {"step": 10, "train/a/loss": 1.0, "time/step": 0.5})
    assert read_speed(path) == {}


def test_throughput_of_kinds_of_stages(workdir):
    collected, _ = collected_from(workdir)
    table = speed_table(collected)
    assert [row.label for row in table.rows] == ["none_qa2", "english_qa2"], "the third says nothing of its speed"
    assert values(table, "none_qa2") == {
        "ms a step": 1000,
        "examples/s": 10,
        "tokens/s": 100,
        "% padding": 50,
        "% waiting for input": pytest.approx(100 * (0.1 / 0.5 + 0.1 / 1.5) / 2),
    }, "means over seeds; without a peak no MFU"
    first = table.rows[0].numbers[0]
    assert (first.low, first.high) == (500, 1500)


def test_mfu_where_it_is_known(workdir):
    write(workdir.metrics("none", 0), line(100, 0.5, **{"share/mfu": 0.4}))
    collected, _ = collected_from(workdir)
    table = speed_table(collected)
    assert values(table, "none_qa2")["% MFU"] == pytest.approx(40)
    assert values(table, "english_qa2")["% MFU"] is None


def test_what_the_time_went_to(workdir):
    collected, _ = collected_from(workdir)
    table = time_table(collected)
    assert [row.label for row in table.rows] == [
        "training steps that count",
        "starting Python, importing libraries, finding devices",
        "tracing, lowering and compiling, or reading the compilation cache",
        "all",
    ]
    assert values(table, "training steps that count") == {"seconds": 32, "% of the time": 64}
    assert values(table, "all") == {"seconds": 50, "% of the time": 100}
    assert "1 session, 0 of them killed. 3 programs were compiled and 1 read from the cache." in table.note


def test_both_are_in_the_report(workdir, tmp_path):
    report = write_report([workdir.path], tmp_path)
    page, csv = report.index.read_text(), (tmp_path / "tables.csv").read_text()
    assert "<h3>Throughput</h3>" in page and "<h3>Time</h3>" in page
    assert "tiny,,speed,none_qa2,tokens/s,100.0," in csv and "tiny,,time,all,seconds,50.0," in csv
    assert "| training steps that count | 32.0 | 64.0 |" in (tmp_path / "tables.md").read_text()
    assert "What 50 s of wall time went to" in page
    svg = (tmp_path / "figures" / "tiny-time.svg").read_text()
    assert [word for word in (" 64.0", " 20.0", " 16.0") if word.strip() not in svg] == []
    assert svg.index("steps") < svg.index("startup") < svg.index("compile"), "the longest first, behind the steps"


def test_a_run_of_an_older_version_has_neither(make_workdir, tmp_path):
    report = write_report([make_workdir().path], tmp_path)
    assert not {table.name for experiment in report.experiments for table in experiment.tables} & {"speed", "time"}
    assert not list((tmp_path / "figures").glob("*-time.*"))
