"""RFM and features through the real lake: late times, changing attributes, any order of loads."""

from __future__ import annotations

import random
from datetime import date

import ibis
import pytest

from crm_core.config import EngineSettings
from crm_core.measures import empty_features, features, rfm
from crm_core.store import Lake, Ledger, Tables, connect
from tests.tiny_world import SHANGHAI, arrow, moment, order, rows_of

ORDERS = [
    order("1", "a", "2026-10-01 02:00", "10.10"),
    order("2", "a", "2026-10-30 15:59", "20.20", ordered_at=moment("2026-10-20 00:00")),
    order("3", "b", "2026-10-31 16:00", "5.00", ordered_at=moment("2026-10-31 15:00")),
    order("4", None, "2026-10-05 00:00", "7.00"),
]
TIERS = [("tin", "2026-09-01 00:00"), ("gold", "2026-10-25 00:00")]


def lake_with(folder, orders, tiers=TIERS):
    lake = Lake(folder / "lake", Ledger.in_folder(folder), connect(EngineSettings(), folder / "spill"))
    with lake.write("test") as writer:
        placed = ibis.memtable(arrow("orders", orders)).drop("load_id", "recorded_at")
        writer.upsert("orders", placed.mutate(_effective_at=placed.ordered_at), load_id="l1")
        for number, (tier, since) in enumerate(tiers):
            member = {"member_id": "a", "registered_at": moment("2026-09-01 00:00"), "tier": tier}
            known = ibis.memtable(arrow("members", [member])).drop("load_id", "recorded_at")
            stated = known.mutate(_effective_at=ibis.literal(moment(since)).cast("timestamp(6)"))
            writer.upsert("members", stated, load_id=f"m{number}")
    return lake


def on(lake, day):
    return Tables(lake, lake.snapshot(), date.fromisoformat(day), SHANGHAI)


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return lake_with(tmp_path_factory.mktemp("我的 数据 100%"), ORDERS)


def test_rfm_of_the_lake_counts_what_was_paid_by_the_end_of_the_local_day(lake):
    found = rows_of(rfm(on(lake, "2026-10-31")))
    assert {member: row["order_count"] for member, row in found.items()} == {"a": 2}
    assert found["a"]["days_since_last_order"] == 1
    assert rows_of(rfm(on(lake, "2026-10-29")))["a"]["order_count"] == 1
    assert rows_of(rfm(on(lake, "2026-11-01")))["b"]["days_since_last_order"] == 0


def test_features_of_the_lake_have_the_attributes_of_the_day_and_nulls_for_what_was_never_supplied(lake):
    late = rows_of(features(on(lake, "2026-10-31")))
    assert (late["a"]["tier"], late["b"]["order_count"], late["b"]["tier"]) == ("gold", 0, None)
    assert late["a"]["complaints_30d"] is late["a"]["refund_amount"] is late["a"]["sms_consent"] is None
    early = rows_of(features(on(lake, "2026-10-10")))
    assert set(early) == {"a"}
    assert (early["a"]["tier"], early["a"]["order_count"]) == ("tin", 1)
    assert features(on(lake, "2026-10-31")).schema() == empty_features().schema()


def test_the_order_of_loading_changes_nothing(lake, tmp_path):
    shuffled = lake_with(tmp_path, random.Random(2).sample(ORDERS, len(ORDERS)), TIERS[::-1])
    for day in ("2026-10-10", "2026-10-31", "2026-11-01"):
        assert rows_of(features(on(shuffled, day))) == rows_of(features(on(lake, day)))
