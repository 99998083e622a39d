"""How many are in each segment, and who moved where between two dates."""

from __future__ import annotations

import json

import ibis
import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings
from crm_core.segments.assign import RULE, closure
from crm_core.segments.basis import RULES, SCHEMES, deciding


def sizes(assigned: ir.Table) -> ir.Table:
    """scheme, segment, members from the result of `assign`, greatest first within a scheme."""
    counted = assigned.group_by(["scheme", "segment"]).agg(members=assigned.count())
    return counted.order_by(["scheme", ibis.desc("members"), "segment"])


def movement(before: ir.Table, after: ir.Table) -> ir.Table:
    """scheme, from_segment, to_segment, members between two results of `assign` (member_id, scheme, segment).

    Null on one side: not a member, or not in that rule segment, on that date. In the schemes 'rfm' and
    'type' a member moves from one segment to another; each rule segment stands alone, so a member only
    enters, stays or leaves it.
    """
    left, right = _slots(before), _slots(after)
    joined = left.outer_join(right, ["member_id", "scheme", "slot"], rname="{name}_after")
    moved = joined.select(
        scheme=ibis.coalesce(joined.scheme, joined.scheme_after), from_segment=joined.segment, to_segment=joined.segment_after
    )
    counted = moved.group_by(["scheme", "from_segment", "to_segment"]).agg(members=moved.count())
    return counted.order_by(["scheme", ibis.desc("members"), "from_segment", "to_segment"])


def redefined(models: ir.Table, settings: SegmentSettings) -> set[str]:
    """What other settings decided on the earlier day that `models` (model, params) are the `segment_models` of: schemes
    ('rfm') and rules ('rule:NAME'), with the rules that ask for one of them; nothing where settings were not noted. Counts of
    who joined or left would tell of the new settings and not of the members.
    """
    rows = models.filter(models.model.isin([RULES, SCHEMES])).to_pyarrow().to_pylist()
    noted = {row["model"]: json.loads(row["params"]) for row in rows}
    rules = noted.get(RULES, {name: rule.when for name, rule in settings.rules.items()})
    changed = {name for name, text in deciding(settings).items() if noted.get(SCHEMES, {}).get(name, text) != text}
    other = {f"{RULE}:{name}" for name, rule in settings.rules.items() if rules.get(name) != rule.when}

    def asks(name: str) -> bool:
        behind = closure([f"{RULE}:{name}"], settings)
        return bool(other & behind) or any(each.partition(":")[0] in changed for each in behind)

    return changed | {f"{RULE}:{name}" for name in settings.rules if asks(name)}


def _slots(assigned: ir.Table) -> ir.Table:
    slot = (assigned.scheme == "rule").ifelse(assigned.segment, "")
    return assigned.select("member_id", "scheme", "segment", slot=slot)
