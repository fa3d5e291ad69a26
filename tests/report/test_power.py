"""Power against textbook formulas and against simulated studies; what a plan says."""

import numpy as np
import pytest
from scipy import stats

from xling_jax.report.power import (
    MOST_SEEDS,
    SEEN,
    advice,
    detectable,
    items_needed,
    planned,
    power,
    resized,
    seeds_needed,
    with_training,
)
from xling_jax.report.statistics import Noise, half_width


def test_items_alone_are_the_textbook():
    """Without noise from seeds: 1.96 + 0.84 standard errors (Bloom 1995)."""
    noise = planned(5, training=0.0, items=2.0, items_df=1e9)
    assert detectable(noise) == pytest.approx(2 * (stats.norm.isf(0.025) + stats.norm.ppf(SEEN)), rel=1e-6)
    assert power(2 * 1.959964, noise) == pytest.approx(0.5, abs=1e-6), "half of the estimates are above the truth"


def test_seeds_alone_are_students_t():
    """Without noise from items the noncentral t says it exactly."""
    noise = planned(5, training=3.0, items=0.0)
    beyond = stats.t.isf(0.025, 4)
    exact = stats.nct.sf(beyond, 4, 4.0 / (3.0 / 5**0.5))
    assert power(4.0, noise) == pytest.approx(exact, abs=2e-3)


def test_power_is_what_simulated_studies_find():
    noise = planned(3, training=2.0, items=1.5, interaction=1.0)
    rng = np.random.default_rng(0)
    value = 8.0 + rng.normal(size=20_000) * noise.variance**0.5
    drawn = noise.between / 3 * rng.chisquare(2, size=20_000) / 2
    found = np.mean(value > half_width(0.05, noise.parts._replace(seeds=drawn)))
    assert power(8.0, noise) == pytest.approx(found, abs=0.012), "three standard errors of 20,000 studies"


def test_what_grows_with_seeds_and_what_with_items():
    """Of 2 seeds with variances 4 (training), 1 (interaction) and 9 (items): ten seeds, twice the items."""
    noise = resized(Noise(2, 5.0, 1.0, 9.0, 1.0, 50.0), seeds=10, items=2.0)
    assert noise == Noise(10, 4.5, 0.5, 4.5, 9.0, 100.0)
    pooled = Noise(2, 5.0, 1.0, 9.0, 4.0, 50.0)
    assert resized(pooled, seeds=3).seeds_df == 8.0, "of five arms"
    with pytest.raises(AssertionError, match="one seed says nothing"):
        resized(Noise(1, 0.0, 0.0, 9.0, 1.0, 50.0), 3)


def test_a_plan_is_just_enough():
    noise = planned(2, training=1.5, items=1.0)
    seeds = seeds_needed(3.0, noise)
    assert power(3.0, resized(noise, seeds)) >= SEEN > power(3.0, resized(noise, seeds - 1))
    assert detectable(resized(noise, seeds)) <= 3.0 < detectable(resized(noise, seeds - 1))
    calm = planned(5, training=0.5, items=3.0)
    items = items_needed(5.0, calm)
    assert items > 1 and power(5.0, resized(calm, 5, items)) == pytest.approx(SEEN, abs=1e-3)


def test_what_no_number_settles():
    assert seeds_needed(1.0, planned(2, training=0.1, items=5.0)) is None, f"{MOST_SEEDS} seeds share the items"
    assert items_needed(1.0, planned(2, training=5.0, items=1.0)) is None, "two seeds are two seeds"


def test_advice():
    noise = planned(3, training=1.0, items=1.0)
    smallest, seeds = f"{detectable(noise):.1f}", seeds_needed(3.0, noise)
    assert advice(3.0, noise).startswith(f"A study of this size sees a true gain of {smallest} points in 4 of 5 ")
    assert f"for one of 3.0 it would take about {seeds} seeds" in advice(-3.0, noise)
    assert advice(50.0, noise).endswith("in 4 of 5 repetitions."), "it is large enough"
    assert advice(0.0, noise).endswith("in 4 of 5 repetitions."), "nothing settles what is not there"
    assert "more than 64 seeds; more test items alone would not do." in advice(0.1, noise)


def test_a_plan_from_one_seed_and_a_guess():
    noise = with_training(Noise(1, 0.0, 0.0, 4.0, 1.0, 80.0), seeds=4, training=3.0)
    assert (noise.variance, noise.seeds_df, noise.items_df) == (9 / 4 + 4, 3.0, 80.0)
