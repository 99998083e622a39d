"""As-of views: nothing that is later exists in them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crm_core.schema import LOAD, TABLES
from crm_core.store import Lake, Tables
from tests.store.lakes import listed, load, order

SHANGHAI = ZoneInfo("Asia/Shanghai")
ROOT = Path(__file__).resolve().parents[2]
TIMELINE = {
    "paid_at": datetime(2026, 3, 2),
    "approved_at": datetime(2026, 3, 3),
    "shipped_at": datetime(2026, 3, 4),
    "delivered_at": datetime(2026, 3, 5),
    "confirmed_at": datetime(2026, 3, 6),
    "reviewed_at": datetime(2026, 3, 7),
    "confirmed_by": "member",
    "review_score": 5.0,
    "payment_method": "alipay",
    "status": "reviewed",
}


def at(lake: Lake, day: str, zone: ZoneInfo = SHANGHAI) -> Tables:
    return Tables(lake, lake.snapshot(), date.fromisoformat(day), zone)


def refund(refund_id: str, day: int, amount: str, order_id: str | None = "a") -> dict[str, Any]:
    moment = datetime(2026, 3, day)
    facts = {"refunded_at": moment, "_effective_at": moment, "date_assumed": False, "kind": "refund"}
    return {"refund_id": refund_id, "order_id": order_id, "amount": Decimal(amount), **facts}


@pytest.fixture
def shop(lake: Lake) -> Lake:
    load(lake, "l1", "orders", [order("a", "2026-03-01", "2026-03-07", "100.00", **TIMELINE)])
    load(lake, "l1", "orders", [order("closed", "2026-03-01", "2026-03-07", closed_at=datetime(2026, 3, 4))])
    load(lake, "l1", "refunds", [refund("r1", 8, "10.00"), refund("r2", 10, "5.00"), refund("r3", 8, "1.00", None)])
    return lake


@pytest.mark.parametrize(
    ("day", "status", "shown"),
    [
        ("2026-03-01", "placed", {}),
        ("2026-03-02", "paid", {"paid_at", "payment_method"}),
        ("2026-03-03", "approved", {"paid_at", "payment_method", "approved_at"}),
        ("2026-03-05", "delivered", {"paid_at", "payment_method", "approved_at", "shipped_at", "delivered_at"}),
        ("2026-03-06", "confirmed", set(TIMELINE) - {"status", "reviewed_at", "review_score"}),
        ("2026-03-07", "reviewed", set(TIMELINE) - {"status"}),
    ],
)
def test_later_timestamps_are_null_with_the_values_they_reveal_and_the_status_follows(
    shop: Lake, day: str, status: str, shown: set[str]
) -> None:
    tables = at(shop, day)
    row = next(row for row in tables.orders.to_pyarrow().to_pylist() if row["order_id"] == "a")
    assert {name for name in TIMELINE if name != "status" and row[name] is not None} == set(shown)
    assert row["status"] == status
    paid = tables.paid_orders.to_pyarrow().to_pylist()
    if "paid_at" not in shown:
        assert paid == []
    else:
        assert {name: paid[0][name] for name in paid[0]} == {name: row[name] for name in paid[0]}


def test_an_order_is_absent_until_its_local_day(shop: Lake) -> None:
    # 2026-03-01 00:00 UTC is 08:00 in Shanghai, but still the last of February in New York
    assert listed(at(shop, "2026-02-28").orders) == []
    assert len(listed(at(shop, "2026-02-28", ZoneInfo("America/New_York")).orders)) == 2
    assert len(listed(at(shop, "2026-03-01").orders)) == 2


def test_the_last_microsecond_of_the_day_belongs_to_it_and_the_next_does_not(lake: Lake) -> None:
    inside, outside = "2026-10-31 15:59:59.999999", "2026-10-31 16:00:00"
    load(lake, "l1", "orders", [order("in", inside, inside), order("out", outside, outside)])
    assert listed(at(lake, "2026-10-31").orders, "order_id") == [("in",)]
    assert len(listed(at(lake, "2026-11-01").orders)) == 2


def test_a_closed_order_is_closed_from_its_day_on(shop: Lake) -> None:
    states = [dict(listed(at(shop, day).orders, "order_id", "status"))["closed"] for day in ("2026-03-03", "2026-03-04")]
    assert states == ["placed", "closed"]


def test_refunds_count_from_their_own_date(shop: Lake) -> None:
    found = [
        listed(at(shop, day).orders.filter(lambda t: t.order_id == "a"), "refund_amount", "refunded_at")[0]
        for day in ("2026-03-07", "2026-03-08", "2026-03-10")
    ]
    first, last = datetime(2026, 3, 8), datetime(2026, 3, 10)
    assert found == [(Decimal("0.00"), None), (Decimal("10.00"), first), (Decimal("15.00"), last)]
    assert [len(listed(at(shop, day).refunds)) for day in ("2026-03-07", "2026-03-08", "2026-03-10")] == [0, 2, 3]


def test_attributes_without_a_time_of_their_own_come_from_versions(lake: Lake) -> None:
    def member(day: int, tier: str) -> dict[str, Any]:
        return {"member_id": "m", "tier": tier, "registered_at": datetime(2026, 3, 1), "_effective_at": datetime(2026, 3, day)}

    load(lake, "l1", "members", [member(5, "gold"), member(1, "silver")])
    found = [listed(at(lake, day).members, "tier", "person_id") for day in ("2026-02-20", "2026-03-01", "2026-03-04", "2026-03-05")]
    assert found == [[], [("silver", "m")], [("silver", "m")], [("gold", "m")]]

    def product(day: int, price: str) -> dict[str, Any]:
        return {"product_id": "p", "list_price": Decimal(price), "_effective_at": datetime(2026, 3, day)}

    load(lake, "l1", "products", [product(1, "1.5"), product(3, "2.5")])
    assert listed(at(lake, "2026-03-02").products, "list_price") == [(Decimal("1.500000"),)]
    assert listed(at(lake, "2026-03-03").products, "list_price") == [(Decimal("2.500000"),)]


def test_an_opportunity_stands_in_the_stage_it_had_reached(lake: Lake) -> None:
    created = {"opportunity_id": "o", "created_at": datetime(2026, 3, 1), "_effective_at": datetime(2026, 3, 1), "stage": "lead"}
    won = created | {"_effective_at": datetime(2026, 3, 5), "stage": "won", "closed_at": datetime(2026, 3, 5), "outcome": "won"}
    load(lake, "l1", "opportunities", [won, created])
    assert listed(at(lake, "2026-03-04").opportunities, "stage", "outcome") == [("lead", None)]
    assert listed(at(lake, "2026-03-05").opportunities, "stage", "outcome") == [("won", "won")]


def test_a_backdated_version_still_shows_nothing_that_is_later(lake: Lake) -> None:
    early = datetime(2000, 1, 1)
    load(
        lake,
        "l1",
        "opportunities",
        [
            {
                "opportunity_id": "o",
                "created_at": datetime(2026, 3, 1),
                "closed_at": datetime(2026, 3, 5),
                "outcome": "won",
                "contract_id": "c",
                "stage": "won",
                "_effective_at": early,
            }
        ],
    )
    load(
        lake,
        "l1",
        "members",
        [
            {"member_id": "m", "registered_at": datetime(2026, 3, 1), "_effective_at": early},
            {"member_id": "unknown", "_effective_at": early},
        ],
    )
    assert listed(at(lake, "2026-02-20").opportunities) == []
    assert listed(at(lake, "2026-03-02").opportunities, "closed_at", "outcome", "contract_id") == [(None, None, None)]
    assert listed(at(lake, "2026-02-20").members, "member_id") == [("unknown",)]
    assert listed(at(lake, "2026-03-02").members, "member_id") == [("m",), ("unknown",)]


def test_plans_may_lie_in_the_future(lake: Lake) -> None:
    start, end = datetime(2026, 3, 1), datetime(2026, 4, 1)
    load(lake, "l1", "campaigns", [{"campaign_id": "c", "starts_at": start, "ends_at": end, "_effective_at": start}])
    load(
        lake,
        "l1",
        "contract_payments",
        [
            {
                "contract_id": "k",
                "payment_no": 1,
                "signed_at": start,
                "due_at": end,
                "paid_at": end,
                "amount": Decimal(1),
                "_effective_at": end,
            }
        ],
    )
    assert listed(at(lake, "2026-03-02").campaigns, "ends_at") == [(end,)]
    assert listed(at(lake, "2026-03-02").contract_payments, "due_at", "paid_at") == [(end, None)]


@pytest.mark.parametrize("name", list(TABLES))
def test_every_view_of_an_empty_lake_is_empty_and_has_the_table_s_columns(lake: Lake, name: str) -> None:
    tables = at(lake, "2026-03-01")
    view = getattr(tables, name)
    wanted = [column for column in TABLES[name].names if column not in {column.name for column in LOAD}]
    assert list(view.columns)[: len(wanted)] == wanted
    assert "load_id" in view.columns and not any(column.startswith("_") for column in view.columns)
    assert listed(view) == []
    assert not tables.supplied(name)


def test_supplied_says_whether_any_row_exists_as_of_the_day(shop: Lake) -> None:
    found = [(at(shop, day).supplied("orders"), at(shop, day).supplied("members")) for day in ("2026-02-01", "2026-03-01")]
    assert found == [(False, False), (True, False)]


def test_views_read_the_snapshot_they_were_made_for(shop: Lake) -> None:
    tables = at(shop, "2026-03-31")
    before = listed(tables.orders, "order_id")
    load(shop, "l2", "orders", [order("later", "2026-03-01", "2026-03-07")])
    assert listed(Tables(shop, tables.snapshot, tables.as_of, SHANGHAI).orders, "order_id") == before
    assert len(listed(at(shop, "2026-03-31").orders)) == len(before) + 1


def test_the_machine_s_own_time_zone_changes_nothing(shop: Lake, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.store.child", "views", str(tmp_path), "2026-03-05"]
    said = {
        subprocess.run(command, cwd=ROOT, env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True).stdout
        for zone in ("America/New_York", "UTC", "Asia/Shanghai")
    }
    assert len(said) == 1 and said.pop().count("\n") == 8
