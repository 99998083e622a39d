"""A shop whose orders lie in a database: the same tables on SQLite, PostgreSQL and MariaDB, and a source for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Engine, MetaData, Numeric, String, Table, Text, create_engine, insert
from sqlalchemy.dialects.mysql import DATETIME, TIMESTAMP

from crm_core.config import Config
from crm_core.ingest import LoadReport
from tests.ingest.corner_shop import Shop, open_shop

SOURCE = """
source: web_shop
title: {en: Web shop, zh: 网店}
time_zone: Asia/Shanghai
database: {url_env: WEB_SHOP_URL, nightly: true}
feeds:
  orders:
    extract: {table: shop_orders, watermark: updated_at, overlap: 2d}
    fields:
      order_id:   {heading: order_id, filled: true}
      member_no:  {heading: member_no, private: true}
      mobile:     {heading: mobile}
      ordered_at: {heading: ordered_at, type: time, filled: true}
      paid_at:    {heading: paid_at, type: time}
      amount:     {heading: amount, type: money, filled: true}
      city:       {heading: city}
      changed_at: {heading: updated_at, type: time}
    reject_when:
      - {rule: "amount < 0", reason: the amount of an order is negative}
    tables:
      orders:
        effective_at: coalesce(changed_at, ordered_at)
        columns:
          order_id: order_id
          member_id: account(member_no)
          channel: "'website'"
          ordered_at: ordered_at
          paid_at: paid_at
          gross_amount: amount
          discount_amount: 0
          shipping_amount: 0
          net_amount: amount
          city: city
    contacts:
      - {account: member_no, seen_at: ordered_at, phone: mobile}
    balance:
      - {name: net amount, rows: amount, written: {orders: net_amount}}
  lines:
    extract:
      query: |
        select order_id, line_no, ordered_at, sku, quantity, price, changed_no
        from shop_lines where changed_no >= :since  -- :until is not needed
      watermark: changed_no
      overlap: 5
    fields:
      order_id:   {heading: order_id, filled: true}
      line_no:    {heading: line_no, type: integer, filled: true}
      ordered_at: {heading: ordered_at, type: time, filled: true}
      sku:        {heading: sku, filled: true}
      quantity:   {heading: quantity, type: integer, filled: true}
      price:      {heading: price, type: price, filled: true}
    tables:
      order_lines:
        columns:
          order_id: order_id
          line_no: line_no
          ordered_at: ordered_at
          product_id: sku
          quantity: quantity
          unit_price: price
          line_amount: round(quantity * price, 2)
""".replace("  -- :until is not needed", "")


@dataclass
class DatabaseShop:
    """The shop's database, and a workspace with the source `web_shop`."""

    engine: Engine
    orders: Table
    lines: Table
    shop: Shop

    @property
    def dialect(self) -> str:
        return self.engine.dialect.name

    def add(self, table: Table, *rows: dict[str, Any]) -> None:
        """Inserts rows, in the form that the dialect keeps them in."""
        with self.engine.begin() as connection:
            connection.execute(insert(table), [{key: self._kept(value) for key, value in row.items()} for row in rows])

    def load(self, **options: Any) -> LoadReport:
        """`crm ingest web_shop` as of 2026-11-01 00:00 UTC."""
        return self.shop.load(source="web_shop", **options)

    def with_source(self, source: str) -> DatabaseShop:
        """The same database and workspace with other settings of the source."""
        config = Config({**self.shop.config.texts(), "sources/web_shop.yml": source})
        return replace(self, shop=replace(self.shop, config=config))

    def ids(self) -> list[str]:
        """The orders in the lake."""
        return sorted(row["order_id"] for row in self.shop.rows("orders"))

    def _kept(self, value: Any) -> Any:
        if isinstance(value, datetime) and self.dialect == "sqlite":
            return value.isoformat(" ").replace("+00:00", "Z")
        if isinstance(value, datetime) and self.dialect == "mariadb":
            return value.replace(tzinfo=None)  # this connection's zone is UTC
        return format(value, "f") if isinstance(value, Decimal) and self.dialect == "sqlite" else value


def open_database_shop(url: str, root: Path, source: str = SOURCE) -> DatabaseShop:
    """New tables behind `url` and a new workspace in `root`."""
    kind = url.split(":")[0].split("+")[0]
    options: dict[str, Any] = {"init_command": "set time_zone='+00:00'"} if kind == "mariadb" else {}
    engine = create_engine(url, connect_args=options)
    orders, lines = tables(kind)
    orders.metadata.drop_all(engine)
    orders.metadata.create_all(engine)
    shop = open_shop(root, {"sources/web_shop.yml": source})
    return DatabaseShop(engine, orders, lines, shop)


def tables(kind: str) -> tuple[Table, Table]:
    """The shop's tables. `ordered_at` is an instant, `paid_at` and `updated_at` are wall-clock times of the shop."""
    instant: Any = DateTime(timezone=True).with_variant(TIMESTAMP(fsp=6), "mysql", "mariadb")
    clock: Any = DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
    money: Any = Numeric(18, 2)
    price: Any = Numeric(24, 10)
    if kind == "sqlite":
        instant = clock = String(40)
        money = price = String(40)
    meta = MetaData()
    orders = Table(
        "shop_orders", meta,
        Column("order_id", String(40), primary_key=True), Column("member_no", String(40)), Column("mobile", String(40)),
        Column("ordered_at", instant), Column("paid_at", clock, nullable=True), Column("amount", money),
        Column("city", Text), Column("gift", Boolean), Column("updated_at", clock, index=True, nullable=True),
    )  # fmt: skip
    lines = Table(
        "shop_lines", meta,
        Column("order_id", String(40)), Column("line_no", BigInteger), Column("ordered_at", instant),
        Column("sku", String(40)), Column("quantity", BigInteger), Column("price", price),
        Column("changed_no", BigInteger),
    )  # fmt: skip
    return orders, lines


def order(number: int, updated_at: datetime | None = None, **changes: Any) -> dict[str, Any]:
    """One order of October 2026."""
    day = number % 20 + 1
    return {
        "order_id": f"W{number}", "member_no": f"M{number % 7}", "mobile": f"1380013{number % 10_000:04d}",
        "ordered_at": datetime(2026, 10, day, 0, 26, tzinfo=UTC), "paid_at": datetime(2026, 10, day, 8, 27),
        "amount": Decimal(number % 90 + 10) + Decimal("0.50"), "city": "上海", "gift": bool(number % 2),
        "updated_at": updated_at or datetime(2026, 10, day, 9), **changes,
    }  # fmt: skip


def line(number: int, **changes: Any) -> dict[str, Any]:
    """One line of an order."""
    return {
        "order_id": f"W{number}", "line_no": 1, "ordered_at": datetime(2026, 10, number % 20 + 1, 0, 26, tzinfo=UTC),
        "sku": f"S{number % 5}", "quantity": 2, "price": Decimal("1.25"), "changed_no": number, **changes,
    }  # fmt: skip
