"""One Delta table on disk: its files at a version, and writes that survive a power cut.

deltalake never calls fsync (cutting the power after 30 acknowledged commits lost the whole table), so `make_durable`
syncs the new Parquet files, the log entries and their folders before anything is published. What was not published is
taken back by deleting its log entries: that needs no space on a full disk and mends entries that a power cut left torn.
A version's file list is read from the log and given to the engine, so no engine needs a Delta plug-in; paths are joined
here because the library's own `file_uris` percent-encodes them, and DuckDB then finds nothing below a folder with blanks
or Chinese in its name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from crm_core.errors import RunFailed
from crm_core.store.durable import sync

HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
# Row groups are as large as those of the engine; a writer of many months at once holds one for each in memory.
PARQUET = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=122_880)
# the log never forgets, so it must not tell the least and greatest text of a column; of the load they are needed
TELLING = {"delta.dataSkippingStatsColumns": "load_id"}
# pinned versions must stay readable for years; a checkpoint every ten commits keeps opening a table of many commits quick
KEEP_LOG = {"delta.enableExpiredLogCleanup": "false", "delta.checkpointInterval": "10", **TELLING}


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
    try:
        table = open_table(folder, version)
    except DeltaError:
        table = None
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


def write(folder: Path, rows: Any, *, append: bool, partition_by: list[str] | None = None, predicate: str | None = None) -> int:
    """Commits `rows` (an Arrow reader) and returns the new version.

    Raises RunFailed when the disk will not take them; files that were begun are deleted then, so that a full disk is
    as full as before.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = (folder / "_delta_log").is_dir()
    # the engine's type of a literal may be another than the stream says, and deltalake believes the stream
    sound = pa.RecordBatchReader.from_batches(rows.schema, (batch.cast(rows.schema) for batch in rows))
    with _or_failed(folder, "written"):
        write_deltalake(
            str(folder),
            sound,
            mode="append" if append else "overwrite",
            partition_by=partition_by,
            predicate=predicate,
            schema_mode="merge" if append or predicate else "overwrite",
            configuration=None if known else KEEP_LOG,
            writer_properties=PARQUET,
            post_commithook_properties=HOOKS,
        )
    version = current_version(folder)
    assert version is not None
    return version


def delete(folder: Path, predicate: str) -> None:
    """Commits a version without the rows that `predicate` is true of. Raises RunFailed when the disk will not take it."""
    table = open_table(folder)
    assert table is not None
    with _or_failed(folder, "written"):
        table.delete(predicate, writer_properties=PARQUET, post_commithook_properties=HOOKS)


def join_files(folder: Path, partition_filters: list[tuple[str, str, Any]] | None, target_bytes: int) -> None:
    """Commits a version whose small files are joined. Raises RunFailed when the disk will not take it."""
    table = open_table(folder)
    assert table is not None
    with _or_failed(folder, "compacted"):
        if not TELLING.items() <= table.metadata().configuration.items():  # made before this was asked of tables
            table.alter.set_table_properties(TELLING)
        table.optimize.compact(
            partition_filters=partition_filters,
            target_size=target_bytes,
            max_concurrent_tasks=2,
            writer_properties=PARQUET,
            post_commithook_properties=HOOKS,
        )


def forget_ranges(folder: Path) -> None:
    """Takes the ranges of columns out of the log, where writers had put them before TELLING; checkpoints, which repeat them,
    go. The log is otherwise as it was, and so are all versions.
    """
    log, told = folder / "_delta_log", {}
    for entry in sorted(log.glob("*.json")):
        lines = [json.loads(line) for line in entry.read_text(encoding="utf-8").splitlines()]
        for added in (line["add"] for line in lines if line.get("add", {}).get("stats")):
            known = json.loads(added["stats"])
            ranges = {name: known.get(name, {}) for name in ("minValues", "maxValues")}
            if any(set(columns) - {"load_id"} for columns in ranges.values()):
                kept = {name: {"load_id": each["load_id"]} if "load_id" in each else {} for name, each in ranges.items()}
                added["stats"], told[entry] = json.dumps({**known, **kept}), lines
    for checkpoint in [log / "_last_checkpoint", *log.glob("*.checkpoint*.parquet")] if told else []:
        checkpoint.unlink(missing_ok=True)
    for entry, lines in told.items():
        made = entry.with_suffix(".partial")
        made.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        sync(made)
        made.replace(entry)
    sync(log)


