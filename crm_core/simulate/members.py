"""Members: who they are, what drives them, how they can be reached, and what changes about them over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, HOUR, NEVER, NONE, Flags, Floats, Ints, at_hours, pick, seconds
from crm_core.simulate.catalogue import CATEGORIES
from crm_core.simulate.world import TYPES, World

# First three digits of mainland mobiles that are valid in form and not of virtual operators.
PREFIXES = np.array(
    [130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 150, 151, 152, 153, 155, 156, 157, 158, 159, 176, 177,
     178, 180, 181, 182, 183, 184, 185, 186, 187, 188, 189, 198]
)  # fmt: skip
CARD, CARD_SPAN, CARD_STEP = 880_000_000_000, 999_999_937, 611_953
PHONE_SPAN, PHONE_STEP = len(PREFIXES) * 10**8, 1_234_567_891
REACHABLE, MASKED, MISSING = 0, 1, 2


@dataclass(frozen=True)
class Members:
    """One block of members, a column an array. Money in fen, times in local seconds, codes index `words`."""

    number: Ints
    card: Ints
    person: Ints
    kind: Ints
    rate: Floats
    dropout: Floats
    spend_rate: Floats
    buyer: Flags
    first_delay: Floats
    registered_at: Ints
    started: Floats
    channel: Ints
    campaign: Ints
    referrer: Ints
    gender: Ints
    birthday: Ints
    occupation: Ints
    interest: Ints
    taste: Ints
    brand: Ints
    city: Ints
    new_city: Ints
    moved_at: Ints
    phone: Ints
    phone_state: Ints
    email_state: Ints
    name: Ints
    responder: Flags  # one row per campaign: past 1, past 2, later

    def __len__(self) -> int:
        return len(self.number)


def card_of(number: Ints, seed: int) -> Ints:
    """Card numbers of members: a fixed permutation, so that a card does not tell the order of joining."""
    return CARD + (number * CARD_STEP + seed % CARD_SPAN) % CARD_SPAN


def phone_of(number: Ints, seed: int) -> Ints:
    """Eleven-digit mobiles, one to one with member numbers, in ranges that phonenumbers accepts."""
    place = (number * PHONE_STEP + (seed * 7_919) % PHONE_SPAN) % PHONE_SPAN
    return PREFIXES[place // 10**8] * 10**8 + place % 10**8


def members(world: World, block: int) -> Members:
    """Draws the members of one block."""
    rng = world.rng("members", block)
    number = world.block(block)
    size = len(number)
    kind = pick(rng, [each.share for each in TYPES], size)
    registered_at, started = _registration(world, rng, size)
    person = np.arange(size) - _second_accounts(rng, size)
    city = pick(rng, [each[2] for each in words.CITIES], size)
    new_city = pick(rng, [each[2] for each in words.CITIES], size)
    latent = {name: np.array([getattr(each, name) for each in TYPES])[kind] for name in
              ("buys", "r", "alpha", "a", "b", "q", "gamma")}  # fmt: skip
    gender, birthday = pick(rng, (0.52, 0.33, 0.15), size), _birthdays(rng, size)
    name = rng.integers(0, len(words.FULL_NAMES), size)
    return Members(
        number=number,
        card=card_of(number, world.seed),
        person=number[person],
        kind=kind,
        rate=rng.gamma(latent["r"]) / latent["alpha"],
        dropout=rng.beta(latent["a"], latent["b"]),
        spend_rate=np.maximum(rng.gamma(latent["q"]) / latent["gamma"], 1e-3),
        buyer=rng.random(size) < latent["buys"],
        first_delay=_first_delay(rng, started),
        registered_at=registered_at,
        started=started,
        channel=np.array(words.SALES_CHANNELS)[pick(rng, words.SALES_WEIGHTS, size)],
        campaign=_source_campaign(world, rng, registered_at),
        referrer=_referrers(rng, registered_at, started),
        gender=gender[person],
        birthday=birthday[person],
        occupation=rng.integers(-4, len(words.OCCUPATIONS), size),
        interest=rng.integers(0, len(words.INTERESTS), (2, size)),
        taste=pick(rng, [each.weight for each in CATEGORIES], size),
        brand=rng.integers(0, 3, size),
        city=city[person],
        new_city=new_city,
        moved_at=_moves(world, rng, registered_at, city[person] != new_city),
        phone=phone_of(number, world.seed)[person],
        phone_state=pick(rng, (0.90, 0.04, 0.06), size)[person],
        email_state=pick(rng, (0.55, 0.0, 0.45), size),
        name=name[person],
        responder=rng.random((3, size)) < np.array([each.effects for each in TYPES]).T[:, kind],
    )


def _registration(world: World, rng: np.random.Generator, size: int) -> tuple[Ints, Floats]:
    """(registered_at, operational day from which they buy); three in ten were members before the period."""
    started = rng.random(size) ** 1.25 * world.clock.total
    old = rng.random(size) < 0.3
    registered_at = world.clock.seconds(started)
    before = world.clock.start - np.minimum(seconds(rng, 400 * DAY, size), 1_500 * DAY) - DAY
    registered_at = np.where(old, at_hours(rng, before, 8, 22), registered_at)
    return registered_at, np.where(old, 0.0, started)


def _second_accounts(rng: np.random.Generator, size: int) -> Ints:
    """1 where the member is a second account of the person just before, else 0."""
    second = rng.random(size) < 0.02
    second[0] = False
    second[1:] &= ~second[:-1]
    return second.astype(np.int64)


def _birthdays(rng: np.random.Generator, size: int) -> Ints:
    """Days since 1970, negative before; about one in four not stated (NEVER)."""
    days = (rng.normal(17.0, 9.0, size).clip(-22, 38) * 365.25).astype(np.int64)
    return np.where(rng.random(size) < 0.25, NEVER, days)


def _first_delay(rng: np.random.Generator, started: Floats) -> Floats:
    """Operational days from joining to the first order: many join because they order."""
    at_once = (rng.random(len(started)) < 0.6) & (started > 0)
    return np.where(at_once, rng.exponential(0.15, len(started)), rng.exponential(30.0, len(started)))


def _source_campaign(world: World, rng: np.random.Generator, registered_at: Ints) -> Ints:
    """Number of the past campaign that brought a member (1 or 2), else 0."""
    found: Ints = np.zeros(len(registered_at), dtype=np.int64)
    lucky = rng.random(len(registered_at)) < 0.2
    for campaign in world.campaigns:
        during = (registered_at > campaign.sent_at) & (registered_at < campaign.sent_at + 14 * DAY)
        found[during & lucky] = campaign.number
    return found


def _referrers(rng: np.random.Generator, registered_at: Ints, started: Floats) -> Ints:
    """Position in the block of the member who referred this one, else NONE."""
    size = len(registered_at)
    candidate = rng.integers(0, size, size)
    fits = (registered_at[candidate] < registered_at - HOUR) & (started > 0)
    return np.where(fits & (rng.random(size) < 0.15), candidate, NONE)


def _moves(world: World, rng: np.random.Generator, registered_at: Ints, differs: Flags) -> Ints:
    """When a member's city changed: at second 17 of a minute, so that no two changes share an instant."""
    at = rng.integers(world.clock.start + DAY, world.clock.end, len(registered_at)) // 60 * 60 + 17
    moves = (rng.random(len(registered_at)) < 0.05) & (at > registered_at + 30 * DAY) & differs
    return np.where(moves, at, NEVER)
