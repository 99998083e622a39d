"""From paid orders to the few numbers that purchase models read: (x, t_x, T) per member, and distinct cells with weights.

A purchase is a local day on which a member paid at least one order: two orders of one day are one decision, as in Fader and
Hardie's CDNOW data. x counts the purchases after the first, t_x is the time from the first to the last, T from the first to the
end of what was seen. Only days and counts leave the engine, never members.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal

import ibis
import ibis.expr.types as ir

from crm_core.errors import InputError
from crm_core.store.clock import local_date
from crm_core.store.hashing import as_float, salted_order

if TYPE_CHECKING:
    from crm_core.store import Tables

Unit = Literal["day", "week"]
DAYS: dict[str, int] = {"day": 1, "week": 7}
SPEND_STEP = 0.001
"""Width of a spend cell in log units; each cell is stood for by its mean, so that the likelihood errs by 1e-7 a member."""


def purchase_days(tables: Tables) -> ir.Table:
    """One row per member and local day with a paid order: member_id, day, spend (decimal, refunds not taken off)."""
    orders = tables.paid_orders
    known = orders.filter(orders.member_id.notnull())
    dated = known.select("member_id", "net_amount", day=local_date(known.paid_at, tables.zone))
    return dated.group_by(["member_id", "day"]).agg(spend=dated.net_amount.sum())


def histories(tables: Tables, until: date | None = None, *, recent: Sequence[int] = (), later: int = 0) -> ir.Table:
    """One row per member with a purchase by the local day `until` (default: `tables.as_of`), lazily; times in days.

    Columns: member_id; x (repeat purchases); t_x, T; purchases (x + 1); spend, first_spend (decimal); for each number of days of
    `recent` purchases_{days}, spend_{days}: those of the last so many days; with `later` also later, later_spend: those of so many
    days after `until`, which must be over on `tables.as_of`.
    """
    last = until or tables.as_of
    if last + timedelta(days=later) > tables.as_of:
        raise InputError(f"{later} days after {last} lie beyond {tables.as_of}, the day that is read")
    days = purchase_days(tables)
    seen = days.filter(days.day <= ibis.literal(last + timedelta(days=later)))
    before = seen.day <= ibis.literal(last)
    parts: dict[str, ir.Value] = {"purchases": before, "spend": before, "later": ~before, "later_spend": ~before}
    for span in recent:
        inside = before & (seen.day > ibis.literal(last - timedelta(days=span)))
        parts |= {f"purchases_{span}": inside, f"spend_{span}": inside}
    nothing = ibis.literal(0).cast("decimal(18, 2)")
    sums = {
        name: seen.spend.sum(where=which).fill_null(nothing) if "spend" in name else seen.count(where=which)
        for name, which in parts.items()
    }
    each = seen.group_by("member_id").agg(
        first=seen.day.min(), last=seen.day.max(where=before), first_spend=seen.spend.argmin(seen.day), **sums
    )
    each = each.filter(each["first"] <= ibis.literal(last))
    return each.select(
        "member_id",
        x=each.purchases - 1,
        t_x=each.last.delta(each["first"], unit="day"),
        T=ibis.literal(last).delta(each["first"], unit="day"),
        first_spend=each.first_spend,
        **{name: each[name] for name in parts if later or not name.startswith("later")},
    )


def member_purchases(tables: Tables, until: date | None = None) -> ir.Table:
    """One row per member with a purchase by the local day `until` (default: `tables.as_of`), lazily; times in days.

    Columns: member_id; x (repeat purchases); t_x, T; mean_spend (float: that of the repeat purchases, null where x is 0).
    """
    each = histories(tables, until)
    mean = as_float(each.spend - each.first_spend) / each.x.nullif(0)
    return each.select("member_id", "x", "t_x", "T", mean_spend=mean)


def purchase_counts(tables: Tables, unit: Unit = "day", *, until: date | None = None, by: ir.Table | None = None) -> ir.Table:
    """Distinct (x, t_x, T) with `weight`, the members that have them; time in `unit`, exact to the day; sorted.

    `by` (member_id and any columns, e.g. a cohort or covariates) splits the cells by those columns too; members that it does not
    name are left out. `until` as in `member_purchases`.
    """
    return cells_of(member_purchases(tables, until), unit, by)


def cells_of(members: ir.Table, unit: Unit = "day", by: ir.Table | None = None) -> ir.Table:
    """The cells of `member_purchases`, as `purchase_counts` gives them."""
    if unit not in DAYS:
        raise InputError(f"the unit of time '{unit}' is not known; known: {', '.join(DAYS)}")
    keys = ["x", "t_x", "T"]
    if by is not None:
        keys += [name for name in by.columns if name != "member_id"]
        members = members.inner_join(by, "member_id")
    cells = members.group_by(keys).agg(weight=members.count()).order_by(keys)
    scaled = {name: cells[name].cast("float64") / DAYS[unit] for name in ("t_x", "T")} if unit != "day" else {}
    return cells.mutate(**scaled)


def spend_cells(members: ir.Table) -> ir.Table:
    """Distinct (x, mean_spend) of repeat buyers with `weight`, for the gamma-gamma model; sorted.

    `members` as `member_purchases` gives them. Means closer than SPEND_STEP share a cell and its mean; members whose
    purchases were all free have no say in what one costs.
    """
    bought = members.filter(members.x > 0, members.mean_spend > 0)
    step = (bought.mean_spend.ln() / SPEND_STEP).round().cast("int64")
    # decimal: a sum of floats differs from run to run
    cents = bought.mean_spend.cast("decimal(18, 4)")
    cells = bought.group_by(x=bought.x, step=step).agg(total=cents.sum(), weight=bought.count())
    mean: Any = as_float(cells.total) / cells.weight
    return cells.order_by(["x", "step"]).select("x", mean_spend=mean, weight=cells.weight)


def cohorts(tables: Tables, kind: Literal["year", "quarter", "month"] = "quarter") -> ir.Table:
    """member_id, cohort: the year, quarter or month of a member's first purchase as its first day."""
    days = purchase_days(tables)
    first = days.group_by("member_id").agg(first=days.day.min())
    return first.select("member_id", cohort=first["first"].truncate({"year": "Y", "quarter": "Q", "month": "M"}[kind]))


def sample_share(members: ir.Table, most: int, count: int, salt: str) -> ir.Table:
    """About `most` of the `count` members, drawn by a salted hash of their id: the same ones whatever the order of rows."""
    if count <= most:
        return members
    return members.filter(salted_order(members.member_id, salt)[:8] < f"{int(16**8 * most / count):08x}")
