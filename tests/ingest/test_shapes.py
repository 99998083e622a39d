"""Shapes of files beyond a table with headings: none, JSON lines, short rows, groups whose first row says it all."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter

from crm_core.config import parse_yaml
from crm_core.config.sources import SourceSettings
from crm_core.errors import InputError
from tests.ingest.corner_shop import EXAMPLE, HEADINGS, Shop, open_shop, order, text_of, write

EVENTS = """
source: log
feeds:
  events:
    match: ["log*"]
    reader: {READER}
    repeated_rows: keep
    fields:
      user: {heading: user, private: true, filled: true}
      item: {heading: item.id}
      kind: {heading: kind, values: {pv: browse, buy: cart_add}}
      at: {heading: at, type: time, formats: [epoch_s], filled: true}
    tables:
      interactions:
        columns:
          event_id: fingerprint(account(user), item, kind, at)
          member_id: account(user)
          occurred_at: at
          event: kind
          channel: "'app'"
          product_id: item
"""
HEADLESS = EVENTS.replace("READER", "headings: [user, item.id, kind, at]")
JSON_LINES = EVENTS.replace("READER", "nulls: ['NULL']")


def log_shop(tmp_path: Path, text: str) -> Shop:
    return open_shop(tmp_path / "shop", {"sources/log.yml": text})


def rejects(shop: Shop) -> list[tuple[int, str]]:
    return sorted((row["row_number"], row["reason"]) for row in shop.rows("rejects"))


@pytest.mark.parametrize("mark", [",", "\t"])
def test_a_file_without_headings_is_read_by_the_place_of_its_columns(tmp_path: Path, mark: str) -> None:
    shop = log_shop(tmp_path, HEADLESS)
    lines = ["u1,7,pv,1511544070", "u1,7,buy,1511544071", "u2,,pv,soon", "u1,7", "u1,7,pv,1511544070", "u3,7,pv,-1"]
    path = write(tmp_path / "log.csv", "".join(line.replace(",", mark) + "\n" for line in lines))
    report = shop.load(path, source="log")
    assert (report.read, report.accepted, report.rejected) == (6, 4, 2)
    assert [number for number, _ in rejects(shop)] == [3, 4]
    assert "at: 'soon' is not whole seconds since 1970" in rejects(shop)[0][1]
    found = shop.rows("interactions")
    assert {row["occurred_at"] for row in found} == {
        datetime(2017, 11, 24, 17, 21, 10),
        datetime(2017, 11, 24, 17, 21, 11),
        datetime(1969, 12, 31, 23, 59, 59),
    }
    # equal rows are one event, and its id is no text that anyone could read
    assert len(found) == 3
    assert all(len(row["event_id"]) == 32 for row in found)


def test_a_first_row_that_repeats_the_headings_of_the_source_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "user,item.id,kind,at\nu1,7,pv,1511544070\n")
    with pytest.raises(InputError, match=r"log\.csv: its first row repeats reader\.headings; leave that setting out"):
        log_shop(tmp_path, HEADLESS).load(path, source="log")


def test_a_sheet_without_headings_is_read_alike(tmp_path: Path) -> None:
    rows: list[list[Any]] = [["u1", 7, "pv", 1511544070], ["u2", None, "buy", 1511544071], ["u3", 7, "what", 1]]
    for name, given in (("log.xlsx", rows), ("log2.xlsx", [["user", "item.id", "kind", "at"], *rows])):
        with xlsxwriter.Workbook(tmp_path / name) as book:
            sheet = book.add_worksheet()
            for place, row in enumerate(given):
                sheet.write_row(place, 0, row)
    shop = log_shop(tmp_path, HEADLESS)
    report = shop.load(tmp_path / "log.xlsx", source="log")
    assert (report.read, report.accepted, [number for number, _ in rejects(shop)]) == (3, 2, [3])
    with pytest.raises(InputError, match=r"the first row repeats reader\.headings"):
        shop.load(tmp_path / "log2.xlsx", source="log")


def event(**changes: Any) -> str:
    return json.dumps({"user": "u1", "item": {"id": 7}, "kind": "pv", "at": 1511544070, **changes}, ensure_ascii=False)


@pytest.mark.parametrize("name", ["log.jsonl", "log.ndjson.gz", "log.txt"])
def test_json_lines_are_read_by_their_keys(tmp_path: Path, name: str) -> None:
    lines = [
        event(),
        "",
        event(item={"id": "北京 \"x\", 'y'", "more": [1, 2]}, extra=1),
        '{"user": "u2", "kind": "buy", "at": 1511544071}',
        '{"user": "u2", "kind": "pv", "at": "1511544072", "item": null}',
        "this is no JSON",
        "[1, 2]",
        '{"user": "u1", "at": ',
        'u\x01"v',
        '{"kind": "pv", "at": 1511544070}',
        '{"user": "u9", "kind": "\\"odd", "at": 1511544070}',
    ]
    content = ("\n".join(lines) + "\n").encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    shop = log_shop(tmp_path, JSON_LINES)
    report = shop.load(path, source="log")
    assert report.adds_up
    assert (report.read, report.accepted, report.rejected) == (10, 4, 6)
    reasons = rejects(shop)
    assert [number for number, _ in reasons] == [6, 7, 8, 9, 10, 11]  # as an editor shows them, the blank line included
    assert [reason for _, reason in reasons[:4]] == ["the line is not one JSON object"] * 4
    assert "user: is empty" in reasons[4][1]
    assert {row["product_id"] for row in shop.rows("interactions")} == {"7", "北京 \"x\", 'y'", None}
    assert report.files[0].unknown_headings == ("item.more", "extra")


def test_files_with_other_optional_keys_are_read_together(tmp_path: Path) -> None:
    shop = log_shop(tmp_path, JSON_LINES)
    one = write(tmp_path / "log1.jsonl", event() + "\n")
    two = write(tmp_path / "log2.jsonl", "no\n" + event(a=1, at=1511544071) + "\n")
    report = shop.load(one, two, source="log")
    assert (report.read, report.accepted) == (3, 2)
    assert rejects(shop) == [(1, "the line is not one JSON object")]


def test_json_lines_without_an_object_or_a_required_key_are_an_error(tmp_path: Path) -> None:
    shop = log_shop(tmp_path, JSON_LINES)
    for lines in ("[1]\nx\n", "{}\n", "{}\n{}\n"):
        with pytest.raises(InputError, match=r"log\.jsonl holds no JSON object with a key in any line"):
            shop.load(write(tmp_path / "log.jsonl", lines), source="log")
    with pytest.raises(InputError, match="heading 'user' is missing"):
        shop.load(write(tmp_path / "log.jsonl", '{"kind": "pv", "at": 1}\n'), source="log")


def with_orders(tmp_path: Path, *changes: tuple[str, str]) -> Shop:
    text = EXAMPLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return open_shop(tmp_path / "shop", {"sources/corner_shop.yml": text})


def test_short_rows_are_filled_where_the_source_says_so_and_long_ones_stay_rejects(tmp_path: Path) -> None:
    rows = [order(1), order(2)[:-1], order(3)[:-3], order(4)[:5], [*order(5), "more"], order(6, channel="a\nb")]
    path = write(tmp_path / "订单.csv", text_of(rows))
    shop = with_orders(tmp_path, ("reader: {encoding", "reader: {short_rows: fill, encoding"))
    report = shop.load(path)
    assert (report.read, report.accepted, report.rejected) == (6, 2, 4)
    assert [row["order_id"] for row in shop.rows("orders")] == ["A1", "A2"]
    reasons = dict(rejects(shop))
    assert "总金额: is empty" in reasons[4]
    assert "总金额: is empty" in reasons[5]
    assert "the row has 9 cells, the headings are 8" in reasons[6]


def test_of_a_heading_that_stands_there_twice_the_source_may_name_one(tmp_path: Path) -> None:
    shop = with_orders(tmp_path, ("{heading: 渠道,", "{heading: 渠道#2,"))
    headings, cells = [*HEADINGS[:-1], "渠道", "渠道"], [*order(1)[:-1], "？", "门店"]
    assert shop.load(write(tmp_path / "订单.csv", text_of([cells], headings))).accepted == 1
    assert shop.rows("orders")[0]["channel"] == "store"


def test_cells_of_a_groups_first_row_hold_for_its_later_rows(tmp_path: Path) -> None:
    shop = with_orders(
        tmp_path,
        ("repeated_rows: duplicate", "repeated_rows: keep"),
        ("reject_when:", "carry: {by: [order_id], fields: [member_no, ordered_at, amount, paid_at]}\n    reject_when:"),
    )
    empty = {"member_no": "", "ordered_at": "", "amount": "", "paid_at": ""}
    rows = [
        order(1, paid_at=""),
        order(2),
        order(1, **{**empty, "paid_at": "2026-10-20 09:00:00"}),
        order(1, **empty),
        order(3, **empty),
        order(3),
        order(2, **{**empty, "amount": "99.00"}),
        order(4, **{**empty, "order_id": ""}),
    ]
    report = shop.load(write(tmp_path / "订单.csv", text_of(rows)))
    # above A3's filled row nothing can be taken; a row without an order belongs to none
    assert [number for number, _ in rejects(shop)] == [6, 9]
    assert (report.read, report.accepted) == (8, 6)
    assert report.balances[0].rows == Decimal("11.50") * 3 + Decimal("12.50") + Decimal("99.00") + Decimal("13.50")


def test_decoration_of_cells_is_stripped_before_they_are_read(tmp_path: Path) -> None:
    shop = with_orders(tmp_path, ("amount:     {heading: 总金额,", 'amount: {strip: "（.*）$", heading: 总金额,'))
    path = write(tmp_path / "订单.csv", text_of([order(1, amount="499.00（系统计算中，该值仅供参考）"), order(2)]))
    assert shop.load(path).rejected == 0
    assert [row["net_amount"] for row in shop.rows("orders")] == [Decimal("499.00"), Decimal("12.50")]


def source(old: str, new: str) -> SourceSettings:
    assert old in EXAMPLE
    return parse_yaml(EXAMPLE.replace(old, new, 1), SourceSettings, "conf/sources/corner_shop.yml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("heading: 总金额,", 'strip: "(?=x)", heading: 总金额,', r"line \d+: .*'\(\?=x\)' is no pattern \(RE2\): invalid perl"),
        ("heading: 下单时间,", "formats: [epoch_s, '%Y'], heading: 下单时间,", "epoch_s stands alone"),
        ("heading: 总金额,", "formats: [epoch_ms], heading: 总金额,", "formats belong to type time or date"),
        ("reject_when:", "carry: {by: [order], fields: [amount]}\n    reject_when:", "carry names the field 'order'"),
        ("reject_when:", "carry: {by: [order_id], fields: [amount]}\n    reject_when:", "add `repeated_rows: keep`"),
    ],
)
def test_settings_of_shapes_that_make_no_sense_are_refused_with_their_line(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        source(old, new)


def test_a_fingerprint_of_a_private_field_is_refused(tmp_path: Path) -> None:
    shop = log_shop(tmp_path, HEADLESS.replace("fingerprint(account(user),", "fingerprint(user,"))
    with pytest.raises(InputError, match="the private field 'user' would stand in the lake"):
        shop.load(write(tmp_path / "log.csv", "u1,7,pv,1511544070\n"), source="log")


def test_fingerprints_tell_cells_apart_wherever_they_are_cut(tmp_path: Path) -> None:
    text = HEADLESS.replace("fingerprint(account(user), item, kind, at)", "fingerprint(item, kind, at)")
    shop = log_shop(
        tmp_path,
        text.replace("kind: {heading: kind, values: {pv: browse, buy: cart_add}}", "kind: {heading: kind}").replace(
            "event: kind", "event: \"'browse'\""
        ),
    )
    lines = ["u,ab,c,1", "u,a,bc,1", "u,abc,,1", "u,,abc,1", "u,,,1"]
    shop.load(write(tmp_path / "log.csv", "\n".join(lines) + "\n"), source="log")
    assert len({row["event_id"] for row in shop.rows("interactions")}) == 5
