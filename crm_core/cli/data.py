"""Commands that bring data in and take it back: simulate, ingest, loads, undo, rejects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crm_core.cli.output import actor, local, open_workspace, say, table, working
from crm_core.errors import InputError

if TYPE_CHECKING:
    from crm_core.ingest import LoadReport
    from crm_core.store.ledger import MoneyRecord, TableRecord
    from crm_core.workspace import Workspace

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
            folder, members=members, seed=seed, days=days, shape=shape, exported_on=parse_date(exported_on) if exported_on else None
        )
    rows = [{"file": name, "rows": count} for name, count in summary.rows.items()]
    say(asdict(summary), [*table(rows), f"written to {folder} in {summary.seconds:.1f} s"])


def ingest(
    source: str = typer.Argument("", help="a file of conf/sources/, without .yml"),
    paths: list[Path] = typer.Argument(None, help="files, or folders of files; none: the source's database"),
    dry_run: bool = typer.Option(False, "--dry-run", help="does everything but writing"),
    full: bool = typer.Option(False, "--full", help="the whole database, whatever was read before"),
    inbox: bool = typer.Option(False, "--inbox", help="what lies in data/inbox, of SOURCE or of every source"),
    suggest: Path = typer.Option(None, "--suggest", help="draft a source from this file; loads nothing"),
    name: str = typer.Option("", "--name", help="name of the source that --suggest drafts"),
) -> None:
    """Load files of a source, its database, or the inbox; prints what became of every row."""
    from crm_core.ingest import ingest as load

    if suggest is not None:
        _suggest(suggest, name, bool(source or paths or dry_run or full or inbox))
        return
    if inbox:
        _take_in(source, bool(paths or dry_run or full))
        return
    if not source:
        raise InputError("name a source and at least one file or folder: crm ingest SOURCE PATH...")
    workspace = open_workspace(make=True)
    with working(f"loading {source}"):
        report = load(
            workspace.config, workspace.lake, workspace.vault, source, list(paths or ()),
            dry_run=dry_run, full=full, actor=actor(),
        )  # fmt: skip
    if not dry_run:
        workspace.renew_links(actor())
    say(_report(report), _lines(report))


def _suggest(path: Path, name: str, more: bool) -> None:
    from crm_core.ingest import suggest

    if more:
        raise InputError("--suggest drafts a source from one file: crm ingest --suggest FILE [--name NAME]")
    workspace = open_workspace(make=True)
    with working(f"looking at {path.name}"):
        draft = suggest(workspace.config, workspace.lake, path, name)
    say(asdict(draft), draft.text.rstrip("\n").split("\n"))


def _take_in(source: str, more: bool) -> None:
    from crm_core import runs

    if more:
        raise InputError("--inbox takes what lies in data/inbox: name a source at most, no files and no other option")
    workspace = open_workspace(make=True)
    waiting, problems = runs.inbox(workspace)
    if source:
        workspace.config.source(source)
        waiting, problems = [name for name in waiting if name == source], {}
    found, lines = [], []
    for name in waiting:
        with working(f"loading the inbox of {name}"):
            report = runs.take_in(workspace, name, actor())
        found.append({**asdict(report), "loads": [_report(each) for each in report.loads]})
        for each in report.loads:
            lines += [f"-- {name}", *_lines(each), ""]
        lines += [f"{name}/{file} stays: {reason}" for file, reason in report.left.items()]
        lines += [f"{name}/{file} is in the lake and was removed from the inbox" for file in report.removed]
        problems |= {f"{name}/{file}": reason for file, reason in report.problems.items()}
    workspace.renew_links(actor())
    say({"sources": found, "problems": problems}, lines or [f"nothing to load lies in {workspace.inbox_dir}"])
    if problems:
        raise InputError("\n".join(f"{name} was not loaded: {reason}" for name, reason in problems.items()))


def loads(load_id: str = typer.Argument("", help="one load: what became of every row and every sum")) -> None:
    """List the loads of this workspace, newest first, or show one load's whole reconciliation."""
    from crm_core.ingest import loads as listed

    workspace = open_workspace()
    if load_id:
        _one_load(workspace, load_id)
        return
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


def _one_load(workspace: Workspace, load_id: str) -> None:
    from crm_core.ingest import history
    from crm_core.store.ledger import money_in, tables_in

    history.load(workspace.ledger, load_id)  # names the nearest one where there is none
    load, files = next(found for found in history.loads(workspace.ledger) if found[0].load_id == load_id)
    detail, zone = load.detail, workspace.config.project.zone
    rows = [
        {
            "file": file.name,
            "feed": file.feed,
            "read": file.rows_read,
            "accepted": file.rows_accepted,
            "duplicate": file.rows_duplicate,
            "rejected": file.rows_rejected,
            "of them erased": file.detail.get("erased", 0),
            "unknown headings": ", ".join(file.detail.get("unknown_headings", [])),
        }
        for file in files
    ]
    totals = {
        "read": load.rows_read,
        "accepted": load.rows_accepted,
        "duplicate": load.rows_duplicate,
        "rejected": load.rows_rejected,
        "erased": detail.get("rows_erased", 0),
    }
    head = {"load_id": load.load_id, "source": load.source, "state": load.state, "finished_at": load.finished_at}
    refused = [f"refused {each['rows']:,}: {each['file']}, {each['reason']}" for each in detail.get("rejects", [])]
    total = (
        f"read {load.rows_read:,} = accepted {load.rows_accepted:,} + duplicate {load.rows_duplicate:,} "
        f"+ rejected {load.rows_rejected:,} (of them erased {totals['erased']:,})"
    )
    state = f"load {load.load_id} of {load.source}, {load.state}, finished {local(load.finished_at, zone)} in {zone}"
    say({**head, **totals, "files": rows, "detail": detail}, [
        state, *table(rows), "", *_changes(tables_in(detail), money_in(detail)), *refused, total,
    ])  # fmt: skip


