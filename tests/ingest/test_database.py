"""One shop's database, three products: SQLite, PostgreSQL and MariaDB give the same lake, load after load."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq
import pytest
from sqlalchemy import delete, text, update

from crm_core.config.sources import SourceSettings
from crm_core.errors import InputError, RunFailed
from crm_core.ingest import database, undo
from crm_core.ingest.connection import database_errors, reading
from crm_core.ingest.database import check_database
from crm_core.ingest.watermark import Highest
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
    kind = {"sqlite": "sqlite", "postgresql": "postgresql"}.get(web.dialect, "mariadb")
    answer = f"{kind} answers: orders (8 of 8 fields), lines (6 of 6 fields)"
    assert check_database(web.shop.config.source("web_shop")) == answer
    report = web.load()
    assert (report.read, report.accepted, report.rejected, report.duplicate) == (5, 4, 1, 0)
    assert [(file.name, file.feed, file.format, file.read) for file in report.files] == [
        ("database:lines", "lines", "database", 2), ("database:orders", "orders", "database", 3),
    ]  # fmt: skip
    assert [(each.file, each.reason) for each in report.rejects] == [("database:orders", "the amount of an order is negative")]
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


@pytest.mark.parametrize("web", ["sqlite"], indirect=True)
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


@pytest.mark.parametrize("web", ["sqlite"], indirect=True)
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
    # of a database that lags behind; order 2 is the newest that has come
    web.add(web.orders, order(3, updated_at=order(2)["updated_at"]), order(4) | {"updated_at": None})
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


@pytest.mark.parametrize("web", ["sqlite"], indirect=True)
def test_another_column_as_watermark_reads_from_the_beginning(web: DatabaseShop) -> None:
    web.add(web.orders, order(1), order(2))
    web.load()
    other = SOURCE.replace("watermark: updated_at, overlap: 2d", "watermark: paid_at, overlap: 0d")
    again = web.with_source(other)
    again.add(again.orders, order(3))
    assert {file.feed: file.read for file in again.load().files}["orders"] == 3


def test_the_source_is_only_read(web: DatabaseShop) -> None:
    web.add(web.orders, order(1))
    with pytest.raises(Exception, match=r"(?i)read.?only"), reading(web.shop.config.source("web_shop")) as connection:
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
        "from shop_lines where changed_no >= :since", "from shop_lines where changed_no >= :since); delete from shop_orders; --"
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


def test_a_group_is_read_whole_as_soon_as_one_of_its_rows_changed(web: DatabaseShop) -> None:
    groups = """
      orders:
        per: [order_id]
        effective_at: earliest(ordered_at)
        columns:
          order_id: order_id
          ordered_at: earliest(ordered_at)
          gross_amount: total(round(quantity * price, 2))
          discount_amount: 0
          shipping_amount: 0
          net_amount: total(round(quantity * price, 2))
      order_lines:
        effective_at: ordered_at
        columns:
          order_id: order_id
          line_no: number_within(order_id)
          ordered_at: ordered_at
          product_id: sku
          quantity: quantity
          unit_price: price
          line_amount: round(quantity * price, 2)
