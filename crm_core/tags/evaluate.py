"""Does a tag tell who will buy? The share that ordered of those who had it, against all others, on time after the tag.

Tags are read as of a day in the past and orders from the day after on, so nothing that a tag looked at is part of what it is
judged by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
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
    rate / others − 1 with its 95 % interval, infinite where nobody else ordered; nan where nobody did at all."""

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
        if self.low > 0:
            return "more"
        return "fewer" if self.high < 0 else "no evidence"


def outcome(now: Tables, then: Tables) -> ir.Table:
    """member_id of everybody who paid an order after the day of `then`, up to that of `now`."""
    orders = now.paid_orders.filter(lambda t: t.member_id.notnull())
    return orders.filter(orders.paid_at >= ibis.literal(then.instant)).select("member_id").distinct()


def evaluate(wide: ir.Table, ordered: ir.Table, names: Sequence[str] | None = None) -> list[Lift]:
    """A Lift per value of each text and yes-or-no tag of `wide` (or of `names`), the wide tags of the past day.

    `ordered`: member_id of those who ordered since, as from `outcome`. Interval of the ratio of two shares from the Wilson limits
    of each (MOVER: Donner and Zou, Statistical Methods in Medical Research 21, 2012, 347–359), which also holds for shares of
    nothing and of all.
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
    rest = other_hits / others if others else nan
    if not others or not all_hits:
        return Lift(tag, value, members, hits / members, rest, nan, nan, nan)
    if other_hits:
        low, high = _ratio(hits, members, other_hits, others)
        return Lift(tag, value, members, hits / members, rest, hits / members / rest - 1, low - 1, high - 1)
    _, high = _ratio(other_hits, others, hits, members)
    return Lift(tag, value, members, hits / members, rest, inf, 1 / high - 1, inf)


def _ratio(hits: int, size: int, other_hits: int, other_size: int) -> tuple[float, float]:
    """The interval of (hits / size) / (other_hits / other_size), of which the second is not nothing."""
    from scipy.stats import binomtest  # a third of a second

    p, q = hits / size, other_hits / other_size
    low, high = binomtest(hits, size).proportion_ci(LEVEL, "wilson")
    other_low, other_high = binomtest(other_hits, other_size).proportion_ci(LEVEL, "wilson")
    bounds = []
    for sign, near, far in ((-1, low, other_high), (1, high, other_low)):
        root = max(0.0, (p * q) ** 2 - near * far * (2 * p - near) * (2 * q - far)) ** 0.5
        bounds.append((p * q + sign * root) / (far * (2 * q - far)))
    return max(0.0, bounds[0]), bounds[1]
