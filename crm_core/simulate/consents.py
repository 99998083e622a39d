"""Consents by channel: given or refused on joining, revoked later, sometimes given again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate.arrays import DAY, NEVER, Flags, Ints
from crm_core.simulate.members import MISSING, Members
from crm_core.simulate.world import World

CHANNELS = ("sms", "email", "wechat")
CHANNEL_PLACE = {channel: place for place, channel in enumerate(CHANNELS)}
GRANTED, DENIED, REVOKED = range(3)
SOURCES = ("入会页面", "会员中心", "短信回复", "邮件退订链接")
GRANT_SHARE = (0.86, 0.72, 0.60)


@dataclass(frozen=True)
class Consents:
    """Per channel (first axis) and member: whether given on joining, when revoked, when given again."""

    asked: Flags
    granted: Flags
    given_at: Ints
    revoked_at: Ints
    again_at: Ints


@dataclass(frozen=True)
class ConsentLog:
    """One row per change."""

    row: Ints
    channel: Ints
    at: Ints
    state: Ints
    source: Ints


def consents(world: World, people: Members, block: int) -> Consents:
    """Draws consents of one block; who has no e-mail was not asked about it."""
    rng = world.rng("consents", block)
    shape = (len(CHANNELS), len(people))
    asked: Flags = np.ones(shape, dtype=np.bool_)
    asked[1] = people.email_state != MISSING
    asked[0] = people.phone_state != MISSING
    granted = asked & (rng.random(shape) < np.array(GRANT_SHARE)[:, None])
    given_at = np.broadcast_to(people.registered_at, shape).copy()
    since = np.maximum(given_at, world.clock.start)
    revoked_at = since + DAY + (rng.random(shape) * (world.clock.end - since + DAY)).astype(np.int64)
    revoked = granted & (rng.random(shape) < 0.09) & (revoked_at < world.clock.end)
    again_at = revoked_at + rng.integers(20 * DAY, 200 * DAY, shape)
    again = revoked & (rng.random(shape) < 0.25) & (again_at < world.clock.end)
    return Consents(
        asked & (granted | (rng.random(shape) < 0.6)), granted, given_at,
        np.where(revoked, revoked_at, NEVER), np.where(again, again_at, NEVER),
    )  # fmt: skip


def granted_at(found: Consents, channel: int, at: int) -> Flags:
    """Which members had a consent for the channel at that moment."""
    held = found.granted[channel] & (found.given_at[channel] < at) & (found.revoked_at[channel] >= at)
    return held | (found.again_at[channel] < at)


def consent_log(found: Consents, refused: list[tuple[int, Ints, Ints]]) -> ConsentLog:
    """Every change as a row. `refused`: (channel, members, times) of those who unsubscribed."""
    parts: list[tuple[Ints, int, Ints, int, int]] = []
    for channel in range(len(CHANNELS)):
        yes = np.flatnonzero(found.granted[channel])
        no = np.flatnonzero(found.asked[channel] & ~found.granted[channel])
        gone = np.flatnonzero(found.revoked_at[channel] < NEVER)
        back = np.flatnonzero(found.again_at[channel] < NEVER)
        parts.append((yes, channel, found.given_at[channel, yes], GRANTED, 0))
        parts.append((no, channel, found.given_at[channel, no], DENIED, 0))
        parts.append((gone, channel, found.revoked_at[channel, gone], REVOKED, 1))
        parts.append((back, channel, found.again_at[channel, back], GRANTED, 1))
    for channel, rows, at in refused:
        parts.append((rows, channel, at, REVOKED, 2 if channel == 0 else 3))
    return ConsentLog(
        np.concatenate([part[0] for part in parts]),
        np.concatenate([np.full(len(part[0]), part[1]) for part in parts]),
        np.concatenate([part[2] for part in parts]),
        np.concatenate([np.full(len(part[0]), part[3]) for part in parts]),
        np.concatenate([np.full(len(part[0]), part[4]) for part in parts]),
    )
