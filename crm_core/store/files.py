"""Rows of the engine into a Delta table without leaving the engine: it writes the Parquet files, deltalake commits them.

deltalake's own writer takes the rows as one Arrow stream and splits them by partition in one thread; the engine's COPY does
so in all of them, three times faster. Where the table would change its columns, deltalake's writer is taken.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import Schema
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, create_table_with_add_actions

from crm_core.errors import RunFailed
from crm_core.store import delta

LOAD = "load_id"
"""The column whose range every file tells, so that taking a load back opens only the files that hold it."""
LAYOUT = {"compression": "zstd", "compression_level": 1, "row_group_size": 122_880, "dictionary_size_limit": 1000}


def can_write(engine: Any, folder: Path, rows: ir.Table) -> bool:
    """Whether the engine can write `rows` to the table in `folder` as it is: DuckDB, and the same columns."""
    if engine.name != "duckdb":
        return False
    table = delta.open_table(folder)
    return table is None or table.schema() == _schema(rows)


def write(
    engine: Any, folder: Path, rows: ir.Table, *, append: bool, partition: str = "", values: list[str] | None = None,
    month_of: str = "", lacking: Sequence[str] = (),
) -> int:  # fmt: skip
    """Commits `rows` and returns the new version. Not appended, they take the place of the whole table, or of the
    partitions `values`. `month_of`: the time whose month, written '2026-10', the partition is. Columns `lacking`, which hold
    nothing, are left out of the files; the table has them all the same.

    Raises RunFailed when the table cannot be written; files that were begun are deleted then, whatever the error.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    before, held = delta.parquet(folder), rows.drop(*lacking)
    try:
        _put(engine, folder, _told(engine, held), partition, values, month_of)
        added = [_added(folder, path, partition) for path in sorted(delta.parquet(folder) - before)]
        _commit(folder, added, _schema(rows), append, partition, values)
    except BaseException as error:
        for path in delta.parquet(folder) - before:
            path.unlink(missing_ok=True)
        if isinstance(error, DeltaError | OSError):
            raise RunFailed(f"table {folder.name} could not be written: {delta.reason(error)}; nothing was published") from None
        raise
    version = delta.current_version(folder)
    assert version is not None
    return version


def _put(engine: Any, folder: Path, rows: ir.Table, partition: str, values: list[str] | None, month_of: str) -> None:
    """Writes the files. Rows of one partition need not be split, which costs a quarter of the writing; none make no file."""
    layout = LAYOUT | _version(rows)
    split: dict[str, Any] = {"partition_by": partition, "append": True, "filename_pattern": "part-{uuid}"}
    if partition and values is not None and len(values) == 1:
        place = folder / f"{partition}={values[0]}"
        place.mkdir(exist_ok=True, mode=0o700)
        path = place / f"part-{uuid.uuid4()}.parquet"
        engine.to_parquet(rows.drop(partition), path, **layout)
        if not pq.read_metadata(path).num_rows:
            path.unlink()
    elif partition and month_of:
        _put_months(engine, folder, rows, rows[month_of], layout | split)
    elif partition:
        engine.to_parquet(rows, folder, **layout, **split)
    else:
        engine.to_parquet(rows, folder / f"part-{uuid.uuid4()}.parquet", **layout)


def _put_months(engine: Any, folder: Path, rows: ir.Table, moment: ir.TimestampValue, layout: dict[str, Any]) -> None:
    """Writes the files of each month: split by its number, which the engine does in half the time, and then moved to where its
    name is. They lie in a folder of their own till then, so that nothing that a killed writer left is taken for theirs.
    """
    partition, made = layout["partition_by"], folder / f"_made-{uuid.uuid4()}"
    try:
        engine.to_parquet(rows.mutate(**{partition: moment.year() * 100 + moment.month()}), made, **layout)
        for path in made.rglob("*.parquet"):
            year, number = divmod(int(path.parent.name.removeprefix(f"{partition}=")), 100)
            month = folder / f"{partition}={year:04}-{number:02}"
            month.mkdir(exist_ok=True, mode=0o700)
            path.rename(month / path.name)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _told(engine: Any, rows: ir.Table) -> ir.Table:
    """`rows` with each text that is the same in all of them as the one word of a type: so it is written once, and not looked
    up for every row.
    """
    words = {}
    for name in rows.columns:
        value = _origin(rows[name].op())
        if isinstance(value, ops.Literal) and value.dtype.is_string() and value.value is not None:
            word = "'" + value.value.replace("'", "''") + "'"
            macro = f"word_{hashlib.sha256(word.encode()).hexdigest()[:32]}"
            engine.raw_sql(f"CREATE OR REPLACE TEMP MACRO {macro}() AS {word}::ENUM({word})")
            words[name] = ibis.udf.scalar.builtin(lambda: None, name=macro, signature=((), "string"))()
    return rows.mutate(**words)


def _origin(value: Any) -> Any:
    """What a column is made of, looked up through the tables that pass every row of it on: a join may lose or add some."""
    while isinstance(value, ops.Field) and isinstance(value.rel, ops.Project | ops.Filter | ops.DropColumns):
        value = value.rel.values[value.name]
    return value


def _version(rows: ir.Table) -> dict[str, str]:
    """Parquet's second version tells numbers by their differences: a quarter less time and a tenth less space. Spark does
    not read the way in which it tells floats.
    """
    floats = any(kind.is_floating() for kind in rows.schema().types)
    return {} if floats else {"parquet_version": "V2"}


def _commit(folder: Path, added: list[AddAction], schema: Schema, append: bool, partition: str, values: list[str] | None) -> None:
    columns = [partition] if partition else None
    table = delta.open_table(folder)
    if table is None:
        create_table_with_add_actions(
            str(folder), schema, added, partition_by=columns, configuration=delta.KEEP_LOG,
            post_commithook_properties=delta.HOOKS,
        )  # fmt: skip
        return
    table.create_write_transaction(
        added,
        "append" if append else "overwrite",
        schema,
        partition_by=columns,
        partition_filters=[(partition, "in", values)] if values is not None else None,
        post_commithook_properties=delta.HOOKS,
    )


def _added(folder: Path, path: Path, partition: str) -> AddAction:
    known = path.stat()
    found: pq.FileMetaData = pq.read_metadata(path)
    value = unquote(path.parent.name.removeprefix(f"{partition}=")) if partition else ""
    return AddAction(
        path.relative_to(folder).as_posix(),
        known.st_size,
        {partition: value} if partition else {},
        int(known.st_mtime * 1000),
        True,
        json.dumps({"numRecords": found.num_rows, **_range(found)}),
    )


def _range(found: pq.FileMetaData) -> dict[str, dict[str, Any]]:
    """The least and greatest load of a file; nothing where the file does not say."""
    names = [found.schema.column(place).name for place in range(found.num_columns)]
    if LOAD not in names:
        return {}
    column = names.index(LOAD)
    parts = [found.row_group(group).column(column).statistics for group in range(found.num_row_groups)]
    if not parts or any(part is None or not part.has_min_max or part.null_count for part in parts):
        return {}
    return {
        "minValues": {LOAD: min(part.min for part in parts)},
        "maxValues": {LOAD: max(part.max for part in parts)},
        "nullCount": {LOAD: 0},
    }


def _schema(rows: ir.Table) -> Schema:
    return Schema.from_arrow(pa.schema([field.with_nullable(True) for field in rows.schema().to_pyarrow()]))
