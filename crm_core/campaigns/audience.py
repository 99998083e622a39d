"""`freeze`: the list of one wave as of a date – everybody considered, with arm or reason, stored and hashed.

The list is a pure function of (snapshot, settings, as_of, salt, suppression time); the ledger keeps exactly
these, so that `rebuild` makes it again. A wave is frozen once: the same call gives the same list back, other
content is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
from sqlalchemy import select

from crm_core.campaigns.allocation import allocate, stratum_of
from crm_core.campaigns.funnel import (
    Rule,
    Step,
    capped,
    consenting,
    count_by,
    in_live_campaigns,
    steps,
    suppressed,
    with_contact,
    with_reasons,
)
from crm_core.campaigns.payload import suppressed_hashes
from crm_core.campaigns.pinned import staged
from crm_core.campaigns.selection import candidates, needed
from crm_core.config.campaigns import CONTROL, CampaignSettings
from crm_core.errors import InputError
from crm_core.measures import features
from crm_core.store.engine import count
from crm_core.store.hashing import table_hash
from crm_core.store.ledger import Audience, Ledger, now

if TYPE_CHECKING:
    from crm_core.config import Config
    from crm_core.store import Lake, Tables, Vault

ROW = ("audience_id", "campaign_id", "wave", "member_id", "person_id", "arm", "stratum", "status", "reason", "assigned_at")


@dataclass(frozen=True)
class Frozen:
    """A frozen list: what the ledger keeps of it, and whether this call made it."""

    audience_id: str
    campaign: str
    wave: int
    as_of: date
    snapshot_id: int
    rows_hash: str
    counts: dict[str, Any]
    funnel: tuple[Step, ...]
    new: bool

    @classmethod
    def of(cls, row: Audience, new: bool) -> Frozen:
        """From the ledger's row."""
        funnel = tuple(Step(**step) for step in row.detail["funnel"])
        return cls(row.audience_id, row.campaign, row.wave, row.as_of, row.snapshot_id, row.rows_hash, row.counts, funnel, new)


def audience_id_of(campaign: str, wave: int, as_of: date) -> str:
    """The list's name: what it is, readable; unique because a wave is frozen once per date."""
    if len(campaign) > 40:
        campaign = f"{campaign[:31]}-{hashlib.sha256(campaign.encode()).hexdigest()[:8]}"
    return f"{campaign}-w{wave}-{as_of:%Y%m%d}"


def salt_of(campaign: str, wave: int, settings: CampaignSettings) -> str:
    """The salt of the draw: the campaign's own, or its name; another wave draws anew."""
    return f"{settings.salt or campaign}/{wave}"


def rules_of(
    tables: Tables, config: Config, vault: Vault, campaign: str, settings: CampaignSettings, own: str, until: datetime
) -> list[Rule]:
    """The exclusions that `settings` switch on, in the order in which they are applied.

    `own` is the list's id, which does not exclude itself; `until` (naive UTC) is where the suppression list
    is read.
    """
    chosen, kind, channel, instant = (settings.exclusions, settings.contact_kind, settings.channel, tables.instant)
    rules: list[Rule] = []
    if chosen.consent:
        rules.append(Rule("no_consent", "keeps", consenting(tables.consents, channel, instant)))
    if chosen.contact and kind:
        rules.append(Rule("no_contact", "keeps", with_contact(tables.identities, kind)))
    if chosen.suppressed and kind:
        hashes = suppressed_hashes(vault, kind, until)
        rules.append(Rule("suppressed", "removes", suppressed(tables.identities, hashes, kind)))
    if chosen.live_campaigns:
        windows = {name: config.campaign(name).window_days for name in config.campaign_names()}
        rules.append(Rule("in_other_campaign", "removes", in_live_campaigns(tables.audiences, windows, instant, own)))
    if chosen.contact_cap:
        full = capped(tables.interactions, channel, instant, chosen.contact_cap_days, chosen.contact_cap)
        rules.append(Rule("contact_cap", "removes", full))
    return rules


