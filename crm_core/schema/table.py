"""What a table is: columns with type, unit and meaning, grain, key, vocabularies and cross-column rules, as plain data.

Validation, empty tables, the as-of views and the README's tables are all made from these objects. pandera's
ibis integration was measured first (0.35; 10 M orders, one vocabulary and two rules, six bad rows). Its lazy validation
runs in the engine too: 1.2 s of processor time, our one query 0.5 s. But a failing column check returns the value and a
row number, not the key; only table-level checks bring the row; failures come back as Python objects (60,000 of 2 M rows:
2.2 s, ours 0.2 s); and `drop_invalid_rows` with a table-level check kept exactly the rows that break it. A row here must
be named by its key with all its reasons and be split off inside the engine, so `violations` is one expression of ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

AsOf = Literal["timestamps", "versions", "always"]


@dataclass(frozen=True)
class Column:
    """One column. `type` is an ibis type; `seen_with` names the timestamp column that reveals this value; in `free_text` people
    write what they like, a phone too, which is veiled before it comes in.
    """

    name: str
    type: str
    meaning: str
    unit: str = ""
    nullable: bool = True
    vocabulary: tuple[str, ...] = ()
    seen_with: str = ""
    free_text: bool = False


@dataclass(frozen=True)
class Rule:
    """A truth across columns that every row keeps, in the language of `schema.expressions`."""

    name: str
    expression: str


@dataclass(frozen=True)
class TableSchema:
    """One table of the lake.

    `exists_at` is the timestamp before which the row does not exist for an as-of reader. `as_of` says how such a reader
    gets the past: 'timestamps' (later rows are absent, later timestamps null), 'versions' (the state by the source's own
    time), 'always' (no time). `month_of` is the column whose UTC month partitions the stored table. Of
    several versions of a key the latest by the source's time is current; with `first_wins` the earliest is. Of versions of
    one time that with the greatest values in `grows` (never null) is: what a source adds up without dating the addition.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    as_of: AsOf = "timestamps"
    exists_at: str = ""
    month_of: str = ""
    first_wins: bool = False
    grows: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column called `name`; KeyError when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def types(self) -> dict[str, str]:
        """Column name → ibis type."""
        return {column.name: column.type for column in self.columns}
