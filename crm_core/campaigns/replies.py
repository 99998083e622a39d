"""`receipts`: what the platform reports back becomes events of the members concerned, and refusals become law
at once.

Rows are matched by the contact's HMAC against the members of the hand-off. An event's id follows from what it
says, so the same file, or an overlapping one, brings nothing twice. A refusal revokes the consent and
suppresses the contact itself.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crm_core.campaigns.funnel import count_by
from crm_core.campaigns.receipts_file import file_hash, read_receipts
from crm_core.campaigns.records import audience_named, with_renewed
from crm_core.config import Config
from crm_core.config.platforms import PlatformSettings
from crm_core.errors import InputError, RunFailed
from crm_core.ingest.casts import masked
from crm_core.ingest.writing import known_files
from crm_core.schema import TABLES
from crm_core.store import count, now
from crm_core.store.ledger import Load, LoadFile

if TYPE_CHECKING:
    from crm_core.store import Lake, Ledger, Vault

EVENT = ("event_id", "member_id", "occurred_at", "event", "channel", "campaign_id", "detail")
STRANGER = "not in this export"
KINDS = {"sms": "phone", "email": "email"}


@dataclass(frozen=True)
class Receipts:
    """One receipts file: read = accepted + duplicate + rejected; events and refusals that were new. `load_id` is empty where the
    file brought nothing new.
    """

    load_id: str
    read: int
    accepted: int
    duplicate: int
    rejected: dict[str, int]
    events: dict[str, int]
    refusals: int

    def __post_init__(self) -> None:
        if self.read != self.accepted + self.duplicate + sum(self.rejected.values()):
            raise RunFailed(f"the receipts do not add up: {self}")


def receipts(
    path: Path, export_id: str, config: Config, lake: Lake, ledger: Ledger, vault: Vault, exports_dir: Path, *, actor: str = "crm"
) -> Receipts:
    """Takes a receipts file of the hand-off `export_id` into lake and vault.

    A 'delivered' or 'failed' implies 'sent', which is added with the same time where it is not known. Where the hand-off
    renews others, their members count too, and what was said of them before is known. Rows that cannot be taken are kept as
    rejects of the load, masked; a refusal among them suppresses its contact all the same. Raises UnknownName for an export
    that was never made, InputError for a file that cannot be read or a platform that sends no messages.
    """
    made = with_renewed(ledger, export_id)
    row, first = made[0], made[-1].export_id
    audience = audience_named(ledger, row.audience_id)
    platform, zone = config.platform(row.platform), ZoneInfo(audience.detail["time_zone"])
    if platform.channel not in KINDS:
        raise InputError(
            f"platform '{row.platform}' takes account ids and sends no messages, so it has no receipts; load replies of the "
            "shop's own channels with crm ingest"
        )
    table, unread = read_receipts(path, platform.receipts, zone)
    folder = exports_dir / audience.campaign
    snapshot = folder / export_id / "snapshot.parquet"
    if not snapshot.is_file():
        raise InputError(f"the files of export {export_id} are gone ({snapshot}), so nobody can be matched; export it again")
    held = [kept for each in made if (kept := folder / each.export_id / "snapshot.parquet").is_file()]
    members = ibis.memtable(pa.concat_tables([pq.read_table(kept, columns=["member_id"]) for kept in held])).distinct()
    sha256, source = file_hash(path), f"receipts:{row.platform}"
    load_id = f"receipts-{sha256[:12]}-{now():%Y%m%d%H%M%S}-{secrets.token_hex(2)}"
    with lake.write(f"receipts of {export_id}", actor) as writer:
        members = writer.stage(members)
        said = writer.stage(_hashed(table, platform, vault, lake, members))
        hits = writer.stage(_hits(_matched(said, members, platform, lake), first, writer.table("interactions")))
        outcome = count_by(hits, "outcome")
        strangers = ibis.memtable(table).anti_join(hits, "row_number").mutate(reason=ibis.literal(STRANGER))
        rejected = writer.stage(ibis.memtable(unread).union(strangers))
        fresh = writer.stage(_events(hits, export_id, first, audience.campaign, platform.channel, writer.table("interactions")))
        untimed = _hashed(unread.filter(pc.equal(unread["event"], "unsubscribed")), platform, vault, lake, members)
        refusing = said.select("contact_hash", "event").union(untimed.select("contact_hash", "event"))
        refusals = _refuse(refusing, KINDS[platform.channel], export_id, vault)
        found = Receipts(
            load_id, table.num_rows + unread.num_rows, outcome.get("accepted", 0), outcome.get("duplicate", 0),
            count_by(rejected, "reason"), count_by(fresh, "event"), refusals,
        )  # fmt: skip
        # read again, a file that brings nothing new is no load of its own
        if found.events or (found.rejected and sha256 not in known_files(ledger, source)):
            if found.events:
                writer.upsert("interactions", fresh, load_id=load_id)
            revoked = _revocations(fresh, export_id)
            if count(revoked):
                writer.upsert("consents", revoked, load_id=load_id)
            if found.rejected:
                writer.append("rejects", _rejects(rejected, load_id, path))
            writer.record(*_records(found, source, path, sha256))
        else:
            found = replace(found, load_id="")
        if found.events or refusals:
            writer.audit("receipts", export_id, {"load_id": load_id, "events": found.events, "refusals": refusals})
    return found


def _rejects(rejected: ir.Table, load_id: str, path: Path) -> ir.Table:
    """Rows of the lake's `rejects`, contacts masked as in those of other loads."""
    shown = ibis.struct(
        {"contact": masked(rejected.contact), "event": rejected.event, "occurred_at": rejected.occurred_at.cast("string")}
    )
    return rejected.select(
        load_id=ibis.literal(load_id), file=ibis.literal(path.name[:300]), row_number="row_number", field=ibis.literal(""),
        reason="reason", row=shown.cast("json").cast("string"),
    ).order_by("row_number")  # fmt: skip


