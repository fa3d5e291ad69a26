"""Language sets: even coverage at every size, disjoint examples, controls of equal size."""

import collections

import pytest

from xling_jax.errors import ConfigError
from xling_jax.experiment import Stage
from xling_jax.language_sets import REGIMES, families, nested_arms, orders_of, stage_data

CODES = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()
STRATA = {
    "families": families(CODES),
    "one": dict.fromkeys(CODES, "one"),
    "each": {code: code for code in CODES},
    "uneven": {code: "aabbbbbbbbbbccc"[place] for place, code in enumerate(CODES)},
}


def most_even(sizes, count):
    """Returns the most even numbers of members of strata with these sizes: poured in like water, lowest first."""
    taken = [0] * len(sizes)
    for _ in range(count):
        taken[min((at for at in range(len(sizes)) if taken[at] < sizes[at]), key=lambda at: taken[at])] += 1
    return sorted(taken)


@pytest.mark.parametrize("strata", STRATA.values(), ids=STRATA)
@pytest.mark.parametrize("first", ["", "en", "zh"])
def test_every_prefix_covers_strata_evenly(strata, first):
    sizes = collections.Counter(strata.values())
    for order in orders_of(strata, 20, first=first):
        assert sorted(order) == sorted(strata), "every language once"
        assert not first or order[0] == first
        for count in range(1, len(order) + 1):
            taken = collections.Counter(strata[code] for code in order[:count])
            assert sorted(taken[name] for name in sizes) == most_even(list(sizes.values()), count), order[:count]


def test_an_order_is_a_function_of_its_seed_and_number():
    strata = STRATA["families"]
    few, many = orders_of(strata, 3, seed=5, first="en"), orders_of(strata, 8, seed=5, first="en")
    assert few == many[:3], "more orders do not change the first ones"
    assert few == orders_of(dict(reversed(strata.items())), 3, seed=5, first="en"), "nor does how strata are written"
    assert len(set(many)) == 8
    assert set(many).isdisjoint(orders_of(strata, 8, seed=6, first="en"))


def test_orders_are_random_among_the_even_ones():
    """Each of the six families besides English's is second about as often as any other: 600 draws, 4.5 sigma."""
    second = collections.Counter(order[1] for order in orders_of(STRATA["families"], 600, first="en"))
    names = collections.Counter(STRATA["families"][code] for code in second.elements())
    assert set(names) == set(STRATA["families"].values()) - {"Indo-European"}
    expected, sigma = 600 / len(names), (600 * (1 / len(names)) * (1 - 1 / len(names))) ** 0.5
    assert all(abs(count - expected) < 4.5 * sigma for count in names.values()), names


def test_an_isolate_is_a_family_of_its_own():
    found = families(["eu", "ja", "ko", "de", "nl"])
    assert found["de"] == found["nl"] == "Indo-European"
    assert len(set(found.values())) == 4 and found["eu"] == "Basque", "two isolates are no family"


ORDERS = (("qen", "qda", "qnd", "qdt"), ("qen", "qdt", "qms", "qda"))


def spans(fields):
    """Returns {language: its example numbers} of a stage."""
    parts = Stage(**fields).parts({})
    return {part.cell.language: range(part.first, part.first + part.count) for part in parts}


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_no_translation_of_an_example_is_taken_twice(regime, size):
    fields = stage_data("world_qa.train", ORDERS[0][:size], regime, 101)
    found = spans(fields)
    numbers = [number for span in found.values() for number in span]
    assert tuple(found) == ORDERS[0][:size]
    assert numbers == list(range(101 if regime == "total" else 101 * size))
    assert max(map(len, found.values())) - min(map(len, found.values())) <= 1


def test_a_language_keeps_its_examples_as_a_set_grows():
    small, large = (spans(stage_data("world_qa.train", ORDERS[0][:size], "per_language", 50)) for size in (2, 4))
    assert small.items() <= large.items()


def test_a_language_may_have_its_examples_elsewhere():
    """As English has, where the other languages are translations of it."""
    order, elsewhere = ("de", "en", "sw", "fr"), {"en": "mnli.train"}
    fields = stage_data("xnli_translated.train", order, "per_language", 10, elsewhere)
    assert fields["data"] == ("xnli_translated.train.de", "mnli.train.en", "xnli_translated.train.sw+fr")
    assert list(spans(fields).items()) == [(code, range(10 * at, 10 * at + 10)) for at, code in enumerate(order)]
    arms, _ = nested_arms(
        "xnli_translated.train", [order], [2], {"total": 8}, source="en", stage={"steps": 1}, elsewhere=elsewhere
    )
    assert arms["en_8"]["stage"]["data"] == ("mnli.train.en",)


def test_arms_have_controls_of_equal_size():
    counts = {"total": 120, "per_language": 30}
    arms, comparisons = nested_arms(
        "world_qa.train", ORDERS, (2, 4), counts, source="qen", stage={"epochs": 1.0, "max_length": 44}
    )
    assert len(comparisons) == 8 and len(arms) == 8 + 2, "120 examples in all, and of four languages, share a control"
    assert {name for pair in comparisons for name in pair} == set(arms)
    for arm, control in comparisons:
        one, other = (arms[name]["stage"] for name in (arm, control))
        assert one["examples"] == other["examples"] and one["epochs"] == other["epochs"] == 1.0
        assert other["data"] == ("world_qa.train.qen",)
        assert sum(map(len, spans(one).values())) == sum(map(len, spans(other).values())) == one["examples"]
    assert arms["per_language_2_o1"]["stage"]["data"] == ("world_qa.train.qen+qdt",)
    assert arms["per_language_2_o1"]["stage"]["examples"] == 60
    assert arms["total_4_o0"]["stage"]["examples"] == 120
    assert arms["total_4_o1"]["factors"] == {"languages": 4.0, "regime": "total", "order": 1.0}
    assert all(("factors" in fields) == (name not in dict(comparisons).values()) for name, fields in arms.items())


@pytest.mark.parametrize("sizes", [(), (0, 2), (2, 5)])
def test_sizes_that_are_not_there(sizes):
    with pytest.raises(ConfigError, match="Allowed: from 1 to 4 languages"):
        nested_arms("world_qa.train", ORDERS, sizes, {"total": 9}, source="qen", stage={})


def test_names_that_are_not_there():
    with pytest.raises(ConfigError, match=r"(?s)Unknown regime 'totl'.*Did you mean: total"):
        stage_data("world_qa.train", ("qen",), "totl", 5)
    with pytest.raises(ConfigError, match="Unknown language 'eng' in the orders"):
        orders_of(STRATA["families"], 1, first="eng")
    with pytest.raises(ConfigError, match="Unknown language 'qq'"):
        families(["qq"])
