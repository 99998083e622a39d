"""How many are in each segment, and who moved where between two dates."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir


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
        scheme=ibis.coalesce(joined.scheme, joined.scheme_after),
        from_segment=joined.segment,
        to_segment=joined.segment_after,
    )
    counted = moved.group_by(["scheme", "from_segment", "to_segment"]).agg(members=moved.count())
    return counted.order_by(["scheme", ibis.desc("members"), "from_segment", "to_segment"])


def _slots(assigned: ir.Table) -> ir.Table:
    slot = (assigned.scheme == "rule").ifelse(assigned.segment, "")
    return assigned.select("member_id", "scheme", "segment", slot=slot)
