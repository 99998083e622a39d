"""Files of one layout as one table of raw text: `_row` and a column for each field; malformed lines apart.

`_row` says file and row in one number (`file_of`, `number_of`): the row as a spreadsheet counts it, headings
included. CSV goes once through the engine's reader into Parquet, in file order and in parallel, because only
there a row's position is cheap: position, rows above and malformed lines before it make `_row`. Lines with
too many or too few cells or broken quotes are set aside by the engine with their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from crm_core.ingest import json_lines
from crm_core.ingest.engine_errors import engine_errors
from crm_core.ingest.opening import LINE_LIMIT, Opened
from crm_core.store import frugal

ROW_BITS = 40
LINE = "_line"
"""The column of `lines` that holds a line of JSON as it stands in the file."""
COPY = "_copy"
LAYOUT = {"compression": "uncompressed", "parquet_version": "V2", "dictionary_size_limit": 1}
"""Of files that are read a few times and thrown away: told by differences, columns are small enough, and looking for
repeated values or pressing costs more than it saves."""


@dataclass(frozen=True)
class Batch:
    """Files of one layout. `lines`: one text column per field found and `other(n)` for each further column n of the file,
    which only refused rows are asked for; and `_row`, but where only rows that were read through in order can be numbered
    (`settle` does that), then the file's path in COPY if they are several; `malformed`: `_row`, reason, text (the lines as
    they stand there).
    """

    name: str
    feed: str
    files: tuple[Opened, ...]
    lines: ir.Table
    malformed: ir.Table | None = None

    @property
    def shown(self) -> dict[str, str]:
        """Field → heading, for the fields that these files have."""
        return self.files[0].headings.shown

    @property
    def json(self) -> bool:
        """Whether the files are lines of JSON: a refused one is kept as a whole, not cell by cell."""
        return LINE in self.lines.columns

    @property
    def headings(self) -> tuple[str, ...]:
        """What a refused row's cells are headed; of lines of JSON each names its own."""
        return json_lines.HEADINGS if self.json else self.files[0].all_headings

    @property
    def held(self) -> list[str]:
        """The columns of `lines` that hold text of the files."""
        return [name for name in self.lines.columns if name not in ("_row", COPY)]

    @property
    def places(self) -> list[str]:
        """The column of `lines` that holds each column of the files, in their order."""
        fields = {column: field for field, column in self.files[0].headings.positions.items()}
        return [fields.get(place, other(place)) for place in range(len(self.files[0].all_headings))]

    @property
    def label(self) -> str:
        """The files' names, for messages about all of them."""
        names = [file.name for file in self.files]
        return names[0] if len(names) == 1 else f"one of {', '.join(names[:5])}{' …' if len(names) > 5 else ''}"


def other(place: int) -> str:
    """The name of a column that no field reads, by its place in the file from 0."""
    return f"_other_{place}"


def _columns_of(file: Opened) -> dict[str, int]:
    """Column of `raw` → place in the file."""
    used = set(file.headings.positions.values())
    rest = [place for place in range(len(file.all_headings)) if place not in used]
    return {**file.headings.positions, **{other(place): place for place in rest}}


def file_of(row: Any) -> Any:
    """Which file of the batch a `_row` lies in, from 0."""
    return row >> ROW_BITS


def number_of(row: Any) -> Any:
    """The number of a `_row` in its file, as a spreadsheet shows it (Parquet: from 1)."""
    return row & ((1 << ROW_BITS) - 1)


def read_batch(engine: Any, name: str, files: Sequence[Opened], work: Path) -> Batch:
    """Reads files of one layout. InputError when one cannot be read through, RunFailed on a full disk."""
    first = files[0]
    label = Batch(name, first.feed, tuple(files), ibis.memtable({"_row": [0]})).label
    with engine_errors(label):
        if first.format.startswith("csv"):
            return Batch(name, first.feed, tuple(files), _lines(engine, name, files))
        if first.format.startswith("jsonl"):
            return whole(engine, Batch(name, first.feed, tuple(files), _lines(engine, name, files)), work)
        parts = [_columns(engine, file, place) for place, file in enumerate(files)]
        return Batch(name, first.feed, tuple(files), parts[0] if len(parts) == 1 else ibis.union(*parts))


def whole(engine: Any, batch: Batch, work: Path) -> Batch:
    """The batch with its text in Parquet, numbered."""
    if "_row" in batch.lines.columns:
        return batch
    path = work / f"raw_{batch.name}.parquet"
    with engine_errors(batch.label):
        read_through(engine, batch, batch.lines, path)
        rows, batch = settle(engine, batch, path)
        if batch.files[0].format.startswith("jsonl"):
            rows, malformed = _objects(rows, batch.malformed)
            batch = replace(batch, malformed=malformed)
    return replace(batch, lines=rows)


