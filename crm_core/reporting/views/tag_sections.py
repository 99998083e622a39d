"""The life of tags in the report: what they look at, which are withheld, what they tell of later orders, better thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from functools import cached_property
from math import isfinite
from typing import Any

import ibis.expr.types as ir
import pandas as pd

from crm_core.measures import FEATURES
from crm_core.reporting import blocks
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.base import View
from crm_core.tags import Check, Lift, Proposal, TagDescription, describe, dimensions, evaluate, inputs, outcome, propose

"""Known of fewer members than this: said to be seldom known."""


class TagSections(View):
    """Sections of `MemberTags` that need more than the tags of one date."""

    workspace: Any

    @cached_property
    def all_described(self) -> dict[str, TagDescription]:
        """Every tag of conf/tags.yml by name, in its order."""
        settings = self.workspace.config.tags
        return {name: describe(name, settings, self.language) for name in settings.tags}

    @cached_property
    def checks(self) -> dict[str, Check]:
        """The check of each tag on this date."""
        return dict(self.workspace.tag_checks)

    @property
    def withheld(self) -> list[Check]:
        """Tags outside their bounds, which nobody has on this date."""
        return [check for check in self.checks.values() if check.problem in ("coverage", "drift")]

    def dimensions(self) -> Block:
        """Every input of the tags: where it comes from, of how many members it is known, which tags look at it."""
        settings = self.workspace.config.tags
        found = dimensions(inputs(self.workspace.features, settings, self.workspace.tag_sources), settings)
        rows = pd.DataFrame(
            [
                {
                    "input": self._input(each.name),
                    "source": self.words.name(self.labels.name("tables", each.source)),
                    "share": each.coverage,
                    "tags": self.labels.joined([self.all_described[name].title for name in each.tags]),
                }
                for each in found
            ],
            columns=["input", "source", "share", "tags"],
        )
        columns = self.columns(input="input", source="input_source", share="known_of percent bar", tags="looked_at_by")
        table = self.table(rows, columns, title=self.text("inputs_table"), more=self.text("all_inputs", count=len(rows)))
        absent = [self._input(each.name) for each in found if not each.known]
        if not absent:
            return table
        seldom = self.note("inputs_unknown", "warn", which=self.labels.joined(absent[:6]), count=len(absent))
        return blocks.group(seldom, table)

    def validation(self) -> Block:
        """Each tag against its bounds; those outside are withheld."""
        settings = self.workspace.config.tags
        rows = []
        for name, check in self.checks.items():
            bounds = settings.bounds_of(name)
            allowed = "–".join(self.show(each, "percent") for each in bounds.coverage)
            rows.append({
                "title": self.all_described[name].title, "share": check.coverage, "allowed": allowed,
                "drift": None if check.drift is None else self.show(check.drift, "points", sign=True),
                "most": self.show(bounds.drift, "points"),
                "verdict": self.text(f"check_{check.problem or 'published'}"), "held": bool(check.problem),
            })  # fmt: skip
        frame = pd.DataFrame(rows, columns=["title", "share", "allowed", "drift", "most", "verdict", "held"])
        frame = frame.sort_values("held", ascending=False, kind="stable").drop(columns="held")
        columns = self.columns(
            title="tag", share="covers percent", allowed="allowed_coverage", drift="tag_moved @drift", most="allowed_drift",
            verdict="verdict",
        )  # fmt: skip
        table = self.table(frame, columns, more=self.text("all_tags", count=len(frame)))
        titles = [self.all_described[check.tag].title for check in self.withheld]
        if titles:
            return blocks.group(self.note("tags_withheld", "bad", count=len(titles), which=self.labels.joined(titles)), table)
        return blocks.group(self.note("tags_published", "good", count=len(frame)), table)

    @property
    def _then(self) -> date:
        return date.fromisoformat(str(self.workspace.as_of)) - timedelta(days=self.workspace.config.tags.evaluation.days)

    @cached_property
    def _past(self) -> tuple[ir.Table, ir.Table, ir.Table] | None:
        """(features, tags, who ordered since) of the day that tags are tried on; None before there were orders."""
        tables = self.workspace.tables
        then = tables.at(self._then)
        if not then.supplied("orders"):
            return None
        features, wide = self.workspace.past_tags(self._then)
        return features, wide, outcome(tables, then)

    @cached_property
    def lifts(self) -> list[Lift]:
        """What each value of each tag told of later orders; only values of enough members to be shown."""
        if self._past is None:
            return []
        _, wide, ordered = self._past
        return [each for each in evaluate(wide, ordered) if each.members >= max(1, self.min_cell)]

    def _interval(self, each: Lift) -> str:
        low = self.show(each.low + 1, "ratio")
        return f"{low} – {self.show(each.high + 1, 'ratio')}" if isfinite(each.high) else f"≥ {low}"

    def evaluation(self) -> Block:
        """Who had which tag, and the share that ordered since, against all others."""
        known = [each for each in self.lifts if each.low == each.low]
        if not known:
            return self.note("no_past_tags", date=self._then)
        rows = pd.DataFrame([
            {
                "title": self._tag_title(each.tag, each.value), "members": each.members, "rate": each.rate,
                "others": each.others, "times": each.lift + 1 if isfinite(each.lift) else None,
                "interval": self._interval(each),
                "reading": self.text(f"tag_reading_{each.reading.replace(' ', '_')}"),
            }
            for each in sorted(known, key=lambda each: abs(each.lift), reverse=True)
        ])  # fmt: skip
        told = [each for each in known if each.reading != "no evidence"]
        columns = self.columns(
            title="tag", members="members people", rate="ordered_since percent", others="others_ordered percent",
            times="times_others ratio", interval="interval_95", reading="tag_reading",
        )  # fmt: skip
        sentence = self.note(
            "evaluation_sentence", date=self._then, days=self.workspace.config.tags.evaluation.days, told=len(told), all=len(known)
        )
        shown = rows[list(columns)]
        return blocks.group(sentence, self.table(shown, columns, more=self.text("all_values", count=len(rows))))

    def proposals(self) -> Block:
        """Thresholds that would tell more, with the numbers; none where the present ones do."""
        if self._past is None:
            return self.note("no_past_tags", date=self._then)
        features, wide, ordered = self._past
        names = [name for name in self.all_described if name in wide.columns]
        found = propose(features, ordered, self.workspace.config.tags, names)
        if not found:
            return self.note("no_proposals", "good")
        rows = pd.DataFrame([self._proposed(each) for each in found])
        columns = self.columns(
            title="tag", feature="input", present="cuts_now", proposed="cuts_proposed", bands="bands_proposed",
            gain="tells_more ratio",
        )  # fmt: skip
        return self.table(rows, columns, title=self.text("proposals_table", date=self._then))

    def _proposed(self, each: Proposal) -> dict[str, Any]:
        bands = [
            self.text("tag_band", share=self.show(share, "percent"), rate=self.show(rate, "percent"))
            for share, rate in zip(each.shares, each.rates, strict=True)
        ]
        return {
            "title": self.all_described[each.tag].title, "feature": self._input(each.feature),
            "present": _listed(each.present), "proposed": _listed(each.proposed), "bands": "; ".join(bands),
            "gain": each.would_explain / each.explains if each.explains else None,
        }  # fmt: skip

    def _input(self, name: str) -> str:
        feature = FEATURES.get(name)
        if feature is not None:
            return feature.zh if self.language == "zh" else feature.en
        model, _, part = name.rpartition("_")
        if any(tag.model == model for tag in self.workspace.config.tags.tags.values()):
            return self.text(f"input_{part}", model=self.words.name(model))
        uploaded = self.all_described.get(name.removeprefix("_list ").removesuffix(" value"))
        return uploaded.title if uploaded else name.replace("_", " ")

    def _tag_title(self, tag: str, value: str) -> str:
        title = self.all_described[tag].title
        return title if value == "true" else f"{title} · {self.labels.name('values', value)}"


def _listed(cuts: Sequence[float]) -> str:
    # "more than 0" is kept as the least number above it
    return ", ".join(f"{round(cut, 9):,.6g}" for cut in cuts)
