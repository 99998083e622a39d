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
from crm_core.schema.expressions import condition, names_in
from crm_core.segments import assign, members_of, resolve

if TYPE_CHECKING:
    from crm_core.config import Config

MEASURES = ("days_since_last_order", "order_count", "net_amount")
REFERENCE = re.compile(r"[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)?")


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
        resolve(settings.segment, config.segments)
        texts = [rule.when for rule in config.segments.rules.values()]
    else:
        condition(settings.segment, empty_features(), where=f"{where}, segment")
        texts = [settings.segment]
    named = {name for text in texts for name in names_in(text)} | {*MEASURES, *settings.strata, "person_id"}
    return [name for name in FEATURES if name in named]


def candidates(known: ir.Table, config: Config, campaign: str, settings: CampaignSettings) -> ir.Table:
    """The members of the campaign's segment: member_id, person_id, and the features in `strata`.

    `known` is the features table, with at least the columns `needed`. A member whose person is not known is
    a person of its own.
    """
    chosen = in_segment(known, config, settings.segment, f"conf/campaigns/{campaign}.yml")
    person = chosen.person_id.coalesce(chosen.member_id)
    return chosen.select("member_id", *settings.strata, person_id=person)


def in_segment(known: ir.Table, config: Config, segment: str, where: str) -> ir.Table:
    """Rows of the features `known` that are in `segment`: a reference ('rfm:at_risk') or an expression."""
    if not REFERENCE.fullmatch(segment):
        return known.filter(condition(segment, known, where=f"{where}, segment"))
    members = members_of(assign(known, config.segments), segment, config.segments)
    return known.semi_join(members, "member_id")
