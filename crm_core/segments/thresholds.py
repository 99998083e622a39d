"""The limits that decide R, F and M: from the day's members or from conf/segments.yml, always published.

A limit from the data is a value of the data: the smallest one with at least that share of the members (with a paid
order) at or below it, counted exactly (the inverted distribution function, type 1 of Hyndman and Fan, The American
Statistician 50, 1996). So equal values always fall on the same side, no member's place depends on the order of rows,
and DuckDB and Spark agree to the last digit – unlike interpolated quantiles, `ntile` or approximate ones.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate
from typing import Any, Literal

import ibis
import ibis.expr.types as ir

from crm_core.config.segments import RfmThirds, RfmThresholds, SegmentSettings

MEASURES = ("days_since_last_order", "order_count", "net_amount")
SHARES = {"fifths": ((1, 5), (2, 5), (3, 5), (4, 5)), "thirds": ((1, 3), (2, 3)), "median": ((1, 2),)}
CUTS = [share for shares in SHARES.values() for share in shares]
VALUE = "decimal(18, 2)"


@dataclass(frozen=True)
class Limits:
    """The limits of the three measures: four for fifths, two for thirds, one for the types (none: nobody ordered)."""

    days_since_last_order: tuple[Decimal, ...]
    order_count: tuple[Decimal, ...]
    net_amount: tuple[Decimal, ...]
    source: Literal["data", "conf"]


@dataclass(frozen=True)
class Thresholds:
    """What a result was decided by; `members` had a paid order, `compare` is mean, median or given."""

    quintiles: Limits
    thirds: Limits
    types: Limits
    compare: str
    members: int


def thresholds(features: ir.Table, settings: SegmentSettings) -> Thresholds:
    """The limits for `features` (columns days_since_last_order, order_count, net_amount) under `settings`.

    Runs three small queries; the features themselves stay in the engine.
    """
    counted, compare = _count(features), settings.type.compare
    rfm, values = settings.rfm, settings.type.values
    of_day = {name: Limits(**{each: counted[each].at(name) for each in MEASURES}, source="data") for name in SHARES}
    types = (
        Limits(**{each: (getattr(values, each),) for each in MEASURES}, source="conf")
        if values
        else Limits(**{each: counted[each].centre(compare) for each in MEASURES}, source="data")
    )
    quintiles = _given(rfm.thresholds) if rfm.thresholds else of_day["fifths"]
    thirds = _given(rfm.thirds) if rfm.thirds else of_day["thirds"]
    return Thresholds(quintiles, thirds, types, compare, counted["order_count"].members)


def _given(limits: RfmThresholds | RfmThirds) -> Limits:
    return Limits(**{each: getattr(limits, each) for each in MEASURES}, source="conf")


@dataclass(frozen=True)
class _Counted:
    members: int
    total: Decimal
    cuts: tuple[Decimal, ...]
    """At each of CUTS; empty where nobody has the measure."""

    def at(self, name: str) -> tuple[Decimal, ...]:
        return tuple(value for value, share in zip(self.cuts, CUTS, strict=False) if share in SHARES[name])

    def centre(self, compare: str) -> tuple[Decimal, ...]:
        if compare == "median" or not self.members:
            return self.at("median")
        # exact sum and count: a mean worked out by the engine may differ in its last digits from run to run
        return ((self.total / self.members).quantize(Decimal("0.000001"), ROUND_HALF_EVEN),)


def _count(features: ir.Table) -> dict[str, _Counted]:
    buyers = features.filter(features.order_count > 0)
    quick = features.get_backend().name == "duckdb"
    amounts = buyers.select(value=buyers.net_amount.cast(VALUE)).filter(lambda t: t.value.notnull())
    row = (_in_one_pass(amounts) if quick else _by_value(amounts)).to_pyarrow().to_pylist()[0]
    total, members = row["total"] or Decimal(0), int(row["n"] or 0)
    of_amounts = _Counted(members, total, tuple(row["cuts"]) if members else ())
    return {**{name: _whole(buyers, name) for name in MEASURES[:2]}, "net_amount": of_amounts}


def _whole(buyers: ir.Table, name: str) -> _Counted:
    """Of days and orders there are few different values: how often each occurs is all that is needed."""
    values = buyers.select(value=name).filter(lambda t: t.value.notnull())
    rows = values.group_by("value").agg(n=values.count()).to_pyarrow().to_pylist()
    ordered = sorted((int(row["value"]), int(row["n"])) for row in rows)
    below = list(accumulate(n for _, n in ordered))
    if not ordered:
        return _Counted(0, Decimal(0), ())
    places = [bisect_left(below, -(-below[-1] * part // whole)) for part, whole in CUTS]
    cuts = tuple(Decimal(ordered[place][0]) for place in places)
    return _Counted(below[-1], Decimal(sum(value * n for value, n in ordered)), cuts)


@ibis.udf.agg.builtin(name="quantile_disc", signature=(("decimal(18, 2)", "array<decimal(10, 9)>"), "array<decimal(18, 2)>"))
def _quantiles(value: Any, shares: Any) -> Any: ...


def _in_one_pass(values: ir.Table) -> ir.Table:
    """DuckDB's own discrete quantile is this very definition, and with decimal shares counts exactly; a third cut off after
    nine digits gives the same rank up to a billion members."""
    shares = [ibis.literal(Decimal(part * 10**9 // whole).scaleb(-9), "decimal(10, 9)") for part, whole in CUTS]
    total: Any = values.value.sum()
    return values.agg(n=values.count(), total=total.cast("decimal(38, 2)"), cuts=_quantiles(values.value, ibis.array(shares)))


def _by_value(values: ir.Table) -> ir.Table:
    """The same on any engine: the members at or below each value, counted."""
    per_value = values.group_by("value").agg(n=values.count())
    running = ibis.window(order_by=per_value.value, preceding=None, following=0)
    ranked = per_value.mutate(below=per_value.n.sum().over(running), everyone=per_value.n.sum().over(ibis.window()))
    total: Any = (ranked.value * ranked.n).sum()
    cuts = [ranked.value.min(where=ranked.below * whole >= ranked.everyone * part) for part, whole in CUTS]
    counted = ranked.agg(n=ranked.n.sum(), total=total.cast("decimal(38, 2)"), **{str(at): cut for at, cut in enumerate(cuts)})
    return counted.select("n", "total", cuts=ibis.array([counted[str(at)] for at in range(len(CUTS))]))
