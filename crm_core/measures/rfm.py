"""Recency, frequency and monetary value per member: one filter and one group-by over the paid orders.

Nothing but the grouping touches orders (dates and averages are worked out on the few rows that it leaves),
and an order is counted by `count(*)`, as the lake guarantees that `order_id` is unique: that is half the
time of a distinct count.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from crm_core.errors import InputError
from crm_core.store.clock import day_end, local_date
from crm_core.store.hashing import as_float

if TYPE_CHECKING:
    from crm_core.store import Tables


def rfm(tables: Tables, window: int | None = None) -> ir.Table:
    """One row per member with a paid order; guests have none.

    `window` keeps the orders paid in that many local days up to and including `tables.as_of` (default:
    all). Columns: member_id; first_order_at, last_order_at (UTC, when paid); days_since_last_order
    (local days, ≥ 0); order_count; net_amount (decimal, refunds not taken off); average_order_value
    (float, net_amount / order_count). Raises InputError when `window` is not positive.
    """
    orders = tables.paid_orders
    kept = orders.filter(orders.member_id.notnull())
    if window is not None:
        kept = kept.filter(kept.paid_at >= ibis.literal(days_back(tables, window)))
    grouped = kept.group_by("member_id").agg(
        first_order_at=kept.paid_at.min(),
        last_order_at=kept.paid_at.max(),
        order_count=kept.count(),
        net_amount=kept.net_amount.sum(),
    )
    return grouped.select(
        "member_id",
        "first_order_at",
        "last_order_at",
        days_since_last_order=days_until(tables, grouped.last_order_at),
        order_count=grouped.order_count,
        net_amount=grouped.net_amount,
        average_order_value=as_float(grouped.net_amount) / grouped.order_count,
    )


def days_back(tables: Tables, days: int) -> datetime:
    """The UTC instant (naive) at which the last `days` local days, `as_of` among them, begin."""
    if days < 1:
        raise InputError(f"a window of {days} days is not possible; give 1 or more")
    return day_end(tables.as_of - timedelta(days=days), tables.zone)


def days_until(tables: Tables, moment: ir.TimestampValue) -> ir.IntegerValue:
    """Local days from the day of `moment` to `tables.as_of`; 0 on the same day."""
    return ibis.literal(tables.as_of).delta(local_date(moment, tables.zone), unit="day")
