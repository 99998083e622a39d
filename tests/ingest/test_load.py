"""Loads into a real lake: what rows become, what is refused and why, the same again, taken back."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import xlsxwriter

from crm_core.errors import InputError, UnknownName
from crm_core.ingest import loads, reader, rejects, undo
from crm_core.store import UndoCounts, engine
from tests.ingest.corner_shop import HEADINGS, LINES, Shop, open_shop, order, orders_file, text_of, write


def reasons(shop: Shop) -> list[tuple[str, int, str]]:
    return [(row["file"], row["row_number"], row["reason"]) for row in shop.rows("rejects")]


def test_good_orders_arrive_with_every_column_typed(shop: Shop, files: Path) -> None:
    report = shop.load(write(files / "订单.csv", text_of([order(1, refunded="3.00"), order(2, member_no="", paid_at="")])))
    assert (report.read, report.accepted, report.duplicate, report.rejected) == (2, 2, 0, 0)
    first, second = shop.rows("orders")
    assert first["member_id"] == shop.vault.member_id("corner_shop", "M1")
    assert (first["channel"], first["net_amount"], first["currency"]) == ("tmall", Decimal("11.50"), "CNY")
    assert first["ordered_at"] == datetime(2026, 10, 2, 0, 26)
    assert first["_effective_at"] == first["paid_at"] == datetime(2026, 10, 2, 0, 27)
    assert (second["member_id"], second["paid_at"]) == (None, None)
    (refund,) = shop.rows("refunds")
    assert (refund["amount"], refund["kind"], refund["date_assumed"]) == (Decimal("3.00"), "refund", True)
    assert shop.lake.snapshot().covers_until == date(2026, 10, 3)


def test_no_account_and_no_contact_stands_in_the_lake(shop: Shop, files: Path) -> None:
    shop.load(orders_file(files, 1, 2, 3), write(files / "订单2.csv", text_of([order(5, amount="much")])))
    for path in [*shop.lake.root.rglob("*"), *(shop.root / "ledger").iterdir()]:
        if path.is_file():
            assert b"13800130" not in path.read_bytes(), path
    assert shop.rows("rejects")[0]["row"].count("****") == 1
    assert {row["member_id"] for row in shop.rows("orders")} == {
        row["member_id"] for row in shop.vault.accounts().to_pyarrow().to_pylist() if row["account_id"] != "M5"
    }
    assert shop.vault.contacts("phone").count().to_pyarrow().as_py() == 3
    hashes = {row["id_value_hash"] for row in shop.rows("identities")}
    assert hashes == {shop.vault.hmac_one("phone", f"+861380013000{number}") for number in (1, 2, 3)}


def test_each_refused_row_names_its_file_row_and_reason_and_the_rest_is_loaded(shop: Shop, files: Path) -> None:
    rows = [
        order(1),
        order(2, ordered_at="2026-13-45"),
        order(3, channel="拼多多"),
        order(4, amount="-1.00"),
        order(5, order_id=""),
        order(6, amount="1.38E+10", paid_at="2027-01-01"),
        order(7),
    ]
    report = shop.load(write(files / "订单.csv", text_of(rows)))
    assert (report.read, report.accepted, report.rejected, report.adds_up) == (7, 2, 5, True)
    assert reasons(shop) == [
        ("订单.csv", 3, "下单时间: '2026-13-45' is not a time, such as 2026-10-31 08:26:00"),
        ("订单.csv", 4, "渠道: '拼多多' is not known (known: 天猫, 门店)"),
        ("订单.csv", 5, "the amount of an order is negative"),
        ("订单.csv", 6, "订单编号: is empty"),
        ("订单.csv", 7, "付款时间: '2027-01-01' lies in the future; 总金额: '1.38E+10' is not an amount, such as 1,234.50"),
    ]
    assert json.loads(rejects(shop.lake, report.load_id).to_pyarrow().to_pylist()[0]["row"]) == {
        "订单编号": "A2",
        "会员号": "M***",
        "联系手机": "138****0002",
        "下单时间": "2026-13-45",
        "付款时间": "2026-10-03 08:27:00",
        "总金额": "12.50",
        "退款金额": None,
        "渠道": "天猫",
    }
    assert [(item.field, item.rows, item.row_numbers) for item in report.rejects] == [
        ("", 1, (5,)),
        ("channel", 1, (4,)),
        ("order_id", 1, (6,)),
        ("ordered_at", 1, (3,)),
        ("paid_at", 1, (7,)),
    ]


def test_rows_are_numbered_as_a_spreadsheet_shows_them_blank_lines_included(shop: Shop, files: Path) -> None:
    for name in ("订单1.csv", "订单2.csv"):
        lines = text_of([order(n, amount="x" if n % 2 else "1.00") for n in range(5)]).splitlines()
        lines[2:2] = ["", ""]
        lines[6:6] = ["", "too,few"]
        write(files / name, "\n".join([*lines, ",".join(order(int(name[2])))]) + "\n\n")
    shop.load(files)
    raw = (files / "订单1.csv").read_text("utf-8").splitlines()
    bad = [number for number, line in enumerate(raw, start=1) if ",x," in line or line == "too,few"]
    assert bad == [5, 8, 9]
    refused = [(row["file"], row["row_number"]) for row in shop.rows("rejects")]
    assert sorted(refused) == [(name, number) for name in ("订单1.csv", "订单2.csv") for number in bad]


def test_a_field_refused_for_two_reasons_is_told_as_two(shop: Shop, files: Path) -> None:
    times = ["x", "2027-01-01", "y2", "", "2028-01-01"]
    report = shop.load(write(files / "订单.csv", text_of([order(n, ordered_at=time) for n, time in enumerate(times)])))
    assert [(item.reason, item.rows, item.row_numbers) for item in report.rejects] == [
        ("下单时间: 'x' is not a time, such as 2026-10-31 08:26:00", 2, (2, 4)),
        ("下单时间: '2027-01-01' lies in the future", 2, (3, 6)),
        ("下单时间: is empty", 1, (5,)),
    ]


def test_rows_too_wide_for_little_memory_are_read_again_in_more_and_counted_once(
    shop: Shop, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    forget = reader._forget_errors
    monkeypatch.setattr(reader, "_forget_errors", lambda *given: (calls.append(None), forget(*given))[1])
    monkeypatch.setattr(engine, "STREAM_BYTES", 2**20)  # no file is read in one megabyte
    lines = text_of(order(number) for number in range(30_000)).splitlines(keepends=True)
    lines.insert(2, "too,few\n")
    (files / "订单.csv").write_text("".join(lines), encoding="utf-8")
    report = shop.load(files / "订单.csv")
    assert len(calls) == 2, "the first reading was given up"
    assert (report.read, report.accepted, report.rejected) == (30_001, 30_000, 1)
    assert shop.rows("rejects")[0]["row_number"] == 3


def test_malformed_lines_are_refused_and_later_rows_keep_their_numbers(shop: Shop, files: Path) -> None:
    lines = text_of([order(1)]) + "A2,M2\n\n" + '"A3\nx",M3,,2026-13-45,,1,,天猫\n' + ",".join([*order(4), "5", "6"]) + "\n"
    lines += 'A5,"M5"x,,,,,,\n' + "A6,M6,,昨天,,1,,天猫\n" + ",".join(order(7)) + "\n"
    report = shop.load(write(files / "订单.csv", lines))
    assert (report.read, report.accepted, report.rejected) == (7, 2, 5)
    assert [(number, reason.split(":")[0]) for _, number, reason in reasons(shop)] == [
        (3, "the row has 2 cells, the headings are 8"),
        (5, "下单时间"),
        (6, "the row has 10 cells, the headings are 8"),
        (7, "a quotation mark is opened and never closed (it takes in 1 lines)"),
        (8, "下单时间"),
    ]
    assert [row["order_id"] for row in shop.rows("orders")] == ["A1", "A7"]


def test_row_numbers_hold_across_many_files_read_together(shop: Shop, files: Path) -> None:
    for place in range(3):
        rows = "".join(",".join(cells) + "\n" for cells in (order(place * 10), order(place * 10 + 1, amount="x")))
        write(files / f"订单{place}.csv", ",".join(HEADINGS) + "\n" + "bad\n" * place + rows + "bad\n" * (place == 1))
    report = shop.load(files)
    assert [(file.name, file.read, file.accepted, file.rejected) for file in report.files] == [
        ("订单0.csv", 2, 1, 1),
        ("订单1.csv", 4, 1, 3),
        ("订单2.csv", 4, 1, 3),
    ]
    assert [(name, number) for name, number, reason in reasons(shop) if "amount" in reason] == [
        ("订单0.csv", 3),
        ("订单1.csv", 4),
        ("订单2.csv", 5),
    ]


def test_identical_rows_are_duplicates_or_lines_as_the_feed_says(shop: Shop, files: Path) -> None:
    line = ["A1", "2026-10-02 08:26:00", "SKU1", "2", "0.333333"]
    write(files / "订单.csv", text_of([order(1), order(2), order(1), order(1)]))
    write(files / "订单明细.csv", text_of([line, line], LINES))
    report = shop.load(files)
    assert [(file.feed, file.accepted, file.duplicate) for file in report.files] == [("orders", 2, 2), ("lines", 2, 0)]
    lines = shop.rows("order_lines")
    assert [row["line_amount"] for row in lines] == [Decimal("0.67")] * 2
    assert len({row["line_no"] for row in lines}) == 2


def test_the_same_file_again_changes_nothing_and_says_so(shop: Shop, files: Path) -> None:
    path = orders_file(files, 1, 2)
    first = shop.load(path)
    before, snapshot = shop.content(), shop.lake.snapshot().id
    (files / "订单copy.csv").write_bytes(path.read_bytes())
    again = shop.load(files)
    assert again.nothing_new
    assert {file.known_load for file in again.files} == {first.load_id}
    assert (again.load_id, shop.content(), shop.lake.snapshot().id) == ("", before, snapshot)


def test_a_copy_within_one_call_is_loaded_once(shop: Shop, files: Path) -> None:
    path = orders_file(files, 1, 2)
    (files / "订单copy.csv").write_bytes(path.read_bytes())
    report = shop.load(files)
    assert [file.known_load for file in report.files] == ["", "this one, as 订单1.csv"]
    assert report.read == 2


def test_files_in_any_order_split_or_overlapping_give_the_same_tables(tmp_path: Path) -> None:
    early = text_of([order(1, paid_at=""), order(2), order(3)])
    late = text_of([order(1), order(2), order(4)])
    paths = [write(tmp_path / "files" / "订单1.csv", early), write(tmp_path / "files" / "订单2.csv", late)]
    contents = []
    for name, calls in {"both": [paths], "forward": [[paths[0]], [paths[1]]], "backward": [[paths[1]], [paths[0]]]}.items():
        shop = open_shop(tmp_path / name)
        for call in calls:
            shop.load(*call)
        contents.append(shop.rows("orders"))
    assert contents[0] == contents[1] == contents[2]
    assert contents[0][0]["paid_at"] == datetime(2026, 10, 2, 0, 27)


def test_a_key_named_twice_for_one_moment_is_settled_and_reported(shop: Shop, files: Path) -> None:
    rows = [order(1), order(1, amount="99.00"), order(2)]
    report = shop.load(write(files / "订单.csv", text_of(rows)))
    (orders,) = (table for table in report.tables if table.table == "orders")
    assert (orders.conflicts, orders.examples) == (1, ("A1",))
    kept = shop.rows("orders")
    other = open_shop(shop.root.with_name("other"))
    other.load(write(files / "订单b.csv", text_of(rows[::-1])))
    assert [row["net_amount"] for row in other.rows("orders")] == [row["net_amount"] for row in kept]


def test_a_dry_run_does_everything_but_writing(shop: Shop, files: Path) -> None:
    report = shop.load(orders_file(files, 1, 2), dry_run=True)
    assert (report.accepted, report.load_id, report.snapshot, shop.lake.snapshot()) == (2, "", None, None)
    assert [(table.table, table.rows) for table in report.tables] == [("orders", 2), ("refunds", 0)]
    assert not loads(shop.ledger)


def test_undo_restores_exactly_what_was_there(shop: Shop, files: Path) -> None:
    shop.load(orders_file(files, 1, 2, 3))
    before, covered = shop.content(), shop.lake.snapshot().covers_until
    path = write(
        files / "订单2.csv", text_of([order(1, amount="77.00", paid_at="2026-10-30 10:00:00"), order(9), order(8, amount="x")])
    )
    second = shop.load(path)
    assert shop.content() != before
    report = undo(shop.lake, shop.vault, second.load_id)
    assert report.tables["orders"] == UndoCounts(gone=1, returned=1, unchanged=0)
    assert (shop.content(), shop.lake.snapshot().covers_until) == (before, covered)
    assert next((load.load_id, load.state) for load, _ in loads(shop.ledger)) == (second.load_id, "undone")
    with pytest.raises(InputError, match="was taken back on"):
        undo(shop.lake, shop.vault, second.load_id)
    assert shop.load(path).accepted == 2


def test_undoing_the_only_load_leaves_empty_tables(shop: Shop, files: Path) -> None:
    undo(shop.lake, shop.vault, shop.load(orders_file(files, 1)).load_id)
    assert not any(shop.content().values())
    assert shop.lake.snapshot().covers_until is None


def test_an_unknown_load_offers_the_nearest(shop: Shop, files: Path) -> None:
    report = shop.load(orders_file(files, 1))
    with pytest.raises(UnknownName, match=f"did you mean '{report.load_id}'"):
        undo(shop.lake, shop.vault, report.load_id[:-1] + "x")


@pytest.mark.parametrize("name", ["订单.csv", "订单.csv.gz", "订单.parquet", "订单.xlsx"])
def test_every_format_gives_the_same_orders(shop: Shop, files: Path, name: str) -> None:
    rows = [order(1), order(2, amount="12.50", refunded="0.50"), order(3, paid_at="")]
    path = files / name
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [[cell or None for cell in column] for column in zip(*rows, strict=True)]
        table = pa.table(dict(zip(HEADINGS, columns, strict=True)))
        for column, kind in (("下单时间", pa.timestamp("us")), ("总金额", pa.float64())):
            table = table.set_column(HEADINGS.index(column), column, table[column].cast(kind))
        pq.write_table(table, path)
    elif name.endswith(".xlsx"):
        book = xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd hh:mm:ss"})
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADINGS)
        for place, row in enumerate(rows, 1):
            sheet.write_row(place, 0, row)
            sheet.write_datetime(place, 3, datetime.fromisoformat(row[3]))
            sheet.write_number(place, 5, float(row[5]))
        book.close()
    else:
        text = text_of(rows).encode("gb18030")
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    assert shop.load(path).accepted == 3
    assert [(row["order_id"], row["net_amount"], row["ordered_at"]) for row in shop.rows("orders")] == [
        (f"A{number}", Decimal(f"{number + 10}.50"), datetime(2026, 10, number + 1, 0, 26)) for number in (1, 2, 3)
    ]


def test_other_delimiters_are_found(shop: Shop, files: Path) -> None:
    paths = [write(files / f"订单{place}.csv", text_of([order(place)], delimiter=mark)) for place, mark in enumerate(",;\t|")]
    assert shop.load(*paths).accepted == 4


def test_a_balance_that_does_not_agree_stops_the_load(tmp_path: Path, files: Path) -> None:
    shop = open_shop(tmp_path / "shop")
    text = shop.config.texts()["sources/corner_shop.yml"].replace(
        "written: {orders: net_amount}", "written: {shop_refunds: amount}"
    )
    shop = open_shop(tmp_path / "shop", {"sources/corner_shop.yml": text})
    with pytest.raises(InputError, match=r"net amount is 11\.50 in the accepted rows but 0 in shop_refunds"):
        shop.load(orders_file(files, 1))
    assert shop.lake.snapshot() is None


def test_a_broken_rule_of_a_table_takes_the_file_row_with_it(shop: Shop, files: Path) -> None:
    # a refund needs a date, and this order was never paid: its order does not come in without the refund
    report = shop.load(write(files / "订单.csv", text_of([order(1), order(2, paid_at="", refunded="1.00")])))
    assert (report.accepted, report.rejected) == (1, 1)
    assert "refunds.refunded_at: is empty" in reasons(shop)[0][2]
    assert [row["order_id"] for row in shop.rows("orders")] == ["A1"]


def test_groups_that_break_a_rule_take_all_their_rows_with_them(tmp_path: Path, files: Path) -> None:
    source = """
