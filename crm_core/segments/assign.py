"""From features to segments: RFM groups, eight types and rule segments in one lazy table."""

from __future__ import annotations

from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings
from crm_core.schema.expressions import condition
from crm_core.segments.grid import GRID, NO_PAID_ORDER, TYPES
from crm_core.segments.thresholds import Limits, Thresholds, thresholds

WHERE = "conf/segments.yml"


def assign(features: ir.Table, settings: SegmentSettings, limits: Thresholds | None = None) -> ir.Table:
    """member_id, scheme, segment: a row per member in 'rfm' and in 'type', and one per rule that holds.

    `limits` (default: `thresholds(features, settings)`, one small query) decides the scores. Members
    without a paid order are 'no_paid_order'; where orders were never supplied nobody is in 'rfm' or
    'type', and where their amounts are not known no buyer is in 'type'. InputError when a rule's condition cannot be read.
    """
    scored = score(features, limits or thresholds(features, settings))
    parts = [
        scored.select("member_id", scheme=ibis.literal(scheme), segment=scored[column])
        for scheme, column in (("rfm", "group"), ("type", "type"))
    ]
    parts[1] = parts[1].filter(parts[1].segment.notnull())
    for name in settings.rules:
        members = features.filter(rule(name, features, settings))
        parts.append(members.select("member_id", scheme=ibis.literal("rule"), segment=ibis.literal(name)))
    return ibis.union(*parts)


def score(features: ir.Table, limits: Thresholds) -> ir.Table:
    """member_id, r_score, f_score, m_score (1 worst … 5 best; null without a paid order), group, type.

    A value is compared with its limits strictly: F and M score 1 + the limits exceeded, R 5 − the
    limits exceeded.
    """
    known = features.filter(features.order_count.notnull())
    quintiles, compared = limits.quintiles, limits.types
    scored = known.select(
        "member_id",
        r_score=_turned(_exceeded(known, "days_since_last_order", quintiles)),
        f_score=_exceeded(known, "order_count", quintiles) + 1,
        m_score=known.net_amount.isnull().ifelse(None, _exceeded(known, "net_amount", quintiles) + 1),
        unknown_amount=(known.order_count > 0) & known.net_amount.isnull(),
        better_r=_below(known, "days_since_last_order", compared),
        better_f=_exceeded(known, "order_count", compared) > 0,
        better_m=_exceeded(known, "net_amount", compared) > 0,
    )
    return scored.select(
        "member_id", "r_score", "f_score", "m_score", group=_group(scored),
        type=scored.unknown_amount.ifelse(ibis.null("string"), _type(scored)),
    )  # fmt: skip


def rule(name: str, features: ir.Table, settings: SegmentSettings) -> ir.BooleanValue:
    """The condition of the rule segment `name` over `features`; unknown counts as no."""
    return condition(settings.rules[name].when, features, where=f"{WHERE}, rule '{name}'")


def _buyer(features: ir.Table, value: Any) -> Any:
    return (features.order_count > 0).ifelse(value, ibis.null("int64"))


def _exceeded(features: ir.Table, name: str, limits: Limits) -> Any:
    """How many limits the value exceeds; null without a paid order."""
    value = features[name].cast("decimal(38, 2)")
    above = [(value > _number(limit)).cast("int64") for limit in getattr(limits, name)]
    return _buyer(features, reduce(lambda left, right: left + right, above, ibis.literal(0).cast("int64")))


def _below(features: ir.Table, name: str, limits: Limits) -> Any:
    value = features[name].cast("decimal(38, 2)")
    under = [(value < _number(limit)).cast("int64") for limit in getattr(limits, name)]
    return _buyer(features, reduce(lambda left, right: left + right, under, ibis.literal(0).cast("int64"))) > 0


def _number(limit: Any) -> Any:
    return ibis.literal(limit, type="decimal(38, 6)")


def _turned(exceeded: Any) -> Any:
    return ibis.literal(5).cast("int64") - exceeded


def _group(scored: ir.Table) -> ir.StringValue:
    branches = [
        ((scored.r_score == r) & (scored.f_score == f + 1), name)
        for r, row in GRID.items()
        for f, name in enumerate(row)
    ]
    return ibis.cases(*branches, else_=NO_PAID_ORDER)


def _type(scored: ir.Table) -> ir.StringValue:
    branches = [
        ((scored.better_r == r) & (scored.better_f == f) & (scored.better_m == m), name)
        for (r, f, m), name in TYPES.items()
    ]
    return ibis.cases(*branches, else_=NO_PAID_ORDER)
