"""The shop's seasons: weekday, hour, 618, 双11, 双12 and spring festival, as a clock that runs faster on busy
days.

Purchases are Poisson in operational time u, whose unit is one average day; `Clock.seconds(u)` turns it into
wall-clock time. A member's purchase rate per operational day is therefore exactly recoverable, however strong
the season is (time change of a Poisson process: Daley & Vere-Jones, An Introduction to the Theory of Point
Processes, prop. 7.4.I).
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from crm_core.simulate.arrays import DAY, HOUR, Floats, Ints

EPOCH = date(1970, 1, 1)
WEEKDAYS = (0.92, 0.90, 0.93, 0.95, 1.02, 1.16, 1.12)
HOURS = (
    0.45, 0.22, 0.12, 0.08, 0.07, 0.10, 0.25, 0.50, 0.80, 1.10, 1.30, 1.25,
    1.20, 1.15, 1.15, 1.20, 1.20, 1.15, 1.20, 1.45, 1.80, 1.95, 1.55, 0.95,
)  # fmt: skip
SPRING_FESTIVAL = {
    2020: (1, 25), 2021: (2, 12), 2022: (2, 1), 2023: (1, 22), 2024: (2, 10), 2025: (1, 29), 2026: (2, 17),
    2027: (2, 6), 2028: (1, 26), 2029: (2, 13), 2030: (2, 3), 2031: (1, 23), 2032: (2, 11), 2033: (1, 31),
}  # fmt: skip


def second_of(day: date) -> int:
    """The first second of a local day."""
    return (day - EPOCH).days * DAY


def day_of(second: int) -> date:
    """The local day of a second."""
    return EPOCH + timedelta(days=int(second) // DAY)


def day_weight(day: date) -> float:
    """How busy a day is, relative to an average one before normalising."""
    weight = WEEKDAYS[day.weekday()] * _festival(day)
    if day.month == 6 and day.day <= 20:
        weight *= 2.6 if day.day in (1, 18) else 1.25
    if day.month == 11 and day.day <= 11:
        weight *= 3.6 if day.day == 11 else 1.9 if day.day == 1 else 1.3
    if day.month == 12 and 10 <= day.day <= 12:
        weight *= 1.6
    return weight


def _festival(day: date) -> float:
    found = SPRING_FESTIVAL.get(day.year)
    if found is None:
        return 1.0
    distance = (day - date(day.year, *found)).days
    if -20 <= distance < -4:
        return 1.35
    if -4 <= distance <= 6:
        return 0.5
    return 1.0


class Clock:
    """Wall clock and operational time over the days [first, last], both local dates."""

    def __init__(self, first: date, last: date) -> None:
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        self.day_weights: Floats = np.array([day_weight(day) for day in days])
        hourly = np.outer(self.day_weights, np.array(HOURS)).ravel()
        self.start, self.end = second_of(first), second_of(last) + DAY
        self._seconds: Floats = np.arange(len(hourly) + 1, dtype=np.float64) * HOUR + self.start
        self._operational = np.concatenate([[0.0], np.cumsum(hourly) * len(days) / hourly.sum()])
        self.total = float(len(days))
        months = sorted({(day.year, day.month) for day in days})
        self.months: list[str] = [f"{year}-{month:02d}" for year, month in months]
        self.month_starts: Ints = np.array([second_of(date(year, month, 1)) for year, month in months])

    def seconds(self, operational: Floats) -> Ints:
        """Operational days since the start → wall-clock seconds, within the period."""
        found = np.interp(operational, self._operational, self._seconds)
        return np.minimum(found.astype(np.int64), self.end - 1)

    def operational(self, seconds: Ints) -> Floats:
        """Wall-clock seconds → operational days since the start."""
        return np.interp(seconds.astype(np.float64), self._seconds, self._operational)

    def month(self, seconds: Ints) -> Ints:
        """Index into `months`; times before the first month count to it."""
        return np.maximum(np.searchsorted(self.month_starts, seconds, side="right") - 1, 0)

    def busy(self, seconds: Ints) -> Floats:
        """The weight of each time's day, 1 being ordinary."""
        days = np.clip((seconds - self.start) // DAY, 0, len(self.day_weights) - 1)
        return self.day_weights[days]
