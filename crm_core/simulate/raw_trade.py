"""Orders, order lines and refunds as the shop exports them, dirt included."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate import words
from crm_core.simulate.arrays import NONE, Flags, Ints
from crm_core.simulate.blocks import Block, Trade
from crm_core.simulate.catalogue import Catalogue
from crm_core.simulate.columns import money, numbers, overwrite, picked, shop_money, times
from crm_core.simulate.dirt import BAD_TIMES, NULL, Dirt, lay_out, soil
from crm_core.simulate.files import Sheet
from crm_core.simulate.world import World

PROVINCES, CITY_NAMES = [each[0] for each in words.CITIES], [each[1] for each in words.CITIES]
STEPS = ("paid", "approved", "shipped", "delivered", "confirmed", "reviewed", "closed")
STATES = ("等待买家付款", "买家已付款", "待发货", "卖家已发货", "已签收", "交易成功", "已评价", "交易关闭")


@dataclass(frozen=True)
class SoiledTrade:
    """A block's orders and refunds with their dirt."""

    trade: Trade
    orders: Dirt
    lines: Dirt
    refunds: Dirt


def soiled(world: World, block: Block, trade: Trade) -> SoiledTrade:
    """Decides the dirt of a block's orders, lines and refunds. Refunded orders stay readable."""
    rng = world.rng(f"dirt of {trade.room}", block.number)
    found = trade.orders
    of_orders = soil(rng, len(found), bad_time=0.001, styled=0.01, null_token=0.3)
    refunded = np.bincount(trade.refunds.order, minlength=len(found)) > 0
    of_orders = replace(of_orders, bad_time=of_orders.bad_time & ~refunded)
    of_lines = soil(rng, len(found.lines.order), repeated=0.001)
    bad_lines = of_orders.bad_time[found.lines.order]
    of_lines = replace(of_lines, bad_time=bad_lines, repeated=of_lines.repeated & ~bad_lines)
    of_refunds = soil(rng, len(trade.refunds), bad_time=0.002, bad_word=0.002, styled=0.05)
    return SoiledTrade(trade, of_orders, of_lines, of_refunds)


def order_sheet(world: World, block: Block, given: SoiledTrade) -> Sheet:
    """订单: one row per order, with the state that the export knows."""
    found, dirt, cut = given.trade.orders, given.orders, world.cut
    month = world.clock.month(found.placed)
    rows = lay_out(found.placed < cut, dirt.repeated, month)
    guest = found.row[rows] == NONE
    card = np.where(guest, NONE, block.people.card[found.row[rows]])
    known = {step: getattr(found, step)[rows] for step in STEPS}
    latest = np.max([found.placed[rows], *(np.where(at < cut, at, 0) for at in known.values())], axis=0)
    campaign = [each.campaign_id for each in world.campaigns]
    return Sheet(
        "orders",
        {
            "订单编号": numbers(found.order_id[rows]),
            "会员卡号": numbers(card),
            "店铺编号": picked(words.SHOPS, _place(found.channel[rows])),
            "销售渠道": picked(list(words.CHANNELS), found.channel[rows]),
            "订单创建时间": overwrite(times(found.placed[rows], cut), dirt.bad_time[rows], BAD_TIMES),
            "订单付款时间": times(known["paid"], cut),
            "审核时间": times(known["approved"], cut),
            "发货时间": times(known["shipped"], cut),
            "签收时间": times(known["delivered"], cut),
            "确认收货时间": times(known["confirmed"], cut),
            "确认方式": picked(list(words.CONFIRMERS), np.where(known["confirmed"] < cut, found.confirmed_by[rows], NONE)),
            "评价时间": times(known["reviewed"], cut),
            "评价得分": numbers(found.score[rows], known["reviewed"] >= cut),
            "订单关闭时间": times(known["closed"], cut),
            "订单状态": picked(STATES, _state(known, cut)),
            "总金额": shop_money(found.gross[rows], dirt.styled[rows]),
            "优惠金额": money(found.discount[rows]),
            "买家应付邮费": money(found.freight[rows]),
            "买家应付货款": shop_money(found.net[rows], dirt.styled[rows]),
            "支付方式": picked(words.PAYMENTS, np.where(known["paid"] < cut, found.payment[rows], NONE)),
            "优惠券编号": _tokens(numbers(found.coupon[rows], found.coupon[rows] == 0), dirt.null_token[rows]),
            "营销活动": picked(campaign, found.campaign[rows] - 1),
            "收货省份": picked(PROVINCES, found.city[rows]),
            "收货城市": picked(CITY_NAMES, found.city[rows]),
            "更新时间": times(latest, cut),
        },
        month[rows],
        len(rows) - int((found.placed < cut).sum()),
        int(dirt.bad_time[rows].sum()),
    )


