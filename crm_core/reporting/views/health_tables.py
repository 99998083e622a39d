"""The sections of data_health about what lies in the lake: completeness and validity with their trend, drift, broken rules,
contradictions and gaps."""

from __future__ import annotations

import pandas as pd

from crm_core.measures.quality import ColumnCount, LoadRecord, Profile
from crm_core.reporting import blocks, charts, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.health_loads import HealthLoads

OPTIONAL_IDS = ("referrer_member_id", "source_campaign_id", "person_id", "coupon_id", "campaign_id")
TREND_LOADS, TREND_COLUMNS, TREND_RANGE, TREND_ROWS = 6, 8, 0.05, 30


class HealthTables(HealthLoads):
    """Sections about tables and columns."""

    def completeness(self) -> Block:
        """The least complete columns as a chart, how they moved over the last loads, every column in the table."""
        rows = self.fields
        if rows.empty:
            return self.missing(self.text("tables_of_lake"), self.text("no_loads_cost"))
        rows = rows[~rows["column"].isin(OPTIONAL_IDS)].sort_values(["filled", "title"])
        never, rows = rows[rows["filled"] == 0], rows[rows["filled"] > 0]
        gaps = rows[rows["filled"] < 0.995].head(12)
        columns = self.columns(
            title="column",
            filled="completeness percent bar @completeness",
            newest="newest_load percent",
            valid="validity percent bar @validity",
            empty="empty count",
        )
        listed = self.table(rows, columns, more=self.text("all_columns", count=len(rows)), note=self.text("ripe_note"))
        parts = [*self._trend(), listed, *self._never_filled(never["title"].tolist())]
        if gaps.empty:
            return blocks.group(self.note("complete", "good"), *parts)
        drawn = gaps.assign(title=[self._chart_title(row.table, row.column) for row in gaps.itertuples()])
        return blocks.group(self.bars(drawn, "filled", "percent", "gaps_chart"), *parts)

    @property
    def fields(self) -> pd.DataFrame:
        """Per column: table, column, title, filled and valid shares, filled share in the newest load, empty rows."""
        rows = [self._field(profile, name) for profile in self.quality.profiles.values() for name in profile.columns]
        return pd.DataFrame(rows, columns=["table", "column", "title", "filled", "newest", "valid", "empty"])

    def _field(self, profile: Profile, name: str) -> dict[str, object]:
        count = profile.column(name)
        series = self.quality.series(profile.table)
        in_newest = profile.column(name, [load.load_id for load in series[:1]])
        return {
            "table": profile.table,
            "column": name,
            "title": self.title_of(profile.table, name),
            "filled": numbers.share(count.filled, count.rows),
            # what fills later is naturally empty in new rows, and full in the old ones that a load updates
            "newest": None if count.ripe != count.rows else numbers.share(in_newest.filled, in_newest.rows),
            "valid": numbers.share(count.possible, count.filled),
            "empty": count.rows - count.filled,
        }

    def _trend(self) -> list[Block]:
        """Completeness by load of the columns that moved most."""
        cells: list[dict[str, object]] = []
        for profile in self.quality.profiles.values():
            series = self.quality.series(profile.table)[:TREND_LOADS]
            for name in profile.columns:
                if profile.column(name).ripe != profile.rows:
                    continue
                counts = [(load, profile.column(name, [load.load_id])) for load in series]
                cells += self._trend_cells(profile.table, name, counts)
        if not cells:
            return []
        frame = pd.DataFrame(cells)
        ranges = frame.groupby("y")["size"].agg(lambda sizes: sizes.max() - sizes.min()).sort_values(ascending=False)
        chosen = [name for name in ranges.index[:TREND_COLUMNS] if ranges[name] >= TREND_RANGE]
        frame = frame[frame["y"].isin(chosen)]
        if frame.empty:
            return []
        return [
            charts.grid(
                frame.sort_values(["order", "y"]), "x", "y", "size", self.labels, title=self.text("trend_chart"),
                subtitle=self.text("trend_chart_sub"), x_title=self.text("load_until"), y_title="", text="text",
            )
        ]  # fmt: skip

    def _trend_cells(self, table: str, column: str, counts: list[tuple[LoadRecord, ColumnCount]]) -> list[dict[str, object]]:
        judged = [(load, count) for load, count in counts if count.rows >= TREND_ROWS]
        if len(judged) < 2 or not any(count.filled for _, count in judged):
            return []
        return [
            {
                "x": str(load.covers_until or self.local(load.finished_at))[2:],
                "order": load.finished_at,
                "y": self._chart_title(table, column),
                "size": count.filled / count.rows,
                "text": f"{100 * count.filled / count.rows:.0f}%",
            }
            for load, count in judged
        ]

    def _chart_title(self, table: str, column: str) -> str:
        """The column first: on a phone a long name is cut at its end."""
        return f"{self.labels.name('columns', column)} · {self.labels.name('tables', table)}"

    def _never_filled(self, names: list[str]) -> list[Block]:
        if not names:
            return []
        which = self.labels.joined(names[:8]) + (self.text("and_more") if len(names) > 8 else "")
        return [self.note("never_filled", count=len(names), which=which)]

    def drift(self) -> Block:
        """Whether the newest facts are distributed as those before: the greatest index of each column."""
        drifts = self.quality.drifts
        if not drifts:
            return self.note("no_earlier_load")
        shifted = [each for each in drifts if each.shifted]
        rows = pd.DataFrame(
            [
                {
                    "column": self.title_of(each.table, each.column),
                    "psi": each.psi,
                    "moved": self.text(
                        "moved",
                        value=self.labels.name("values", each.value),
                        before=self.show(each.share_before, "percent"),
                        now=self.show(each.share, "percent"),
                    ),
                }
                for each in sorted(drifts, key=lambda each: (not each.shifted, -each.psi))
            ]
        )
        columns = self.columns(column="column", moved="moved_value", psi="psi score @drift_psi")
        listed = self.table(rows, columns, more=self.text("all_columns", count=len(rows)))
        key, tone = ("drift_some", "bad") if shifted else ("drift_none", "good")
        return blocks.group(self.note(key, tone, count=len(shifted), all=len(drifts)), listed)

    def contradictions(self) -> Block:
        """Orders that cannot be as they are told, and rows that break a declared rule, with their counts."""
        if "orders" not in self.quality.supplied:
            return self.missing(self.labels.name("tables", "orders"), self.text("cost_orders"))
        found = [each for each in self.quality.impossible if each.orders]
        rules = sum(len(profile.broken) for profile in self.quality.profiles.values())
        kept = self.note("rules_kept", "good", count=rules)
        broken = self._broken_rules() if self.quality.broken else kept
        if not found:
            count = self.show(self.quality.profiles["orders"].rows, "count")
            return blocks.group(self.note("no_impossible", "good", count=count, kinds=len(self.quality.impossible)), broken)
        rows = pd.DataFrame(
            [
                {
                    "what": self.labels.name("contradictions", each.kind),
                    "orders": each.orders,
                    "share": numbers.share(each.orders, each.of),
                    "ids": self.ids(each.examples),
                }
                for each in sorted(found, key=lambda each: -each.orders)
            ]
        )
        columns = self.columns(what="contradiction", orders="cases count bar", share="share percent", ids="examples")
        return blocks.group(self.table(rows, columns), broken)

    def _broken_rules(self) -> Block:
        rows = pd.DataFrame(
            [
                {
                    "table": self.labels.name("tables", table),
                    "rule": self.labels.name("rules", rule),
                    "rows": count,
                    "share": numbers.share(count, self.quality.profiles[table].rows),
                }
                for (table, rule), count in sorted(self.quality.broken.items(), key=lambda item: -item[1])
            ]
        )
        columns = self.columns(table="table", rule="broken_rule", rows="rows count", share="share percent")
        return self.table(rows, columns, title=self.text("rules_title"))

    def gaps(self) -> Block:
        """Days without facts where the weekday says that there should be some, newest first."""
        gaps = self.quality.gaps
        if not gaps:
            return self.note("no_gaps", "good")
        rows = pd.DataFrame(
            [
                {
                    "table": self.labels.name("tables", gap.table),
                    "channel": self.labels.name("values", gap.channel) if gap.channel else self.text("all_channels"),
                    "span": self.span(gap.first, gap.last),
                    "days": gap.days,
                    "expected": gap.expected,
                    "_last": gap.last,
                }
                for gap in gaps
            ]
        ).sort_values("_last", ascending=False)
        columns = self.columns(
            table="table", channel="channel", span="missing_days", days="how_many days", expected="expected count @gap_days"
        )
        return self.table(rows, columns, more=self.text("all_gaps", count=len(rows)))
