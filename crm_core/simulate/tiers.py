"""Tiers from the spend of twelve months, and the log of everything about a member that changes: tier, city,
status."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, HOUR, NEVER, NONE, Flags, Floats, Ints
from crm_core.simulate.members import Members
from crm_core.simulate.orders import Orders
from crm_core.simulate.world import World

ACTIVE, FROZEN, CLOSED = range(3)


@dataclass(frozen=True)
class MemberLog:
    """One row per member and change, in order of member and time: what held from `at` on."""

    row: Ints
    at: Ints
    tier: Ints
    city: Ints
    status: Ints


@dataclass(frozen=True)
class TierChanges:
    """One row per change of tier: member, time, new level, and whether it was an upgrade."""

    row: Ints
    at: Ints
    level: Ints
    up: Flags


def tier_changes(world: World, people: Members, found: Orders) -> TierChanges:
    """Upgrades on the first of a month once a year's spend reaches a threshold; downgrades a year later."""
    spend = _monthly_spend(world, people, found)
    level: Ints = np.zeros(len(people), dtype=np.int64)
    since: Ints = np.zeros(len(people), dtype=np.int64)
    parts: list[tuple[Ints, Ints, Ints, Flags]] = []
    for month in range(1, spend.shape[1]):
        trailing = spend[:, max(0, month - 12) : month].sum(axis=1)
        earned: Ints = np.searchsorted(np.array(words.TIER_THRESHOLDS), trailing, side="right")
        moves = (earned > level) | ((earned < level) & (month - since >= 12))
        rows = np.flatnonzero(moves)
        at = np.full(len(rows), world.clock.month_starts[month] + 2 * HOUR)
        parts.append((rows, at, earned[rows], earned[rows] > level[rows]))
        level[rows], since[rows] = earned[rows], month
    if not parts:
        nothing: Ints = np.zeros(0, dtype=np.int64)
        return TierChanges(nothing, nothing, nothing, nothing.astype(np.bool_))
    row, at, new, up = (np.concatenate([part[place] for part in parts]) for place in range(4))
    return TierChanges(row, at, new, up)


def _monthly_spend(world: World, people: Members, found: Orders) -> Floats:
    months = len(world.clock.months)
    counted = (found.row != NONE) & (found.paid < world.clock.end)
    cell = found.row[counted] * months + world.clock.month(found.paid[counted])
    return np.bincount(cell, found.net[counted], len(people) * months).reshape(len(people), months)


def status_changes(world: World, people: Members, found: Orders, block: int) -> tuple[Ints, Ints]:
    """Per member (time, new status); few accounts are frozen or closed, and none orders afterwards."""
    rng = world.rng("status", block)
    at = rng.integers(world.clock.start + DAY, world.clock.end, len(people)) // 60 * 60 + 43
    status = np.where(rng.random(len(people)) < 0.3, FROZEN, CLOSED)
    last = people.registered_at.copy()
    own = found.row != NONE
    np.maximum.at(last, found.row[own], found.placed[own])
    happens = (rng.random(len(people)) < 0.04) & (at > last + 45 * DAY)
    return np.where(happens, at, NEVER), status


def member_log(people: Members, tiers: TierChanges, closed_at: Ints, status: Ints) -> MemberLog:
    """Registration and every later change, each row whole."""
    everyone = np.arange(len(people))
    moved, closed = np.flatnonzero(people.moved_at < NEVER), np.flatnonzero(closed_at < NEVER)
    unset = np.full
    parts = [
        (everyone, people.registered_at, np.zeros(len(people), dtype=np.int64), people.city, unset(len(people), ACTIVE)),
        (tiers.row, tiers.at, tiers.level, unset(len(tiers.row), NONE), unset(len(tiers.row), NONE)),
        (moved, people.moved_at[moved], unset(len(moved), NONE), people.new_city[moved], unset(len(moved), NONE)),
        (closed, closed_at[closed], unset(len(closed), NONE), unset(len(closed), NONE), status[closed]),
    ]
    row, at, tier, city, state = (np.concatenate([part[place] for part in parts]) for place in range(5))
    order = np.lexsort((at, row))
    row, at = row[order], at[order]
    return MemberLog(row, at, _carry(tier[order]), _carry(city[order]), _carry(state[order]))


def _carry(values: Ints) -> Ints:
    """Each unset value (NONE) replaced by the last set one; the first row of every member is set."""
    places = np.where(values != NONE, np.arange(len(values)), 0)
    return values[np.maximum.accumulate(places)]
