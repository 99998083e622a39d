"""Files in the shape of public data sets: Online Retail, Complete Journey and UserBehavior."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate.shapes.shape import Cell, FileShape, Make, changed, const, empty, one_of, original, words

CENTS = pa.decimal128(18, 2)


def _as(kind: pa.DataType, cell: Cell) -> Make:
    """A cell as `kind`, through its text: Arrow's own way from decimal to float is off in the last digit."""
    return lambda frame: (frame[cell] if isinstance(cell, str) else cell(frame)).cast(pa.string()).cast(kind)


def _discount(frame: pa.Table) -> Any:
    """An item's part of the discount of its order, by value, to the cent."""
    value, whole, part = (frame[name].cast(pa.float64()) for name in ("line_amount", "gross", "discount"))
    return pc.round(pc.divide(pc.multiply(part, value), whole), 2).cast(CENTS)


def _sold(frame: pa.Table) -> Any:
    return pc.subtract(frame["line_amount"].cast(CENTS), _discount(frame)).cast(pa.string()).cast(pa.float64())


def _newest(column: str) -> Make:
    """The last row of each run of equal values: a log's newest state."""

    def make(frame: pa.Table) -> Any:
        values = frame[column].combine_chunks()
        return pa.concat_arrays([pc.not_equal(values[1:], values[:-1]), pa.array([True])])

    return make


def _all(*tests: Make) -> Make:
    return lambda frame: reduce(pc.and_, (test(frame) for test in tests))


def _filled(*columns: str) -> Make:
    return lambda frame: reduce(pc.and_, (frame[column].is_valid() for column in columns))


def _readable(frame: pa.Table) -> Any:
    return pc.match_substring_regex(frame["订单创建时间"], r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$")


def _with_coupon(frame: pa.Table) -> Any:
    return pc.match_substring_regex(pc.fill_null(frame["优惠券编号"], ""), r"^\d+$")


def _stamp(frame: pa.Table) -> Any:
    """Seconds since 1970 of an order's time of payment."""
    found = frame["订单付款时间"].cast(pa.timestamp("s")).cast(pa.int64())
    return pc.subtract(found, 8 * 3_600).cast(pa.string())


ONLINE_RETAIL = (
    FileShape(
        "online_retail", "online_retail.csv", "items",
        (
            ("InvoiceNo", changed("订单编号", "^1", "5")), ("StockCode", "sku"), ("Description", "product"),
            ("Quantity", "quantity"), ("InvoiceDate", "订单创建时间"), ("UnitPrice", "price"), ("CustomerID", "会员卡号"),
            ("Country", const("China")),
        ),
        only=original,
    ),
)  # fmt: skip
COMPLETE_JOURNEY = (
    FileShape(
        "complete_journey", "transactions.parquet", "items",
        (
            ("household_id", "会员卡号"), ("store_id", const("309")), ("basket_id", "订单编号"),
            ("product_id", changed("sku", "^SP", "9")), ("quantity", _as(pa.float64(), "quantity")), ("sales_value", _sold),
            ("retail_disc", _as(pa.float64(), _discount)), ("coupon_disc", _as(pa.float64(), const("0"))),
            ("coupon_match_disc", _as(pa.float64(), const("0"))), ("week", _as(pa.int32(), const("1"))),
            ("transaction_timestamp", _as(pa.timestamp("us"), "订单创建时间")),
        ),
        only=_all(original, _readable, _filled("会员卡号", "订单付款时间")),
    ),
    FileShape(
        "complete_journey", "demographics.parquet", "customers",
        (
            ("household_id", _as(pa.int64(), "会员卡号")), ("age", const("35-44")), ("income", const("50-74K")),
            ("home_ownership", empty), ("marital_status", empty), ("household_size", const("2")),
            ("household_comp", empty), ("kids_count", const("0")),
        ),
    ),
    FileShape(
        "complete_journey", "products.parquet", "products",
        (
            ("product_id", _as(pa.int64(), changed("商家编码", "^SP", "9"))), ("manufacturer_id", _as(pa.int64(), const("2"))),
            ("department", "一级类目"), ("brand", const("National")), ("product_category", "二级类目"),
            ("product_type", "商品名称"), ("package_size", empty),
        ),
        only=_newest("商家编码"),
    ),
    FileShape(
        "complete_journey", "campaign_descriptions.parquet", "campaigns",
        (
            ("campaign_id", _as(pa.int64(), changed("营销活动", "^HD", ""))), ("campaign_type", const("Type A")),
            ("start_date", _as(pa.timestamp("us"), "开始时间")), ("end_date", _as(pa.timestamp("us"), "结束时间")),
        ),
    ),
    FileShape(
        "complete_journey", "coupon_redemptions.parquet", "orders",
        (
            ("household_id", _as(pa.int64(), "会员卡号")), ("coupon_upc", _as(pa.int64(), "优惠券编号")),
            ("campaign_id", _as(pa.int64(), const("26"))), ("redemption_date", _as(pa.timestamp("us"), "订单付款时间")),
        ),
        only=_all(_with_coupon, _readable, _filled("会员卡号", "订单付款时间")),
    ),
)  # fmt: skip

USER_BEHAVIOR = (
    FileShape(
        "user_behavior", "UserBehavior.csv", "events",
        (
            ("user_id", "会员卡号"), ("item_id", changed("商家编码", "^SP", "9")), ("category_id", const("4756105")),
            ("behavior", words("event", {"浏览商品": "pv", "收藏": "fav", "加入购物车": "cart"})), ("timestamp", "epoch"),
        ),
        only=_all(_filled("会员卡号", "商家编码"), one_of("event", "浏览商品", "收藏", "加入购物车")), headings=False,
    ),
    FileShape(
        "user_behavior", "UserBehavior.csv", "items",
        (
            ("user_id", "会员卡号"), ("item_id", changed("sku", "^SP", "9")), ("category_id", const("4756105")),
            ("behavior", const("buy")), ("timestamp", _stamp),
        ),
        only=_all(_readable, _filled("会员卡号", "订单付款时间")),
        headings=False,
    ),
)  # fmt: skip
