"""The loads that a snapshot stands on: their reconciliation in rows and money, their headings, how often each source comes.

Read from the ledger alone. A load belongs to a snapshot when it was published with it or before and was not yet taken
back then, so that a report of an old snapshot names the loads of its time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from math import inf
from statistics import median
from typing import Any

from sqlalchemy import select

from crm_core.config import Config
from crm_core.store.ledger import Ledger, Load, LoadFile, MoneyRecord, Snapshot, TableRecord, money_in, tables_in

DEFAULT_EXPECTED_DAYS = 7.0
PATIENCE = 2.0
"""A source counts as late after this many of its usual intervals."""
_CONTACT = re.compile(r"\d{7,}|\S+@\S+")


@dataclass(frozen=True)
class FileRecord:
    """One file of a load: rows as reconciled, its headings, and those that no field of the source takes."""

    name: str
    feed: str
    read: int
    accepted: int
    duplicate: int
    rejected: int
    headings: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def adds_up(self) -> bool:
        """Whether each row read is accepted, a known duplicate or rejected."""
        return self.read == self.accepted + self.duplicate + self.rejected


@dataclass(frozen=True)
class LoadRecord:
    """One live load. `finished_at` naive UTC; `covers_until` the newest local day that its rows speak of."""

    load_id: str
    source: str
    finished_at: datetime
    covers_until: date | None
    read: int
    accepted: int
    duplicate: int
    rejected: int
    files: tuple[FileRecord, ...] = ()
    tables: tuple[TableRecord, ...] = ()
    money: tuple[MoneyRecord, ...] = ()
    feeds: frozenset[str] = field(default=frozenset())

    @property
    def regular(self) -> bool:
        """Whether the source comes again and again; receipts of campaigns come when a campaign was sent."""
        return not self.source.startswith("receipts:")

    @property
    def faults(self) -> list[str]:
        """What does not add up in this load: 'rows', 'files', or 'money NAME'; empty in a good one."""
        found = [] if self.read == self.accepted + self.duplicate + self.rejected else ["rows"]
        if any(not file.adds_up for file in self.files) or (self.files and sum(file.read for file in self.files) != self.read):
            found.append("files")
        return found + [f"money {item.name}" for item in self.money if item.rows != item.written]


@dataclass(frozen=True)
class HeadingChange:
    """Headings of a feed's newest file beside the file before it: new, gone, and those that no field takes."""

    source: str
    feed: str
    new: tuple[str, ...]
    gone: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Cadence:
    """How often a source comes. `every_days` is the median distance of the days that its loads reach to, None below
    three different ones; it counts as late when it lies more than `late_after` days back."""

    source: str
    loads: int
    newest_load: datetime
    covers_until: date | None
    every_days: float | None
    late_after: float


def live_loads(ledger: Ledger, snapshot: Snapshot | None) -> list[LoadRecord]:
    """The loads that `snapshot` stands on, newest first."""
    if snapshot is None:
        return []
    with ledger.session() as session:
        loads = session.scalars(select(Load).order_by(Load.finished_at.desc(), Load.load_id.desc())).all()
        files = session.scalars(select(LoadFile).order_by(LoadFile.id)).all()
    of_load: dict[str, list[LoadFile]] = {}
    for file in files:
        of_load.setdefault(file.load_id, []).append(file)
    return [_record(load, of_load.get(load.load_id, [])) for load in loads if _belongs(load, snapshot)]


def _belongs(load: Load, snapshot: Snapshot) -> bool:
    published = load.snapshot_id is None or load.snapshot_id <= snapshot.id
    return published and (load.undone_at is None or load.undone_at > snapshot.created_at)


def _record(load: Load, files: list[LoadFile]) -> LoadRecord:
    detail: dict[str, Any] = load.detail or {}
    covers = detail.get("covers_until")
    return LoadRecord(
        load.load_id,
        load.source,
        load.finished_at,
        date.fromisoformat(covers) if covers else None,
        load.rows_read,
        load.rows_accepted,
        load.rows_duplicate,
        load.rows_rejected,
        tuple(_file(file) for file in files),
        tables_in(detail),
        money_in(detail),
        frozenset(file.feed for file in files),
    )


def _file(file: LoadFile) -> FileRecord:
    detail: dict[str, Any] = file.detail or {}
    return FileRecord(
        file.name,
        file.feed,
        file.rows_read,
        file.rows_accepted,
        file.rows_duplicate,
        file.rows_rejected,
        _shown(detail.get("headings")),
        _shown(detail.get("unknown_headings")),
    )


def _shown(headings: list[str] | None) -> tuple[str, ...]:
    """Headings as they may be shown: in a file without a heading row the first row stands in their place."""
    return tuple(_CONTACT.sub("…", heading)[:40] for heading in headings or ())


def heading_changes(loads: list[LoadRecord]) -> list[HeadingChange]:
    """Per source and feed the newest file's headings against the file before it; only feeds where anything is to say."""
    seen: dict[tuple[str, str], list[FileRecord]] = {}
    for load in loads:
        for file in load.files:
            seen.setdefault((load.source, file.feed), []).append(file)
    found = []
    for (source, feed), files in sorted(seen.items()):
        newest, before = files[0], files[1] if len(files) > 1 else files[0]
        new = tuple(name for name in newest.headings if name not in before.headings)
        gone = tuple(name for name in before.headings if name not in newest.headings)
        if new or gone or newest.unknown:
            found.append(HeadingChange(source, feed, new, gone, newest.unknown))
    return found


def cadences(loads: list[LoadRecord], expected: dict[str, float]) -> list[Cadence]:
    """How often each source comes; `expected` (source → days between two loads) goes before what history says."""
    found = []
    for source in sorted({load.source for load in loads}):
        own = [load for load in loads if load.source == source]
        days = sorted({load.covers_until for load in own if load.covers_until is not None})
        gaps = [(later - earlier).days for earlier, later in itertools.pairwise(days)]
        usual = float(median(gaps)) if len(days) >= 3 else None
        every = expected.get(source, usual)
        late = DEFAULT_EXPECTED_DAYS if every is None else max(2.0, PATIENCE * every)
        if not own[0].regular:
            late = inf
        found.append(Cadence(source, len(own), own[0].finished_at, max(days, default=None), every, late))
    return found


Feeds = Callable[[str, str], "frozenset[str] | None"]
"""(source, table) → the feeds that write the table; None where conf does not know the source (any more)."""


def compared(loads: list[LoadRecord], table: str, feeds_of: Feeds, most: int = 7) -> list[tuple[LoadRecord, list[LoadRecord]]]:
    """For each source and set of feeds that write `table` its newest load, with up to `most` loads of that kind before it.

    Only such loads are alike enough that a difference between them means something: a source that brings orders one day
    and points the next fills other columns each time.
    """
    groups: dict[tuple[str, frozenset[str]], list[LoadRecord]] = {}
    for load in loads:
        writing = feeds_of(load.source, table)
        kind = load.feeds if writing is None else load.feeds & writing
        if kind:
            groups.setdefault((load.source, kind), []).append(load)
    return [(group[0], group[1 : 1 + most]) for group in groups.values() if len(group) > 1]


def feeds_of(config: Config) -> Feeds:
    """What the sources of `config` say."""
    known = set(config.source_names())

    def find(source: str, table: str) -> frozenset[str] | None:
        if source not in known:
            return None
        feeds = config.source(source).feeds
        return frozenset(
            name for name, feed in feeds.items() if table in {item.table or entry for entry, item in feed.tables.items()}
        )

    return find