def audience_rows(
    members: ir.Table, rules: list[Rule], settings: CampaignSettings, campaign: str, wave: int, as_of: date, instant: datetime
) -> ir.Table:
    """Every selected member with arm or reason: the columns `ROW`.

    `members` has member_id, person_id and the features named in strata, one row per member. Rejected members
    have no arm; the held-out ones have arm 'control' and status 'held_out'. `assigned_at` is the last
    microsecond of `as_of`.
    """
    reasoned = with_reasons(members.mutate(stratum=stratum_of(members, settings.strata)), rules)
    eligible = reasoned.filter(reasoned.reason.isnull()).select("member_id", "person_id", "stratum")
    drawn = allocate(eligible, settings.shares, salt_of(campaign, wave, settings)).select(_drawn="member_id", arm="arm")
    joined = reasoned.left_join(drawn, reasoned.member_id == drawn._drawn)
    status = ibis.cases((joined.reason.notnull(), "rejected"), (joined.arm == CONTROL, "held_out"), else_="selected")
    return joined.mutate(
        audience_id=ibis.literal(audience_id_of(campaign, wave, as_of)),
        campaign_id=ibis.literal(campaign),
        wave=ibis.literal(wave, "int64"),
        status=status,
        assigned_at=ibis.literal(instant - timedelta(microseconds=1)).cast("timestamp(6)"),
    ).select(*ROW)


@dataclass(frozen=True)
class Computed:
    """A list as it comes out of its inputs: `rows` (columns `ROW`, in a temporary table) and its rules; `everybody` is how many
    members the segment was chosen from.
    """

    rows: ir.Table
    everybody: int
    rules: list[Rule]
    tables: Tables
    config: Config
    campaign: str
    wave: int
    until: datetime

    @property
    def settings(self) -> CampaignSettings:
        """The campaign's settings."""
        return self.config.campaign(self.campaign)


@contextmanager
def computed(
    tables: Tables, config: Config, lake: Lake, vault: Vault, campaign: str, wave: int, until: datetime
) -> Iterator[Computed]:
    """The list of a wave as of `tables`, not stored. `until` (naive UTC) is where refusals are read."""
    settings = config.campaign(campaign)
    own = audience_id_of(campaign, wave, tables.as_of)
    rules = rules_of(tables, config, vault, campaign, settings, own, until)
    known = features(tables, needed(config, campaign, settings))
    with ExitStack() as work:
        known = work.enter_context(staged(lake.engine, known))
        everybody = count(known)
        members = work.enter_context(staged(lake.engine, candidates(known, config, campaign, settings, tables)))
        lazy = audience_rows(members, rules, settings, campaign, wave, tables.as_of, tables.instant)
        rows = work.enter_context(staged(lake.engine, lazy))
        yield Computed(rows, everybody, rules, tables, config, campaign, wave, until)


def freeze(
    tables: Tables, config: Config, lake: Lake, ledger: Ledger, vault: Vault, campaign: str, *, wave: int = 1,
    actor: str = "crm",
) -> Frozen:  # fmt: skip
    """Freezes wave `wave` of `campaign` as of `tables` and stores it.

    Frozen again with the same content, the stored list is given back; with other content (settings or data
    have changed) InputError. Raises UnknownName for a campaign, segment or feature that is not known,
    InputError when nobody is in it.
    """
    if tables.snapshot is None:
        raise InputError("the lake has no data yet, so nobody can be selected; run: crm ingest")
    known: Audience | None = ledger.get(Audience, audience_id_of(campaign, wave, tables.as_of))
    until = datetime.fromisoformat(known.detail["suppressed_until"]) if known else min(tables.instant, now())
    with computed(tables, config, lake, vault, campaign, wave, until) as found:
        rows_hash = table_hash(found.rows)
        if known is not None:
            return _again(known, rows_hash)
        row = _record(found, rows_hash)
        _stop_on_another_date(row, ledger)
        rival = _store(found.rows, row, lake, ledger, config, actor)
        return Frozen.of(row, new=True) if rival is None else _again(rival, rows_hash)


