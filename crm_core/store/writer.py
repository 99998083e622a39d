"""`Writer`: commits to several tables of the lake that become visible together, or not at all.

Every keyed table exists twice: `<table>_versions`, append-only, and `<table>`, the current one: for each key the greatest
(effective_at, row hash) among the live loads. So rows in any order, split or repeated, give the same tables. The current
table is rewritten by partition (UTC month) through the engine, not by MERGE: a MERGE inserts both of two rows with one
key, and a corrected `ordered_at` that crosses a month inserts a second row; an anti-join does neither. What an upsert
appends to the versions serves as its staging: it is read back from there, so rows are computed once, and a
first load's current table is made of the same files, hard-linked.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
from ibis.util import gen_name
from sqlalchemy.exc import SQLAlchemyError

from crm_core.errors import CrmError, RunFailed
from crm_core.schema import TABLES, TableSchema
from crm_core.store import delta, files, lease, upkeep
from crm_core.store.engine import count
from crm_core.store.lake import Lake, content_columns
from crm_core.store.ledger import Snapshot, now
from crm_core.store.versions import (
    UndoCounts,
    UpsertCounts,
    as_type,
    best,
    hash_of,
    key_text,
    met,
    months_of,
    said_twice,
    stamped,
    standing,
    with_month,
)

if TYPE_CHECKING:
    from crm_core.store.ledger.models import Base

BATCH_ROWS = 100_000
PUBLISHED = ".published"  # the newest snapshot's id: what a ledger must know that this lake belongs to


class Writer:
    """Open work on the lake; made by `Lake.write`, which publishes it or takes it back."""

    def __init__(self, lake: Lake, fence: int, purpose: str, actor: str) -> None:
        self.lake, self.purpose, self.actor = lake, purpose, actor
        self._fence = fence
        self._base = lake.snapshot()
        self._versions: dict[str, int] = dict(self._base.versions) if self._base else {}
        self._rows: list[Base] = []
        self._audit: list[tuple[str, str, dict[str, Any]]] = []
        self.covers_until: date | None = self._base.covers_until if self._base else None
        self.published: Snapshot | None = None
        self._staged: list[str] = []

    def table(self, name: str) -> ir.Table:
        """`name` in this writer's own working state."""
        version = self._versions.get(name)
        return self.lake._empty(name) if version is None else self.lake.at_version(name, version)

    def stage(self, table: ir.Table) -> ir.Table:
        """`table` computed once into a temporary table of the engine (spilled to disk where it does not fit).

        It lives until the writer closes.
        """
        name = gen_name("staged")
        staged = self.lake.engine.create_table(name, table, temp=True)
        self._staged.append(name)
        return staged

    def append(self, name: str, rows: ir.Table) -> None:
        """Adds rows to `name`."""
        self._commit(name, rows, append=True)

    def replace(self, name: str, rows: ir.Table) -> None:
        """Puts `rows` in the place of all that `name` holds."""
        self._commit(name, rows, append=False)

    def replace_date(self, name: str, as_of: date, rows: ir.Table) -> None:
        """Puts `rows` in the place of what the dated result `name` holds for `as_of`."""
        day = as_of.isoformat()
        dated = rows.mutate(as_of=ibis.literal(as_of), _as_of=ibis.literal(day))
        held = self.table(name) if name in self._versions else dated
        if not any(held[column].type() != kind for column, kind in dated.schema().items() if column in held.columns):
            self._commit(name, dated, append=False, partition="_as_of", values=[day])
            return
        # a table has one type a column: of other days, what the new one does not hold without loss is given up, and what
        # they were worked out from is forgotten, so that they are worked out anew where somebody asks
        rest = held.filter(held.as_of != ibis.literal(as_of))
        rest = rest.mutate(_as_of=rest.as_of.cast("string"), _basis=ibis.null("string"))
        types = {**rest.schema(), **dated.schema()}
        sides = [each.select(**{column: as_type(each, column, kind) for column, kind in types.items()}) for each in (rest, dated)]
        self._commit(name, ibis.union(*sides), append=False, partition="_as_of")

    def remove_dates(self, name: str, days: Sequence[date]) -> None:
        """Deletes the dated results of `days`."""
        if days:
            listed = ", ".join(f"'{day.isoformat()}'" for day in days)
            self._delete(name, f"_as_of IN ({listed})")

    def remove_load(self, name: str, load_id: str) -> None:
        """Deletes the rows of one load from an append-only table."""
        quoted = load_id.replace("'", "''")
        self._delete(name, f"load_id = '{quoted}'")

    def upsert(self, name: str, incoming: ir.Table, *, load_id: str, distinct: bool = False) -> UpsertCounts:
        """Takes `incoming` (content columns of the table and `_effective_at`) into `name` and its versions.

        Rows with a null key must have been refused before. `distinct`: no two of them have one key. Raises RunFailed when
        the outcome would not add up.
        """
        schema, versions = TABLES[name], f"{name}_versions"
        known = self.files(versions)
        rows = stamped(incoming, schema, load_id)
        lacking = [name for name in content_columns(schema) if name not in incoming.columns]
        self._commit(versions, rows, append=True, month_of=schema.month_of, lacking=lacking)
        rows = self.lake.read_files(versions, sorted(self.files(versions) - known))
        winners, conflicts = (rows, []) if distinct else self._winners(rows, schema)
        if name not in self._versions and not known and winners is rows:
            self._versions[name] = delta.copy(self.lake.root / versions, self.lake.root / name)
            return UpsertCounts(count(rows), 0, 0, 0)
        counts = self._renew_current(schema, winners, conflicts)
        if not conflicts:
            return UpsertCounts(*counts, 0)
        keys = (conflicts[0] if len(conflicts) == 1 else ibis.union(*conflicts)).distinct()
        shown = keys.order_by(list(schema.key)).limit(3).to_pyarrow().to_pylist()
        return UpsertCounts(*counts, count(keys), tuple(" / ".join(map(str, row.values())) for row in shown))

    def forget(self, name: str, load_id: str) -> UndoCounts:
        """Drops one load's versions and works out anew the rows that it had the last word on.

        Of the other versions only the keys are looked through; whole rows are read and written in the months of those keys.
        """
        schema, versions = TABLES[name], f"{name}_versions"
        if versions not in self._versions:
            return UndoCounts(0, 0, 0)
        before, current, key = self.table(versions), self.table(name), list(schema.key)
        total = count(before.filter(before.load_id == load_id).select(*key).distinct())
        if not total:
            return UndoCounts(0, 0, 0)
        said = current.filter(current.load_id == load_id)
        keys = self.stage(said.select(*key, _old_at=said._effective_at, _old_hash=hash_of(said, schema)))
        self.remove_load(versions, load_id)
        winners = self.stage(best(self._rows_of(versions, keys, schema), schema))
        left = winners.select(*key, "_effective_at", _row_hash=hash_of(winners, schema)).inner_join(keys, key)
        other = (left._effective_at != left._old_at) | (left._row_hash != left._old_hash)
        changed = count(keys)
        if changed:
            self._replace_keys(schema, keys.select(*key), winners)
        gone, returned = changed - count(winners), count(left.filter(other))
        return UndoCounts(gone, returned, total - gone - returned)

    def _rows_of(self, name: str, keys: ir.Table, schema: TableSchema) -> ir.Table:
        """The rows of `keys` in a table or its versions, read from the months that hold them."""
        rest, key = self.table(name), list(schema.key)
        if schema.month_of and name in self._versions:
            held = months_of(rest.semi_join(keys, key), schema).to_pyarrow()["_month"].to_pylist()
            rest = self.lake.months(name, self._versions[name], held)
        return rest.semi_join(keys, key)

    def _winners(self, rows: ir.Table, schema: TableSchema) -> tuple[ir.Table, list[ir.Table]]:
        """One row per key, and the keys that are said twice; `rows` themselves where no key comes twice."""
        # hashes of keys suffice: two keys that collide only cost the slower way below
        hashed = rows.select(key=rows[schema.key[0]].hash() if len(schema.key) == 1 else key_text(rows, schema).hash())
        found = hashed.aggregate(rows=hashed.count(), keys=hashed.key.nunique()).to_pyarrow().to_pylist()[0]
        if found["rows"] == found["keys"]:
            return rows, []
        return self.stage(best(rows, schema)), [self.stage(said_twice(rows, schema))]

    def _renew_current(self, schema: TableSchema, winners: ir.Table, conflicts: list[ir.Table]) -> tuple[int, int, int]:
        """Takes the winners into the current table; keys that only the hash decides between are added to `conflicts`."""
        if schema.name not in self._versions:
            self._commit(schema.name, winners, append=False, month_of=schema.month_of)
            return count(winners), 0, 0
        current, key = self.table(schema.name), list(schema.key)
        known = current.select(*key, _old_at=current._effective_at)
        joined = winners.select(*key, "_effective_at").left_join(known, key)
        found = self.stage(joined.select(*key, _state=standing(joined, schema)))
        counted = found.group_by("_state").agg(rows=found.count()).to_pyarrow().to_pylist()
        counts = {row["_state"]: int(row["rows"]) for row in counted}
        inserted, updated, total = counts.get("inserted", 0), counts.get("updated", 0), sum(counts.values())
        changed = found.filter(found._state.isin(["inserted", "updated"])).select(*key)
        if counts.get("tied"):
            tied = found.filter(found._state == "tied").select(*key)
            same = self.stage(met(winners.semi_join(tied, key), self._rows_of(schema.name, tied, schema), schema))
            won = same.filter(same._won).select(*key)
            updated += count(won)
            changed = changed.union(won)
            conflicts.append(same.filter(same._conflict).select(*key))
        if inserted or updated:
            self._replace_keys(schema, changed, winners.semi_join(changed, key))
        return inserted, updated, total - inserted - updated

    def _replace_keys(self, schema: TableSchema, keys: ir.Table, rows: ir.Table) -> None:
        """Rewrites the current table so that `keys` hold exactly `rows`; only the months concerned are touched."""
        current = self.table(schema.name)
        months: list[str] | None = None
        if schema.month_of:
            gone = current.semi_join(keys, list(schema.key))
            touched = months_of(gone, schema).union(months_of(rows, schema)).distinct()
            months = sorted(touched.to_pyarrow()["_month"].to_pylist())
            current = self.lake.months(schema.name, self._versions[schema.name], months)
        kept = current.anti_join(keys, list(schema.key)).select(*rows.columns)
        self._commit(schema.name, kept.union(rows), append=False, values=months, month_of=schema.month_of)

    def record(self, *rows: Base) -> None:
        """Ledger rows that are committed together with the snapshot."""
        self._rows.extend(rows)

    def audit(self, action: str, subject: str, detail: dict[str, Any]) -> None:
        """An audit line that is committed together with the snapshot."""
        self._audit.append((action, subject, detail))

    def cover(self, day: date | None) -> None:
        """Says that the data now reach to `day`; the default `as_of` is the greatest such day."""
        if day is not None and (self.covers_until is None or day > self.covers_until):
            self.covers_until = day

    def compact(self) -> None:
        """Joins small files of every published table. Raises RunFailed where the disk will not take it."""
        for name in sorted(self._versions):
            self._join_files(name, upkeep.crowded(self.lake.root / name, 1))

    def tidy(self) -> None:
        """Joins the files of what this writer changed, where they have become many; a full disk puts that off."""
        for name in self._changed():
            with suppress(RunFailed):
                self._join_files(name, upkeep.crowded(self.lake.root / name))

    def sweep(self, keep_newest: int = upkeep.KEEP_NEWEST, readers_newest: int = 0) -> int:
        """Deletes files that no pinned snapshot and none of the newest ones need; returns how many."""
        lease.renew(self.lake.ledger, self._fence)
        pinned = upkeep.pinned(self.lake.ledger, keep_newest, readers_newest)
        needless = [
            path
            for folder in self.lake.folders()
            if folder.name in pinned
            for path in upkeep.superseded(folder, pinned[folder.name])
        ]
        for path in needless:
            path.unlink(missing_ok=True)
        return len(needless)

    def sweep_when_due(self) -> None:
        """`sweep` after every so many snapshots. What was published stays published, even where nothing can be deleted."""
        if self.published is not None and self.published.id % upkeep.SWEEP_EVERY == 0:
            with suppress(CrmError, OSError, SQLAlchemyError):
                self.sweep(readers_newest=upkeep.READERS_NEWEST)

    def publish(self) -> None:
        """Syncs everything to disk, then makes it visible with one ledger transaction."""
        before, changed = self._base.versions if self._base else {}, self._changed()
        for name in changed:
            delta.make_durable(self.lake.root / name, before.get(name))
        ledger = self.lake.ledger
        with ledger.transaction() as session:
            lease.check(session, self._fence)
            if changed or self.covers_until != (self._base.covers_until if self._base else None):
                self.published = Snapshot(
                    created_at=now(), purpose=self.purpose, versions=self._versions, covers_until=self.covers_until
                )
                session.add(self.published)
                session.flush()
            snapshot = self.published or self._base
            for row in self._rows:
                if hasattr(row, "snapshot_id") and row.snapshot_id is None and snapshot is not None:
                    row.snapshot_id = snapshot.id
                session.merge(row)
            for action, subject, detail in self._audit:
                ledger.audit(session, action, subject, detail, self.actor)
        self._base = self.published or self._base
        if self._base is not None:
            # only now, so that no kill leaves an id that the ledger does not know; an older one does no harm
            partial = self.lake.root / f"{PUBLISHED}.partial"
            with suppress(OSError):
                partial.write_text(str(self._base.id))
                partial.replace(self.lake.root / PUBLISHED)

    def roll_back(self) -> None:
        """Takes back every commit that no snapshot has published. Raises RunFailed when the ledger is not this lake's, or is
        an older copy of it, which would take back what was published since.
        """
        newest = self.lake.snapshot()
        marker = self.lake.root / PUBLISHED
        if newest is None and marker.exists():
            raise RunFailed(
                f"{self.lake.root} holds published tables, but the ledger knows of none: it is not the ledger of this lake; "
                "check ledger: in conf/project.yml, or bring data/ledger back"
            )
        marked = int(marker.read_text() or 0) if marker.exists() else 0
        if newest is not None and newest.id < marked:
            raise RunFailed(
                f"{self.lake.root} holds snapshot {marked}, but the ledger ends at {newest.id}: it is an older copy; bring the "
                f"newest ledger back, or the lake of that time; to give up what was published since, delete {marker}"
            )
        published = newest.versions if newest else {}
        for folder in self.lake.folders():
            delta.take_back(folder, published.get(folder.name))
        self.lake.forget_views()

    def abandon(self) -> None:
        """Takes this writer's own commits back, unless another process has taken over or the disk does not let it."""
        with suppress(CrmError, OSError, SQLAlchemyError):  # the next writer does it then
            if lease.is_ours(self.lake.ledger, self._fence):
                self.roll_back()

    def close(self) -> None:
        """Drops what was staged."""
        for name in self._staged:
            if self.lake.engine.name == "pyspark":
                self.lake.engine.drop_view(name, force=True)
            else:
                self.lake.engine.drop_table(name, force=True)
        self._staged.clear()

    def note(self, name: str) -> None:
        """Takes the newest version of `name` on disk into this writer's state, after work on the Delta table itself."""
        version = delta.current_version(self.lake.root / name)
        assert version is not None
        self._versions[name] = version

    def _changed(self) -> list[str]:
        before = self._base.versions if self._base else {}
        return [name for name, version in self._versions.items() if before.get(name) != version]

    def _join_files(self, name: str, partitions: list[str]) -> None:
        if partitions:
            lease.renew(self.lake.ledger, self._fence)
            upkeep.join_files(self.lake.root / name, partitions)
            self.note(name)

    def files(self, name: str) -> set[str]:
        """The Parquet files of `name` in this writer's working state."""
        version = self._versions.get(name)
        return set() if version is None else set(delta.files(self.lake.root / name, version))

    def _delete(self, name: str, predicate: str) -> None:
        if name in self._versions:
            lease.renew(self.lake.ledger, self._fence)
            delta.delete(self.lake.root / name, predicate)
            self.note(name)

    def _commit(
        self, name: str, rows: ir.Table, *, append: bool, partition: str = "", values: list[str] | None = None,
        month_of: str = "", lacking: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Commits `rows`, in the place of the table or of its partitions `values` where they are not appended; of a table that
        is split by months, the time `month_of` tells which. In columns `lacking` they hold nothing.
        """
        lease.renew(self.lake.ledger, self._fence)
        if month_of:
            partition, rows = "_month", with_month(rows, month_of)
        folder, engine = self.lake.root / name, self.lake.engine
        try:
            if files.can_write(engine, folder, rows):
                self._versions[name] = files.write(
                    engine, folder, rows, append=append, partition=partition, values=values, month_of=month_of,
                    lacking=lacking,
                )  # fmt: skip
                return
            listed = ", ".join(f"'{value}'" for value in values or ())
            self._versions[name] = delta.write(
                folder,
                engine.to_pyarrow_batches(rows, chunk_size=BATCH_ROWS),
                append=append,
                partition_by=[partition] if partition else None,
                predicate=f"{partition} IN ({listed})" if values and name in self._versions else None,
            )
        except CrmError:
            raise
        except Exception as error:  # noqa: BLE001 - the engine's error arrives through the Arrow stream in many classes
            # its text may quote values of members, and a cause would travel into logs
            raise RunFailed(f"table {name} could not be written: {delta.reason(error)}; nothing was published") from None
