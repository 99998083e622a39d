"""One member whole: facts, segments and tags with the reason for each, journey, campaigns and arms; never contact data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc

from crm_core.errors import InputError
from crm_core.ingest import account_spelling
from crm_core.reporting.labels import Labels
from crm_core.reporting.score_words import ScoreReason, score_reasons
from crm_core.segments import SegmentReason, segment_reasons
from crm_core.tags import Reason, reasons
from crm_core.workspace import Workspace

JOURNEY_ROWS = 30


@dataclass(frozen=True)
class MemberCard:
    """What the toolkit knows of one member as of a date. `segments`, `tags` and `scores` come with the reason for each.

    `other_members` are the person's other memberships; `person_keys` the kinds of key that hold the person together.
    """

    member_id: str
    as_of: str
    person_id: str
    other_members: tuple[str, ...]
    person_keys: tuple[str, ...]
    features: dict[str, Any]
    segments: tuple[SegmentReason, ...]
    tags: tuple[Reason, ...]
    scores: tuple[ScoreReason, ...]
    journey: tuple[dict[str, Any], ...]
    campaigns: tuple[dict[str, Any], ...]


def member_card(workspace: Workspace, member_id: str, language: str = "zh") -> MemberCard:
    """The card of one member. Raises InputError when nobody of that id exists on the workspace's date."""
    features = workspace.features
    rows = features.filter(features.member_id == member_id).to_pyarrow().to_pylist()
    if not rows:
        raise InputError(
            f"member '{member_id}' is not among the members as of {workspace.as_of}; check the id, "
            "or find it by its account: crm member --account SOURCE:ID"
        )
    known = {name: value for name, value in rows[0].items() if value is not None and name not in ("as_of", "member_id")}
    person, others, keys = _person(workspace, member_id)
    return MemberCard(
        member_id=member_id,
        as_of=workspace.as_of.isoformat(),
        person_id=person or known.get("person_id", member_id),
        other_members=others,
        person_keys=keys,
        features=known,
        segments=_segments(workspace, member_id, language),
        tags=_tags(workspace, member_id),
        scores=_scores(workspace, member_id, known, language),
        journey=_journey(workspace, member_id),
        campaigns=_campaigns(workspace, member_id),
    )


def _tags(workspace: Workspace, member_id: str) -> tuple[Reason, ...]:
    """A reason for each tag; those that are withheld on the date say so."""
    settings, checks = workspace.config.tags, workspace.tag_checks
    found = reasons(workspace.features, settings, member_id, workspace.as_of, workspace.tag_sources)
    return tuple(replace(each, withheld=checks[each.tag].problem) if each.tag in checks else each for each in found)


def member_of_account(workspace: Workspace, account: str) -> tuple[str, tuple[str, str]]:
    """The member_id of 'SOURCE:ID', and (namespace, account id). Raises UnknownName for the source, InputError when it is not
    written so.
    """
    source, colon, text = account.partition(":")
    if not colon or not text:
        raise InputError("--account takes SOURCE:ID, the source's name and the account's own id")
    settings = workspace.config.source(source)
    own = settings.accounts_of, account_spelling(settings, text)
    return own[1] if settings.ids == "plain" else workspace.vault.member_id(*own), own


def _person(workspace: Workspace, member_id: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(person_id, the person's other members, kinds of key that join them); '' for a member who shares no key."""
    persons = workspace.tables.persons
    found = persons.members
    mine = found.filter(pc.equal(found["member_id"], member_id))
    if not mine.num_rows:
        return "", (), ()
    person = mine["person_id"][0].as_py()
    members = found.filter(pc.equal(found["person_id"], person))["member_id"]
    kinds = persons.edges.filter(pc.is_in(persons.edges["member_id"], value_set=members.combine_chunks()))["id_kind"]
    others = tuple(sorted(set(members.to_pylist()) - {member_id}))
    return person, others, tuple(sorted(set(kinds.to_pylist())))


def _segments(workspace: Workspace, member_id: str, language: str) -> tuple[SegmentReason, ...]:
    found = segment_reasons(
        workspace.features, [member_id], workspace.config.segments, workspace.segment_basis, tables=workspace.tables,
        language=language,
    )  # fmt: skip
    return tuple(found.get(member_id, ()))


def _scores(workspace: Workspace, member_id: str, features: dict[str, Any], language: str) -> tuple[ScoreReason, ...]:
    scores = workspace.scores
    rows = scores.filter(scores.member_id == member_id).order_by("model").to_pyarrow().to_pylist()
    labels, currency = Labels(language), workspace.config.project.currency
    return score_reasons(rows, workspace.models, features, labels, currency)


def _journey(workspace: Workspace, member_id: str) -> tuple[dict[str, Any], ...]:
    events = workspace.tables.interactions
    seen = events.filter(events.member_id == member_id).select(
        at="occurred_at", what="event", where="channel", subject=events.order_id.coalesce(events.product_id)
    )
    orders = workspace.tables.orders
    bought = orders.filter(orders.member_id == member_id).select(
        at="ordered_at", what=orders.status, where="channel", subject="order_id"
    )
    both = bought.mutate(what="order " + bought.what).union(seen)
    newest = both.order_by([both["at"].desc(), "what", "where", "subject"]).limit(JOURNEY_ROWS)
    return tuple(newest.to_pyarrow().to_pylist())


def _campaigns(workspace: Workspace, member_id: str) -> tuple[dict[str, Any], ...]:
    audiences = workspace.tables.audiences
    rows = audiences.filter(audiences.member_id == member_id)
    chosen = rows.select("audience_id", "campaign_id", "wave", "status", "arm", "stratum", "reason", "assigned_at")
    return tuple(chosen.order_by("assigned_at", "audience_id").to_pyarrow().to_pylist())
