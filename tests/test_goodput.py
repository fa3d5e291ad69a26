"""What time went to, against hand-worked ledgers."""

import json

import pytest

from xling_jax.goodput import goodput


class Book:
    """Writes the lines of a ledger."""

    def __init__(self, path):
        self.path, self.session = path, 0
        self._lines = []
        self._ids = 0

    def begin(self, at, name, stage=None, step=None, lane=0):
        self._ids += 1
        given = {key: value for key, value in {"stage": stage, "step": step}.items() if value is not None}
        self._write({"id": self._ids, "begin": at, "name": name, "lane": lane} | given)
        return self._ids

    def mark(self, id, at, step, **spent):
        self._write({"id": id, "at": at, "step": step, "spent": spent, "counts": {}})

    def end(self, id, at, step=None, counts=None, **spent):
        given = {} if step is None else {"step": step}
        self._write({"id": id, "end": at, "spent": spent, "counts": counts or {}} | given)

    def kill(self, id, at):
        self._write({"id": id, "end": at, "killed": True})

    def alive(self, at):
        self._write({"at": at})

    def event(self, begin, end, name, stage=None):
        self.end(self.begin(begin, name, stage), end)

    def _write(self, line):
        self._lines.append(json.dumps({"session": self.session} | line) + "\n")

    def seconds(self):
        self.path.write_text("".join(self._lines))
        return {name: pytest.approx(found) for name, found in goodput(self.path).seconds.items()}


@pytest.fixture
def book(tmp_path):
    return Book(tmp_path / "time.jsonl")


def test_no_ledger_and_an_empty_one(tmp_path):
    assert goodput(tmp_path / "time.jsonl") is None
    (tmp_path / "time.jsonl").write_text('{"half')
    assert goodput(tmp_path / "time.jsonl") is None


def test_one_thread(book):
    """Ten seconds of start-up, twenty of training with five of compiling, two of input and two of saving, then one."""
    book.event(100, 110, "startup")
    train = book.begin(110, "train", "qa", 0)
    book.mark(train, 120, 50, compile=5, input=1)
    book.event(120, 122, "save", "qa")
    book.end(train, 130, 100, {"compiled": 3, "cached": 2}, compile=5, input=2)
    book.alive(131)
    assert book.seconds() == {"steps": 11, "input": 2, "compile": 5, "save": 2, "startup": 10, "other": 1}
    found = goodput(book.path)
    assert (found.wall, found.sessions, found.killed) == (pytest.approx(31), 1, 0)
    assert (found.compiled, found.cached) == (3, 2)
    assert found.goodput == pytest.approx(11 / 31)
    assert found.text() == (
        "time: 31 s, 35.5% of it in training steps; startup 32.3%, compile 16.1%, input 6.5%, save 6.5%, other 3.2%. "
        "3 programs compiled, 2 read from the cache."
    )


def test_threads_do_not_count_time_twice(book):
    """0-10 both train, 10-14 one saves while the other trains, 14-20 one trains alone."""
    a, b = book.begin(0, "train", "a", 0, lane=1), book.begin(0, "train", "b", 0, lane=2)
    save = book.begin(10, "save", "a", lane=1)
    book.end(save, 14)
    book.end(a, 14, 10)
    book.end(b, 20, 10)
    assert book.seconds() == {"steps": 10 + 2 + 6, "save": 2}


def test_what_is_spent_inside_is_shared_as_the_event_is(book):
    """Two threads for ten seconds, five each; one of them compiles for four of its ten."""
    a, b = book.begin(0, "train", "a", 0, lane=1), book.begin(0, "train", "b", 0, lane=2)
    book.end(a, 10, 10, compile=4)
    book.end(b, 10, 10)
    assert book.seconds() == {"steps": 8, "compile": 2}


def killed(book, again):
    """A training saved at step 100 after ten seconds, 200 after twenty, killed at thirty; then from step `again` on."""
    train = book.begin(0, "train", "qa", 0)
    book.mark(train, 10, 100, input=1)
    book.mark(train, 20, 200, input=3)
    book.kill(train, 30)
    book.session = 1
    train = book.begin(1000, "train", "qa", again)
    book.end(train, 1005, 300)


