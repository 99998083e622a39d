"""Logs as message platforms, loyalty systems, service desks, consent registers and web trackers write them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate.shapes.shape import Cell, FileShape, Make, changed, one_of, words
from crm_core.simulate.words import CHANNELS, CONSENTS, EVENTS

CHANNEL = words("渠道", dict(CHANNELS))
EVENT = words("event", dict(EVENTS))


def _of(family: str) -> Make:
    return one_of("family", family)


def _log(kind: str) -> Make:
    """Points or coupons of the engagement log, unknown words among the points."""

    def make(frame: pa.Table) -> Any:
        coupons = one_of("event", "发券", "用券", "券过期")(frame)
        points = pc.or_(one_of("event", "积分获得", "积分消费", "积分过期")(frame), one_of("event", "拼团砍价")(frame))
        return pc.and_(_of("engagement")(frame), coupons if kind == "coupons" else points)

    return make


def _iso(column: str) -> Make:
    return changed(column, r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)$", r"\1T\2+08:00")


WHO: tuple[tuple[str, Cell], ...] = (("member_no", "会员卡号"),)
MESSAGES = (
    FileShape(
        "message_receipts", "message_receipts.csv", "events",
        (
            ("receipt_id", "记录编号"), *WHO, ("channel", CHANNEL), ("campaign_id", "营销活动"), ("status", EVENT),
            ("reported_at", "发生时间"), ("description", "备注"),
        ),
        only=_of("messaging"),
    ),
)  # fmt: skip
LOYALTY = (
    FileShape(
        "loyalty_ledger", "积分流水.csv", "events",
        (
            ("流水号", "记录编号"), ("会员卡号", "会员卡号"), ("变动类型", "event"), ("变动积分", "数量"), ("变动时间", "发生时间"),
            ("渠道", "渠道"), ("订单编号", "订单编号"), ("说明", "说明"),
        ),
        "gb18030", _log("points"),
    ),
    FileShape(
        "loyalty_ledger", "优惠券流水.csv", "events",
        (
            ("流水号", "记录编号"), ("会员卡号", "会员卡号"), ("券编号", "优惠券编号"), ("券状态", "event"), ("面额", "金额"),
            ("变动时间", "发生时间"), ("渠道", "渠道"), ("订单编号", "订单编号"),
        ),
        "gb18030", _log("coupons"),
    ),
)  # fmt: skip
TICKETS = (
    FileShape(
        "service_tickets", "service_tickets.csv", "events",
        (
            ("entry_id", "记录编号"), ("ticket_id", "工单编号"), *WHO, ("type", EVENT), ("channel", CHANNEL),
            ("created_at", "发生时间"), ("agent", "员工编号"), ("order_id", "订单编号"), ("handle_seconds", "通话秒数"),
            ("subject", "内容"),
        ),
        "utf-8-sig", _of("service"),
    ),
)  # fmt: skip
CONSENT = (
    FileShape(
        "consents", "consents.csv", "consents",
        (
            *WHO, ("channel", CHANNEL), ("state", words("授权状态", dict(CONSENTS))), ("basis", "授权依据"),
            ("source", "授权来源"), ("text_version", "协议版本"), ("changed_at", "变更时间"), ("expires_at", "失效时间"),
        ),
    ),
)  # fmt: skip
WEB = (
    FileShape(
        "web_events", "web_events.jsonl", "events",
        (
            ("message_id", "记录编号"), ("anonymous_id", "访客编号"), ("user_id", "会员卡号"), ("event", EVENT),
            ("timestamp", _iso("发生时间")), ("context.channel", CHANNEL), ("context.campaign", "来源活动"),
            ("properties.product_id", "商家编码"), ("properties.duration", "停留秒数"), ("properties.query", "搜索词"),
        ),
        only=_of("journey"),
    ),
)  # fmt: skip
