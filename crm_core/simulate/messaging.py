"""What became of past campaigns' messages: sent, delivered, failed, opened, clicked, replied, refused."""

from __future__ import annotations

import numpy as np

from crm_core.simulate.arrays import DAY, HOUR, Ints, seconds
from crm_core.simulate.campaigns import Assignment
from crm_core.simulate.consents import CHANNEL_PLACE
from crm_core.simulate.events import Book, Events, some
from crm_core.simulate.words import CHANNEL_CODES, detail
from crm_core.simulate.world import World

Refusals = list[tuple[int, Ints, Ints]]


def messaging(world: World, assignments: list[Assignment], block: int) -> tuple[Events, Refusals]:
    """(events of one block, refusals as consents.consent_log takes them)."""
    rng = world.rng("messaging", block)
    book = Book("messaging", block, world.clock.start, world.clock.end)
    refused = [_campaign(book, rng, each) for each in assignments]
    return book.close(), [(channel, row[at < world.clock.end], at[at < world.clock.end]) for channel, row, at in refused]


def _campaign(book: Book, rng: np.random.Generator, found: Assignment) -> tuple[int, Ints, Ints]:
    campaign, row = found.campaign, found.row[found.treated]
    responds = found.responds[found.treated]
    place, number = CHANNEL_CODES[campaign.channel], campaign.number
    sent = campaign.sent_at + rng.integers(0, 1_200, len(row))
    book.add("sent", sent, row=row, channel=place, campaign=number)
    arrives = responds | (rng.random(len(row)) < 0.96)
    lost = np.flatnonzero(~arrives)
    book.add(
        "failed", sent[lost] + 30, row=row[lost], channel=place, campaign=number,
        detail=np.array(detail("空号", "停机"))[rng.integers(0, 2, len(lost))],
    )  # fmt: skip
    got = np.flatnonzero(arrives)
    delivered = sent[got] + 2 + seconds(rng, 20, len(got))
    book.add("delivered", delivered, row=row[got], channel=place, campaign=number)
    if campaign.channel == "email":
        opens = some(rng, len(got), 0.24)
        opened = delivered[opens] + seconds(rng, 9 * HOUR, len(opens))
        book.add("opened", opened, row=row[got[opens]], channel=place, campaign=number)
        clicks = some(rng, len(opens), 0.2)
        book.add("clicked", opened[clicks] + 40, row=row[got[opens[clicks]]], channel=place, campaign=number)
    else:
        clicks = some(rng, len(got), 0.07)
        clicked = delivered[clicks] + seconds(rng, 5 * HOUR, len(clicks))
        book.add("clicked", clicked, row=row[got[clicks]], channel=place, campaign=number)
        writes = some(rng, len(got), 0.006)
        words = np.array(detail("好的", "什么活动"))[rng.integers(0, 2, len(writes))]
        at = delivered[writes] + seconds(rng, HOUR, len(writes))
        book.add("replied", at, row=row[got[writes]], channel=place, campaign=number, detail=words)
    leaves = some(rng, len(got), 0.009)
    gone = delivered[leaves] + 60 + np.minimum(seconds(rng, DAY, len(leaves)), 5 * DAY)
    word = detail("退订" if campaign.channel == "email" else "R")[0]
    book.add("unsubscribed", gone, row=row[got[leaves]], channel=place, campaign=number, detail=word)
    return CHANNEL_PLACE[campaign.channel], row[got[leaves]], gone
