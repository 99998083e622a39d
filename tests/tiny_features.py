"""Member features written by hand: only the columns that a test speaks of, the others null."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import ibis
import pyarrow as pa

from crm_core.measures import empty_features


def features_table(rows: list[dict[str, Any]]) -> Any:
    """`rows` (member_id and any features) as a features table with all columns."""
    schema = empty_features().schema().to_pyarrow()
    return ibis.memtable(pa.table({f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in schema}))


def buyer(member_id: str, days: int, orders: int, amount: str, **more: Any) -> dict[str, Any]:
    """A member with paid orders."""
    rfm = {"days_since_last_order": days, "order_count": orders, "order_days": orders, "net_amount": Decimal(amount)}
    return {"member_id": member_id, **rfm, **more}


def nobody(member_id: str, **more: Any) -> dict[str, Any]:
    """A member without a paid order."""
    return {"member_id": member_id, "order_count": 0, "order_days": 0, "net_amount": Decimal("0.00"), **more}
