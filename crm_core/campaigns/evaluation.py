"""`evaluate`: finds what a wave needs – who was assigned, when it was handed over, how long to measure, what
it cost – and judges it. Campaigns that another system ran are judged too, from the tables alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
from tea_tasting.aggr import Aggregates

from crm_core.campaigns.costs import message_cost, money
from crm_core.campaigns.lift import SampleRatio, moments, sample_ratio
from crm_core.campaigns.records import first_hand_off, handed_cost, never_out
from crm_core.campaigns.result import BEFORE, METRICS, Evaluation, Window, judge, outcomes
from crm_core.config.campaigns import CONTROL, CampaignSettings, Metric
from crm_core.errors import InputError, unknown

if TYPE_CHECKING:
    from crm_core.store import Ledger, Tables

MESSAGING = ("sent", "delivered", "failed", "opened", "clicked", "replied", "unsubscribed")


def evaluate(
    tables: Tables, campaign: str, settings: CampaignSettings | None = None, *, wave: int = 1,
    handed_off_at: datetime | None = None, window_days: int | None = None, cost: float | None = None,
    ledger: Ledger | None = None,
) -> Evaluation:  # fmt: skip
    """Judges wave `wave` of `campaign` as of `tables`.

    `settings` are the campaign's own; without them (a campaign that another system ran) metric, window and
    cost come from the `campaigns` table and the planned shares are not known. `handed_off_at` (naive UTC)
    starts the window; default: the first export in `ledger`, else the campaign's start, else when the arms
    were fixed. `cost` in the project's currency replaces what budget and unit cost give. Raises UnknownName
    when no list of this campaign exists as of that date, InputError when it has no control.
    """
    assigned, window = scope(tables, campaign, settings, wave, handed_off_at, window_days, ledger)
    known = _known(tables, campaign)
    metric: Metric = settings.metric if settings else _metric(known)
    columns = [*METRICS, *(BEFORE + name for name in METRICS)]
    found = moments(outcomes(assigned, tables.paid_orders, window), "arm", columns)
    arms = {arm: found[arm] for arm in sorted(found)}
    ratio = sample_ratio({arm: each.count() for arm, each in arms.items()}, settings.shares if settings else {})
    adjust = settings.adjust if settings else "pre_period"
    results = tuple(each for name in METRICS for each in judge(arms, name, adjust, primary=name == metric))
    sizes = {arm: each.count() for arm, each in arms.items() if arm != CONTROL}
    handed = handed_cost(ledger, campaign, wave) if ledger is not None else {}
    spent = cost if cost is not None else message_cost(settings, known, sizes, handed)
    return Evaluation(
        campaign, wave, window, ratio, results, money(results, spent, settings.margin if settings else 1.0),
        _messages(tables, campaign),
        _notes(window, ratio, arms, metric, out=ledger is None or not never_out(ledger, campaign, wave)),
    )  # fmt: skip


def scope(
    tables: Tables, campaign: str, settings: CampaignSettings | None, wave: int = 1,
    handed_off_at: datetime | None = None, window_days: int | None = None, ledger: Ledger | None = None,
) -> tuple[ir.Table, Window]:  # fmt: skip
    """Who was assigned (member_id, person_id, arm …), and the time over which they are judged; as `evaluate` has it."""
    assigned, known = _assigned(tables, campaign, wave), _known(tables, campaign)
    start = handed_off_at or _start(tables, campaign, wave, assigned, known, ledger)
    return assigned, _window(start, window_days, settings, known, tables.instant)


def _assigned(tables: Tables, campaign: str, wave: int) -> ir.Table:
    audiences = tables.audiences
    rows = audiences.filter((audiences.campaign_id == campaign) & (audiences.wave == wave) & (audiences.status != "rejected"))
    if not rows.count().to_pyarrow().as_py():
        have = audiences.select("campaign_id", "wave").distinct().to_pyarrow().to_pylist()
        names = [f"{row['campaign_id']} wave {row['wave']}" for row in have]
        raise unknown("list of campaign", f"{campaign} wave {wave}", names, f"the lake as of {tables.as_of}")
    return rows.mutate(arm=(rows.status == "held_out").ifelse(ibis.literal(CONTROL), rows.arm))


def _known(tables: Tables, campaign: str) -> dict[str, Any]:
    rows = tables.campaigns.filter(tables.campaigns.campaign_id == campaign).limit(1).to_pyarrow().to_pylist()
    return rows[0] if rows else {}


def _start(
    tables: Tables, campaign: str, wave: int, assigned: ir.Table, known: Mapping[str, Any], ledger: Ledger | None
) -> datetime:
    if ledger is not None:
        handed = first_hand_off(ledger, campaign, wave)
        if handed is not None:
            return handed
    if known.get("starts_at"):
        return _naive(known["starts_at"])
    fixed = _naive(assigned.assigned_at.max().to_pyarrow().as_py())
    # our own lists are fixed in the last microsecond of their day: their window opens with the next one
    return fixed + timedelta(microseconds=1) if fixed.microsecond == 999_999 else fixed


def _naive(value: datetime) -> datetime:
    return value.replace(tzinfo=None)


def _window(
    start: datetime, days: int | None, settings: CampaignSettings | None, known: Mapping[str, Any], instant: datetime
) -> Window:
    if days is not None:
        end = start + timedelta(days=days)
    elif settings is not None:
        end = start + timedelta(days=settings.window_days)
    elif known.get("ends_at"):
        end = _naive(known["ends_at"])
    else:
        raise InputError(
            "how long after the message to measure is not known: the campaign has no settings and no end; give window_days"
        )
    instant = _naive(instant)
    window = Window(start, end, min(end, instant))
    if not window.begun:
        raise InputError(f"the window opens at {start} UTC and the data end at {instant} UTC: there is nothing to measure yet")
    return window


def _metric(known: Mapping[str, Any]) -> Metric:
    named = known.get("target_metric")
    return next((metric for metric in METRICS if metric == named), "net_amount")


def _messages(tables: Tables, campaign: str) -> dict[str, int]:
    events = tables.interactions
    ours = events.filter((events.campaign_id == campaign) & events.event.isin(MESSAGING))
    found = ours.group_by("event").aggregate(members=ours.member_id.nunique()).to_pyarrow().to_pylist()
    return {row["event"]: row["members"] for row in sorted(found, key=lambda row: MESSAGING.index(row["event"]))}


def _notes(window: Window, ratio: SampleRatio, arms: Mapping[str, Aggregates], metric: Metric, out: bool) -> tuple[str, ...]:
    notes = []
    if window.preliminary:
        notes.append(
            f"window ends {window.ends_at:%Y-%m-%d %H:%M} UTC: preliminary, measured until {window.until:%Y-%m-%d %H:%M} UTC"
        )
    if not out:
        notes.append("the list was never handed over here: if nobody sent it otherwise, every difference is chance")
    if ratio.verdict == "mismatch":
        notes.append("the arms do not have the sizes that were planned: do not trust the lift before this is explained")
    if all(each.var(BEFORE + metric) == 0 for each in arms.values()):
        notes.append(f"{metric} does not vary in the pre-period, so the adjusted lift equals the plain one")
    return tuple(notes)
