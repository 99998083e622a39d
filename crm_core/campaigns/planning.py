"""`plan`: what a campaign would be before anything is frozen – size, control, cost, and the smallest effect
it could show.

The metric's variance comes from the same segment one window earlier: the members who were in it then, and
what they did in the window that followed. The pre-period of today's members would not do: a segment of people
who stayed away has, by its definition, bought nothing lately, and no variance at all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import ibis

from crm_core.campaigns.allocation import arm_totals
from crm_core.campaigns.audience import computed, funnel_of
from crm_core.campaigns.costs import message_cost
from crm_core.campaigns.funnel import Step, count_by
from crm_core.campaigns.lift import moments, smallest_detectable
from crm_core.campaigns.pinned import staged
from crm_core.campaigns.result import Window, outcomes
from crm_core.campaigns.selection import candidates, needed
from crm_core.config.campaigns import CONTROL
from crm_core.errors import InputError
from crm_core.measures import features
from crm_core.store import Tables, now

if TYPE_CHECKING:
    from crm_core.config import Config
    from crm_core.store import Lake, Vault

POWER = 0.8


@dataclass(frozen=True)
class Plan:
    """What freezing now would give. Money is in the project's currency; `detectable` is per person, in the
    metric's unit, None where the past shows no variance or nobody was in the segment then; `expected_mean` is
    the metric's mean then.
    """

    campaign: str
    members: int
    eligible: int
    persons: int
    arms: dict[str, int]
    control: int
    funnel: tuple[Step, ...]
    cost: float | None
    metric: str
    window_days: int
    expected_mean: float | None
    detectable: dict[str, float | None]
    detectable_relative: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def plan(tables: Tables, config: Config, lake: Lake, vault: Vault, campaign: str, *, wave: int = 1) -> Plan:
    """Sizes, cost and power of `campaign` as of `tables`; stores nothing. Errors as `freeze`, but an empty
    segment is a plan.
    """
    settings = config.campaign(campaign)
    until = min(tables.instant, now())
    with computed(tables, config, lake, vault, campaign, wave, until) as found:
        reasons = count_by(found.rows, "reason")
        drawn = found.rows.filter(found.rows.arm.notnull())
        members = count_by(drawn, "arm")
        persons = int(drawn.person_id.nunique().to_pyarrow().as_py())
    totals = arm_totals(persons, settings.shares)
    mean, detectable = _power(tables, config, lake, campaign, totals)
    sizes = {arm: members.get(arm, 0) for arm in settings.arms}
    cost = message_cost(settings, {}, sizes, country=config.project.country)
    return Plan(
        campaign=campaign,
        members=sum(reasons.values()),
        eligible=reasons.get(None, 0),
        persons=persons,
        arms=totals,
        control=totals[CONTROL],
        funnel=tuple(funnel_of(found, reasons)),
        cost=None if cost is None else sum(cost.values()),
        metric=settings.metric,
        window_days=settings.window_days,
        expected_mean=mean,
        detectable=detectable,
        detectable_relative={arm: value / mean if value is not None and mean else None for arm, value in detectable.items()},
    )


def _power(
    tables: Tables, config: Config, lake: Lake, campaign: str, totals: dict[str, int]
) -> tuple[float | None, dict[str, float | None]]:
    settings = config.campaign(campaign)
    length = timedelta(days=settings.window_days)
    earlier = Tables(lake, tables.snapshot, tables.as_of - length, tables.zone, tables.identity)
    window = Window(earlier.instant, tables.instant, tables.instant)
    known = features(earlier, needed(config, campaign, settings))
    with staged(lake.engine, known) as facts:
        try:
            then = candidates(facts, config, campaign, settings, earlier).mutate(arm=ibis.literal("then"))
        except InputError:  # the segment asks for one that was stored after that earlier day
            return None, dict.fromkeys(settings.arms)
        found = moments(outcomes(then, tables.paid_orders, window), "arm", [settings.metric]).get("then")
    if found is None or found.count() < 2:
        return None, dict.fromkeys(settings.arms)
    detectable = {}
    for arm in settings.arms:
        size = totals[arm] + totals[CONTROL]
        ratio = totals[arm] / totals[CONTROL] if totals[CONTROL] else 0.0
        detectable[arm] = smallest_detectable(found, settings.metric, ratio, size, POWER, len(settings.arms))
    return float(found.mean(settings.metric)), detectable
