"""Exports as shops really have them: whole addresses, variants of one product, ids that lost digits, several sheets."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xlsxwriter

from crm_core.errors import InputError
from crm_core.ingest import export_refused, inbox, rejects
from crm_core.ingest.headings import PERSONAL
from tests.ingest.corner_shop import Shop, open_shop, write
from tests.ingest.test_presets import CONFIG, TEXTS

ADDRESS = "广东省 广州市 天河区 体育西路1号5栋302 张三 13800138000"
TMALL = "订单编号,总金额,买家实际支付金额,收货地址,订单创建时间,订单付款时间,退款金额\n"
SHOPIFY = (
    "Name,Email,Paid at,Currency,Shipping,Total,Discount Amount,Created at,Lineitem quantity,Lineitem name,Lineitem price,"
    "Refunded Amount\n"
)
WOO = (
    "order_id,date,paid_date,shipping_total,discount_total,order_total,refunded_total,order_currency,customer_id,billing_email,"
    "item_name,item_quantity,item_subtotal"
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path / "shop", TEXTS)


def everything(shop: Shop) -> str:
    """Every text that the lake holds."""
    names = ("orders", "orders_versions", "order_lines", "refunds", "members", "products", "interactions", "rejects")
    return "\n".join(repr(shop.rows(name)) for name in names)


def test_of_a_whole_address_the_province_is_taken_and_no_more(shop: Shop, tmp_path: Path) -> None:
    rows = [
        f"1,88.00,88.00,{ADDRESS},2026-10-01 10:00:00,2026-10-01 10:01:00,0",
        f"2,88.00,88.00,{ADDRESS.replace(' ', '')},2026-10-01 10:00:00,2026-10-01 10:01:00,0",
        "3,88.00,88.00,张三,2026-10-01 10:00:00,2026-10-01 10:01:00,0",
        "4,88.00,88.00,内蒙古自治区,2026-10-01 10:00:00,2026-10-01 10:01:00,0",
        f"5,8x.00,88.00,{ADDRESS},2026-10-01 10:00:00,2026-10-01 10:01:00,0",
    ]
    report = shop.load(write(tmp_path / "天猫订单.csv", TMALL + "\n".join(rows)), source="tmall_orders")
    assert (report.accepted, report.rejected) == (4, 1)
    assert {row["order_id"]: row["province"] for row in shop.rows("orders")} == {
        "1": "广东省", "2": None, "3": None, "4": "内蒙古自治区",
    }  # fmt: skip
    assert not [word for word in ("张三", "体育西路", "13800138000") if word in everything(shop)]


def test_no_source_writes_what_is_headed_as_an_address_or_a_name_as_it_stands() -> None:
    for name in CONFIG.source_names():
        for feed in CONFIG.source(name).feeds.values():
            personal = {field for field, each in feed.fields.items() if PERSONAL.search(each.heading)}
            for table in feed.tables.values():
                written = {str(text) for text in table.columns.values()}
                bare = {
                    field
                    for field in personal & written
                    if not re.search("商品|product|item|city|province|country|城市|省", feed.fields[field].heading, re.I)
                }
                assert not bare, (name, bare)


def test_two_variants_of_a_product_in_an_order_are_two_lines(shop: Shop, tmp_path: Path) -> None:
    headings = "订单编号,标题,价格,购买数量,外部系统编号,商品属性,商家编码,订单创建时间\n"
    rows = [f"5001,连衣裙,199.00,1,,颜色:{colour};尺码:M,{code},2026-10-01 10:00:00" for colour in "红蓝" for code in ("", "A100")]
    report = shop.load(write(tmp_path / "ExportOrderDetailList1.csv", headings + "\n".join([*rows, rows[0]])), source="taobao")
    assert (report.accepted, report.duplicate) == (4, 1)
    assert sum(row["line_amount"] for row in shop.rows("order_lines")) == 4 * 199


@pytest.mark.parametrize("ids", [True, False])
def test_lines_of_a_woocommerce_order_are_the_same_in_any_order_of_rows_and_files(tmp_path: Path, ids: bool) -> None:
    items = [(order, quantity, f"{10 * quantity}.005") for order in (21, 22) for quantity in (1, 2)]
    rows = [
        f"{order},2026-10-01 10:00:00,2026-10-01 10:00:00,0,0,30.00,,EUR,5,a@x.com,T-shirt,{quantity},{subtotal}"
        + (f",{order}{quantity}" if ids else "")
        for order, quantity, subtotal in items
    ]
    head = WOO + (",item_id" if ids else "") + "\n"
    files = {
        "whole": [rows], "turned": [rows[::-1]], "again": [rows, rows[::-1]], "apart": [rows[::2], rows[1::2]],
    }  # fmt: skip
    found = {}
    for name, parts in files.items():
        one = open_shop(tmp_path / name, TEXTS)
        for number, part in enumerate(parts):
            one.load(write(tmp_path / f"{name}/orders-export-{number}.csv", head + "\n".join(part)), source="woocommerce")
        found[name] = [{key: value for key, value in row.items() if key[0] != "_"} for row in one.rows("order_lines")]
    assert sum(row["line_amount"] for row in found["whole"]) == Decimal("60.04")
    assert found["turned"] == found["again"] == found["apart"] == found["whole"]


@pytest.mark.parametrize("refunded", ["10.00", "-10.00"])
def test_a_refund_that_cannot_be_is_refused_alone(shop: Shop, tmp_path: Path, refunded: str) -> None:
    line = "USD,0.00,20.00,0.00,2026-10-01 09:00:00 +0800,1,Cup,20.00"
    paid = "" if refunded == "10.00" else "2026-10-01 10:00:00 +0800"
    rows = [f"#1001,a@x.com,2026-10-01 10:00:00 +0800,{line},0.00", f"#1002,b@x.com,{paid},{line},{refunded}", "#1002" + "," * 7]
    rows[2] = "#1002,,,,,,,2026-10-01 09:00:00 +0800,1,Mug,1.00,"
    report = shop.load(write(tmp_path / "orders_export_1.csv", SHOPIFY + "\n".join(rows)), source="shopify")
    assert (report.accepted, report.rejected) == (1, 2)
    woo = [
        "11,2026-10-01 10:00:00,2026-10-01 10:00:00,0,0,20.00,,EUR,5,a@x.com,Cup,1,20.00",
        f"12,2026-10-01 10:00:00,{paid[:19]},0,0,30.00,{refunded},EUR,6,b@x.com,Mug,1,30.00",
    ]
    report = shop.load(write(tmp_path / "orders-export-1.csv", WOO + "\n" + "\n".join(woo)), source="woocommerce")
    assert (report.accepted, report.rejected) == (1, 1)


def test_an_account_that_is_an_e_mail_or_a_phone_is_the_same_however_it_is_spelled(shop: Shop, tmp_path: Path) -> None:
    line = "USD,0.00,20.00,0.00,2026-10-01 09:00:00 +0800,1,Cup,20.00,0.00"
    rows = [f"#{number},{mail},2026-10-01 10:00:00 +0800,{line}" for number, mail in ((1, "Anna.Lee@x.com"), (2, "anna.lee@X.com"))]
    shop.load(write(tmp_path / "orders_export_1.csv", SHOPIFY + "\n".join(rows)), source="shopify")
    assert {row["member_id"] for row in shop.rows("orders")} == {shop.vault.member_id("shopify", "anna.lee@x.com")}
    head = "客户姓名,客户手机号,客户性别,标签,免费等级,上次消费时间,来源渠道,成为客户时间,成为会员时间\n"
    people = [f"张三,{phone},男,,VIP1,,有赞商城,2026-01-0{day} 10:00:00,2026-01-01 10:00:00" for day, phone in enumerate(
        ("13800138000", "+86-13800138000", "0086 138 0013 8000", "8613800138000"), 1)]  # fmt: skip
    shop.load(write(tmp_path / "youzan_customers.csv", head + "\n".join(people)), source="youzan")
    members = {row["member_id"] for row in shop.rows("members") if row["source_channel"] != "shopify"}
    assert members == {shop.vault.member_id("youzan", "13800138000")}


@pytest.mark.parametrize("order_id", ["1.23457e+17", "1.23457E+17"])
def test_an_id_that_lost_its_digits_is_refused_however_it_is_written(shop: Shop, tmp_path: Path, order_id: str) -> None:
    rows = f"{order_id},88.00,88.00,上海,2026-10-01 10:00:00,2026-10-01 10:01:00,0"
    report = shop.load(write(tmp_path / "天猫订单.csv", TMALL + rows), source="tmall_orders")
    assert (report.accepted, report.rejected) == (0, 1)


def test_floats_of_parquet_say_the_15_digits_that_are_sure(shop: Shop, tmp_path: Path) -> None:
    frame = pd.read_csv(write(tmp_path / "x.csv", f"{TMALL}7,1,1,上海,2026-10-01 10:00:00,2026-10-01 10:01:00,0\n" * 1), dtype=str)
    frame = pd.concat([frame.assign(订单编号=float(each), 总金额=each / each * (17.1 * 3)) for each in (7, 3123456789012345678)])
    frame["买家实际支付金额"] = frame["总金额"]
    frame.to_parquet(tmp_path / "天猫订单.parquet")
    report = shop.load(tmp_path / "天猫订单.parquet", source="tmall_orders")
    assert [(row["order_id"], row["net_amount"]) for row in shop.rows("orders")] == [("7", Decimal("51.30"))]
    assert report.rejected == 1


def test_a_workbook_whose_other_sheets_have_the_same_headings_is_not_half_read(shop: Shop, tmp_path: Path) -> None:
    cells = ["7", "88.00", "88.00", "上海", "2026-10-01 10:00:00", "2026-10-01 10:01:00", "0"]

    def book(name: str, *sheets: list[list[str]]) -> Path:
        with xlsxwriter.Workbook(tmp_path / name) as made:
            for rows in sheets:
                sheet = made.add_worksheet()
                for place, row in enumerate(rows):
                    sheet.write_row(place, 0, row)
        return tmp_path / name

    month = [TMALL.strip().split(","), cells]
    with pytest.raises(InputError, match="sheets Sheet2, Sheet3 have the headings of the first one"):
        shop.load(book("天猫订单1.xlsx", month, month, month), source="tmall_orders")
    path = book("天猫订单2.xlsx", month, [["说明"], ["导出于十月"]], [])
    report = shop.load(path, source="tmall_orders")
    assert (report.accepted, report.files[0].other_sheets) == (1, ("Sheet2",))
    settings = shop.config.source("tmall_orders")
    for again in (report, shop.load(path, source="tmall_orders")):  # found known, it stays in the inbox all the same
        assert "not read: sheet Sheet2" in inbox.remove(settings, path, again) and path.exists()
    reader = settings.feeds["orders"].reader.model_copy(update={"sheet": "Sheet1"})
    chosen = {name: feed.model_copy(update={"reader": reader}) for name, feed in settings.feeds.items()}
    settings = settings.model_copy(update={"feeds": chosen})
    assert inbox.remove(settings, path, again) == "" and not path.exists()


def test_what_may_be_a_members_row_is_not_shown(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        shop.load(write(tmp_path / "天猫订单.csv", "张三,金卡,上海,VIP\n李四,银卡,北京,VIP\n"), source="tmall_orders")
    assert "张三" not in str(raised.value) and "reader.headings" in str(raised.value)
    with pytest.raises(InputError, match="one JSON array"):
        shop.load(write(tmp_path / "天猫订单.json", '[\n {"订单编号": "1", "买家": "张三"}]'), source="tmall_orders")
    lines = (
        '{"event_id": "e1", "event": "page_view", "timestamp": "2026-10-01T10:00:00Z", "13800138000": 1, "zhang@x.com": {"a": 1}}\n'
    )
    report = shop.load(write(tmp_path / "web_events.jsonl", lines), source="web_events")
    kept = repr(report) + repr([load.detail for load in _loads(shop)])
    assert "***" in kept and "13800138000" not in kept and "zhang@x.com" not in kept


def _loads(shop: Shop) -> list[Any]:
    from sqlalchemy import select

    from crm_core.store.ledger import Load, LoadFile

    with shop.ledger.session() as session:
        return [*session.scalars(select(Load)), *session.scalars(select(LoadFile))]


def test_whoever_unsubscribed_in_a_receipts_file_consents_no_more(shop: Shop, tmp_path: Path) -> None:
    rows = [
        "r1,7,短信,已退订,2026-09-15 10:00:00",
        "r2,7,邮件,已打开,2026-09-15 10:00:00",
        "r3,8,短信,发送成功,2026-09-15 10:00:00",
    ]
    head = "receipt_id,member_no,channel,status,reported_at\n"
    shop.load(write(tmp_path / "message_receipts.csv", head + "\n".join(rows) + "\n"), source="message_receipts")
    found = [(row["channel"], row["state"], row["changed_at"].hour) for row in shop.rows("consents")]
    assert found == [("sms", "revoked", 2)] and len(shop.rows("interactions")) == 3


SHOP = """\
source: odd
feeds:
  orders:
    match: ["*"]
    fields:
      order: {heading: id, filled: true}
      who: {heading: customer, private: true}
      at: {heading: at, type: time, filled: true}
      channel: {heading: channel, values: {web: website}}
      quantity: {heading: quantity, type: integer}
      total: {heading: Total, type: money, filled: true}
      note: {heading: total}
    tables:
      orders:
        columns: {order_id: order, member_id: account(who), ordered_at: at, paid_at: at, channel: channel, net_amount: total,
                  gross_amount: total, discount_amount: "0", shipping_amount: "0"}
    contacts:
      - {account: who, seen_at: at, phone: note}