def undo(load_id: str) -> None:
    """Take one load back: tables become what the other loads say."""
    from crm_core.ingest import undo as take_back

    workspace = open_workspace()
    with working(f"taking back {load_id}"):
        report = take_back(workspace.lake, workspace.vault, load_id, actor=actor())
        workspace.renew_links(actor())
    keys = [{"table": name, **asdict(counts)} for name, counts in report.tables.items()]
    say(asdict(report), [f"load {load_id} is taken back", *table(keys)])


def rejects(
    load_id: str,
    limit: int = typer.Option(20, "--limit", min=1, help="rows shown"),
    fix: Path = typer.Option(None, "--fix", help="write them unmasked to FILE.csv or FILE.xlsx, to mend and load again"),
) -> None:
    """Show the rows that a load refused, with file, row number and reason; contact fields are masked."""
    from crm_core.ingest import history
    from crm_core.ingest import rejects as refused

    workspace = open_workspace()
    if fix is not None:
        _export_rejects(workspace, load_id, fix)
        return
    found = refused(workspace.lake, load_id)
    total = int(found.count().to_pyarrow().as_py())
    shown = found.order_by(["file", "row_number"]).limit(limit).to_pyarrow().to_pylist()
    lines = [f"{row['file']} row {row['row_number']}: {row['reason']}" for row in shown]
    more = [f"… {total - len(shown):,} more; see them with --limit {total}"] if total > len(shown) else []
    undone = history.load(workspace.ledger, load_id).state != "live"
    gone = ["the load was taken back, and what it refused went with it"] if undone else []
    say({"load_id": load_id, "rejected": total, "rows": shown}, [*lines, *more, f"{total:,} rows refused", *gone])


def _export_rejects(workspace: Workspace, load_id: str, path: Path) -> None:
    from crm_core.ingest import export_refused, history

    own = (workspace.data_dir, workspace.reports_dir)
    with working("writing the refused rows"):
        made = export_refused(workspace.config, workspace.ledger, workspace.vault, load_id, path, outside=own, actor=actor())
    lines = [f"{made.rows:,} refused rows and {made.malformed:,} malformed lines, unmasked, for you alone to read:"]
    lines += [f"  {each}" for each in made.files]
    if made.live_cells:
        lines.append(
            f"{made.live_cells:,} cells begin like a formula; a spreadsheet would run them: mend in a text editor, "
            "or write --fix FILE.xlsx, where every cell is text"
        )
    if made.grouped:
        lines.append(
            f"several rows of {', '.join(made.grouped)} make one (such as the lines of an order): do not load mended rows of it "
            f"alone, they would replace their group; mend the source's own file, crm undo {load_id}, and load that"
        )
    record = history.load(workspace.ledger, load_id)
    alone = "" if made.grouped else f"mend, then: crm ingest {record.source} {made.files[0]}; then "
    say(asdict(made), [*lines, f"{alone}delete these files when you are done"])


def _report(report: LoadReport) -> dict[str, object]:
    totals = {"read": report.read, "accepted": report.accepted, "duplicate": report.duplicate, "rejected": report.rejected}
    return {**asdict(report), **totals, "adds_up": report.adds_up}


def _lines(report: LoadReport) -> list[str]:
    from crm_core.ingest import heading_notes

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
            "note": f"known: load {file.known_load}"
            if file.known_load
            else ""
            if file.encoding.startswith("utf-8")
            else file.encoding,
        }
        for file in report.files
    ]
    refused = [
        f"refused {each.rows:,}: {each.file}, {each.reason} (rows {', '.join(map(str, each.row_numbers))}"
        f"{' …' if each.rows > len(each.row_numbers) else ''})"
        for each in report.rejects
    ]
    contacts = [f"vault: {each.values:,} {each.kind} values, {each.invalid:,} not usable" for each in report.contacts]
    notes = heading_notes(report.files)
    sheets = [f"not read: sheet {sheet} of {file.name}" for file in report.files for sheet in file.other_sheets]
    ignored = [f"left alone (no feed of this source fits): {', '.join(report.ignored)}"] if report.ignored else []
    total = f"read {report.read:,} = accepted {report.accepted:,} + duplicate {report.duplicate:,} + rejected {report.rejected:,}"
    where = "dry run: nothing was written" if report.dry_run else f"load {report.load_id}"
    more = [f"every refused row: crm rejects {report.load_id}"] if report.rejected and not report.dry_run else []
    return [
        *table(files), "", *_changes(() if report.dry_run else report.tables, report.balances), *contacts, *refused,
        *more, *notes, *sheets, *ignored, total,
        f"{where}, {report.seconds:.1f} s",
    ]  # fmt: skip


def _changes(tables: Sequence[TableRecord], sums: Iterable[MoneyRecord]) -> list[str]:
    """What became of the rows of a load, table by table, the keys told in two ways, and the sums that had to agree."""
    rows = [
        {
            "table": each.table, "inserted": each.inserted, "updated": each.updated, "unchanged": each.unchanged,
            "told again": each.again, "in conflict": each.conflicts,
        }
        for each in tables
    ]  # fmt: skip
    twice = [
        f"{each.table}: {each.conflicts:,} keys with different content for one time, here or in an earlier load, e.g. "
        f"{', '.join(each.examples)}"
        for each in tables
        if each.conflicts
    ]
    money = [f"{each.name}: {each.rows:,} in the files = {each.written:,} written" for each in sums]
    if again := sum(each.again for each in tables):
        money.append(f"{again:,} rows were told again: of each record one row counts, so the lake may hold less than was written")
    return [*(table(rows) if rows else []), *twice, *money]
