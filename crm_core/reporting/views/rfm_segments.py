"""`rfm_segments`: who is worth how much, who is slipping away, and who moved since the last time it was
worked out."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_core.errors import InputError
from crm_core.reporting import blocks, charts, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.base import Opened, View, first_row, frame
from crm_core.reporting.views.segment_sections import SegmentSections, of_scheme
from crm_core.segments import Thresholds, describe, movement, score
from crm_core.segments.grid import GRID, GROUP_TITLES, NO_PAID_ORDER

ACTIVE_DAYS = 90
AT_RISK = ("at_risk", "cant_lose")
BEST_FIRST = tuple(name for name in GROUP_TITLES if name != NO_PAID_ORDER)


class RfmSegments(SegmentSections):
    """Sections of the RFM report. `compare_with`: an earlier stored date (ISO); empty takes the newest one
    before."""

    reads = ("members", "orders", "member_features", "member_segments")
    metrics = (
        "members", "active_share", "value_at_risk", "rfm", "rfm_groups", "eight_types", "lifecycle_stage", "behaviour_cluster",
        "net_amount",
    )  # fmt: skip

    def __init__(self, workspace: Opened, compare_with: str = "") -> None:
        """Raises InputError when `compare_with` is no date for which segments are stored."""
        super().__init__(workspace)
        self.before = self._before(compare_with)

    def _before(self, asked: str) -> date | None:
        if not asked:
            return self.workspace.previous_date("member_segments")
        stored = [day for day in self.workspace.tables.result_dates("member_segments") if day < self.workspace.as_of]
        try:
            day = date.fromisoformat(asked)
        except ValueError:
            raise InputError(f"compare_with '{asked}' is not a date; write it as YYYY-MM-DD") from None
        if day not in stored:
            known = ", ".join(map(str, stored[-5:])) or "none"
            raise InputError(f"no segments are stored for {day} (before {self.workspace.as_of}); stored: {known}")
        return day

    @cached_property
    def limits(self) -> Thresholds:
        """The thresholds that decided the scores."""
        found: Thresholds | None = self.basis.limits
        assert found, "rfm is among the schemes"
        return found

    @cached_property
    def groups(self) -> pd.DataFrame:
        """One row per RFM group: members, paid amount ever and in 365 days, shares."""
        return self._by_segment("rfm", self.workspace.segments, self.workspace.features)

    @cached_property
    def totals(self) -> dict[str, Any]:
        """Figures of the headline now."""
        return self._told(_totals(self.workspace.segments, self.workspace.features))

    @cached_property
    def earlier(self) -> dict[str, Any]:
        """The same on the date compared with; empty without one."""
        if self.before is None or self.before not in self.workspace.tables.result_dates("member_features"):
            return {}
        tables = self.workspace.tables
        then = self._told(_totals(tables.result("member_segments", self.before), tables.result("member_features", self.before)))
        return {**then, "at_risk": None, "at_risk_amount": None} if "rfm" in self._redefined else then

    def _told(self, totals: dict[str, Any]) -> dict[str, Any]:
        """The totals with the share that is active, without what a few members at risk are worth."""
        told = {**totals, "active_share": numbers.share(totals["active"], totals["members"])}
        if "rfm" not in self.workspace.config.segments.schemes:
            told["at_risk"] = None
        return {**told, "at_risk_amount": None} if self.few(told["at_risk"]) else told

    def _by_segment(self, scheme: str, assigned: ir.Table, features: ir.Table) -> pd.DataFrame:
        ours = assigned.filter(assigned.scheme == scheme)
        joined = ours.join(features, "member_id")
        counted = joined.group_by("segment").agg(
            members=joined.count(), net_amount=joined.net_amount.sum(), recent=joined.net_amount_365d.sum(),
            orders=joined.order_count.sum(), days=joined.days_since_last_order.sum(),
        )  # fmt: skip
        rows = frame(counted)
        rows["title"] = [self._title(f"{scheme}:{segment}") for segment in rows["segment"]]
        for part, whole in (("member_share", "members"), ("amount_share", "net_amount")):
            rows[part] = rows[whole].astype(float) / (float(rows[whole].sum()) or 1.0)
        rows["per_member"] = rows["net_amount"].astype(float) / rows["members"]
        rows["mean_days"] = rows["days"].astype(float) / rows["members"]
        return rows

    def _title(self, reference: str) -> str:
        return describe(reference, self.workspace.config.segments, self.language).title

    def headline(self) -> Block:
        """Members, active share, value at risk, with the change since the date before, and one sentence."""
        now, then = self.totals, self.earlier
        versus = self.text("versus", date=self.before) if then else ""
        at_risk = numbers.share(now["at_risk_amount"], now["amount"])
        sentence = self.text(
            "rfm_sentence",
            members=self.people(now["members"]), active=self.show(now["active_share"], "percent"),
            risk=self.show(now["at_risk_amount"], "money"), risk_share=self.show(at_risk, "percent"),
        )  # fmt: skip
        cards = (
            ("members", "members", "people", "up", "members"),
            ("active_share", "active_share", "percent", "up", "active_share"),
            ("at_risk_members", "at_risk", "people", "down", "rfm_groups"),
            ("value_at_risk", "at_risk_amount", "money", "down", "value_at_risk"),
        )
        made = [
            self.card(key, now[figure], unit, before=then.get(figure), versus=versus, better=better, metric=metric)
            for key, figure, unit, better, metric in cards
        ]
        return self.opening(*made, sentence=sentence)

    @of_scheme("rfm")
    def group_sizes(self) -> Block:
        """Chart: share of members against share of sales, by group; table with sizes and money below it."""
        rows = self._ordered(self.groups)
        if rows.empty:
            return self.no_buyers()
        buyers = rows[rows["segment"] != NO_PAID_ORDER]
        hidden = ["member_share", "net_amount", "amount_share", "per_member", "mean_days"]
        if not self.workspace.tables.priced:
            columns = self.columns(
                title="group", members="members people @members", member_share="share percent bar",
                mean_days="mean_days days",
            )  # fmt: skip
            shown = self.masked(rows, "members", ["member_share", "mean_days"])
            return blocks.group(self._no_amounts(), self.table(shown, columns))
        bought = self.masked(buyers, "members", hidden)
        chart = self.shares(bought, "groups_chart") if len(bought) else self.no_buyers()
        shown = self.masked(rows, "members", hidden)
        columns = self.columns(
            title="group", members="members people @members", member_share="share percent bar",
            net_amount="net_amount money @net_amount", amount_share="amount_share percent bar",
            per_member="per_member money", mean_days="mean_days days",
        )  # fmt: skip
        closing = {"title": self.text("total"), **{name: rows[name].sum() for name in ("members", "net_amount")}}
        return blocks.group(chart, self.table(shown, columns, total=closing, more=self.text("all_groups", count=len(rows))))

    def _no_amounts(self) -> Block:
        return self.missing(self.text("amounts"), self.text("no_amounts_cost"))

    @of_scheme("rfm")
    def grid(self) -> Block:
        """Heat map of R × F with members in each cell, and the thresholds behind the scores."""
        every = score(self.workspace.features, self.limits)
        scored = every.filter(every.r_score.notnull())
        counted = scored.group_by(["r_score", "f_score"]).agg(members=scored.count())
        rows = frame(counted)
        if rows.empty:
            return self.no_buyers()
        cells = [(r, f) for r in range(5, 0, -1) for f in range(1, 6)]
        rows = pd.DataFrame(cells, columns=["r_score", "f_score"]).merge(rows, "left", ["r_score", "f_score"])
        rows["members"] = rows["members"].fillna(0).astype(int)
        rows["x"] = "F" + rows["f_score"].astype(str)
        rows["y"] = "R" + rows["r_score"].astype(str)
        rows["shown"] = [self.people(members) if members else "" for members in rows["members"]]
        rows["name"] = [self._title(f"rfm:{GRID[r][f - 1]}") for r, f in cells]
        rows["hover"] = rows["y"] + " × " + rows["x"] + " · " + rows["name"] + " " + rows["shown"]
        words = {"title": "grid_chart", "subtitle": "grid_chart_sub", "x_title": "grid_x", "y_title": "grid_y"}
        told = {name: self.text(key) for name, key in words.items()}
        heat = charts.grid(rows, "x", "y", "members", self.labels, text="shown", below="name", hover="hover", **told)
        return blocks.group(heat, self._threshold_table())

    def _threshold_table(self) -> Block:
        limits = self.limits.quintiles
        rows = [
            {
                "score": f"{5 - level}",
                "r": _range(limits.days_since_last_order, level, self, "days"),
                "f": _range(limits.order_count, 4 - level, self, "count"),
                "m": _range(limits.net_amount, 4 - level, self, "money"),
            }
            for level in range(5)
        ]
        columns = self.columns(score="score", r="r_days @rfm", f="f_orders", m="m_amount")
        return self.table(
            pd.DataFrame(rows), columns, title=self.text("thresholds"), note=self.text(f"thresholds_from_{limits.source}")
        )

    @of_scheme("type")
    def types(self) -> Block:
        """The eight types: members and money."""
        if self.workspace.tables.supplied("orders") and not self.workspace.tables.priced:
            return self._no_amounts()
        rows = self._by_segment("type", self.workspace.segments, self.workspace.features)
        rows = rows[rows["segment"] != NO_PAID_ORDER].sort_values("net_amount", ascending=False)
        if rows.empty:
            return self.no_buyers()
        hidden = ["member_share", "net_amount", "amount_share", "per_member"]
        rows["rule"] = [describe(f"type:{s}", self.workspace.config.segments, self.language).definition for s in rows["segment"]]
        columns = self.columns(
            title="type @eight_types", rule="rule", members="members people", net_amount="net_amount money",
            per_member="per_member money",
        )  # fmt: skip
        shown = self.masked(rows, "members", hidden)
        return blocks.group(
            self.shares(shown, "types_chart"), self.table(shown, columns, more=self.text("all_types", count=len(rows)))
        )

    @of_scheme("rfm")
    def movement(self) -> Block:
        """Net change per group since the date before, and the greatest moves between groups."""
        if self.before is None:
            return self.note("no_earlier_date")
        if changed := self._as_before("rfm", "rfm_groups"):
            return blocks.note(self.labels, changed, "warn")
        tables = self.workspace.tables
        moved = movement(tables.result("member_segments", self.before), self.workspace.segments)
        rows = frame(moved.filter(moved.scheme == "rfm"))
        net = self._net(rows)
        chart = self.bars(net, "change", "people", "moves_chart", signed=True, date=self.before)
        changed = rows[rows["from_segment"] != rows["to_segment"]].head(20).copy()
        changed["source"] = [self._side(value, "not_yet_member") for value in changed["from_segment"]]
        changed["target"] = [self._side(value, "no_longer_member") for value in changed["to_segment"]]
        columns = self.columns(source="from_group", target="to_group", members="members people")
        listed = self.table(self.masked(changed, "members"), columns, title=self.text("moves_table"))
        return blocks.group(chart, listed)

    def _net(self, rows: pd.DataFrame) -> pd.DataFrame:
        gained = rows.groupby("to_segment")["members"].sum()
        lost = rows.groupby("from_segment")["members"].sum()
        names = [name for name in (*BEST_FIRST, NO_PAID_ORDER) if name in gained.index or name in lost.index]
        change = [int(gained.get(name, 0)) - int(lost.get(name, 0)) for name in names]
        return pd.DataFrame({"title": [self._title(f"rfm:{name}") for name in names], "change": change})

    def _side(self, segment: Any, absent: str) -> str:
        return self.text(absent) if numbers.is_null(segment) else self._title(f"rfm:{segment}")

    def next_steps(self) -> Block:
        """The lists that the numbers suggest, largest money first, with the command that makes each."""
        known = {row.segment: row for row in self.groups.itertuples()}
        items = [
            (self.text(f"do_{name}", members=self.show(known[name].members, "people"),
                       amount=self.show(known[name].net_amount, "money")), command)
            for name, command in (
                ("at_risk", "crm campaign plan winback_at_risk"), ("cant_lose", "crm segment rfm:cant_lose"),
                ("new", "crm segment rfm:new"), ("champions", "crm segment rfm:champions"),
            )
            if name in known and known[name].members >= self.min_cell
        ]  # fmt: skip
        return self.steps(*items) if items else self.note("nothing_to_do")

    def _ordered(self, rows: pd.DataFrame) -> pd.DataFrame:
        order = {name: index for index, name in enumerate((*BEST_FIRST, NO_PAID_ORDER))}
        return rows.sort_values("segment", key=lambda names: names.map(order)).reset_index(drop=True)


def _totals(assigned: ir.Table, features: ir.Table) -> dict[str, Any]:
    risk = assigned.filter((assigned.scheme == "rfm") & assigned.segment.isin(AT_RISK)).select("member_id", risk=ibis.literal(True))
    joined = features.left_join(risk, "member_id")
    at_risk = joined.risk.fill_null(False)
    return first_row(
        joined.aggregate(
            members=joined.count(), active=joined.count(where=joined.days_since_last_order < ACTIVE_DAYS),
            amount=joined.net_amount.sum(), at_risk=joined.count(where=at_risk),
            at_risk_amount=joined.net_amount.sum(where=at_risk),
        )
    )  # fmt: skip


def _range(limits: Any, level: int, view: View, unit: str) -> str:
    """The values at `level` of four rising limits: '≤ a', '> a, ≤ b', '> d'; equal limits leave none."""
    if not limits:
        return numbers.NOTHING
    low = limits[level - 1] if level > 0 else None
    high = limits[level] if level < len(limits) else None
    if low is not None and high is not None and low >= high:
        return numbers.NOTHING
    if low is None:
        return f"≤ {view.show(high, unit)}"
    if high is None:
        return f"> {view.show(low, unit)}"
    return f"> {view.show(low, unit)}, ≤ {view.show(high, unit)}"