def _again(known: Audience, rows_hash: str) -> Frozen:
    if known.rows_hash != rows_hash:
        raise InputError(
            f"{known.audience_id} is frozen already and would differ now, because settings or data have "
            f"changed since; use the frozen list, or freeze wave {known.wave + 1}"
        )
    return Frozen.of(known, new=False)


def _stop_on_another_date(row: Audience, ledger: Ledger) -> None:
    """A wave has one list: two of them would be judged as one, with the money of whoever is in both counted twice."""
    with ledger.session() as session:
        ours = session.scalars(select(Audience).where(Audience.campaign == row.campaign)).all()
    for other in ours:
        if other.wave == row.wave and other.as_of != row.as_of:
            raise InputError(
                f"wave {row.wave} of '{row.campaign}' is frozen already, as of {other.as_of} ({other.audience_id}); "
                f"use that list, or freeze wave {max(each.wave for each in ours) + 1}"
            )


def _record(found: Computed, rows_hash: str) -> Audience:
    settings, tables, rows = found.settings, found.tables, found.rows
    reasons = count_by(rows, "reason")
    drawn = rows.filter(rows.arm.notnull())
    arms, persons = count_by(drawn, "arm"), count_by(drawn.select("person_id", "arm").distinct(), "arm")
    selected = sum(reasons.values())
    if not selected:
        raise InputError(
            f"segment '{settings.segment}' of campaign '{found.campaign}' has no members as of {tables.as_of}; nothing to freeze"
        )
    assert tables.snapshot is not None
    return Audience(
        audience_id=audience_id_of(found.campaign, found.wave, tables.as_of),
        campaign=found.campaign,
        wave=found.wave,
        as_of=tables.as_of,
        snapshot_id=tables.snapshot.id,
        config_hash=found.config.hash(),
        salt=salt_of(found.campaign, found.wave, settings),
        rows_hash=rows_hash,
        frozen_at=now(),
        counts={
            "selected": selected,
            "eligible": sum(arms.values()),
            "held_out": arms.get(CONTROL, 0),
            "arms": arms,
            "persons": persons,
            "rejected": {reason: n for reason, n in reasons.items() if reason is not None},
        },
        detail={
            "funnel": [step.to_dict() for step in funnel_of(found, reasons)],
            "segment": settings.segment,
            "suppressed_until": found.until.isoformat(),
            "strata": list(settings.strata),
            "time_zone": tables.zone.key,
            "shares": {arm: str(share) for arm, share in settings.shares.items()},
        },
    )


def funnel_of(found: Computed, reasons: Mapping[str | None, int]) -> list[Step]:
    """Every step from all members to those who may be written to, the segment first."""
    return [Step(found.settings.segment, found.everybody, sum(reasons.values())), *steps(reasons, found.rules)]


def _store(rows: ir.Table, row: Audience, lake: Lake, ledger: Ledger, config: Config, actor: str) -> Audience | None:
    """Stores the list; gives back, and leaves as it is, the one that another process froze in the meantime."""
    with ledger.transaction() as session:
        ledger.keep_config(session, row.config_hash, config.texts())
    with lake.write(f"freeze {row.audience_id}", actor) as writer:
        rival: Audience | None = ledger.get(Audience, row.audience_id)
        if rival is not None:
            return rival
        writer.upsert("audiences", rows.mutate(_effective_at=rows.assigned_at), load_id=row.audience_id)
        writer.record(row)
        detail = {"campaign": row.campaign, "wave": row.wave, "as_of": str(row.as_of), "rows_hash": row.rows_hash}
        writer.audit("freeze", row.audience_id, detail | {"counts": row.counts})
    return None


def stored_rows(audience_id: str, lake: Lake) -> ir.Table:
    """The list as it is stored now; no rows when it was removed."""
    table = lake.table("audiences")
    return table.filter(table.audience_id == audience_id).select(*ROW)
