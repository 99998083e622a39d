"""`campaign_result`: did the campaign cause anything – judged against the members who were held out, with
the doubt stated."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandas as pd
from sqlalchemy import select

from crm_core.campaigns import ArmResult, Evaluation, evaluate
from crm_core.errors import InputError, unknown
from crm_core.reporting import blocks, charts, numbers
from crm_core.reporting.blocks import Block, Column
from crm_core.reporting.views.base import View, frame
from crm_core.store.ledger.models import Audience, Export

TONE = {"raised": "good", "lowered": "bad", "no_evidence": "plain"}
UNIT = {"net_amount": "money", "orders": "number", "ordered": "percent"}


class CampaignResult(View):
    """Sections of the campaign report. `campaign`: one name; empty takes every campaign that has a list."""

    reads = ("audiences", "orders", "interactions", "campaigns")
    metrics = ("lift", "interval", "srm", "cuped", "held_out", "incremental", "roi")

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

    # -- figures -------------------------------------------------------------------------------------------
    # ------------

    @cached_property
    def waves(self) -> pd.DataFrame:
        """campaign_id, wave, status, reason, arm, members of the chosen campaigns' lists."""
        audiences = self.workspace.tables.audiences
        ours = audiences.filter(audiences.campaign_id.isin([*self.chosen, ""]))
        counted = ours.group_by(["campaign_id", "wave", "status", "reason", "arm"]).agg(members=ours.count())
        return frame(counted.order_by(["campaign_id", "wave", "status", "reason", "arm"]))

    @cached_property
    def evaluations(self) -> dict[tuple[str, int], Evaluation]:
        """The verdict per campaign and wave; those that cannot be judged yet are in `unjudged`."""
        found: dict[tuple[str, int], Evaluation] = {}
        for name, wave in self._keys:
            try:
                settings = (
                    self.workspace.config.campaign(name)
                    if name in self.workspace.config.campaign_names()
                    else None
                )
                found[name, wave] = evaluate(
                    self.workspace.tables, name, settings, wave=wave, ledger=self.workspace.ledger
                )
            except InputError:
                continue
        return found

    @property
    def unjudged(self) -> list[tuple[str, int]]:
        """Waves without a verdict: their window has not begun, or no control was kept."""
        return [key for key in self._keys if key not in self.evaluations]

    @property
    def _keys(self) -> list[tuple[str, int]]:
        return [
            (str(name), int(wave))
            for name, wave in self.waves[["campaign_id", "wave"]].drop_duplicates().to_numpy()
        ]

    def _title(self, name: str, wave: int = 1) -> str:
        config = self.workspace.config
        title = (
            getattr(config.campaign(name).title, self.language)
            if name in config.campaign_names()
            else self._named.get(name, name)
        )
        several = self.waves[self.waves["campaign_id"] == name]["wave"].nunique() > 1
        return f"{title} · {self.text('wave', wave=wave)}" if several else title

    @cached_property
    def _named(self) -> dict[str, str]:
        campaigns = self.workspace.tables.campaigns
        rows = frame(campaigns.select("campaign_id", "name"))
        return {
            row.campaign_id: row.name_ or row.campaign_id
            for row in rows.rename(columns={"name": "name_"}).itertuples()
        }

    def _absent(self) -> Block | None:
        if self.waves.empty:
            what = self._title(self.chosen[0]) if self.chosen else ""
            return self.missing(self.text("campaign_list", name=what).strip(), self.text("no_campaign_cost"))
        return None

    def _not_yet(self) -> Block:
        return self.note(
            "not_judged_yet", "warn", which=self.labels.joined([self._title(*key) for key in self.unjudged])
        )

    def _pairs(self) -> list[tuple[str, ArmResult]]:
        """Title and result of every campaign, wave and arm on the campaign's own metric."""
        pairs = []
        for (name, wave), found in self.evaluations.items():
            primary = [result for result in found.results if result.primary]
            for result in primary:
                arm = f" · {self._arm(result.arm)}" if len(primary) > 1 else ""
                pairs.append((self._title(name, wave) + arm, result))
        return pairs

    def table(self, frame: pd.DataFrame, columns: Mapping[str, Column], **more: Any) -> Block:
        """As `View.table`, without the campaign's name where there is only one."""
        if "campaign" in columns and frame["campaign"].nunique() == 1 and len(columns) > 2:
            columns = {name: column for name, column in columns.items() if name != "campaign"}
        return super().table(frame, columns, **more)

    def _arm(self, arm: str) -> str:
        return self.labels.name("arms", arm)

    # -- sections
    # ------------------------------------------------------------------------------------------------------

    def headline(self) -> Block:  # type: ignore[override]
        """The plain reading of each campaign, largest money first."""
        absent = self._absent()
        if absent is not None:
            return absent
        pairs = sorted(self._pairs(), key=lambda pair: -abs(pair[1].incremental))
        if not pairs:
            return self._not_yet()
        cards = (
            self._only_cards(*pairs[0])
            if len(pairs) == 1
            else [self._reading_card(*pair) for pair in pairs[:4]]
        )
        raised = sum(result.reading == "raised" for _, result in pairs)
        sentence = self._sentence(*pairs[0]) if len(pairs) == 1 else self.text(
            "campaigns_sentence", count=len(pairs), raised=raised,
            lowered=sum(result.reading == "lowered" for _, result in pairs),
        )  # fmt: skip
        return super().headline(*cards, sentence=sentence)

    def _only_cards(self, title: str, result: ArmResult) -> list[dict[str, Any]]:
        """Cards of a single comparison: lift, relative lift, incremental amount, control group."""
        found = next(iter(self.evaluations.values()))
        money = found.money.get(result.arm)
        return [
            {**self._reading_card(title, result), "label": self.text("lift")},
            self.card("relative_lift", self.show(result.chosen.relative, "percent", sign=True), "text"),
            self.card(
                "incremental_amount",
                money.incremental_amount if money else None,
                "money",
                metric="incremental",
            ),
            self.card("control_size", result.control_persons, "people", metric="held_out"),
        ]

    def _reading_card(self, title: str, result: ArmResult) -> dict[str, Any]:
        lift = result.chosen
        card = blocks.card(
            title,
            self._bound(lift.lift, UNIT[result.metric]),
            "text",
            self.labels,
            metric="lift",
            sentence=self.text(
                "range",
                low=self._bound(lift.low, UNIT[result.metric]),
                high=self._bound(lift.high, UNIT[result.metric]),
            ),
        )
        tone = {"raised": "good", "lowered": "bad"}.get(result.reading, "neutral")
        direction = {"raised": "up", "lowered": "down"}.get(result.reading, "flat")
        return {
            **card,
            "change": {"text": self.text(f"reading_{result.reading}"), "direction": direction, "tone": tone},
        }

    def _sentence(self, title: str, result: ArmResult) -> str:
        lift, unit = result.chosen, UNIT[result.metric]
        return self.text(
            f"verdict_{result.reading}",
            campaign=title,
            metric=self.labels.name("campaign_metrics", result.metric),
            lift=self._bound(lift.lift, unit),
            low=self._bound(lift.low, unit),
            high=self._bound(lift.high, unit),
            treated=self.show(lift.treatment_mean, unit),
            control=self.show(lift.control_mean, unit),
        )

    def funnel(self) -> Block:
        """Selected = exported or ready + held out + rejected by reason, as a table that adds up."""
        absent = self._absent()
        if absent is not None:
            return absent
        rows = []
        for name, wave in self._keys:
            ours = self.waves[(self.waves["campaign_id"] == name) & (self.waves["wave"] == wave)]
            rows += self._funnel_rows(self._title(name, wave), name, wave, ours)
        columns = self.columns(campaign="campaign", what="became", members="members people", share="share percent bar")
        listed = self.masked(pd.DataFrame(rows), "members", ["share"])
        return self.table(
            listed, columns, note=self.text("funnel_adds_up"), more=self.text("all_lines", count=len(rows))
        )

    def _funnel_rows(self, title: str, name: str, wave: int, ours: pd.DataFrame) -> list[dict[str, Any]]:
        whole = int(ours["members"].sum())
        chosen, held = (
            int(ours[ours["status"] == status]["members"].sum()) for status in ("selected", "held_out")
        )
        exported = self._exported(name, wave)
        found = [("in_segment", whole), ("exported" if exported else "ready", chosen), ("held_out", held)]
        refused = ours[ours["status"] == "rejected"]
        rows = [
            {"campaign": title, "what": self.text(key), "members": n, "share": numbers.share(n, whole)}
            for key, n in found
        ]
        return rows + [
            {
                "campaign": title,
                "what": self.text("rejected_because", reason=self.labels.name("reasons", str(row.reason))),
                "members": int(row.members),
                "share": numbers.share(row.members, whole),
            }
            for row in refused.itertuples()
        ]

    def _exported(self, name: str, wave: int) -> bool:
        query = select(Export.export_id).join(Audience, Audience.audience_id == Export.audience_id)
        with self.workspace.ledger.session() as session:
            found = session.scalars(
                query.where(Audience.campaign == name, Audience.wave == wave).limit(1)
            ).first()
        return found is not None

    def sample_ratio(self) -> Block:
        """Do the arms have the sizes that were planned?"""
        absent = self._absent()
        if absent is not None:
            return absent
        rows, verdicts = [], []
        for (name, wave), found in self.evaluations.items():
            ratio = found.sample_ratio
            verdicts.append(ratio.verdict)
            rows += [
                {
                    "campaign": self._title(name, wave),
                    "arm": self._arm(arm),
                    "planned": ratio.expected.get(arm),
                    "persons": n,
                    "p": self._p(ratio.p),
                }
                for arm, n in ratio.counts.items()
            ]
        if not rows:
            return self._not_yet()
        columns = self.columns(campaign="campaign", arm="arm @srm", planned="planned count", persons="actual people", p="=p")
        worst = next((verdict for verdict in ("mismatch", "unknown") if verdict in verdicts), "as_planned")
        tone = {"mismatch": "bad", "unknown": "warn", "as_planned": "good"}[worst]
        return blocks.group(self.note(f"srm_{worst}", tone), self.table(pd.DataFrame(rows), columns))

    @staticmethod
    def _p(value: float | None) -> str:
        if value is None:
            return numbers.NOTHING
        return "<0.001" if value < 0.001 else f"{value:.3f}"

    def lift(self) -> Block:
        """Forest plot of the relative lift on each campaign's metric, and all three metrics in figures."""
        absent = self._absent()
        if absent is not None:
            return absent
        drawn = [
            {
                "metric": result.metric,
                "name": title,
                "estimate": result.chosen.lift,
                "low": result.chosen.low,
                "high": result.chosen.high,
            }
            for title, result in self._pairs()
            if result.chosen.low is not None
        ]
        # one plot per metric: intervals in different units do not stand on one axis
        parts = [
            self._forest(metric, [row for row in drawn if row["metric"] == metric])
            for metric in dict.fromkeys(row["metric"] for row in drawn)
        ]
        table = self._lift_table()
        parts += [table] if table is not None else [self._not_yet()]
        return blocks.group(*parts)

    def _forest(self, metric: str, rows: list[dict[str, Any]]) -> Block:
        named = self.labels.name("campaign_metrics", metric)
        unit = "points" if UNIT[metric] == "percent" else UNIT[metric]
        return charts.forest(
            pd.DataFrame(rows),
            "name",
            "estimate",
            "low",
            "high",
            unit,
            self.labels,
            title=self.text("forest", metric=named),
            subtitle=self.text("forest_sub"),
            currency=self.currency,
        )

    def _lift_table(self) -> Block | None:
        rows = []
        for (name, wave), found in self.evaluations.items():
            for result in found.results:
                rows.append({"campaign": self._title(name, wave), **self._figures(result)})
        if not rows:
            return None
        columns = self.columns(campaign="campaign", metric="metric", treated="treated_mean", control="control_mean", lift="lift @lift", relative="relative_lift", interval="interval @interval", reading="reading")
        return self.table(
            pd.DataFrame(rows),
            columns,
            note=self.text("lift_note"),
            more=self.text("all_lines", count=len(rows)),
        )

    def _figures(self, result: ArmResult) -> dict[str, str]:
        lift, unit = result.chosen, UNIT[result.metric]
        metric = self.labels.name("campaign_metrics", result.metric)
        return {
            "metric": f"{metric} · {self._arm(result.arm)}" + ("  ★" if result.primary else ""),
            "treated": self.show(lift.treatment_mean, unit), "control": self.show(lift.control_mean, unit),
            "lift": self._bound(lift.lift, unit),
            "relative": self.show(lift.relative, "percent", sign=True),
            "interval": f"{self._bound(lift.low, unit)} … {self._bound(lift.high, unit)}",
            "reading": self.text(f"reading_{result.reading}"),
        }  # fmt: skip

    def _bound(self, value: float | None, unit: str) -> str:
        return self.show(value, "points" if unit == "percent" else unit, sign=True)

    def cuped(self) -> Block:
        """The plain interval beside the one sharpened by the weeks before the campaign."""
        absent = self._absent()
        if absent is not None:
            return absent
        rows = []
        for title, result in self._pairs():
            unit = UNIT[result.metric]
            rows.append(
                {
                    "campaign": title,
                    "plain": f"{self._bound(result.lift.low, unit)} … {self._bound(result.lift.high, unit)}",
                    "adjusted": f"{self._bound(result.adjusted.low, unit)} … {self._bound(result.adjusted.high, unit)}",
                    "gain": result.variance_reduction,
                    "used": self.text("yes" if result.read_from == "adjusted" else "no"),
                }
            )
        if not rows:
            return self._not_yet()
        columns = self.columns(campaign="campaign", plain="plain_interval", adjusted="adjusted_interval @cuped", gain="variance_less percent", used="used_for_reading")
        return self.table(pd.DataFrame(rows), columns)

    def money(self) -> Block:
        """What it cost and what it earned more, per arm."""
        absent = self._absent()
        if absent is not None:
            return absent
        rows = [
            {
                "campaign": f"{self._title(name, wave)} · {self._arm(arm)}",
                "cost": money.cost,
                "amount": money.incremental_amount,
                "profit": money.incremental_profit,
                "roi": money.roi,
                "per_order": money.cost_per_incremental_order,
            }
            for (name, wave), found in self.evaluations.items()
            for arm, money in found.money.items()
        ]
        if not rows:
            return self._not_yet()
        columns = self.columns(campaign="campaign", cost="cost money", amount="incremental_amount money @incremental", profit="incremental_profit money", roi="roi percent @roi", per_order="cost_per_order money")
        return self.table(pd.DataFrame(rows), columns, note=self.text("money_note"))

    def next_steps(self) -> Block:
        """Repeat, change or stop – by the reading of each campaign."""
        if self.waves.empty:
            names = self.workspace.config.campaign_names()
            return self.steps(
                (self.text("do_first_campaign"), f"crm campaign plan {names[0] if names else 'NAME'}")
            )
        items = []
        for (name, wave), found in self.evaluations.items():
            result = found.result()
            command = (
                f"crm campaign freeze {name}"
                if result.reading == "raised"
                else f"crm campaign evaluate {name}"
            )
            items.append((self.text(f"do_{result.reading}", campaign=self._title(name, wave)), command))
            if found.window.preliminary:
                items.append(
                    (
                        self.text(
                            "do_wait", campaign=self._title(name, wave), date=found.window.ends_at.date()
                        ),
                        "",
                    )
                )
        items += [
            (self.text("do_unjudged", campaign=self._title(*key)), f"crm campaign evaluate {key[0]}")
            for key in self.unjudged
        ]
        return self.steps(*items)
