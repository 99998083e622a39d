"""Orders in full: lines from the catalogue, discounts, freight, and the timeline from placed to reviewed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, HOUR, NEVER, NONE, Flags, Floats, Ints, pick, rank_within, seconds, spread
from crm_core.simulate.catalogue import BRANDS, RATIO, STEPS, Catalogue, companions
from crm_core.simulate.clock import EPOCH
from crm_core.simulate.members import Members
from crm_core.simulate.purchases import GUEST, LATER, PAST_1, UNPAID, Purchases
from crm_core.simulate.world import TYPES, World

CANCELLED, AUTO_DAYS, FREE_FREIGHT, FREIGHT = 0.015, 10, 9_900, 800


@dataclass(frozen=True)
class Lines:
    """Order lines: position of the order, line number from 1, product number, units, price in fen."""

    order: Ints
    line_no: Ints
    product: Ints
    quantity: Ints
    price: Ints


@dataclass(frozen=True)
class Orders:
    """Orders, a column an array; money in fen, times in local seconds, NEVER where a step was not reached."""

    row: Ints
    origin: Ints
    order_id: Ints
    channel: Ints
    city: Ints
    placed: Ints
    paid: Ints
    approved: Ints
    shipped: Ints
    delivered: Ints
    confirmed: Ints
    confirmed_by: Ints
    reviewed: Ints
    score: Ints
    closed: Ints
    gross: Ints
    discount: Ints
    freight: Ints
    net: Ints
    payment: Ints
    coupon: Ints
    campaign: Ints
    lines: Lines

    def __len__(self) -> int:
        return len(self.row)


def orders(world: World, people: Members, bought: Purchases, goods: Catalogue, block: int, room: str) -> Orders:
    """The orders of one block from their purchases. `room` names the stream: later orders disturb none."""
    rng = world.rng(room, block)
    member, guest = np.maximum(bought.row, 0), bought.row == NONE
    channel = np.array(words.SALES_CHANNELS)[pick(rng, words.SALES_WEIGHTS, len(bought))]
    usual = ~guest & (rng.random(len(bought)) < 0.7)
    channel = np.where(usual, people.channel[member], channel)
    home = np.where(bought.at < people.moved_at[member], people.city[member], people.new_city[member])
    city = np.where(guest, pick(rng, [each[2] for each in words.CITIES], len(bought)), home)
    lines = _lines(rng, people, bought, goods)
    gross = np.bincount(lines.order, lines.quantity * lines.price, len(bought)).astype(np.int64)
    freight = np.where((bought.value < FREE_FREIGHT) & (channel != words.STORE), FREIGHT, 0)
    order_id = _order_ids(world, people, bought, block)
    return Orders(
        row=bought.row, origin=bought.origin, order_id=order_id, channel=channel, city=city,
        gross=gross, discount=gross - bought.value + freight, freight=freight, net=bought.value,
        payment=pick(rng, (0.45, 0.4, 0.05, 0.1), len(bought)),
        coupon=_coupons(rng, people, bought, order_id),
        campaign=_credited(rng, bought), lines=lines,
        **_timeline(world, rng, bought, channel == words.STORE, city),
    )  # fmt: skip


def _lines(rng: np.random.Generator, people: Members, bought: Purchases, goods: Catalogue) -> Lines:
    """Fills each order with goods worth at least what is to be paid; the difference is the discount."""
    room = np.minimum(bought.value // 4_000, 4)
    count = 1 + np.minimum(rng.poisson(0.85, len(bought)), room)
    order, rank = spread(count)
    member, guest = np.maximum(bought.row, 0)[order], bought.row[order] == NONE
    first = np.where(
        rng.random(len(bought)) < 0.5, people.taste[np.maximum(bought.row, 0)], pick(rng, goods.popularity, len(bought))
    )
    category = np.where(rank == 0, first[order], companions(rng, first[order], goods.popularity))
    parts = rng.gamma(3.0, size=len(order))
    share = parts / np.bincount(order, parts, len(bought))[order]
    coupon_room = 1.03 + 0.12 * rng.random(len(bought))
    target = bought.value[order] * coupon_room[order] * share
    dearest = goods.prices[category, STEPS - 1]
    quantity = np.maximum(np.ceil(target / dearest), 1 + (rng.random(len(order)) < 0.12)).astype(np.int64)
    lowest = goods.prices[category, 0]
    step = np.ceil(np.log(np.maximum(target / quantity, 1) / lowest) / np.log(RATIO) - 0.02).astype(np.int64)
    step = np.clip(step, 0, STEPS - 1)
    short = goods.prices[category, step] * quantity < target
    step = np.minimum(step + short, STEPS - 1)
    loyal = ~guest & (rng.random(len(order)) < 0.6)
    brand = np.where(loyal, people.brand[member], rng.integers(0, BRANDS, len(order)))
    product = (category * STEPS + step) * BRANDS + brand
    return Lines(order, rank + 1, product, quantity, goods.prices[category, step])


def _order_ids(world: World, people: Members, bought: Purchases, block: int) -> Ints:
    """Eighteen digits: kind, day, buyer and the buyer's running number; nothing later enters."""
    guest = bought.row == NONE
    buyer = np.where(guest, block, people.number[np.maximum(bought.row, 0)])
    order = np.lexsort((np.arange(len(bought)), np.where(guest, NONE, bought.row)))
    running: Ints = np.empty(len(bought), dtype=np.int64)
    running[order] = rank_within(np.where(guest, NONE, bought.row)[order])
    day = _yymmdd(bought.at)
    later = bought.origin == LATER
    kind = np.where(guest, 2, np.where(later, 3, 1))
    # guests: block (5 digits) and running number (6); members: number (7 digits) and running number (4)
    tail = np.where(guest, buyer * 10**6 + running, buyer * 10**4 + running)
    return (kind * 10**6 + day) * 10**11 + tail


