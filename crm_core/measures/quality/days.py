"""Days without facts where the weekday says that there should be some.

A day is expected to bring what the median of the same weekday brought in the eight weeks before; it is a gap when it
brings nothing and enough facts were expected. Orders come nearly by a Poisson law: an empty day with ten expected would
happen once in 22,000 days. Events come in visits of several, so that more of them must be expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

import ibis.expr.types as ir

from crm_core.store import Tables, local_date

WEEKS, FEWEST_WEEKS = 8, 4
LOOK_BACK = timedelta(days=365)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Watched:
    """How a table is looked through: the moment of a fact, the fewest facts expected of a day that may be a gap, and
    whether single channels are looked at too."""

    moment: str
    expected: float
    by_channel: bool


WATCHED = {"orders": Watched("ordered_at", 10, True), "interactions": Watched("occurred_at", 50, False)}


@dataclass(frozen=True)
class Gap:
    """Days `first` to `last` without a fact of `table`; `channel` '' when no channel brought one. `expected` a day."""

    table: str
    channel: str
    first: date
    last: date
    expected: float

    @property
    def days(self) -> int:
        """Length in days."""
        return (self.last - self.first).days + 1


def daily_counts(tables: Tables, name: str) -> dict[str, dict[date, int]]:
    """Facts of a watched table by channel and local day in the last year and the weeks before it."""
    table: ir.Table = getattr(tables, name)
    moment = table[WATCHED[name].moment]
    days = table.select(day=local_date(moment, tables.zone), channel=table.channel.fill_null(""))
    since = tables.as_of - LOOK_BACK - timedelta(weeks=WEEKS)
    recent = days.filter(days.day >= since)
    counted = recent.group_by("channel", "day").agg(facts=recent.count())
    found: dict[str, dict[date, int]] = {}
    for row in counted.to_pyarrow().to_pylist():
        found.setdefault(row["channel"], {})[row["day"]] = row["facts"]
    return found


def gaps(table: str, counts: Mapping[str, Mapping[date, int]]) -> list[Gap]:
    """Gaps of the whole table, then of single channels on other days, each newest first. `counts` by channel and day.

    The days after a table's last fact are none: that is its freshness. Those after a channel's last one are, for as long
    as anything is expected of it.
    """
    whole: dict[date, int] = {}
    for by_day in counts.values():
        for day, facts in by_day.items():
            whole[day] = whole.get(day, 0) + facts
    if not whole:
        return []
    end = max(whole)
    found = _ranges(table, "", whole, end, set())
    empty = {gap.first + DAY * place for gap in found for place in range(gap.days)}
    for channel in sorted(counts) if WATCHED[table].by_channel else ():
        found += _ranges(table, channel, counts[channel], end, empty)
    return found


def _ranges(table: str, channel: str, counts: Mapping[date, int], end: date, known: set[date]) -> list[Gap]:
    found: list[Gap] = []
    start = min(counts)
    for day in (start + DAY * place for place in range((end - start).days + 1)):
        expected = _expected(counts, day, start)
        if counts.get(day) or day in known or expected < WATCHED[table].expected:
            continue
        if found and found[-1].last == day - DAY:
            found[-1] = Gap(table, channel, found[-1].first, day, max(found[-1].expected, expected))
        else:
            found.append(Gap(table, channel, day, day, expected))
    return found[::-1]


def _expected(counts: Mapping[date, int], day: date, start: date) -> float:
    same = [day - timedelta(weeks=back) for back in range(1, WEEKS + 1)]
    known = [float(counts.get(each, 0)) for each in same if each >= start]
    return median(known) if len(known) >= FEWEST_WEEKS else 0.0