@pytest.mark.parametrize(
    ("again", "lost"),
    [
        (200, 10),  # what came after the last mark
        (100, 10 + 8),  # and the second hundred, without its input
        (150, 10 + 4),
        (0, 10 + 8 + 9),
    ],
)
def test_steps_that_are_done_again_are_lost(book, again, lost):
    killed(book, again)
    assert book.seconds() == {"steps": 27 - lost + 5, "lost": lost, "input": 3}
    found = goodput(book.path)
    assert (found.sessions, found.killed) == (2, 1)
    assert "time: 35 s in 2 sessions, 1 of them killed, " in found.text(), "time between sessions is nobody's"


def test_another_stage_is_another_matter(book):
    killed(book, 200)
    book.session = 2
    book.end(book.begin(2000, "train", "pos", 0), 2010, 50)
    assert book.seconds()["lost"] == 10


def test_two_kills_lose_what_both_did(book):
    """Killed at step 30 with step 20 saved; from 20 on killed before anything was saved; then from 20 to the end."""
    train = book.begin(0, "train", "qa", 0)
    book.mark(train, 10, 20)
    book.mark(train, 15, 30)
    book.kill(train, 16)
    book.session = 1
    train = book.begin(100, "train", "qa", 20)
    book.mark(train, 104, 28)
    book.kill(train, 107)
    book.session = 2
    book.end(book.begin(200, "train", "qa", 20), 220, 60)
    assert book.seconds() == {"steps": 10 + 20, "lost": 5 + 1 + 4 + 3}


def test_what_a_later_session_goes_back_behind_is_lost_by_all_before(book):
    """From 0 to 30; from 20 to 40; and, as that checkpoint was damaged, from 0 again."""
    book.end(book.begin(0, "train", "qa", 0), 15, 30)
    book.session = 1
    book.end(book.begin(100, "train", "qa", 20), 110, 40)
    book.session = 2
    book.end(book.begin(200, "train", "qa", 0), 230, 60)
    assert book.seconds() == {"steps": 30, "lost": 15 + 10}


def test_a_second_mark_of_a_step(book):
    """What comes between two marks of one step was not done again because a third one follows."""
    train = book.begin(0, "train", "qa", 0)
    book.mark(train, 10, 40)
    book.mark(train, 12, 40)
    book.end(train, 20, 80)
    assert book.seconds() == {"steps": 20}


def test_a_stop_that_saved_loses_nothing(book):
    train = book.begin(0, "train", "qa", 0)
    book.mark(train, 10, 40)
    book.event(10, 12, "save", "qa")
    book.end(train, 12, 40)
    book.session = 1
    book.end(book.begin(50, "train", "qa", 40), 60, 80)
    assert book.seconds() == {"steps": 20, "save": 2}


def test_a_training_that_fails_after_its_last_mark_and_starts_anew(book):
    """Nobody knows how far it came; it went on from the mark, so what came after the mark was done again."""
    train = book.begin(0, "train", "qa", 0)
    book.mark(train, 10, 40)
    book.end(train, 16, 40)
    book.session = 1
    book.end(book.begin(50, "train", "qa", 40), 60, 80)
    assert book.seconds() == {"steps": 20, "lost": 6}


def test_a_run_under_way(book):
    """What is open has the time up to the last line, and counts: nobody says that it is lost."""
    book.event(0, 5, "prepare")
    train = book.begin(5, "train", "qa", 0)
    book.mark(train, 10, 40, input=2)
    book.alive(12)
    assert book.seconds() == {"prepare": 5, "steps": 5, "input": 2}


def test_an_event_without_a_row_is_something_else(book):
    book.event(0, 5, "thinking")
    assert book.seconds() == {"other": 5}


def test_more_spent_than_there_was_time(book):
    """Rounding, or a clock of another kind: parts still add up to the whole."""
    book.end(book.begin(0, "train", "qa", 0), 10, 5, input=8, compile=4)
    found = book.seconds()
    assert sum(part.expected for part in found.values()) == pytest.approx(10)
    assert found["input"] == 10 * 8 / 12


def test_lines_of_a_session_may_come_after_those_of_the_next(book):
    """The report of a run is written when the next one may be under way."""
    report = book.begin(0, "report")
    book.session = 1
    book.event(3, 7, "startup")
    book.session = 0
    book.end(report, 5)
    assert book.seconds() == {"report": 5, "startup": 4}