def _yymmdd(at: Ints) -> Ints:
    days = at // DAY
    unique, place = np.unique(days, return_inverse=True)
    dates = (np.datetime64(EPOCH, "D") + unique).astype(object)
    return np.array([int(day.strftime("%y%m%d")) for day in dates], dtype=np.int64)[place]


def _coupons(rng: np.random.Generator, people: Members, bought: Purchases, order_id: Ints) -> Ints:
    """Number of the coupon used, else 0: bargain hunters use one most of the time."""
    love = np.array([each.coupons for each in TYPES])[people.kind[np.maximum(bought.row, 0)]]
    used = (bought.row != NONE) & (rng.random(len(bought)) < love)
    return np.where(used, 4 * 10**17 + order_id, 0)


def _credited(rng: np.random.Generator, bought: Purchases) -> Ints:
    """Past campaign (1 or 2) that the shop credits, else 0: six in ten of the orders that it brought."""
    brought = (bought.origin >= PAST_1) & (bought.origin < LATER)
    return np.where(brought & (rng.random(len(bought)) < 0.6), bought.origin, 0)


def _timeline(world: World, rng: np.random.Generator, bought: Purchases, store: Flags, city: Ints) -> dict[str, Ints]:
    """Times of each step: unpaid orders close after a day, few are cancelled, stores hand over at once."""
    size = len(bought)
    is_paid = bought.origin != UNPAID
    is_paid &= ~((bought.origin == GUEST) & (rng.random(size) < 0.05))
    wait = np.where(rng.random(size) < 0.85, seconds(rng, 240, size), seconds(rng, 3 * HOUR, size))
    paid = _when(is_paid, bought.at + 5 + np.where(store, 0, np.minimum(wait, 23 * HOUR)))
    cancelled = is_paid & ~store & (rng.random(size) < CANCELLED)
    goes = is_paid & ~cancelled
    approved = _when(goes, paid + np.where(store, 0, 60 + seconds(rng, 1_800, size)))
    packing = rng.gamma(2.0, 8 * HOUR, size) * np.clip(world.clock.busy(bought.at), 1.0, 2.5)
    shipped = _when(goes, approved + np.where(store, 0, packing.astype(np.int64)))
    usual = np.array([each[3] for each in words.CITIES])[city] * DAY
    carriage = (usual * (0.5 + rng.gamma(4.0, 0.125, size))).astype(np.int64)
    delivered = _when(goes, shipped + np.where(store, 0, carriage))
    deadline = np.maximum(shipped + AUTO_DAYS * DAY, delivered + DAY)
    own = delivered + seconds(rng, 1.7 * DAY, size)
    by_hand = (rng.random(size) < 0.65) & (own < deadline)
    confirmed = _when(goes, np.where(store, delivered, np.where(by_hand, own, deadline)))
    has_review = goes & (rng.random(size) < np.where(by_hand, 0.38, 0.06))
    closed = _when(~is_paid, bought.at + DAY)
    closed = np.where(cancelled, paid + 600 + seconds(rng, 5 * HOUR, size), closed)
    return {
        "placed": bought.at, "paid": paid, "approved": approved, "shipped": shipped, "delivered": delivered,
        "confirmed": confirmed, "confirmed_by": np.where(by_hand | store, 0, 1),
        "reviewed": _when(has_review, confirmed + 600 + seconds(rng, 3 * DAY, size)),
        "score": _scores(rng, carriage > 5 * DAY), "closed": closed,
    }  # fmt: skip


def _when(happens: Flags, at: Ints) -> Ints:
    return np.where(happens, at, NEVER)


def _scores(rng: np.random.Generator, slow: Flags) -> Ints:
    quick: Floats = np.array([0.04, 0.04, 0.09, 0.22, 0.61])
    late: Floats = np.array([0.16, 0.14, 0.22, 0.23, 0.25])
    return 1 + np.where(slow, pick(rng, late, len(slow)), pick(rng, quick, len(slow)))
