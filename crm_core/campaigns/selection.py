"""Whom a campaign means: its segment – a group of a scheme, or an expression over features – as rows with the
features that its strata need.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from crm_core.config.campaigns import CampaignSettings
from crm_core.errors import unknown
from crm_core.measures import FEATURES, features
from crm_core.schema.expressions import condition
from crm_core.segments import assign, members_of

if TYPE_CHECKING:
    from crm_core.config import Config
    from crm_core.store import Tables

REFERENCE = re.compile(r"[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)?")


def candidates(tables: Tables, config: Config, campaign: str, settings: CampaignSettings) -> ir.Table:
    """The members of the campaign's segment as of `tables`: member_id, person_id, and the features in
    `strata`.

    A member whose person is not known is a person of its own. Raises UnknownName for a segment or stratum
    that does not exist, InputError for an expression that is none; both name the campaign's file.
    """
    where = f"conf/campaigns/{campaign}.yml"
    for name in settings.strata:
        if name not in FEATURES:
            raise unknown("stratum", name, FEATURES, where)
    known = features(tables)
    chosen = in_segment(known, config, settings.segment, where)
    person = chosen.person_id.coalesce(chosen.member_id)
    return chosen.select("member_id", *settings.strata, person_id=person)


def in_segment(known: ir.Table, config: Config, segment: str, where: str) -> ir.Table:
    """Rows of the features table `known` that are in `segment`, a reference ('rfm:at_risk') or an
    expression.
    """
    if REFERENCE.fullmatch(segment):
        members = members_of(assign(known, config.segments), segment, config.segments)
        return known.semi_join(members, "member_id")
    return known.filter(condition(segment, known, where=f"{where}, segment"))
