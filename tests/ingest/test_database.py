"""One shop's database, three products: SQLite, PostgreSQL and MariaDB give the same lake, load after load."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update

from crm_core.errors import InputError, RunFailed
from crm_core.ingest import undo
from tests.ingest.database_shop import SOURCE, DatabaseShop, line, open_database_shop, order
from tests.servers import PASSWORD, Server

PRODUCTS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres), "mariadb"]


@pytest.fixture(params=PRODUCTS)
def web(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatabaseShop:
    """An empty shop on each product."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / '店 100%.db'}"
    else:
        server: Server = request.getfixturevalue(request.param)
        url = server.url
    monkeypatch.setenv("WEB_SHOP_URL", url)
    return open_database_shop(url, tmp_path / "我的 数据 100%")


def test_a_whole_load_reconciles_and_keeps_every_value_exactly(web: DatabaseShop) -> None:
    web.add(
        web.orders,
        order(1, amount=Decimal("1234567890123456.78"), city="重庆 🐼 'x' \"y\"\n二行"),
        order(2, amount=Decimal("0.01"), city=None, paid_at=None, member_no=None, mobile=None),
        order(3, amount=Decimal("-5.00")),
    )
    web.add(web.lines, line(1, price=Decimal("0E-10")), line(2, price=Decimal("1234.5678900000"), line_no=7))
    report = web.load()
    assert (report.read, report.accepted, report.rejected, report.duplicate) == (5, 4, 1, 0)
    assert [(file.name, file.feed, file.format, file.read) for file in report.files] == [
        ("database:lines", "lines", "database", 2), ("database:orders", "orders", "database", 3),
    ]  # fmt: skip
    assert [(each.file, each.reason) for each in report.rejects] == [
        ("database:orders", "the amount of an order is negative")
    ]
    assert [balance.rows for balance in report.balances] == [Decimal("1234567890123456.79")]
    first, second = web.shop.rows("orders")
    assert (first["net_amount"], first["city"]) == (Decimal("1234567890123456.78"), "重庆 🐼 'x' \"y\"\n二行")
    # 00:26 UTC by the instant; 08:27 on the clock of Shanghai
    assert (first["ordered_at"], first["paid_at"]) == (datetime(2026, 10, 2, 0, 26), datetime(2026, 10, 2, 0, 27))
    assert [second[name] for name in ("net_amount", "city", "paid_at", "member_id")] == [Decimal("0.01"), *[None] * 3]
    lines = {row["order_id"]: row["unit_price"] for row in web.shop.rows("order_lines")}
    assert lines == {"W1": Decimal("0.000000"), "W2": Decimal("1234.567890")}
    unknown = {file.feed: file.unknown_headings for file in report.files}
    assert unknown == {"orders": ("gift",), "lines": ("changed_no",)}


def test_later_loads_read_from_the_watermark_less_the_overlap(web: DatabaseShop) -> None:
    web.add(web.orders, *(order(number) for number in range(1, 20)))
    web.add(web.lines, *(line(number) for number in range(1, 20)))
    assert web.load().read == 38
    changed, new, late = datetime(2026, 10, 28, 9), datetime(2026, 10, 30, 9), datetime(2026, 10, 18, 9, 0, 0, 1)
    with web.engine.begin() as connection:
        wanted = web.orders.c.order_id == "W1"
        connection.execute(update(web.orders).where(wanted).values(city="北京", updated_at=web._kept(changed)))
    web.add(web.orders, order(101, updated_at=new), order(102, updated_at=late))  # committed late, inside the overlap
    web.add(web.lines, line(101), line(16, order_id="W300"))
    report = web.load()
    # watermarks 2026-10-20 09:00 and 19: orders of the 18th, 19th and 20th again; lines 14 to 19
    assert {file.feed: file.read for file in report.files} == {"orders": 3 + 3, "lines": 6 + 2}
    assert {each.table: (each.inserted, each.updated) for each in report.tables} | {"identities": 0} == {
        "orders": (2, 1), "order_lines": (2, 0), "identities": 0,
    }  # fmt: skip
    assert len(web.ids()) == 21 and web.ids().count("W102") == 1
    assert next(row for row in web.shop.rows("orders") if row["order_id"] == "W1")["city"] == "北京"
    assert len(web.shop.rows("order_lines")) == 21


