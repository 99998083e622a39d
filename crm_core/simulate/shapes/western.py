"""Files as Shopify and WooCommerce export them: headings, order and quirks of each."""

from __future__ import annotations

from crm_core.simulate.shapes.shape import (
    Cell,
    FileShape,
    Make,
    changed,
    const,
    empty,
    filled,
    first,
    joined,
    original,
    paid,
    words,
)


def offset(column: str) -> Make:
    """A local time as Shopify writes it; what is no time stays as it is."""
    return changed(column, r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)$", r"\1 +0800")


def _once(*columns: tuple[str, Cell]) -> tuple[tuple[str, Cell], ...]:
    return tuple((name, first(cell)) for name, cell in columns)


FINANCIAL = {"等待买家付款": "pending", "交易关闭": "voided"} | dict.fromkeys(
    ("买家已付款", "待发货", "卖家已发货", "已签收", "交易成功", "已评价"), "paid"
)
SHOPIFY = (
    FileShape(
        "shopify", "orders_export.csv", "items",
        (
            ("Name", joined(const("#"), "订单编号")),
            *_once(
                ("Email", "email"), ("Financial Status", words("订单状态", dict(FINANCIAL))),
                ("Paid at", offset("订单付款时间")), ("Fulfillment Status", empty), ("Fulfilled at", offset("发货时间")),
                ("Accepts Marketing", const("no")), ("Currency", const("CNY")), ("Subtotal", "subtotal"),
                ("Shipping", "freight"), ("Taxes", const("0.00")), ("Total", "net"), ("Discount Code", "优惠券编号"),
                ("Discount Amount", "discount"), ("Shipping Method", const("Standard")),
            ),
            ("Created at", offset("订单创建时间")), ("Lineitem quantity", "quantity"), ("Lineitem name", "product"),
            ("Lineitem price", "price"), ("Lineitem compare at price", empty), ("Lineitem sku", "sku"),
            *_once(
                ("Billing City", "收货城市"), ("Billing Province", "收货省份"), ("Billing Country", const("CN")),
                ("Cancelled at", offset("订单关闭时间")), ("Refunded Amount", "refunded"), ("Id", "订单编号"),
                ("Tags", empty), ("Source", const("web")), ("Phone", "phone"),
            ),
        ),
        only=original,
    ),
    FileShape(
        "shopify", "customers_export.csv", "customers",
        (
            ("Customer ID", joined(const("'"), "会员卡号")), ("First Name", "姓名"), ("Last Name", empty), ("Email", "邮箱"),
            ("Accepts Email Marketing", const("no")), ("Default Address City", "城市"),
            ("Default Address Province", "省份"), ("Default Address Country", const("CN")), ("Phone", "手机号"),
            ("Accepts SMS Marketing", const("no")), ("Total Spent", "spent"), ("Total Orders", "orders"),
            ("Tags", "会员等级"),
        ),
    ),
)  # fmt: skip

WOO_STATES: dict[str, str | None] = {
    "买家已付款": "processing", "待发货": "processing", "卖家已发货": "processing", "已签收": "processing",
    "交易成功": "completed", "已评价": "completed", "交易关闭": "cancelled", "等待买家付款": "pending",
}  # fmt: skip


WOOCOMMERCE = (
    FileShape(
        "woocommerce", "orders-export.csv", "items",
        (
            ("order_id", "订单编号"), ("order_number", "订单编号"), ("date", "订单创建时间"),
            ("paid_date", paid("订单付款时间")), ("status", words("订单状态", WOO_STATES)), ("shipping_total", "freight"),
            ("shipping_tax_total", const("0.00")), ("tax_total", const("0.00")), ("discount_total", "discount"),
            ("order_total", "net"), ("refunded_total", "refunded"), ("order_currency", const("CNY")),
            ("payment_method", "支付方式"), ("shipping_method", empty), ("customer_id", filled("会员卡号", "0")),
            ("billing_first_name", "name"), ("billing_last_name", empty), ("billing_email", "email"),
            ("billing_phone", "phone"), ("billing_address_1", "address"), ("billing_city", "收货城市"),
            ("billing_state", "收货省份"), ("billing_country", const("CN")), ("item_id", joined("订单编号", "line")),
            ("item_product_id", "sku"), ("item_name", "product"), ("item_sku", "sku"), ("item_quantity", "quantity"),
            ("item_subtotal", "line_amount"), ("item_total", "line_amount"), ("coupon_items", "优惠券编号"),
        ),
        only=original,
    ),
)  # fmt: skip
