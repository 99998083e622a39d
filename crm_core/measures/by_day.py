"""The features that change by the day alone: days since something, tenure, age, months to the birthday.

They follow from the columns that only new rows change, so tomorrow's are worked out from today's rows
without looking at an order or an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_core.measures.rfm import days_until

if TYPE_CHECKING:
    from crm_core.store import Tables

SINCE = {
    "days_since_last_order": "last_order_at",
    "days_since_last_message": "last_message_at",
    "days_since_last_complaint": "last_complaint_at",
    "days_since_last_activity": "last_activity_at",
    "tenure_days": "registered_at",
}
"""Feature in local days → the time that it counts from."""


def by_day(tables: Tables, rows: ir.Table) -> dict[str, Any]:
    """Name → value at `tables.as_of` of every feature `by_day` that follows from the columns of `rows`."""
    since = {name: days_until(tables, rows[moment]) for name, moment in SINCE.items() if moment in rows.columns}
    if "birth_month" not in rows.columns:
        return since
    month = ibis.literal(tables.as_of.month)
    not_yet = (rows.birth_month > month).fill_null(False).cast("int64")
    return {
        **since,
        "months_to_birthday": (rows.birth_month - month + 12) % 12,
        "age": ibis.literal(tables.as_of.year) - rows.birth_year - not_yet,
    }
