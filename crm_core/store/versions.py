"""Which of a key's versions is current: rows and counts of an upsert and its undoing, as expressions.

For each key the greatest (effective_at, row hash) among the live loads wins, in tables whose first statement counts the
smallest time; so the order, the split and the repetition of loads do not matter. The hash is worked out where two rows of
one key and time meet, which few do; tables whose versions are read as of a date keep it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.schema import TableSchema
from crm_core.store.hashing import SEPARATOR, row_hash
from crm_core.store.lake import HASH, content_columns, stored_schema
from crm_core.store.ledger import now

HASH_LENGTH = 16  # 64 bits: it only has to tell the few states of one key apart


@dataclass(frozen=True)
class UpsertCounts:
    """What became of the keys of one upsert. `conflicts`: those that it names with other content than it does itself, or an
    earlier load, for the same time; three of them in `conflict_keys`.
    """

    inserted: int
    updated: int
    unchanged: int
    conflicts: int
    conflict_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class UndoCounts:
    """What became of the keys that a load named, once it is forgotten.

    `gone`: no other load names them; `returned`: they are again as the remaining loads say; `unchanged`: they stay.
    """

    gone: int
    returned: int
    unchanged: int

    @property
    def keys(self) -> int:
        """How many keys the load named."""
        return self.gone + self.returned + self.unchanged


def stamped(incoming: ir.Table, schema: TableSchema, load_id: str) -> ir.Table:
    """`incoming` as the versions hold it: typed, null where it lacks a column, with load and time of recording."""
    types = stored_schema(schema.name).types()
    content = {
        name: incoming[name].cast(types[name]) if name in incoming.columns else ibis.null(types[name])
        for name in content_columns(schema)
    }
    typed = incoming.select(**content, _effective_at=incoming["_effective_at"])
    stamps = {"load_id": ibis.literal(load_id), "recorded_at": ibis.literal(now()).cast("timestamp(6)")}
    if HASH in types:
        stamps[HASH] = hash_of(typed, schema)
    return typed.mutate(**stamps).select(*types)


def hash_of(rows: ir.Table, schema: TableSchema) -> ir.StringValue:
    """The hash of what the source states in each row: the stored one, or else worked out."""
    if HASH in rows.columns:
        return rows[HASH]
    return row_hash(rows, content_columns(schema))[:HASH_LENGTH]


def best(rows: ir.Table, schema: TableSchema) -> ir.Table:
    """One row per key: the greatest (effective_at, what grows, row hash); of equal ones that of the smallest load id."""
    time = rows._effective_at.asc() if schema.first_wins else rows._effective_at.desc()
    order = [time, *[rows[name].desc() for name in schema.grows], hash_of(rows, schema).desc(), rows.load_id.asc()]
    rank = ibis.row_number().over(ibis.window(group_by=list(schema.key), order_by=order))
    return rows.mutate(_rank=rank).filter(lambda t: t._rank == 0).drop("_rank")


def standing(joined: ir.Table, schema: TableSchema) -> ir.StringValue:
    """What a row is beside the current one of its key (`_old_at`): inserted, updated, tied (of the same time), unchanged."""
    newer = joined._effective_at < joined._old_at if schema.first_wins else joined._effective_at > joined._old_at
    tied = joined._effective_at == joined._old_at
    return ibis.cases((joined._old_at.isnull(), "inserted"), (newer, "updated"), (tied, "tied"), else_="unchanged")


def met(new: ir.Table, old: ir.Table, schema: TableSchema) -> ir.Table:
    """The keys that stand in both, with rows of the same time: the key, whether the new row wins (`_won`), and whether
    nothing but the hash says so (`_conflict`).
    """
    sides = []
    for table, side in ((new, "_new"), (old, "_old")):
        grown = {f"{side}_{place}": table[name] for place, name in enumerate(schema.grows)}
        sides.append(table.select(*schema.key, **grown, **{f"{side}_hash": hash_of(table, schema)}))
    both = sides[0].inner_join(sides[1], list(schema.key))
    won, alike = both._new_hash > both._old_hash, ibis.literal(True)
    for place in reversed(range(len(schema.grows))):
        one, other = both[f"_new_{place}"], both[f"_old_{place}"]
        won, alike = (one > other) | ((one == other) & won), alike & (one == other)
    return both.select(*schema.key, _won=won, _conflict=alike & (both._new_hash != both._old_hash))


def said_twice(rows: ir.Table, schema: TableSchema) -> ir.Table:
    """The keys that `rows` name more than once for one time, with different content."""
    alike = rows.group_by(*schema.key, "_effective_at", *schema.grows).agg(contents=hash_of(rows, schema).nunique())
    return alike.filter(alike.contents > 1).select(*schema.key).distinct()


def _month(value: ir.TimestampValue) -> ir.StringValue:
    return value.strftime("%Y-%m")


def with_month(rows: ir.Table, month_of: str) -> ir.Table:
    """`rows` with the UTC month of a time, which the table is partitioned by."""
    return rows.mutate(_month=_month(rows[month_of]))


def key_text(rows: ir.Table, schema: TableSchema) -> ir.StringValue:
    """The whole key as one text."""
    return ibis.literal(SEPARATOR).join([rows[name].cast("string") for name in schema.key])


def months_of(rows: ir.Table, schema: TableSchema) -> ir.Table:
    """The distinct months of `rows`, in `_month`."""
    return rows.select(_month=_month(rows[schema.month_of])).distinct()


def as_type(rows: ir.Table, column: str, kind: Any) -> Any:
    """A column in another type where that holds every value; else, and where there is none, null."""
    if column not in rows.columns:
        return ibis.null(kind)
    value, held = rows[column], rows[column].type()
    if held.is_decimal() and kind.is_decimal() and held.scale == kind.scale:
        return value.try_cast(kind)
    keeps = held == kind or (held.is_numeric() and kind.is_floating())
    return value.cast(kind) if keeps else ibis.null(kind)