def read_through(engine: Any, batch: Batch, rows: ir.Table, path: Path) -> None:
    """Writes `rows`, made of all of the batch's lines and in their order, to Parquet at `path`: in little memory, or where
    that does not do (very wide rows), once more in as much as the engine may have.
    """
    try:
        with frugal(engine):
            engine.to_parquet(rows, path, **LAYOUT)
    except duckdb.OutOfMemoryException:
        _forget_errors(engine, batch)
        engine.to_parquet(rows, path, **LAYOUT)


def _error_tables(batch: Batch) -> tuple[str, str]:
    """Where the engine notes malformed lines while it reads, and the files that it read."""
    return f"malformed_{batch.name}", f"scans_{batch.name}"


def _forget_errors(engine: Any, batch: Batch) -> None:
    for table in _error_tables(batch):
        engine.drop_table(table, force=True)


def settle(engine: Any, batch: Batch, path: Path) -> tuple[ir.Table, Batch]:
    """The rows in Parquet at `path`, made of all of the batch's lines and in their order, with `_row`; and the batch with
    its malformed lines, which are known once the lines were read.
    """
    if "_row" in batch.lines.columns:
        return engine.read_parquet(path), batch
    rejects, scans = (engine.table(name) for name in _error_tables(batch))
    errors = _errors(engine, rejects, scans, path.with_name(f"errors_{path.name}"))
    _forget_errors(engine, batch)
    rows, malformed = _numbered(engine, engine.read_parquet(path, file_row_number=True), batch.files, errors)
    if any(file.blanks for file in batch.files):
        rows, malformed = _past_blanks(rows, batch.files), malformed if malformed is None else _past_blanks(malformed, batch.files)
    return rows, replace(batch, malformed=malformed)


def _columns(engine: Any, file: Opened, place: int) -> ir.Table:
    """A Parquet file, or the Parquet copy of a sheet, as text."""
    table = engine.read_parquet(file.copy, file_row_number=True)
    names = table.columns
    texts = {name: _as_text(table[names[column]]) for name, column in _columns_of(file).items()}
    return table.select(_row=table.file_row_number + ((place << ROW_BITS) + file.rows_above + 1), **texts)


@ibis.udf.scalar.builtin(name="printf", signature=(("string", "float64"), "string"))
def _printf(form: Any, value: Any) -> Any: ...


def _as_text(value: Any) -> Any:
    """A float in the 15 digits that are sure: 17850.0, as pandas writes whole numbers with gaps, is the customer 17850, and
    51.300000000000004 the amount 51.3."""
    return _printf("%.15g", value.cast("float64")) if value.type().is_floating() else value.cast("string")


def _lines(engine: Any, name: str, files: Sequence[Opened]) -> ir.Table:
    """The files' cells as text, not read yet; malformed lines go to two tables of the engine while they are."""
    first = files[0]
    json = first.format.startswith("jsonl")
    columns = {f"c{place}": "VARCHAR" for place in range(len(first.all_headings))}
    cells: dict[str, Any] = {"delim": first.delimiter, "quote": '"', "escape": '"', "columns": columns}
    if first.fill:  # the engine cannot fill rows and read them in parallel where quotes may hold line ends
        cells |= {"null_padding": True, "parallel": False}
    lines = engine.read_csv(
        [str(file.copy) for file in files],
        auto_detect=False,
        header=False,
        filename=len(files) > 1,
        store_rejects=True,
        rejects_table=f"malformed_{name}",
        rejects_scan=f"scans_{name}",
        rejects_limit=0,
        max_line_size=LINE_LIMIT,
        **(json_lines.LINES if json else cells),
    )
    wanted: dict[str, Any] = {field: f"c{column}" for field, column in _columns_of(first).items()}
    if json:
        wanted = json_lines.cells(lines.line, {field: first.pointers[column] for field, column in first.headings.positions.items()})
        wanted |= {"_good": json_lines.is_object(lines.line), LINE: lines.line}
    return lines.select(**({COPY: "filename"} if len(files) > 1 else {}), **wanted)


def _objects(rows: ir.Table, malformed: ir.Table | None) -> tuple[ir.Table, ir.Table | None]:
    """The lines that are JSON objects; the others with the malformed ones, all for the same reason."""
    bad = rows.filter(~rows._good).select("_row", reason=ibis.literal(json_lines.REASON), text=rows[LINE])
    if malformed is not None:
        bad = bad.union(malformed.mutate(reason=ibis.literal(json_lines.REASON)))
    elif not bad.count().to_pyarrow().as_py():
        return rows.drop("_good"), None
    return rows.filter(rows._good).drop("_good"), bad


