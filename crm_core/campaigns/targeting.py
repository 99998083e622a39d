"""Whom a campaign moved: uplift by what was known of its members before the message, learned against its own control."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from crm_core.campaigns.evaluation import scope
from crm_core.campaigns.result import outcomes
from crm_core.config.campaigns import CONTROL, CampaignSettings
from crm_core.config.models import ModelSettings
from crm_core.measures import FEATURES, MODEL_FEATURES, features
from crm_core.models.uplift import Uplift, needs_of, uplift
from crm_core.store.hashing import as_float, salted_order

if TYPE_CHECKING:
    from crm_core.store import Ledger, Tables


def targeting(
    tables: Tables, campaign: str, settings: CampaignSettings | None, models: ModelSettings, *, wave: int = 1,
    ledger: Ledger | None = None,
) -> dict[str, Uplift]:  # fmt: skip
    """Arm → its uplift against the control: outcome is an order within the campaign's window, features are those of the day
    before it opened, of at most `models.sample` persons (drawn by salted hash). Raises as `evaluate` does."""
    assigned, window = scope(tables, campaign, settings, wave, ledger=ledger)
    members = assigned.group_by("person_id").agg(member_id=assigned.member_id.min())
    judged = outcomes(assigned, tables.paid_orders, window).select("person_id", "arm", outcome="ordered")
    judged = judged.inner_join(members, "person_id").select("member_id", "arm", "outcome")
    before, until = (
        moment.replace(tzinfo=UTC).astimezone(tables.zone).date() - timedelta(days=1)
        for moment in (window.starts_at, min(window.until, window.ends_at))
    )
    found = {}
    for arm in sorted(set(judged.select("arm").distinct().to_pyarrow()["arm"].to_pylist()) - {CONTROL}):
        both = judged.filter(judged.arm.isin([CONTROL, arm]))
        order = [salted_order(both.member_id, f"uplift{models.seed}"), both.member_id]
        rows = both.order_by(order).limit(models.sample).to_pyarrow().to_pandas()
        rows = rows.assign(treated=rows["arm"] == arm).drop(columns="arm")
        if all(need.enough for need in needs_of(rows["treated"].to_numpy(float), rows["outcome"].to_numpy(), models.uplift)):
            rows = rows.merge(_features(tables.at(before, assigned.select("member_id").distinct())), "left", "member_id")
        found[arm] = uplift(rows, models.uplift, assigned_on=before, measured_until=until, seed=models.seed)
    return found


def _features(tables: Tables) -> pd.DataFrame:
    known = features(tables)
    plain = {name: known[name] if FEATURES[name].type == "string" else as_float(known[name]) for name in MODEL_FEATURES}
    table: pd.DataFrame = known.select("member_id", **plain).to_pyarrow().to_pandas()
    return table
