"""Member features on tables small enough to work out by hand."""

from __future__ import annotations

import random
from datetime import datetime
from decimal import Decimal

import pytest

from crm_core.measures import FEATURES, empty_features, features
from crm_core.schema import TABLES
from tests.tiny_world import moment, order, rows_of, world

MEMBERS = [
    {"member_id": "a", "registered_at": moment("2026-10-01 00:00"), "tier": "gold", "gender": "female",
     "birth_year": 1990, "birth_month": 11, "province": "浙江", "city": "杭州", "person_id": "p1"},
    {"member_id": "b", "registered_at": None, "birth_year": 2000, "birth_month": 10},
]  # fmt: skip
ORDERS = [
    order("1", "a", "2026-10-01 02:00", "90.00", gross_amount=Decimal("100"), discount_amount=Decimal("10")),
    order("2", "a", "2026-10-11 02:00", "60.00", channel="jd", gross_amount=Decimal("100"), discount_amount=Decimal("40")),
    order("3", "a", "2026-10-31 02:00", "50.00", channel="jd", gross_amount=Decimal("50"), review_score=4.0),
    order("4", "x", "2025-12-01 02:00", "5.00"),  # ordered, but in no list of members
    order("5", "y", None),
]
LINES = [
    {"order_id": "1", "line_no": 1, "ordered_at": moment("2026-10-01"), "product_id": "tea", "line_amount": Decimal("40")},
    {"order_id": "1", "line_no": 2, "ordered_at": moment("2026-10-01"), "product_id": "cup", "line_amount": Decimal("50")},
    {"order_id": "2", "line_no": 1, "ordered_at": moment("2026-10-11"), "product_id": "tea", "line_amount": Decimal("10")},
    {"order_id": "5", "line_no": 1, "ordered_at": moment("2026-01-01"), "product_id": "tea", "line_amount": Decimal("9")},
]
PRODUCTS = [{"product_id": "tea", "category": "Tea"}, {"product_id": "cup", "category": "Cups"}]
REFUNDS = [
    {"refund_id": "r1", "member_id": "a", "refunded_at": moment("2026-10-20"), "amount": Decimal("20.00")},
    {"refund_id": "r2", "member_id": "z", "refunded_at": moment("2026-10-20"), "amount": Decimal("1.00")},
    {"refund_id": "r3", "member_id": "a", "refunded_at": moment("2026-11-20"), "amount": Decimal("99.00")},
]


def event(number, member_id, occurred_at, kind, **more):
    return {"event_id": str(number), "member_id": member_id, "occurred_at": moment(occurred_at), "event": kind, **more}


EVENTS = [
    event(1, "a", "2026-10-30", "visit"),
    event(2, "a", "2026-09-01", "visit"),
    event(3, "a", "2026-10-29", "points_earned", quantity=100.0),
    event(4, "a", "2026-10-29", "points_spent", quantity=30.0),
    event(5, "a", "2026-10-29", "points_expired", quantity=-20.0),
    event(6, "a", "2026-10-29", "coupon_issued"),
    event(7, "a", "2026-10-29", "coupon_issued"),
    event(8, "a", "2026-10-29", "coupon_redeemed"),
    event(9, "b", "2026-10-29", "coupon_expired"),
    event(10, "a", "2026-10-31 08:00", "sent"),
    event(11, "a", "2026-10-31 08:01", "opened"),
    event(91, "a", "2026-10-31 08:02", "opened"),  # twice: a rate is a share of messages
    event(12, None, "2026-10-31", "visit"),
    event(13, "a", "2026-11-02", "visit"),
]


def consent(member_id, state, changed_at, channel="sms", expires_at=None):
    expires = moment(expires_at) if expires_at else None
    return {
        "member_id": member_id, "channel": channel, "state": state, "changed_at": moment(changed_at),
        "expires_at": expires,
    }  # fmt: skip


CONSENTS = [
    consent("a", "denied", "2026-01-01"),
    consent("a", "granted", "2026-02-01"),
    consent("a", "revoked", "2026-03-01", channel="email"),
    consent("a", "revoked", "2026-12-01"),
    consent("b", "granted", "2026-01-01", expires_at="2026-06-01"),
]
ALL = {
    "members": MEMBERS, "orders": ORDERS, "order_lines": LINES, "products": PRODUCTS, "refunds": REFUNDS,
    "interactions": EVENTS, "consents": CONSENTS,
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    return rows_of(features(world(**ALL)))


def test_everyone_known_has_one_row(found):
    assert set(found) == {"a", "b", "x", "y", "z"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("order_count", 3), ("order_days", 3), ("net_amount", Decimal("200.00")), ("days_since_last_order", 0),
        ("first_order_at", datetime(2026, 10, 1, 2)), ("average_order_value", pytest.approx(200 / 3)),
        ("orders_30d", 2), ("net_amount_30d", Decimal("110.00")), ("orders_90d", 3), ("orders_365d", 3),
        ("mean_days_between_orders", 15.0), ("discount_share", 0.2), ("main_channel", "jd"),
        ("refund_amount", Decimal("20.00")), ("refund_share", 0.1),
        ("category_count", 2), ("favourite_category", "Cups"),
        ("visits_30d", 1), ("visits_90d", 2), ("complaints_90d", 0), ("days_since_last_activity", 1),
        ("points_balance", 50.0), ("coupons_held", 1), ("messages_sent", 1), ("messages_opened", 2),
        ("messages_clicked", 0), ("sms_consent", "granted"),
        ("tier", "gold"), ("gender", "female"), ("birth_month", 11), ("months_to_birthday", 1), ("age", 35),
        ("city", "杭州"), ("province", "浙江"), ("person_id", "p1"), ("tenure_days", 30),
        ("registered_at", datetime(2026, 10, 1)), ("sd_days_between_orders", pytest.approx(50**0.5)),
        ("days_between_last_orders", 20),
        ("main_channel_share", pytest.approx(2 / 3)), ("channel_count", 2), ("favourite_category_share", 0.5),
        ("review_score", 4.0), ("birth_year", 1990), ("email_consent", "revoked"), ("messages_30d", 1),
        ("message_open_rate", 1.0), ("message_click_rate", 0.0), ("points_earned", 100.0), ("points_spent", 30.0),
        ("coupons_redeemed", 1), ("complaint_count", 0), ("days_since_last_message", 0),
        ("days_since_last_complaint", None), ("last_activity_at", datetime(2026, 10, 30)),
    ],
)  # fmt: skip
def test_the_features_of_a_busy_member_are_as_worked_out_by_hand(found, name, expected):
    assert found["a"][name] == expected