def _numbered(engine: Any, table: ir.Table, files: Sequence[Opened], errors: ir.Table) -> tuple[ir.Table, ir.Table | None]:
    """`table` with `_row`, and the malformed lines with theirs: each stretch of the file has a constant
    distance.
    """
    rows: dict[str, int] = {}
    if len(files) > 1:
        counted = table.group_by(COPY).agg(rows=table.count()).to_pyarrow().to_pylist()
        rows = {row[COPY]: row["rows"] for row in counted}
        table = table.drop(COPY)
    start, known = 0, []
    for place, file in enumerate(files):
        base = (place << ROW_BITS) + file.rows_above + 1
        known.append({"_copy": str(file.copy), "_start": start, "_distance": base - start, "_base": base - 1})
        start += rows.get(str(file.copy), 0)
    starts = ibis.memtable(pa.Table.from_pylist(known))
    stretches = starts.select(_after="_start", _distance="_distance")
    malformed = None
    if errors.count().to_pyarrow().as_py():
        before = ibis.row_number().over(group_by=errors._copy, order_by=errors.line)
        placed = errors.mutate(_before=before).join(starts, "_copy")
        malformed = placed.select(_row=placed._base + placed.line, reason=placed.reason, text=placed.text)
        gaps = placed.select(
            _after=placed._start + placed.line - 1 - placed._before, _distance=placed._distance + placed._before + 1
        )
        stretches = stretches.union(gaps)
    if len(known) == 1 and malformed is None:
        return table.mutate(_row=table.file_row_number + known[0]["_distance"]).drop("file_row_number"), None
    steps = stretches.group_by("_after").agg(_distance=stretches._distance.max())
    joined = table.asof_join(steps, table.file_row_number >= steps._after)
    numbered = joined.mutate(_row=joined.file_row_number + joined._distance)
    return numbered.drop("file_row_number", "_after", "_distance"), malformed


def _past_blanks(rows: ir.Table, files: Sequence[Opened]) -> ir.Table:
    """`rows` with `_row` as a spreadsheet shows it, which counts the blank lines that were taken out."""
    starts = [(place << ROW_BITS, 0) for place in range(len(files))]
    places = [
        ((place << ROW_BITS) + file.rows_above + 1 + kept, number)
        for place, file in enumerate(files)
        for number, kept in enumerate(file.blanks, start=1)
    ]
    known = dict([*starts, *places])  # of several blank lines in one place the last counts them all
    steps = ibis.memtable(pa.table({"_from": pa.array(known, pa.int64()), "_blanks": pa.array(known.values(), pa.int64())}))
    rows = rows.view()
    joined = rows.asof_join(steps, rows._row >= steps._from)
    return joined.mutate(_row=joined._row + joined._blanks).drop("_from", "_blanks")


def _errors(engine: Any, errors: ir.Table, scans: ir.Table, path: Path) -> ir.Table:
    """The malformed lines: _copy, line (from 1, blank lines were dropped before), reason, text; in Parquet
    at `path`.
    """
    text = errors.csv_line.strip()
    lines = text.length() - text.replace("\n", "").length() + 1
    found = errors.error_message.re_extract(r"Found: (\d+)", 1).try_cast("int64")
    wanted = errors.error_message.re_extract(r"Columns: (\d+)", 1)
    reason = ibis.cases(
        (
            errors.error_type.cast("string") == "UNQUOTED VALUE",
            ibis.literal("a quotation mark is opened and never closed (it takes in ") + lines.cast("string") + " lines)",
        ),
        (errors.error_type.cast("string") == "LINE SIZE OVER MAXIMUM", "the row is longer than 2 MB"),
        (found.notnull(), ibis.literal("the row has ") + found.cast("string") + " cells, the headings are " + wanted),
        else_=errors.error_type.cast("string").lower(),
    )
    # a line is reported once for each cell it lacks or has too many; the last one too many and the first
    # lacking count right
    order = ibis.ifelse(errors.error_type.cast("string") == "TOO MANY COLUMNS", -errors.column_idx, errors.column_idx)
    kind = errors.error_type.cast("string")
    rank = ibis.row_number().over(group_by=[errors.file_id, errors.line], order_by=[kind.desc(), order])
    ranked = errors.select("scan_id", "file_id", line=errors.line.cast("int64"), reason=reason, text=errors.csv_line, rank=rank)
    names = scans.select("scan_id", "file_id", _copy="file_path").distinct()
    once = ranked.filter(ranked.rank == 0).join(names, ["scan_id", "file_id"]).select("_copy", "line", "reason", "text")
    engine.to_parquet(once, path)
    return engine.read_parquet(path)
