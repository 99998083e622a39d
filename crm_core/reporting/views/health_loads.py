"""The sections of data_health about loads: the gate, freshness, reconciliation in rows and money, rejects, headings."""

from __future__ import annotations

from math import isinf

import pandas as pd

from crm_core.measures.quality import LoadRecord
from crm_core.reporting import blocks, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.base import total
from crm_core.reporting.views.health_findings import HealthFindings
from crm_core.store.ledger import MoneyRecord


class HealthLoads(HealthFindings):
    """Sections about what came in. `loads`: how many of the newest loads are listed."""

    listed = 20

    def gate(self) -> Block:
        """The checks of conf/reports.yml with what was found and what is allowed."""
        if not self.outcomes:
            return self.note("no_gate")
        rows = pd.DataFrame(
            [
                {
                    "state": self.text("nothing_to_judge" if each.found is None else "passed" if each.passed else "not_passed"),
                    "check": self.labels.outcome(each.as_json()).replace("**", ""),
                }
                for each in sorted(self.outcomes, key=lambda each: each.passed)
            ]
        )
        columns = self.columns(check="gate_check", state="state")
        failed = sum(not each.passed for each in self.outcomes)
        note = self.note("gate_open", "good") if not failed else self.note("gate_shut", "bad", count=failed)
        return blocks.group(note, self.table(rows, columns))

    def freshness(self) -> Block:
        """Per source and table: newest fact, newest load, age, and how often something new is expected."""
        if not self.quality.freshness:
            return self.missing(self.text("tables_of_lake"), self.text("no_loads_cost"))
        newest = {each.source: each for each in self.quality.cadences}
        rows = pd.DataFrame(
            [
                {
                    "table": self.labels.name("tables", each.table) + " · " + (each.source or self.text("earlier_loads")),
                    "rows": each.rows,
                    "last": each.last,
                    "loaded": self.local(newest[each.source].newest_load)[:10] if each.source in newest else None,
                    "age": each.age,
                    "every": each.every_days,
                    "state": numbers.NOTHING
                    if isinf(each.late_after) or each.age is None
                    else self.text("old" if each.late else "fresh"),
                    "_late": each.late,
                    "_judged": not isinf(each.late_after),
                }
                for each in self.quality.freshness
            ]
        ).sort_values(["_late", "_judged", "rows"], ascending=False)
        columns = self.columns(
            table="table",
            rows="rows count",
            last="last_day date @freshness",
            loaded="loaded_at date",
            age="days_behind days",
            every="every_days days",
            state="state",
        )
        return self.table(rows, columns, more=self.text("all_tables", count=len(rows)), note=self.text("late_rule"))

    def reconciliation(self) -> Block:
        """The loads: read = accepted + duplicate + rejected row by row, what the accepted became, and the money."""
        loads = self.quality.loads[: self.listed]
        if not loads:
            return self.missing(self.text("loads"), self.text("no_loads_cost"))
        rows = pd.DataFrame([self._load_row(load) for load in loads])
        columns = self.columns(
            when="loaded_at",
            source="source",
            read="read count @reconciliation",
            accepted="accepted count",
            duplicate="duplicate count",
            rejected="rejected count",
            sum="sum_agrees",
        )
        names = ("read", "accepted", "duplicate", "rejected")
        closing = {"when": self.text("total"), **{name: total(rows[name]) for name in names}}
        parts = [self.table(rows, columns, total=closing if len(rows) > 1 else None)]
        return blocks.group(*parts, *self._became(loads), *self._money(loads))

    def _load_row(self, load: LoadRecord) -> dict[str, object]:
        rows_agree = not {"rows", "files"} & set(load.faults)
        return {
            "when": self.local(load.finished_at),
            "source": load.source,
            "read": load.read,
            "accepted": load.accepted,
            "duplicate": load.duplicate,
            "rejected": load.rejected,
            "sum": self.text("yes" if rows_agree else "no"),
        }

    def _became(self, loads: list[LoadRecord]) -> list[Block]:
        found: dict[str, dict[str, int]] = {}
        for load in loads:
            for each in load.tables:
                row = found.setdefault(each.table, dict.fromkeys(("inserted", "updated", "unchanged", "again", "conflicts"), 0))
                for name in row:
                    row[name] += getattr(each, name)
        if not found:
            return []
        rows = pd.DataFrame([{"table": self.labels.name("tables", name), **row} for name, row in found.items()])
        columns = self.columns(
            table="table",
            inserted="inserted count",
            updated="updated count",
            unchanged="unchanged count",
            again="said_again count",
            conflicts="conflicts count",
        )
        return [self.table(rows, columns, title=self.text("became_title"), note=self.text("became_note"))]

    def _money(self, loads: list[LoadRecord]) -> list[Block]:
        found: dict[tuple[str, str, str], list[MoneyRecord]] = {}
        for load in loads:
            for each in load.money:
                found.setdefault((load.source, each.feed, each.name), []).append(each)
        if not found:
            return []
        rows = []
        for (source, feed, name), entries in found.items():
            read = sum(each.rows for each in entries)
            written = sum(each.written for each in entries)
            agree = all(each.rows == each.written for each in entries)
            rows.append(
                {
                    "what": f"{source} · {feed} · {name}",
                    "read": f"{read:,}",
                    "written": f"{written:,}",
                    "agree": self.text("yes" if agree else "no"),
                }
            )
        columns = self.columns(what="money_sum", read="money_read number", written="money_written number", agree="sum_agrees")
        return [self.table(pd.DataFrame(rows), columns, title=self.text("money_title"), note=self.text("money_sums_note"))]

    def rejects(self) -> Block:
        """Refused rows by kind of reason, most frequent first, and the duplicates."""
        duplicates = sum(load.duplicate for load in self.quality.loads)
        read = sum(load.read for load in self.quality.loads)
        repeated = self.note(
            "duplicates", rows=self.show(duplicates, "count"), share=self.show(numbers.share(duplicates, read), "percent")
        )
        if not self.quality.refused:
            return blocks.group(self.note("no_rejects", "good"), repeated)
        rows = pd.DataFrame(
            [
                {
                    "reason": self._reason(each.kind, each.rule),
                    "field": each.heading or self.labels.name("tables", each.field) or numbers.NOTHING,
                    "rows": each.rows,
                }
                for each in self.quality.refused
            ]
        )
        columns = self.columns(reason="reason", field="field", rows="rows count bar")
        listed = self.table(rows, columns, more=self.text("all_reasons", count=len(rows)))
        return blocks.group(listed, repeated)

    def _reason(self, kind: str, rule: str) -> str:
        words = self.labels.name("reject_kinds", kind)
        if not rule:
            return words
        text = rule.split(": ", 1)[1] if kind == "broken_rule" else rule
        return words + self.text("colon") + self.labels.name("rules", text)

    def headings(self) -> Block:
        """Headings of the sources' files that are new, gone, or that no field takes."""
        changes = self.quality.headings
        if not changes:
            return self.note("headings_same", "good")
        rows = pd.DataFrame(
            [
                {
                    "feed": f"{each.source} · {each.feed}",
                    "new": self.labels.joined(list(each.new)) or numbers.NOTHING,
                    "gone": self.labels.joined(list(each.gone)) or numbers.NOTHING,
                    "unknown": self.labels.joined(list(each.unknown)) or numbers.NOTHING,
                }
                for each in changes
            ]
        )
        columns = self.columns(feed="feed", new="headings_new", gone="headings_gone", unknown="headings_unknown")
        return self.table(rows, columns)
