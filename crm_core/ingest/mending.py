"""What a load refused, unmasked, as files to mend and load again: the headings and columns of the file, in their order.

The rows come from the vault, where they are kept for `reject_expiry_days`. Nothing in them is altered: a CSV holds them
as they were read; a workbook holds them as text, so that no spreadsheet turns a phone into 1.38E+10 or runs a formula.
Refused lines of JSON make a file FILE.jsonl as they stand. Beside FILE lie FILE.reasons.csv (which row was refused why) and,
where there were lines that could not be cut into cells, FILE.malformed.txt with these lines as they stand in the source's file.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from crm_core.config import Config
from crm_core.errors import InputError, RunFailed
from crm_core.ingest.expressions import makes_groups
from crm_core.ingest.history import load
from crm_core.ingest.json_lines import HEADINGS as JSON
from crm_core.store import Ledger, Vault

LIVE = r"^[=@\t\r]|^[+\-].*[^\d\s.,()\-]"
"""Cells that a spreadsheet would take for a formula."""
REASONS = ("mended_row", "file", "row", "field", "reason")
SHEET_ROWS = 1_048_575


@dataclass(frozen=True)
class Mended:
    """Files written for one load. `live_cells` would run as formulas if a spreadsheet opened the CSV. `grouped` names feeds
    of which several rows make one (the lines of an order): a mended row alone would take the place of its whole group.
    """

    load_id: str
    files: tuple[Path, ...]
    rows: int
    malformed: int
    live_cells: int
    grouped: tuple[str, ...] = ()


Layout = tuple[str, tuple[str, ...]]
"""Feed and headings: what rows of one file have in common."""


def export_refused(
    config: Config, ledger: Ledger, vault: Vault, load_id: str, path: Path, *, outside: Sequence[Path], actor: str
) -> Mended:
    """Writes the rows that `load_id` refused to `path` (.csv or .xlsx; one file per feed where there are several).

    The files are readable by their owner alone, and the audit trail says who asked before they exist. InputError when
    there is nothing (left) to mend, when a file is there already, or when `path` lies in one of `outside`, the
    workspace's own folders, where no contact data may be; RunFailed when it cannot be written.
    """
    _check_path(path, outside)
    record = load(ledger, load_id)
    kept = vault.refused(load_id)
    if kept is None:
        raise InputError(
            f"no refused rows of load {load_id} are kept: it refused none, was taken back, or is older than "
            "reject_expiry_days in conf/project.yml; look at them masked with: crm rejects " + load_id
        )
    layouts = _layouts(kept)
    targets = _targets(path, sorted(layouts))
    rows = sum(layouts.values())
    malformed = sum(len(lines) for lines in _malformed(kept))
    with ledger.transaction() as session:
        ledger.audit(session, "export_rejects", load_id, {"rows": rows, "malformed": malformed}, actor)
    reader = config.source(record.source).feeds
    written: list[Path] = []
    try:
        live = 0
        for layout, target in targets.items():
            written.append(target)
            live += _write_rows(kept, layout, target, reader[layout[0]].reader)
        written += _write_reasons(kept, path, targets)
        if malformed:
            written.append(path.with_name(f"{path.name}.malformed.txt"))
            with _private(written[-1]) as handle:
                for lines in _malformed(kept):
                    handle.writelines(f"{line}\n".encode() for line in lines)
    except OSError as error:
        for left in written:
            left.unlink(missing_ok=True)
        raise RunFailed(f"{path} cannot be written: {error.strerror or error}; nothing was exported") from None
    grouped = tuple(sorted({feed for feed, _ in layouts if makes_groups(reader[feed])}))
    return Mended(load_id, tuple(written), rows, malformed, live, grouped)


def _check_path(path: Path, outside: Sequence[Path]) -> None:
    if path.suffix.lower() not in (".csv", ".xlsx"):
        raise InputError(f"'{path.name}' is neither .csv nor .xlsx; write --fix FILE.csv or --fix FILE.xlsx")
    if any(path.resolve().is_relative_to(folder.resolve()) for folder in outside):
        raise InputError(f"{path} lies in the workspace, where contact data are kept in the vault alone; name a file elsewhere")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder; make it first")


def _targets(path: Path, layouts: list[Layout]) -> dict[Layout, Path]:
    names: dict[Layout, Path] = {}
    for place, layout in enumerate(layouts):
        alike = [other for other in layouts[:place] if other[0] == layout[0]]
        tail = f"-{layout[0]}" + (f"-{len(alike) + 1}" if alike else "")
        suffix = ".jsonl" if layout[1] == JSON else path.suffix
        names[layout] = path.with_name(f"{path.stem}{'' if len(layouts) == 1 else tail}{suffix}")
    if found := [target for target in (path, *names.values()) if target.exists()]:
        raise InputError(f"{found[0]} is there already and may have been mended; name another file")
    return names


def _layouts(kept: Path) -> dict[Layout, int]:
    """Rows of each layout; a layout that has malformed lines alone counts none."""
    found: dict[Layout, int] = {}
    for batch in _batches(kept, ["feed", "headings", "cells"]):
        for feed, headings, cells in zip(batch["feed"], batch["headings"], batch["cells"].is_valid(), strict=True):
            layout = (feed.as_py(), tuple(headings.as_py()))
            found[layout] = found.get(layout, 0) + int(cells.as_py() or layout[1] == JSON)
    return found


def _batches(kept: Path, columns: list[str]) -> Iterator[pa.Table]:
    for batch in pq.ParquetFile(kept).iter_batches(20_000, columns=columns):
        yield pa.Table.from_batches([batch])


def _rows(kept: Path, layout: Layout) -> Iterator[pa.Table]:
    """The rows of one layout, malformed lines left out, in the order of file and row."""
    feed, headings = layout
    said = "text" if headings == JSON else "cells"
    for table in _batches(kept, ["feed", "headings", said, "file", "row_number", "field", "reason"]):
        ours = pc.and_(pc.equal(table["feed"], feed), table[said].is_valid())
        same = pa.array([tuple(each.as_py()) == headings for each in table["headings"]], pa.bool_())
        yield table.filter(pc.and_(ours, same))


def _malformed(kept: Path) -> Iterator[list[str]]:
    """Lines as they stand in the source's files that could not be cut into cells."""
    for table in _batches(kept, ["headings", "text"]):
        cut = pa.array([tuple(each.as_py()) != JSON for each in table["headings"]], pa.bool_())
        yield table.filter(cut)["text"].drop_null().to_pylist()


