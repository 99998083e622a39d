"""The features of a member: name, type, unit, meaning in both languages, and the table each needs.

The one list from which the columns of `features`, the documentation, error messages and the check of
segments and tags come. A feature whose table was never supplied is null; `zero` says that a member without
rows there has 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pyarrow as pa

COUNT, MONEY, RATIO, TEXT, TIME = "int64", "decimal(38, 2)", "float64", "string", "timestamp(6)"
WINDOWS = (30, 90, 180, 365)
EVENT_WINDOWS = (30, 90)
EVENT_COUNTS = {
    "visits": ("visit", "访问", "visits"),
    "browses": ("browse", "浏览", "product views"),
    "cart_adds": ("cart_add", "加购", "additions to the cart"),
    "consults": ("consult", "咨询", "consultations"),
    "check_ins": ("check_in", "签到", "check-ins"),
    "shares": ("share", "分享", "shares"),
    "complaints": ("complaint", "投诉", "complaints"),
}
"""Feature stem → event, meaning in Chinese, meaning in English."""
MESSAGE_COUNTS = {
    "messages_sent": ("sent", "收到的营销消息数", "messages sent to the member"),
    "messages_opened": ("opened", "打开的消息数", "messages opened"),
    "messages_clicked": ("clicked", "点击的消息数", "messages clicked"),
    "messages_unsubscribed": ("unsubscribed", "退订次数", "times unsubscribed"),
}


@dataclass(frozen=True)
class Feature:
    """One column of `features`: `table` is what must be supplied for it, `zero` what absent rows mean."""

    name: str
    type: str
    unit: str
    zh: str
    en: str
    table: str
    zero: bool = False

    @property
    def of_money(self) -> bool:
        """Whether it says nothing where orders have no amounts."""
        return self.unit == "currency" or self.name in ("discount_share", "refund_share")


def _orders() -> list[Feature]:
    fixed = [
        Feature("first_order_at", TIME, "UTC", "首次付款时间", "first time an order was paid", "orders"),
        Feature("last_order_at", TIME, "UTC", "最近付款时间", "last time an order was paid", "orders"),
        Feature(
            "days_since_last_order",
            COUNT,
            "days",
            "距最近付款的天数",
            "days since the last paid order",
            "orders",
        ),
        Feature("order_count", COUNT, "orders", "付款订单数", "paid orders", "orders", zero=True),
        Feature(
            "net_amount",
            MONEY,
            "currency",
            "付款金额（未扣退款）",
            "paid amount, refunds not taken off",
            "orders",
            True,
        ),
        Feature("average_order_value", RATIO, "currency", "客单价", "net_amount / order_count", "orders"),
        Feature(
            "mean_days_between_orders",
            RATIO,
            "days",
            "平均购买间隔",
            "mean days between paid orders",
            "orders",
        ),
        Feature(
            "discount_share",
            RATIO,
            "share",
            "优惠占原价的比例",
            "discounts / gross amount of paid orders",
            "orders",
        ),
        Feature("main_channel", TEXT, "", "主要购买渠道", "sales channel with most paid orders", "orders"),
    ]
    for days in WINDOWS:
        fixed += [
            Feature(
                f"orders_{days}d",
                COUNT,
                "orders",
                f"近{days}天付款订单数",
                f"orders paid in {days} days",
                "orders",
                True,
            ),
            Feature(
                f"net_amount_{days}d",
                MONEY,
                "currency",
                f"近{days}天付款金额",
                f"paid in {days} days",
                "orders",
                True,
            ),
        ]
    return fixed


def _interactions() -> list[Feature]:
    counts = [
        Feature(
            f"{stem}_{days}d",
            COUNT,
            "events",
            f"近{days}天{zh}次数",
            f"{en} in {days} days",
            "interactions",
            True,
        )
        for stem, (_, zh, en) in EVENT_COUNTS.items()
        for days in EVENT_WINDOWS
    ]
    messages = [
        Feature(name, COUNT, "messages", zh, en, "interactions", True) for name, (_, zh, en) in MESSAGE_COUNTS.items()
    ]
    return [
        *counts,
        Feature(
            "days_since_last_activity",
            COUNT,
            "days",
            "距最近活跃的天数",
            "days since the last own action",
            "interactions",
        ),
        Feature(
            "points_balance",
            RATIO,
            "points",
            "积分余额",
            "points earned − spent − expired",
            "interactions",
            True,
        ),
        Feature(
            "coupons_held",
            COUNT,
            "coupons",
            "持有优惠券数",
            "coupons issued − redeemed − expired",
            "interactions",
            True,
        ),
        *messages,
    ]


def _members() -> list[Feature]:
    return [
        Feature("person_id", TEXT, "", "自然人标识", "the person behind one or more memberships", "members"),
        Feature("registered_at", TIME, "UTC", "注册时间", "when the membership began", "members"),
        Feature("tenure_days", COUNT, "days", "入会天数", "days since registration", "members"),
        Feature("tier", TEXT, "", "会员等级", "membership tier", "members"),
        Feature("gender", TEXT, "", "性别", "gender as stated", "members"),
        Feature("birth_month", COUNT, "1–12", "生日月份", "month of birth", "members"),
        Feature(
            "months_to_birthday",
            COUNT,
            "months",
            "距生日月的月数（0 为本月）",
            "months to birthday, 0 = this month",
            "members",
        ),
        Feature("age", COUNT, "years", "年龄", "age as far as year and month of birth tell", "members"),
        Feature("province", TEXT, "", "省份", "province or state", "members"),
        Feature("city", TEXT, "", "城市", "city", "members"),
    ]


_OTHERS = [
    Feature("refund_amount", MONEY, "currency", "退款金额", "money returned so far", "refunds", True),
    Feature("refund_share", RATIO, "share", "退款占付款金额的比例", "refund_amount / net_amount", "refunds"),
    Feature(
        "category_count",
        COUNT,
        "categories",
        "购买过的品类数",
        "distinct categories paid for",
        "order_lines",
        True,
    ),
    Feature(
        "favourite_category",
        TEXT,
        "",
        "金额最高的品类",
        "category with the greatest paid amount",
        "order_lines",
    ),
    Feature(
        "sms_consent",
        TEXT,
        "",
        "短信授权状态",
        "granted, denied, revoked or expired; null: never asked",
        "consents",
    ),
]

FEATURES: dict[str, Feature] = {
    feature.name: feature for feature in [*_orders(), *_OTHERS, *_interactions(), *_members()]
}
"""Every feature by name, in the order of the columns of `features` (after member_id)."""


def empty_features() -> ir.Table:
    """A features table without rows: what expressions are checked against before there is data."""
    types = ibis.schema({"member_id": TEXT, **{name: feature.type for name, feature in FEATURES.items()}})
    return ibis.memtable(
        pa.table({name: pa.array([], kind) for name, kind in zip(types, types.to_pyarrow().types, strict=True)})
    )