"""
    start, end = SOURCE.index("  orders:\n    extract"), SOURCE.index("  lines:\n")
    parts = SOURCE[:start] + SOURCE[end:]
    query = parts[parts.index("    extract:") : parts.index("    fields:")]
    head = parts[: parts.index("      order_lines:")].replace(
        query, "    extract: {table: shop_lines, watermark: changed_no, overlap: 0}\n"
    )
    some = web.with_source(head + groups.strip("\n") + "\n")
    with pytest.raises(InputError, match="name the columns that they agree in"):
        some.load()
    whole = web.with_source((head + groups.strip("\n") + "\n").replace("overlap: 0}", "overlap: 0, whole: [order_id]}"))
    web.add(web.lines, *(line(1, line_no=n, sku=f"S{n}", changed_no=n) for n in (1, 2)), line(2, changed_no=3))
    whole.load()
    web.add(web.lines, line(1, line_no=3, sku="S3", changed_no=9))
    again = whole.load()
    assert again.read == 4  # the three of order 1, and the one at the watermark
    lines = {(row["order_id"], row["line_no"]): row["product_id"] for row in whole.shop.rows("order_lines")}
    assert lines == {("W1", 1): "S1", ("W1", 2): "S2", ("W1", 3): "S3", ("W2", 1): "S2"}


@pytest.mark.postgres
@pytest.mark.parametrize("web", ["postgres"], indirect=True)
def test_every_type_of_postgresql_becomes_exact_text(web: DatabaseShop) -> None:
    wanted = {
        "'6f9619ff-8b86-d011-b42d-00cf4fc964ff'::uuid": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        """'{"a": 1.10, "b": "名"}'::json""": '{"a": 1.10, "b": "名"}',
        "array[1, 2]": "[1, 2]",
        "true": "true",
        "'NaN'::numeric": "NaN",
        "0.000000000001::numeric": "0.000000000001",
        "99999999999999999999::numeric": "99999999999999999999",
        "0.1::float8": "0.1",
        "1e-7::float8": "0.0000001",
        "17850::float8": "17850",
        "9223372036854775807": "9223372036854775807",
        "'2026-10-31'::date": "2026-10-31",
        "'2026-10-31 08:26:00.5'::timestamp": "2026-10-31 08:26:00.500000",
        "'2026-10-31 08:26:00+08'::timestamptz": "2026-10-31 00:26:00Z",
        "'08:26'::time": "08:26:00",
        "'10.0.0.1'::inet": "10.0.0.1",
        "null": None,
        "''": "",
    }
    columns = ", ".join(f"{value} as c{place}" for place, value in enumerate(wanted))
    assert list(read_texts(web, f"select {columns}").values()) == list(wanted.values())
    for value, found in {
        "'infinity'::timestamp": "a value near row 1 cannot be read",
        "1 / (select 0)": "a value near row 1 cannot be read or computed",
        "'1 day'::interval": "column 'c' holds timedelta, which has no text",
        "('x' || 13800138000)::int": "a value near row 1 cannot be read or computed",
    }.items():
        with pytest.raises(InputError, match=found) as caught:
            read_texts(web, f"select {value} as c")
        assert "13800138000" not in str(caught.value)


def read_texts(web: DatabaseShop, query: str) -> dict[str, str | None]:
    """What the first row of a query is in the copy that a load would read, by column."""
    names = query.count(" as c")
    fields = {f"f{place}": {"heading": f"c{place}" if names > 1 else "c"} for place in range(names)}
    feed = {"extract": {"query": query}, "fields": fields}
    settings = SourceSettings.model_validate({"source": "any", "database": {"url_env": "WEB_SHOP_URL"}, "feeds": {"all": feed}})
    copy = web.shop.root / "copy"
    with reading(settings) as connection, database_errors(settings, "all", []):
        options = database.extracts(settings)["all"]
        plan = database._plan(settings, "all", options, connection)
        high = Highest(options, datetime(2026, 11, 1), ZoneInfo("UTC"), "here")
        database._stream(connection, plan, database._statement(plan, connection, "", "", high), copy, high, [])
    row: dict[str, str | None] = pq.read_table(copy).to_pylist()[0]
    return row


@pytest.mark.parametrize("web", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("", InputError, "names the environment variable WEB_SHOP_URL, which is not set; write one like"),
        ("no url s3cret", InputError, "what the environment variable WEB_SHOP_URL holds is no SQLAlchemy URL"),
        ("postgresql://ann:pass@h:s3cret/db", InputError, "holds is no SQLAlchemy URL"),
        ("nosuch://ann:s3cret@h/db", InputError, "SQLAlchemy does not take the URL in WEB_SHOP_URL"),
        ("mysql+nodriver://ann:s3cret@h/db", InputError, "SQLAlchemy does not take the URL in WEB_SHOP_URL"),
        ("postgresql+pg8000://ann:s3cret@h/db", InputError, r"driver of postgresql\+pg8000 is not installed"),
        ("postgresql://ann:s3cret@127.0.0.1:1/db", RunFailed, "source 'web_shop' does not answer"),
        ("mysql://ann:s3cret@127.0.0.1:1/db", RunFailed, "source 'web_shop' does not answer"),
        ("sqlite:////no/such/s3cret.db", InputError, "the SQLite file of source 'web_shop' does not exist"),
    ],
)
def test_a_url_that_does_not_serve_is_one_clear_error_without_it(
    web: DatabaseShop, monkeypatch: pytest.MonkeyPatch, url: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv("WEB_SHOP_URL", url)
    with pytest.raises(error, match=message) as caught:
        web.load()
    assert "s3" not in str(caught.value) and "ann" not in str(caught.value)


@pytest.mark.parametrize(("user", "name", "message"), [
    ("nobody", "crm", "refuses user or password"), ("crm", "nowhere", "has no database of that name")
])  # fmt: skip
@pytest.mark.parametrize("web", PRODUCTS[1:], indirect=True)
def test_who_is_refused_hears_so(web: DatabaseShop, monkeypatch: pytest.MonkeyPatch, user: str, name: str, message: str) -> None:
    url = web.engine.url.set(username=user, database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("WEB_SHOP_URL", url)
    with pytest.raises(RunFailed, match=message) as caught:
        web.load()
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("web", ["sqlite"], indirect=True)
def test_full_is_a_word_about_databases_only(web: DatabaseShop, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="full reads a whole database; leave it out where files are named"):
        web.shop.load(tmp_path, source="web_shop", full=True)
