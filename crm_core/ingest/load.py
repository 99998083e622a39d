"""One load: many files in, one published snapshot out, and a report in which every row and every sum is accounted for.

Files are read, judged and mapped without the writer's lease, into Parquet in the spill folder; only then is the lake
opened for writing. Whatever fails before leaves nothing behind, whatever fails after is taken back by the writer.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir
import psutil
from sqlalchemy import select

from crm_core.config import Config
from crm_core.errors import InputError, RunFailed
from crm_core.ingest import spool
from crm_core.ingest.balance import balances_of, count, reject_summary
from crm_core.ingest.contacts import KEPT, contacts_of, identities_of
from crm_core.ingest.files import Found, find
from crm_core.ingest.mapping import Mapped, check_source, map_batch
from crm_core.ingest.opening import Opened, open_file
from crm_core.ingest.reader import engine_errors, file_of, number_of, read_batch
from crm_core.ingest.report import BalanceReport, ContactReport, FileReport, LoadReport, RejectReport, TableReport
from crm_core.ingest.rows import Context, Staged, rejects, stage
from crm_core.schema import LOAD, TABLES, empty
from crm_core.store import Lake, Ledger, Vault, Writer, local_date, now
from crm_core.store.lake import REJECTS
from crm_core.store.ledger import Load, LoadFile

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Prepared:
    """Files of one layout, ready to be written; `rejects` has the columns of the lake's table but for load_id."""

    reports: list[FileReport]
    tables: list[Mapped]
    rejects: ir.Table
    accounts: list[ir.Table]
    contacts: list[ir.Table]
    balances: list[BalanceReport]
    summary: list[RejectReport]


def ingest(
    config: Config,
    lake: Lake,
    vault: Vault,
    source: str,
    paths: Sequence[Path],
    *,
    dry_run: bool = False,
    actor: str = "crm",
    at: datetime | None = None,
    progress: Progress | None = None,
) -> LoadReport:
    """Loads the files at `paths` (files or folders) as `source` and returns the reconciliation.

    Rows dated after `at` (naive UTC, default: now) are rejects. A file whose bytes a live load of this source already
    holds is passed over. `dry_run` does everything but writing. `progress` hears of each step. InputError where a file or
    setting is wrong, RunFailed where the disk, memory or lease is; the lake then is as it was.
    """
    started, began = now(), time.monotonic()
    say = progress or (lambda _: None)
    context = _context(config, lake, source, at or started)
    check_source(context)
    found, ignored = find(context.settings, [Path(path) for path in paths])
    load_id = f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    with _workspace(lake) as work:
        known = known_files(lake.ledger, source)
        passed, opened = _open_all(context, found, known, work, say)
        prepared = _prepare(context, vault, opened, work, say)
        files = sorted([*passed, *(file for item in prepared for file in item.reports)], key=lambda file: file.name)
        report = LoadReport(
            source, "", None, dry_run, tuple(files), tuple(ignored), _dry_tables(prepared),
            tuple(balance for item in prepared for balance in item.balances),
            tuple(reject for item in prepared for reject in item.summary), _contact_reports(prepared),
        )  # fmt: skip
        if prepared and not dry_run:
            say("writing to the lake")
            report = _write(context, config, lake, vault, prepared, replace(report, load_id=load_id), started, actor)
    return replace(report, seconds=round(time.monotonic() - began, 3))


def _context(config: Config, lake: Lake, source: str, at: datetime) -> Context:
    settings, project = config.source(source), config.project
    if settings.source != source:
        raise InputError(f"conf/sources/{source}.yml names itself '{settings.source}'; both names must be the same")
    if lake.engine.name != "duckdb":
        raise InputError("loading files is done by DuckDB; set engine.kind: duckdb in conf/project.yml for `crm ingest`")
    return Context(
        lake.engine,
        settings,
        ZoneInfo(settings.time_zone or project.time_zone),
        project.zone,
        settings.currency or project.currency,
        settings.country or project.country,
        at,
    )


