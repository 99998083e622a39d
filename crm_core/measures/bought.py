"""What was bought on which day: the paid order lines by product or category, the basis of baskets and of what comes next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import ibis
import ibis.expr.types as ir

from crm_core.measures.rfm import days_back
from crm_core.store.clock import local_date

if TYPE_CHECKING:
    from crm_core.store import Tables

Item = Literal["product", "category"]


def bought(tables: Tables, by: Item = "product", window: int | None = None) -> ir.Table:
    """One row per paid order and product or category in it: order_id, member_id (null: guest), day (local, when paid), item.

    `window` keeps the orders paid in that many local days up to `tables.as_of` (default: all). Lines of products that are in no
    list of products have no category and are left out by category.
    """
    orders = tables.paid_orders
    if window is not None:
        orders = orders.filter(orders.paid_at >= ibis.literal(days_back(tables, window)))
    paid = orders.select("order_id", "member_id", day=local_date(orders.paid_at, tables.zone))
    lines = tables.order_lines.select("order_id", "product_id").filter(lambda t: t.product_id.notnull())
    if by == "category":
        products = tables.products.filter(lambda t: t.category.notnull()).select("product_id", item="category")
        lines = lines.inner_join(products, "product_id").select("order_id", "item")
    else:
        lines = lines.select("order_id", item="product_id")
    return lines.inner_join(paid, "order_id").select("order_id", "member_id", "day", "item").distinct()
