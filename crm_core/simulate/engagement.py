"""Points, coupons, check-ins, shares, games, referrals, benefits and changes of tier."""

from __future__ import annotations

import numpy as np

from crm_core.simulate.arrays import DAY, HOUR, NEVER, NONE, Floats, Ints, spread
from crm_core.simulate.clock import second_of
from crm_core.simulate.events import Book, Events, some
from crm_core.simulate.members import Members
from crm_core.simulate.orders import Orders
from crm_core.simulate.tiers import TierChanges
from crm_core.simulate.words import CHANNEL_CODES, detail
from crm_core.simulate.world import World

APP, WECHAT = CHANNEL_CODES["app"], CHANNEL_CODES["wechat"]
UNUSED_COUPON = 8 * 10**17


def engagement(world: World, people: Members, found: Orders, tiers: TierChanges, until: Floats, block: int) -> Events:
    """Engagement events of one block."""
    rng = world.rng("engagement", block)
    book = Book("engagement", block, world.clock.start, world.clock.end)
    order_events(world, book, rng, people, found)
    _points_expired(world, book, rng, people, found)
    _unused_coupons(world, book, rng, people, until)
    _leisure(world, book, rng, people, until)
    invited = np.flatnonzero(people.referrer != NONE)
    book.add("referral", people.registered_at[invited] - 60, row=people.referrer[invited], channel=WECHAT)
    book.add(
        "tier_changed", tiers.at, row=tiers.row, channel=APP, quantity=tiers.level + 1,
        detail=np.where(tiers.up, *detail("升级", "降级")),
    )  # fmt: skip
    return book.close()


def later_engagement(world: World, people: Members, found: Orders, sent_at: int, block: int) -> Events:
    """Points and coupons of orders that answered a list, numbered apart from all other events."""
    book = Book("engagement", block, world.clock.start, world.clock.end, later=True)
    order_events(world, book, world.rng("later engagement", block), people, found, sent_at)
    return book.close()


def order_events(
    world: World, book: Book, rng: np.random.Generator, people: Members, found: Orders, earliest: int = -NEVER
) -> None:
    """Points earned and spent and coupons used with an order; no coupon was issued before `earliest`."""
    scale = min(world.events, 1.0)
    own = np.flatnonzero((found.row != NONE) & (found.paid < NEVER) & (rng.random(len(found)) < scale))
    book.add(
        "points_earned", found.paid[own], row=found.row[own], channel=APP, order_id=found.order_id[own],
        quantity=np.maximum(found.net[own] // 100, 1), detail=detail("消费得积分")[0],
    )  # fmt: skip
    spends = own[some(rng, len(own), 0.07)]
    points = rng.integers(1, 11, len(spends)) * 100
    book.add(
        "points_spent", found.paid[spends] + 30, row=found.row[spends], channel=APP,
        order_id=found.order_id[spends], quantity=points, amount=points, detail=detail("积分抵现")[0],
    )  # fmt: skip
    used = own[found.coupon[own] > 0]
    row, coupon = found.row[used], found.coupon[used]
    issued = found.placed[used] - rng.integers(HOUR, 10 * DAY, len(used))
    issued = np.maximum(np.maximum(issued, people.registered_at[row]), earliest)
    kinds = np.array(detail("新人券", "会员日券"))[(coupon % 3 > 0).astype(np.int64)]
    book.add("coupon_issued", issued, row=row, channel=APP, coupon_id=coupon, detail=kinds)
    book.add(
        "coupon_redeemed", found.paid[used], row=row, channel=APP, coupon_id=coupon,
        order_id=found.order_id[used], amount=np.maximum(found.discount[used], 0), detail=kinds,
    )  # fmt: skip


def _points_expired(world: World, book: Book, rng: np.random.Generator, people: Members, found: Orders) -> None:
    """Every New Year's Eve some of the points of the year lapse."""
    own = found.row != NONE
    for year in range(world.first_day.year, world.until.year + 1):
        at = second_of(world.first_day.replace(year=year, month=12, day=31)) + 23 * HOUR
        counted = own & (found.paid < at) & (found.paid > at - 365 * DAY)
        earned = np.bincount(found.row[counted], found.net[counted] // 100, len(people)).astype(np.int64)
        rows = np.flatnonzero((earned > 50) & (rng.random(len(people)) < 0.4))
        lapsed = np.maximum((earned[rows] * rng.uniform(0.1, 0.6, len(rows))).astype(np.int64), 1)
        book.add("points_expired", np.full(len(rows), at), row=rows, channel=APP, quantity=lapsed, detail=detail("年度清零")[0])


def _unused_coupons(world: World, book: Book, rng: np.random.Generator, people: Members, until: Floats) -> None:
    row, _ = spread(rng.poisson(0.6 * min(world.events, 1.0), len(people)))
    span = np.maximum(until - people.started, 0.0)[row]
    at = world.clock.seconds(people.started[row] + rng.random(len(row)) * span)
    coupon = UNUSED_COUPON + people.number[row] * 1_000 + np.arange(len(row)) % 1_000
    kinds = detail("会员日券")[0]
    book.add("coupon_issued", at, row=row, channel=APP, coupon_id=coupon, detail=kinds)
    book.add("coupon_expired", at + 30 * DAY, row=row, channel=APP, coupon_id=coupon, detail=kinds)


def _leisure(world: World, book: Book, rng: np.random.Generator, people: Members, until: Floats) -> None:
    """Check-ins, shares, games and benefits, more of them the keener the member."""
    span = np.maximum(until - people.started, 0.0)
    keen = np.array([1.6, 1.2, 1.4, 0.6, 0.4])[people.kind] * world.events * span / 365.0
    games, benefits = detail("大转盘", "刮刮卡", "答题赢积分"), detail("生日礼", "免费洗护", "专属客服")
    kinds: tuple[tuple[str, float, list[int], int], ...] = (
        ("check_in", 2.4, [NONE], APP), ("share", 0.3, [NONE], WECHAT), ("game", 0.35, games, APP),
        ("benefit_used", 0.25, benefits, APP),
    )  # fmt: skip
    for event, yearly, details, channel in kinds:
        row, _ = spread(rng.poisson(yearly * keen))
        at = world.clock.seconds(people.started[row] + rng.random(len(row)) * span[row])
        points: Ints | np.int64 = rng.integers(1, 6, len(row)) * 5 if event == "check_in" else NONE
        book.add(
            event, at, row=row, channel=channel, quantity=points,
            detail=np.array(details)[rng.integers(0, len(details), len(row))],
        )  # fmt: skip
