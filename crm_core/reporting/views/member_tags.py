"""`member_tags`: which tags reach how many members, how their values spread, what drifted, and what sets
the tagged apart."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_core.reporting import blocks, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.base import first_row, frame
from crm_core.reporting.views.tag_sections import TagSections
from crm_core.store import as_float
from crm_core.tags import TagDescription, checks_of, has, long

DRIFT = 0.02
ACTIVE_DAYS = 90
MOST_VALUES = 8


class MemberTags(TagSections):
    """Sections of the tags report."""

    reads = ("members", "orders", "member_features", "member_tags", "tag_checks")
    metrics = ("coverage", "drift", "tag_index", "active_share")

    def __init__(self, workspace: Any) -> None:
        super().__init__(workspace)
        self.before: date | None = workspace.previous_date("member_tags")

    @cached_property
    def described(self) -> dict[str, TagDescription]:
        """Tags that are published on this date, by name, in the order of conf/tags.yml."""
        held = {name for name, check in self.checks.items() if check.problem}
        there = [name for name in self.all_described if name in self.workspace.tags.columns]
        return {name: self.all_described[name] for name in there if name not in held}

    @cached_property
    def members(self) -> int:
        """Members on this date."""
        return int(first_row(self.workspace.tags.aggregate(n=self.workspace.tags.count()))["n"])

    @cached_property
    def coverage_rows(self) -> pd.DataFrame:
        """Per tag: members who have it (a yes, or any value), share, share on the date before, difference."""
        now = _counts(self.workspace.tags, list(self.described))
        then = self._earlier()
        rows = [
            {
                "tag": name,
                "title": text.title,
                "members": now[name],
                "share": numbers.share(now[name], now[""]),
                "before": then.get(name),
                "kind": text.kind,
            }
            for name, text in self.described.items()
        ]
        found = pd.DataFrame(rows, columns=["tag", "title", "members", "share", "before", "kind"])
        found["drift"] = [
            None if numbers.is_null(a) or numbers.is_null(b) else a - b
            for a, b in zip(found["share"], found["before"], strict=True)
        ]
        return found

    def _earlier(self) -> dict[str, float | None]:
        """Share on the date before of each tag that was published then and said the same."""
        if self.before is None:
            return {}
        then = checks_of(self.workspace.tables.result("tag_checks", self.before))
        same = {(check.tag, check.definition) for check in self.checks.values()}
        return {check.tag: check.coverage for check in then if not check.problem and (check.tag, check.definition) in same}

    @cached_property
    def values(self) -> pd.DataFrame:
        """tag, value, members of every text and yes-or-no tag (numbers are summed up in `spread`)."""
        spoken = [name for name in self.described if not self.workspace.tags[name].type().is_numeric()]
        if not spoken:
            return pd.DataFrame(columns=["tag", "value", "members"])
        listed = long(self.workspace.tags.select("member_id", *spoken))
        counted = listed.group_by(["tag", "value"]).agg(members=listed.count())
        rank = ibis.row_number().over(group_by=counted.tag, order_by=[ibis.desc(counted.members), counted.value])
        few = counted.mutate(place=rank).filter(lambda t: t.place < MOST_VALUES).order_by("tag", "place")
        return frame(few.drop("place"))

    def headline(self) -> Block:
        """How many tags, how many members have at least one, what drifted."""
        rows = self.coverage_rows
        tags = list(self.described)
        per_member = numbers.share(rows["members"].sum(), self.members)
        reached = _reached(self.workspace.tags, tags)
        drifted = rows[rows["drift"].abs() >= DRIFT] if self.before else rows.head(0)
        shifted = self.labels.joined(drifted.sort_values("drift", key=abs, ascending=False)["title"].head(3).tolist())
        sentence = self.text(
            "tags_sentence", tags=len(tags), members=self.people(self.members), per=self.show(per_member, "number")
        )
        if self.withheld:
            titles = self.labels.joined([self.all_described[check.tag].title for check in self.withheld[:3]])
            sentence += self.text("tags_held_back", count=len(self.withheld), which=titles)
        if self.before is not None:
            key = "tags_drifted" if len(drifted) else "tags_steady"
            sentence += self.text(key, count=len(drifted), which=shifted, date=self.before)
        return self.opening(
            self.card("tags", len(tags), "count"),
            self.card("tagged_share", numbers.share(reached, self.members), "percent", metric="coverage"),
            self.card("tags_per_member", per_member, "number"),
            self.card(
                "drifted_tags",
                len(drifted) if self.before else None,
                "count",
                metric="drift",
                sentence=self.text("versus", date=self.before) if self.before else self.text("no_earlier_short"),
            ),
            sentence=sentence,
        )

    def coverage(self) -> Block:
        """Share of members that have each tag, widest first."""
        rows = self.coverage_rows.sort_values("share", ascending=False)
        if rows.empty or not self.members:
            return self.missing(self.text("tags"), self.text("no_tags_cost"))
        shown = self.masked(rows, "members", ["share"])
        return self.bars(shown, "share", "percent", "coverage_chart", members=self.people(self.members))

    def distribution(self) -> Block:
        """The values of each tag, most frequent first, and the quartiles of those that are numbers."""
        parts = [self._value_table(), self._spread_table()]
        found = [part for part in parts if part is not None]
        return blocks.group(*found) if found else self.missing(self.text("tags"), self.text("no_tags_cost"))

    def _value_table(self) -> Block | None:
        told = [name for name in self.described if not self.workspace.tags[name].type().is_boolean()]
        rows = self.values[self.values["tag"].isin(told)].copy()
        if rows.empty:
            return None
        rows["title"] = [self.described[name].title for name in rows["tag"]]
        rows["shown"] = [self.labels.name("values", str(value)) for value in rows["value"]]
        rows["share"] = rows["members"] / self.members
        columns = self.columns(title="tag", shown="value", members="members people", share="share percent bar")
        shown = self.masked(rows, "members", ["share"])
        return self.table(shown, columns, title=self.text("values_table"), more=self.text("all_values", count=len(rows)))

    def _spread_table(self) -> Block | None:
        numeric = [name for name in self.described if self.workspace.tags[name].type().is_numeric()]
        if not numeric or not self.members:
            return None
        rows = []
        for name in numeric:
            value = as_float(self.workspace.tags[name])
            found = first_row(
                self.workspace.tags.aggregate(
                    members=value.count(), low=value.quantile(0.25), middle=value.quantile(0.5), high=value.quantile(0.75)
                )
            )
            if found["members"] >= self.min_cell:
                rows.append({"title": self.described[name].title, **found})
        if not rows:
            return None
        columns = self.columns(
            title="tag", members="members people", low="quarter number", middle="median number", high="three_quarters number"
        )
        return self.table(pd.DataFrame(rows), columns, title=self.text("spread_table"))

    def drift(self) -> Block:
        """Change of each tag's share since the date before, in percentage points."""
        if self.before is None:
            return self.note("no_earlier_date")
        rows = self.coverage_rows.dropna(subset=["drift"]).sort_values("drift", key=abs, ascending=False).head(12)
        rows = rows[rows["drift"].abs() >= 0.0005]
        if rows.empty:
            return self.note("no_drift", "good", date=self.before)
        return self.bars(rows, "drift", "points", "drift_chart", signed=True, date=self.before)

    def distinguishes(self) -> Block:
        """For each yes-or-no tag and each value: spend and activity of those who have it against all
        members."""
        features = self.workspace.features.select("member_id", "net_amount_365d", "days_since_last_order")
        base = _profile(features, self.members)
        if not base["spend"]:
            if self.workspace.tables.supplied("orders") and not self.workspace.tables.priced:
                return self.missing(self.text("amounts"), self.text("no_amounts_cost"))
            return self.no_buyers()
        rows = self._profiles(features, base)
        columns = self.columns(
            title="tag",
            members="members people",
            spend="spend_365 money",
            index="against_all ratio bar @tag_index",
            active="active_share percent @active_share",
        )
        closing = {
            "title": self.text("all_members"),
            "members": self.members,
            "spend": base["spend"],
            "index": 1.0,
            "active": base["active"],
        }
        return self.table(rows, columns, total=closing, more=self.text("all_values", count=len(rows)))

    def _profiles(self, features: ir.Table, base: dict[str, Any]) -> pd.DataFrame:
        spoken = [name for name in self.described if not self.workspace.tags[name].type().is_numeric()]
        listed = long(self.workspace.tags.select("member_id", *spoken)).join(features, "member_id")
        counted = listed.group_by(["tag", "value"]).agg(
            members=listed.count(), amount=listed.net_amount_365d.sum(),
            active=listed.count(where=listed.days_since_last_order < ACTIVE_DAYS),
        )  # fmt: skip
        rows = frame(counted.filter(counted.members >= max(1, self.min_cell)).order_by(ibis.desc("amount"), "tag", "value"))
        rows["title"] = [self._tag_title(row.tag, row.value) for row in rows.itertuples()]
        rows["spend"] = rows["amount"].astype(float) / rows["members"]
        rows["index"] = rows["spend"] / base["spend"]
        rows["active"] = rows["active"] / rows["members"]
        return rows.sort_values("index", key=lambda index: (index - 1).abs(), ascending=False).head(40)

    def definitions(self) -> Block:
        """Every tag: what it means, how it is worked out, who owns it, until when it holds."""
        rows = pd.DataFrame(
            [
                {
                    "title": text.title,
                    "meaning": text.meaning or numbers.NOTHING,
                    "definition": text.definition,
                    "owner": text.owner,
                    "until": str(text.expires_on) if text.expires_on else self.text("no_expiry"),
                }
                for text in self.all_described.values()
            ],
            columns=["title", "meaning", "definition", "owner", "until"],
        )
        columns = self.columns(title="tag", meaning="meaning", definition="rule", owner="owner", until="valid_until")
        return self.table(rows, columns, more=self.text("all_tags", count=len(rows)))

    def next_steps(self) -> Block:
        """Tags that nobody has, that drifted, and where the definitions are kept."""
        rows, items = self.coverage_rows, []
        for check in self.withheld[:3]:
            title = self.all_described[check.tag].title
            items.append((self.text(f"do_{check.problem}_held", which=title), f"crm tag {check.tag}"))
        empty = rows[rows["members"] == 0]
        if len(empty):
            items.append(
                (
                    self.text("do_empty_tags", which=self.labels.joined(empty["title"].head(4).tolist())),
                    f"crm tag {empty['tag'].iloc[0]}",
                )
            )
        drifted = rows[rows["drift"].abs() >= DRIFT] if self.before else rows.head(0)
        if len(drifted):
            worst = drifted.sort_values("drift", key=abs, ascending=False).iloc[0]
            items.append(
                (
                    self.text("do_drift", which=worst["title"], drift=self.show(worst["drift"], "points", sign=True)),
                    f"crm tag {worst['tag']}",
                )
            )
        items.append((self.text("do_member"), "crm member MEMBER_ID"))
        return self.steps(*items)


def _counts(tags: ir.Table, names: list[str]) -> dict[str, int]:
    """Members with a yes or a value per tag; '' = all members."""
    wanted = {name: tags.count(where=has(tags[name])) for name in names}
    found = first_row(tags.aggregate(_all=tags.count(), **wanted))
    return {"": found.pop("_all"), **found}


def _reached(tags: ir.Table, names: list[str]) -> int:
    some: Any = ibis.literal(False)
    for name in names:
        some = some | has(tags[name])
    return int(first_row(tags.aggregate(n=tags.count(where=some)))["n"])


def _profile(features: ir.Table, members: int) -> dict[str, Any]:
    found = first_row(
        features.aggregate(
            amount=features.net_amount_365d.sum(), active=features.count(where=features.days_since_last_order < ACTIVE_DAYS)
        )
    )
    return {"spend": numbers.share(found["amount"], members), "active": numbers.share(found["active"], members)}
