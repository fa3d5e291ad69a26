"""Which checkpoint answers: by hand, against a slow reading, and what a trainer cannot be handed."""

import random

import pytest

from xling_jax.errors import ConfigError
from xling_jax.selection import Selection, SourceDev, averaged, best, candidates, compared, exhausted, needed, planned
from xling_jax.tables.tasks import Cell


def test_the_first_of_the_best_is_chosen():
    assert best([(10, 40.0), (20, 60.0), (30, 60.0), (40, 50.0)]) == 20
    assert compared({30: 60.0, 10: 40.0, 20: 60.0}) == 20, "whatever the order they come in"


def test_patience_counts_checkpoints_after_the_best():
    selection = Selection(patience=2, dev="mnli.dev.en")
    history = [(10, 40.0), (20, 60.0), (30, 60.0), (40, 50.0)]
    assert [exhausted(selection, history[:count]) for count in range(5)] == [False, False, False, False, True]
    assert not exhausted(Selection(), history), "without patience there is no end to it"


@pytest.mark.parametrize("seed", range(20))
def test_patience_against_a_slow_reading(seed):
    draw = random.Random(seed)
    history = [(step, float(draw.randrange(4))) for step in range(1, draw.randrange(2, 12))]
    patience, top, waited = draw.randrange(1, 4), -1.0, 0
    for _, score in history:
        waited = 0 if score > top else waited + 1
        top = max(top, score)
    assert exhausted(Selection(patience=patience), history) == (waited >= patience)


def test_what_is_kept():
    history, steps = [(10, 1.0), (20, 3.0), (30, 2.0), (40, 0.0)], [10, 20, 30, 40]
    assert needed(Selection(), history, steps) == set()
    assert needed(Selection(("source_dev",)), history, steps) == {20}
    assert needed(Selection(patience=3), history, steps) == {20}, "what it stops by"
    assert needed(Selection(("average",), average=2), history, steps) == {30, 40}
    assert needed(Selection(("last", "average")), history, steps) == set(steps)
    assert needed(Selection(("last", "oracle")), history, steps) == set(steps)
    assert needed(Selection(("source_dev",)), history, []) == set()
    assert averaged(Selection(average=3), steps) == [20, 30, 40] and averaged(Selection(), steps) == steps


def test_where_a_run_was_stopped_changes_nothing():
    assert candidates([4, 6, 7, 8, 9], 2, 9) == [4, 6, 8, 9], "7 was saved to go on from; 9 is the end"
    assert candidates([5], 0, 5) == [5]


@pytest.mark.parametrize(
    "cell",
    [
        Cell("xnli", "test", "en"),
        Cell("xnli", "test_blind", "en"),
        Cell("xnli", "dev", "sw"),
    ],
    ids=str,
)
def test_a_trainer_cannot_be_handed_anything_else(cell):
    assert SourceDev(Cell("xnli", "dev", "en"), ("en",)).cell.language == "en"
    with pytest.raises(ConfigError, match=f"would be selected on {cell}.\nAllowed: .*labels in: en"):
        SourceDev(cell, ("en",))


@pytest.mark.parametrize(
    ("save_every", "last", "steps"),
    [(6, 24, [6, 12, 18, 24]), (5, 9, [5, 9]), (5, 5, [5]), (10, 9, [9]), (0, 9, [9])],
)
def test_what_a_run_saves_is_known_from_its_last_step(save_every, last, steps):
    assert planned(save_every, last) == steps == candidates(range(1, last + 1), save_every, last)
