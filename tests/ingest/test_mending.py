"""Refused rows: kept unmasked in the vault alone, exported to be mended, taken in again, and gone in time."""

from __future__ import annotations

import csv
import io
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from crm_core.errors import InputError
from crm_core.ingest import Mended, export_refused, undo
from crm_core.store import now
from crm_core.store.ledger import AuditEntry, Load
from tests.ingest.corner_shop import HEADINGS, Shop, open_shop, order, text_of, write

MORE = [*HEADINGS, "备注"]


def fix(shop: Shop, load_id: str, path: Path) -> Mended:
    own = [shop.root]
    return export_refused(shop.config, shop.ledger, shop.vault, load_id, path, outside=own, actor="mei")


def dirty(files: Path) -> Path:
    rows = [
        [*order(1), "good"],
        [*order(2, ordered_at="2026-13-45"), "=1+1"],
        [*order(3, channel="拼多多"), 'a "quoted", remark'],
        [*order(4, amount="-1.00", mobile="'13800130004"), "两行\n备注"],
    ]
    return write(files / "订单.csv", text_of(rows, MORE) + "A9,M9,13800130009\n")


def test_refused_rows_come_back_whole_with_the_files_own_headings(shop: Shop, files: Path, tmp_path: Path) -> None:
    report = shop.load(dirty(files))
    assert (report.read, report.accepted, report.rejected) == (5, 1, 4)
    made = fix(shop, report.load_id, tmp_path / "mend.csv")
    assert (made.rows, made.malformed, made.live_cells) == (3, 1, 1)
    data = (tmp_path / "mend.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    assert lines[0] == MORE
    assert lines[1:] == [
        [*order(2, ordered_at="2026-13-45"), "=1+1"],
        [*order(3, channel="拼多多"), 'a "quoted", remark'],
        [*order(4, amount="-1.00", mobile="'13800130004"), "两行\n备注"],
    ]
    reasons = list(csv.reader((tmp_path / "mend.csv.reasons.csv").open(encoding="utf-8-sig")))
    assert [row[:3] for row in reasons[1:]] == [["2", "订单.csv", "3"], ["3", "订单.csv", "4"], ["4", "订单.csv", "5"]]
    assert (tmp_path / "mend.csv.malformed.txt").read_text() == "A9,M9,13800130009\n"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in made.files)


def test_the_mended_file_loads_and_the_export_stands_in_the_audit_trail(shop: Shop, files: Path, tmp_path: Path) -> None:
    report = shop.load(dirty(files))
    made = fix(shop, report.load_id, tmp_path / "mend.csv")
    text = made.files[0].read_text(encoding="utf-8-sig")
    mended = text.replace("2026-13-45", "2026-10-05 10:00").replace("拼多多", "天猫").replace("-1.00", "1.00")
    again = shop.load(write(tmp_path / "订单 mended.csv", mended))
    assert (again.read, again.accepted, again.rejected) == (3, 3, 0)
    assert next(each for each in again.tables if each.table == "orders").inserted == 3
    assert {row["order_id"] for row in shop.rows("orders")} == {"A1", "A2", "A3", "A4"}
    with shop.ledger.session() as session:
        line = session.query(AuditEntry).filter_by(action="export_rejects").one()
    assert (line.actor, line.subject, line.detail) == ("mei", report.load_id, {"rows": 3, "malformed": 1})


def test_a_workbook_holds_every_cell_as_text(shop: Shop, files: Path, tmp_path: Path) -> None:
    report = shop.load(dirty(files))
    made = fix(shop, report.load_id, tmp_path / "mend.xlsx")
    sheet = CalamineWorkbook.from_path(made.files[0]).get_sheet_by_index(0).to_python()
    assert sheet[1] == [*order(2, ordered_at="2026-13-45"), "=1+1"]
    assert made.live_cells == 0
    assert shop.load(made.files[0]).rejected == 3, "as it is it loads, and is refused for the same reasons"


def test_two_layouts_make_two_files(shop: Shop, files: Path, tmp_path: Path) -> None:
    one = write(files / "订单1.csv", text_of([order(1, amount="much")]))
    two = write(files / "订单2.csv", text_of([[*order(2, amount="much"), "x"]], MORE))
    made = fix(shop, shop.load(one, two).load_id, tmp_path / "mend.csv")
    headings = {path.name: path.read_text(encoding="utf-8-sig").splitlines()[0] for path in made.files if path.suffix == ".csv"}
    assert {name for name in headings if "reasons" not in name} == {"mend-orders.csv", "mend-orders-2.csv"}
    assert made.rows == 2


def test_files_of_the_workspace_are_refused_and_so_is_one_that_is_there(shop: Shop, files: Path, tmp_path: Path) -> None:
    report = shop.load(dirty(files))
    with pytest.raises(InputError, match="in the vault alone"):
        fix(shop, report.load_id, shop.root / "mend.csv")
    (tmp_path / "there.csv").write_text("half mended")
    with pytest.raises(InputError, match="there already"):
        fix(shop, report.load_id, tmp_path / "there.csv")
    with pytest.raises(InputError, match=r"neither \.csv nor \.xlsx"):
        fix(shop, report.load_id, tmp_path / "mend.pdf")
    assert (tmp_path / "there.csv").read_text() == "half mended"


def test_unmasked_rows_go_with_the_load_and_with_time(shop: Shop, files: Path, tmp_path: Path) -> None:
    first, second = shop.load(dirty(files)), shop.load(write(files / "订单2.csv", text_of([order(7, amount="x")])))
    undo(shop.lake, shop.vault, first.load_id)
    with pytest.raises(InputError, match="no refused rows"):
        fix(shop, first.load_id, tmp_path / "mend.csv")
    with shop.ledger.transaction() as session:
        session.get(Load, second.load_id).started_at = now() - timedelta(days=31)
    shop.vault.sweep(keep_refused_days=32)
    assert shop.vault.refused(second.load_id)
    shop.load(write(files / "订单3.csv", text_of([order(8)])))  # the next writer sweeps by conf: 30 days
    with pytest.raises(InputError, match="reject_expiry_days"):
        fix(shop, second.load_id, tmp_path / "mend.csv")


def test_lines_keep_their_numbers_when_one_above_them_was_refused_and_is_mended(tmp_path: Path) -> None:
    source = """
source: items
feeds:
  items:
    match: ["items*.csv"]
    fields:
      order_id: {heading: order, filled: true}
      sku: {heading: sku, filled: true}
      quantity: {heading: quantity, type: integer, filled: true}
      at: {heading: at, type: time, filled: true}
    tables:
      order_lines:
        columns:
          order_id: order_id
          line_no: number_within(order_id)
          ordered_at: at
          product_id: sku
          quantity: quantity
          unit_price: 1
          line_amount: quantity
"""
    shop = open_shop(tmp_path / "shop", {"sources/items.yml": source})
    headings = ["order", "sku", "quantity", "at"]
    cells = [[f"T{order}", sku, "1", "2026-10-01 08:00:00"] for order in range(3) for sku in ("P1", "P2", "P3")]
    bad = [[row[0], row[1], "one" if row[1] == "P1" else "1", row[3]] for row in cells]
    first = shop.load(write(tmp_path / "items1.csv", text_of(bad, headings)), source="items")
    assert (first.accepted, first.rejected) == (6, 3)
    shop.load(write(tmp_path / "items2.csv", text_of(cells, headings)), source="items")
    found = {(row["order_id"], row["line_no"]): row["product_id"] for row in shop.rows("order_lines")}
    assert found == {(f"T{order}", place): f"P{place}" for order in range(3) for place in (1, 2, 3)}