def known_files(ledger: Ledger, source: str) -> dict[str, str]:
    """SHA-256 → load id of every file that a live load of `source` holds."""
    query = select(LoadFile.sha256, Load.load_id).join(Load, Load.load_id == LoadFile.load_id)
    with ledger.session() as session:
        return {row[0]: row[1] for row in session.execute(query.where(Load.state == "live", Load.source == source))}


def _open_all(
    context: Context, found: list[Found], known: dict[str, str], work: Path, say: Progress
) -> tuple[list[FileReport], list[Opened]]:
    """The files that were loaded before, and the others opened."""
    passed: list[FileReport] = []
    opened: list[Opened] = []
    seen: dict[str, str] = {}
    for place, item in enumerate(found):
        say(f"reading {item.path.name} ({place + 1} of {len(found)})")
        digest = spool.sha256(item.path)
        earlier = known.get(digest) or seen.get(digest)
        if earlier:
            feed = item.feeds[0] if item.feeds else ""
            passed.append(FileReport(item.path.name, feed, digest, item.path.stat().st_size, known_load=earlier))
            continue
        opened.append(open_file(context.settings, item, digest, work / f"copy_{place}"))
        seen[digest] = f"this one, as {item.path.name}"
    return passed, opened


def _prepare(context: Context, vault: Vault, opened: list[Opened], work: Path, say: Progress) -> list[_Prepared]:
    layouts: dict[tuple[object, ...], list[Opened]] = {}
    for file in opened:
        layouts.setdefault(file.layout, []).append(file)
    prepared: list[_Prepared] = []
    for place, files in enumerate(layouts.values()):
        say(f"checking {files[0].feed} ({len(files)} files)" if len(files) > 1 else f"checking {files[0].name}")
        batch = read_batch(context.engine, f"{work.name}_{place}", files, work)
        staged, mapped, members = map_batch(context, vault, stage(context, batch, work))
        with engine_errors(batch.label):
            refused = _rejects(context, staged)
            prepared.append(
                _Prepared(
                    _file_reports(staged, refused),
                    mapped,
                    refused,
                    _live_accounts(staged, members),
                    contacts_of(context, staged, members),
                    balances_of(context, staged, mapped),
                    reject_summary(refused) if count(refused) else [],
                )
            )
    return prepared


def _rejects(context: Context, staged: Staged) -> ir.Table:
    path = staged.work / f"rejects_{staged.batch.name}.parquet"
    if staged.batch.malformed is None and not any(count(rows) for rows in staged.rejected):
        return empty(REJECTS).drop("load_id").mutate(_row=ibis.null("int64"))
    rows = rejects(context, staged)
    names = {"_file": list(range(len(staged.batch.files))), "file": [file.name for file in staged.batch.files]}
    named = rows.mutate(_file=file_of(rows._row), row_number=number_of(rows._row)).join(ibis.memtable(names), "_file")
    context.engine.to_parquet(named.select("file", "row_number", "field", "reason", "row", "_row"), path)
    return context.engine.read_parquet(path)


def _file_reports(staged: Staged, refused: ir.Table) -> list[FileReport]:
    batch = staged.batch
    read, accepted, rejected = _by_file(batch.raw), _by_file(staged.accepted()), _by_file(refused)
    malformed = _by_file(batch.malformed) if batch.malformed is not None else {}
    repeated = _by_file(staged.repeated) if staged.repeated is not None else {}
    reports = [
        FileReport(
            file.name, file.feed, file.sha256, file.bytes, file.format, file.encoding,
            read=read.get(place, 0) + malformed.get(place, 0), accepted=accepted.get(place, 0),
            duplicate=repeated.get(place, 0), rejected=rejected.get(place, 0), headings=file.all_headings,
            unknown_headings=file.headings.unknown, missing_headings=file.headings.missing,
        )
        for place, file in enumerate(batch.files)
    ]  # fmt: skip
    for report in reports:
        if not report.adds_up:
            raise RunFailed(
                f"{report.name}: {report.read} rows read, but {report.accepted} accepted, {report.duplicate} duplicate and "
                f"{report.rejected} rejected; this is a fault of the program. Nothing was loaded"
            )
    return reports