source: tills
ids: plain
feeds:
  lines:
    repeated_rows: keep
    fields:
      receipt: {heading: receipt, required: true}
      customer: {heading: customer}
      at: {heading: at, type: time, filled: true}
      amount: {heading: amount, type: money, filled: true}
    tables:
      orders:
        per: [receipt]
        columns:
          order_id: receipt
          member_id: account(customer)
          ordered_at: earliest(at)
          paid_at: latest(at) if total(amount) > 0 else None
          gross_amount: total(amount)
          discount_amount: 0
          shipping_amount: 0
          net_amount: total(amount)
    balance:
      - {name: takings, rows: amount, written: {orders: net_amount}}
"""
    shop = open_shop(tmp_path / "shop", {"sources/tills.yml": source})
    rows = [
        ["r1", "7", "2026-10-01 10:00", "5"],
        ["", "7", "2026-10-01 10:01", "2"],
        ["r1", "7", "2026-10-01 10:02", "5"],
        ["", "", "2026-10-01 10:03", "9"],
        ["r2", "", "2026-10-01 10:04", "-3"],
        ["r3", "bob", "2026-10-01 10:05", "1"],
    ]
    report = shop.load(write(files / "a.csv", text_of(rows, ["receipt", "customer", "at", "amount"])), source="tills")
    assert (report.read, report.accepted, report.rejected) == (6, 3, 3)
    assert [(number, reason) for _, number, reason in reasons(shop)] == [
        (3, "orders.order_id: is empty"),
        (5, "orders.order_id: is empty"),
        (7, "customer: not a bare number, which `ids: plain` asks for"),
    ]
    assert [(row["order_id"], row["member_id"], row["net_amount"], row["paid_at"]) for row in shop.rows("orders")] == [
        ("r1", "7", Decimal("10.00"), datetime(2026, 10, 1, 2, 2)),
        ("r2", None, Decimal("-3.00"), None),
    ]


def test_a_load_is_in_the_ledger_with_its_files_and_in_the_audit_trail(shop: Shop, files: Path) -> None:
    report = shop.load(orders_file(files, 1, 2), actor="ann")
    ((load, (file,)),) = loads(shop.ledger)
    assert (load.load_id, load.source, load.rows_read, load.snapshot_id) == (report.load_id, "corner_shop", 2, report.snapshot)
    assert (file.name, file.sha256, file.rows_accepted) == ("订单1.csv", report.files[0].sha256, 2)
    assert load.detail["balances"] == [{"feed": "orders", "name": "net amount", "rows": "24.00", "written": "24.00"}]
    assert shop.ledger.verify_audit() == 1


def test_nothing_is_left_in_the_spill_folder(shop: Shop, files: Path) -> None:
    shop.load(orders_file(files, 1))
    with pytest.raises(InputError):
        shop.load(write(files / "订单x.csv", "a,b\n1,2\n"))
    assert not list((shop.root / "spill").glob("ingest_*"))


def test_a_report_that_does_not_add_up_says_so(shop: Shop, files: Path) -> None:
    report = shop.load(orders_file(files, 1), dry_run=True)
    assert report.adds_up
    assert not replace(report, files=(replace(report.files[0], read=5),)).adds_up


def test_ids_that_a_spreadsheet_made_numbers_of_are_refused_and_its_marks_of_text_are_no_part_of_an_id(
    shop: Shop, files: Path
) -> None:
    ids = ['="100000000000000001"', "'100000000000000002", " '100000000000000003", "'A4", "1.23457E+17", "E+1"]
    rows = [order(number, order_id=each) for number, each in enumerate(ids)] + [order(9, member_no="1.38E+10")]
    report = shop.load(write(files / "订单.csv", text_of(rows)))
    assert (report.accepted, report.rejected) == (5, 2)
    found = [row["order_id"] for row in shop.rows("orders")]
    assert sorted(found) == ["'A4", "100000000000000001", "100000000000000002", "100000000000000003", "E+1"]
    reasons = [row["reason"] for row in shop.rows("rejects")]
    assert reasons == [
        "订单编号: '1.23457E+17' is a number that a spreadsheet cut short: export it anew, as text",
        "会员号: '1***' is a number that a spreadsheet cut short: export it anew, as text",
    ]


def test_a_number_of_a_workbook_with_more_digits_than_it_keeps_is_no_id(shop: Shop, files: Path) -> None:
    with xlsxwriter.Workbook(files / "订单.xlsx") as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADINGS)
        for number, order_id in enumerate([123456789012345, 1234567890123456, 123456789012345678], start=1):
            sheet.write_row(number, 0, [order_id, *order(number)[1:]])
        sheet.write_blank(40, 0, None, book.add_format({"bold": True}))
    report = shop.load(files / "订单.xlsx")
    assert [row["order_id"] for row in shop.rows("orders")] == ["123456789012345"]
    assert (report.read, report.rejected) == (3, 2) and "cut short" in shop.rows("rejects")[0]["reason"]
