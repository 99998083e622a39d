"""Lifecycle stages by each member's own rhythm: how long a silence is, in gaps that are usual for this member.

The expected gap. A member's days between paid orders are taken as exponential with the member's own mean; over members
the means follow an inverse gamma (orders in time are then gamma-Poisson, as in the NBD model of Ehrenberg, Applied
Statistics 8, 1959). The posterior mean is the credibility formula of Bühlmann (ASTIN Bulletin 4, 1967):

    expected gap = (days from the first to the last order + K × usual gap) / (gaps + K)

where the parcels of one day are one order. So a member with many gaps is judged by them, one without any by the usual
gap, and in between by both. `usual_gap_days` m is the mean over members with a gap of their mean gaps;
K = E[μ²] / (E[μ²] − m²), where g² n / (n + 1) estimates μ² of a member with n gaps of mean g without bias. Both come from
exact sums, or from conf. K is kept within 0.5 … 20.

The stages, in this order, for a silence of s expected gaps (exponential gaps exceed s of them with probability exp(−s):
22 % for 1.5, 5 % for 3, 0.25 % for 6):

    prospect   no paid order                        lost      s > lost
    lapsed     s > lapsed                           cooling   s > cooling
    new        one day with a paid order            won_back  the gap before the last order was > lapsed, by the rhythm
    loyal      at least loyal_orders of such days             that the member had until then
    active     the others
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import ibis
import ibis.expr.types as ir

from crm_core.config.segments import LifecycleSettings

STAGES: dict[str, tuple[str, str]] = {
    "prospect": ("潜在客户", "Prospect"),
    "new": ("新客", "New"),
    "active": ("活跃", "Active"),
    "loyal": ("忠诚", "Loyal"),
    "cooling": ("降温", "Cooling"),
    "lapsed": ("沉睡", "Lapsed"),
    "lost": ("流失", "Lost"),
    "won_back": ("挽回", "Won back"),
}
"""Stage → title in Chinese and English."""

NEEDS = ("order_count", "order_days", "days_since_last_order", "mean_days_between_orders", "days_between_last_orders")
FEWEST = 30
"""Members with a gap of their own below which a weight of one gap is taken instead of a worked out one."""
EXACT = "decimal(38, 6)"


@dataclass(frozen=True)
class Rhythm:
    """What a member without gaps is expected to do, and how many own gaps weigh as much; from `members` with a gap."""

    usual_gap_days: float
    weight_in_gaps: float
    members: int
    source: Literal["data", "conf"]


def rhythm(features: ir.Table, settings: LifecycleSettings) -> Rhythm:
    """The usual gap and its weight, from one query of three exact sums; conf's values where they are given."""
    own = features.filter(features.order_days > 1, features.mean_days_between_orders.notnull())
    gaps, span = _own(own)
    gap = span / gaps
    squared = gap * gap * gaps / (gaps + 1.0)
    row = own.agg(n=own.count(), gap=_exact(gap), square=_exact(squared)).to_pyarrow().to_pylist()[0]
    members, usual, weight = int(row["n"]), float(settings.longest_gap_days), 1.0
    if members:
        mean, square = (row[name] / members for name in ("gap", "square"))
        usual = max(1.0, float(round(mean, 1)))
        between = square - mean * mean
        if members >= FEWEST:
            weight = float(round(min(Decimal(20), max(Decimal("0.5"), square / between)), 1)) if between > 0 else 20.0
    given = settings.usual_gap_days is not None and settings.weight_in_gaps is not None
    return Rhythm(settings.usual_gap_days or usual, settings.weight_in_gaps or weight, members, "conf" if given else "data")


def _exact(value: ir.Value) -> Any:
    total: Any = value.cast("decimal(18, 6)")
    return total.sum().cast(EXACT)


def expected_gap(table: ir.Table, found: Rhythm, settings: LifecycleSettings) -> Any:
    """The expected gap in days (float) of each row of `table`; null without a paid order."""
    gaps, span = _own(table)
    return _bounded(_shrunk(span, gaps, found), settings)


def stage(table: ir.Table, gap: Any, found: Rhythm, settings: LifecycleSettings) -> ir.StringValue:
    """The stage of each row of `table`, `gap` being its column of expected gaps; null where orders were never supplied."""
    silence = table.days_since_last_order.cast("float64")
    gaps, span = _own(table)
    last = table.days_between_last_orders.cast("float64")
    before = _bounded(_shrunk(span - last, gaps - 1.0, found), settings)
    return ibis.cases(
        (table.order_count.isnull(), ibis.null("string")),
        (table.order_count == 0, "prospect"),
        (silence > gap * settings.lost, "lost"),
        (silence > gap * settings.lapsed, "lapsed"),
        (silence > gap * settings.cooling, "cooling"),
        (table.order_days == 1, "new"),
        ((last > before * settings.lapsed).fill_null(False), "won_back"),
        (table.order_days >= settings.loyal_orders, "loyal"),
        else_="active",
    )


def _own(table: ir.Table) -> tuple[Any, Any]:
    """(gaps between days with an order, days from the first to the last) of each row, as floats; 0 and 0 with one such day."""
    span = table.mean_days_between_orders.fill_null(0.0) * (table.order_count - 1).cast("float64")
    return (table.order_days - 1).cast("float64"), span.round(0).cast("float64")


def _shrunk(span: Any, gaps: Any, found: Rhythm) -> Any:
    weight = found.weight_in_gaps
    return (span + weight * found.usual_gap_days) / (gaps + weight)


def _bounded(gap: Any, settings: LifecycleSettings) -> Any:
    low, high = float(settings.shortest_gap_days), float(settings.longest_gap_days)
    return ibis.greatest(ibis.least(gap, high), low)
