"""What one simulated world is: its size, seed, period, hidden types and the moment at which the shop exports
it.

Nothing that is drawn depends on the moment of export; `cut` only hides rows and timestamps when files are
written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import numpy as np

from crm_core.errors import InputError
from crm_core.simulate.arrays import DAY, HOUR, Ints, stream
from crm_core.simulate.clock import Clock, day_of, second_of

BLOCK = 10_000
MOST_MEMBERS = 9_999_999
FEWEST_DAYS = 60


@dataclass(frozen=True)
class HiddenType:
    """Latent distributions of one kind of member.

    Purchases per operational day ~ Gamma(r, rate alpha), chance of dropping out after a repeat purchase ~
    Beta(a, b) (BG/NBD: Fader, Hardie, Lee 2005, Marketing Science 24, p. 277); mean spend by gamma-gamma with
    p, q, gamma (Fader, Hardie 2013, 'The Gamma-Gamma Model of Monetary Value', eq. 1). `effects` are the
    chances that a message of past campaign 1, past campaign 2 or a later campaign brings one more order
    within 14 days.
    """

    name: str
    share: float
    buys: float
    r: float
    alpha: float
    a: float
    b: float
    p: float
    q: float
    gamma: float
    coupons: float
    sessions_per_year: float
    effects: tuple[float, float, float]


TYPES = (
    HiddenType("loyal", 0.17, 0.98, 3.0, 50.0, 1.0, 65.0, 7.0, 5.0, 150.0, 0.10, 9.0, (0.00, 0.02, 0.18)),
    HiddenType("regular", 0.24, 0.96, 2.0, 64.0, 1.0, 18.0, 6.0, 4.5, 110.0, 0.18, 6.0, (0.05, 0.03, 0.17)),
    HiddenType("bargain", 0.18, 0.94, 1.6, 76.0, 1.2, 10.0, 5.0, 4.5, 62.0, 0.60, 7.0, (0.16, 0.09, 0.26)),
    HiddenType("occasional", 0.20, 0.90, 1.2, 150.0, 1.5, 7.0, 5.0, 4.0, 95.0, 0.15, 3.0, (0.07, 0.02, 0.12)),
    HiddenType("one_timer", 0.21, 0.85, 1.0, 900.0, 4.0, 2.0, 4.0, 4.0, 80.0, 0.20, 2.0, (0.03, 0.00, 0.06)),
)


@dataclass(frozen=True)
class PastCampaign:
    """A campaign of the past with a control group that was kept."""

    number: int
    campaign_id: str
    name: str
    objective: str
    channel: str
    sent_at: int
    control: float
    quiet_days: int
    budget: int
    unit_cost: int
    offer: str

    @property
    def starts_at(self) -> int:
        """Opening of the campaign: nine o'clock on the day before the messages go out."""
        return (self.sent_at // DAY - 1) * DAY + 9 * HOUR

    @property
    def assigned_at(self) -> int:
        """When arms were drawn: the evening before."""
        return (self.sent_at // DAY - 1) * DAY + 18 * HOUR


@dataclass(frozen=True)
class World:
    """Size, seed and period of a world, and what an export of it shows."""

    members: int
    seed: int
    days: int
    until: date
    exported_on: date
    events: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.members <= MOST_MEMBERS:
            raise InputError(f"members is {self.members}; allowed are 1 to {MOST_MEMBERS:,}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; allowed are whole numbers from 0 to 2^63 - 1")
        if not FEWEST_DAYS <= self.days <= 3_650:
            raise InputError(f"days is {self.days}; allowed are {FEWEST_DAYS} to 3,650, the past campaigns need room")
        if not self.first_day <= self.exported_on <= self.until:
            raise InputError(
                f"the day of export {self.exported_on} is outside the simulated period "
                f"{self.first_day} to {self.until}; choose a day within it"
            )
        if not 0 <= self.events <= 10:
            raise InputError(f"events is {self.events}; allowed are 0 to 10 times the usual number of events")

    @property
    def first_day(self) -> date:
        """First local day of the period."""
        return self.until - timedelta(days=self.days - 1)

    @property
    def cut(self) -> int:
        """First second that the export knows nothing of."""
        return second_of(self.exported_on) + DAY

    @property
    def blocks(self) -> int:
        """Number of independent blocks of members."""
        return -(-self.members // BLOCK)

    @cached_property
    def clock(self) -> Clock:
        """Seasons and months of the period."""
        return Clock(self.first_day, self.until)

    @cached_property
    def campaigns(self) -> tuple[PastCampaign, PastCampaign]:
        """The two past campaigns, at 45 % and 75 % of the period."""
        days = [second_of(self.first_day + timedelta(days=int(self.days * share))) for share in (0.45, 0.75)]
        return (
            PastCampaign(
                1, f"HD{day_of(days[0]):%y%m%d}", "老客唤回短信", "唤回久未下单的会员", "sms",
                days[0] + 10 * HOUR, 0.2, 45, 500_000, 5, "满199减30元券",
            ),
            PastCampaign(
                2, f"HD{day_of(days[1]):%y%m%d}", "会员专享邮件", "提高复购", "email",
                days[1] + 10 * HOUR, 0.25, 0, 300_000, 1, "会员专享9折",
            ),
        )  # fmt: skip

    @property
    def periods(self) -> list[str]:
        """For each month the period whose file its rows go to: a year in small worlds, a quarter, a month in
        large ones."""
        months = self.clock.months
        if self.members < 60_000:
            return [month[:4] for month in months]
        if self.members < 240_000:
            return [f"{month[:4]}Q{(int(month[5:]) + 2) // 3}" for month in months]
        return months

    def block(self, number: int) -> Ints:
        """Member numbers of one block."""
        return np.arange(number * BLOCK, min((number + 1) * BLOCK, self.members), dtype=np.int64)

    def rng(self, room: str, block: int) -> np.random.Generator:
        """The random numbers of one room of one block."""
        return stream(self.seed, room, block)
