"""Hand-made canonical tables for truth tests: rows as dicts, missing columns null, read as of a date.

A stand-in for `store.Tables` with the attributes that measures use, so that a test of numbers needs no
lake; that the real one serves the same is tested in tests/measures/test_features_on_the_lake.py.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa

from crm_core.schema import TABLES
from crm_core.store.clock import day_end
from crm_core.store.persons import NOBODY

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEEDED = ("members", "orders", "order_lines", "refunds", "products", "interactions", "consents")


def moment(text: str) -> datetime:
    """A naive UTC timestamp from '2026-10-31 12:00'."""
    return datetime.fromisoformat(text)


def order(order_id: str, member_id: str | None, paid_at: str | None, net: str = "10.00", **more: Any) -> dict[str, Any]:
    """One order that was placed when it was paid."""
    when = moment(paid_at) if paid_at else None
    amounts = {"gross_amount": Decimal(net), "discount_amount": Decimal("0.00"), "net_amount": Decimal(net)}
    placed = {"ordered_at": when or moment("2026-01-01"), "paid_at": when, "channel": "tmall"}
    return {"order_id": order_id, "member_id": member_id, **placed, **amounts, **more}


def arrow(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of a canonical table with exactly its columns and types."""
    schema = ibis.schema(TABLES[name].types()).to_pyarrow()
    return pa.table({field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in schema})


def world(as_of: str = "2026-10-31", zone: ZoneInfo = SHANGHAI, load: Any = None, **rows: list[dict[str, Any]]) -> Any:
    """The tables given, as of a day. `load(name, arrow table)` puts one into an engine (default: memory)."""
    day = date.fromisoformat(as_of)
    instant = day_end(day, zone)
    tables: dict[str, Any] = {}
    for name in NEEDED:
        table = (load or (lambda _, content: ibis.memtable(content)))(name, arrow(name, rows.get(name, [])))
        exists = TABLES[name].exists_at
        tables[name] = table.filter(table[exists] < instant) if exists else table
    tables["placed_orders"] = tables["orders"]
    tables["paid_orders"] = tables["orders"].filter(tables["orders"].paid_at < instant)
    return SimpleNamespace(
        as_of=day,
        instant=instant,
        zone=zone,
        supplied=lambda name: bool(rows.get(name)),
        persons=NOBODY,
        priced=True,
        result_dates=lambda name: [],
        **tables,
    )


def rows_of(table: Any, key: str = "member_id") -> dict[str, dict[str, Any]]:
    """A result as {key: row}; fails when a key comes twice."""
    listed = table.to_pyarrow().to_pylist()
    found = {row[key]: row for row in listed}
    assert len(found) == len(listed), "a key came twice"
    return found
