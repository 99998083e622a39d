"""The limits that decide R, F and M: from the day's members or from conf/segments.yml, always published.

A limit from the data is a value of the data: the smallest one with at least k fifths of the members (with a
paid order) at or below it, counted exactly. So equal values always fall on the same side, no member's place
depends on the order of rows, and DuckDB and Spark agree to the last digit – unlike interpolated quantiles,
`ntile` or approximate ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import ibis
import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings

MEASURES = ("days_since_last_order", "order_count", "net_amount")
FIFTHS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Limits:
    """The limits of the three measures: four for quintiles, one for the types (none: nobody ordered)."""

    days_since_last_order: tuple[Decimal, ...]
    order_count: tuple[Decimal, ...]
    net_amount: tuple[Decimal, ...]
    source: Literal["data", "conf"]


@dataclass(frozen=True)
class Thresholds:
    """What a result was decided by; `members` had a paid order, `compare` is mean, median or given."""

    quintiles: Limits
    types: Limits
    compare: str
    members: int


def thresholds(features: ir.Table, settings: SegmentSettings) -> Thresholds:
    """The limits for `features` (columns days_since_last_order, order_count, net_amount) under `settings`.

    Runs one query that returns some twenty numbers; the features themselves stay in the engine.
    """
    counted = _count(features)
    given, values = settings.rfm.thresholds, settings.type.values
    quintiles = (
        Limits(given.days_since_last_order, given.order_count, given.net_amount, "conf")
        if given
        else _limits([counted[name].fifths for name in MEASURES])
    )
    compared = (
        Limits((values.days_since_last_order,), (values.order_count,), (values.net_amount,), "conf")
        if values
        else _limits([counted[name].centre(settings.type.compare) for name in MEASURES])
    )
    return Thresholds(quintiles, compared, settings.type.compare, counted["order_count"].members)


@dataclass(frozen=True)
class _Counted:
    members: int
    total: Decimal
    fifths: tuple[Decimal, ...]
    median: Decimal | None

    def centre(self, compare: str) -> tuple[Decimal, ...]:
        if self.median is None:
            return ()
        if compare == "median":
            return (self.median,)
        # exact sum and count: a mean worked out by the engine may differ in its last digits from run to run
        return ((self.total / self.members).quantize(Decimal("0.000001"), ROUND_HALF_EVEN),)


def _limits(measures: list[tuple[Decimal, ...]]) -> Limits:
    days, orders, amount = measures
    return Limits(days, orders, amount, "data")


def _count(features: ir.Table) -> dict[str, _Counted]:
    buyers = features.filter(features.order_count > 0)
    rows = ibis.union(*(_measure(buyers, name) for name in MEASURES)).to_pyarrow().to_pylist()
    found = {}
    for row in rows:
        fifths = tuple(row[f"at_{k}"] for k in FIFTHS)
        # without amounts every value is empty, and so is the median
        members = int(row["members"] or 0) if row["median"] is not None else 0
        found[row["measure"]] = _Counted(
            members, row["total"] or Decimal(0), fifths if members else (), row["median"] if members else None
        )
    return found


def _measure(buyers: ir.Table, name: str) -> ir.Table:
    """One row: members, exact sum, the four fifths and the median of one measure."""
    values = buyers.select(value=buyers[name].cast("decimal(38, 2)"))
    per_value = values.group_by("value").agg(n=values.count())
    running = ibis.window(order_by=per_value.value, preceding=None, following=0)
    ranked = per_value.mutate(below=per_value.n.sum().over(running), everyone=per_value.n.sum().over(ibis.window()))
    total: Any = (ranked.value * ranked.n).sum()
    return ranked.agg(
        measure=ibis.literal(name),
        members=ranked.n.sum(),
        total=total.cast("decimal(38, 2)"),
        median=ranked.value.min(where=ranked.below * 2 >= ranked.everyone),
        **{f"at_{k}": ranked.value.min(where=ranked.below * 5 >= ranked.everyone * k) for k in FIFTHS},
    )
