"""One block of ten thousand members with everything that happened to them, drawn from streams of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate import purchases
from crm_core.simulate.arrays import NEVER, NONE, Floats, Ints
from crm_core.simulate.campaigns import Answer, Assignment, answer, assign
from crm_core.simulate.catalogue import Catalogue
from crm_core.simulate.consents import ConsentLog, consent_log, consents
from crm_core.simulate.engagement import engagement, later_engagement
from crm_core.simulate.events import Events
from crm_core.simulate.journey import journey, sessions_until
from crm_core.simulate.members import Members, members
from crm_core.simulate.messaging import messaging
from crm_core.simulate.orders import Orders, orders
from crm_core.simulate.pipeline import Pipeline, pipeline, pipeline_events
from crm_core.simulate.purchases import Process
from crm_core.simulate.refunds import Refunds, refunds
from crm_core.simulate.service import service
from crm_core.simulate.tiers import MemberLog, member_log, status_changes, tier_changes
from crm_core.simulate.world import World


@dataclass(frozen=True)
class Sent:
    """A list that was sent: sorted mobiles, and the local second at which it went out."""

    phones: Ints
    at: int


@dataclass(frozen=True)
class Trade:
    """Orders and the refunds of them; `room` names the streams that they were drawn from."""

    room: str
    orders: Orders
    refunds: Refunds


@dataclass(frozen=True)
class Block:
    """What one block holds. `trades` has the block's own orders first, then those that answered a list."""

    number: int
    people: Members
    process: Process
    log: MemberLog
    consents: ConsentLog
    assignments: list[Assignment]
    trades: list[Trade]
    events: list[tuple[str, Events]]
    answers: list[Answer]
    pipeline: Pipeline | None


def draw(world: World, goods: Catalogue, number: int, sent: list[Sent]) -> Block:
    """Draws one block. Lists that were sent add orders of their own and change nothing else."""
    people = members(world, number)
    process = purchases.organic(world, people, number)
    given = consents(world, people, number)
    assignments = [assign(world, people, process.purchases, given, each, number) for each in world.campaigns]
    bought = purchases.join(
        process.purchases,
        *(_brought(world, people, each, number) for each in assignments),
        purchases.unpaid(world, people, process.purchases, number),
        purchases.guests(world, len(people), number),
    )
    trade = _trade(world, people, bought, goods, number, "orders")
    closed_at, status = status_changes(world, people, trade.orders, number)
    tiers = tier_changes(world, people, trade.orders)
    until = sessions_until(world, people, process.ended, _last(world, people, process), world.rng("sessions", number))
    messages, refused = messaging(world, assignments, number)
    events = [
        ("journey", journey(world, people, trade.orders, until, goods.products, number)),
        ("engagement", engagement(world, people, trade.orders, tiers, until, number)),
        ("service", service(world, people, trade.orders, trade.refunds, number)),
        ("messaging", messages),
    ]
    deals = pipeline(world, people) if number == 0 else None
    if deals is not None:
        events.append(("service", pipeline_events(world, deals)))
    answers = [answer(world, people, each.phones, each.at, closed_at, number) for each in sent]
    later = _later(world, people, goods, sent, answers, number)
    if later is not None:  # last: the dirt of the tables before goes by their place
        first = min(each.at for each in sent)
        events.append(("engagement", later_engagement(world, people, later.orders, first, number)))
    return Block(
        number, people, process, member_log(people, tiers, closed_at, status), consent_log(given, refused),
        assignments, [trade] if later is None else [trade, later], events, answers, deals,
    )  # fmt: skip


def _brought(world: World, people: Members, found: Assignment, number: int) -> purchases.Purchases:
    rows = found.row[found.treated & found.responds]
    campaign = found.campaign
    rng = world.rng(f"brought {campaign.number}", number)
    return purchases.extra(world, people, rows, campaign.sent_at, campaign.number, rng)


def _later(world: World, people: Members, goods: Catalogue, sent: list[Sent], answers: list[Answer], number: int) -> Trade | None:
    """Orders that the lists brought; a stream for each list, so that one does not disturb the other."""
    if not sent:
        return None
    found = [
        purchases.extra(world, people, each.row[each.responds], one.at, purchases.LATER, world.rng(f"later {place}", number))
        for place, (one, each) in enumerate(zip(sent, answers, strict=True))
    ]
    return _trade(world, people, purchases.join(*found), goods, number, "later orders")


def _trade(world: World, people: Members, bought: purchases.Purchases, goods: Catalogue, number: int, room: str) -> Trade:
    found = orders(world, people, bought, goods, number, room)
    return Trade(room, found, refunds(world, found, number, f"refunds of {room}"))


def _last(world: World, people: Members, process: Process) -> Floats:
    """Operational day of the last order of the member's own process."""
    last = people.started.copy()
    bought = process.purchases
    assert bool((bought.row != NONE).all()) and bool((bought.at < NEVER).all())
    np.maximum.at(last, bought.row, world.clock.operational(bought.at))
    return last