"""
ODD = ("id", "customer", "at", "channel", "quantity", "Total", "total")


@pytest.fixture
def odd(tmp_path: Path) -> Shop:
    return open_shop(tmp_path / "odd", {"sources/odd.yml": SHOP})


def test_two_faults_do_not_pass_for_shifted_columns_and_three_do(odd: Shop, tmp_path: Path) -> None:
    rows = ["1,6,2026-10-01,zz; y; z,x,1.00,", "2,6,tomorrow,zz,x,1.00,"]
    load = odd.load(write(tmp_path / "a.csv", ",".join(ODD) + "\n" + "\n".join(rows) + "\n"), source="odd")
    found = [(row["reason"], json.loads(row["row"])) for row in rejects(odd.lake, load.load_id).to_pyarrow().to_pylist()]
    assert found[0][0] == ("channel: 'zz, y, z' is not known (known: web); quantity: 'x' is not a whole number, such as 12")
    assert found[0][1] == {
        "id": "1", "customer": "6***", "at": "2026-10-01", "channel": "zz; y; z", "quantity": "x", "Total": "1.00", "total": None,
    }  # fmt: skip
    assert found[1][0].count("'***' is not") == 3 and found[1][1]["channel"] == "z***"


def test_the_reason_of_a_rule_may_begin_with_a_quotation(tmp_path: Path) -> None:
    rule = """    reject_when:
      - {rule: total < 0, reason: "'negative' amounts; ask the till"}
    tables:"""
    shop = open_shop(tmp_path / "odd", {"sources/odd.yml": SHOP.replace("    tables:", rule, 1)})
    load = shop.load(write(tmp_path / "a.csv", ",".join(ODD) + "\n1,6,2026-10-01,web,1,-1.00,\n"), source="odd")
    assert rejects(shop.lake, load.load_id).to_pyarrow()["reason"].to_pylist() == ["'negative' amounts, ask the till"]


def test_refused_lines_of_json_are_mended_as_lines(odd: Shop, tmp_path: Path) -> None:
    good = {"id": "1", "customer": "7", "at": "2026-10-01 10:00:00", "channel": "web", "quantity": 1, "Total": "1.00", "total": "-"}
    lines = [good, good | {"id": "2", "Total": "much"}, good | {"id": "3", "channel": "fax"}]
    path = write(tmp_path / "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    report = odd.load(path, source="odd")
    assert (report.accepted, report.rejected) == (1, 2)
    made = export_refused(odd.config, odd.ledger, odd.vault, report.load_id, tmp_path / "mend.csv", outside=[odd.root], actor="mei")
    assert [each.name for each in made.files] == ["mend.jsonl", "mend.jsonl.reasons.csv"] and (made.rows, made.malformed) == (2, 0)
    assert made.files[1].read_text("utf-8-sig").splitlines()[1].startswith("""1,a.jsonl,2,total,"Total: 'much' is not an amount""")
    mended = made.files[0].read_text("utf-8").replace("much", "2.00").replace("fax", "web")
    again = odd.load(write(tmp_path / "b.jsonl", mended), source="odd")
    assert (again.accepted, again.rejected) == (2, 0)