def _by_file(rows: ir.Table) -> dict[int, int]:
    counted = rows.group_by(file=file_of(rows._row)).agg(rows=rows.count()).to_pyarrow().to_pylist()
    return {row["file"]: row["rows"] for row in counted}


def _live_accounts(staged: Staged, members: dict[tuple[str, str], ir.Table]) -> list[ir.Table]:
    """The accounts of accepted rows only: those of refused rows are nobody's."""
    accepted = staged.accepted()
    return [
        known.semi_join(accepted.select(account_id=accepted[field].cast("string")), "account_id")
        for (field, _), known in members.items()
    ]


def _dry_tables(prepared: list[_Prepared]) -> tuple[TableReport, ...]:
    rows: dict[str, int] = {}
    for item in prepared:
        for mapped in item.tables:
            rows[mapped.table] = rows.get(mapped.table, 0) + count(mapped.rows)
    return tuple(TableReport(name, rows[name]) for name in TABLES if name in rows)


def _contact_reports(prepared: list[_Prepared]) -> tuple[ContactReport, ...]:
    found: dict[str, tuple[int, int]] = {}
    for rows in (rows for item in prepared for rows in item.contacts):
        for row in rows.group_by("kind").agg(values=rows.count(), good=rows.valid.sum()).to_pyarrow().to_pylist():
            values, invalid = found.get(row["kind"], (0, 0))
            found[row["kind"]] = values + row["values"], invalid + row["values"] - int(row["good"])
    return tuple(ContactReport(kind, *numbers) for kind, numbers in sorted(found.items()))


# -- writing ---------------------------------------------------------------------------------------------------------------


def _write(
    context: Context,
    config: Config,
    lake: Lake,
    vault: Vault,
    prepared: list[_Prepared],
    report: LoadReport,
    started: datetime,
    actor: str,
) -> LoadReport:
    with lake.write(f"ingest {context.settings.source}", actor) as writer:
        # another process may have loaded the same bytes while these were being read
        known = known_files(lake.ledger, context.settings.source)
        if rivals := [file.name for file in report.files if not file.known_load and file.sha256 in known]:
            raise InputError(f"{rivals[0]} was just loaded by another process; run the same command again")
        vault.sweep()
        tables, latest = _write_tables(context, writer, vault, prepared, report.load_id)
        _write_rejects(writer, prepared, report.load_id)
        _write_vault(vault, prepared, report.load_id)
        writer.cover(latest)
        report = replace(report, tables=tuple(tables))
        _record(writer, report, started, latest, config.hash())
    return replace(report, snapshot=writer.published.id if writer.published else None)


def _write_tables(
    context: Context, writer: Writer, vault: Vault, prepared: list[_Prepared], load_id: str
) -> tuple[list[TableReport], date | None]:
    reports: list[TableReport] = []
    latest: list[date] = []
    for name, schema in TABLES.items():
        parts = [mapped.rows for item in prepared for mapped in item.tables if mapped.table == name]
        if name == "identities":
            hashed = identities_of(vault, [rows for item in prepared for rows in item.contacts])
            parts += [hashed.mutate(**_absent(schema, hashed))] if hashed is not None else []
        if not parts:
            continue
        names = [column.name for column in schema.columns if column not in LOAD]
        rows = _union([part.select(*names, "_effective_at") for part in parts])
        if context.settings.backdate and schema.as_of == "versions":
            rows = _backdated(rows, schema.key)
        with engine_errors(name):
            newest = local_date(rows._effective_at.max(), context.project_zone).to_pyarrow().as_py()
            counts = writer.upsert(name, rows, load_id=load_id)
        latest += [newest] if newest is not None else []
        reports.append(
            TableReport(
                name, sum(count(part) for part in parts), counts.inserted, counts.updated, counts.unchanged,
                counts.conflicts, counts.conflict_keys,
            )  # fmt: skip
        )
    return reports, max(latest, default=None)


