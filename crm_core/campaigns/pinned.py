"""A frozen list's inputs as they were: snapshot, settings, date, time of refusals; and temporary tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis.expr.types as ir
from sqlalchemy import select

from crm_core.campaigns.records import audience_named
from crm_core.config import Config
from crm_core.config.campaigns import CampaignSettings
from crm_core.errors import RunFailed
from crm_core.store import Tables
from crm_core.store.ledger import Audience, ConfigText

if TYPE_CHECKING:
    from crm_core.store import Lake, Ledger

_names = itertools.count()


@dataclass(frozen=True)
class Pinned:
    """The ledger's row of a list, and what it was made from; `until` is where the refusals were read."""

    audience: Audience
    config: Config
    tables: Tables
    until: datetime

    @property
    def settings(self) -> CampaignSettings:
        """The campaign as it was when the list was frozen."""
        return self.config.campaign(self.audience.campaign)


def pinned(audience_id: str, lake: Lake, ledger: Ledger) -> Pinned:
    """Opens what `audience_id` was made from.

    Raises UnknownName for a list that was never frozen, RunFailed when its settings are no longer kept.
    """
    known = audience_named(ledger, audience_id)
    kept = ledger.get(ConfigText, known.config_hash)
    if kept is None:
        raise RunFailed(f"the settings of {audience_id} are no longer in the ledger, so it cannot be made again")
    zone = ZoneInfo(known.detail["time_zone"])
    config = Config(kept.texts)
    tables = Tables(lake, lake.snapshot(known.snapshot_id), known.as_of, zone, config.identity)
    return Pinned(known, config, tables, datetime.fromisoformat(known.detail["suppressed_until"]))


def settings_of(ledger: Ledger, config: Config, campaign: str, wave: int) -> CampaignSettings | None:
    """The settings by which a wave is judged: as they were when its list was frozen, so that nobody can choose the metric once
    the outcome is known. Those of `config` where no list was frozen here; None for a campaign that another system ran.
    """
    query = select(Audience.config_hash).where(Audience.campaign == campaign, Audience.wave == wave)
    with ledger.session() as session:
        frozen = session.scalars(query).first()
        kept = session.get(ConfigText, frozen) if frozen else None
    held = Config(kept.texts) if kept is not None else config
    return held.campaign(campaign) if campaign in held.campaign_names() else None


@contextmanager
def staged(engine: Any, table: ir.Table) -> Iterator[ir.Table]:
    """`table` computed once into a temporary table of the engine, dropped when the block ends.

    Compiling the features' expression takes longer than running it on small data: nothing is compiled twice.
    """
    name = f"campaign_work_{next(_names)}"
    try:
        yield engine.create_table(name, table, temp=True, overwrite=True)
    finally:
        engine.drop_table(name, force=True)
