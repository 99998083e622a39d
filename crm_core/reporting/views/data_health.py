"""`data_health`: can these data be trusted – what is wrong and what to do first, then each part: gate, freshness, loads and
their sums, rejects, columns, drift, contradictions, gaps, headings, and what each missing input costs.

The sections lie in health_loads, health_tables and health_findings; what they show is worked out in measures.quality.
"""

from __future__ import annotations

from math import isinf
from typing import Any

import pandas as pd

from crm_core.identity import identity_summary
from crm_core.measures.quality import FACTS
from crm_core.reporting import blocks, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.health_tables import HealthTables

NEEDED_FOR: dict[str, tuple[str, ...]] = {
    "members.registered_at": ("tenure",),
    "members.source_channel": ("member_sources",),
    "members.referrer_member_id": ("referral",),
    "members.gender": ("profile",),
    "members.birth_year": ("age_bands",),
    "members.birth_month": ("birthday_care",),
    "members.province": ("regions",),
    "members.city": ("regions",),
    "members.tier": ("tiers",),
    "orders.channel": ("by_channel",),
    "orders.shop_id": ("by_shop",),
    "orders.paid_at": ("payment_rate", "payment_lag", "rfm"),
    "orders.shipped_at": ("shipping_lag", "delivery_lag"),
    "orders.delivered_at": ("delivery_lag", "confirmation"),
    "orders.confirmed_at": ("confirmation",),
    "orders.reviewed_at": ("review_rate", "review_lag"),
    "orders.review_score": ("review_score",),
    "orders.campaign_id": ("credited_campaigns",),
    "order_lines.product_id": ("products", "baskets"),
    "products.category": ("categories",),
    "products.unit_cost": ("margin",),
    "interactions.campaign_id": ("message_funnel",),
    "interactions.channel": ("by_channel",),
    "campaigns.budget": ("roi",),
    "consents.text_version": ("consent_proof",),
    "opportunities.closed_at": ("win_rate", "cycle_time"),
    "opportunities.lost_reason": ("lost_reasons",),
    "contract_payments.paid_at": ("outstanding",),
}
"""Column → what cannot be computed without it: keys of the labels' section 'analyses'."""


class DataHealth(HealthTables):
    """Sections of the data health report. `loads`: how many of the newest loads are listed."""

    reads = FACTS
    metrics = ("reconciliation", "freshness", "completeness", "validity", "rejected_share", "drift_psi", "gap_days")

    def __init__(self, workspace: Any, loads: int = 20) -> None:
        super().__init__(workspace)
        self.listed = loads

    def headline(self) -> Block:
        """The verdict in one sentence; rows read and accounted for, share refused, freshness, completeness."""
        quality = self.quality
        read, rejected = sum(load.read for load in quality.loads), sum(load.rejected for load in quality.loads)
        agree = not any({"rows", "files"} & set(load.faults) for load in quality.loads)
        daily = [each for each in quality.freshness if each.age is not None and not isinf(each.late_after)]
        oldest = max(daily, key=lambda each: each.age or 0, default=None)
        filled = [share for share in self.fields["filled"] if share]
        return self.opening(
            self.card("rows_read", read, "count", metric="reconciliation", sentence=self.text("adds_up" if agree else "off")),
            self.card(
                "rejected_share",
                numbers.share(rejected, read),
                "percent",
                metric="rejected_share",
                sentence=self.text("rejected_rows", count=self.show(rejected, "count")),
            ),
            self.card(
                "freshness",
                oldest.age if oldest else None,
                "days",
                metric="freshness",
                sentence=self.text("freshness_why", table=self.labels.name("tables", oldest.table), date=oldest.last)
                if oldest
                else "",
            ),
            self.card(
                "completeness",
                sum(filled) / len(filled) if filled else None,
                "percent",
                metric="completeness",
                sentence=self.text("tables_supplied", count=len(quality.supplied), all=len(FACTS)),
            ),
            sentence=self._verdict(self.show(read, "count")),
        )

    def _verdict(self, read: str) -> str:
        if not self.quality.loads:
            return self.text("verdict_empty")
        names = [finding.name for finding in self.findings]
        if not names:
            return self.text("verdict_good", read=read, tables=len(self.quality.supplied))
        listed = self.labels.joined(names[:3]) + (self.text("and_more") if len(names) > 3 else "")
        return self.text("verdict_look" if len(names) > 1 else "verdict_look_once", count=len(names), which=listed)

    def persons(self) -> Block:
        """How many members are one person, by which kind of key, and keys that are held back because too many share them."""
        lacking = [name for name in ("members", "identities") if name not in self.quality.supplied]
        if lacking:
            return self.missing(self.labels.name("tables", lacking[0]), self.text("cost_identities"))
        found = identity_summary(self.workspace.tables)
        note = self.note(
            "persons",
            members=self.people(found.members),
            persons=self.people(found.persons),
            merged=self.people(found.merged_members),
            largest=self.show(found.largest_person, "count"),
        )
        rows = pd.DataFrame(
            [
                {
                    "kind": self.labels.name("id_kinds", each.kind),
                    "keys": each.keys,
                    "linked": self.show(each.linked_members, "people"),
                    "held": self.show(each.held_back_members, "people"),
                }
                for each in found.kinds
                if each.keys
            ]
        )
        if rows.empty:
            return note
        columns = self.columns(kind="id_kind", keys="known_keys count", linked="linked_members people", held="held_keys people")
        return blocks.group(note, self.table(rows, columns, note=self.text("held_why")))

    def missing_inputs(self) -> Block:
        """Tables and columns that were not supplied, and what cannot be computed without them."""
        rows = [
            {"input": self.labels.name("tables", name), "cost": self.text(f"cost_{name}")}
            for name in FACTS
            if name not in self.quality.supplied
        ]
        for key, needed in NEEDED_FOR.items():
            table, _, column = key.partition(".")
            profile = self.quality.profiles.get(table)
            if profile is not None and column in profile.columns and not profile.column(column).filled:
                costs = [self.labels.name("analyses", each) for each in needed]
                rows.append({"input": self.title_of(table, column), "cost": self.labels.joined(costs)})
        if not rows:
            return self.note("all_supplied", "good")
        columns = self.columns(input="not_there", cost="costs")
        return self.table(pd.DataFrame(rows), columns, more=self.text("all_missing", count=len(rows)))

    def next_steps(self) -> Block:
        """What to mend first: the findings, then refused rows, then what could be supplied."""
        items = [(finding.sentence, finding.command) for finding in self.findings[:8]]
        said = {command for _, command in items}
        refusing = [load for load in self.quality.loads if load.rejected and f"crm rejects {load.load_id}" not in said]
        for load in sorted(refusing, key=lambda load: -load.rejected)[:1]:
            words = self.text("do_rejects", count=self.show(load.rejected, "count"), source=load.source)
            items.append((words, f"crm rejects {load.load_id}"))
        absent = [self.labels.name("tables", name) for name in FACTS if name not in self.quality.supplied]
        if absent:
            words = self.text("do_supply", tables=self.labels.joined(absent[:4]))
            items.append((words, "crm ingest SOURCE FILE --dry-run"))
        # a command that stands above already is not said again
        shown = [
            (words, "" if command in [each for _, each in items[:place]] else command)
            for place, (words, command) in enumerate(items)
        ]
        return self.steps(*shown) if shown else self.note("nothing_to_mend", "good")