def _absent(schema: Any, table: ir.Table) -> dict[str, Any]:
    return {column.name: ibis.null(column.type) for column in schema.columns if column.name not in table.columns}


def _backdated(rows: ir.Table, key: tuple[str, ...]) -> ir.Table:
    """The rows, and for each key its earliest state once more, holding since 1970."""
    place = ibis.row_number().over(group_by=list(key), order_by=rows._effective_at)
    first = rows.mutate(_place=place).filter(lambda t: t._place == 0).drop("_place")
    return rows.union(first.mutate(_effective_at=ibis.literal(datetime(1970, 1, 1)).cast("timestamp(6)")))


def _union(tables: list[ir.Table]) -> ir.Table:
    return tables[0] if len(tables) == 1 else ibis.union(*tables)


def _write_rejects(writer: Writer, prepared: list[_Prepared], load_id: str) -> None:
    parts = [item.rejects for item in prepared if any(report.rejected for report in item.reports)]
    if parts:
        rows = _union([part.drop("_row") for part in parts]).mutate(load_id=ibis.literal(load_id))
        ordered = rows.select("load_id", "file", "row_number", "field", "reason", "row").order_by("file", "row_number")
        writer.append("rejects", ordered)


def _write_vault(vault: Vault, prepared: list[_Prepared], load_id: str) -> None:
    accounts = [rows for item in prepared for rows in item.accounts]
    if accounts:
        whole = _union([rows.select("member_id", "namespace", "account_id") for rows in accounts]).distinct()
        vault.put("accounts", load_id, whole.mutate(load_id=ibis.literal(load_id)))
    contacts = [rows.filter(rows.kind.isin(KEPT)) for item in prepared for rows in item.contacts]
    if contacts:
        rows = _union([table.select("member_id", "kind", "value", "valid", "problem", "seen_at") for table in contacts])
        newest = rows.group_by("member_id", "kind", "value").agg(
            valid=rows.valid.max(), problem=rows.problem.max(), seen_at=rows.seen_at.max()
        )
        vault.put("contacts", load_id, newest.mutate(load_id=ibis.literal(load_id)))


def _record(writer: Writer, report: LoadReport, started: datetime, latest: date | None, config_hash: str) -> None:
    detail = as_json(asdict(replace(report, files=())))
    detail |= {"covers_until": latest.isoformat() if latest else None, "config_hash": config_hash}
    totals = {"rows_read": report.read, "rows_accepted": report.accepted, "rows_duplicate": report.duplicate}
    totals["rows_rejected"] = report.rejected
    load = Load(
        load_id=report.load_id, source=report.source, state="live", started_at=started, finished_at=now(), detail=detail,
        **totals,
    )  # fmt: skip
    files = [
        LoadFile(
            load_id=report.load_id, sha256=file.sha256, name=file.name, feed=file.feed, size_bytes=file.bytes,
            rows_read=file.read, rows_accepted=file.accepted, rows_duplicate=file.duplicate, rows_rejected=file.rejected,
            detail=as_json({key: value for key, value in asdict(file).items() if key.endswith("headings")}),
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


# -- the folder that a load works in ---------------------------------------------------------------------------------------


@contextmanager
def _workspace(lake: Lake) -> Iterator[Path]:
    """A private folder below the workspace's spill folder, gone afterwards; those of dead processes go first."""
    spill = lake.root.parent / "spill"
    with spool.writing(spill):
        spill.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in spill.glob("ingest_*"):
            owner = left.name.split("_")[1]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"ingest_{os.getpid()}_", dir=spill))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
