"""Small lakes for the store's tests: opened in a folder, filled with hand-made rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from crm_core.config import EngineSettings
from crm_core.schema import TABLES
from crm_core.store import Lake, Ledger, UpsertCounts, connect, table_hash
from crm_core.store.lake import content_columns

SMALL = EngineSettings(memory_limit="512MB", threads=1)


def open_lake(folder: Path, engine: Any = None) -> Lake:
    """The lake in `folder` with its SQLite ledger."""
    return Lake(folder / "lake", Ledger.in_folder(folder / "ledger"), engine or connect(SMALL, folder / "spill"))


def rows_of(name: str, rows: Iterable[dict[str, Any]]) -> ir.Table:
    """Rows (dicts with `_effective_at`; missing columns null) as `Writer.upsert` takes them."""
    listed = list(rows)
    fields = ibis.schema({column: TABLES[name].types()[column] for column in content_columns(TABLES[name])}).to_pyarrow()
    columns = {field.name: pa.array([row.get(field.name) for row in listed], field.type) for field in fields}
    moments = pa.array([row["_effective_at"] for row in listed], pa.timestamp("us"))
    return ibis.memtable(pa.table({**columns, "_effective_at": moments}))


def order(order_id: str, ordered_at: str, effective_at: str, net: str = "10.00", **more: Any) -> dict[str, Any]:
    """One order."""
    amounts = {"gross_amount": Decimal(net), "net_amount": Decimal(net)}
    nought = {"discount_amount": Decimal(0), "shipping_amount": Decimal(0)}
    times = {"ordered_at": datetime.fromisoformat(ordered_at), "_effective_at": datetime.fromisoformat(effective_at)}
    return {"order_id": order_id, **times, **amounts, **nought, **more}


def load(lake: Lake, load_id: str, name: str, rows: Iterable[dict[str, Any]]) -> UpsertCounts:
    """One published load."""
    with lake.write(f"load {load_id}") as writer:
        return writer.upsert(name, rows_of(name, rows), load_id=load_id)


def content_hash(lake: Lake, name: str) -> str:
    """Hash of what the sources state in the current table."""
    return table_hash(lake.table(name).select(content_columns(TABLES[name])))


def listed(table: ir.Table, *columns: str) -> list[tuple[Any, ...]]:
    """Rows as sorted tuples."""
    chosen = table.select(*columns) if columns else table
    return sorted((tuple(row.values()) for row in chosen.to_pyarrow().to_pylist()), key=repr)
