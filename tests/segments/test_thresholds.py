"""The limits: what a quintile is here, exactly."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crm_core.config.segments import SegmentSettings
from crm_core.segments import thresholds
from tests.tiny_features import buyer, features_table, nobody

FALLING = {"days_since_last_order": [9, 1, 2, 3], "order_count": [1] * 4, "net_amount": [1] * 4}
TEN = [buyer(str(n), days=n * 10, orders=1 if n <= 7 else n, amount=f"{n}.50") for n in range(1, 11)]


def test_a_limit_is_the_smallest_value_with_at_least_that_share_at_or_below_it():
    limits = thresholds(features_table([*TEN, nobody("x")]), SegmentSettings()).quintiles
    assert limits.days_since_last_order == (20, 40, 60, 80)
    assert limits.order_count == (1, 1, 1, 8)
    assert limits.net_amount == tuple(Decimal(text) for text in ("2.50", "4.50", "6.50", "8.50"))
    assert limits.source == "data"


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_limits_are_the_inverted_cdf_whatever_the_ties(days):
    found = thresholds(features_table([buyer(str(n), d, 1, "1") for n, d in enumerate(days)]), SegmentSettings())
    ranks = [math.ceil(Fraction(k * len(days), 5)) for k in (1, 2, 3, 4)]
    assert [int(v) for v in found.quintiles.days_since_last_order] == [sorted(days)[rank - 1] for rank in ranks]


def test_the_mean_is_that_of_members_with_a_paid_order_and_exact():
    mean = thresholds(features_table([*TEN, nobody("x")]), SegmentSettings())
    assert mean.types.days_since_last_order == (Decimal("55.000000"),)
    assert mean.types.net_amount == (Decimal("6.000000"),)
    assert (mean.compare, mean.members) == ("mean", 10)


def test_the_median_is_a_value_of_the_data():
    settings = SegmentSettings.model_validate({"type": {"compare": "median"}})
    assert thresholds(features_table(TEN), settings).types.net_amount == (Decimal("5.50"),)


def test_given_limits_are_used_and_say_where_they_are_from():
    days = [30, 90, 180, 365]
    given_limits = {"days_since_last_order": days, "order_count": [1, 2, 3, 5], "net_amount": [1, 2, 3, "4.5"]}
    values = {"days_since_last_order": 60, "order_count": 3, "net_amount": 100}
    settings = SegmentSettings.model_validate({"rfm": {"thresholds": given_limits}, "type": {"compare": "given", "values": values}})
    found = thresholds(features_table(TEN), settings)
    assert found.quintiles.days_since_last_order == (30, 90, 180, 365)
    assert found.types.order_count == (3,)
    assert found.quintiles.source == found.types.source == "conf"


def test_without_a_buyer_there_are_no_limits():
    found = thresholds(features_table([nobody("x")]), SegmentSettings())
    assert found.members == 0
    assert found.quintiles.net_amount == found.types.net_amount == ()


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"type": {"compare": "given"}}, "values are needed"),
        ({"type": {"compare": "mode"}}, "mean"),
        ({"rfm": {"thresholds": FALLING}}, "must not fall"),
        ({"rules": {"Bad Name": {"title": {"zh": "x", "en": "x"}, "when": "True"}}}, "pattern"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(conf, message):
    with pytest.raises(ValueError, match=message):
        SegmentSettings.model_validate(conf)
