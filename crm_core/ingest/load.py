"""One load: many files in, one published snapshot out, and a report in which every row and every sum is
accounted for.

Files are read, judged and mapped without the writer's lease, into Parquet in the spill folder; only then is
the lake opened for writing. Whatever fails before leaves nothing behind, whatever fails after is taken back
by the writer.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

from crm_core.config import Config
from crm_core.errors import InputError, RunFailed
from crm_core.ingest import spool
from crm_core.ingest.balance import balances_of, reject_summary
from crm_core.ingest.contacts import contacts_of
from crm_core.ingest.database import read_database
from crm_core.ingest.drift import with_drift
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.erased import erased_accounts, hide_erased, refuse_erased
from crm_core.ingest.files import Found, find
from crm_core.ingest.headings import veiled
from crm_core.ingest.mapping import Members, check_source, map_batch
from crm_core.ingest.opening import Opened, open_file
from crm_core.ingest.reader import file_of, number_of, read_batch
from crm_core.ingest.report import ContactReport, FileReport, LoadReport
from crm_core.ingest.rows import ERASED, Context, Staged, rejects, stage
from crm_core.ingest.watermark import Mark
from crm_core.ingest.writing import Prepared, known_files, other_sheets, write
from crm_core.schema import TABLES, empty
from crm_core.store import Lake, Ledger, Vault, count, now, processes
from crm_core.store.lake import REJECTS
from crm_core.store.ledger import TableRecord

Progress = Callable[[str], None]


def ingest(
    config: Config,
    lake: Lake,
    vault: Vault,
    source: str,
    paths: Sequence[Path] = (),
    *,
    dry_run: bool = False,
    full: bool = False,
    actor: str = "crm",
    at: datetime | None = None,
    progress: Progress | None = None,
) -> LoadReport:
    """Loads the files at `paths` (files or folders) as `source` and returns the reconciliation.

    Without `paths` a source with a `database` is read from there, from its watermarks on or, where `full`, from
    the beginning.

    Rows dated after `at` (naive UTC, default: now) are rejects. A file whose bytes a live load of this source
    already holds is passed over. `dry_run` does everything but writing. `progress` hears of each step.
    InputError where a file or setting is wrong, RunFailed where the disk, memory or lease is; the lake then
    is as it was.
    """
    started, began = now(), time.monotonic()
    say = progress or (lambda _: None)
    context = context_of(config, lake, source, at or started)
    check_source(context)
    streamed = context.settings.database is not None and not paths
    if full and not streamed:
        raise InputError("full reads a whole database; leave it out where files are named")
    found, ignored = ([], []) if streamed else find(context.settings, [Path(path) for path in paths])
    load_id = f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    with workspace_of(lake) as work:
        known = known_files(lake.ledger, source)
        marks: tuple[Mark, ...] = ()
        if streamed:
            passed, opened, marks = read_database(context, lake.ledger, known, work, say, full)
        else:
            passed, opened = _open_all(context, lake.ledger, found, known, work, say)
        erased = vault.erased_version()
        prepared = _prepare(context, vault, opened, work, say)
        prepared = [replace(item, reports=with_drift(lake.ledger, source, item.reports)) for item in prepared]
        files = sorted([*passed, *(file for item in prepared for file in item.reports)], key=lambda file: file.name)
        report = LoadReport(
            source, "", None, dry_run, tuple(files), tuple(ignored), _dry_tables(prepared),
            tuple(balance for item in prepared for balance in item.balances),
            tuple(reject for item in prepared for reject in item.summary), _contact_reports(prepared), marks,
        )  # fmt: skip
        if prepared and not dry_run:
            say("writing to the lake")
            report = replace(report, load_id=load_id)
            report = write(context, config, lake, vault, prepared, report, started, actor, erased)
    return replace(report, seconds=round(time.monotonic() - began, 3))


def context_of(config: Config, lake: Lake, source: str, at: datetime) -> Context:
    """What holds for every file of a load of `source` at `at` (naive UTC)."""
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


def _open_all(
    context: Context, ledger: Ledger, found: list[Found], known: dict[str, str], work: Path, say: Progress
) -> tuple[list[FileReport], list[Opened]]:
    """The files that were loaded before, and the others opened."""
    passed: list[FileReport] = []
    opened: list[Opened] = []
    seen: dict[str, str] = {}
    for place, item in enumerate(found):
        say(f"reading {item.name} ({place + 1} of {len(found)})")
        with item.steady():
            digest, size = item.measure()
            earlier = known.get(digest) or seen.get(digest)
            if earlier:
                feed = item.feeds[0] if item.feeds else ""
                left = other_sheets(ledger, digest)
                passed.append(FileReport(item.name, feed, digest, size, other_sheets=left, known_load=earlier))
                continue
            opened.append(open_file(context.engine, context.settings, item, digest, size, work / f"copy_{place}"))
        seen[digest] = f"this one, as {item.name}"
    return passed, opened


def _prepare(context: Context, vault: Vault, opened: list[Opened], work: Path, say: Progress) -> list[Prepared]:
    layouts: dict[tuple[object, ...], list[Opened]] = {}
    for file in opened:
        layouts.setdefault(file.layout, []).append(file)
    prepared: list[Prepared] = []
    for place, files in enumerate(layouts.values()):
        say(f"checking {files[0].feed} ({len(files)} files)" if len(files) > 1 else f"checking {files[0].name}")
        batch = read_batch(context.engine, f"{work.name}_{place}", files, work)
        judged = refuse_erased(context, vault, stage(context, batch, work))
        staged, mapped, members = map_batch(context, vault, judged)
        with engine_errors(batch.label):
            refused = _rejects(context, vault, staged)
            prepared.append(
                Prepared(
                    _file_reports(staged, refused),
                    mapped,
                    refused,
                    _live_accounts(vault, members),
                    contacts_of(context, staged, members),
                    balances_of(context, staged, mapped),
                    reject_summary(refused) if count(refused) else [],
                )
            )
    return prepared


def _rejects(context: Context, vault: Vault, staged: Staged) -> ir.Table:
    path = staged.work / f"rejects_{staged.batch.name}.parquet"
    if staged.batch.malformed is None and not any(count(rows) for rows in staged.rejected):
        return empty(REJECTS).drop("load_id").mutate(_row=ibis.null("int64"))
    rows = hide_erased(context, vault, staged, rejects(context, staged))
    names = {"_file": list(range(len(staged.batch.files))), "file": [file.name for file in staged.batch.files]}
    named = rows.mutate(_file=file_of(rows._row), row_number=number_of(rows._row)).join(ibis.memtable(names), "_file")
    private = {"feed": ibis.literal(staged.batch.feed), "headings": ibis.array(list(staged.batch.headings))}
    columns = ("file", "row_number", "field", "reason", "row", "_row", "feed", "headings", "cells", "text")
    context.engine.to_parquet(named.mutate(**private).select(*columns), path)
    return context.engine.read_parquet(path)


def _file_reports(staged: Staged, refused: ir.Table) -> list[FileReport]:
    batch = staged.batch
    read, accepted, rejected = _by_file(staged.typed), _by_file(staged.accepted()), _by_file(refused)
    malformed = _by_file(batch.malformed) if batch.malformed is not None else {}
    repeated = _by_file(staged.repeated) if staged.repeated is not None else {}
    erased = _by_file(refused.filter(refused.reason == ERASED))
    reports = [
        FileReport(
            file.name, file.feed, file.sha256, file.bytes, file.format, file.encoding,
            read=read.get(place, 0) + malformed.get(place, 0), accepted=accepted.get(place, 0),
            duplicate=repeated.get(place, 0), rejected=rejected.get(place, 0), erased=erased.get(place, 0),
            headings=tuple(map(veiled, file.all_headings)),
            unknown_headings=tuple(map(veiled, file.headings.unknown)), missing_headings=file.headings.missing,
            other_sheets=tuple(map(veiled, file.other_sheets)),
        )
        for place, file in enumerate(batch.files)
    ]  # fmt: skip
    for report in reports:
        if not report.adds_up:
            raise RunFailed(
                f"{report.name}: {report.read} rows read, but {report.accepted} accepted, "
                f"{report.duplicate} duplicate and {report.rejected} rejected; "
                "this is a fault of the program. Nothing was loaded"
            )
    return reports


def _by_file(rows: ir.Table) -> dict[int, int]:
    counted = rows.group_by(file=file_of(rows._row)).agg(rows=rows.count()).to_pyarrow().to_pylist()
    return {row["file"]: row["rows"] for row in counted}


def _live_accounts(vault: Vault, members: Members) -> list[ir.Table]:
    """The accounts of accepted rows but for those of erased people, which nobody keeps."""
    return [known.anti_join(erased_accounts(vault, known, namespace), "account_id") for (_, namespace), known in members.items()]


def _dry_tables(prepared: list[Prepared]) -> tuple[TableRecord, ...]:
    rows: dict[str, int] = {}
    for item in prepared:
        for mapped in item.tables:
            rows[mapped.table] = rows.get(mapped.table, 0) + mapped.totals.rows
    return tuple(TableRecord(name, rows[name]) for name in TABLES if name in rows)


def _contact_reports(prepared: list[Prepared]) -> tuple[ContactReport, ...]:
    found: dict[str, tuple[int, int]] = {}
    for rows in (rows for item in prepared for rows in item.contacts):
        for row in rows.group_by("kind").agg(values=rows.count(), good=rows.valid.sum()).to_pyarrow().to_pylist():
            values, invalid = found.get(row["kind"], (0, 0))
            found[row["kind"]] = values + row["values"], invalid + row["values"] - int(row["good"])
    return tuple(ContactReport(kind, *numbers) for kind, numbers in sorted(found.items()))


# -- the folder that a load works in
# ---------------------------------------------------------------------------------------


@contextmanager
def workspace_of(lake: Lake) -> Iterator[Path]:
    """A private folder below the spill folder, gone afterwards; those of dead processes go first."""
    spill = lake.root.parent / "spill"
    with spool.writing(spill):
        spill.mkdir(parents=True, exist_ok=True, mode=0o700)
        processes.clear(spill, "ingest_*")
        work = Path(tempfile.mkdtemp(prefix=f"ingest_{os.getpid()}_", dir=spill))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
