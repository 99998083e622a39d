"""How many are in each segment, and who moved where between two dates."""

from __future__ import annotations

import json

import ibis
import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings
from crm_core.segments.assign import RULE, closure
from crm_core.segments.basis import RULES


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
    """The rules of `settings` that another condition decided, or one that asks for such a rule, on the earlier day that
    `models` (model, params) are the `segment_models` of; none where rules were not noted. Counts of who joined or left such
    a segment would tell of the new condition and not of the members.
    """
    noted = models.filter(models.model == RULES).select("params").to_pyarrow()["params"].to_pylist()
    then = json.loads(noted[0]) if noted else {name: rule.when for name, rule in settings.rules.items()}
    changed = {f"{RULE}:{name}" for name, rule in settings.rules.items() if then.get(name) != rule.when}
    return {name for name in settings.rules if changed & closure([f"{RULE}:{name}"], settings)}


def _slots(assigned: ir.Table) -> ir.Table:
    slot = (assigned.scheme == "rule").ifelse(assigned.segment, "")
    return assigned.select("member_id", "scheme", "segment", slot=slot)
