"""Rule segments: each stored rule once more in pandas, segments made of segments, and reasons that hold."""

from __future__ import annotations

import random
from datetime import datetime
from pathlib import Path

import ibis
import pandas as pd
import pytest

from crm_core.config import read_yaml
from crm_core.config.segments import SegmentSettings
from crm_core.errors import InputError, UnknownName
from crm_core.measures import features
from crm_core.segments import assign, basis_of, check, holding, inputs, members_in, segment_reasons, wide
from crm_core.segments.lifecycle import expected_gap
from crm_core.store.clock import local_date
from tests.pandas_rules import behaviour, evaluate, holds, typed
from tests.spark.test_parity import made_up
from tests.tiny_features import buyer, features_table
from tests.tiny_world import SHANGHAI, world

SHIPPED = read_yaml(Path(__file__).parents[2] / "conf" / "segments.yml", SegmentSettings)
TITLE = {"zh": "甲", "en": "A"}
MORE = {
    "asked_twice": "did('visit', 2, 200) and did_not('complaint', 90) or times('order', 180) >= 3",
    "a_tenth": "bucket('autumn', 10) == 3 and not did('order')",
    "nested": "not (tier == '金卡' and (order_count > 2 or is_null(city))) and between(order_count, 1, 6)",
    "unlike": "tier not in ['金卡'] and discount_share / order_count < 0.2",
}
CONF = SHIPPED.model_copy(update={"rules": {**SHIPPED.rules, **{
    name: SHIPPED.rules["one_order_only"].model_copy(update={"when": when}) for name, when in MORE.items()
}}})  # fmt: skip


def rules(**written):
    return SegmentSettings.model_validate({"rules": {name: {"title": TITLE, "when": when} for name, when in written.items()}})


@pytest.fixture(scope="module")
def shop():
    """(features as a stored table, the tables, the assigned segments, features and events in pandas)."""
    tables = world("2026-10-31", **made_up(seed=11, members=160))
    known = ibis.memtable(features(tables).to_pyarrow())
    events = tables.interactions.select("member_id", "event", at="occurred_at")
    orders = tables.paid_orders.select("member_id", at="paid_at").mutate(event=ibis.literal("order"))
    rows = events.union(orders.select("member_id", "event", "at"))
    frame = rows.select("member_id", "event", day=local_date(rows.at, SHANGHAI)).to_pandas()
    frame["day"] = frame["day"].map(lambda moment: pd.Timestamp(moment).date())
    return known, tables, assign(known, CONF, tables=tables).to_pandas(), typed(known.to_pandas()), frame


@pytest.mark.parametrize("name", list(CONF.rules))
def test_each_stored_rule_selects_in_pandas_exactly_the_same_members(shop, name):
    _, tables, assigned, frame, events = shop
    called = behaviour(frame, events, tables.as_of)
    found = set(assigned.member_id[(assigned.scheme == "rule") & (assigned.segment == name)])
    assert found == holds(CONF.rules[name].when, frame, called)


def test_the_rules_of_this_test_choose_some_and_leave_some(shop):
    _, _, assigned, frame, _ = shop
    sizes = assigned[assigned.scheme == "rule"].groupby("segment").size()
    assert all(0 < sizes[name] < len(frame) for name in MORE)


def test_a_time_beside_a_date_is_its_day_in_the_project_s_zone(shop):
    known, tables, _, frame, _ = shop
    eight = pd.Timedelta(hours=8)
    first, last = ((pd.to_datetime(frame[f"{which}_order_at"]) + eight).dt.normalize() for which in ("first", "last"))
    assert (pd.to_datetime(frame.last_order_at).dt.normalize() != last).sum() > 20
    day = last.dropna().sort_values().iloc[40]
    wanted = {
        f"last_order_at == '{day:%Y-%m-%d}'": last == day,
        f"last_order_at <= '{day:%Y-%m-%d}'": last <= day,
        f"last_order_at > date('{day:%Y-%m-%d}')": last > day,
        f"coalesce(last_order_at, first_order_at) in ['{day:%Y-%m-%d}']": last == day,
        "days_between(first_order_at, last_order_at) >= 100": (last - first).dt.days >= 100,
    }
    for text, expected in wanted.items():
        found = holding(known, text, CONF, where="x", tables=tables).to_pandas()
        assert set(found.member_id) == set(frame.member_id[expected]) and len(found), text


