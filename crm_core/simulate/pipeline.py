"""The wholesale corner: opportunities with a log of stages, their contracts, and the calls on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, HOUR, NEVER, NONE, Flags, Ints, at_hours, seconds
from crm_core.simulate.events import Book, Events
from crm_core.simulate.members import Members
from crm_core.simulate.words import CHANNEL_CODES
from crm_core.simulate.world import World

WON, LOST = 5, 6
SHARES = (30, 50, 20)
DUE_AFTER = (7, 60, 120)
OWN_BLOCK = 99_999


@dataclass(frozen=True)
class Pipeline:
    """Opportunities (a column an array), their log of stages (`log_*`) and contract payments (`pay_*`)."""

    row: Ints
    owner: Ints
    source: Ints
    created: Ints
    lost_reason: Ints
    log_opportunity: Ints
    log_at: Ints
    log_stage: Ints
    log_amount: Ints
    log_expected: Ints
    pay_opportunity: Ints
    pay_no: Ints
    pay_signed: Ints
    pay_due: Ints
    pay_paid: Ints
    pay_amount: Ints


def pipeline(world: World, people: Members) -> Pipeline:
    """Dozens to hundreds of opportunities; `people` is the first block, whose older members hold them."""
    rng = world.rng("pipeline", 0)
    size = int(np.clip(world.members // 80, 24, 400))
    created = at_hours(rng, rng.integers(world.clock.start, world.clock.end - DAY, size), 9, 18)
    created = np.sort(created)
    row = rng.integers(0, len(people), size)
    row = np.where(people.registered_at[row] < created, row, NONE)
    last, won = _endings(rng, size)
    amount = np.round(rng.lognormal(10.6, 0.7, size)).astype(np.int64) * 100
    parts, at = [], created
    for stage in range(5):
        here = np.flatnonzero(last >= stage)
        parts.append((here, at[here], np.full(len(here), stage)))
        at = at + HOUR + seconds(rng, 9 * DAY, size)
    everyone = np.arange(size)
    ended = created + (at - created) * (last + 1) // 5 + DAY
    latest: Ints = np.zeros(size, dtype=np.int64)
    for here, when, _ in parts:
        np.maximum.at(latest, here, when)
    ended = np.maximum(ended, latest + HOUR)
    parts.append((everyone, ended, np.where(won, WON, LOST)))
    log = [np.concatenate([part[place] for part in parts]) for place in range(3)]
    order = np.lexsort((log[1], log[0]))
    who, when, stage_of = (values[order] for values in log)
    revised = np.where(stage_of >= 3, amount[who] * rng.integers(85, 116, size)[who] // 100, amount[who])
    payments = _payments(rng, np.flatnonzero(won), ended, amount)
    return Pipeline(
        row, rng.integers(0, len(words.OWNERS), size), rng.integers(0, len(words.LEAD_SOURCES), size),
        created, rng.integers(0, len(words.LOST_REASONS), size), who, when, stage_of, revised,
        created[who] + (45 + 5 * stage_of) * DAY, *payments,
    )  # fmt: skip


def _endings(rng: np.random.Generator, size: int) -> tuple[Ints, Flags]:
    """(last open stage, won): one in seven falls out at each stage, half of the rest is won."""
    falls = rng.random((4, size)) < 0.14
    last = np.where(falls.any(axis=0), falls.argmax(axis=0), 4)
    return last, (last == 4) & (rng.random(size) < 0.55)


def _payments(rng: np.random.Generator, won: Ints, ended: Ints, amount: Ints) -> tuple[Ints, ...]:
    who: Ints = np.repeat(won, len(SHARES))
    number = np.tile(np.arange(len(SHARES)), len(won))
    due = ended[who] // DAY * DAY + np.array(DUE_AFTER)[number] * DAY
    paid = at_hours(rng, due + rng.integers(-3, 30, len(who)) * DAY, 9, 18)
    paid = np.where(rng.random(len(who)) < 0.9, np.maximum(paid, ended[who] + HOUR), NEVER)
    return who, number + 1, ended[who], due, paid, amount[who] * np.array(SHARES)[number] // 100


def pipeline_events(world: World, found: Pipeline) -> Events:
    """A call before and a follow-up after each change of stage, with the employee who did it."""
    rng = world.rng("pipeline events", 0)
    book = Book("service", OWN_BLOCK, world.clock.start, world.clock.end)
    texts = np.array(words.detail("需求沟通", "报价跟进"))
    for event, delay in (("call", 20 * 60), ("follow_up", 2 * DAY)):
        size = len(found.log_at)
        book.add(
            event, found.log_at + delay + seconds(rng, 3 * HOUR, size), row=found.row[found.log_opportunity],
            opportunity=found.log_opportunity, owner=found.owner[found.log_opportunity],
            channel=CHANNEL_CODES["call_center"], detail=texts[(found.log_stage >= 3).astype(np.int64)],
            seconds=60 + seconds(rng, 300, size) if event == "call" else NONE,
        )  # fmt: skip
    return book.close()
