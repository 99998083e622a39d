"""Journey, engagement, service and message events as exported, each family in files of its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crm_core.simulate import words
from crm_core.simulate.arrays import NONE, Flags
from crm_core.simulate.blocks import Block
from crm_core.simulate.catalogue import Catalogue
from crm_core.simulate.columns import money, numbers, overwrite, picked, times
from crm_core.simulate.dirt import BAD_TIMES, Dirt, lay_out, soil
from crm_core.simulate.events import Events
from crm_core.simulate.files import FILES, Sheet
from crm_core.simulate.world import World

# feed → heading of the event word, and (heading, column of the events) of what else the file shows
HEADINGS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "journey": ("行为", (
        ("访客编号", "visitor"), ("商家编码", "product"), ("停留秒数", "seconds"), ("搜索词", "detail"),
        ("来源活动", "campaign"),
    )),
    "engagement": ("互动类型", (
        ("订单编号", "order_id"), ("优惠券编号", "coupon_id"), ("数量", "quantity"), ("金额", "amount"),
        ("说明", "detail"),
    )),
    "service": ("记录类型", (
        ("工单编号", "case_id"), ("订单编号", "order_id"), ("商机编号", "opportunity"), ("员工编号", "owner"),
        ("通话秒数", "seconds"), ("内容", "detail"),
    )),
    "messaging": ("消息状态", (("营销活动", "campaign"), ("备注", "detail"))),
}  # fmt: skip


def event_dirt(world: World, block: Block, place: int) -> Dirt:
    """The dirt of the `place`-th table of events in the block."""
    family, events = block.events[place]
    rng = world.rng(f"dirt of {family} {place}", block.number)
    return soil(rng, len(events["at"]), bad_time=0.0002, bad_word=0.0006)


def event_sheet(world: World, block: Block, place: int, goods: Catalogue) -> Sheet:
    """One family of events; the copies of repeated rows stand behind the others of the month."""
    family, events = block.events[place]
    dirt = event_dirt(world, block, place)
    visible = events["at"] < world.cut
    by_period = "{period}" in FILES[family].name
    month = world.clock.month(events["at"]) if by_period else None
    rows = lay_out(visible, dirt.repeated, month)
    taken: Events = {name: values[rows] for name, values in events.items()}
    heading, others = HEADINGS[family]
    who = np.where(taken["row"] == NONE, NONE, block.people.card[taken["row"]])
    columns = {
        "记录编号": numbers(taken["event_id"]),
        "会员卡号": numbers(who),
        "发生时间": overwrite(times(taken["at"], world.cut), dirt.bad_time[rows], BAD_TIMES),
        heading: overwrite(picked(list(words.EVENTS), taken["event"]), dirt.bad_word[rows], (words.UNKNOWN_EVENT,)),
        "渠道": picked(list(words.CHANNELS), taken["channel"]),
    }
    for name, column in others:
        columns[name] = _cells(world, taken, column, goods)
    months = None if month is None else month[rows]
    return Sheet(family, columns, months, len(rows) - int(visible.sum()), _refused(dirt, rows))


def _refused(dirt: Dirt, rows: Flags) -> int:
    return int(dirt.refused[rows].sum())


def _cells(world: World, taken: Events, column: str, goods: Catalogue) -> pa.Array:
    values = taken[column]
    if column == "product":
        return picked(goods.codes(), values)
    if column == "campaign":
        return picked([each.campaign_id for each in world.campaigns], np.where(values > 0, values - 1, NONE))
    if column == "detail":
        return picked([text or None for text in words.DETAILS], values)
    if column == "owner":
        return picked(words.OWNERS, values)
    if column == "opportunity":
        return picked(opportunity_ids(int(values.max(initial=0)) + 1), values)
    if column == "amount":
        return money(np.maximum(values, 0), values == NONE)
    return numbers(values)


def opportunity_ids(size: int) -> list[str]:
    """Codes of opportunities by their number."""
    return [f"SJ{number:05d}" for number in range(size)]
