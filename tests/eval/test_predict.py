"""Outputs over a cell: every example once, in order, whatever the batches."""

import numpy as np
import pytest

from xling_jax.eval.predict import predict

EXAMPLE = np.array([0, 1, 1, 2, 3, 3, 3])  # examples 1 and 3 were cut into several features


def batches(order, size):
    """Yields features as `in_order` does: full batches, the last one filled up with copies."""
    for at in range(0, len(order), size):
        numbers = np.array(order[at : at + size])
        rows = np.concatenate([numbers, np.repeat(numbers[-1:], size - len(numbers))])
        yield numbers, {"x": rows}


@pytest.mark.parametrize("order", [range(7), [6, 2, 0, 5, 1, 4, 3]])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_every_example_once_and_in_order(order, size):
    placed = []

    def output_fn(batch):
        return {"square": batch["x"] ** 2, "pair": np.stack([batch["x"], -batch["x"]], axis=1)}

    def place(batch):
        placed.append(batch)
        return batch

    rows = predict(output_fn, batches(list(order), size), place, EXAMPLE, 4)
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

    predict(output_fn, batches([0, 1, 2], 1), lambda batch: batch, np.arange(3), 3)
    assert [event for event in events if event[0] == "sent"] == [("sent", 0), ("sent", 1), ("sent", 2)]
    assert events.index(("sent", 1)) < events.index(("fetched", 0))
    assert events.index(("sent", 2)) < events.index(("fetched", 1))


def test_a_feature_without_output_is_noticed():
    with pytest.raises(AssertionError, match="6 outputs for 7 features"):
        predict(lambda batch: batch, batches(range(6), 2), lambda batch: batch, EXAMPLE, 4)


def test_a_cell_of_nothing():
    assert list(predict(lambda batch: batch, [], lambda batch: batch, np.zeros(0, int), 0)) == []
