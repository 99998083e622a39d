"""Whom a campaign means: its segment – a group of a scheme, or an expression over features – as rows with the
features that its strata need.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from crm_core.config.campaigns import CampaignSettings
from crm_core.errors import unknown
from crm_core.measures import FEATURES, empty_features
from crm_core.measures.behaviour import segments_of_today
from crm_core.schema.expressions import names_in
from crm_core.segments import holding, inputs, members_in, resolve

if TYPE_CHECKING:
    from crm_core.config import Config
    from crm_core.store import Tables

REFERENCE = re.compile(r"[a-z][a-z0-9_]*(:[a-z0-9][a-z0-9_]*)?")


def needed(config: Config, campaign: str, settings: CampaignSettings) -> list[str]:
    """The features that segment and strata are decided on.

    Raises UnknownName for a segment or stratum that does not exist, InputError for an expression that is
    none; both name the campaign's file. Nothing is computed.
    """
    where = f"conf/campaigns/{campaign}.yml"
    for name in settings.strata:
        if name not in FEATURES:
            raise unknown("stratum", name, FEATURES, where)
    if REFERENCE.fullmatch(settings.segment):
        named = inputs([":".join(resolve(settings.segment, config.segments))], config.segments)
    else:
        where = f"{where}, segment"
        holding(empty_features(), settings.segment, config.segments, where=where)
        named = inputs(segments_of_today(settings.segment, where), config.segments) | names_in(settings.segment, where)
    named |= {*settings.strata, "person_id"}
    return [name for name in FEATURES if name in named]


def candidates(known: ir.Table, config: Config, campaign: str, settings: CampaignSettings, tables: Tables) -> ir.Table:
    """The members of the campaign's segment: member_id, person_id, and the features in `strata`.

    `known` is the features table, with at least the columns `needed`. A member whose person is not known is
    a person of its own.
    """
    chosen = in_segment(known, config, settings.segment, f"conf/campaigns/{campaign}.yml", tables)
    person = chosen.person_id.coalesce(chosen.member_id)
    return chosen.select("member_id", *settings.strata, person_id=person)


def in_segment(known: ir.Table, config: Config, segment: str, where: str, tables: Tables) -> ir.Table:
    """Rows of the features `known` that are in `segment`: a reference ('rfm:at_risk') or an expression."""
    if not REFERENCE.fullmatch(segment):
        return holding(known, segment, config.segments, where=f"{where}, segment", tables=tables)
    return known.semi_join(members_in(known, segment, config.segments, tables), "member_id")