def test_an_unchanged_extract_is_known_and_makes_no_load(web: DatabaseShop) -> None:
    web.add(web.orders, *(order(number) for number in range(5)))
    web.load()
    first = web.load()  # the overlap is less than the whole
    second = web.load()
    assert first.load_id and second.nothing_new and not second.load_id


def test_undo_moves_the_watermark_back_and_a_gap_is_read_again(web: DatabaseShop) -> None:
    loads = []
    for number, day in enumerate((1, 10, 20, 30)):
        web.add(web.orders, order(number, updated_at=datetime(2026, 10, day, 9)))
        loads.append(web.load().load_id)
    for load in loads[1:3]:  # the overlap has each order in two loads
        undo(web.shop.lake, web.shop.vault, load)
    assert web.ids() == ["W0", "W2", "W3"]
    assert web.load().read == 4 and web.ids() == ["W0", "W1", "W2", "W3"]


def test_a_dry_or_a_failed_run_moves_nothing(web: DatabaseShop, monkeypatch: pytest.MonkeyPatch) -> None:
    web.add(web.orders, order(1))
    assert web.load(dry_run=True).read == 1
    monkeypatch.setattr("crm_core.ingest.load.write", _broken)
    with pytest.raises(RunFailed, match="as it happens"):
        web.load()
    monkeypatch.undo()
    monkeypatch.setenv("WEB_SHOP_URL", web.engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("CRM_VAULT_KEY", "5a" * 32)
    assert web.load().accepted == 1 and web.ids() == ["W1"]


def _broken(*_: object) -> None:
    raise RunFailed("as it happens")


def test_a_clock_that_ran_ahead_hides_no_later_row_and_rows_without_a_time_always_come(web: DatabaseShop) -> None:
    web.add(web.orders, order(1, updated_at=datetime(2099, 1, 1)), order(2))
    web.load()
    web.add(web.orders, order(3, updated_at=datetime(2026, 10, 31, 9)), order(4) | {"updated_at": None})
    web.load()
    assert web.ids() == ["W2", "W3", "W4"]  # W1 is refused: its time lies in the future


def test_deleted_rows_are_not_seen_until_everything_is_undone_and_read_anew(web: DatabaseShop) -> None:
    web.add(web.orders, order(1), order(2))
    first = web.load().load_id
    with web.engine.begin() as connection:
        connection.execute(delete(web.orders).where(web.orders.c.order_id == "W1"))
    later = web.load(full=True)
    assert later.read == 1 and web.ids() == ["W1", "W2"]
    undo(web.shop.lake, web.shop.vault, first)
    assert web.ids() == ["W2"]


def test_another_column_as_watermark_reads_from_the_beginning(web: DatabaseShop) -> None:
    web.add(web.orders, order(1), order(2))
    web.load()
    other = SOURCE.replace("watermark: updated_at, overlap: 2d", "watermark: paid_at, overlap: 0d")
    again = web.with_source(other)
    again.add(again.orders, order(3))
    assert {file.feed: file.read for file in again.load().files}["orders"] == 3


def test_the_source_is_only_read(web: DatabaseShop) -> None:
    from crm_core.ingest.connection import reading

    web.add(web.orders, order(1))
    with (
        pytest.raises(Exception, match=r"(?i)read.?only"),
        reading(web.shop.config.source("web_shop")) as connection,
    ):
        connection.execution_options(stream_results=False).execute(delete(web.orders))
    assert web.load().read == 1


def test_all_feeds_are_of_one_moment(web: DatabaseShop) -> None:
    web.add(web.orders, *(order(number) for number in range(3)))
    web.add(web.lines, *(line(number) for number in range(3)))

    def a_sale(step: str) -> None:
        if step == "reading database:lines":  # the orders have been read
            web.add(web.lines, line(3))

    if web.dialect == "sqlite":
        with web.engine.connect() as connection:
            connection.execute(text("pragma journal_mode=wal"))
    report = web.load(progress=a_sale)
    assert {file.feed: file.read for file in report.files} == {"orders": 3, "lines": 3}
    assert {file.feed: file.read for file in web.load().files}["lines"] == 4


LACKS = [
    ("table: shop_orders", "table: shop_order", "table 'shop_order' is not there; did you mean 'shop_orders'"),
    ("table: shop_orders", "table: nowhere.shop_orders", "schema 'nowhere' is not known|unknown database"),
    ("heading: amount,", "heading: amuont,", "column 'amuont' is missing, the nearest found is 'amount'"),
    ("watermark: updated_at", "watermark: updatet_at", "watermark 'updatet_at' is not known.*mean 'updated_at'"),
    ("watermark: updated_at", "watermark: city", "column 'city' cannot be a watermark"),
    ("overlap: 2d", "overlap: 2", "holds times, overlap 2 does not fit; write 2d"),
    ("from shop_lines", "from shop_linez", "does not take what conf/sources/web_shop.yml asks for.*shop_linez"),
    ("select order_id", "select order_idd", "does not take what conf.*order_idd"),
    ("from shop_lines", "fromm shop_lines", "does not take what conf"),
]


def test_what_the_database_lacks_is_one_clear_error(web: DatabaseShop) -> None:
    web.add(web.orders, order(1))
    web.load()
    for old, new, message in LACKS:
        with pytest.raises(InputError, match=message) as caught:
            web.with_source(SOURCE.replace(old, new)).load(full="city" in new)
        assert "1380013" not in str(caught.value) and PASSWORD not in str(caught.value)


def test_a_query_can_do_nothing_but_read(web: DatabaseShop) -> None:
    web.add(web.orders, order(1))
    bad = SOURCE.replace(
        "from shop_lines where changed_no >= :since",
        "from shop_lines where changed_no >= :since); delete from shop_orders; --",
    )
    with pytest.raises(InputError, match=r"does not take|cannot be read"):
        web.with_source(bad).load()
    assert web.load().read == 1


def test_bytes_are_refused_with_the_name_of_their_column(web: DatabaseShop) -> None:
    kind = "bytea" if web.dialect == "postgresql" else "blob"
    with web.engine.begin() as connection:
        connection.execute(text("drop table if exists photos"))
        connection.execute(text(f"create table photos (order_id varchar(9), ordered_at varchar(9), amount {kind})"))
        connection.execute(text("insert into photos values ('A', '', :bytes)"), {"bytes": b"\x00\xff"})
    photos = SOURCE.replace("{table: shop_orders, watermark: updated_at, overlap: 2d}", "{table: photos}")
    with pytest.raises(InputError, match="database:orders: column 'amount' holds bytes, which has no text"):
        web.with_source(photos).load()


def test_no_password_is_written_anywhere(web: DatabaseShop, capsys: pytest.CaptureFixture[str]) -> None:
    web.add(web.orders, order(1), order(2, amount=Decimal("-1")))
    web.load()
    web.engine.dispose()
    web.shop.ledger.engine.dispose()
    found = [path for path in web.shop.root.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert found == [] and PASSWORD not in "".join(capsys.readouterr())


def test_times_of_an_utc_session_are_the_same_whatever_the_zone_of_this_machine(
    web: DatabaseShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        web.add(web.orders, order(1, ordered_at=datetime(2026, 10, 25, 1, 30, tzinfo=UTC)))
        web.load()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert web.shop.rows("orders")[0]["ordered_at"] == datetime(2026, 10, 25, 1, 30)
