"""Who buys when and for how much: BG/NBD purchase times, gamma-gamma amounts, and orders that a message
brought.

BG/NBD: after the first order a member buys as a Poisson process of their own rate in operational time and
drops out after each repeat purchase with their own chance. Orders of campaigns come on top of that process
and do not touch it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate.arrays import DAY, HOUR, NONE, Flags, Floats, Ints, rank_within, seconds, spread
from crm_core.simulate.members import Members
from crm_core.simulate.world import TYPES, World

ORGANIC, PAST_1, PAST_2, LATER, UNPAID, GUEST = range(6)
WINDOW = 14 * DAY
SMALLEST = 900  # fen


@dataclass(frozen=True)
class Purchases:
    """Order intents: row of the member in the block (NONE: guest), time, fen to be paid, and the origin."""

    row: Ints
    at: Ints
    value: Ints
    origin: Ints

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class Process:
    """Organic purchases of a block; per member the operational days alive and observed after the first."""

    purchases: Purchases
    exposure: Floats
    repeats: Ints
    ended: Flags


def organic(world: World, people: Members, block: int) -> Process:
    """Draws the BG/NBD process of each member up to the end of the period."""
    rng = world.rng("purchases", block)
    first = people.started + people.first_delay
    buys = people.buyer & (first < world.clock.total)
    left = np.where(buys, world.clock.total - first, 0.0)
    chances = rng.poisson(people.rate * left)
    lives: Ints = rng.geometric(np.clip(people.dropout, 1e-6, 1.0))
    row, _ = spread(chances)
    at = first[row] + rng.random(len(row)) * left[row]
    order = np.lexsort((at, row))
    row, at = row[order], at[order]
    kept = rank_within(row) < lives[row]
    row, at = row[kept], at[kept]
    repeats = np.bincount(row, minlength=len(people))
    ended = buys & (repeats == lives)
    last = np.full(len(people), 0.0)
    np.maximum.at(last, row, at)
    exposure = np.where(ended, last - first, left)
    buyers = np.flatnonzero(buys)
    every_row, every_at = np.concatenate([buyers, row]), np.concatenate([first[buyers], at])
    purchases = _priced(rng, people, every_row, world.clock.seconds(every_at), ORGANIC)
    return Process(purchases, exposure, repeats, ended)


def extra(world: World, people: Members, rows: Ints, sent_at: int, origin: int, rng: np.random.Generator) -> Purchases:
    """One more order within 14 days after `sent_at` for each of `rows`; later than the period ends: none."""
    at = sent_at + 20 * 60 + np.minimum(seconds(rng, 3.0 * DAY, len(rows)), WINDOW - DAY)
    found = _priced(rng, people, rows, at, origin)
    return take(found, found.at < world.clock.end)


def unpaid(world: World, people: Members, paid: Purchases, block: int) -> Purchases:
    """Orders placed and never paid, some hours before one that was."""
    rng = world.rng("unpaid", block)
    chosen = rng.random(len(paid)) < 0.08
    found = take(paid, chosen)
    at = found.at - 10 * 60 - seconds(rng, 9 * HOUR, len(found))
    value = np.maximum((found.value * rng.uniform(0.8, 1.3, len(found))).astype(np.int64), SMALLEST)
    result = Purchases(found.row, at, value, np.full(len(found), UNPAID))
    return take(result, (at > people.registered_at[found.row]) & (at >= world.clock.start))


def guests(world: World, members: int, block: int) -> Purchases:
    """Orders of people who are no members; about one for every three members."""
    rng = world.rng("guests", block)
    size = int(rng.poisson(0.35 * members))
    at = world.clock.seconds(rng.random(size) * world.clock.total)
    kinds = rng.integers(2, len(TYPES), size)
    p, q, gamma = (np.array([getattr(each, name) for each in TYPES])[kinds] for name in ("p", "q", "gamma"))
    value = rng.gamma(p) * gamma / np.maximum(rng.gamma(q), 0.05)
    return Purchases(np.full(size, NONE), at, _fen(value), np.full(size, GUEST))


def join(*parts: Purchases) -> Purchases:
    """All parts in order of time."""
    row, at, value, origin = (np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "at", "value", "origin"))
    order = np.lexsort((row, at))
    return Purchases(row[order], at[order], value[order], origin[order])


def take(found: Purchases, chosen: Flags) -> Purchases:
    """The chosen purchases."""
    return Purchases(found.row[chosen], found.at[chosen], found.value[chosen], found.origin[chosen])


def _priced(rng: np.random.Generator, people: Members, rows: Ints, at: Ints, origin: int) -> Purchases:
    shape = np.array([each.p for each in TYPES])[people.kind[rows]]
    value = rng.gamma(shape) / people.spend_rate[rows]
    return Purchases(rows, at, _fen(value), np.full(len(rows), origin))


def _fen(yuan: Floats) -> Ints:
    return np.maximum(np.round(yuan * 100), SMALLEST).astype(np.int64)
