"""Lifecycle stages: the expected gap recovers a known rhythm, and every stage begins where it is said to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.config.segments import LifecycleSettings, SegmentSettings
from crm_core.segments import Basis, assign
from crm_core.segments.lifecycle import STAGES, Rhythm, expected_gap, rhythm
from tests.tiny_features import buyer, features_table, nobody

KNOWN = Rhythm(40.0, 1.0, 100, "conf")
ONLY = SegmentSettings(schemes=("lifecycle",))


def member(name, days, orders=1, span=0, last=None):
    """A member whose orders lie `span` days apart from first to last."""
    mean = span / (orders - 1) if orders > 1 else None
    return buyer(name, days, orders, "1", mean_days_between_orders=mean, days_between_last_orders=last)


def stages(rows):
    found = assign(features_table(rows), ONLY, Basis(rhythm=KNOWN)).to_pyarrow().to_pylist()
    return {row["member_id"]: row["segment"] for row in found}


def test_a_new_member_is_judged_by_the_usual_gap_and_a_regular_one_by_its_own():
    table = features_table([member("one", 5), member("few", 5, 2, 10), member("many", 5, 41, 400)])
    gaps = table.select("member_id", gap=expected_gap(table, KNOWN, LifecycleSettings())).to_pandas()
    # (span + 1 × 40) / (gaps + 1), worked out by hand
    assert dict(zip(gaps.member_id, gaps.gap, strict=True)) == {"one": 40, "few": 25, "many": pytest.approx(440 / 41)}


def test_the_parcels_of_one_day_are_one_order():
    one, four = member("one", 60), {**member("four", 60, 4), "order_days": 1, "mean_days_between_orders": 0.0}
    assert stages([one, four]) == {"one": "new", "four": "new"}
    back = {**member("back", 5, 5, 100, last=100), "order_days": 2, "mean_days_between_orders": 25.0}
    assert stages([back]) == {"back": "active"}  # 100 days are 2.5 of the 40 that were expected then
    table = features_table([back])
    assert table.select(gap=expected_gap(table, KNOWN, LifecycleSettings())).to_pandas().gap[0] == (100 + 40) / 2


def test_every_stage_begins_just_after_its_multiple_of_the_members_own_gap():
    rows = [nobody("prospect")]
    rows += [member(f"one {days}", days) for days in (60, 61, 120, 121, 240, 241)]  # expected gap 40
    rows += [member(f"fast {days}", days, 41, 400) for days in (16, 17, 32, 33, 64, 65)]  # expected gap 10.7
    rows += [member("second", 30, 2, 40), member("fourth", 30, 4, 120)]
    assert stages(rows) == {
        "prospect": "prospect", "one 60": "new", "one 61": "cooling", "one 120": "cooling", "one 121": "lapsed",
        "one 240": "lapsed", "one 241": "lost", "fast 16": "loyal", "fast 17": "cooling", "fast 32": "cooling",
        "fast 33": "lapsed", "fast 64": "lapsed", "fast 65": "lost", "second": "active", "fourth": "loyal",
    }  # fmt: skip


def test_who_comes_back_after_a_silence_that_was_long_for_the_member_is_won_back():
    # the gap expected before the last order: (240 − 200 + 40) / (5 − 1 + 1) = 16 days; 200 is more than three of them
    back = member("back", 5, 6, 240, last=200)
    # (240 − 40 + 40) / 5 = 48 days: 40 is none
    usual = member("usual", 5, 6, 240, last=40)
    # with nothing before the gap of 121 days, 40 were expected: 121 is more than three times as much, 120 is not
    second = [member("second 121", 5, 2, 121, last=121), member("second 120", 5, 2, 120, last=120)]
    # gone again
    gone = member("gone", 3000, 6, 240, last=200)
    assert stages([back, usual, *second, gone]) == {
        "back": "won_back", "usual": "loyal", "second 121": "won_back", "second 120": "active", "gone": "lost",
    }  # fmt: skip


def test_where_orders_were_never_supplied_nobody_is_in_a_stage():
    assert stages([{"member_id": "x"}]) == {}


def test_the_rhythm_of_a_simulated_population_is_recovered():
    # mean gaps inverse gamma with shape 5 and mean 50: K = shape − 1 = 4 (module docstring); 20,000 members
    draw = np.random.default_rng(3)
    means = 50 * 4 / draw.gamma(5, 1, 20_000)
    gaps = draw.integers(1, 9, 20_000)
    spans = draw.gamma(gaps, means).round()
    rows = [member(str(n), 1, int(g) + 1, float(s)) for n, (g, s) in enumerate(zip(gaps, spans, strict=True))]
    found = rhythm(features_table(rows), LifecycleSettings())
    assert found.usual_gap_days == pytest.approx(50, rel=0.03)
    assert found.weight_in_gaps == pytest.approx(4, rel=0.25)
    # and the expected gap is nearer to the truth than either extreme
    table = features_table(rows)
    gap = np.array(table.select(gap=expected_gap(table, found, LifecycleSettings())).to_pandas().gap)
    truth = np.clip(means, 7, 365)
    own, usual = np.clip(spans / gaps, 7, 365), np.full_like(truth, 50)
    errors = [float(((guess - truth) ** 2).mean()) for guess in (gap, own, usual)]
    assert errors[0] < 0.75 * min(errors[1:])


@settings(max_examples=12)
@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 9), st.integers(0, 500)), min_size=1, max_size=30))
def test_every_buyer_is_in_just_one_stage_and_longer_silence_never_leads_back(drawn):
    order = ["cooling", "lapsed", "lost"]
    rows = [member(str(n), days, orders, span if orders > 1 else 0) for n, (days, orders, span) in enumerate(drawn)]
    later = [row | {"days_since_last_order": row["days_since_last_order"] + 50} for row in rows]
    now, then = stages(rows), stages(later)
    assert set(now) == {row["member_id"] for row in rows} and set(now.values()) <= set(STAGES)
    rank = {name: at for at, name in enumerate(order)}
    assert all(rank.get(then[one], -1) >= rank.get(now[one], -1) for one in now)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="must rise"):
        LifecycleSettings(cooling=3, lapsed=2)
    with pytest.raises(ValueError, match="must not be above"):
        LifecycleSettings(shortest_gap_days=30, longest_gap_days=20)