def _write_rows(kept: Path, layout: Layout, target: Path, reader: Any) -> int:
    """Returns how many cells a spreadsheet would run, were the file a CSV that it opens."""
    headings = layout[1]
    if headings == JSON:
        with _private(target) as handle:
            for rows in _rows(kept, layout):
                handle.writelines(f"{line}\n".encode() for line in rows["text"].to_pylist())
        return 0
    pieces = ([pc.list_element(rows["cells"], at) for at in range(len(headings))] for rows in _rows(kept, layout))
    if target.suffix.lower() == ".xlsx":
        _write_sheet(target, headings, pieces, reader)
        return 0
    live = 0
    delimiter = "," if reader.delimiter == "auto" else reader.delimiter
    encoding = "utf-8-sig" if reader.encoding in ("auto", "utf-8") else reader.encoding
    with _private(target) as handle, io.TextIOWrapper(handle, encoding=encoding, newline="") as text:
        text.write("\r\n" * reader.skip_lines)
        if not reader.headings:
            csv.writer(text, delimiter=delimiter).writerow(headings)
        options = arrow_csv.WriteOptions(include_header=False, delimiter=delimiter)
        for columns in pieces:
            block = io.BytesIO()
            names = [str(at) for at in range(len(headings))]
            arrow_csv.write_csv(pa.table(dict(zip(names, columns, strict=True))), block, options)
            text.write(block.getvalue().decode())
            live += sum(pc.sum(pc.match_substring_regex(column, LIVE)).as_py() or 0 for column in columns)
    return int(live)


def _write_sheet(target: Path, headings: Sequence[str], pieces: Iterator[list[Any]], reader: Any) -> None:
    try:
        import xlsxwriter
    except ImportError:
        raise InputError("writing .xlsx needs the extra: install crm-core[excel]; or name a .csv file") from None
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with _private(target) as handle, xlsxwriter.Workbook(handle, options) as book:
        sheet = book.add_worksheet()
        as_text = book.add_format({"num_format": "@"})
        line = reader.skip_lines - (1 if reader.headings else 0)
        for at, heading in enumerate(() if reader.headings else headings):
            sheet.write_string(line, at, heading, as_text)
        for columns in pieces:
            for cells in zip(*(column.to_pylist() for column in columns), strict=True):
                line += 1
                if line > SHEET_ROWS:
                    raise InputError(f"more than {SHEET_ROWS:,} rows do not fit on a sheet; name a .csv file")
                for at, cell in enumerate(cells):
                    sheet.write_string(line, at, cell, as_text)


def _write_reasons(kept: Path, path: Path, targets: dict[Layout, Path]) -> list[Path]:
    written = []
    for layout, target in targets.items():
        written.append(target.with_name(f"{target.name}.reasons.csv"))
        with _private(written[-1]) as handle, io.TextIOWrapper(handle, encoding="utf-8-sig", newline="") as text:
            out = csv.writer(text)
            out.writerow(REASONS)
            at = 0 if layout[1] == JSON else 1
            for table in _rows(kept, layout):
                for row in table.select(["file", "row_number", "field", "reason"]).to_pylist():
                    at += 1
                    out.writerow([at, *(_guarded(value) for value in row.values())])
    return written


def _guarded(value: Any) -> Any:
    # this file is for people to read, not to load: what would run in a spreadsheet gets an apostrophe
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value


def _private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
