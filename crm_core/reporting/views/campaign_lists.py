"""The lists of the campaigns that a report is about: whom they chose, what became of each member, what they
are called."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandas as pd
from sqlalchemy import select

from crm_core.config.campaigns import CampaignSettings
from crm_core.errors import unknown
from crm_core.reporting import numbers
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

    def settings(self, name: str) -> CampaignSettings | None:
        """The campaign's own settings; None for one that another system ran."""
        config = self.workspace.config
        return config.campaign(name) if name in config.campaign_names() else None

    def title(self, name: str, wave: int = 1) -> str:
        """What the reader calls a campaign, with its wave where there are several."""
        settings = self.settings(name)
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
        """Selected = exported or ready + held out + rejected by reason, as a table that adds up."""
        if self.waves.empty:
            return self.absent()
        rows = pd.DataFrame([row for key in self.keys for row in self._funnel_rows(*key)])
        columns = self.columns(
            campaign="campaign", what="became", members="members people", share="share percent bar"
        )
        listed = self.masked(rows, "members", ["share"])
        return self.table(
            listed, columns, note=self.text("funnel_adds_up"), more=self.text("all_lines", count=len(rows))
        )

    def _funnel_rows(self, name: str, wave: int) -> list[dict[str, Any]]:
        ours = self.waves[(self.waves["campaign_id"] == name) & (self.waves["wave"] == wave)]
        by_status = ours.groupby("status")["members"].sum()
        handed = "exported" if self._exported(name, wave) else "ready"
        lines = [
            (self.text("in_segment"), int(ours["members"].sum())),
            (self.text(handed), int(by_status.get("selected", 0))),
            (self.text("held_out"), int(by_status.get("held_out", 0))),
        ]
        for row in ours[ours["status"] == "rejected"].itertuples():
            reason = self.labels.name("reasons", str(row.reason))
            lines.append((self.text("rejected_because", reason=reason), int(row.members)))
        title, whole = self.title(name, wave), lines[0][1]
        return [
            {"campaign": title, "what": what, "members": n, "share": numbers.share(n, whole)}
            for what, n in lines
        ]

    def _exported(self, name: str, wave: int) -> bool:
        query = select(Export.export_id).join(Audience, Audience.audience_id == Export.audience_id)
        with self.workspace.ledger.session() as session:
            found = session.scalars(
                query.where(Audience.campaign == name, Audience.wave == wave).limit(1)
            ).first()
        return found is not None
