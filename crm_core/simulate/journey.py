"""Visits, searches, favourites and carts: sessions of their own, and the session that leads to an order."""

from __future__ import annotations

import numpy as np

from crm_core.simulate.arrays import DAY, NONE, Flags, Floats, Ints, seconds, spread
from crm_core.simulate.events import Book, Events, some
from crm_core.simulate.members import Members
from crm_core.simulate.orders import Orders
from crm_core.simulate.words import CHANNEL_CODES, STORE, detail
from crm_core.simulate.world import TYPES, World

PLACES = np.array([CHANNEL_CODES[word] for word in ("app", "website", "wechat", "tmall", "jd")])
VISITOR = 70_000_000_000
KEYWORDS = detail("咖啡豆 推荐", "杯子 套装", "新款 外套", "宝宝 纸尿裤", "露营 灯")


def sessions_until(world: World, people: Members, ended: Flags, last: Floats, rng: np.random.Generator) -> Floats:
    """Operational day up to which a member comes by: dropped-out members and non-buyers lose interest."""
    fade = np.where(ended, rng.exponential(45.0, len(people)), world.clock.total)
    start = np.where(people.buyer, np.maximum(last, people.started), people.started)
    fade = np.where(people.buyer, fade, rng.exponential(90.0, len(people)))
    return np.minimum(start + fade, world.clock.total)


def journey(world: World, people: Members, found: Orders, until: Floats, products: int, block: int) -> Events:
    """Journey events of one block."""
    rng = world.rng("journey", block)
    book = Book("journey", block, world.clock.start, world.clock.end)
    book.add(
        "register", people.registered_at, row=np.arange(len(people)), visitor=VISITOR + people.number,
        channel=people.channel, campaign=np.where(people.campaign > 0, people.campaign, NONE),
    )  # fmt: skip
    _own_sessions(world, book, rng, people, until, products)
    _before_orders(book, rng, people, found, min(world.events, 1.0))
    _anonymous(world, book, rng, len(people), block)
    return book.close()


def _own_sessions(world: World, book: Book, rng: np.random.Generator, people: Members, until: Floats, products: int) -> None:
    yearly = np.array([each.sessions_per_year for each in TYPES])[people.kind] * world.events
    span = np.maximum(until - people.started, 0.0)
    row, _ = spread(rng.poisson(yearly * span / 365.0))
    at = world.clock.seconds(people.started[row] + rng.random(len(row)) * span[row])
    place = PLACES[rng.integers(0, len(PLACES), len(row))]
    logs_in = rng.random(len(row)) < 0.45
    _session_events(book, "visit", people, row[~logs_in], at[~logs_in], place[~logs_in])
    _session_events(book, "login", people, row[logs_in], at[logs_in], place[logs_in])
    views, rank = spread(rng.poisson(0.7, len(row)))
    _looks(book, "browse", rng, people, row[views], at[views] + 20 + rank * 70, place[views], products)
    for event, share, delay in (("search", 0.2, 30), ("favourite", 0.1, 200), ("consult", 0.04, 260), ("cart_add", 0.1, 300)):
        chosen = some(rng, len(row), share)
        word = np.array(KEYWORDS)[rng.integers(0, len(KEYWORDS), len(chosen))] if event == "search" else NONE
        product = NONE if event == "search" else _tasteful(rng, people, row[chosen], products)
        book.add(
            event, at[chosen] + delay, row=row[chosen], visitor=VISITOR + people.number[row[chosen]],
            channel=place[chosen], product=product, detail=word,
        )  # fmt: skip


def _session_events(book: Book, event: str, people: Members, row: Ints, at: Ints, place: Ints) -> None:
    book.add(event, at, row=row, visitor=VISITOR + people.number[row], channel=place)


def _looks(
    book: Book, event: str, rng: np.random.Generator, people: Members, row: Ints, at: Ints, place: Ints, products: int
) -> None:
    book.add(
        event, at, row=row, visitor=VISITOR + people.number[row], channel=place,
        product=_tasteful(rng, people, row, products), seconds=5 + seconds(rng, 40, len(row)),
    )  # fmt: skip


def _tasteful(rng: np.random.Generator, people: Members, row: Ints, products: int) -> Ints:
    """A product: half of the time of the member's favourite category."""
    any_product = rng.integers(0, products, len(row))
    size = products // 12
    own = people.taste[row] * size + any_product % size
    return np.where(rng.random(len(row)) < 0.5, own, any_product)


def _before_orders(book: Book, rng: np.random.Generator, people: Members, found: Orders, scale: float) -> None:
    """What members did in the hour before an order placed online: most looked first, some did more."""
    first_line = found.lines.product[found.lines.line_no == 1]
    chosen = np.flatnonzero((found.row != NONE) & (found.channel != STORE) & (rng.random(len(found)) < 0.4 * scale))
    row, placed, product = found.row[chosen], found.placed[chosen], first_line[chosen]
    place = np.where(rng.random(len(chosen)) < 0.6, found.channel[chosen], PLACES[0])
    steps = (
        ("login", 0.4, 2_700, 600), ("search", 0.15, 2_300, 600), ("browse", 0.95, 300, 1_500),
        ("consult", 0.07, 200, 90), ("cart_add", 0.75, 30, 150), ("favourite", 0.1, 3 * 3_600, 4 * DAY),
    )  # fmt: skip
    for event, share, least, spread_over in steps:
        mine = some(rng, len(chosen), share)
        at = placed[mine] - least - rng.integers(0, spread_over, len(mine))
        known = at >= people.registered_at[row[mine]]
        mine, at = mine[known], at[known]
        book.add(
            event, at, row=row[mine], visitor=VISITOR + people.number[row[mine]], channel=place[mine],
            product=NONE if event in ("login", "search") else product[mine],
            detail=np.array(KEYWORDS)[product[mine] % len(KEYWORDS)] if event == "search" else NONE,
            seconds=5 + seconds(rng, 60, len(mine)) if event == "browse" else NONE,
        )  # fmt: skip


def _anonymous(world: World, book: Book, rng: np.random.Generator, members: int, block: int) -> None:
    """Visits by people who never registered."""
    size = int(rng.poisson(0.5 * world.events * members))
    at = world.clock.seconds(rng.random(size) * world.clock.total)
    visitor: Ints = VISITOR + 10**10 + block * 10**6 + np.arange(size)
    book.add("visit", at, visitor=visitor, channel=PLACES[rng.integers(0, len(PLACES), size)])
