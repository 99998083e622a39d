"""A lake that DuckDB wrote, read by Spark: the same rows as of the same days."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from crm_core.config import EngineSettings
from crm_core.store import Lake, Tables, connect
from tests.require import need, spark
from tests.store.lakes import listed, load, open_lake, order, rows_of

pytestmark = [pytest.mark.spark, pytest.mark.slow]
DAYS = (date(2026, 9, 30), date(2026, 10, 1), date(2026, 12, 31))


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Lake]:
    need(spark(), "Spark (make spark, and Java 17)")
    folder = tmp_path_factory.mktemp("lake")
    duck = open_lake(folder)
    many = [order(f"o{n:04d}", f"2026-{n % 3 + 8:02d}-{n % 28 + 1:02d}", "2026-10-01", f"{n}.50") for n in range(400)]
    said = rows_of("orders", many)
    with duck.write("few columns") as writer:
        writer.upsert("orders", said.drop("city", "review_score", "coupon_id"), load_id="l1", distinct=True)
    load(duck, "l2", "orders", [order("o0001", "2026-10-02", "2026-11-01", city="上海", review_score=4.5)])
    stated = {"member_id": "m1", "registered_at": datetime(2026, 1, 1), "city": "北京"}
    load(duck, "l3", "members", [{**stated, "_effective_at": datetime(2026, 9, 1)}])
    load(duck, "l4", "members", [{**stated, "city": "上海", "_effective_at": datetime(2026, 11, 1)}])
    other = Lake(duck.root, duck.ledger, connect(EngineSettings(kind="spark"), folder / "spill_spark"))
    return duck, other


@pytest.mark.parametrize("name", ["orders", "order_lines", "members", "refunds"])
@pytest.mark.parametrize("day", DAYS)
def test_a_table_as_of_a_day_is_the_same(lakes: tuple[Lake, Lake], name: str, day: date) -> None:
    found = []
    for lake in lakes:
        table = getattr(Tables(lake, lake.snapshot(), day, ZoneInfo("Asia/Shanghai")), name)
        rows = table.to_pyarrow().to_pylist()
        found.append(sorted(rows, key=repr))
    assert found[0] == found[1]
    assert name in ("order_lines", "refunds") or found[0]


@pytest.mark.parametrize(("name", "key"), [("orders", "order_id"), ("members_versions", "member_id")])
def test_what_changed_since_the_first_load_is_the_same(lakes: tuple[Lake, Lake], name: str, key: str) -> None:
    found = []
    for lake in lakes:
        before, after = (Tables(lake, lake.snapshot(known), DAYS[-1], ZoneInfo("Asia/Shanghai")) for known in (1, None))
        rows = after.changes(name, before, key)
        assert rows is not None
        found.append(listed(rows))
    assert found[0] == found[1] != []