@contextmanager
def _or_failed(folder: Path, done: str) -> Iterator[None]:
    """Deletes what was begun when the block fails, so that a full disk is as full as before."""
    before = parquet(folder)
    try:
        yield
    except BaseException as error:
        for path in parquet(folder) - before:
            path.unlink(missing_ok=True)
        if isinstance(error, DeltaError | OSError):
            raise RunFailed(f"table {folder.name} could not be {done}: {reason(error)}; nothing was published") from None
        raise


def copy(source: Path, target: Path) -> int:
    """Makes a new table in `target` of the same files as the one in `source`, by hard links where the disk has them.

    Nothing of a Delta table is ever changed in place, so the two go separate ways from then on. Returns the version.
    """
    try:
        try:
            shutil.copytree(source, target, copy_function=os.link)
        except (shutil.Error, OSError):
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
    except (shutil.Error, OSError) as error:
        shutil.rmtree(target, ignore_errors=True)
        raise RunFailed(f"table {target.name} could not be written: {reason(error)}; nothing was published") from None
    version = current_version(target)
    assert version is not None
    return version


def take_back(folder: Path, version: int | None) -> None:
    """Takes back what was committed after `version` (None: the whole table). Raises RunFailed when that one is missing."""
    if version is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    log = folder / "_delta_log"
    if not (log / f"{version:020}.json").exists():
        raise RunFailed(f"table {folder.name} has no version {version}; was data/lake changed by hand?")
    ahead = sorted((entry for entry in log.iterdir() if _number(entry) > version), reverse=True)
    added = [folder / unquote(path) for entry in ahead if entry.suffix == ".json" for path in _added(entry)]
    if ahead:
        (log / "_last_checkpoint").unlink(missing_ok=True)  # a hint only; without it the log is listed
    for entry in ahead:  # newest first: a kill in between leaves a log without holes
        entry.unlink()
    live = set(files(folder, version)) if added else set()
    for path in added:
        if str(path) not in live:
            path.unlink(missing_ok=True)


def make_durable(folder: Path, since: int | None) -> None:
    """fsync of everything committed after version `since`: Parquet files, log entries, and the folders that name them."""
    log = folder / "_delta_log"
    first = -1 if since is None else since
    paths = {entry for entry in log.iterdir() if _number(entry) > first or _number(entry) < 0}
    table = open_table(folder)
    assert table is not None
    known = set(files(folder, since)) if since is not None else set()
    paths.update(Path(path) for path in files(folder, table.version()) if path not in known)
    for path in sorted(paths):
        sync(path)
    for parent in sorted({path.parent for path in paths} | {log, folder, folder.parent, folder.parent.parent}):
        sync(parent)


def parquet(folder: Path) -> set[Path]:
    """Every data file below `folder`, whether a version names it or not; the log's checkpoints, Parquet too, are none."""
    found = folder.rglob("*.parquet*") if folder.is_dir() else ()  # also unfinished ones: part-….parquet#1
    return {path for path in found if path.parent.name != "_delta_log"}


def _number(entry: Path) -> int:
    """The version a log entry belongs to; -1 for what belongs to none."""
    first = entry.name.split(".")[0]
    return int(first) if first.isdigit() else -1


def _added(entry: Path) -> list[str]:
    """Paths of the files that a commit added; a torn entry names none (vacuum finds its files)."""
    found: list[str] = []
    for line in entry.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            action = json.loads(line)
        except ValueError:
            continue
        if isinstance(action, dict) and isinstance(action.get("add"), dict):
            found.append(str(action["add"]["path"]))
    return found


def reason(error: BaseException) -> str:
    """Why a write failed, in a few words and without values of rows."""
    text = str(error)
    if "No space left" in text or "os error 28" in text:
        return "no space left on the disk"
    if "Permission denied" in text or "os error 13" in text:
        return "permission denied; check the owner of data/"
    if "Out of Memory" in text or "failed to offload" in text or "could not allocate" in text:
        return "the engine's memory or spill limit is too small; see engine: in conf/project.yml"
    return (
        f"{type(error).__name__}: {text.splitlines()[0][:300]}" if isinstance(error, DeltaError | OSError) else type(error).__name__
    )
