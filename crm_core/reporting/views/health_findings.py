"""The verdict of data_health: what is wrong with the data, worst first, each as a sentence and the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from crm_core.measures.quality import Outcome, Quality, judge
from crm_core.reporting.page import PHONE
from crm_core.reporting.views.base import View
from crm_core.store import now

RECENT = timedelta(days=28)
MUCH_REFUSED = 0.05
MANY_IMPOSSIBLE = 0.001


@dataclass(frozen=True)
class Finding:
    """One thing to look at: a short name for the headline, the whole sentence, and the command that starts mending it."""

    name: str
    sentence: str
    command: str


class HealthFindings(View):
    """What every section of the report reads, and the findings."""

    @cached_property
    def quality(self) -> Quality:
        """The data's quality at the workspace's snapshot and date."""
        return Quality(self.workspace.tables, self.workspace.lake, self.workspace.config)

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """The gate's checks, judged now."""
        return judge(self.quality, self.workspace.config.reports.gate, now())

    @cached_property
    def findings(self) -> list[Finding]:
        """Everything to look at, worst first; empty where the data can be used as they are."""
        return [
            *self._sums(),
            *self._late(),
            *self._falls(),
            *self._gaps(),
            *self._broken(),
            *self._impossible(),
            *self._drifts(),
            *self._headings(),
            *self._conflicts(),
            *self._refused(),
        ]

    def title_of(self, table: str, column: str) -> str:
        """'Orders · city' in the reader's language."""
        return f"{self.labels.name('tables', table)} · {self.labels.name('columns', column)}"

    def ids(self, values: tuple[str, ...]) -> str:
        """Order ids as they may be shown: one that looks like a phone number is shortened."""
        return self.labels.joined([f"{each[:3]}…{each[-4:]}" if PHONE.search(each) else each for each in values])

    def _finding(self, key: str, command: str, **values: Any) -> Finding:
        return Finding(self.text(f"found_{key}", **values), self.text(f"mend_{key}", **values), command)

    def _sums(self) -> list[Finding]:
        wrong = [load for load in self.quality.loads if load.faults]
        if not wrong:
            return []
        first = wrong[0]
        return [self._finding("sums", f"crm undo {first.load_id}", count=len(wrong), load=first.load_id)]

    def _late(self) -> list[Finding]:
        return [
            self._finding(
                "late",
                f"crm ingest {each.source} FILE",
                table=self.labels.name("tables", each.table),
                source=each.source,
                days=self.show(each.age, "days"),
                last=each.last,
                allowed=self.show(each.late_after, "days"),
            )
            for each in self.quality.freshness
            if each.late
        ]

    def _falls(self) -> list[Finding]:
        return [
            self._finding(
                "fall",
                "crm loads",
                column=self.title_of(fall.table, fall.column),
                source=fall.source,
                now=self.show(fall.now, "percent"),
                before=self.show(fall.before, "percent"),
            )
            for fall in self.quality.falls
        ]

    def _gaps(self) -> list[Finding]:
        since = self.workspace.as_of - RECENT
        return [
            self._finding(
                "gap",
                "crm loads",
                table=self.labels.name("tables", gap.table),
                channel=self.text("of_channel", channel=self.labels.name("values", gap.channel)) if gap.channel else "",
                days=self.show(gap.days, "days"),
                span=self.span(gap.first, gap.last),
                expected=self.show(gap.expected, "count"),
            )
            for gap in self.quality.gaps
            if gap.last > since
        ]

    def _broken(self) -> list[Finding]:
        broken = self.quality.broken
        if not broken:
            return []
        names = list(dict.fromkeys(self.labels.name("rules", rule) for _, rule in broken))
        rows = self.show(sum(broken.values()), "count")
        return [self._finding("broken", "crm loads", rows=rows, rule=self.labels.joined(names[:3]))]

    def _impossible(self) -> list[Finding]:
        return [
            self._finding(
                "impossible",
                "crm loads",
                kind=self.labels.name("contradictions", each.kind),
                orders=self.show(each.orders, "count"),
                share=self.show(each.orders / each.of, "percent"),
                ids=self.ids(each.examples),
            )
            for each in self.quality.impossible
            if each.of and each.orders / each.of >= MANY_IMPOSSIBLE
        ]

    def _drifts(self) -> list[Finding]:
        shifted = [drift for drift in self.quality.drifts if drift.shifted]
        if not shifted:
            return []
        columns = [self.title_of(drift.table, drift.column) for drift in shifted]
        return [self._finding("drift", "crm loads", count=len(columns), columns=self.labels.joined(columns[:4]))]

    def _headings(self) -> list[Finding]:
        return [
            self._finding(
                "heading",
                f"crm ingest {change.source} FILE --dry-run",
                source=change.source,
                feed=change.feed,
                headings=self.labels.joined(list(change.gone[:4])),
            )
            for change in self.quality.headings
            if change.gone
        ]

    def _conflicts(self) -> list[Finding]:
        return [
            self._finding(
                "conflict",
                f"crm loads {load.load_id}",
                source=load.source,
                table=self.labels.name("tables", each.table),
                count=self.show(each.conflicts, "count"),
                share=self.show(each.conflicts / each.keys, "percent"),
            )
            for load in self.quality.newest.values()
            for each in load.tables
            if each.keys and each.conflicts / each.keys >= MANY_IMPOSSIBLE
        ]

    def _refused(self) -> list[Finding]:
        return [
            self._finding(
                "refused",
                f"crm rejects {load.load_id}",
                source=load.source,
                count=self.show(load.rejected, "count"),
                share=self.show(load.rejected / load.read, "percent"),
            )
            for load in self.quality.newest.values()
            if load.read and load.rejected / load.read >= MUCH_REFUSED
        ]
