"""The features of a member: name, type, unit, meaning in both languages, and the table each needs.

The one list from which the columns of `features`, the documentation, error messages and the check of
segments and tags come. A feature whose table was never supplied is null; `zero` says that a member without
rows there has 0. Features of `window` days are counts and sums, so what leaves the window can be taken off;
those `by_day` follow from the other columns and the day alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

COUNT, MONEY, RATIO, TEXT, TIME = "int64", "decimal(18, 2)", "float64", "string", "timestamp(6)"
MOST_MONEY = Decimal("9999999999999999.99")
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
    "messages": ("sent", "收到营销消息", "messages sent to the member"),
}
"""Feature stem → event, meaning in Chinese, meaning in English; counted in EVENT_WINDOWS."""
EVER_COUNTS = {
    "messages_sent": ("sent", "收到的营销消息数", "messages sent to the member", "messages"),
    "messages_opened": ("opened", "打开消息的次数", "times a message was opened", "events"),
    "messages_clicked": ("clicked", "点击消息的次数", "times a message was clicked", "events"),
    "messages_replied": ("replied", "回复的消息数", "messages replied to", "messages"),
    "messages_unsubscribed": ("unsubscribed", "退订次数", "times unsubscribed", "messages"),
    "complaint_count": ("complaint", "投诉次数", "complaints so far", "events"),
    "praise_count": ("praise", "表扬次数", "times praised", "events"),
    "return_requests": ("return_request", "申请退货次数", "requests to return goods", "events"),
}
"""Feature → event, meaning in Chinese, meaning in English, unit; counted from the first day on."""
POINTS = {
    "points_earned": ("points_earned", "累计获得积分", "points earned so far"),
    "points_spent": ("points_spent", "累计使用积分", "points spent so far"),
}
OF_MONEY = ("discount_share", "refund_share", "favourite_category_share")


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
    window: int = 0
    by_day: bool = False

    @property
    def of_money(self) -> bool:
        """Whether it says nothing where orders have no amounts."""
        return self.unit == "currency" or self.name in OF_MONEY

    def held(self, value: Any) -> Any:
        """`value` as the column holds it: a sum of money beyond its digits, which only a slip of the pen makes, stays at the
        most that it can say."""
        if self.type == MONEY:
            most, least = (ibis.literal(bound, value.type()) for bound in (MOST_MONEY, -MOST_MONEY))
            value = ibis.cases((value > most, most), (value < least, least), else_=value)
        return value.cast(self.type)


def _windows() -> list[Feature]:
    found = []
    for days in WINDOWS:
        orders = f"orders_{days}d", COUNT, "orders", f"近{days}天付款订单数", f"orders paid in {days} days"
        amount = f"net_amount_{days}d", MONEY, "currency", f"近{days}天付款金额", f"paid in {days} days"
        found += [Feature(*each, "orders", True, days) for each in (orders, amount)]
    return found


def _events() -> list[Feature]:
    return [
        Feature(f"{stem}_{days}d", COUNT, "events", f"近{days}天{zh}次数", f"{en} in {days} days", "interactions", True, days)
        for stem, (_, zh, en) in EVENT_COUNTS.items()
        for days in EVENT_WINDOWS
    ] + [
        Feature(name, COUNT, unit, zh, en, "interactions", True) for name, (_, zh, en, unit) in EVER_COUNTS.items()
    ]  # fmt: skip


def _fixed(table: str, *rows: tuple[str, ...]) -> list[Feature]:
    """(name, type, unit, zh, en) and, where it is one, 'zero' or 'by_day'."""
    return [
        Feature(name, kind, unit, zh, en, table, zero="zero" in flags, by_day="by_day" in flags)
        for name, kind, unit, zh, en, *flags in rows
    ]


_LISTED = [
    *_fixed(
        "orders",
        ("first_order_at", TIME, "UTC", "首次付款时间", "first time an order was paid"),
        ("last_order_at", TIME, "UTC", "最近付款时间", "last time an order was paid"),
        ("days_since_last_order", COUNT, "days", "距最近付款的天数", "days since the last paid order", "by_day"),
        ("order_count", COUNT, "orders", "付款订单数", "paid orders", "zero"),
        ("order_days", COUNT, "days", "有付款订单的天数", "days with a paid order", "zero"),
        ("net_amount", MONEY, "currency", "付款金额（未扣退款）", "paid amount, refunds not taken off", "zero"),
        ("average_order_value", RATIO, "currency", "客单价", "average order value"),
        ("mean_days_between_orders", RATIO, "days", "平均购买间隔", "mean days between paid orders"),
        ("sd_days_between_orders", RATIO, "days", "购买间隔标准差", "standard deviation of the days between orders"),
        ("days_between_last_orders", COUNT, "days", "最近两次购买间隔", "days between the last two days with a paid order"),
        ("discount_share", RATIO, "share", "优惠占原价的比例", "share of discounts in the gross amount"),
        ("main_channel", TEXT, "", "主要购买渠道", "main sales channel"),
        ("main_channel_share", RATIO, "share", "主要渠道订单占比", "share of paid orders in the main channel"),
        ("channel_count", COUNT, "channels", "购买过的渠道数", "sales channels bought in", "zero"),
        ("review_score", RATIO, "1–5", "平均评价分", "mean review score"),
    ),
    *_windows(),
    *_fixed(
        "refunds",
        ("refund_amount", MONEY, "currency", "退款金额", "money returned so far", "zero"),
        ("refund_share", RATIO, "share", "退款占付款金额的比例", "share of the paid amount returned"),
    ),
    *_fixed(
        "order_lines",
        ("category_count", COUNT, "categories", "购买过的品类数", "categories bought", "zero"),
        ("favourite_category", TEXT, "", "金额最高的品类", "favourite category"),
        ("favourite_category_share", RATIO, "share", "最爱品类金额占比", "share of the favourite category in the amount"),
    ),
    *_fixed(
        "consents",
        # granted, denied, revoked or expired; null: never asked
        ("sms_consent", TEXT, "", "短信授权状态", "SMS consent"),
        ("email_consent", TEXT, "", "邮件授权状态", "e-mail consent"),
    ),
    *_events(),
    *_fixed(
        "interactions",
        ("message_open_rate", RATIO, "share", "消息打开率", "share of messages opened"),
        ("message_click_rate", RATIO, "share", "消息点击率", "share of messages clicked"),
        ("last_message_at", TIME, "UTC", "最近收到消息的时间", "last message sent to the member"),
        ("days_since_last_message", COUNT, "days", "距最近消息的天数", "days since the last message sent", "by_day"),
        ("last_complaint_at", TIME, "UTC", "最近投诉时间", "last complaint"),
        ("days_since_last_complaint", COUNT, "days", "距最近投诉的天数", "days since the last complaint", "by_day"),
        ("last_activity_at", TIME, "UTC", "最近活跃时间", "last own action"),
        ("days_since_last_activity", COUNT, "days", "距最近活跃的天数", "days since the last own action", "by_day"),
        ("points_balance", RATIO, "points", "积分余额", "points balance", "zero"),
        *((name, RATIO, "points", zh, en, "zero") for name, (_, zh, en) in POINTS.items()),
        ("coupons_held", COUNT, "coupons", "持有优惠券数", "coupons held", "zero"),
        ("coupons_redeemed", COUNT, "coupons", "已用优惠券数", "coupons redeemed so far", "zero"),
    ),
    *_fixed(
        "members",
        ("person_id", TEXT, "", "自然人标识", "the person behind one or more memberships"),
        ("registered_at", TIME, "UTC", "注册时间", "time of registration"),
        ("tenure_days", COUNT, "days", "入会天数", "days since registration", "by_day"),
        ("tier", TEXT, "", "会员等级", "membership tier"),
        ("gender", TEXT, "", "性别", "gender"),
        ("birth_year", COUNT, "year", "出生年份", "year of birth"),
        ("birth_month", COUNT, "1–12", "生日月份", "month of birth"),
        ("months_to_birthday", COUNT, "months", "距生日月的月数（0 为本月）", "months to the birthday (0: this month)", "by_day"),
        ("age", COUNT, "years", "年龄", "age", "by_day"),
        ("province", TEXT, "", "省份", "province or state"),
        ("city", TEXT, "", "城市", "city"),
    ),
]  # fmt: skip

FEATURES: dict[str, Feature] = {feature.name: feature for feature in _LISTED}
"""Every feature by name, in the order of the columns of `features` (after member_id)."""

PERSONAL = ("person_id", "gender", "birth_year", "birth_month", "months_to_birthday", "age", "province", "city")
MODEL_FEATURES = tuple(name for name, each in FEATURES.items() if each.type != TIME and name not in PERSONAL)
"""Those that models may look at: what members did, not who they are or at what instant."""


def empty_features() -> ir.Table:
    """A features table without rows: what expressions are checked against before there is data."""
    types = ibis.schema({"member_id": TEXT, **{name: feature.type for name, feature in FEATURES.items()}})
    return ibis.memtable(pa.table({name: pa.array([], kind) for name, kind in zip(types, types.to_pyarrow().types, strict=True)}))
