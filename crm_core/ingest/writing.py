"""What was prepared, written under one lease: tables, rejects, vault and ledger rows, one snapshot."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import ibis
import ibis.expr.types as ir
from sqlalchemy import select

from crm_core.config import Config
from crm_core.errors import InputError, RunFailed
from crm_core.ingest.contacts import KEPT, identities_of
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.mapping import Mapped
from crm_core.ingest.report import FileReport, LoadReport, RejectReport
from crm_core.ingest.rows import Context
from crm_core.schema import TABLES, TableSchema
from crm_core.store import Lake, Ledger, Vault, Writer, now
from crm_core.store.hashing import row_hash
from crm_core.store.lake import content_columns
from crm_core.store.ledger import Load, LoadFile, MoneyRecord, TableRecord

KEPT_OF_FILE = ("erased", "format", "encoding", "other_sheets")


@dataclass(frozen=True)
class Prepared:
    """Files of one layout, ready to be written; `rejects` has the columns of the lake's table but for
    load_id.
    """

    reports: list[FileReport]
    tables: list[Mapped]
    rejects: ir.Table
    accounts: list[ir.Table]
    contacts: list[ir.Table]
    balances: list[MoneyRecord]
    summary: list[RejectReport]


def known_files(ledger: Ledger, source: str) -> dict[str, str]:
    """SHA-256 → load id of every file that a live load of `source` holds."""
    query = select(LoadFile.sha256, Load.load_id).join(Load, Load.load_id == LoadFile.load_id)
    with ledger.session() as session:
        return {row[0]: row[1] for row in session.execute(query.where(Load.state == "live", Load.source == source))}


def other_sheets(ledger: Ledger, sha256: str) -> tuple[str, ...]:
    """The sheets of a workbook that was loaded which were not read."""
    with ledger.session() as session:
        kept = session.execute(select(LoadFile.detail).where(LoadFile.sha256 == sha256)).scalars()
        return tuple(sorted({name for detail in kept for name in detail.get("other_sheets", ())}))


# -- writing -------------------------------------------------------------------------------------------------
# --------------


def write(
    context: Context,
    config: Config,
    lake: Lake,
    vault: Vault,
    prepared: list[Prepared],
    report: LoadReport,
    started: datetime,
    actor: str,
    erased: str,
) -> LoadReport:
    """`erased` is what the vault said of erased people when the files were judged."""
    with lake.write(f"ingest {context.settings.source}", actor) as writer:
        # another process may have loaded the same bytes while these were being read
        known = known_files(lake.ledger, context.settings.source)
        if rivals := [file.name for file in report.files if not file.known_load and file.sha256 in known]:
            raise InputError(f"{rivals[0]} was just loaded by another process; run the same command again")
        if vault.erased_version() != erased:
            raise RunFailed("somebody was erased while these files were being read; run the same command again")
        vault.sweep(config.project.reject_expiry_days)
        tables, latest = _write_tables(context, writer, vault, prepared, report.load_id)
        _write_rejects(writer, prepared, report.load_id)
        _write_vault(vault, prepared, report.load_id)
        writer.cover(latest)
        report = replace(report, tables=tuple(tables))
        _record(writer, report, started, latest, config.hash())
    return replace(report, snapshot=writer.published.id if writer.published else None)


def _write_tables(
    context: Context, writer: Writer, vault: Vault, prepared: list[Prepared], load_id: str
) -> tuple[list[TableRecord], date | None]:
    reports: list[TableRecord] = []
    latest: list[date] = []
    for name, schema in TABLES.items():
        mapped = [item for each in prepared for item in each.tables if item.table == name]
        parts, total = [item.rows for item in mapped], sum(item.totals.rows for item in mapped)
        times = [item.totals.newest for item in mapped if item.totals.newest is not None]
        if name == "identities":
            hashed = identities_of(vault, [rows for item in prepared for rows in item.contacts])
            if hashed is not None:
                found = hashed.aggregate(rows=hashed.count(), newest=hashed._effective_at.max()).to_pyarrow().to_pylist()[0]
                parts, total = [*parts, hashed], total + found["rows"]
                times += [found["newest"]] if found["newest"] is not None else []
        if not parts:
            continue
        rows = _together(parts, schema)
        if context.settings.backdate and schema.as_of == "versions":
            rows = _backdated(rows, schema)
        distinct = len(parts) == 1 and all(item.distinct for item in mapped) and schema.as_of != "versions"
        with engine_errors(name):
            counts = writer.upsert(name, rows, load_id=load_id, distinct=distinct)
        latest += [max(times).replace(tzinfo=UTC).astimezone(context.project_zone).date()] if times else []
        reports.append(
            TableRecord(name, total, counts.inserted, counts.updated, counts.unchanged, counts.conflicts, counts.conflict_keys)
        )
    return reports, max(latest, default=None)


def _together(parts: list[ir.Table], schema: TableSchema) -> ir.Table:
    """The parts as one table, with `_effective_at` and the columns that any of them has."""
    names = [name for name in content_columns(schema) if any(name in part.columns for part in parts)]
    types = schema.types()
    return _union(
        [
            part.select(
                **{name: part[name] if name in part.columns else ibis.null(types[name]) for name in names},
                _effective_at=part._effective_at,
            )
            for part in parts
        ]
    )


def _backdated(rows: ir.Table, schema: TableSchema) -> ir.Table:
    """The rows, and for each key its earliest state once more, holding since before 1970.

    Its time is mirrored there: of the earliest states of several loads the earliest of all is then the latest, so that
    files loaded one by one say the same as together.
    """
    order = [rows._effective_at, row_hash(rows, content_columns(schema)).desc()]  # as the store decides
    place = ibis.row_number().over(group_by=list(schema.key), order_by=order)
    first = rows.mutate(_place=place).filter(lambda t: t._place == 0).drop("_place")
    origin = ibis.literal(datetime(1970, 1, 1)).cast("timestamp(6)")
    mirrored = origin - (first._effective_at - origin)
    return rows.union(first.mutate(_effective_at=ibis.least(first._effective_at, mirrored)))


def _union(tables: list[ir.Table]) -> ir.Table:
    return tables[0] if len(tables) == 1 else ibis.union(*tables)


def _write_rejects(writer: Writer, prepared: list[Prepared], load_id: str) -> None:
    parts = [item.rejects for item in prepared if any(report.rejected for report in item.reports)]
    if parts:
        names = ("file", "row_number", "field", "reason", "row")
        rows = _union([part.select(*names) for part in parts]).mutate(load_id=ibis.literal(load_id))
        ordered = rows.select("load_id", *names).order_by("file", "row_number")
        writer.append("rejects", ordered)


def _write_vault(vault: Vault, prepared: list[Prepared], load_id: str) -> None:
    accounts = [rows for item in prepared for rows in item.accounts]
    if accounts:
        whole = _union([rows.select("member_id", "namespace", "account_id") for rows in accounts])
        whole = whole if len(accounts) == 1 else whole.distinct()
        vault.put("accounts", load_id, whole.mutate(load_id=ibis.literal(load_id)))
    contacts = [rows.filter(rows.kind.isin(KEPT)) for item in prepared for rows in item.contacts]
    if contacts:
        rows = _union(
            [table.select("member_id", "kind", "value", "valid", "problem", "seen_at", "first_seen_at") for table in contacts]
        )
        newest = rows.group_by("member_id", "kind", "value").agg(
            valid=rows.valid.max(), problem=rows.problem.max(), seen_at=rows.seen_at.max(), first_seen_at=rows.first_seen_at.min()
        )
        vault.put("contacts", load_id, newest.mutate(load_id=ibis.literal(load_id)))
    refused = [item.rejects for item in prepared if any(report.rejected > report.erased for report in item.reports)]
    if refused:
        whole = _union([rows.filter(rows.cells.notnull() | rows.text.notnull()) for rows in refused])
        whole = whole.order_by("file", "row_number")
        vault.put("refused", load_id, whole.mutate(load_id=ibis.literal(load_id)))


def _record(writer: Writer, report: LoadReport, started: datetime, latest: date | None, config_hash: str) -> None:
    detail = as_json(asdict(replace(report, files=())))
    detail |= {"rows_erased": report.erased, "covers_until": latest.isoformat() if latest else None, "config_hash": config_hash}
    totals = {"rows_read": report.read, "rows_accepted": report.accepted, "rows_duplicate": report.duplicate}
    totals["rows_rejected"] = report.rejected
    load = Load(
        load_id=report.load_id, source=report.source, state="live", started_at=started, finished_at=now(), detail=detail, **totals
    )
    files = [
        LoadFile(
            load_id=report.load_id, sha256=file.sha256, name=file.name, feed=file.feed, size_bytes=file.bytes,
            rows_read=file.read, rows_accepted=file.accepted, rows_duplicate=file.duplicate,
            rows_rejected=file.rejected,
            detail=as_json({key: value for key, value in asdict(file).items() if key.endswith("headings") or key in KEPT_OF_FILE}),
        )
        for file in report.files
        if not file.known_load
    ]  # fmt: skip
    writer.record(load, *files)
    writer.audit("ingest", report.load_id, {"source": report.source, "files": len(files), **totals})


def as_json(value: Any) -> Any:
    """Plain JSON values; amounts as text, so that no digit is lost."""
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
