"""Commands that bring data in and take it back: simulate, ingest, loads, undo, rejects."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crm_core.cli.output import actor, local, open_workspace, say, table, working
from crm_core.errors import InputError

if TYPE_CHECKING:
    from crm_core.ingest import LoadReport

MEMBERS = typer.Option(20_000, "--members", min=1, help="how many members")
SEED = typer.Option(20_261_031, "--seed", help="the same seed gives the same bytes")
DAYS = typer.Option(730, "--days", min=60, help="how many days of history")


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    for command in (simulate, ingest, loads, undo, rejects):
        app.command()(command)


def simulate(
    folder: Path,
    members: int = MEMBERS,
    seed: int = SEED,
    days: int = DAYS,
    exported_on: str = typer.Option("", "--exported-on", help="only what a shop would have exported on that day"),
    shape: str = typer.Option("sample", "--shape", help="whose exports: sample, taobao, jd, youzan, shopify, …"),
) -> None:
    """Write sample files as a shop exports them, plus truth/ (what really drives them)."""
    from crm_core.simulate import simulate as write
    from crm_core.workspace import parse_date

    with working("simulating a shop"):
        summary = write(
            folder,
            members=members,
            seed=seed,
            days=days,
            shape=shape,
            exported_on=parse_date(exported_on) if exported_on else None,
        )
    rows = [{"file": name, "rows": count} for name, count in summary.rows.items()]
    say(asdict(summary), [*table(rows), f"written to {folder} in {summary.seconds:.1f} s"])


def ingest(
    source: str = typer.Argument("", help="a file of conf/sources/, without .yml"),
    paths: list[Path] = typer.Argument(None, help="files, or folders of files; none: the source's database"),
    dry_run: bool = typer.Option(False, "--dry-run", help="does everything but writing"),
    full: bool = typer.Option(False, "--full", help="the whole database, whatever was read before"),
) -> None:
    """Load files of a source, or its database; prints what became of every row."""
    from crm_core.ingest import ingest as load

    if not source:
        raise InputError("name a source and at least one file or folder: crm ingest SOURCE PATH...")
    workspace = open_workspace(make=True)
    with working(f"loading {source}"):
        report = load(
            workspace.config, workspace.lake, workspace.vault, source, list(paths or ()),
            dry_run=dry_run, full=full, actor=actor(),
        )  # fmt: skip
    say(_report(report), _lines(report))


def loads() -> None:
    """List the loads of this workspace, newest first."""
    from crm_core.ingest import loads as listed

    workspace = open_workspace()
    zone = workspace.config.project.zone
    rows: list[dict[str, Any]] = [
        {
            "load_id": load.load_id,
            "source": load.source,
            "state": load.state,
            "finished_at": load.finished_at,
            "read": load.rows_read,
            "accepted": load.rows_accepted,
            "duplicate": load.rows_duplicate,
            "rejected": load.rows_rejected,
        }
        for load, _ in listed(workspace.ledger)
    ]
    shown = [{**row, "finished_at": row["finished_at"] and local(row["finished_at"], zone)} for row in rows]
    none = ["nothing was loaded yet; begin with: crm ingest SOURCE PATH..."]
    say({"loads": rows}, [*table(shown), f"finished_at is in {zone}"] if rows else none)


def undo(load_id: str) -> None:
    """Take one load back: tables become what the other loads say."""
    from crm_core.ingest import undo as take_back

    workspace = open_workspace()
    with working(f"taking back {load_id}"):
        report = take_back(workspace.lake, workspace.vault, load_id, actor=actor())
    keys = [{"table": name, **asdict(counts)} for name, counts in report.tables.items()]
    say(asdict(report), [f"load {load_id} is taken back", *table(keys)])


def rejects(
    load_id: str,
    limit: int = typer.Option(20, "--limit", min=1, help="rows shown"),
) -> None:
    """Show the rows that a load refused, with file, row number and reason; contact fields are masked."""
    from crm_core.ingest import rejects as refused

    workspace = open_workspace()
    found = refused(workspace.lake, load_id)
    total = int(found.count().to_pyarrow().as_py())
    shown = found.order_by(["file", "row_number"]).limit(limit).to_pyarrow().to_pylist()
    lines = [f"{row['file']} row {row['row_number']}: {row['reason']}" for row in shown]
    more = [f"… {total - len(shown):,} more; see them with --limit {total}"] if total > len(shown) else []
    say({"load_id": load_id, "rejected": total, "rows": shown}, [*lines, *more, f"{total:,} rows refused"])


def _report(report: LoadReport) -> dict[str, object]:
    totals = {
        "read": report.read,
        "accepted": report.accepted,
        "duplicate": report.duplicate,
        "rejected": report.rejected,
    }
    return {**asdict(report), **totals, "adds_up": report.adds_up}


def _lines(report: LoadReport) -> list[str]:
    if report.nothing_new:
        known = ", ".join(sorted({file.known_load for file in report.files}))
        return [f"nothing changed: every file was loaded before, byte for byte (load {known})"]
    files = [
        {
            "file": file.name,
            "feed": file.feed,
            "read": file.read,
            "accepted": file.accepted,
            "duplicate": file.duplicate,
            "rejected": file.rejected,
            "note": f"known: load {file.known_load}" if file.known_load else "",
        }
        for file in report.files
    ]
    tables = [
        {
            "table": each.table,
            "inserted": each.inserted,
            "updated": each.updated,
            "unchanged": each.unchanged,
            "key twice": each.conflicts,
        }
        for each in report.tables
    ]
    twice = [
        f"{each.table}: {each.conflicts:,} keys named twice with different content, e.g. {', '.join(each.examples)}"
        for each in report.tables
        if each.conflicts
    ]
    refused = [
        f"refused {each.rows:,}: {each.file}, {each.reason} (rows {', '.join(map(str, each.row_numbers))}"
        f"{' …' if each.rows > len(each.row_numbers) else ''})"
        for each in report.rejects
    ]
    contacts = [f"vault: {each.values:,} {each.kind} values, {each.invalid:,} not usable" for each in report.contacts]
    sums = [f"{each.name}: {each.rows:,} in the files = {each.written:,} written" for each in report.balances]
    ignored = [f"left alone (no feed of this source fits): {', '.join(report.ignored)}"] if report.ignored else []
    total = (
        f"read {report.read:,} = accepted {report.accepted:,} + duplicate {report.duplicate:,} "
        f"+ rejected {report.rejected:,}"
    )
    where = "dry run: nothing was written" if report.dry_run else f"load {report.load_id}"
    more = [f"every refused row: crm rejects {report.load_id}"] if report.rejected and not report.dry_run else []
    return [
        *table(files), "", *([] if report.dry_run else table(tables)), *twice, *sums, *contacts, *refused, *more, *ignored, total,
        f"{where}, {report.seconds:.1f} s",
    ]  # fmt: skip
