"""A short slice of the purchase models' soak; `make soak` runs 200 seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from crm_core.models import count_interval, fit_bgbb, fit_pareto_nbd
from tests.models.simulated_buyers import buyers
from tests.soak import purchases


def test_the_region_of_two_hundred_seeds_is_the_published_one() -> None:
    assert purchases.region(200, 0.95) == (179, 198)


@pytest.mark.parametrize("family", purchases.FAMILIES)
def test_known_parameters_lie_inside_their_intervals(family: str) -> None:
    held = purchases.recovery(family, 12, 500, members=2000)
    low, high = purchases.region(12, 0.95)
    assert held.pop("sound") == 12
    assert all(low <= count <= high for count in held.values()), held


@pytest.mark.parametrize("family", purchases.FITS)
def test_held_out_counts_and_values_lie_inside_their_intervals_as_often_as_stated(family: str) -> None:
    found = purchases.prediction(family, 3)
    low, high = purchases.region(2000, 0.9)
    assert low <= found["counts"] <= high
    assert low <= found["values"] <= high
    assert found["as_stated"] > 0.001
    assert found["uniform"] > 0.001
    assert found["stated"] >= 0.9


def test_busy_members_whose_counts_come_in_small_steps_are_covered_as_the_level_says_without_any_thinning() -> None:
    rng = np.random.default_rng(20)
    busy = {"r": 3.0, "alpha": 1.0, "s": 2.0, "beta": 4000.0}
    drawn = buyers("pareto_nbd", busy, rng.uniform(20, 60, 2000), 30.0, rng)
    model = fit_pareto_nbd(drawn.x, drawn.t_x, drawn.T)
    found = count_interval(model, 30.0, drawn.x, drawn.t_x, drawn.T, level=0.9)
    inside = int(((drawn.later >= found.low) & (drawn.later <= found.high)).sum())
    low, high = purchases.region(2000, 0.9)
    assert low <= inside <= high, inside


def test_counts_of_whole_periods_lie_inside_their_intervals_as_often_as_stated() -> None:
    x, t_x, n, later = purchases.discrete(np.random.default_rng(31), 2000, ahead=8)
    found = count_interval(fit_bgbb(x, t_x, n), 8, x, t_x, n, level=0.9)
    inside = int(((later >= found.low) & (later <= found.high)).sum())
    assert found.content.mean() >= 0.9
    assert stats.binomtest(inside, 2000, found.content.mean()).pvalue > 0.001
