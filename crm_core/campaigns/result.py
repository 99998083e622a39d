"""What a campaign caused: every person that was assigned counts, in the arm that was drawn, reached or not
(intention to treat). The pre-period of the same length sharpens the comparison; sizes are checked first,
because a broken draw makes every other number worthless. A window that is not over is measured as far as the
data go, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import ibis.expr.types as ir
from tea_tasting.aggr import Aggregates

from crm_core.campaigns.costs import Money
from crm_core.campaigns.lift import Lift, Reading, SampleRatio, compare
from crm_core.config.campaigns import CONTROL, Metric
from crm_core.errors import InputError, unknown
from crm_core.store.hashing import as_float

if TYPE_CHECKING:
    import pandas as pd

METRICS: tuple[Metric, ...] = ("net_amount", "orders", "ordered")
BEFORE = "before_"


@dataclass(frozen=True)
class Window:
    """The time over which a campaign is judged, naive UTC; `until` is where the data end when they end
    earlier.
    """

    starts_at: datetime
    ends_at: datetime
    until: datetime

    @property
    def preliminary(self) -> bool:
        """The window is not over in these data."""
        return self.until < self.ends_at

    @property
    def begun(self) -> bool:
        """Some of the window lies in these data."""
        return self.until > self.starts_at

    @property
    def pre_starts_at(self) -> datetime:
        """Start of the pre-period, which is as long as the window and ends where it starts."""
        return self.starts_at - (self.ends_at - self.starts_at)


@dataclass(frozen=True)
class ArmResult:
    """One metric of one arm against the control; means and lifts are per person assigned.

    `lift` is the difference as it is, `adjusted` the one sharpened by the pre-period (CUPED); `reading` comes
    from the one that the settings named beforehand. `incremental` is lift × persons in the arm, with its
    interval.
    """

    arm: str
    metric: Metric
    primary: bool
    control_persons: int
    persons: int
    lift: Lift
    adjusted: Lift
    reading: Reading
    read_from: Literal["lift", "adjusted"]
    variance_reduction: float | None
    incremental: float
    incremental_low: float | None
    incremental_high: float | None

    @property
    def chosen(self) -> Lift:
        """The lift that the reading is taken from."""
        return self.adjusted if self.read_from == "adjusted" else self.lift


@dataclass(frozen=True)
class Evaluation:
    """The verdict on one wave of a campaign."""

    campaign: str
    wave: int
    window: Window
    sample_ratio: SampleRatio
    results: tuple[ArmResult, ...]
    money: dict[str, Money]
    messages: dict[str, int]
    notes: tuple[str, ...] = field(default=())

    def result(self, arm: str = "", metric: str = "") -> ArmResult:
        """The result of `arm` and `metric`; the first arm and the campaign's own metric when they are left
        out.
        """
        for each in self.results:
            if (not arm or each.arm == arm) and (each.metric == metric if metric else each.primary):
                return each
        known = sorted({f"{each.arm}/{each.metric}" for each in self.results})
        raise unknown("result", f"{arm}/{metric}", known, f"campaign {self.campaign}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; times in ISO 8601."""
        plain = asdict(self)
        plain["window"] = {
            name: getattr(self.window, name).isoformat() for name in ("pre_starts_at", "starts_at", "ends_at", "until")
        } | {"preliminary": self.window.preliminary}
        return plain

    def table(self) -> pd.DataFrame:
        """One row per arm and metric, for reading: sizes, means, chosen lift with interval, p, reading."""
        import pandas as pd

        rows = []
        for each in self.results:
            chosen, kept = (each.chosen, ("lift", "low", "high", "relative", "relative_low", "relative_high", "p"))
            rows.append(
                {"arm": each.arm, "metric": each.metric, "primary": each.primary, "control_persons": each.control_persons}
                | {"persons": each.persons, "control_mean": chosen.control_mean, "mean": chosen.treatment_mean}
                | {name: getattr(chosen, name) for name in kept}
                | {"unadjusted_lift": each.lift.lift, "unadjusted_low": each.lift.low, "unadjusted_high": each.lift.high}
                | {"reading": each.reading, "incremental": each.incremental}
                | {"incremental_low": each.incremental_low, "incremental_high": each.incremental_high}
            )
        return pd.DataFrame(rows)


def outcomes(assigned: ir.Table, orders: ir.Table, window: Window) -> ir.Table:
    """One row per person: arm, the three metrics in the window and, as before_*, in the pre-period; floats,
    no nulls.

    `assigned` has member_id, person_id, arm; `orders` are paid orders with member_id, paid_at, net_amount.
    net_amount is summed exactly before it becomes a float; refunds are not taken off.
    """
    end = min(window.until, window.ends_at)
    near = orders.filter(orders.member_id.notnull(), orders.paid_at >= window.pre_starts_at, orders.paid_at < end)
    inside = near.paid_at >= window.starts_at
    facts = near.group_by("member_id").aggregate(
        net_amount=near.net_amount.sum(where=inside),
        orders=near.count(where=inside),
        before_net_amount=near.net_amount.sum(where=~inside),
        before_orders=near.count(where=~inside),
    )
    joined = assigned.left_join(facts, assigned.member_id == facts.member_id)
    persons = joined.group_by(assigned.person_id).aggregate(
        arm=assigned.arm.min(),
        **{
            name: as_float(facts[name].sum().fill_null(0))
            for name in ("net_amount", "orders", "before_net_amount", "before_orders")
        },
    )
    return persons.mutate(
        ordered=as_float((persons.orders > 0).cast("int8")), before_ordered=as_float((persons.before_orders > 0).cast("int8"))
    )


def judge(
    arms: Mapping[str, Aggregates], metric: Metric, adjust: Literal["pre_period", "none"] = "pre_period", primary: bool = True
) -> list[ArmResult]:
    """Every arm against the control on `metric`, from moments that hold the metric and its before_ column.

    Raises InputError when there is no control to judge by.
    """
    if CONTROL not in arms:
        raise InputError("no control group was kept, so what the campaign caused cannot be told; freeze with a control share")
    control, treated = arms[CONTROL], {arm: found for arm, found in sorted(arms.items()) if arm != CONTROL}
    return [_judge_arm(arm, control, found, metric, adjust, primary, len(treated)) for arm, found in treated.items()]


def _judge_arm(
    arm: str, control: Aggregates, found: Aggregates, metric: Metric, adjust: str, primary: bool, arms: int
) -> ArmResult:
    lift = compare(control, found, metric, arms=arms)
    adjusted = compare(control, found, metric, BEFORE + metric, arms)
    read_from: Literal["lift", "adjusted"] = "adjusted" if adjust == "pre_period" else "lift"
    chosen = adjusted if read_from == "adjusted" else lift
    size = found.count()
    return ArmResult(
        arm=arm,
        metric=metric,
        primary=primary,
        control_persons=control.count(),
        persons=size,
        lift=lift,
        adjusted=adjusted,
        reading=chosen.reading,
        read_from=read_from,
        variance_reduction=_reduction(lift, adjusted),
        incremental=chosen.lift * size,
        incremental_low=_times(chosen.low, size),
        incremental_high=_times(chosen.high, size),
    )


def _reduction(lift: Lift, adjusted: Lift) -> float | None:
    if lift.low is None or lift.high is None or adjusted.low is None or adjusted.high is None:
        return None
    return 1 - ((adjusted.high - adjusted.low) / (lift.high - lift.low)) ** 2


def _times(value: float | None, size: int) -> float | None:
    return None if value is None else value * size
