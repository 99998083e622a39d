"""One Delta table on disk: its files at a version, and writes that survive a power cut.

deltalake never calls fsync (cutting the power after 30 acknowledged commits lost the whole table), so `make_durable`
syncs the new Parquet files, the log entries and their folders before anything is published. A version's file list is read
from the log and given to the engine, so no engine needs a Delta plug-in; paths are joined here because the library's own
`file_uris` percent-encodes them, and DuckDB then finds nothing below a folder with blanks or Chinese in its name.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from crm_core.errors import RunFailed

HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def open_table(folder: Path, version: int | None = None) -> DeltaTable | None:
    """The Delta table in `folder`, or None when there is none."""
    if not (folder / "_delta_log").is_dir():
        return None
    try:
        return DeltaTable(str(folder), version=version)
    except TableNotFoundError:
        return None


def current_version(folder: Path) -> int | None:
    """Newest version in `folder`, or None when there is no table."""
    table = open_table(folder)
    return None if table is None else table.version()


def files(folder: Path, version: int, partition: tuple[str, list[str]] | None = None) -> list[str]:
    """Parquet files of `version`, sorted; with `partition` only those whose partition column holds one of the values."""
    table = open_table(folder, version)
    if table is None:
        raise RunFailed(f"table {folder.name} has no version {version}; was data/lake changed by hand?")
    actions = pa.table(table.get_add_actions(flatten=True))
    paths = actions["path"].to_pylist()
    if partition is not None:
        column, wanted = partition[0], set(partition[1])
        values = actions[f"partition.{column}"].to_pylist()
        paths = [path for path, value in zip(paths, values, strict=True) if value in wanted]
    return sorted(str(folder / unquote(path)) for path in paths)


def partition_values(folder: Path, version: int, column: str) -> list[str]:
    """The distinct values of a partition column at `version`, sorted."""
    table = open_table(folder, version)
    if table is None:
        return []
    actions = pa.table(table.get_add_actions(flatten=True))
    name = f"partition.{column}"
    return sorted(set(actions[name].to_pylist())) if name in actions.column_names else []


def write(
    folder: Path, rows: Any, *, append: bool, partition_by: list[str] | None = None, predicate: str | None = None
) -> int:
    """Commits `rows` (an Arrow reader) and returns the new version. Raises RunFailed when the disk will not take them."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        write_deltalake(
            str(folder),
            rows,
            mode="append" if append else "overwrite",
            partition_by=partition_by,
            predicate=predicate,
            schema_mode="merge" if append or predicate else "overwrite",
            post_commithook_properties=HOOKS,
        )
    except (DeltaError, OSError) as error:
        raise RunFailed(f"table {folder.name} could not be written: {_reason(error)}; nothing was published") from None
    version = current_version(folder)
    assert version is not None
    return version


def restore(folder: Path, version: int | None) -> int | None:
    """Takes back what was committed after `version` (None: the whole table) and returns the version now current."""
    if version is None:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    table = open_table(folder)
    if table is None or table.version() == version:
        return version
    table.restore(version)
    return current_version(folder)


def make_durable(folder: Path, since: int | None) -> None:
    """fsync of everything committed after version `since`: Parquet files, log entries, and the folders that name them."""
    log = folder / "_delta_log"
    first = -1 if since is None else since
    paths: set[Path] = set()
    for entry in log.iterdir():
        number = entry.name.split(".")[0]
        if not number.isdigit() or int(number) > first:
            paths.add(entry)
    table = open_table(folder)
    assert table is not None
    known = set(files(folder, since)) if since is not None else set()
    paths.update(Path(path) for path in files(folder, table.version()) if path not in known)
    for path in sorted(paths):
        _fsync(path)
    for parent in sorted({path.parent for path in paths} | {log, folder, folder.parent}):
        _fsync(parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    text = str(error)
    if "No space left" in text or "os error 28" in text:
        return "no space left on the disk"
    if "Permission denied" in text or "os error 13" in text:
        return "permission denied"
    return text.splitlines()[0][:300]
