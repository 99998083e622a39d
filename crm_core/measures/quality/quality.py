"""`Quality`: everything that is known of the data's quality at one snapshot and date, each part worked out once when asked.

The data_health report and the gate of the nightly run read the same object, so that they cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cached_property

from crm_core.config import Config
from crm_core.measures.quality import columns, days, drift, orders, rejects
from crm_core.measures.quality import loads as ledger_loads
from crm_core.schema import TABLES
from crm_core.store import Lake, Tables

FACTS = tuple(name for name in TABLES if name != "audiences")
"""Tables that sources supply; audiences are our own."""
MOST_LISTED = 60
"""Loads that are counted apart; older ones count together."""


@dataclass(frozen=True)
class Freshness:
    """How old a table is, or the part of it that one source brought: newest fact's local day, days from there to the
    date of the report, and when it counts as late. Days are None where rows have no time of their own."""

    table: str
    source: str
    rows: int
    first: date | None
    last: date | None
    age: int | None
    late_after: float
    every_days: float | None

    @property
    def late(self) -> bool:
        """Whether newer facts should be there."""
        return self.age is not None and self.age > self.late_after


class Quality:
    """The quality of `tables` (one snapshot, one date) in `lake`, by the sources and expected_days of `config`."""

    def __init__(self, tables: Tables, lake: Lake, config: Config) -> None:
        self.tables, self._lake, self._config = tables, lake, config
        self._feeds_of = ledger_loads.feeds_of(config)

    @cached_property
    def loads(self) -> list[ledger_loads.LoadRecord]:
        """Live loads, newest first."""
        return ledger_loads.live_loads(self._lake.ledger, self.tables.snapshot)

    @cached_property
    def cadences(self) -> list[ledger_loads.Cadence]:
        """How often each source comes."""
        return ledger_loads.cadences(self.loads, dict(self._config.reports.expected_days))

    @cached_property
    def newest(self) -> dict[str, ledger_loads.LoadRecord]:
        """Source → its newest load."""
        return {load.source: load for load in reversed(self.loads)}

    @cached_property
    def headings(self) -> list[ledger_loads.HeadingChange]:
        """Headings that changed or that no field takes."""
        return ledger_loads.heading_changes(self.loads)

    @cached_property
    def supplied(self) -> list[str]:
        """Tables of which rows exist."""
        return [name for name in FACTS if self.tables.supplied(name)]

    @cached_property
    def profiles(self) -> dict[str, columns.Profile]:
        """Every supplied table in one aggregation each."""
        return {name: columns.profile(self.tables, name, self._listed) for name in self.supplied}

    @cached_property
    def _listed(self) -> list[str]:
        pairs = [pair for name in self.supplied for pair in ledger_loads.compared(self.loads, name, self._feeds_of)]
        wanted = [load.load_id for newest, before in pairs for load in (newest, *before)]
        return list(dict.fromkeys([*wanted, *(load.load_id for load in self.loads)]))[:MOST_LISTED]

    def series(self, table: str) -> list[ledger_loads.LoadRecord]:
        """The loads of one source and kind that can be compared in `table`, newest first: the series that reaches furthest,
        and of several that do the longest; [] where no two loads are alike."""
        pairs = ledger_loads.compared(self.loads, table, self._feeds_of)
        groups = [[newest, *before] for newest, before in pairs]
        return max(groups, key=lambda group: (group[0].covers_until or date.min, len(group)), default=[])

    @cached_property
    def freshness(self) -> list[Freshness]:
        """Per table and source, in the schema's order; rows of loads too old to be counted apart have the source ''."""
        sources = {load.load_id: load.source for load in self.loads}
        cadence = {each.source: each for each in self.cadences}
        found = []
        for name, profile in self.profiles.items():
            grouped: dict[str, list[columns.Part]] = {}
            for part in profile.parts:
                grouped.setdefault(sources.get(part.load_id, ""), []).append(part)
            for source, parts in sorted(grouped.items()):
                whole = columns.Profile(name, tuple(parts))
                age = max(0, (self.tables.as_of - whole.last).days) if whole.last else None
                known = cadence.get(source)
                late = known.late_after if known and name in days.WATCHED else float("inf")
                every = known.every_days if known else None
                found.append(Freshness(name, source, whole.rows, whole.first, whole.last, age, late, every))
        return found

    @cached_property
    def falls(self) -> list[columns.Fall]:
        """Columns that the newest loads fill much less than those before."""
        return columns.falls(list(self.profiles.values()), self.loads, self._feeds_of)

    @cached_property
    def drifts(self) -> list[drift.Drift]:
        """Distributions of the newest facts against those before."""
        return drift.drifts(self.tables, self.loads, self.supplied, self._feeds_of)

    @cached_property
    def gaps(self) -> list[days.Gap]:
        """Days without facts that should have some."""
        return [
            gap for name in days.WATCHED if name in self.supplied for gap in days.gaps(name, days.daily_counts(self.tables, name))
        ]

    @cached_property
    def impossible(self) -> list[orders.Impossible]:
        """Contradictions of orders, refunds and lines."""
        return orders.impossible_orders(self.tables)

    @cached_property
    def refused(self) -> list[rejects.Refused]:
        """Refused rows by kind."""
        return rejects.refused(self._lake, self.tables.snapshot, [load.load_id for load in self.loads])

    @property
    def broken(self) -> dict[tuple[str, str], int]:
        """(table, rule) → rows of the lake that break it; rules that all rows keep are left out."""
        return {(name, rule): rows for name, profile in self.profiles.items() for rule, rows in profile.broken.items() if rows}
