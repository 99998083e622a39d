"""Each table in one aggregation: rows, span, and per column how many rows have a value and how many of those can be true –
in total and by load, so that a column that a source has stopped filling shows.

A value can be true when it is a known word, a time that is past and not before 1995, an amount that is not negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import sqrt
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.measures.quality.loads import Feeds, LoadRecord, compared
from crm_core.schema import LOAD, TABLES, Column, TableSchema, broken_rules
from crm_core.store import Tables, local_date

EARLIEST = datetime(1995, 1, 1)
PLANS = ("ends_at", "expires_at", "due_at", "expected_close_at")
BEGINS = {"members": "registered_at", "opportunities": "created_at"}
RIPE_DAYS = 30
"""Columns that fill later (paid, shipped, reviewed …) are compared on rows older than this."""
EARLIER = "earlier"
FEWEST_ROWS, LEAST_FALL, LEAST_Z = 30, 0.2, 4.0


@dataclass(frozen=True)
class ColumnCount:
    """One column in some rows: `rows` in all, `filled` with a value, `possible` of those that can be true. `ripe` and
    `ripe_filled` count only rows older than RIPE_DAYS where the column fills later, else the same as the first two."""

    rows: int
    filled: int
    possible: int
    ripe: int
    ripe_filled: int

    def __add__(self, other: ColumnCount) -> ColumnCount:
        pairs = zip(self.__dict__.values(), other.__dict__.values(), strict=True)
        return ColumnCount(*[mine + theirs for mine, theirs in pairs])


@dataclass(frozen=True)
class Part:
    """The rows of a table that came with one load (or with all loads not listed: EARLIER). Days are local."""

    load_id: str
    rows: int
    first: date | None
    last: date | None
    columns: dict[str, ColumnCount]
    broken: dict[str, int]


@dataclass(frozen=True)
class Profile:
    """One table: its parts by load."""

    table: str
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(part.rows for part in self.parts)

    @property
    def first(self) -> date | None:
        """The oldest row's local day."""
        return min((part.first for part in self.parts if part.first), default=None)

    @property
    def last(self) -> date | None:
        """The newest row's local day."""
        return max((part.last for part in self.parts if part.last), default=None)

    @property
    def broken(self) -> dict[str, int]:
        """Rule → rows that break it."""
        names = dict.fromkeys(name for part in self.parts for name in part.broken)
        return {name: sum(part.broken[name] for part in self.parts) for name in names}

    def column(self, name: str, load_ids: Sequence[str] | None = None) -> ColumnCount:
        """A column over the parts of `load_ids`; default all."""
        chosen = [part for part in self.parts if load_ids is None or part.load_id in load_ids]
        return sum((part.columns[name] for part in chosen), ColumnCount(0, 0, 0, 0, 0))

    @property
    def columns(self) -> list[str]:
        """The columns counted."""
        return list(self.parts[0].columns) if self.parts else []


@dataclass(frozen=True)
class Fall:
    """A column that the newest load of a source fills much less than the loads of the same kind before it."""

    source: str
    table: str
    column: str
    now: float
    before: float
    rows: int


def profile(tables: Tables, name: str, load_ids: Sequence[str]) -> Profile:
    """Table `name` as of the date of `tables`; rows of the loads `load_ids` are counted apart. One aggregation."""
    schema: TableSchema = TABLES[name]
    table = getattr(tables, name)
    known = table.load_id.isin(list(load_ids)) if load_ids else ibis.literal(False)
    table = table.mutate(_part=known.ifelse(table.load_id, EARLIER))
    begins = schema.exists_at or BEGINS.get(name, "")
    of_load = {column.name for column in LOAD}
    listed = [column for column in schema.columns if column.name in table.columns and column.name not in of_load]
    ripe = ibis.literal(True)
    if begins:
        ripe = (table[begins] < ibis.literal(tables.instant - timedelta(days=RIPE_DAYS))).fill_null(False)
    wanted: dict[str, Any] = {"rows": table.count(), "ripe": table.count(where=ripe)}
    if begins:
        days = local_date(table[begins], tables.zone)
        wanted |= {"first": days.min(), "last": days.max()}
    for column in listed:
        value = table[column.name]
        wanted[f"has {column.name}"] = value.count()
        wanted[f"good {column.name}"] = table.count(where=_possible(value, column, tables.instant))
        if _fills_later(column, begins):
            wanted[f"ripe {column.name}"] = value.count(where=ripe)
    for rule, broken in broken_rules(table, schema).items():
        wanted[f"rule {rule}"] = table.count(where=broken)
    grouped = table.group_by("_part").agg(**wanted)
    return Profile(name, tuple(_part(row, listed) for row in grouped.order_by("_part").to_pyarrow().to_pylist()))


def _part(row: dict[str, Any], listed: Sequence[Column]) -> Part:
    columns = {}
    for column in listed:
        filled, later = row[f"has {column.name}"], f"ripe {column.name}" in row
        ripe, ripe_filled = (row["ripe"], row[f"ripe {column.name}"]) if later else (row["rows"], filled)
        columns[column.name] = ColumnCount(row["rows"], filled, row[f"good {column.name}"], ripe, ripe_filled)
    broken = {name.removeprefix("rule "): count for name, count in row.items() if name.startswith("rule ")}
    return Part(row["_part"], row["rows"], row.get("first"), row.get("last"), columns, broken)


def _fills_later(column: Column, begins: str) -> bool:
    happens = column.type.startswith("timestamp") and column.name not in (*PLANS, begins)
    return happens or bool(column.seen_with)


def _possible(value: ir.Value, column: Column, instant: datetime) -> ir.BooleanValue:
    possible: Any = value.notnull()
    if column.vocabulary:
        possible = value.isin(column.vocabulary)
    elif value.type().is_timestamp() and column.name not in PLANS:
        possible = (value < ibis.literal(instant)) & (value >= ibis.literal(EARLIEST))
    elif value.type().is_decimal():
        possible = value >= 0
    return possible.fill_null(False)


def falls(profiles: Sequence[Profile], loads: list[LoadRecord], feeds_of: Feeds) -> list[Fall]:
    """Columns whose share of filled rows fell by at least 20 points against the loads of the same kind before, greatest
    fall first. Both sides have at least 30 rows, and the difference is more than four standard errors (two proportions,
    pooled), so that chance does not raise it once in ten thousand columns."""
    found = []
    for each in profiles:
        for newest, before in compared(loads, each.table, feeds_of):
            for name in each.columns:
                now = each.column(name, [newest.load_id])
                then = each.column(name, [load.load_id for load in before])
                if _fell(now, then):
                    share, earlier = now.ripe_filled / now.ripe, then.ripe_filled / then.ripe
                    found.append(Fall(newest.source, each.table, name, share, earlier, now.ripe))
    return sorted(found, key=lambda fall: fall.now - fall.before)


def _fell(now: ColumnCount, then: ColumnCount) -> bool:
    if min(now.ripe, then.ripe) < FEWEST_ROWS:
        return False
    fall = then.ripe_filled / then.ripe - now.ripe_filled / now.ripe
    pooled = (now.ripe_filled + then.ripe_filled) / (now.ripe + then.ripe)
    error = sqrt(pooled * (1 - pooled) * (1 / now.ripe + 1 / then.ripe))
    return fall >= LEAST_FALL and fall > LEAST_Z * error
