"""Files that cannot be loaded: one clear InputError that names the file, and a lake without a trace of it."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from crm_core.errors import InputError, RunFailed
from crm_core.ingest.engine_errors import engine_errors
from tests.ingest.corner_shop import HEADINGS, Shop, order, orders_file, text_of, write

GOOD = text_of(order(number) for number in range(500))


def parquet(path: Path) -> bytes:
    rows = [order(number) for number in range(500)]
    pq.write_table(pa.table(dict(zip(HEADINGS, map(list, zip(*rows, strict=True)), strict=True))), path)
    return path.read_bytes()


def garbage_inside(content: bytes) -> bytes:
    """The content with its head and its end intact, and noise in between."""
    noise = random.Random(1).randbytes(4000)
    return content[:200] + noise + content[200 + len(noise) :]


def workbook(path: Path) -> bytes:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for place, row in enumerate([HEADINGS, *(order(number) for number in range(500))]):
            sheet.write_row(place, 0, row)
    return path.read_bytes()


CASES: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "empty": ("订单.csv", lambda _: b"", r"订单\.csv is empty \(0 bytes\)"),
    "binary": ("订单.csv", lambda _: bytes(range(256)) * 50, "NUL bytes|cannot be decoded"),
    "wrong encoding": (
        "订单.csv",
        lambda _: GOOD.encode("cp949", "replace") + b"\xff\xff",
        "cannot be decoded as utf-8 or gb18030",
    ),
    "truncated gz": ("订单.csv.gz", lambda _: gzip.compress(GOOD.encode())[:-40], r"订单\.csv\.gz is a damaged or cut-off gzip"),
    "truncated parquet": ("订单.parquet", lambda path: parquet(path)[:-500], "damaged or cut-off Parquet"),
    "a name in parquet that is no text": (
        "订单.parquet",
        lambda path: parquet(path).replace("订单编号".encode(), b"\x9e" + "订单编号".encode()[1:]),
        "damaged or cut-off Parquet",
    ),
    "garbage in parquet": (
        "订单.parquet",
        lambda path: garbage_inside(parquet(path)),
        r"订单\.parquet (cannot be read through|is a damaged)",
    ),
    "truncated xlsx": ("订单.xlsx", lambda path: workbook(path)[:-500], "damaged or cut-off XLSX"),
    "garbage in xlsx": ("订单.xlsx", lambda path: garbage_inside(workbook(path)), r"订单\.xlsx.* damaged"),
    "no xlsx": ("订单.xlsx", lambda _: GOOD.encode(), "should be xlsx but does not begin like one"),
    "missing heading": ("订单.csv", lambda _: GOOD.replace("总金额", "金额", 1).encode(), "heading '总金额' is missing"),
    "heading twice": ("订单.csv", lambda _: GOOD.replace("会员号", "总金额", 1).encode(), "heading '总金额' stands there 2 times"),
    "headings only of others": ("别的.csv", lambda _: b"a,b\n1,2\n", "Headings found: not shown"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_cannot_be_loaded_is_named_and_leaves_no_trace(shop: Shop, files: Path, name: str) -> None:
    file, content, message = CASES[name]
    path = files / file
    path.write_bytes(content(path))
    good = orders_file(files, 7, 8, name="订单good.csv")
    with pytest.raises(InputError, match=message) as error:
        shop.load(path, good)
    assert "1380013" not in str(error.value)
    assert shop.lake.snapshot() is None
    assert not (shop.root / "vault" / "accounts").exists()
    assert shop.load(good).accepted == 2


def test_a_missing_file_is_named(shop: Shop, files: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.csv does not exist"):
        shop.load(files / "gone.csv")


def test_a_file_with_headings_and_no_rows_is_loaded_as_nothing(shop: Shop, files: Path) -> None:
    report = shop.load(write(files / "订单.csv", text_of([])))
    assert (report.read, report.adds_up) == (0, True)
    assert shop.rows("orders") == []


def test_a_csv_that_was_cut_off_loses_its_last_row_to_the_rejects(shop: Shop, files: Path) -> None:
    report = shop.load(write(files / "订单.csv", GOOD[:-30]))
    assert (report.read, report.accepted, report.rejected) == (500, 499, 1)
    assert "cells, the headings are 8" in shop.rows("rejects")[0]["reason"]


def test_an_open_quotation_mark_does_not_swallow_the_file(shop: Shop, files: Path) -> None:
    lines = GOOD.splitlines(keepends=True)
    lines[10] = lines[10].replace("天猫", '"天猫')
    report = shop.load(write(files / "订单.csv", "".join(lines)))
    assert report.adds_up
    assert report.accepted >= 9
    assert any("quotation mark" in row["reason"] for row in shop.rows("rejects"))


def test_an_unknown_source_offers_the_nearest(shop: Shop, files: Path) -> None:
    with pytest.raises(InputError, match=r"source 'corner_shpo' is not known.*did you mean 'corner_shop'"):
        shop.load(orders_file(files, 1), source="corner_shpo")


def test_a_workbook_that_unpacks_to_far_too_much_is_refused(shop: Shop, files: Path) -> None:
    import zipfile

    path = files / "订单.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"\0" * 300_000_000)
    with pytest.raises(InputError, match="looks like a trap"):
        shop.load(path)


def test_what_the_engine_cannot_take_is_not_blamed_on_the_file() -> None:
    fault = r"could not be loaded \(BinderException\); this is a fault of the program"
    with pytest.raises(RunFailed, match=fault), engine_errors("a.csv"):
        duckdb.sql("SELECT nothing FROM (SELECT 1 AS one)")
    with pytest.raises(InputError, match="it is damaged"), engine_errors("a.csv"):
        duckdb.sql("SELECT 'x'::INTEGER").fetchall()
