"""A short slice of the purchase models' soak; `make soak` runs 200 seeds."""

from __future__ import annotations

import pytest

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
