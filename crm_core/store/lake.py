"""`Lake`: the Delta tables of a workspace, read at a published snapshot and written by one writer at a time.

A load touches many tables and Delta commits one at a time; the ledger's snapshot row, written after everything is synced
to disk, is what publishes it. A writer first takes back whatever a dead one left ahead of the newest snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_core.errors import InputError, unknown
from crm_core.schema import LOAD, TABLES, Column, TableSchema, empty
from crm_core.store import delta, lease, upkeep
from crm_core.store.engine import read_parquet
from crm_core.store.ledger import Ledger, Snapshot

if TYPE_CHECKING:
    from crm_core.store.writer import Writer

HASH = "_row_hash"
REJECTS = TableSchema(
    "rejects",
    "one row per refused input row",
    (),
    (
        Column("load_id", "string", "load", nullable=False),
        Column("file", "string", "file name", nullable=False),
        Column("row_number", "int64", "row as a spreadsheet shows it, headings included; Parquet from 1", nullable=False),
        Column("field", "string", "field at fault"),
        Column("reason", "string", "what was found and what is allowed", nullable=False),
        Column("row", "string", "the row as JSON text, contact fields masked"),
    ),
    as_of="always",
)
LINKS = TableSchema(
    "person_links",
    "one row per pair of members who are alike",
    ("member_id", "other_member_id"),
    (
        Column("member_id", "string", "the one whose id is smaller", nullable=False),
        Column("other_member_id", "string", "the other", nullable=False),
        Column("match_probability", "float64", "by the model of `crm identity train`", "0–1", nullable=False),
        Column("member_seen_at", "timestamp(6)", "when a source first stated a contact of the one", "UTC"),
        Column("other_seen_at", "timestamp(6)", "and of the other", "UTC"),
        Column("first_seen_at", "timestamp(6)", "when all that was compared had been stated", "UTC"),
    ),
    exists_at="first_seen_at",
)
RESULTS = {
    name: TableSchema(name, grain, key, columns, as_of="always")
    for name, grain, key, columns in (
        ("member_features", "one row per member and date", ("member_id", "as_of"), ()),
        (
            "member_segments",
            "one row per member, scheme and date",
            ("member_id", "scheme", "segment", "as_of"),
            (Column("scheme", "string", "scheme"), Column("segment", "string", "segment")),
        ),
        (
            "segment_models",
            "one row per model and date",
            ("model", "as_of"),
            (Column("model", "string", "limits, rhythm or clusters"), Column("params", "string", "its numbers, as JSON")),
        ),
        ("member_tags", "one row per member and date", ("member_id", "as_of"), ()),
        (
            "member_scores",
            "one row per member, score and date",
            ("member_id", "model", "as_of"),
            (
                Column("model", "string", "model, and what of it where it gives several scores"),
                Column("score", "float64", "what the model expects; a probability, a count, days or money by the model"),
                Column("low", "float64", "bound below"),
                Column("high", "float64", "bound above"),
                Column("label", "string", "the score in a word"),
                Column("reason", "string", "what moved the score"),
            ),
        ),
        (
            "tag_checks",
            "one row per tag and date",
            ("tag", "as_of"),
            (
                Column("tag", "string", "tag"),
                Column("definition", "string", "hash of what it says and how"),
                Column("members", "int64", "members who have it", "members"),
                Column("everybody", "int64", "all members", "members"),
                Column("before", "float64", "coverage when this definition was last published", "share"),
                Column("problem", "string", "why it is withheld; empty when published"),
            ),
        ),
        (
            "tag_lists",
            "one row per uploaded tag, member and date of the list",
            ("member_id", "tag", "as_of"),
            (Column("tag", "string", "tag"), Column("value", "string", "value, or true")),
        ),
        (
            "model_cards",
            "one row per model and date",
            ("model", "as_of"),
            (Column("model", "string", "model"), Column("card", "string", "what it showed and the verdict, as JSON")),
        ),
    )
}


class Lake:
    """The tables below `root`, with their snapshots in `ledger`, read through the ibis backend `engine`."""

    def __init__(self, root: Path, ledger: Ledger, engine: Any) -> None:
        self.root, self.ledger, self.engine = root, ledger, engine
        self._views: dict[tuple[str, int], ir.Table] = {}

    def snapshot(self, snapshot_id: int | None = None) -> Snapshot | None:
        """The newest published snapshot, or the one numbered. Raises InputError when there is no such one."""
        if snapshot_id is None:
            return self.ledger.newest_snapshot()
        found: Snapshot | None = self.ledger.get(Snapshot, snapshot_id)
        if found is None:
            raise InputError(f"snapshot {snapshot_id} is not known; the ledger lists those that were published")
        return found

    def table(self, name: str, snapshot: Snapshot | None = None) -> ir.Table:
        """`name` as it is in `snapshot` (default: the newest); a typed empty table where there are no rows yet.

        Raises UnknownName when no such table can exist.
        """
        snapshot = snapshot or self.snapshot()
        version = snapshot.versions.get(name) if snapshot else None
        return self._empty(name) if version is None else self.at_version(name, version)

    def at_version(self, name: str, version: int) -> ir.Table:
        """`name` at a Delta version, published or not."""
        key = (name, version)
        if key not in self._views:
            self._views[key] = self._read(name, delta.files(self.root / name, version))
        return self._views[key]

    def read_files(self, name: str, paths: list[str]) -> ir.Table:
        """Some Parquet files of `name` as a table."""
        return self._read(name, paths)

    def forget_views(self) -> None:
        """Drops what was read before: after commits were taken back a version number may stand for other files."""
        self._views.clear()

    def months(self, name: str, version: int, months: list[str]) -> ir.Table:
        """Only the files of the given UTC months ('2026-10') of a month-partitioned table."""
        return self._read(name, delta.files(self.root / name, version, ("_month", months)))

    def has_rows(self, name: str, snapshot: Snapshot | None = None) -> bool:
        """Whether the lake holds any row of `name` in that snapshot."""
        snapshot = snapshot or self.snapshot()
        version = snapshot.versions.get(name) if snapshot else None
        return version is not None and bool(delta.files(self.root / name, version))

    def dates(self, name: str, snapshot: Snapshot | None = None) -> list[date]:
        """The dates for which a dated result is stored, oldest first."""
        snapshot = snapshot or self.snapshot()
        version = snapshot.versions.get(name) if snapshot else None
        if version is None:
            return []
        return [date.fromisoformat(day) for day in delta.partition_values(self.root / name, version, "_as_of")]

    @contextmanager
    def write(self, purpose: str, actor: str = "crm", wait_seconds: float = lease.WAIT_SECONDS) -> Iterator[Writer]:
        """A writer that holds the lease; leaving the block well publishes one snapshot, an exception publishes nothing."""
        from crm_core.store.writer import Writer

        fence = lease.acquire(self.ledger, purpose, wait_seconds)
        try:
            writer = Writer(self, fence, purpose, actor)
            writer.roll_back()
            try:
                yield writer
                writer.tidy()
                writer.publish()
            except BaseException:
                # what was committed but not published goes at once, so that the disk is as it was; a kill leaves it to
                # the next writer
                writer.abandon()
                raise
            else:
                writer.sweep_when_due()
            finally:
                writer.close()
        finally:
            lease.release(self.ledger, fence)

    def compact(self) -> None:
        """Joins small files of every table into larger ones and publishes the result; content does not change."""
        with self.write("compact") as writer:
            writer.compact()

    def vacuum(self, keep_newest: int = upkeep.KEEP_NEWEST, readers_newest: int = upkeep.READERS_NEWEST) -> int:
        """Deletes files that no pinned snapshot and none of the newest ones need; returns how many.

        `readers_newest`: how many snapshots of the last day stay for those who read them now; 0 where nobody does.
        """
        with self.write("vacuum") as writer:
            return writer.sweep(keep_newest, readers_newest)

    def folders(self) -> list[Path]:
        """Folders of all tables on disk, published or not."""
        return sorted(path for path in self.root.iterdir() if path.is_dir()) if self.root.is_dir() else []

    def _read(self, name: str, paths: list[str]) -> ir.Table:
        if not paths:
            return self._empty(name)
        table = read_parquet(self.engine, paths)
        if name.removesuffix("_versions") not in TABLES:
            return table
        # a file leaves out columns that its load says nothing of
        types = stored_schema(name).types()
        lacking = {column: ibis.null(kind) for column, kind in types.items() if column not in table.columns}
        more = [column for column in table.columns if column not in types and column != HASH]  # of lakes before 0.1
        return table.mutate(**lacking).select(*types, *more)

    def _empty(self, name: str) -> ir.Table:
        return empty(stored_schema(name))


def stored_schema(name: str) -> TableSchema:
    """The schema of a lake table as stored: canonical tables and their versions carry technical columns.

    Raises UnknownName when there is no such table.
    """
    base = name.removesuffix("_versions")
    if name in RESULTS:
        schema = RESULTS[name]
        member = (Column("member_id", "string", "member", nullable=False),) if "member_id" in schema.key else ()
        columns = (*member, *schema.columns, Column("as_of", "date", "date", nullable=False))
        return TableSchema(name, schema.grain, schema.key, columns, as_of="always")
    if name == "rejects":
        return REJECTS
    if name == LINKS.name:
        return LINKS
    if base not in TABLES:
        raise unknown("table", name, [*TABLES, *RESULTS, "rejects", LINKS.name], "the lake")
    schema = TABLES[base]
    technical = [Column("_effective_at", "timestamp(6)", "the source's own time of this state", "UTC")]
    if schema.as_of == "versions":
        technical.append(Column(HASH, "string", "hash of the row's content"))
    return TableSchema(name, schema.grain, schema.key, (*schema.columns, *technical), as_of=schema.as_of)


def content_columns(schema: TableSchema) -> list[str]:
    """The columns that a source states: all but those of the load."""
    of_load = {column.name for column in LOAD}
    return [name for name in schema.names if name not in of_load]
