"""Outputs over cells: every example once, in order, whatever the batches."""

import numpy as np
import pytest

from xling_jax.data.batches import EvalBatch
from xling_jax.eval.predict import Outputs, predict

EXAMPLE = np.array([0, 1, 1, 2, 3, 3, 3])  # examples 1 and 3 were cut into several features


def batches(order, size, outputs, last=True):
    """Yields features as `in_order` does: full batches, the last one filled up with copies."""
    for at in range(0, len(order), size):
        numbers = np.array(order[at : at + size])
        rows = np.concatenate([numbers, np.repeat(numbers[-1:], size - len(numbers))])
        yield EvalBatch({"x": rows}, [(outputs, numbers)], [outputs] if last and at + size >= len(order) else [])


@pytest.mark.parametrize("order", [range(7), [6, 2, 0, 5, 1, 4, 3]])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_every_example_once_and_in_order(order, size):
    placed = []

    def output_fn(batch):
        return {"square": batch["x"] ** 2, "pair": np.stack([batch["x"], -batch["x"]], axis=1)}

    def place(batch):
        placed.append(batch)
        return batch

    (rows,) = predict(output_fn, batches(list(order), size, Outputs(EXAMPLE, 4)), place)
    assert [[int(feature["square"]) for feature in features] for features in rows] == [[0], [1, 4], [9], [16, 25, 36]]
    assert [feature["pair"].tolist() for feature in rows[1]] == [[1, -1], [2, -2]]
    assert rows.stack("square").tolist() == [0, 1, 4, 9, 16, 25, 36], "in the order of the features"
    assert {len(batch["x"]) for batch in placed} == {size}, "each length is compiled once"


def test_the_next_batch_is_sent_before_the_last_is_fetched():
    events = []

    class Output:
        def __init__(self, at):
            self.at = at

        def __array__(self, *_, **__):
            events.append(("fetched", self.at))
            return np.array([self.at])

    def output_fn(batch):
        events.append(("sent", int(batch["x"][0])))
        return {"x": Output(int(batch["x"][0]))}

    def given():
        for first in (0, 2, 4):
            yield from batches([first, first + 1], 1, Outputs(np.arange(6), 6), last=False)

    assert not list(predict(output_fn, given(), lambda batch: batch)), "no cell has ended"
    assert [event for event in events if event[0] == "sent"] == [("sent", at) for at in range(6)]
    for at in range(5):
        assert events.index(("sent", at + 1)) < events.index(("fetched", at))


def test_a_cell_is_given_away_as_soon_as_it_has_ended_and_shares_a_batch_with_the_next():
    first, second = Outputs(np.arange(2), 2), Outputs(np.arange(3), 3)
    given = [
        EvalBatch({"x": np.array([10, 11, 20])}, [(first, np.array([0, 1])), (second, np.array([2]))], [first]),
        EvalBatch({"x": np.array([21, 22, 0])}, [(second, np.array([0, 1]))], [second]),
    ]
    drawn = []
    found = predict(lambda batch: batch, (drawn.append(each) or each for each in given), lambda batch: batch)
    assert next(found) is first and len(drawn) == 2, "the next batch is on its way"
    assert first.stack("x").tolist() == [10, 11]
    assert next(found) is second and second.stack("x").tolist() == [21, 22, 20]
    assert list(found) == []


def test_what_is_broken_is_of_its_own_cell():
    first, second = Outputs(np.arange(2), 2), Outputs(np.arange(2), 2)
    numbers = np.array([0, 1])
    batch = EvalBatch({"x": np.array([1.0, 2.0, 3.0, np.nan])}, [(first, numbers), (second, numbers)], [first, second])
    assert list(predict(lambda batch: batch, [batch], lambda batch: batch)) == [first, second]
    assert first.broken is None and second.broken == 1


def test_a_feature_without_output_is_noticed():
    with pytest.raises(AssertionError, match="6 outputs for 7 features"):
        list(predict(lambda batch: batch, batches(range(6), 2, Outputs(EXAMPLE, 4)), lambda batch: batch))
