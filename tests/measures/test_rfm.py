"""RFM on tables small enough to work out by hand."""

from __future__ import annotations

import random
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import ibis
import pytest

from crm_core.errors import InputError
from crm_core.measures import rfm
from tests.tiny_world import order, rows_of, world

ORDERS = [
    order("1", "a", "2026-10-01 02:00", "10.10"),
    order("2", "a", "2026-10-30 15:59", "20.20"),  # 23:59 in Shanghai, the day before as_of
    order("3", "b", "2026-10-30 16:00", "0.01"),  # 00:00 on the 31st in Shanghai
    order("4", "b", "2025-01-01 00:00", "0.02"),
    order("5", "b", "2025-01-01 00:00", "0.02"),
    order("6", None, "2026-10-20 00:00", "99.00"),
    order("7", "c", None, "50.00"),
    order("8", "d", "2026-10-31 16:00", "50.00"),  # already 1 November in Shanghai
]


def test_each_member_with_a_paid_order_has_one_row_with_the_known_numbers():
    found = rows_of(rfm(world(orders=ORDERS)))
    assert set(found) == {"a", "b"}
    assert found["a"] == {
        "member_id": "a",
        "first_order_at": datetime(2026, 10, 1, 2),
        "last_order_at": datetime(2026, 10, 30, 15, 59),
        "days_since_last_order": 1,
        "order_count": 2,
        "net_amount": Decimal("30.30"),
        "average_order_value": pytest.approx(15.15),
    }
    assert (found["b"]["days_since_last_order"], found["b"]["order_count"]) == (0, 3)


def test_the_average_of_cents_is_not_rounded_to_cents():
    assert rows_of(rfm(world(orders=ORDERS)))["b"]["average_order_value"] == pytest.approx(0.05 / 3)


def test_days_are_those_of_the_projects_zone():
    new_york = rows_of(rfm(world(orders=ORDERS, zone=ZoneInfo("America/New_York"))))
    assert new_york["d"]["days_since_last_order"] == 0  # noon of the 31st there
    assert new_york["b"]["days_since_last_order"] == 1


def test_a_window_keeps_just_the_last_local_days():
    assert set(rows_of(rfm(world(orders=ORDERS), window=1))) == {"b"}
    assert rows_of(rfm(world(orders=ORDERS), window=31))["a"]["order_count"] == 2
    assert rows_of(rfm(world(orders=ORDERS), window=30))["a"]["order_count"] == 1


def test_a_window_without_days_is_refused():
    with pytest.raises(InputError, match="window of 0 days"):
        rfm(world(orders=ORDERS), window=0)


def test_the_order_of_rows_changes_nothing():
    shuffled = random.Random(7).sample(ORDERS, len(ORDERS))
    assert rows_of(rfm(world(orders=shuffled))) == rows_of(rfm(world(orders=ORDERS)))


def test_it_compiles_to_one_group_by_over_one_scan():
    sql = str(ibis.to_sql(rfm(world(orders=ORDERS)), dialect="duckdb")).upper()
    assert sql.count("GROUP BY") == 1
    assert "DISTINCT" not in sql
    assert "JOIN" not in sql


def test_nothing_later_changes_an_earlier_day():
    early = world("2026-10-29", orders=ORDERS)
    known_then = world("2026-10-29", orders=[row for row in ORDERS if row["order_id"] in "1457"])
    assert rows_of(rfm(early)) == rows_of(rfm(known_then))
    assert rows_of(rfm(early))["a"]["days_since_last_order"] == 28