def _hashed(table: pa.Table, platform: PlatformSettings, vault: Vault, lake: Lake, members: ir.Table) -> ir.Table:
    """The rows of the file with contact_hash: of the forms that a number may be in, the one that a member of the hand-off has,
    else one that any member has, else the likeliest.
    """
    kind = KINDS[platform.channel]
    written = ibis.memtable(table.filter(pc.not_equal(table["contact"], "")))
    forms = ibis.array(_in_full(written.contact, kind, platform))
    tried = written.mutate(contact=forms.unnest(), _place=ibis.range(forms.length()).unnest())
    hashed = vault.keyed(tried, {"contact_hash": (kind, "contact")})
    identities = lake.table("identities")
    known = identities.filter(identities.id_kind == kind).select("member_id", _known="id_value_hash")
    ours = known.semi_join(members, "member_id").select("_known").distinct().mutate(_rank=ibis.literal(0))
    others = known.anti_join(members, "member_id").select("_known").distinct().mutate(_rank=ibis.literal(1))
    ranks = ours.union(others).group_by("_known").agg(_rank=lambda t: t._rank.min())
    ranked = hashed.left_join(ranks, hashed.contact_hash == ranks._known)
    order = [ranked._rank.fill_null(2), ranked._place]
    first = ibis.row_number().over(group_by="row_number", order_by=order)
    return ranked.mutate(_first=first).filter(lambda t: t._first == 0).drop("contact", "_place", "_known", "_rank", "_first")


def _matched(hashed: ir.Table, members: ir.Table, platform: PlatformSettings, lake: Lake) -> ir.Table:
    """The rows whose contact belongs to a member of the hand-off: row_number, member_id, contact_hash, event,
    occurred_at.
    """
    kind = KINDS[platform.channel]
    identities = lake.table("identities")
    known = identities.filter(identities.id_kind == kind).semi_join(members, "member_id")
    # a number that two of them have had belongs to whom it was seen with last
    newest = known.mutate(
        _place=ibis.row_number().over(group_by="id_value_hash", order_by=[ibis.desc("first_seen_at"), "member_id"])
    )
    owners = newest.filter(newest._place == 0).select("member_id", contact_hash="id_value_hash")
    return hashed.join(owners, "contact_hash").select("row_number", "member_id", "contact_hash", "event", "occurred_at")


def _in_full(contact: ir.StringValue, kind: str, platform: PlatformSettings) -> list[Any]:
    """The forms as which the vault may know a contact (E.164), the likeliest first: platforms answer in the form that they were
    given or in a longer one, and some put a nought before a national number.
    """
    if kind != "phone":
        return [contact.lower()]
    bare = contact.re_replace(r"^(?:\+|00)", "")
    whole, marked = ibis.literal("+") + bare, contact != bare
    national = [ibis.literal(f"+{code}") + number for code in platform.countries for number in (bare, bare.re_replace("^0", ""))]
    if platform.phone_format != "national" or not national:
        return [whole, *national]
    return [marked.ifelse(whole, national[0]), *national, whole]


