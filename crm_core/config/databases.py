"""`database` and `extract` in conf/sources/NAME.yml: which database a source's rows lie in, and what is read of it.

The URL stands in the environment only (settings are pinned in the ledger and travel with runs); conf names the
variable. What is read is a table or view, or the shop's own query, which runs as a derived table in a read-only
transaction. One example, instead of (or beside) `match` of a feed:

    source: corner_shop
    database: {url_env: CRM_SHOP_URL, nightly: true}  # export CRM_SHOP_URL=postgresql+psycopg://crm:…@db.lan/shop
    feeds:
      orders:
        extract: {table: shop.orders, watermark: updated_at, overlap: 2d}
        fields: …                                     # `heading` is the column's name
      lines:
        extract:
          query: |
            select l.order_id, o.created_at, l.sku, l.quantity, l.price, l.changed_no
            from order_lines l join orders o on o.id = l.order_id
            where l.changed_no >= :since
          watermark: changed_no
          overlap: 500                                # a whole number counts in the watermark's own unit
        fields: …
      baskets:                                        # `tables` make one order of several rows
        extract: {table: shop.basket_lines, watermark: updated_at, whole: [basket_id]}
        fields: …

`crm ingest corner_shop` without paths then loads every feed that has an `extract`, all as of one moment where the
database can (PostgreSQL, MySQL, SQLite). Without `watermark` it reads everything each time. With one it reads the
rows from (the highest watermark of the live loads − `overlap`) on, and those without a watermark. `overlap` must be
longer than the longest transaction of the shop: a row that is committed late carries an early time. Deleted rows
are not seen: take the state from a column, or undo the loads and read anew. Where `tables` make one row of several
(`per`) or number them (`number_within`), a watermark alone would bring a part of an order for the whole: of a table
`whole` names the columns that make a group, which is then read with all its rows as soon as one of them changed; a
query has to do so itself. `crm ingest --full` reads everything whatever the watermark says. Times without a zone are
of the source's `time_zone`.
"""

from __future__ import annotations

import re
from datetime import timedelta

from pydantic import Field, field_validator, model_validator

from crm_core.config.loader import Settings

_BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")  # as SQLAlchemy finds them
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class DatabaseSettings(Settings):
    """The database of a source."""

    url_env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="environment variable that holds the SQLAlchemy URL")
    nightly: bool = Field(False, description="the nightly flow reads it too")


class ExtractSettings(Settings):
    """What of the database one feed is."""

    table: str = Field("", description="[schema.]name of a table or view", pattern=r"^([^.\s]+\.)?[^.\s]+$|^$")
    query: str = Field("", description="a query of your own; may use :since and :until")
    watermark: str = Field("", description="column that grows with each change: a time or a whole number")
    overlap: str = Field("1d", description="read again below the watermark: 30m, 36h, 2d; 500 for whole numbers",
                         pattern=r"^\d{1,9}[smhd]?$")  # fmt: skip

    whole: tuple[str, ...] = Field((), description="columns that rows of one group agree in: a group is read with all its rows")

    @field_validator("overlap", mode="before")
    @classmethod
    def _number_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _is_one_thing(self) -> ExtractSettings:
        if bool(self.table) == bool(self.query.strip()):
            raise ValueError("give either `table` or `query`")
        if self.whole and not (self.table and self.watermark):
            raise ValueError("`whole` goes with `table` and `watermark`; a query reads whole groups by what it says")
        bound = set(_BOUND.findall(self.query))
        if other := sorted(bound - {"since", "until"}):
            raise ValueError(f"the query may use :since and :until only, found :{other[0]} (for a cast: cast(… as …))")
        if self.query and self.watermark and "since" not in bound:
            raise ValueError("a query with a watermark must use :since, as in `where updated_at >= :since`")
        if bound and not self.watermark:
            raise ValueError("a query that uses :since or :until needs `watermark`, the column they are about")
        return self

    @property
    def schema_name(self) -> str | None:
        """The schema of `table`; None: the connection's own."""
        return self.table.split(".")[0] if "." in self.table else None

    @property
    def table_name(self) -> str:
        """`table` without its schema."""
        return self.table.split(".")[-1]

    @property
    def reach(self) -> timedelta | int:
        """`overlap` as a duration, or as a whole number where it has no unit."""
        if self.overlap.isdigit():
            return int(self.overlap)
        return timedelta(**{_UNITS[self.overlap[-1]]: int(self.overlap[:-1])})
