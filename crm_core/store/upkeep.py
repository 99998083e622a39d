"""What keeps the lake small and quick while loads come every day: small files are joined, superseded ones deleted.

A writer joins the files of a partition at the end of its own work, once more than CROWD of them are small, so that five
hundred daily loads read like one. Every SWEEP_EVERY snapshots it also deletes files that no snapshot needs: kept are those
that a run or an audience stands on, the newest KEEP_NEWEST, and those that a reader may have opened within the last
day (READERS_HOURS, but no more than READERS_NEWEST). Both happen under the writer's lease and both may be killed anywhere.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from sqlalchemy import select

from crm_core.errors import RunFailed
from crm_core.store import delta
from crm_core.store.ledger import Audience, Ledger, Run, Snapshot, now

CROWD = 4  # small files of one partition
SMALL_BYTES = 32 * 2**20
TARGET_BYTES = 64 * 2**20
SWEEP_EVERY = 16
KEEP_NEWEST = 2
READERS_HOURS = 24
READERS_NEWEST = 20
FOREVER = 2**62


def crowded(folder: Path, at_least: int = CROWD) -> list[str]:
    """Partitions ('' where the table has none) of the newest version that hold more than `at_least` small files."""
    table = delta.open_table(folder)
    if table is None:
        return []
    actions = pa.table(table.get_add_actions(flatten=True))
    column = f"partition.{_partition(table)}"
    values = actions[column].to_pylist() if column in actions.column_names else [""] * actions.num_rows
    sizes = actions["size_bytes"].to_pylist()
    found = Counter(value for value, size in zip(values, sizes, strict=True) if size < SMALL_BYTES)
    return sorted(value for value, count in found.items() if count > at_least)


def join_files(folder: Path, partitions: list[str]) -> None:
    """Joins the small files of these partitions in one commit; content does not change.

    Raises RunFailed where the disk will not take it; the table then is at the version that it was at.
    """
    table = delta.open_table(folder)
    assert table is not None
    name, version = _partition(table), table.version()
    try:
        delta.join_files(folder, [(name, "in", partitions)] if name else None, TARGET_BYTES)
    except RunFailed:
        delta.take_back(folder, version)
        raise


def pinned(ledger: Ledger, keep_newest: int = KEEP_NEWEST, readers_newest: int = 0) -> dict[str, list[int]]:
    """Table → sorted versions that must stay readable: those of runs, audiences and the newest snapshots.

    `readers_newest`: how many more of the last day are kept for readers that pinned nothing.
    """
    since = now() - timedelta(hours=READERS_HOURS)
    newest = select(Snapshot.id).order_by(Snapshot.id.desc())
    with ledger.session() as session:
        wanted = set(session.scalars(select(Run.snapshot_id))) | set(session.scalars(select(Audience.snapshot_id)))
        wanted |= set(session.scalars(newest.limit(keep_newest)))
        if readers_newest:
            wanted |= set(session.scalars(newest.where(Snapshot.created_at > since).limit(readers_newest)))
        rows = session.scalars(select(Snapshot).where(Snapshot.id.in_(wanted))).all()
    found: dict[str, set[int]] = {}
    for row in rows:
        for name, version in row.versions.items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in found.items()}


def superseded(folder: Path, keep: list[int]) -> set[Path]:
    """Parquet files in `folder` that none of the versions `keep` (sorted) holds; none where the log cannot be read whole.

    One pass over the log, however many versions are kept: a file lives from the commit that added it to the one that
    removed it. Log entries are never cleaned away, so the log tells of every file.
    """
    spans: dict[str, list[list[int]]] = {}
    entries = sorted((folder / "_delta_log").glob("*.json"))
    for version, entry in enumerate(entries):
        if entry.name != f"{version:020}.json":
            return set()
        for line in entry.read_text(encoding="utf-8").splitlines():
            action = json.loads(line)
            if "add" in action:
                found = spans.setdefault(action["add"]["path"], [])
                if not found or found[-1][1] != FOREVER:
                    found.append([version, FOREVER])
            elif "remove" in action and action["remove"]["path"] in spans:
                spans[action["remove"]["path"]][-1][1] = version
    needed = {folder / unquote(path) for path, lives in spans.items() if any(_lives(span, keep) for span in lives)}
    return delta.parquet(folder) - needed


def _lives(span: list[int], keep: list[int]) -> bool:
    place = bisect_left(keep, span[0])
    return place < len(keep) and keep[place] < span[1]


def _partition(table: DeltaTable) -> str:
    columns = table.metadata().partition_columns
    return columns[0] if columns else ""
