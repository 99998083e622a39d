"""Does a tag tell who will buy? The share that ordered of those who had it, against all others, on time after the tag.

Tags are read as of a day in the past and orders from the day after on, so nothing that a tag looked at is part of what it is
judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Literal

import ibis
import ibis.expr.types as ir

from crm_core.tags.compute import long

if TYPE_CHECKING:
    from crm_core.store import Tables

LEVEL = 0.95
Reading = Literal["more", "no evidence", "fewer"]


@dataclass(frozen=True)
class Lift:
    """One value of a tag. `rate`: share of the `members` with it who ordered; `others`: of all other members; `lift`:
    rate / others − 1 with its 95 % interval; nan where nobody else ordered."""

    tag: str
    value: str
    members: int
    rate: float
    others: float
    lift: float
    low: float
    high: float

    @property
    def reading(self) -> Reading:
        """What the interval allows to say."""
        if isfinite(self.low) and self.low > 0:
            return "more"
        return "fewer" if isfinite(self.high) and self.high < 0 else "no evidence"


def outcome(now: Tables, then: Tables) -> ir.Table:
    """member_id of everybody who paid an order after the day of `then`, up to that of `now`."""
    orders = now.paid_orders.filter(lambda t: t.member_id.notnull())
    return orders.filter(orders.paid_at >= ibis.literal(then.instant)).select("member_id").distinct()


def evaluate(wide: ir.Table, ordered: ir.Table, names: Sequence[str] | None = None) -> list[Lift]:
    """A Lift per value of each text and yes-or-no tag of `wide` (or of `names`), the wide tags of the past day.

    `ordered`: member_id of those who ordered since, as from `outcome`. Interval of the ratio of two shares by the delta method
    on its logarithm (Katz and others, Biometrics 34, 1978, 469–474).
    """
    chosen = names or [name for name in wide.columns if name not in ("member_id", "as_of")]
    spoken = [name for name in chosen if wide[name].type().is_string() or wide[name].type().is_boolean()]
    flagged = wide.left_join(ordered.mutate(_ordered=True), "member_id").drop("member_id_right")
    flagged = flagged.mutate(_ordered=flagged._ordered.fill_null(False))
    total = flagged.aggregate(n=flagged.count(), hits=flagged.count(where=flagged._ordered)).to_pyarrow().to_pylist()[0]
    if not spoken or not total["n"]:
        return []
    listed = long(wide.select("member_id", *spoken)).inner_join(flagged.select("member_id", "_ordered"), "member_id")
    counted = listed.group_by(["tag", "value"]).agg(n=listed.count(), hits=listed.count(where=listed._ordered))
    rows = counted.order_by("tag", "value").to_pyarrow().to_pylist()
    return [_lift(row["tag"], row["value"], row["hits"], row["n"], total["hits"], total["n"]) for row in rows]


def _lift(tag: str, value: str, hits: int, members: int, all_hits: int, everybody: int) -> Lift:
    other_hits, others = all_hits - hits, everybody - members
    if not others or not other_hits or not hits:
        rest = other_hits / others if others else float("nan")
        lift = hits / members / rest - 1 if rest == rest and rest else float("nan")
        return Lift(tag, value, members, hits / members, rest, lift, float("nan"), float("nan"))
    from scipy.stats.contingency import relative_risk  # a third of a second

    ratio = relative_risk(hits, members, other_hits, others)
    interval = ratio.confidence_interval(LEVEL)
    bounds = float(interval.low) - 1, float(interval.high) - 1
    return Lift(tag, value, members, hits / members, other_hits / others, float(ratio.relative_risk) - 1, *bounds)