def test_segments_are_united_cut_and_taken_off_by_the_members_that_they_have(shop):
    known, tables, assigned, _, _ = shop
    held = {each: set(rows.member_id) for each, rows in assigned.groupby(assigned.scheme + ":" + assigned.segment)}
    conf = CONF.model_copy(update={"rules": {**CONF.rules, **rules(
        either="in_segment('rule:nested') or in_segment('rfm:champions')",
        both="in_segment('rule:nested') and in_segment('lifecycle:active')",
        without="in_segment('rule:either') and not in_segment('type:high_value')",
    ).rules}})  # fmt: skip
    found = wide(known, conf, tables=tables).to_pandas().set_index("member_id")
    either = held["rule:nested"] | held.get("rfm:champions", set())
    assert set(found.index[found["rule:either"]]) == either
    assert set(found.index[found["rule:both"]]) == held["rule:nested"] & held.get("lifecycle:active", set())
    assert set(found.index[found["rule:without"]]) == either - held.get("type:high_value", set())
    # the same of one segment alone, from the features that it says it needs
    needed = known.select("member_id", *sorted(inputs(["rule:without"], conf)))
    assert set(members_in(needed, "without", conf, tables).to_pandas().member_id) == either - held["type:high_value"]
    asked = holding(known, "in_segment('rule:without')", conf, where="here", tables=tables)
    assert set(asked.to_pandas().member_id) == either - held["type:high_value"]


def test_rules_that_ask_for_each_other_in_a_circle_are_refused_with_the_circle():
    conf = rules(a="in_segment('rule:b')", b="order_count > 1 or in_segment('rule:c')", c="not in_segment('rule:a')")
    with pytest.raises(InputError, match="in a circle: rule:a → rule:b → rule:c → rule:a"):
        assign(features_table([buyer("x", 1, 1, "1")]), conf)
    with pytest.raises(InputError, match="in a circle: rule:a → rule:a"):
        check(rules(a="in_segment('rule:a')"))


def test_what_a_rule_asks_for_that_does_not_exist_is_told_with_the_nearest():
    wrong = rules(one="in_segment('rfm:at_rsik')", two="did('cart_ad')", three="in_segment('rule:on')", four="order_cuont > 1")
    with pytest.raises(InputError, match=r"(?s)did you mean 'rfm:at_risk'.*'cart_add'.*'rule:one'.*'order_count'"):
        check(wrong)
    with pytest.raises(UnknownName, match="rule 'one'"):
        wide(features_table([]), wrong, only=["rule:one"])


def test_every_reason_holds_for_its_member(shop):
    known, tables, assigned, frame, events = shop
    basis = basis_of(known, CONF, tables)
    ids = random.Random(2).sample(sorted(frame.member_id), 40)
    found = segment_reasons(known, ids, CONF, basis, tables=tables, language="en")
    assert set(found) == set(ids)
    gaps = known.select("member_id", gap=expected_gap(known, basis.rhythm, CONF.lifecycle)).to_pandas()
    gaps = dict(zip(gaps.member_id, gaps.gap, strict=True))
    for member_id, reasons in found.items():
        own = assigned[assigned.member_id == member_id]
        assert {each.reference for each in reasons} == set(own.scheme + ":" + own.segment)
        row = frame[frame.member_id == member_id]
        called = behaviour(row, events, tables.as_of)
        for reason in reasons:
            assert reason.because and reason.title and reason.values
            for name, value in reason.values.items():
                expected = evaluate(name, row, called).iloc[0]
                assert (value is None) == pd.isna(expected)
                assert value is None or isinstance(value, str) or float(value) == pytest.approx(float(expected))
            scheme, name = reason.reference.split(":")
            if scheme == "rule":
                parts = clauses_of(CONF.rules[name].when)
                held = [evaluate(part, row, called).iloc[0] for part in parts]
                assert [flag for _, flag in reason.because] == [None if pd.isna(h) else bool(h) for h in held]
                assert True in [flag for _, flag in reason.because]
            elif scheme == "lifecycle" and name != "prospect":
                days = reason.values["days_since_last_order"]
                assert f"silent for {days} days, {days / gaps[member_id]:.2f} times" in reason.because[0][0]


def clauses_of(text):
    import ast

    body = ast.parse(text, mode="eval").body
    return [ast.unparse(part) for part in (body.values if isinstance(body, ast.BoolOp) else [body])]


def test_rows_dated_after_the_day_and_their_order_change_nothing():
    rows = made_up(seed=5, members=80)
    later = {"occurred_at": datetime(2026, 11, 1), "event": "visit", "quantity": 1.0}
    extra = {
        "orders": [{**rows["orders"][0], "order_id": f"later {n}", "ordered_at": datetime(2026, 11, 1 + n),
                    "paid_at": datetime(2026, 11, 1 + n)} for n in range(9)],
        "interactions": [{**later, "event_id": f"later {n}", "member_id": f"m00{n}"} for n in range(9)],
    }  # fmt: skip
    shuffled = {name: random.Random(1).sample(table + extra.get(name, []), len(table) + len(extra.get(name, [])))
                for name, table in rows.items()}  # fmt: skip

    def segments(given):
        tables = world("2026-10-31", **given)
        frame = assign(ibis.memtable(features(tables).to_pyarrow()), CONF, tables=tables).to_pandas()
        return frame.sort_values(["member_id", "scheme", "segment"], ignore_index=True)

    pd.testing.assert_frame_equal(segments(rows), segments(shuffled))
