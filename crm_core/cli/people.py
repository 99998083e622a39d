"""Commands about members and groups of them: member, erase, segment."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from crm_core.cli.output import actor, local, open_workspace, say, table, working
from crm_core.errors import InputError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from crm_core.member import MemberCard
    from crm_core.segments import SegmentReason, Trait
    from crm_core.tags import Reason

MOST_SHOWN = 8
AS_OF = typer.Option("", "--as-of", help="YYYY-MM-DD; default: the last day that the data cover")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (member, erase, segment):
        app.command()(command)


def member(
    member_id: str = typer.Argument("", help="pseudonymous member id"),
    account: str = typer.Option("", "--account", help="SOURCE:ID instead of the member id"),
    as_of: str = AS_OF,
) -> None:
    """One member whole: facts, segments and tags with their reasons, journey, campaigns and arms."""
    from crm_core.member import member_card, member_of_account

    if bool(member_id) == bool(account):
        raise InputError("name one member: crm member MEMBER_ID, or crm member --account SOURCE:ID")
    workspace = open_workspace(as_of)
    with working("looking the member up"):
        card = member_card(workspace, member_id or member_of_account(workspace, account)[0], workspace.config.project.language)
    project = workspace.config.project
    say(asdict(card), _card_lines(card, project.zone, project.currency, project.language))


def erase(
    member_id: str = typer.Argument("", help="pseudonymous member id"),
    account: str = typer.Option("", "--account", help="SOURCE:ID instead of the member id"),
) -> None:
    """Erase a member from vault, exports, refused rows and inbox, for ever; prints the certificate."""
    from crm_core.erase import erase as forget
    from crm_core.member import member_of_account

    if bool(member_id) == bool(account):
        raise InputError("name one member: crm erase MEMBER_ID, or crm erase --account SOURCE:ID")
    workspace = open_workspace()
    named = None
    if account:
        member_id, named = member_of_account(workspace, account)
    with working("erasing"):
        made = forget(workspace, member_id, account=named, actor=actor())
        workspace.renew_links(actor())
    again = [f"this member was erased before, on {made.first_erased_at[:16]} UTC"] if made.first_erased_at else []
    exports = [
        f"  export {each.export_id}: {'payload removed' if each.removed else f'{each.lines} lines'}" for each in made.exports
    ]
    shared = [f"{made.also_held_by_members} other members state one of these contacts; it stays theirs, but nobody writes to it"]
    waiting = [f"{made.inbox_files_waiting} files wait in the inbox; rows of this member in them will be refused"]
    if made.inbox_files_left:
        waiting += [
            "load or delete these, and erase again:",
            *(f"  {name}: {held}" for name, held in made.inbox_files_left.items()),
        ]
    say(asdict(made), [
        f"certificate {made.certificate}, {made.erased_at:%Y-%m-%d %H:%M} UTC, by {made.actor}", *again,
        "removed: " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in made.removed.items()), *exports,
        "suppressed for ever: " + (", ".join(f"{count} {kind}" for kind, count in made.suppressed.items()) or "as before"),
        *(shared if made.also_held_by_members else []), *(waiting if made.inbox_files_waiting else []),
        f"audit line {made.audit_chain[:16]}, refusals {made.suppression_version[:16]}",
    ])  # fmt: skip


def segment(name: str = typer.Argument(..., help="scheme:segment, or the bare name"), as_of: str = AS_OF) -> None:
    """Size, definition, what distinguishes it, overlap, and movement since the last stored date."""
    from crm_core.segments import describe, distinctive, growth, movement, overlap, redefined, resolve
    from crm_core.store import count

    workspace = open_workspace(as_of)
    settings, project = workspace.config.segments, workspace.config.project
    scheme, chosen = resolve(name, settings)
    with working("counting"):
        shown = describe(f"{scheme}:{chosen}", settings, project.language, workspace.segment_basis)
        assigned = workspace.segments
        ours = assigned.filter(assigned.scheme == scheme, assigned.segment == chosen)
        size = count(ours)
        apart = [] if scheme == "rule" else [scheme]  # segments of one scheme exclude each other, but rules
        rest = assigned.filter(~assigned.scheme.isin([*apart, "rfm5", "rfm3"]))
        common = overlap(ours, rest).limit(MOST_SHOWN).to_pyarrow().to_pylist()
        features, tags = workspace.features, workspace.tags
        found = [distinctive(rows, ours, min_cell=project.min_cell).get(chosen, []) for rows in (features, tags)]
        traits = [each for one in found for each in one]
        traits = sorted(traits, key=lambda each: -abs(each.difference))[:MOST_SHOWN]
        moves, grown, changed = [], [], False
        before = workspace.previous_date()
        if before is not None:
            other = redefined(workspace.tables.result("segment_models", before), settings)
            changed = bool({scheme, f"{scheme}:{chosen}"} & other)
        if before is not None and not changed:
            then = workspace.tables.result("member_segments", before).select("member_id", "scheme", "segment")
            both = then.filter(then.scheme == scheme), assigned.filter(assigned.scheme == scheme)
            moved = movement(*both)
            touched = (moved.from_segment == chosen) | (moved.to_segment == chosen)
            moves = moved.filter(touched).to_pyarrow().to_pylist()
            grown = growth(*both).filter(lambda t: t.segment == chosen).to_pyarrow().to_pylist()
    facts = {
        "segment": shown.reference, "title": shown.title, "definition": shown.definition, "members": size,
        "as_of": workspace.as_of.isoformat(), "previous": before.isoformat() if before else None,
        "redefined": changed, "movement": moves, "growth": grown[0] if grown else None, "overlap": common,
        "distinctive": [asdict(each) for each in traits],
    }  # fmt: skip
    since = ["movement: no segments of an earlier date are stored"]
    if changed:
        since = [f"movement: not told, as other settings decided the segment on {before}"]
    elif before:
        told = [f"{each['joined']:,} joined, {each['left']:,} left, {each['stayed']:,} stayed" for each in grown]
        since = [f"movement since {before}: {''.join(told)}", *table(moves, ["from_segment", "to_segment", "members"])]
    also = [{"segment": each["second"], "members": each["members"], "jaccard": f"{each['jaccard']:.2f}"} for each in common]
    lines = [
        f"{shown.reference} {shown.title}: {size:,} members as of {workspace.as_of}", shown.definition,
        "what distinguishes them from all members", *table([_trait(each) for each in traits]),
        "of them also in", *table(also), *since,
    ]  # fmt: skip
    say(facts, lines)


def _trait(trait: Trait) -> dict[str, str]:
    share = trait.value is not None
    return {
        "what": trait.name if trait.value in (None, "true") else f"{trait.name} = {trait.value}",
        "segment": f"{trait.segment:.0%}" if share else f"{trait.segment:,.2f}",
        "all members": f"{trait.everybody:.0%}" if share else f"{trait.everybody:,.2f}",
        "difference": f"{trait.difference:+.2f} σ",
    }


def _card_lines(card: MemberCard, zone: ZoneInfo, currency: str, language: str) -> list[str]:
    from crm_core.measures import FEATURES

    units = {name: feature.unit.replace("currency", currency) for name, feature in FEATURES.items()}
    facts = [f"  {name}{_unit(units.get(name, ''))}: {_shown(value, zone)}" for name, value in card.features.items()]
    segments = [f"  {each.reference} {each.title}: {_reason(each)}" for each in card.segments]
    tags = [
        f"  {reason.tag} = {_shown(reason.value, zone)}: {_why(reason, zone, language)}"
        for reason in card.tags
        if reason.value is not None
    ]
    scores = [f"  {score.text}" for score in card.scores]
    journey = [
        f"  {local(row['at'], zone)} {row['what']} {row['where'] or ''} {row['subject'] or ''}".rstrip() for row in card.journey
    ]
    campaigns = [{**row, "assigned_at": local(row["assigned_at"], zone)} for row in card.campaigns]
    person = [f"person {card.person_id}, this membership alone"]
    if card.other_members:
        also = f"{len(card.other_members):,} more: {', '.join(card.other_members)}"
        person = [f"person {card.person_id}, by {', '.join(card.person_keys)}; memberships of the same person, {also}"]
    return [
        f"member {card.member_id} as of {card.as_of}; times of {zone}", *person, "facts", *facts, "segments", *segments,
        "tags", *tags, "scores", *scores, "journey, newest first", *journey, "campaigns", *table(campaigns),
    ]  # fmt: skip


def _unit(unit: str) -> str:
    return "" if unit in ("", "UTC", "share", "1–12") else f" ({unit})"


def _shown(value: Any, zone: ZoneInfo) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return local(value, zone)
    return f"{value:,.2f}".removesuffix(".00") if isinstance(value, float) else str(value)


def _reason(reason: SegmentReason) -> str:
    """The sentences that hold for the member, with the values that they were decided on where a rule decided."""
    said = "; ".join(sentence for sentence, held in reason.because if held)
    if not reason.reference.startswith("rule:"):
        return said
    values = ", ".join(f"{name} {'not known' if value is None else value}" for name, value in reason.values.items())
    return f"{said} ({values})" if values else said


def _why(reason: Reason, zone: ZoneInfo, language: str) -> str:
    values = ", ".join(f"{name} {_shown(value, zone)}" for name, value in reason.features.items())
    # a statistic has no conditions, so no parts
    said = reason.said(language) or ("kept from an earlier date" if reason.kept else "no condition holds")
    held = f"; WITHHELD on this date: {reason.withheld}" if reason.withheld else ""
    return (f"{said} ({values})" if reason.fired or reason.parts else f"from {values}") + held
