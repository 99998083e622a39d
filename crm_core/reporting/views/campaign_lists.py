"""The lists of the campaigns that a report is about: whom they chose, what became of each member, what they
are called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandas as pd
from sqlalchemy import select

from crm_core.campaigns.pinned import settings_of
from crm_core.config.campaigns import CampaignSettings
from crm_core.errors import unknown
from crm_core.reporting import blocks
from crm_core.reporting.blocks import Block, Column
from crm_core.reporting.views.base import View, frame
from crm_core.store.ledger.models import Audience, Export


class CampaignLists(View):
    """The part of the campaign report that needs no verdict. `campaign`: one name; empty takes all that
    have a list."""

    def __init__(self, workspace: Any, campaign: str = "") -> None:
        """Raises UnknownName when `campaign` has neither a list nor a file in conf/campaigns."""
        super().__init__(workspace)
        known = [*self._with_lists(), *workspace.config.campaign_names()]
        if campaign and campaign not in known:
            raise unknown("campaign", campaign, known, "conf/campaigns and the stored lists")
        self._settings: dict[tuple[str, int], CampaignSettings | None] = {}
        self.chosen = [campaign] if campaign else self._with_lists()

    def _with_lists(self) -> list[str]:
        audiences = self.workspace.tables.audiences
        return sorted(frame(audiences.select("campaign_id").distinct())["campaign_id"].tolist())

    @cached_property
    def waves(self) -> pd.DataFrame:
        """campaign_id, wave, status, reason, members of the chosen campaigns' lists."""
        audiences = self.workspace.tables.audiences
        ours = audiences.filter(audiences.campaign_id.isin([*self.chosen, ""]))
        counted = ours.group_by(["campaign_id", "wave", "status", "reason"]).agg(members=ours.count())
        return frame(counted.order_by(["campaign_id", "wave", "status", "reason"]))

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Campaign and wave of each list."""
        found = self.waves[["campaign_id", "wave"]].drop_duplicates()
        return [(str(name), int(wave)) for name, wave in found.to_numpy()]

    def settings(self, name: str, wave: int = 1) -> CampaignSettings | None:
        """The campaign's own settings, as of when the wave's list was frozen; None for one that another system ran."""
        if (name, wave) not in self._settings:
            self._settings[name, wave] = settings_of(self.workspace.ledger, self.workspace.config, name, wave)
        return self._settings[name, wave]

    def title(self, name: str, wave: int = 1) -> str:
        """What the reader calls a campaign, with its wave where there are several."""
        settings = self.settings(name, wave)
        title = getattr(settings.title, self.language) if settings else self._named.get(name) or name
        several = self.waves[self.waves["campaign_id"] == name]["wave"].nunique() > 1
        return f"{title} · {self.text('wave', wave=wave)}" if several else title

    @cached_property
    def _named(self) -> dict[str, str]:
        rows = frame(self.workspace.tables.campaigns.select("campaign_id", "name"))
        return dict(zip(rows["campaign_id"], rows["name"], strict=True))

    def arm(self, arm: str) -> str:
        """What the reader calls an arm."""
        return self.labels.name("arms", arm)

    def absent(self) -> Block:
        """'Not supplied' for a workspace, or a campaign, without a list."""
        what = self.title(self.chosen[0]) if self.chosen else ""
        return self.missing(self.text("campaign_list", name=what).strip(), self.text("no_campaign_cost"))

    def table(self, frame: pd.DataFrame, columns: Mapping[str, Column], **more: Any) -> Block:
        """As `View.table`, without the campaign's name where there is only one."""
        if "campaign" in columns and frame["campaign"].nunique() == 1 and len(columns) > 2:
            columns = {name: column for name, column in columns.items() if name != "campaign"}
        return super().table(frame, columns, **more)

    def funnel(self) -> Block:
        """Selected = handed over + held out + excluded, a line a list; then why some were excluded."""
        if self.waves.empty:
            return self.absent()
        rows = pd.DataFrame([self._funnel_row(*key) for key in self.keys])
        columns = self.columns(
            campaign="campaign", chosen="in_segment people", handed="handed_over people",
            held="held_out people @held_out", refused="excluded people", agrees="sum_agrees",
        )  # fmt: skip
        for name in ("chosen", "handed", "held", "refused"):
            rows = self.masked(rows, name)
        parts = [self.table(rows, columns, note=self.text("funnel_adds_up"))]
        reasons = self._reasons()
        return blocks.group(*parts, reasons) if reasons else parts[0]

    def _funnel_row(self, name: str, wave: int) -> dict[str, Any]:
        chosen, sums = self._members(name, wave)
        handed, held, refused = (sums[status] for status in ("exported", "held_out", "rejected"))
        title = self.title(name, wave)
        if self.settings(name, wave) and (name, wave) not in self._handed_off:
            title += self.text("not_exported")
        agrees = self.text("yes" if chosen == handed + held + refused else "no")
        return {"campaign": title, "chosen": chosen, "handed": handed, "held": held, "refused": refused, "agrees": agrees}

    def _members(self, name: str, wave: int) -> tuple[int, dict[str, int]]:
        """Members in the list, and what became of them: by the newest hand-off, else by the list alone."""
        ours = self.waves[(self.waves["campaign_id"] == name) & (self.waves["wave"] == wave)]
        chosen = int(ours["members"].sum())
        counts = self._handed_off.get((name, wave))
        if counts is not None:
            refused = sum(counts["rejected"].values())
            return chosen, {"exported": counts["exported"], "held_out": counts["held_out"], "rejected": refused}
        members = ours.groupby("status")["members"].sum()
        names = {"exported": "selected", "held_out": "held_out", "rejected": "rejected"}
        return chosen, {ours: int(members.get(theirs, 0)) for ours, theirs in names.items()}

    def _refusals(self, name: str, wave: int) -> dict[str, int]:
        counts = self._handed_off.get((name, wave))
        if counts is not None:
            return dict(counts["rejected"])
        ours = self.waves[(self.waves["campaign_id"] == name) & (self.waves["wave"] == wave)]
        rejected = ours[ours["status"] == "rejected"]
        return dict(zip(rejected["reason"], rejected["members"].tolist(), strict=True))

    def _reasons(self) -> Block | None:
        lines = [
            {"campaign": self.title(*key), "reason": self.labels.name("reasons", reason), "members": count}
            for key in self.keys
            for reason, count in self._refusals(*key).items()
        ]
        if not lines:
            return None
        rows = pd.DataFrame(lines)
        columns = self.columns(campaign="campaign", reason="excluded_because", members="members people")
        return self.table(self.masked(rows, "members"), columns, more=self.text("all_lines", count=len(rows)))

    @cached_property
    def _handed_off(self) -> dict[tuple[str, int], dict[str, Any]]:
        """(campaign, wave) → counts of its newest hand-off."""
        query = select(Audience.campaign, Audience.wave, Export.counts).join(Export, Audience.audience_id == Export.audience_id)
        with self.workspace.ledger.session() as session:
            rows = session.execute(query.order_by(Export.created_at)).all()
        return {(campaign, wave): counts for campaign, wave, counts in rows}
