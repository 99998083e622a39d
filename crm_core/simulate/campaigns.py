"""The two past campaigns with a kept control, and the answers of the world to a list that was sent
afterwards.

A responder is a member whom a message would bring to one more order within 14 days: the potential effect. It
is drawn before and independent of the assignment, so the difference between the arms estimates its mean
without bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_core.simulate.arrays import DAY, NONE, Flags, Ints
from crm_core.simulate.consents import CHANNEL_PLACE, Consents, granted_at
from crm_core.simulate.members import MISSING, REACHABLE, Members
from crm_core.simulate.purchases import Purchases
from crm_core.simulate.world import PastCampaign, World

STRATA = {1: ("沉默45-120天", "沉默120天以上"), 2: ("1单", "2-4单", "5单以上")}


@dataclass(frozen=True)
class Assignment:
    """One past campaign in one block: members considered, whether treated, stratum, potential effect."""

    campaign: PastCampaign
    row: Ints
    treated: Flags
    stratum: Ints
    responds: Flags


def assign(world: World, people: Members, bought: Purchases, consents: Consents, campaign: PastCampaign, block: int) -> Assignment:
    """Members who may be written to, by the campaign's own rule, and the arm drawn for each."""
    rng = world.rng(f"campaign {campaign.number}", block)
    before = (bought.row != NONE) & (bought.at < campaign.assigned_at - DAY)
    count = np.bincount(bought.row[before], minlength=len(people))
    last: Ints = np.zeros(len(people), dtype=np.int64)
    np.maximum.at(last, bought.row[before], bought.at[before])
    quiet = campaign.assigned_at - last
    contact = people.phone_state == REACHABLE if campaign.channel == "sms" else people.email_state != MISSING
    fits = (count > 0) & (quiet >= campaign.quiet_days * DAY) & contact
    fits &= granted_at(consents, CHANNEL_PLACE[campaign.channel], campaign.assigned_at)
    treated = rng.random(len(people)) >= campaign.control
    row = np.flatnonzero(fits)
    stratum: Ints = (
        (quiet > 120 * DAY).astype(np.int64) if campaign.number == 1 else np.searchsorted(np.array([2, 5]), count, "right")
    )
    return Assignment(campaign, row, treated[row], stratum[row], people.responder[campaign.number - 1, row])


@dataclass(frozen=True)
class Answer:
    """What happened after a list was sent: per listed member of a block, and per listed phone."""

    row: Ints
    phone: Ints
    responds: Flags
    delivered: Flags
    seconds: Ints
    reply: Ints


REPLIES = ("", "R", "退订", "好的", "什么活动")


def answer(world: World, people: Members, phones: Ints, sent_at: int, closed_at: Ints, block: int) -> Answer:
    """The answers of this block's members to a message to `phones` (sorted mobiles) at `sent_at`."""
    rng = world.rng("answers", block)
    size = len(people)
    failed, quick = rng.random(size) < 0.03, 2 + rng.integers(0, 600, size)
    reply = np.where(rng.random(size) < 0.02, rng.choice([1, 2, 3, 4], size, p=[0.4, 0.1, 0.3, 0.2]), 0)
    # one phone is one person: the first account stands for a second one with the same phone
    own = people.person == people.number
    listed = own & np.isin(people.phone, phones) & (people.phone_state == REACHABLE)
    row = np.flatnonzero(listed & (people.registered_at < sent_at))
    responds = people.responder[2, row] & (closed_at[row] > sent_at) & ~failed[row]
    return Answer(
        row, people.phone[row], responds, ~failed[row], quick[row], np.where(failed[row], 0, reply[row]),
    )  # fmt: skip
