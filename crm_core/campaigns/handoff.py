"""`export`: a frozen list becomes the files that leave – payload for the platform, and for us who got what,
who was held out, who was refused and why, all under a manifest.

A hand-off is pinned: its id stands for list, platform, time and the refusals known then. The same call gives
the same bytes for as long as nobody in it has refused or been erased; then it stops, and `renew` makes a new
id that lists the difference.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from crm_core.campaigns.audience import stored_rows
from crm_core.campaigns.files import WrittenFile, manifest_holds, published
from crm_core.campaigns.funnel import count_by
from crm_core.campaigns.manifest import ALREADY_SENT, Job, fill, former
from crm_core.campaigns.payload import hand_off_rows, with_parts
from crm_core.campaigns.pinned import Pinned, pinned, staged
from crm_core.campaigns.records import audience_named, audience_of, exports_of
from crm_core.config import Config
from crm_core.config.campaigns import CampaignSettings
from crm_core.errors import InputError, RunFailed
from crm_core.store import Tables, count, now, table_hash
from crm_core.store.ledger import Audience, Export

if TYPE_CHECKING:
    from crm_core.store import Lake, Ledger, Vault


@dataclass(frozen=True)
class HandedOff:
    """One hand-off: where its files are, how many rows each group has, and whether this call wrote them. `sent_before`: how many
    of those in a renewed one the message was sent to already, as receipts say.
    """

    export_id: str
    audience_id: str
    folder: Path
    hand_off_at: datetime
    counts: dict[str, Any]
    new: bool
    sent_before: int = 0


def export(
    config: Config,
    lake: Lake,
    ledger: Ledger,
    vault: Vault,
    exports_dir: Path,
    campaign: str,
    *,
    audience_id: str = "",
    platform: str = "",
    at: datetime | None = None,
    renew: bool = False,
    only_unsent: bool = False,
    actor: str = "crm",
    purpose: str = "",
) -> HandedOff:
    """Hands the newest frozen list of `campaign` (or `audience_id`) to `platform` (default: the campaign's).

    `at` is the hand-off time, local to the project when it has no zone; default: the campaign's send_at on
    the day after the list's date. Raises InputError when nothing was frozen, or when somebody in the pinned
    hand-off has refused or been erased since, or the list was handed over at another time or to another platform, and `renew`
    is not set; RunFailed when the stored list was
    altered or the files cannot be written. `only_unsent` leaves out whom the receipts say the message was sent
    to, for a list of which the platform took only a part.
    """
    audience = audience_named(ledger, audience_id) if audience_id else audience_of(ledger, campaign)
    job = _job(config, pinned(audience.audience_id, lake, ledger), platform, at, exports_dir)
    erased = vault.erased_version()
    chosen = _rows(job, lake, vault)
    with staged(lake.engine, _without_sent(chosen, job, lake) if only_unsent else chosen) as rows:
        prior = _prior(ledger, job, renew or only_unsent)
        if prior is None or renew or only_unsent:
            who = {"actor": actor, "purpose": purpose or job.settings.purpose}
            sent = rows.semi_join(_sent(job, lake), "member_id")
            made = _new(rows, job, lake, ledger, prior, who, count(sent) if prior is not None else 0)
            if prior is not None and made.new:
                made = replace(made, sent_before=count(sent.filter(sent.reason.isnull())))
        else:
            made = _again(rows, job, lake, prior)
    if vault.erased_version() != erased:  # whoever erases looks at the files after that list is written
        shutil.rmtree(made.folder / "payload", ignore_errors=True)
        raise RunFailed("somebody was erased while the files were being made; make a new hand-off: --renew")
    return made


def _prior(ledger: Ledger, job: Job, replaces: bool) -> Export | None:
    """The hand-off of this list that the new one is, or with `replaces` takes the place of. InputError where the list was handed
    over at another time or to another platform: everybody on it would get the message twice.
    """
    last = next(iter(exports_of(ledger, job.audience.audience_id)), None)
    if last is None or replaces or (last.platform, last.hand_off_at) == (job.platform_name, job.hand_off_at):
        return last
    local = last.hand_off_at.replace(tzinfo=UTC).astimezone(job.zone)
    raise InputError(
        f"this list was handed over to '{last.platform}' for {local:%Y-%m-%d %H:%M} already ({last.export_id}), and everybody on "
        "it would get the message twice; --renew where that one was not sent, --only-unsent where part of it was, or freeze the "
        "next wave"
    )


def _job(config: Config, made_from: Pinned, platform: str, at: datetime | None, exports_dir: Path) -> Job:
    audience, settings, zone = made_from.audience, made_from.settings, made_from.tables.zone
    chosen = platform or settings.platform
    found = config.platform(chosen)
    if found.channel != (settings.channel if settings.contact_kind else "member_list"):
        raise InputError(f"platform '{chosen}' takes {found.channel}, campaign '{audience.campaign}' is {settings.channel}")
    moment = _utc(at, zone) if at else _default_time(audience, settings, zone)
    if moment < made_from.tables.instant:
        raise InputError(f"the list is as of {audience.as_of} and cannot have been handed over before; name a later --at")
    folder, project = exports_dir / audience.campaign, config.project
    return Job(made_from, found, chosen, project.country, moment, folder, project.export_expiry_days)


def _utc(value: datetime, zone: ZoneInfo) -> datetime:
    local = value if value.tzinfo else value.replace(tzinfo=zone)
    return local.astimezone(UTC).replace(tzinfo=None)


def _default_time(audience: Audience, settings: CampaignSettings, zone: ZoneInfo) -> datetime:
    return _utc(datetime.combine(audience.as_of + timedelta(days=1), time.fromisoformat(settings.send_at)), zone)


def _rows(job: Job, lake: Lake, vault: Vault) -> ir.Table:
    stored = stored_rows(job.audience.audience_id, lake)
    if table_hash(stored) != job.audience.rows_hash:
        raise RunFailed(
            f"the stored rows of {job.audience.audience_id} are missing or were altered, so nothing is "
            "handed over; "
            f"look with: crm rebuild {job.audience.audience_id}"
        )
    moment = now()
    latest = max(moment, job.hand_off_at).replace(tzinfo=UTC).astimezone(job.zone).date()
    newest = Tables(lake, lake.snapshot(), latest, job.zone, job.made_from.tables.identity)
    rows = hand_off_rows(stored, job.made_from.tables, newest, vault, job.settings, job.platform, moment, job.hand_off_at)
    return with_parts(rows, job.settings, job.country)


def _sent(job: Job, lake: Lake) -> ir.Table:
    """Members (member_id) to whom receipts say that this campaign's message went out since the list was made."""
    events = lake.table("interactions")
    sent = events.filter(
        events.campaign_id == job.audience.campaign,
        events.event.isin(["sent", "delivered"]),
        events.occurred_at > job.made_from.tables.instant,
    )
    return sent.select("member_id").distinct()


def _without_sent(rows: ir.Table, job: Job, lake: Lake) -> ir.Table:
    """`rows` with the reason 'already_sent' for members to whom the message went out."""
    went_out = rows.member_id.isin(_sent(job, lake).member_id)
    return rows.mutate(reason=rows.reason.coalesce(went_out.ifelse(ALREADY_SENT, ibis.null("string"))))


def _version(rows: ir.Table) -> str:
    # whoever is left out now, and why: refusals of others do not touch this list, so they do not change its
    # id
    return table_hash(rows.filter(rows.reason.notnull()).select("member_id", "reason"))


def _export_id(job: Job, version: str, prior: Export | None) -> str:
    parts = [job.audience.audience_id, job.platform_name, job.platform.model_dump_json(), job.hand_off_at.isoformat(), version]
    if prior is not None and (prior.platform, prior.hand_off_at) != (job.platform_name, job.hand_off_at):
        parts.append(prior.export_id)  # back to an earlier time: another hand-off than the one of then
    return f"{job.hand_off_at:%Y%m%dT%H%M}-{hashlib.sha256(chr(31).join(parts).encode()).hexdigest()[:12]}"


def _new(
    rows: ir.Table, job: Job, lake: Lake, ledger: Ledger, prior: Export | None, who: Mapping[str, str], sent_before: int
) -> HandedOff:
    version = _version(rows)
    export_id = _export_id(job, version, prior)
    if prior is not None and prior.export_id == export_id:
        return _again(rows, job, lake, prior)
    header = {"crm_core": metadata.version("crm-core"), "renews": prior.export_id if prior else "", **who}
    counts, written, manifest_hash = _write(rows, job, lake, export_id, version, header)
    payload = "".join(each.sha256 for each in written if each.path.startswith("payload/"))
    row = Export(
        export_id=export_id,
        audience_id=job.audience.audience_id,
        platform=job.platform_name,
        hand_off_at=job.hand_off_at,
        suppression_version=version,
        payload_hash=hashlib.sha256(payload.encode()).hexdigest(),
        created_at=now(),
        counts=counts,
        detail={"header": header, "manifest_sha256": manifest_hash, "sent_before": sent_before},
    )
    with ledger.transaction() as session:
        session.add(row)
        subject = {"audience_id": job.audience.audience_id, "platform": job.platform_name, "counts": counts}
        ledger.audit(session, "export", export_id, subject | {"renews": header["renews"]}, who["actor"])
    return HandedOff(export_id, job.audience.audience_id, job.folder / export_id, job.hand_off_at, counts, new=True)


def _again(rows: ir.Table, job: Job, lake: Lake, prior: Export) -> HandedOff:
    folder, manifest_hash = job.folder / prior.export_id, prior.detail["manifest_sha256"]
    same = _version(rows) == prior.suppression_version
    if not same:
        _stop_if_refused(rows, folder, prior)
    if not manifest_holds(folder, manifest_hash):
        # the files were deleted or damaged: the same inputs give the same bytes, and the hash proves it
        with published(folder) as work:
            found = fill(rows, job, lake, prior.export_id, prior.suppression_version, prior.detail["header"], work)
            if found[2] != manifest_hash:
                raise RunFailed(
                    f"the files of {prior.export_id} are gone and come out differently now, because "
                    "contacts or settings "
                    "have changed; make a new hand-off with renew"
                )
    return HandedOff(prior.export_id, prior.audience_id, folder, prior.hand_off_at, prior.counts, new=False)


def _stop_if_refused(rows: ir.Table, folder: Path, prior: Export) -> None:
    out = rows.filter(rows.reason.notnull()).select("member_id", "reason")
    if (folder / "snapshot.parquet").is_file():
        out = out.semi_join(former(folder), "member_id")
    reasons = count_by(out, "reason")
    if reasons:
        listed = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        raise InputError(
            f"export {prior.export_id} is pinned, and {sum(reasons.values())} of its "
            f"{prior.counts['exported']} recipients may not be written to any more ({listed}); "
            "make a new one without them: --renew, or --only-unsent where part of it went out"
        )


def _write(
    rows: ir.Table, job: Job, lake: Lake, export_id: str, version: str, header: Mapping[str, str]
) -> tuple[dict[str, Any], list[WrittenFile], str]:
    with published(job.folder / export_id) as work:
        return fill(rows, job, lake, export_id, version, header, work)
