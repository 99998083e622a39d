"""`campaign_result`: did the campaign cause anything – judged against the members who were held out, the
doubt stated."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from typing import Any

import pandas as pd

from crm_core.campaigns import ArmResult, Evaluation, evaluate, targeting
from crm_core.campaigns.costs import Money
from crm_core.campaigns.lift import Lift
from crm_core.campaigns.records import never_out
from crm_core.errors import InputError
from crm_core.models.uplift import Uplift
from crm_core.reporting import blocks, charts, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.campaign_lists import CampaignLists

STAR = "  ★"
UNIT = {"net_amount": "money", "orders": "number", "ordered": "percent"}
TONES = {"raised": ("up", "good"), "lowered": ("down", "bad"), "no_evidence": ("flat", "neutral")}


class CampaignResult(CampaignLists):
    """Sections of the campaign report. `campaign`: one name; empty takes every campaign that has a list."""

    reads = ("audiences", "orders", "interactions", "campaigns")
    metrics = ("lift", "interval", "srm", "cuped", "held_out", "incremental", "roi", "uplift", "qini")

    @cached_property
    def evaluations(self) -> dict[tuple[str, int], Evaluation]:
        """The verdict per campaign and wave; those that cannot be judged yet are in `unjudged`."""
        found: dict[tuple[str, int], Evaluation] = {}
        tables, ledger = self.workspace.tables, self.workspace.ledger
        for name, wave in self.keys:
            try:
                found[name, wave] = evaluate(tables, name, self.settings(name, wave), wave=wave, ledger=ledger)
            except InputError:  # the window has not begun, or no control was kept: `unjudged` lists it
                continue
        return found

    @property
    def unjudged(self) -> list[tuple[str, int]]:
        """Waves without a verdict."""
        return [key for key in self.keys if key not in self.evaluations]

    def not_yet(self) -> Block:
        """Why there is no verdict: no list at all, or none whose window has begun."""
        if self.waves.empty:
            return self.absent()
        return self.note("not_judged_yet", "warn", which=self.labels.joined([self.title(*key) for key in self.unjudged]))

    def _pairs(self) -> list[tuple[str, ArmResult]]:
        """Title and result of every campaign, wave and arm on the campaign's own metric."""
        return [pair for (name, wave), found in self.evaluations.items() for pair in self._titled(name, wave, found)]

    def _titled(self, name: str, wave: int, found: Evaluation) -> list[tuple[str, ArmResult]]:
        primary = [result for result in found.results if result.primary]
        title, several = self.title(name, wave), len(primary) > 1
        return [(title + (f" · {self.arm(result.arm)}" if several else ""), result) for result in primary]

    def headline(self) -> Block:
        """The plain reading of each campaign, largest money first."""
        pairs = sorted(self._pairs(), key=lambda pair: -abs(pair[1].incremental))
        if not pairs:
            return self.not_yet()
        if len(pairs) == 1:
            return self.opening(*self._only_cards(*pairs[0]), sentence=self._sentence(*pairs[0]))
        readings = [result.reading for _, result in pairs]
        sentence = self.text(
            "campaigns_sentence", count=len(pairs), raised=readings.count("raised"), lowered=readings.count("lowered")
        )
        return self.opening(*(self._reading_card(*pair) for pair in pairs[:4]), sentence=sentence)

    def _only_cards(self, title: str, result: ArmResult) -> list[dict[str, Any]]:
        """Cards of a single comparison: lift, relative lift, incremental amount, control group."""
        money = next(iter(self.evaluations.values())).money.get(result.arm)
        earned = money.incremental_amount if money else None
        return [
            {**self._reading_card(title, result), "label": self.text("lift")},
            self.card("relative_lift", self.show(result.chosen.relative, "percent", sign=True), "text"),
            self.card("incremental_amount", earned, "money", metric="incremental"),
            self.card("control_size", result.control_persons, "people", metric="held_out"),
        ]

    def _reading_card(self, title: str, result: ArmResult) -> dict[str, Any]:
        lift, unit = result.chosen, UNIT[result.metric]
        words = "no_interval" if lift.low is None else "range"
        interval = self.text(words, low=self._bound(lift.low, unit), high=self._bound(lift.high, unit))
        shown = self._bound(lift.lift, unit)
        card = blocks.card(title, shown, "text", self.labels, metric="lift", sentence=interval)
        direction, tone = TONES[result.reading]
        change = {"text": self.text(f"reading_{result.reading}"), "direction": direction, "tone": tone}
        return {**card, "change": change}

    def _sentence(self, title: str, result: ArmResult) -> str:
        lift, unit = result.chosen, UNIT[result.metric]
        return self.text(
            "verdict_no_interval" if lift.low is None else f"verdict_{result.reading}",
            campaign=title,
            metric=self.labels.name("campaign_metrics", result.metric),
            lift=self._bound(lift.lift, unit),
            low=self._bound(lift.low, unit),
            high=self._bound(lift.high, unit),
            treated=self.show(lift.treatment_mean, unit),
            control=self.show(lift.control_mean, unit),
        )

    def sample_ratio(self) -> Block:
        """Do the arms have the sizes that were planned?"""
        rows, verdicts = [], []
        for (name, wave), found in self.evaluations.items():
            ratio = found.sample_ratio
            verdicts.append(ratio.verdict)
            rows += [
                {
                    "campaign": self.title(name, wave),
                    "arm": self.arm(arm),
                    "planned": ratio.expected.get(arm),
                    "persons": n,
                    "p": self._p(ratio.p),
                }
                for arm, n in ratio.counts.items()
            ]
        if not rows:
            return self.not_yet()
        columns = self.columns(campaign="campaign", arm="arm @srm", planned="planned count", persons="actual people", p="p_value")
        worst = next((verdict for verdict in ("mismatch", "unknown") if verdict in verdicts), "as_planned")
        tone = {"mismatch": "bad", "unknown": "warn", "as_planned": "good"}[worst]
        parts = [self.note(f"srm_{worst}", tone), self.table(pd.DataFrame(rows), columns)]
        unsent = [self.title(*key) for key in self.evaluations if never_out(self.workspace.ledger, *key)]
        if unsent:
            parts.insert(0, self.note("never_handed_over", "bad", which=self.labels.joined(unsent)))
        return blocks.group(*parts)

    @staticmethod
    def _p(value: float | None) -> str:
        if value is None:
            return numbers.NOTHING
        return "<0.001" if value < 0.001 else f"{value:.3f}"

    def lift(self) -> Block:
        """Forest plot of the relative lift on each campaign's metric, and all three metrics in figures."""
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
            for metric in dict.fromkeys(str(row["metric"]) for row in drawn)
        ]
        table = self._lift_table()
        parts += [table] if table is not None else [self.not_yet()]
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
                rows.append({"campaign": self.title(name, wave), **self._figures(result)})
        if not rows:
            return None
        rows.sort(key=lambda row: not row["metric"].endswith(STAR))
        columns = self.columns(
            campaign="campaign",
            metric="metric",
            treated="treated_mean",
            control="control_mean",
            lift="lift @lift",
            interval="interval @interval",
            reading="reading",
        )
        note = " ".join([self.text("lift_note"), *self._windows()])
        return self.table(pd.DataFrame(rows), columns, note=note, more=self.text("all_lines", count=len(rows)))

    def _windows(self) -> list[str]:
        """Of which days orders count, campaign by campaign."""
        spans = {
            key: (found.window.starts_at, found.window.until - timedelta(seconds=1)) for key, found in self.evaluations.items()
        }
        return [
            self.text("lift_window", campaign=self.title(*key), span=self.span(*(self.local(each)[:10] for each in span)))
            for key, span in spans.items()
        ]

    def _figures(self, result: ArmResult) -> dict[str, str]:
        lift, unit = result.chosen, UNIT[result.metric]
        metric = self.labels.name("campaign_metrics", result.metric)
        return {
            "metric": f"{metric} · {self.arm(result.arm)}" + (STAR if result.primary else ""),
            "treated": self.show(lift.treatment_mean, unit), "control": self.show(lift.control_mean, unit),
            "lift": f"{self._bound(lift.lift, unit)} ({self.show(lift.relative, 'percent', sign=True)})",
            "interval": self._span(lift, unit),
            "reading": self.text(f"reading_{result.reading}"),
        }  # fmt: skip

    def _bound(self, value: float | None, unit: str) -> str:
        return self.show(value, "points" if unit == "percent" else unit, sign=True)

    def _span(self, lift: Lift, unit: str) -> str:
        return self.text("no_interval") if lift.low is None else f"{self._bound(lift.low, unit)} … {self._bound(lift.high, unit)}"

    def cuped(self) -> Block:
        """The plain interval beside the one sharpened by the weeks before the campaign."""
        rows = []
        for title, result in self._pairs():
            unit = UNIT[result.metric]
            rows.append(
                {
                    "campaign": title,
                    "plain": self._span(result.lift, unit),
                    "adjusted": self._span(result.adjusted, unit),
                    "gain": result.variance_reduction,
                    "used": self.text("yes" if result.read_from == "adjusted" else "no"),
                }
            )
        if not rows:
            return self.not_yet()
        columns = self.columns(
            campaign="campaign",
            plain="plain_interval",
            adjusted="adjusted_interval @cuped",
            gain="variance_less percent",
            used="used_for_reading",
        )
        return self.table(pd.DataFrame(rows), columns)

    def money(self) -> Block:
        """What it cost and what it earned more, per arm."""
        rows = [
            {
                "campaign": f"{self.title(name, wave)} · {self.arm(arm)}",
                "cost": money.cost,
                "amount": money.incremental_amount,
                "profit": money.incremental_profit,
                "roi": money.roi,
                "range": self._roi_range(money),
                "per_order": money.cost_per_incremental_order,
            }
            for (name, wave), found in self.evaluations.items()
            for arm, money in found.money.items()
        ]
        if not rows:
            return self.not_yet()
        columns = self.columns(
            campaign="campaign",
            cost="cost money",
            amount="incremental_amount money @incremental",
            profit="incremental_profit money",
            roi="roi percent @roi",
            range="interval @interval",
            per_order="cost_per_order money",
        )
        return self.table(pd.DataFrame(rows), columns, note=self.text("money_note"))

    def _roi_range(self, money: Money) -> str:
        low, high = (self.show(each, "percent", sign=True) for each in (money.roi_low, money.roi_high))
        return numbers.NOTHING if money.roi_low is None else f"{low} … {high}"

    def uplift(self) -> Block:
        """Whom it moved: uplift by tenth of the predicted one, and whether that prediction beats choosing by likely buyers."""
        tables, models, parts = self.workspace.tables, self.workspace.config.models, []
        for name, wave in self.evaluations:
            found = targeting(tables, name, self.settings(name, wave), models, wave=wave, ledger=self.workspace.ledger)
            for arm, one in found.items():
                title = self.title(name, wave) + (f" · {self.arm(arm)}" if len(found) > 1 else "")
                parts += self._uplift(title, one)
        return blocks.group(*parts) if parts else self.not_yet()

    def _uplift(self, title: str, found: Uplift) -> list[Block]:
        if found.groups is None or found.card.backtest is None:
            short = next(need for need in found.card.needs if not need.enough)
            what = self.text(f"uplift_{short.what}")
            count = self.show(short.found, "people")
            return [self.note("uplift_short", campaign=title, what=what, found=count, needed=f"{short.needed:,.0f}")]
        qini = {each.name: each.measures["qini"] for each in found.card.backtest.entrants}
        best = found.card.backtest.best(baseline=False).name
        bound = {"low": self._bound(found.low, "percent"), "high": self._bound(found.high, "percent")}
        against = self._bound(qini["response_model"], "percent")
        verdict, tone = found.card.verdict, "good" if found.card.verdict == "published" else "plain"
        words = {"campaign": title, "qini": self._bound(qini[best], "percent"), "response": against, **bound}
        rows = found.groups.assign(title=[self.text("uplift_tenth", number=number) for number in found.groups["group"]])
        drawn = charts.forest(
            rows, "title", "uplift", "low", "high", "points", self.labels,
            title=self.text("uplift_chart", campaign=title), subtitle=self.text("uplift_chart_sub"),
        )  # fmt: skip
        return [self.note(f"uplift_{verdict}", tone, **words), drawn]

    def next_steps(self) -> Block:
        """Repeat, change or stop – by the reading of each campaign."""
        if self.waves.empty:
            names = self.workspace.config.campaign_names()
            return self.steps((self.text("do_first_campaign"), f"crm campaign plan {names[0] if names else 'NAME'}"))
        items = []
        for (name, wave), found in self.evaluations.items():
            for title, result in self._titled(name, wave, found):
                asked = f"freeze {name} --wave {wave + 1}" if result.reading == "raised" else f"plan {name}"
                command = f"crm campaign {asked}" if self.settings(name, wave) else ""
                items.append((self.text(f"do_{result.reading}", campaign=title), command))
            if found.window.preliminary:
                until = self.local(found.window.ends_at)[:10]
                items.append((self.text("do_wait", campaign=self.title(name, wave), date=until), ""))
        items += [(self.text("do_unjudged", campaign=self.title(*key)), f"crm campaign evaluate {key[0]}") for key in self.unjudged]
        return self.steps(*items)