def line_sheet(world: World, given: SoiledTrade, goods: Catalogue) -> Sheet:
    """订单明细: one row per line."""
    found, dirt = given.trade.orders, given.lines
    lines = found.lines
    placed = found.placed[lines.order]
    month = world.clock.month(placed)
    rows = lay_out(placed < world.cut, dirt.repeated, month)
    return Sheet(
        "order_lines",
        {
            "订单编号": numbers(found.order_id[lines.order[rows]]),
            "子订单序号": numbers(lines.line_no[rows]),
            "订单创建时间": overwrite(times(placed[rows], world.cut), dirt.bad_time[rows], BAD_TIMES),
            "商家编码": picked(goods.codes(), lines.product[rows]),
            "购买数量": numbers(lines.quantity[rows]),
            "价格": money(lines.price[rows]),
            "小计": money(lines.price[rows] * lines.quantity[rows]),
        },
        month[rows],
        len(rows) - int((placed < world.cut).sum()),
        int(dirt.bad_time[rows].sum()),
    )


def refund_sheet(world: World, block: Block, given: SoiledTrade) -> Sheet:
    """退款: one row per refund."""
    found, dirt, orders = given.trade.refunds, given.refunds, given.trade.orders
    rows = lay_out(found.at < world.cut, dirt.repeated)
    row, order = found.row[rows], found.order[rows]
    kinds = picked(list(words.REFUND_KINDS), found.kind[rows])
    return Sheet(
        "refunds",
        {
            "退款编号": numbers(found.refund_id[rows]),
            "订单编号": numbers(orders.order_id[order], ~found.named[rows]),
            "子订单序号": numbers(found.line_no[rows]),
            "会员卡号": numbers(np.where(row == NONE, NONE, block.people.card[row])),
            "退款完结时间": overwrite(times(found.at[rows], world.cut), dirt.bad_time[rows], BAD_TIMES),
            "退货数量": numbers(found.quantity[rows]),
            "退款金额": shop_money(found.amount[rows], dirt.styled[rows]),
            "退款类型": overwrite(kinds, dirt.bad_word[rows], ("运费险理赔",)),
            "退款原因": picked(words.REFUND_REASONS, found.reason[rows]),
        },
        None,
        len(rows) - int((found.at < world.cut).sum()),
        int(dirt.refused[rows].sum()),
    )


def _place(channel: Ints) -> Ints:
    """Shop number of a sales channel."""
    places = np.full(len(words.CHANNELS), NONE)
    places[list(words.SALES_CHANNELS)] = np.arange(len(words.SALES_CHANNELS))
    return places[channel]


def _state(known: dict[str, Ints], cut: int) -> Ints:
    """How far an order has come, as the shop words it."""
    state: Ints = np.zeros(len(known["paid"]), dtype=np.int64)
    for place, step in enumerate(STEPS, 1):
        state = np.where(known[step] < cut, place, state)
    return state


def _tokens(column: pa.Array, flags: Flags) -> pa.Array:
    """Some empty cells say NULL, as database exports do."""
    empty = pc.is_null(column).to_numpy(zero_copy_only=False)
    return overwrite(column, flags & empty, NULL)
