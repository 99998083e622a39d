"""From the members of a segment to those who may be written to: one rule after the other, each logged with
members in and out.

A member fails at the first rule that it does not pass; that rule's name is the reason kept in the list. All
rules run in one engine query; nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import ibis
import ibis.expr.types as ir


@dataclass(frozen=True)
class Rule:
    """`members` (a column member_id) either pass the rule ('keeps') or fail it ('removes'); `name` is the
    reason given.
    """

    name: str
    effect: Literal["keeps", "removes"]
    members: ir.Table


@dataclass(frozen=True)
class Step:
    """How many members went into a rule and came out of it."""

    rule: str
    members_in: int
    members_out: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ledger, manifest and report."""
        return asdict(self)


def with_reasons(members: ir.Table, rules: Sequence[Rule]) -> ir.Table:
    """`members` (one row per member_id) with `reason`: the first rule that the member fails, null when it
    passes all.
    """
    columns = members.columns
    joined = members
    fails: list[tuple[Any, ir.Value]] = []
    for at, rule in enumerate(rules):
        hits = rule.members.select(**{f"_id{at}": rule.members.member_id}).distinct()
        joined = joined.left_join(hits, joined.member_id == hits[f"_id{at}"])
        fails.append((f"_id{at}", rule))
    branches = [
        (joined[name].isnull() if rule.effect == "keeps" else joined[name].notnull(), ibis.literal(rule.name))
        for name, rule in fails
    ]
    reason = ibis.cases(*branches, else_=ibis.null("string")) if branches else ibis.null("string")
    return joined.mutate(reason=reason).select(*columns, "reason")


def steps(reasons: Mapping[str | None, int], rules: Sequence[Rule]) -> list[Step]:
    """The funnel from members per reason (None: passed all)."""
    left = sum(reasons.values())
    found = []
    for rule in rules:
        out = left - reasons.get(rule.name, 0)
        found.append(Step(rule.name, left, out))
        left = out
    return found


def count_by(table: ir.Table, column: str) -> dict[Any, int]:
    """Rows per value of `column`, in one small query."""
    found = table.group_by(column).aggregate(rows=lambda t: t.count()).order_by(column).to_pyarrow()
    return dict(zip(found[column].to_pylist(), found["rows"].to_pylist(), strict=True))


def consenting(consents: ir.Table, channel: str, instant: datetime) -> ir.Table:
    """Members whose newest consent for `channel` is granted and has not expired at `instant` (naive UTC).

    Of two changes at the same moment the refusal counts.
    """
    ours = consents.filter(consents.channel == channel)
    order = [ours.changed_at.desc(), (ours.state == "granted").cast("int64").asc(), ours.state]
    newest = ours.mutate(_place=ibis.row_number().over(ibis.window(group_by="member_id", order_by=order)))
    holds = (newest.state == "granted") & (newest.expires_at.isnull() | (newest.expires_at > instant))
    return newest.filter((newest._place == 0) & holds).select("member_id")


def withdrawn(consents: ir.Table, owners: ir.Table, channel: str) -> ir.Table:
    """Members whose consent for `channel` somebody withdrew in another account of the same owner, after the newest grant in
    any of them. `owners`: member_id and owner, such as a person or a contact; a member may have several.

    A consent is withdrawn by 'revoked', or by 'denied' where that account had granted it: a box that was never ticked in one
    shop takes nothing back that was granted in another.
    """
    ours = consents.filter(consents.channel == channel)
    newest_of = {state: ours.changed_at.max(where=ours.state == state) for state in ("granted", "revoked", "denied")}
    stated = ours.group_by("member_id").agg(**newest_of)
    ended = ibis.greatest(stated.revoked, (stated.denied >= stated.granted).ifelse(stated.denied, ibis.null("timestamp(6)")))
    said = owners.join(stated.select("member_id", "granted", ended=ended), "member_id")
    newest = said.group_by("owner").agg(granted=said.granted.max(), ended=said.ended.max())
    over = newest.filter(newest.ended >= newest.granted)
    return owners.semi_join(over, "owner").select("member_id")


def with_contact(identities: ir.Table, kind: str) -> ir.Table:
    """Members of whom an id of `kind` is known."""
    return identities.filter(identities.id_kind == kind).select("member_id")


def suppressed(identities: ir.Table, hashes: ir.Table, kind: str) -> ir.Table:
    """Members any of whose ids of `kind` is on the suppression list (`hashes` has one column of HMACs)."""
    column = hashes.columns[0]
    ours = identities.filter(identities.id_kind == kind)
    return ours.semi_join(hashes, ours.id_value_hash == hashes[column]).select("member_id")


def capped(interactions: ir.Table, channel: str, instant: datetime, days: int, cap: int) -> ir.Table:
    """Members who got `cap` or more messages of `channel` in the `days` before `instant`; failed ones count
    too.
    """
    recent = interactions.filter(
        (interactions.channel == channel)
        & (interactions.event == "sent")
        & (interactions.occurred_at >= instant - timedelta(days=days))
        & interactions.member_id.notnull()
    )
    counted = recent.group_by("member_id").aggregate(messages=recent.count())
    return counted.filter(counted.messages >= cap).select("member_id")


def in_live_campaigns(audiences: ir.Table, windows: Mapping[str, int], instant: datetime, own_audience: str) -> ir.Table:
    """Members in the window of another list: treated or held out, as either would blur that campaign's
    result.

    `windows` gives days per campaign_id; lists of campaigns that it does not name are ignored.
    """
    live = ibis.literal(False)
    for campaign, days in sorted(windows.items()):
        live = live | ((audiences.campaign_id == campaign) & (audiences.assigned_at > instant - timedelta(days=days)))
    others = audiences.filter((audiences.audience_id != own_audience) & (audiences.status != "rejected") & live)
    return others.select("member_id")
