"""Sets of N languages to train on, declared so that nothing but the number of languages differs.

Adding languages in one fixed order confounds their number with what they are, and adding data with each of them
confounds it with the amount. So sets grow along several random orders, each of which covers families, or typological
clusters, as evenly as it can at every size; and there are two regimes, each beside a control in the source
language alone with as many examples:

    total         N languages share a fixed number of examples
    per_language  each of N languages has a fixed number of examples

In both, a stage's examples are the first so many numbers of the data set, each in one language, so that where
cells are translations of each other, the sets and their control say the same things.

    orders_of(families(codes), 3, first="en")  ->  three orders; the sets of 5 languages are their first five
"""

import itertools
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xling_jax.errors import ConfigError, unknown
from xling_jax.tables.languages import language

REGIMES = ("total", "per_language")
NOWHERE: Mapping[str, str] = types.MappingProxyType({})
WHERE = "Language sets are declared in the config, with xling_jax/language_sets.py."


def families(codes: Sequence[str]) -> dict[str, str]:
    """Returns {language: its family}; an isolate is a family of its own. See `typology.clusters` for another way."""
    rows = [language(code, "a language set") for code in codes]
    return {row.code: row.family if row.family != "isolate" else row.name for row in rows}


def orders_of(strata: Mapping[str, str], count: int, seed: int = 0, first: str = "") -> tuple[tuple[str, ...], ...]:
    """Returns `count` orders of languages; order k is a function of (seed, k) alone.

    Every prefix has as many strata as it can, and as equal numbers of each: every stratum gives one language in turn,
    until it has none left. Which turn and which language is random.

    Args:
      strata: language to family, or to cluster.
      count: of orders.
      seed: of all orders.
      first: a language that all orders begin with, as the source language; "" for none.
    """
    if first and first not in strata:
        raise unknown("language", first, strata, WHERE, "the orders of a language set, as the first")
    return tuple(_order(strata, np.random.default_rng([seed, number]), first) for number in range(count))


def _order(strata: Mapping[str, str], rng: np.random.Generator, first: str) -> tuple[str, ...]:
    members: dict[str, list[str]] = {}
    for code in sorted(_shuffled(sorted(strata), rng), key=lambda code: code != first):
        members.setdefault(strata[code], []).append(code)
    found: list[str] = []
    for turn in range(max(map(len, members.values()), default=0)):
        names = _shuffled(sorted(name for name, codes in members.items() if len(codes) > turn), rng)
        found += sorted((members[name][turn] for name in names), key=lambda code: code != first)
    return tuple(found)


def _shuffled(items: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [items[place] for place in rng.permutation(len(items))]


def stage_data(
    name: str, languages: Sequence[str], regime: str, count: int, elsewhere: Mapping[str, str] = NOWHERE
) -> dict[str, Any]:
    """Returns the fields of a Stage that say what it trains on.

    Args:
      name: task.split.
      languages: in the order they were added. In the regime per_language, each keeps its examples as the set grows.
      regime: one of REGIMES.
      count: examples of all languages together, or of each.
      elsewhere: {language: its task.split} where that is another one: what was translated is seldom beside what it
        was translated to, {"en": "mnli.train"}.
    """
    if regime not in REGIMES:
        raise unknown("regime", regime, REGIMES, WHERE)
    examples = count if regime == "total" else count * len(languages)
    runs = itertools.groupby(languages, key=lambda code: elsewhere.get(code, name))
    return {"data": tuple(f"{place}.{'+'.join(codes)}" for place, codes in runs), "examples": examples}


def nested_arms(
    name: str,
    orders: Sequence[Sequence[str]],
    sizes: Sequence[int],
    counts: Mapping[str, int],
    *,
    source: str,
    stage: Mapping[str, Any],
    elsewhere: Mapping[str, str] = NOWHERE,
) -> tuple[dict[str, dict[str, Any]], tuple[tuple[str, str], ...]]:
    """Returns (arms, comparisons of each with its control) of nested language sets.

    An arm is named `regime_size_order` and has these three as its factors, so that a study can tell a set's size from
    the order it is a part of; a control, `source_examples`, has none. Where regimes or sizes ask for the same number of
    examples, their control is the same.

    Args:
      name: task.split of the intermediate task.
      orders: of languages; a set of N is the first N of an order.
      sizes: numbers of languages.
      counts: regime to its number of examples.
      source: the language of the controls.
      stage: all other fields of the stages. Steps should follow from `epochs`, as examples do.
      elsewhere: see `stage_data`.
    """
    longest = min(map(len, orders), default=0)
    if not sizes or not 1 <= min(sizes) <= max(sizes) <= longest:
        raise ConfigError(f"Language sets of sizes {tuple(sizes)}.\nAllowed: from 1 to {longest} languages.\n{WHERE}")
    arms: dict[str, dict[str, Any]] = {}
    comparisons = []
    for regime, count in counts.items():
        for size in sizes:
            for number, order in enumerate(orders):
                data = stage_data(name, order[:size], regime, count, elsewhere)
                alone = stage_data(name, [source], "total", data["examples"], elsewhere)
                arm, control = f"{regime}_{size}_o{number}", f"{source}_{data['examples']}"
                factors = {"languages": float(size), "regime": regime, "order": float(number)}
                arms |= {arm: {"stage": {**stage, **data}, "factors": factors}, control: {"stage": {**stage, **alone}}}
                comparisons.append((arm, control))
    return arms, tuple(comparisons)
