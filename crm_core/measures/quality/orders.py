"""Orders that cannot be as they are told – times in the wrong order, more refunded than paid, lines that do not add up,
members and orders that nobody knows – and orders that look like one order told twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.store import Tables

EXAMPLES = 3
ORDERED = (
    ("paid_before_placed", "paid_at", "ordered_at"),
    ("shipped_before_paid", "shipped_at", "paid_at"),
    ("delivered_before_shipped", "delivered_at", "shipped_at"),
    ("confirmed_before_delivered", "confirmed_at", "delivered_at"),
    ("reviewed_before_delivered", "reviewed_at", "delivered_at"),
)
"""Kind, the later step, the step that comes first."""
KINDS = (
    *[kind for kind, _, _ in ORDERED],
    "refunded_before_placed", "refunded_over_paid", "refunded_never_paid", "lines_differ", "unknown_member", "told_twice",
    "refund_without_order", "line_without_order",
)  # fmt: skip


@dataclass(frozen=True)
class Impossible:
    """One kind of contradiction: `orders` concerned of `of` (orders, or refunds and lines for the last two kinds), and
    up to three order ids, the smallest."""

    kind: str
    orders: int
    of: int
    examples: tuple[str, ...]


def impossible_orders(tables: Tables) -> list[Impossible]:
    """Every kind that can be judged with the tables supplied, those without a case included; [] without orders.

    The lines of an order may add up to its gross or net amount or to either without freight or discount, as shops differ;
    they differ when they add up to none of these to within a cent a line. Told twice are orders of one member, moment,
    channel and amount under several ids: all but one of them.
    """
    if not tables.supplied("orders"):
        return []
    rows, conditions = _judged(tables)
    found = rows.aggregate(_all=rows.count(), **{kind: rows.count(where=test) for kind, test in conditions.items()})
    counts: dict[str, int] = found.to_pyarrow().to_pylist()[0]
    listed = [
        Impossible(kind, counts[kind], counts["_all"], _examples(rows.filter(test)) if counts[kind] else ())
        for kind, test in conditions.items()
    ]
    listed.append(_told_twice(tables.orders, counts["_all"]))
    if tables.supplied("refunds"):
        matched = tables.refunds.filter(tables.refunds.order_id.notnull())
        listed.append(_orphans("refund_without_order", matched, tables.orders))
    if tables.supplied("order_lines"):
        listed.append(_orphans("line_without_order", tables.order_lines, tables.orders))
    return listed


def _judged(tables: Tables) -> tuple[ir.Table, dict[str, Any]]:
    """Orders with what has to be known of their refunds, lines and members, and the conditions over them by kind."""
    orders = tables.orders
    columns = {name for pair in ORDERED for name in pair[1:]}
    rows = orders.select("order_id", "member_id", "gross_amount", "net_amount", "shipping_amount", "refund_amount", *columns)
    conditions: dict[str, Any] = {kind: lambda t, a=later, b=earlier: t[a] < t[b] for kind, later, earlier in ORDERED}
    if tables.supplied("refunds"):
        refunds = tables.refunds.filter(tables.refunds.order_id.notnull(), tables.refunds.kind == "refund")
        first = refunds.group_by("order_id").agg(_refunded_at=refunds.refunded_at.min())
        rows = rows.left_join(first, "order_id").drop("order_id_right")
        conditions |= {
            "refunded_before_placed": lambda t: t._refunded_at < t.ordered_at,
            "refunded_over_paid": lambda t: t.paid_at.notnull() & (t.refund_amount > t.net_amount),
            "refunded_never_paid": lambda t: t.paid_at.isnull() & t._refunded_at.notnull(),
        }
    if tables.supplied("order_lines"):
        lines = tables.order_lines
        sums = lines.group_by("order_id").agg(_lines=lines.line_amount.sum(), _count=lines.count())
        rows = rows.left_join(sums, "order_id").drop("order_id_right")
        conditions["lines_differ"] = _lines_differ
    if tables.supplied("members"):
        known = tables.members.select(_known=tables.members.member_id)
        rows = rows.left_join(known, rows.member_id == known._known)
        conditions["unknown_member"] = lambda t: t.member_id.notnull() & t._known.isnull()
    return rows, {kind: test(rows).fill_null(False) for kind, test in conditions.items()}


def _lines_differ(rows: Any) -> Any:
    room = rows._count.cast("decimal(18, 2)") * ibis.literal("0.01").cast("decimal(18, 2)")
    sums = [rows.gross_amount, rows.net_amount, rows.net_amount - rows.shipping_amount, rows.gross_amount + rows.shipping_amount]
    differs: Any = rows._lines.notnull()
    for each in sums:
        differs = differs & ((rows._lines - each).abs() > room)
    return differs


def _examples(rows: ir.Table) -> tuple[str, ...]:
    listed = rows.select("order_id").order_by("order_id").limit(EXAMPLES).to_pyarrow()
    return tuple(str(value) for value in listed["order_id"].to_pylist())


def _told_twice(orders: ir.Table, of: int) -> Impossible:
    same = ["member_id", "ordered_at", "channel", "shop_id", "net_amount"]
    groups = orders.filter(orders.member_id.notnull(), orders.net_amount > 0).group_by(same)
    several = groups.having(lambda t: t.count() > 1).agg(_orders=lambda t: t.count(), order_id=lambda t: t.order_id.max())
    surplus = several.aggregate(orders=(several._orders - 1).sum()).to_pyarrow().to_pylist()[0]["orders"] or 0
    return Impossible("told_twice", int(surplus), of, _examples(several) if surplus else ())


def _orphans(kind: str, rows: ir.Table, orders: ir.Table) -> Impossible:
    lost = rows.anti_join(orders, "order_id")
    counts = [int(table.count().to_pyarrow().as_py()) for table in (lost, rows)]
    return Impossible(kind, counts[0], counts[1], _examples(lost.select("order_id").distinct()) if counts[0] else ())
