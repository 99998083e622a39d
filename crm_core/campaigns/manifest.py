"""What stands in the folder of a hand-off: payload, who got what, who was held out, who was refused and why,
and the manifest that says where all of it comes from. The three groups always add up to those selected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import pyarrow.parquet as pq

from crm_core.campaigns.audience import stored_rows
from crm_core.campaigns.files import WrittenFile, write_manifest, write_parquet, write_payload
from crm_core.campaigns.funnel import count_by
from crm_core.campaigns.payload import payload_columns, used_placeholders
from crm_core.campaigns.pinned import Pinned
from crm_core.config.campaigns import CampaignSettings
from crm_core.config.platforms import PlatformSettings
from crm_core.errors import RunFailed
from crm_core.store.ledger import Audience

if TYPE_CHECKING:
    from crm_core.store import Lake

ALREADY_SENT = "already_sent"
"""The reason why a member is left out of a second hand-off of one list."""


@dataclass(frozen=True)
class Job:
    """Everything that one hand-off is made from."""

    made_from: Pinned
    platform: PlatformSettings
    platform_name: str
    country: str
    hand_off_at: datetime
    folder: Path
    expiry_days: int

    @property
    def audience(self) -> Audience:
        """The ledger's row of the list."""
        return self.made_from.audience

    @property
    def settings(self) -> CampaignSettings:
        """The campaign as it was when the list was frozen."""
        return self.made_from.settings

    @property
    def zone(self) -> ZoneInfo:
        """The project's time zone."""
        return self.made_from.tables.zone


def former(folder: Path) -> ir.Table:
    return ibis.memtable(pq.read_table(folder / "snapshot.parquet", columns=["member_id"]))


def fill(
    rows: ir.Table, job: Job, lake: Lake, export_id: str, version: str, header: Mapping[str, str], work: Path
) -> tuple[dict[str, Any], list[WrittenFile], str]:
    stored = stored_rows(job.audience.audience_id, lake)
    chosen = rows.filter(rows.reason.isnull())
    files = write_payload(payload_columns(chosen, job.platform, job.hand_off_at, job.zone, export_id), work, job.platform)
    exported = sum(each.rows for each in files)
    held = stored.filter(stored.status == "held_out").select("member_id", "person_id", "stratum")
    refused = stored.filter(stored.status == "rejected").select("member_id", "reason")
    refused = refused.union(rows.filter(rows.reason.notnull()).select("member_id", "reason"))
    files += [
        write_parquet(_snapshot(chosen, job).order_by("member_id"), work, "snapshot.parquet"),
        write_parquet(held.order_by("member_id"), work, "holdout.parquet"),
        write_parquet(refused.order_by("member_id"), work, "rejected.parquet"),
    ]
    earlier = job.folder / header["renews"]
    if header["renews"] and (earlier / "snapshot.parquet").is_file():
        files.append(write_parquet(_difference(rows, earlier).order_by("member_id"), work, "difference.parquet"))
    counts = _counts(job, chosen, exported, count_by(refused, "reason"))
    if job.settings.unit_cost is not None and ALREADY_SENT in counts["rejected"]:
        counts["cost_sent_before"] = _cost_by_arm(rows.filter(rows.reason == ALREADY_SENT), job.settings.unit_cost)
    content = _manifest(job, lake, export_id, version, header, counts, files)
    return counts, files, write_manifest(content, work)


def _snapshot(chosen: ir.Table, job: Job) -> ir.Table:
    unit = job.settings.unit_cost
    texts = {arm: hashlib.sha256(job.settings.text_of(arm).encode()).hexdigest()[:12] for arm in job.settings.arms}
    return chosen.select(
        "member_id",
        "person_id",
        "arm",
        "stratum",
        *used_placeholders(job.settings),
        "parts",
        "consent_changed_at",
        template=ibis.cases(*[(chosen.arm == arm, hash_) for arm, hash_ in texts.items()], else_=""),
        cost=ibis.null("float64") if unit is None else chosen.parts.cast("float64") * unit,
    )


def _difference(rows: ir.Table, earlier: Path) -> ir.Table:
    before = former(earlier)
    out = rows.filter(rows.reason.notnull()).select("member_id", "reason").semi_join(before, "member_id")
    more = rows.filter(rows.reason.isnull()).select("member_id").anti_join(before, "member_id")
    return out.select("member_id", "reason", change=ibis.literal("left_out")).union(
        more.select("member_id", reason=ibis.null("string"), change=ibis.literal("added"))
    )


def _counts(job: Job, chosen: ir.Table, exported: int, rejected: dict[str, int]) -> dict[str, Any]:
    selected, held = job.audience.counts["selected"], job.audience.counts["held_out"]
    if selected != exported + held + sum(rejected.values()):
        raise RunFailed(
            f"the hand-off does not add up: selected {selected}, exported {exported}, held out {held}, "
            "rejected "
            f"{sum(rejected.values())}; nothing was written"
        )
    rows = chosen.group_by("arm").aggregate(members=chosen.count(), parts=chosen.parts.sum()).order_by("arm").to_pyarrow()
    arms = {row["arm"]: row for row in rows.to_pylist()}
    unit, parts = job.settings.unit_cost, sum(int(row["parts"]) for row in arms.values())
    return {
        "selected": selected,
        "exported": exported,
        "held_out": held,
        "rejected": rejected,
        "parts": parts,
        "arms": {arm: row["members"] for arm, row in arms.items()},
        "cost": None if unit is None else round(parts * unit, 2),
        "cost_by_arm": {} if unit is None else {arm: round(int(row["parts"]) * unit, 2) for arm, row in arms.items()},
    }


def _cost_by_arm(rows: ir.Table, unit: float) -> dict[str, float]:
    parts = rows.group_by("arm").aggregate(parts=rows.parts.sum()).order_by("arm").to_pyarrow().to_pylist()
    return {row["arm"]: round(int(row["parts"]) * unit, 2) for row in parts}


def _manifest(
    job: Job, lake: Lake, export_id: str, version: str, header: Mapping[str, str], counts: dict[str, Any],
    files: list[WrittenFile],
) -> dict[str, Any]:  # fmt: skip
    audience = job.audience
    snapshot = lake.snapshot(audience.snapshot_id)
    expires = job.hand_off_at + timedelta(days=job.expiry_days)
    return {
        "export_id": export_id,
        "audience_id": audience.audience_id,
        "campaign": audience.campaign,
        "wave": audience.wave,
        "as_of": str(audience.as_of),
        "platform": job.platform_name,
        "channel": job.settings.channel,
        "hand_off_at": f"{job.hand_off_at.isoformat()}Z",
        "expires_at": f"{expires.isoformat()}Z",
        "suppression_version": version,
        "snapshot_id": audience.snapshot_id,
        "config_hash": audience.config_hash,
        "versions": dict(snapshot.versions) if snapshot else {},
        "audience_hash": audience.rows_hash,
        "salt": audience.salt,
        "shares": audience.detail["shares"],
        "rules": audience.detail["funnel"],
        "counts": counts,
        "templates": {arm: job.settings.text_of(arm) for arm in job.settings.arms},
        "files": [{"path": each.path, "sha256": each.sha256, "rows": each.rows} for each in files],
        **header,
    }