def _hits(matched: ir.Table, first: str, interactions: ir.Table) -> ir.Table:
    """`matched` with event_id (of the `first` hand-off) and outcome: 'accepted', or 'duplicate' when the lake or an earlier
    row says the same.
    """
    named = matched.mutate(event_id=_event_id(matched, first, matched.event))
    placed = named.mutate(_place=ibis.row_number().over(group_by="event_id", order_by="row_number"))
    known = interactions.select(_known="event_id")
    joined = placed.left_join(known, placed.event_id == known._known)
    again = joined._known.notnull() | (joined._place > 0)
    outcome = again.ifelse(ibis.literal("duplicate"), ibis.literal("accepted"))
    return joined.mutate(outcome=outcome).drop("_known", "_place")


def _event_id(rows: ir.Table, first: str, event: Any) -> ir.StringValue:
    # a message is sent, delivered or failed once for each member of a hand-off; replies may come several
    # times
    once = event.isin(["sent", "delivered", "failed"]) if isinstance(event, ir.Value) else ibis.literal(True)
    when = once.ifelse(ibis.literal(""), rows.occurred_at.epoch_seconds().cast("string"))
    parts = [ibis.literal(first), rows.member_id, event if isinstance(event, ir.Value) else ibis.literal(event), when]
    return ibis.literal("\x1f").join(parts).hexdigest("sha256")[:32]


def _events(hits: ir.Table, export_id: str, first: str, campaign: str, channel: str, interactions: ir.Table) -> ir.Table:
    """The new rows of `interactions`: what was accepted, and the 'sent' that delivered and failed imply."""
    said = hits.filter(hits.outcome == "accepted").select("event_id", "member_id", "event", "occurred_at")
    ended = said.filter(said.event.isin(["delivered", "failed"]))
    implied = ended.group_by("member_id").aggregate(occurred_at=ended.occurred_at.min())
    implied = implied.select("member_id", "occurred_at", event_id=_event_id(implied, first, "sent"), event=ibis.literal("sent"))
    implied = implied.anti_join(interactions, "event_id").anti_join(said, "event_id")
    rows = said.union(implied.select(*said.columns))
    empty = {
        name: ibis.null(column.type)
        for name, column in ((c.name, c) for c in TABLES["interactions"].columns)
        if name not in (*EVENT, "load_id", "recorded_at")
    }
    return rows.mutate(
        channel=ibis.literal(channel),
        campaign_id=ibis.literal(campaign),
        detail=ibis.literal(f"export {export_id}"),
        _effective_at=rows.occurred_at,
        **empty,
    )


def _refuse(said: ir.Table, kind: str, export_id: str, vault: Vault) -> int:
    """Suppresses the contacts that refused; before anything is published, so that a refusal is never lost. Those of
    contacts that are not in this export count too: a reply may come after the number changed hands or lists.
    """
    refusing = said.filter(said.event == "unsubscribed").select("contact_hash").distinct().order_by("contact_hash")
    hashes = refusing.to_pyarrow()["contact_hash"].to_pylist()
    rows = [{"kind": kind, "value_hmac": each, "reason": "unsubscribed", "source": f"export {export_id}"} for each in hashes]
    return vault.suppress(rows)


def _revocations(fresh: ir.Table, export_id: str) -> ir.Table:
    """Rows of `consents`: the channel's consent of those who refused ends at that moment."""
    refusing = fresh.filter(fresh.event == "unsubscribed")
    rows = refusing.group_by("member_id", "channel").aggregate(changed_at=refusing.occurred_at.min())
    return rows.mutate(
        state=ibis.literal("revoked"),
        basis=ibis.null("string"),
        source=ibis.literal(f"reply to export {export_id}"),
        text_version=ibis.null("string"),
        expires_at=ibis.null("timestamp(6)"),
        _effective_at=rows.changed_at,
    )


def _records(found: Receipts, source: str, path: Path, sha256: str) -> tuple[Load, LoadFile]:
    """The load in the ledger, so that `crm loads` lists it and `crm undo` can take it back."""
    moment = now()
    counts: dict[str, Any] = {
        "load_id": found.load_id, "rows_read": found.read, "rows_accepted": found.accepted,
        "rows_duplicate": found.duplicate, "rows_rejected": sum(found.rejected.values()),
    }  # fmt: skip
    load = Load(
        source=source, state="live", started_at=moment, finished_at=moment,
        detail={"rejected": found.rejected, "events": found.events}, **counts,
    )  # fmt: skip
    file = LoadFile(sha256=sha256, name=path.name[:300], feed="receipts", size_bytes=path.stat().st_size, detail={}, **counts)
    return load, file
