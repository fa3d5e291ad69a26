"""The metrics file after a kill, and progress where there is no terminal."""

import contextlib
import io
import json

import pytest

from xling_jax.train import writer
from xling_jax.train.writer import Display, open_metrics, write_metrics


def line(step: int) -> str:
    return json.dumps({"step": step, "train/loss": 1.5}) + "\n"


@pytest.mark.parametrize(
    ("there", "start", "kept"),
    [
        ([10, 20, 30], 20, [10, 20]),
        ([10, 20, 30], 0, []),
        ([10, 20, 30], 30, [10, 20, 30]),
        ([10, 20, 30], 25, [10, 20]),
        ([], 20, []),
    ],
)
def test_steps_that_come_again_are_dropped(tmp_path, there, start, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(map(line, there)))
    with contextlib.closing(open_metrics(path, start)) as file:
        write_metrics(file, 99, {"train/loss": 0.5})
    assert [json.loads(text)["step"] for text in path.read_text().splitlines()] == [*kept, 99]
    assert sorted(found.name for found in tmp_path.iterdir()) == ["metrics.jsonl"]


@pytest.mark.parametrize("half", ['{"step": 30, "train/lo', '{"st', "{", '{"step": 3'])
def test_half_a_line_is_dropped(tmp_path, half):
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(10) + line(20) + half)
    open_metrics(path, 40).close()
    assert path.read_text() == line(10) + line(20)


def test_there_need_be_no_file(tmp_path):
    with contextlib.closing(open_metrics(tmp_path / "metrics.jsonl", 0)) as file:
        write_metrics(file, 1, {"a": 1.0})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "a": 1.0}\n'


@pytest.mark.parametrize("value", [9.37512e-08, 2.5e-5, 0.123457, 12345.6, 0.0, 3.0])
def test_numbers_keep_six_digits_however_small(value):
    file = io.BytesIO()
    write_metrics(file, 1, {"learning_rate": value})
    assert json.loads(file.getvalue())["learning_rate"] == value
    file = io.BytesIO()
    write_metrics(file, 1, {"a": 1 / 3})
    assert file.getvalue() == b'{"step": 1, "a": 0.333333}\n'


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set by hand."""
    now = [100.0]
    monkeypatch.setattr(writer.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_where_there_is_no_terminal(clock):
    file = io.StringIO()
    display = Display(file)
    display.say("[1/2] pretrain")
    with display.bar("pretrain", 1000, done=200) as bar:
        for seconds, done in ((4, 240), (11, 310), (15, 350), (25, 450)):
            clock[0] = 100.0 + seconds
            bar.advance(done, f"loss {1 / seconds:.3f}")
        clock[0] = 180.0
        bar.advance(1000, "loss 0.010")
    assert file.getvalue().splitlines() == [
        "[1/2] pretrain",
        "pretrain: 310/1000 steps, 10.0/s, 69 s left  loss 0.091",  # 110 steps in 11 s; not one line more often
        "pretrain: 450/1000 steps, 10.0/s, 55 s left  loss 0.040",
        "pretrain: 1000/1000 steps, 10.0/s, 0 s left  loss 0.010",
        "pretrain: 1000/1000 steps in 80.0 s",
    ]


def test_units_and_markup_are_printed_as_they_are(clock):
    file = io.StringIO()
    display = Display(file)
    with display.bar("evaluates [qa]", 6, unit="languages") as bar:
        clock[0] += 12
        bar.advance(3, "[red]sw")
    assert file.getvalue().splitlines() == [
        "evaluates [qa]: 3/6 languages, 0.2/s, 12 s left  [red]sw",
        "evaluates [qa]: 3/6 languages in 12.0 s",
    ]


def test_a_bar_in_a_terminal(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    display = Display(file)
    with display.bar("pretrain", 1000) as bar:
        clock[0] += 5
        bar.advance(500, "loss 0.5")
        display.say("[1/2] from [qa]")
    assert "[1/2] from [qa]" in file.getvalue(), "what is in brackets is text and not markup"
    assert "pretrain: 500/1000 steps in 5.0 s" in file.getvalue()
    assert "100.0 steps/s" in file.getvalue()
