"""Churn labels: buyers of a past day, what was known of each, and whether they came back, worked out in the engine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import ibis
import ibis.expr.types as ir

from crm_core.config.models import ChurnSettings
from crm_core.measures import features
from crm_core.store import Tables
from crm_core.store.clock import local_date
from crm_core.store.hashing import salted_order


def labelled(
    tables: Tables, day: date, settings: ChurnSettings, names: Sequence[str], salt: str, among: ir.Table | None = None
) -> ir.Table:
    """member_id, the features `names` as of `day`, `lost` (boolean): one row per member with a paid order by the end of `day`,
    sorted by salted hash of the member. `tables` must reach `settings.days` days beyond `day`; `among`: a sample (member_id).
    """
    then, later = tables.at(day, among), tables.at(day + timedelta(days=settings.days), among)
    known = features(then, {*names, "order_count", "mean_days_between_orders"})
    known = known.filter(known.order_count > 0)
    orders = later.paid_orders
    after = orders.filter(orders.member_id.notnull(), orders.paid_at >= ibis.literal(then.instant))
    first = after.group_by("member_id").agg(_back=after.paid_at.min())
    joined = known.left_join(first, "member_id").drop("member_id_right")
    back_in = local_date(joined._back, tables.zone).delta(ibis.literal(day), unit="day")
    lost = (back_in > wait_days(joined, settings)).fill_null(True)
    order = salted_order(joined.member_id, salt)
    return joined.mutate(lost=lost, _order=order).order_by("_order").select("member_id", *names, "lost")


def wait_days(rows: ir.Table, settings: ChurnSettings) -> ir.NumericValue:
    """Days without a paid order after which a member counts as lost; `rows` has mean_days_between_orders where gaps decide."""
    if settings.gaps is None:
        return ibis.literal(settings.days)
    own = rows.mean_days_between_orders * settings.gaps
    return own.clip(settings.least_days, settings.days).fill_null(float(settings.days))
