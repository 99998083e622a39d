"""Local time and UTC as ibis expressions that need nothing of the engine's own zone data.

The engines disagree on zones (and `.date()` follows the session's), so a zone becomes its list of offset changes and a
case expression over them: for Shanghai one constant, for London two branches a year. Times in the lake are naive UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import ibis
import ibis.expr.types as ir

FIRST, LAST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2045, 1, 1, tzinfo=UTC)
STEP = timedelta(hours=12)


def day_end(day: date, zone: ZoneInfo) -> datetime:
    """The UTC instant (naive) at which the local day `day` is over: the start of the next one."""
    start = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)
    return start.astimezone(UTC).replace(tzinfo=None)


def local_time(value: ir.TimestampValue, zone: ZoneInfo) -> ir.TimestampValue:
    """A naive UTC timestamp as naive local time of `zone` (years 1990–2044)."""
    return _shift(value, [(start, offset) for start, offset in _offsets(zone.key)])


def local_date(value: ir.TimestampValue, zone: ZoneInfo) -> ir.DateValue:
    """The local day of a naive UTC timestamp."""
    return local_time(value, zone).date()


def utc_time(value: ir.TimestampValue, zone: ZoneInfo) -> ir.TimestampValue:
    """A naive local timestamp as naive UTC. An hour that happens twice is taken as its first; one that never happened
    is moved past the gap, as Python's fold=0 does."""
    changes = _offsets(zone.key)
    steps = [(changes[0][0], -changes[0][1])]
    for (_, before), (start, after) in pairwise(changes):
        # with fold=0 the old offset holds until the later of both wall clocks at the change
        steps.append((start + max(before, after), -after))
    return _shift(value, steps)


def last_offset(zone: ZoneInfo) -> tuple[datetime, timedelta]:
    """(local start, offset) of the last stretch of equal offset: for zones without summer time, all of the recent past."""
    changes = _offsets(zone.key)
    start, offset = changes[-1]
    return start + max(offset, changes[-2][1] if len(changes) > 1 else offset), offset


def _shift(value: ir.TimestampValue, steps: list[tuple[datetime, timedelta]]) -> ir.TimestampValue:
    seconds = [(start, int(offset.total_seconds())) for start, offset in steps]
    if len(seconds) == 1:
        return value + ibis.interval(seconds=seconds[0][1])
    branches = [(value < ibis.literal(after[0]), value + ibis.interval(seconds=before[1])) for before, after in pairwise(seconds)]
    return ibis.cases(*branches, else_=value + ibis.interval(seconds=seconds[-1][1]))


@lru_cache(maxsize=64)
def _offsets(key: str) -> tuple[tuple[datetime, timedelta], ...]:
    """(naive UTC start, offset) of each stretch of equal offset between FIRST and LAST, found by bisection."""
    zone = ZoneInfo(key)
    offset = _offset(FIRST, zone)
    found = [(FIRST.replace(tzinfo=None), offset)]
    moment = FIRST
    while moment < LAST:
        following = moment + STEP
        new = _offset(following, zone)
        if new != offset:
            found.append((_bisect(moment, following, zone).replace(tzinfo=None), new))
            offset = new
        moment = following
    return tuple(found)


def _bisect(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    start = _offset(low, zone)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        low, high = (middle, high) if _offset(middle, zone) == start else (low, middle)
    return high


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return offset
