"""Sections of `rfm_segments` beyond RFM: lifecycle, behavioural clusters, rule segments and what sets groups apart."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cached_property, wraps
from typing import Any

import pandas as pd

from crm_core.measures import NAMES
from crm_core.reporting import blocks, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.base import View, first_row, frame
from crm_core.segments import Basis, describe, distinctive, growth, overlap, redefined
from crm_core.segments.grid import NO_PAID_ORDER, titles
from crm_core.tags import describe as describe_tag

OF_INTEREST = ("champions", "at_risk", "cant_lose", "new")
TRAITS = 3
DEFINING = ("days_since_last_order", "order_count", "net_amount", "orders_", "net_amount_", "next_order_in_days")
"""Columns, or what they begin with, that the groups are made of: that they differ says nothing new."""


def of_scheme(scheme: str) -> Callable[[Callable[[Any], Block]], Callable[[Any], Block]]:
    """Makes a section say so where `scheme` is not among the schemes of conf/segments.yml."""

    def made(section: Callable[[Any], Block]) -> Callable[[Any], Block]:
        @wraps(section)
        def shown(view: Any) -> Block:
            known = scheme in view.workspace.config.segments.schemes
            return section(view) if known else view.note("scheme_off", scheme=scheme)

        return shown

    return made


class SegmentSections(View):
    """`before`: the date compared with, if there is one."""

    before: date | None

    @property
    def basis(self) -> Basis:
        """Limits, rhythm and clusters that decided the segments."""
        found: Basis = self.workspace.segment_basis
        return found

    @cached_property
    def _redefined(self) -> set[str]:
        """Schemes and rules ('rule:NAME') that other settings decided on the date compared with."""
        if self.before is None:
            return set()
        then = self.workspace.tables.result("segment_models", self.before)
        return redefined(then, self.workspace.config.segments)

    def _as_before(self, scheme: str, metric: str) -> str:
        """A sentence that says so where other settings decided the scheme; else nothing."""
        told = self.before is not None and scheme in self._redefined
        return self.text("redefined_note", date=self.before, which=self.labels.metric(metric)["name"]) + " " if told else ""

    def _sized(self, scheme: str) -> pd.DataFrame:
        """One row per segment of `scheme` with members: title, definition, members, share, joined, left (null without an
        earlier date), in the order of conf."""
        assigned = self.workspace.segments
        now = assigned.filter(assigned.scheme == scheme)
        rows = frame(now.group_by("segment").agg(members=now.count()))
        if self.before is not None:
            then = self.workspace.tables.result("member_segments", self.before)
            grown = frame(growth(then.filter(then.scheme == scheme), now)).drop(columns="scheme")
            rows = rows.merge(grown, "left", "segment")
        for name in ("joined", "left"):
            rows[name] = None if scheme in self._redefined else rows.get(name)
        everybody = first_row(self.workspace.features.aggregate(n=self.workspace.features.count()))["n"]
        rows["share"] = rows["members"] / (everybody or 1)
        shown = [describe(f"{scheme}:{s}", self.workspace.config.segments, self.language, self.basis) for s in rows["segment"]]
        rows["title"], rows["rule"] = [each.title for each in shown], [each.definition for each in shown]
        rows["owner"] = [each.owner for each in shown]
        order = {name: at for at, name in enumerate(titles(scheme, self.workspace.config.segments))}
        return rows.sort_values("segment", key=lambda names: names.map(order)).reset_index(drop=True)

    def _segment_table(self, rows: pd.DataFrame, label: str, **more: Any) -> Block:
        hidden = ["share", "joined", "left"]
        columns = self.columns(
            title=label, members="members people", share="share percent bar", joined="joined people", left="left people",
            rule="rule",
        )  # fmt: skip
        if self.before is None:
            columns = {name: column for name, column in columns.items() if name not in ("joined", "left")}
        shown = self.masked(rows, "members", hidden)
        for name in ("joined", "left"):
            shown[name] = [self.show(value, "people") if not isinstance(value, str) else value for value in shown[name]]
        return self.table(shown, columns, **more)

    @of_scheme("lifecycle")
    def lifecycle(self) -> Block:
        """Members by stage, with those who came and went, and the rhythm that the stages are counted in."""
        rows, rhythm = self._sized("lifecycle"), self.basis.rhythm
        if rows.empty or rhythm is None:
            return self.no_buyers()
        chart = self.bars(self.masked(rows, "members"), "members", "people", "stages_chart")
        note = self._as_before("lifecycle", "lifecycle_stage") + self.text(
            "rhythm_note", gap=self.show(rhythm.usual_gap_days, "days"), weight=f"{rhythm.weight_in_gaps:g}"
        )
        return blocks.group(chart, self._segment_table(rows, "stage", more=self.text("all_stages", count=len(rows)), note=note))

    @of_scheme("cluster")
    def clusters(self) -> Block:
        """Members by behavioural cluster, what distinguishes each, and how stable their number is."""
        rows, found = self._sized("cluster"), self.basis.clusters
        rows = rows[rows["segment"] != NO_PAID_ORDER]
        if rows.empty or found is None:
            enough = self.workspace.config.segments.clusters.enough
            return self.missing(self.text("clusters"), self.text("no_clusters_cost", enough=self.people(enough)))
        stability = ", ".join(f"{k}: {agreement:.2f}" for k, agreement in found.stability.items())
        note = self._as_before("cluster", "behaviour_cluster") + self.text(
            "clusters_note", k=len(found.numbers), stability=stability, date=found.fitted_on
        )
        return self._segment_table(rows, "cluster", note=note)

    def rules(self) -> Block:
        """Rule segments with those who came and went, and which of them have the same members."""
        rows = self._sized("rule")
        if rows.empty:
            return self.note("no_rules")
        assigned = self.workspace.segments
        ours = assigned.filter(assigned.scheme == "rule")
        pairs = frame(overlap(ours, ours).filter(lambda t: t["first"] < t["second"]).limit(20))
        named = dict(zip("rule:" + rows["segment"], rows["title"], strict=True))
        pairs["one"], pairs["other"] = pairs["first"].map(named), pairs["second"].map(named)
        columns = self.columns(
            one="segment_one", other="segment_other", members="in_both people", jaccard="jaccard percent bar @jaccard"
        )
        shown = self.masked(pairs, "members", ["jaccard"])
        listed = self.table(shown, columns, title=self.text("overlap_table")) if len(pairs) else self.note("no_overlap")
        changed = ("rule:" + rows["segment"]).isin(self._redefined)
        rows.loc[changed, ["joined", "left"]] = None
        which = self.labels.joined(rows.loc[changed, "title"].tolist())
        note = self.text("redefined_note", date=self.before, which=which) if which else ""
        more = self.text("all_rules", count=len(rows))
        return blocks.group(self._segment_table(rows, "segment", more=more, note=note), listed)

    @of_scheme("rfm")
    def distinctive(self) -> Block:
        """What sets the groups that matter most apart from all members, beyond what they are made of."""
        assigned = self.workspace.segments
        ours = assigned.filter(assigned.scheme == "rfm", assigned.segment.isin(OF_INTEREST))
        traits = self._traits(ours)
        rows = [{"group": f"rfm:{name}", **row} for name in OF_INTEREST for row in traits.get(name, [])]
        if not rows:
            return self.note("nothing_distinctive")
        found = pd.DataFrame(rows)
        settings = self.workspace.config.segments
        found["group"] = [describe(each, settings, self.language).title for each in found["group"]]
        columns = self.columns(group="group", what="trait", segment="in_group", everybody="all_members", sigma="sigma @sigma")
        return self.table(found, columns, more=self.text("all_lines", count=len(found)))

    def _traits(self, ours: Any) -> dict[str, list[dict[str, Any]]]:
        known = [self.workspace.features, self.workspace.tags]
        kept = [table.drop(*[name for name in table.columns if name.startswith(DEFINING)]) for table in known]
        found = [distinctive(table, ours, min_cell=max(1, self.min_cell), most=TRAITS) for table in kept]
        return {
            segment: [
                {
                    "what": self._named(each.name, each.value),
                    "segment": self.show(each.segment, "percent" if each.value else "number"),
                    "everybody": self.show(each.everybody, "percent" if each.value else "number"),
                    "sigma": f"{each.difference:+.1f} σ".replace("-", numbers.MINUS),
                }
                for each in sorted(
                    [*found[0].get(segment, []), *found[1].get(segment, [])], key=lambda each: -abs(each.difference)
                )[:TRAITS]
            ]
            for segment in {*found[0], *found[1]}
        }

    def _named(self, name: str, value: str | None) -> str:
        tags = self.workspace.config.tags
        title = describe_tag(name, tags, self.language).title if name in tags.tags else name
        title = NAMES[name][self.language == "en"] if name in NAMES else title
        return title if value in (None, "true") else f"{title} · {self.labels.name('values', str(value))}"
