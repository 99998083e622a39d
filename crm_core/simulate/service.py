"""Service: complaints with follow-up and closing, questions, praise, return requests, care on birthdays and
on joining."""

from __future__ import annotations

import numpy as np

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, HOUR, NEVER, NONE, Ints, at_hours, seconds
from crm_core.simulate.clock import EPOCH, second_of
from crm_core.simulate.events import Book, Events, some
from crm_core.simulate.members import Members
from crm_core.simulate.orders import Orders
from crm_core.simulate.refunds import RETURN, Refunds
from crm_core.simulate.words import CHANNEL_CODES, detail
from crm_core.simulate.world import World

CALLS, WECOM, APP = CHANNEL_CODES["call_center"], CHANNEL_CODES["wecom"], CHANNEL_CODES["app"]
CASE = 600_000_000_000


def service(world: World, people: Members, found: Orders, returned: Refunds, block: int) -> Events:
    """Service events of one block."""
    rng = world.rng("service", block)
    book = Book("service", block, world.clock.start, world.clock.end)
    own = (found.row != NONE) & (found.delivered < NEVER)
    trouble = np.where(own, 0.006 + 0.05 * (found.score <= 2) + 0.01 * (found.delivered - found.shipped > 5 * DAY), 0.0)
    upset = np.flatnonzero(rng.random(len(found)) < trouble)
    _cases(book, rng, found, upset, "complaint", detail("物流慢", "商品破损", "色差"), block * 10**6)
    asks = np.flatnonzero(own & (rng.random(len(found)) < 0.03))
    _cases(book, rng, found, asks, "question", detail("何时发货", "如何退货"), block * 10**6 + 300_000)
    _returns(book, rng, found, returned, block * 10**6 + 600_000)
    for event, share, texts in (("praise", 0.012, detail("客服很耐心")), ("suggestion", 0.005, detail("希望增加自提"))):
        chosen = np.flatnonzero(own & (rng.random(len(found)) < share))
        book.add(
            event, found.delivered[chosen] + seconds(rng, 3 * DAY, len(chosen)), row=found.row[chosen],
            channel=APP, order_id=found.order_id[chosen], detail=texts[0],
        )  # fmt: skip
    _care(world, book, rng, people)
    return book.close()


def _cases(book: Book, rng: np.random.Generator, found: Orders, chosen: Ints, event: str, texts: list[int], base: int) -> None:
    """A case each: opened by the member, followed up by an employee, closed by most."""
    size = len(chosen)
    opened = found.delivered[chosen] + HOUR + seconds(rng, 3 * DAY, size)
    row, order = found.row[chosen], found.order_id[chosen]
    case: Ints = CASE + base + np.arange(size)
    owner, place = rng.integers(0, len(words.OWNERS), size), np.where(rng.random(size) < 0.5, CALLS, WECOM)
    shared = {"row": row, "order_id": order, "case_id": case, "channel": place}
    book.add(event, opened, detail=np.array(texts)[rng.integers(0, len(texts), size)], **shared)
    if event == "complaint":
        called = opened + 900 + seconds(rng, 8 * HOUR, size)
        book.add("call", called, owner=owner, seconds=30 + seconds(rng, 180, size), **shared)
        book.add("follow_up", called + DAY, owner=owner, **shared)
    closes = some(rng, size, 0.9)
    ended = opened[closes] + 2 * DAY + seconds(rng, 2 * DAY, len(closes))
    book.add("case_closed", ended, owner=owner[closes], **{name: values[closes] for name, values in shared.items()})


def _returns(book: Book, rng: np.random.Generator, found: Orders, returned: Refunds, base: int) -> None:
    """A request before each returned line was refunded; requested after the goods came."""
    chosen = np.flatnonzero((returned.kind == RETURN) & (returned.row != NONE))
    order = returned.order[chosen]
    wait = (rng.random(len(chosen)) * (returned.at[chosen] - found.delivered[order])).astype(np.int64)
    book.add(
        "return_request", found.delivered[order] + np.minimum(wait, 20 * DAY), row=returned.row[chosen],
        channel=APP, order_id=found.order_id[order], case_id=CASE + base + np.arange(len(chosen)),
    )  # fmt: skip


def _care(world: World, book: Book, rng: np.random.Generator, people: Members) -> None:
    """A greeting on birthdays to one member in five, a welcome to one new member in three."""
    greeted = np.flatnonzero((people.birthday < NEVER) & (rng.random(len(people)) < 0.2))
    born = (np.datetime64(EPOCH, "D") + people.birthday[greeted]).astype("datetime64[M]")
    day_of_month = (np.datetime64(EPOCH, "D") + people.birthday[greeted] - born.astype("datetime64[D]")).astype(np.int64)
    month = born.astype(np.int64) % 12
    for year in range(world.first_day.year, world.until.year + 1):
        first = np.array([f"{year}-{number:02d}" for number in range(1, 13)], dtype="datetime64[M]")[month]
        days = first.astype("datetime64[D]").astype(np.int64) + np.minimum(day_of_month, 27)
        at = at_hours(rng, days * DAY, 9, 18)
        known = at > people.registered_at[greeted]
        book.add(
            "care", at[known], row=greeted[known], channel=WECOM, detail=detail("生日关怀")[0],
            owner=rng.integers(0, len(words.OWNERS), int(known.sum())),
        )  # fmt: skip
    new = some(rng, len(people), 0.33)
    new = new[people.registered_at[new] >= second_of(world.first_day)]
    book.add("care", people.registered_at[new] + 2 * HOUR, row=new, channel=WECOM, detail=detail("入会欢迎")[0])
