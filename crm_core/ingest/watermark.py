"""How far a feed of a database has been read: marks of the live loads, chained, and where the next one begins.

A mark lies in its load's record, so a failed or dry run moves nothing and undo moves it back. It is the end of an
unbroken chain of loads that begins with a whole one: where a load in the middle is taken back, reading resumes there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import select

from crm_core.config.databases import ExtractSettings
from crm_core.errors import InputError
from crm_core.store import Ledger
from crm_core.store.ledger import Load

Kind = Literal["number", "instant", "time", "date", "text"]


@dataclass(frozen=True)
class Mark:
    """What one load read of a feed: rows from `since` (empty: from the beginning) up to `high` (empty: none).

    `extract` says what was read; after another table, query or watermark reading begins anew.
    """

    feed: str
    extract: str
    kind: str
    since: str
    high: str


def extract_id(settings: ExtractSettings) -> str:
    """Names what is read: table, query and watermark."""
    return hashlib.sha256("\x1f".join([settings.table, settings.query, settings.watermark]).encode()).hexdigest()[:16]


def covered(ledger: Ledger, source: str, feed: str, settings: ExtractSettings) -> Mark | None:
    """The mark up to which live loads have read `feed` without a gap; None: read everything."""
    with ledger.session() as session:
        details = session.scalars(select(Load.detail).where(Load.state == "live", Load.source == source)).all()
    found = (Mark(**mark) for detail in details for mark in detail.get("marks", ()))
    wanted = extract_id(settings)
    return chain([mark for mark in found if mark.feed == feed and mark.extract == wanted and mark.high])


def chain(marks: Sequence[Mark]) -> Mark | None:
    """The last mark of the unbroken chain that begins with a whole reading; None where there is none."""
    if len({mark.kind for mark in marks}) > 1:
        return None  # the column has changed its type
    reached = max((mark for mark in marks if not mark.since), key=_high, default=None)
    # in order of their beginnings one pass is enough
    for mark in sorted((mark for mark in marks if mark.since), key=lambda mark: _value(mark.kind, mark.since)):
        if reached and _value(mark.kind, mark.since) <= _high(reached) < _high(mark):
            reached = mark
    return reached


def beginning(mark: Mark, settings: ExtractSettings, where: str) -> str:
    """The watermark from which the next reading has to begin: `mark` less the overlap."""
    reach, value = settings.reach, _value(mark.kind, mark.high)
    if isinstance(reach, int) != (mark.kind == "number"):
        found, wanted = ("whole numbers", "a whole number, such as 500") if mark.kind == "number" else ("times", "2d")
        raise InputError(
            f"{where}: the watermark '{settings.watermark}' holds {found}, overlap {settings.overlap} does not fit; write {wanted}"
        )
    if mark.kind == "date" and isinstance(reach, timedelta):
        reach = timedelta(days=-(-reach // timedelta(days=1)))  # begun days count whole
    if mark.kind == "text" and isinstance(reach, timedelta):
        moment = datetime.fromisoformat(mark.high).replace(tzinfo=None) - reach
        return _like(moment, mark.high)
    return _text(value - reach)


def parameter(kind: str, text: str) -> Any:
    """A stored watermark as the value that a query is given."""
    return _value(kind, text)


def bounds_of_the_first(settings: ExtractSettings, texts: bool) -> tuple[Any, Any]:
    """:since and :until where nothing was read yet; the form of `overlap` says whether they are numbers or times."""
    if isinstance(settings.reach, int):
        return -(2**63), 2**63 - 1
    low, high = datetime(1, 1, 2), datetime(9999, 12, 30)
    return (low.isoformat(" "), high.isoformat(" ")) if texts else (low, high)


class Highest:
    """The greatest watermark that passes by, those later than the present left out: a clock that ran ahead must not hide rows."""

    def __init__(self, settings: ExtractSettings, now: datetime, zone: ZoneInfo, where: str) -> None:
        self._settings, self._where = settings, where
        self._instant = now.replace(tzinfo=UTC)
        self._local = self._instant.astimezone(zone).replace(tzinfo=None)
        self.kind = ""
        self._high: Any = None

    def see(self, values: Iterable[object]) -> None:
        """Looks at a batch of the column. InputError where it holds what no watermark can be."""
        known: list[Any] = [_plain(value) for value in values if value is not None]
        if not known:
            return
        kinds = {_kind(value) for value in known}
        kind = next(iter(kinds))
        if len(kinds) > 1 or not kind or self.kind not in ("", kind):
            raise InputError(
                f"{self._where}: column '{self._settings.watermark}' cannot be a watermark; it must hold times or "
                "whole numbers, one kind in all rows (text only as ISO 8601 times)"
            )
        self.kind = kind
        passed = [value for value in known if self._is_past(value)]
        self._high = max([*passed, *([] if self._high is None else [self._high])], default=None)

    @property
    def text(self) -> str:
        """The mark as it is stored; empty where no row had one."""
        return "" if self._high is None else _text(self._high)

    def latest(self, kind: str) -> Any:
        """The present as a watermark of `kind`."""
        local = self._local.isoformat(" ", "seconds")
        moments = {"instant": self._instant, "time": self._local, "date": self._local.date(), "text": local}
        return moments.get(kind, 2**63 - 1)

    def _is_past(self, value: Any) -> bool:
        if self.kind != "text":
            return bool(value <= self.latest(self.kind))
        moment = datetime.fromisoformat(value)
        return moment <= self._instant if moment.tzinfo else moment <= self._local


def _high(mark: Mark) -> Any:
    return _value(mark.kind, mark.high)


def _plain(value: object) -> object:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return "number"
    if isinstance(value, datetime):
        return "instant" if value.tzinfo else "time"
    if isinstance(value, date):
        return "date"
    return "text" if isinstance(value, str) and _is_time(value) else ""


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return len(text) >= 10 and text[4] == text[7] == "-"


def _like(moment: datetime, text: str) -> str:
    """`moment` written as `text` is, so that the database's comparison of texts is one of times."""
    return moment.isoformat(text[10:11] or " ", "seconds")[: len(text)]


def _text(value: Any) -> str:
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _value(kind: str, text: str) -> Any:
    if kind == "number":
        return int(text)
    if kind == "date":
        return date.fromisoformat(text)
    return text if kind == "text" else datetime.fromisoformat(text)
