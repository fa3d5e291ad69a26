"""Rates against hand-worked numbers and the published formulas."""

import math

import pytest

from xling_jax.checks import _check_stage
from xling_jax.errors import ConfigError
from xling_jax.experiment import Optim, Stage
from xling_jax.mixing import Mixing, cell_rates, epoch_steps

COUNTS = (800, 200, 50)  # features of two cells of the first item and one of the second
ITEMS = (0, 0, 1)


def shares(rates):
    return [rate / sum(rates) for rate in rates]


# Worked by hand. The square roots of 800, 200 and 50 are in the proportion 4 : 2 : 1.
MODES = {
    "proportional": (Mixing(), [800 / 1050, 200 / 1050, 50 / 1050]),
    "capped": (Mixing(cap=100), [100 / 250, 100 / 250, 50 / 250]),
    "temperature": (Mixing("temperature", temperature=2.0), [4 / 7, 2 / 7, 1 / 7]),
    "temperature of one": (Mixing("temperature"), [800 / 1050, 200 / 1050, 50 / 1050]),
    "capped temperature": (Mixing("temperature", cap=200, temperature=2.0), [2 / 5, 2 / 5, 1 / 5]),
    "uniform": (Mixing("uniform"), [1 / 3, 1 / 3, 1 / 3]),
    "rates": (Mixing(rates=(9.0, 1.0)), [0.72, 0.18, 0.1]),
    "rates, temperature within": (Mixing("temperature", temperature=2.0, rates=(3.0, 1.0)), [0.5, 0.25, 0.25]),
    "rates, uniform within": (Mixing("uniform", rates=(0.8, 0.2)), [0.4, 0.4, 0.2]),
}


@pytest.mark.parametrize("mode", MODES)
def test_rates(mode):
    mixing, expected = MODES[mode]
    assert shares(cell_rates(mixing, COUNTS, ITEMS)) == pytest.approx(expected)


def test_the_rates_of_a_single_task_are_all_there_is():
    for mixing, _ in MODES.values():
        if not mixing.rates:
            assert shares(cell_rates(mixing, [7], [0])) == [1.0]


def test_sampling_languages_as_xlm_r_does():
    """q_i is p_i^0.3 over the sum of all p^0.3 (Conneau et al. 2020, section 3.1; Lample and Conneau 2019)."""
    smoothed = [(count / sum(COUNTS)) ** 0.3 for count in COUNTS]
    rates = cell_rates(Mixing("temperature", temperature=1 / 0.3), COUNTS, ITEMS)
    assert shares(rates) == pytest.approx(shares(smoothed))


def test_a_high_temperature_is_uniform_and_a_cap_above_all_is_none():
    hot = cell_rates(Mixing("temperature", temperature=1e9), COUNTS, ITEMS)
    assert shares(hot) == pytest.approx([1 / 3] * 3)
    assert cell_rates(Mixing(cap=800), COUNTS, ITEMS) == cell_rates(Mixing(), COUNTS, ITEMS)


def test_rates_of_items_do_not_depend_on_their_size():
    for second in (1, 50, 10**9):
        rates = cell_rates(Mixing(rates=(9.0, 1.0)), (*COUNTS[:2], second), ITEMS)
        assert shares(rates)[2] == pytest.approx(0.1)


def test_an_epoch_with_a_cap_is_as_long_as_in_jiant():
    capped = [min(count, 100) for count in COUNTS]
    assert epoch_steps(Mixing(cap=100), COUNTS, 32) == sum(math.ceil(count / 32) for count in capped) == 4 + 4 + 2
    assert epoch_steps(Mixing(), COUNTS, 32) == 1050 / 32


def stage(**changed):
    fields = {"data": ("world_qa.train.qen+qnd", "world_text.train.qen"), "steps": 5, "max_length": 32}
    return Stage(**fields | changed)


def test_a_stage_knows_the_items_of_its_cells():
    rates = stage(mixing=Mixing(rates=(9.0, 1.0))).rates(COUNTS)
    assert shares(rates) == pytest.approx([0.72, 0.18, 0.1])


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        ({"steps": 5}, 5),
        ({"steps": 0, "epochs": 2.0}, 66),  # 2 * 1050 / 32 = 65.6
        ({"steps": 0, "epochs": 2.0, "mixing": Mixing(cap=100)}, 20),
        ({"steps": 0, "epochs": 0.001}, 1),
    ],
)
def test_the_length_of_a_stage(changed, steps):
    assert stage(**changed).length(COUNTS, 32) == steps


@pytest.mark.parametrize(("examples", "cells"), [(0, 0), (7200, 6), (400, 6), (7, 3), (3, 3)])
def test_parts_are_disjoint_and_as_many_as_asked(examples, cells):
    languages = "qen+qnd+qnr+qms+qda+qdt".split("+")[: cells or 2]
    parts = stage(data=("world_qa.train." + "+".join(languages),), examples=examples).parts({"train": 11})
    if not examples:
        assert [(part.first, part.count) for part in parts] == [(0, 11), (0, 11)]
        return
    numbers = [number for part in parts for number in range(part.first, part.first + part.count)]
    assert numbers == list(range(examples)), "each number once, in one language"
    assert max(part.count for part in parts) - min(part.count for part in parts) <= 1


def test_text_beside_a_task_is_no_part_of_its_examples():
    limits = {"train": 50}
    parts = stage(data=("world_text.train.qda", "world_qa.train.qen+qnd"), examples=10).parts(limits)
    assert [(str(part.cell), part.first, part.count) for part in parts] == [
        ("world_text.train.qda", 0, 50),
        ("world_qa.train.qen", 0, 5),
        ("world_qa.train.qnd", 5, 5),
    ]
    text = stage(data=("world_text.train.qda+qen",), examples=10).parts(limits)
    assert [(part.first, part.count) for part in text] == [(0, 5), (5, 5)], "alone it is what there is to count"


WRONG = {
    "cap": (Mixing(cap=-1), "has cap=-1.\nAllowed: at least 1 example"),
    "cap of nothing": (Mixing("uniform", cap=5), "cap=5 beside the rule 'uniform'"),
    "temperature": (Mixing("temperature", temperature=0.0), "temperature=0.\nAllowed: a number above zero"),
    "no number": (Mixing("temperature", temperature=math.nan), "temperature=nan"),
    "temperature of nothing": (Mixing(temperature=2.0), "temperature=2 and rule='proportional'"),
    "too few rates": (Mixing(rates=(1.0,)), "1 rates for 2 items of data.\nAllowed: one rate for each item"),
    "too many rates": (Mixing(rates=(1.0, 1.0, 1.0)), "3 rates for 2 items of data"),
    "a rate of nothing": (Mixing(rates=(1.0, 0.0)), "numbers above zero; leave out data"),
    "an endless rate": (Mixing(rates=(1.0, math.inf)), "numbers above zero"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_mixing_is_one_clear_error(case):
    mixing, words = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        _check_stage(stage(mixing=mixing), "pretrain", 64)
    assert words in str(caught.value) and "stage 'pretrain'" in str(caught.value)
    assert str(caught.value).endswith("Fields are declared in xling_jax/mixing.py.")


@pytest.mark.parametrize("mode", MODES)
def test_right_mixing_is_none(mode):
    _check_stage(stage(mixing=MODES[mode][0], optim=Optim()), "pretrain", 64)


def test_fewer_examples_than_cells():
    with pytest.raises(ConfigError, match=r"takes 1 examples of 2 cells\.\nAllowed: at least one of each"):
        _check_stage(stage(examples=1), "pretrain", 64)
