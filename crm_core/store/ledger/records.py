"""What the ledger keeps in a load's `detail` of its tables and sums, written by ingest and read by whoever judges loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class TableRecord:
    """One table of the lake. Rows are those of the table, not of the file; each key they tell of is inserted, updated or
    unchanged. `conflicts` are keys that the files, or an earlier load, name for the same moment with different content (the
    row with the greatest hash is taken), three in `examples`.
    """

    table: str
    rows: int
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    conflicts: int = 0
    examples: tuple[str, ...] = ()

    @property
    def keys(self) -> int:
        """How many records the load stated."""
        return self.inserted + self.updated + self.unchanged

    @property
    def again(self) -> int:
        """Rows that tell of a record more than once, of which one counts."""
        return self.rows - self.keys


@dataclass(frozen=True)
class MoneyRecord:
    """A sum over the accepted rows of a feed and the sum of what was written of them; a load where they differ is refused."""

    feed: str
    name: str
    rows: Decimal
    written: Decimal


def tables_in(detail: Mapping[str, Any]) -> tuple[TableRecord, ...]:
    """The tables that a load's `detail` tells of."""
    return tuple(TableRecord(**row) for row in detail.get("tables", []))


def money_in(detail: Mapping[str, Any]) -> tuple[MoneyRecord, ...]:
    """The sums that a load's `detail` tells of."""
    sums = detail.get("balances", [])
    return tuple(MoneyRecord(row["feed"], row["name"], Decimal(row["rows"]), Decimal(row["written"])) for row in sums)
