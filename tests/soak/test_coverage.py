"""A short slice of the coverage soak; `make soak` runs a thousand campaigns of any seed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    """The soak's own file; loaded by path, as its name is also that of a well-known package."""
    found = importlib.util.spec_from_file_location("campaign_coverage", Path(__file__).with_name("coverage.py"))
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("probability", "expected"), [(0.95, (926, 971)), (0.05, (29, 74))])
def test_regions_of_a_thousand_are_the_published_ones(coverage: ModuleType, probability: float, expected: tuple[int, int]) -> None:
    assert coverage.region(1000, probability) == expected


@pytest.mark.parametrize("campaigns", [1, 60, 1000, 5000])
def test_a_region_holds_999_in_1000_and_no_smaller_one_on_either_side_does(coverage: ModuleType, campaigns: int) -> None:
    low, high = coverage.region(campaigns, 0.95)
    count = stats.binom(campaigns, 0.95)
    assert count.cdf(low - 1) <= 0.0005 < count.cdf(low) or low == 0
    assert count.sf(high) <= 0.0005


@pytest.mark.slow
def test_sixty_campaigns_hold_the_truth_and_cry_wolf_as_often_as_they_should(coverage: ModuleType) -> None:
    found = coverage.soak(60, 20261031)
    assert found["ok"], found