def test_equal_lines_of_a_woocommerce_order_without_numbers_are_two(shop: Shop, tmp_path: Path) -> None:
    row = "7,2026-10-01 10:00:00,2026-10-01 10:01:00,0.00,0.00,20.00,0.00,USD,5,a@x.com,Tee,1,10.00"
    shop.load(write(tmp_path / "orders-export-1.csv", f"{WOO}\n{row}\n{row}\n"), source="woocommerce")
    assert [line["line_amount"] for line in shop.rows("order_lines")] == [Decimal("10.00"), Decimal("10.00")]
    numbered = f"{WOO},item_id\n{row.replace('7,', '8,', 1)},3\n{row.replace('7,', '8,', 1)},3\n"
    shop.load(write(tmp_path / "orders-export-2.csv", numbered), source="woocommerce")
    assert len([line for line in shop.rows("order_lines") if line["order_id"] == "8"]) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("note: {heading: total}", "Total: {heading: total}", "differ by capitals alone"),
        ("type: time", 'type: time, formats: ["%Y-%m-%d %H:%M:%S %z"]', "cannot have a zone"),
    ],
)
def test_settings_that_the_engine_would_take_otherwise_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_shop(tmp_path / "odd", {"sources/odd.yml": SHOP.replace(old, new)}).config.source("odd")