def test_a_member_without_orders_has_noughts_for_counts_and_nothing_for_the_rest(found):
    quiet = found["b"]
    assert (quiet["order_count"], quiet["net_amount"], quiet["orders_30d"]) == (0, Decimal("0.00"), 0)
    assert quiet["days_since_last_order"] is quiet["average_order_value"] is quiet["main_channel"] is None
    assert (quiet["coupons_held"], quiet["sms_consent"], quiet["age"], quiet["months_to_birthday"]) == (0, "expired", 26, 0)
    assert quiet["tenure_days"] is None


def test_someone_seen_only_in_orders_has_order_features_and_no_attributes(found):
    assert (found["x"]["order_count"], found["x"]["tier"], found["y"]["order_count"]) == (1, None, 0)
    assert found["x"]["mean_days_between_orders"] is None
    assert (found["x"]["refund_share"], found["b"]["refund_share"]) == (0.0, None), "a buyer who returned nothing, and no buyer"


@pytest.mark.parametrize("table", sorted({feature.table for feature in FEATURES.values()}))
def test_features_asked_for_by_name_are_those_of_the_whole(found, table):
    names = [name for name, feature in FEATURES.items() if feature.table == table]
    asked = features(world(**ALL), names[::-1])
    assert asked.columns == ("member_id", *names)
    assert rows_of(asked) == {key: {"member_id": key} | {name: row[name] for name in names} for key, row in found.items()}


def test_the_columns_are_those_of_the_registry_with_its_types():
    assert features(world(**ALL)).schema() == empty_features().schema()
    assert all(feature.zh and feature.en and feature.table in TABLES for feature in FEATURES.values())


@pytest.mark.parametrize("absent", sorted(set(ALL) - {"products"}))
def test_features_of_a_table_never_supplied_are_unknown_not_nought(absent):
    rest = {name: rows for name, rows in ALL.items() if name != absent}
    found = rows_of(features(world(**rest)))
    concerned = [name for name, feature in FEATURES.items() if feature.table == absent]
    assert concerned
    assert all(row[name] is None for row in found.values() for name in concerned)


def test_the_order_of_rows_changes_nothing(found):
    rng = random.Random(3)
    shuffled = {name: rng.sample(rows, len(rows)) for name, rows in ALL.items()}
    assert rows_of(features(world(**shuffled))) == found


def test_of_equal_channels_the_first_by_name_is_the_main_one():
    two = [order("1", "a", "2026-10-01 00:00", channel="tmall"), order("2", "a", "2026-10-02 00:00", channel="jd")]
    for rows in (two, two[::-1]):
        assert rows_of(features(world(orders=rows)))["a"]["main_channel"] == "jd"


@pytest.mark.parametrize("day", ["2026-10-15", "2026-02-15", "2025-12-31"])
def test_what_came_later_changes_nothing(day):
    cut = world(day, **ALL).instant
    began = ["orders ordered_at", "order_lines ordered_at", "refunds refunded_at", "interactions occurred_at"]
    dates = dict(pair.split() for pair in [*began, "consents changed_at"])
    known = {name: [row for row in rows if name not in dates or row[dates[name]] < cut] for name, rows in ALL.items()}
    then, now = world(day, **known), world(day, **ALL)
    then.supplied = now.supplied
    assert rows_of(features(then)) == rows_of(features(now))


def test_a_sum_that_a_column_of_money_cannot_hold_stays_at_the_most_that_it_holds():
    huge = [order(str(n), "a", "2026-10-01 02:00", "9999999999999999.99", gross_amount=Decimal(1)) for n in range(2)]
    found = rows_of(features(world(orders=[*huge, order("3", "b", "2026-10-02 02:00", "5.00")])))
    assert found["a"]["net_amount"] == found["a"]["net_amount_365d"] == Decimal("9999999999999999.99")
    assert found["a"]["average_order_value"] == pytest.approx(1e16)
    assert found["b"]["net_amount"] == Decimal("5.00")
