"""What the ledger knows of campaigns: frozen lists and hand-offs, found by the names that people use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select

from crm_core.errors import InputError, unknown
from crm_core.store.ledger import Audience, Export

if TYPE_CHECKING:
    from crm_core.store import Ledger


def audience_of(ledger: Ledger, campaign: str, wave: int | None = None, as_of: date | None = None) -> Audience:
    """The newest list of `campaign`, of one wave or date when given. Raises InputError when nothing was
    frozen.
    """
    query = select(Audience).where(Audience.campaign == campaign)
    if wave is not None:
        query = query.where(Audience.wave == wave)
    if as_of is not None:
        query = query.where(Audience.as_of == as_of)
    with ledger.session() as session:
        found = session.scalars(query.order_by(Audience.as_of.desc(), Audience.wave.desc())).first()
    if found is None:
        asked = (f" wave {wave}" if wave is not None else "") + (f" as of {as_of}" if as_of else "")
        raise InputError(f"no list of campaign '{campaign}'{asked} was frozen; run: crm campaign freeze {campaign}")
    return found


def audience_named(ledger: Ledger, audience_id: str) -> Audience:
    """The list `audience_id`. Raises UnknownName with the nearest one."""
    with ledger.session() as session:
        found = session.get(Audience, audience_id)
        if found is None:
            raise unknown("audience", audience_id, session.scalars(select(Audience.audience_id)).all(), "the ledger")
        return found


def exports_of(ledger: Ledger, audience_id: str) -> Sequence[Export]:
    """Hand-offs of a list, newest first."""
    query = select(Export).where(Export.audience_id == audience_id).order_by(Export.created_at.desc())
    with ledger.session() as session:
        return session.scalars(query).all()


def export_named(ledger: Ledger, export_id: str) -> Export:
    """The hand-off `export_id`. Raises UnknownName with the nearest one."""
    with ledger.session() as session:
        found = session.get(Export, export_id)
        if found is None:
            raise unknown("export", export_id, session.scalars(select(Export.export_id)).all(), "the ledger")
        return found


def with_renewed(ledger: Ledger, export_id: str) -> list[Export]:
    """The hand-off and those that it renews, the first of them last: one list, so one message to each.

    Raises UnknownName with the nearest one.
    """
    found = [export_named(ledger, export_id)]
    while earlier := found[-1].detail["header"]["renews"]:
        found.append(export_named(ledger, earlier))
    return found


def first_hand_off(ledger: Ledger, campaign: str, wave: int) -> datetime | None:
    """When the first file of a wave went out (naive UTC), None when none was. A hand-off that another renewed before the message
    was sent to anybody did not go out.
    """
    made = exports_of_campaign(ledger, campaign, wave)
    out = {row.export_id for row in _last(made)}
    for row in reversed(made):
        if row.export_id in out and row.detail.get("sent_before") and row.detail["header"]["renews"]:
            out.add(row.detail["header"]["renews"])
    return min((row.hand_off_at for row in made if row.export_id in out), default=None)


def handed_cost(ledger: Ledger, campaign: str, wave: int) -> dict[str, float]:
    """What the messages of a wave cost per arm, from its hand-offs; of renewed ones only the last counts, with what the
    messages cost that had gone out before it. Empty when unpriced.
    """
    total: dict[str, float] = {}
    for row in _last(exports_of_campaign(ledger, campaign, wave)):
        for kind in ("cost_by_arm", "cost_sent_before"):
            for arm, cost in (row.counts.get(kind) or {}).items():
                total[arm] = total.get(arm, 0.0) + cost
    return total


def exports_of_campaign(ledger: Ledger, campaign: str, wave: int | None = None) -> Sequence[Export]:
    """Hand-offs of a campaign's lists, or of one wave, the newest last."""
    query = select(Export).join(Audience, Audience.audience_id == Export.audience_id).where(Audience.campaign == campaign)
    if wave is not None:
        query = query.where(Audience.wave == wave)
    with ledger.session() as session:
        return session.scalars(query.order_by(Export.created_at)).all()


def never_out(ledger: Ledger, campaign: str, wave: int) -> bool:
    """Whether a list was frozen here and never handed over."""
    query = select(Audience.audience_id).where(Audience.campaign == campaign, Audience.wave == wave)
    with ledger.session() as session:
        frozen = session.scalars(query).first()
    return frozen is not None and not exports_of_campaign(ledger, campaign, wave)


def _last(made: Sequence[Export]) -> list[Export]:
    """Those that no other renews."""
    renewed = {row.detail["header"]["renews"] for row in made}
    return [row for row in made if row.export_id not in renewed]
