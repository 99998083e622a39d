"""`member_value`: what members will bring, who may not come back and why, when the next purchase comes – and which of the models
behind it beat their baselines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import ibis
import ibis.expr.types as ir
import pandas as pd

from crm_core.measures import FEATURES
from crm_core.models import ModelCard
from crm_core.reporting import blocks, numbers
from crm_core.reporting.blocks import Block
from crm_core.reporting.calibration import calibration
from crm_core.reporting.charts import grid
from crm_core.reporting.views.base import View, first_row, frame
from crm_core.reporting.views.model_words import same_question

BANDS = {"high": "band_high", "medium": "band_medium", "low": "band_low"}
ALIVE = {"p_alive": "grid_p_alive", "churn": "grid_churn"}
"""Score of the grid → its title."""
DECILES, ALIVE_STEPS = 10, 5
WITHIN = 30  # days of the headline's next purchases


class MemberValue(View):
    """Sections of the report on value, churn and next purchases."""

    reads = ("orders", "member_features", "member_scores", "model_cards")
    metrics = ("churn_probability", "expected_precision", "next_purchase_window", "customer_value", "model_backtest")

    @cached_property
    def cards(self) -> dict[str, ModelCard]:
        """What became of each model."""
        found: dict[str, ModelCard] = self.workspace.models
        return found

    @cached_property
    def totals(self) -> pd.DataFrame:
        """By score: members, sum, mean, and how many have at least one half."""
        scores = self.workspace.scores
        totals = scores.group_by("model").agg(
            members=scores.count(), total=scores.score.cast("decimal(38, 6)").sum(), half=scores.count(where=scores.score >= 0.5)
        )
        return frame(totals.order_by("model")).set_index("model")

    def _total(self, model: str, column: str = "total") -> Any:
        return self.totals[column].get(model)

    def _of(self, model: str) -> ir.Table:
        scores = self.workspace.scores
        return scores.filter(scores.model == model)

    def headline(self) -> Block:
        """Buyers who will probably be lost, those expected soon, and the value to come."""
        churn, value = self.cards.get("churn"), self._value_name()
        lost, buyers = self._total("churn"), self._total("churn", "members")
        days = churn.params.get("days", 0) if churn else 0
        ready = [card for card in self.cards.values() if card.verdict == "published"]
        sentence = self.text("value_sentence_none")
        if lost is not None:
            sentence = self.text("value_sentence", buyers=self.people(buyers), lost=self.people(lost), days=days)
        sentence += " " + self.text("models_sentence", all=len(self.cards), good=len(ready))
        horizon = value.removeprefix("value_").removesuffix("d") if value else ""
        return self.opening(
            self.card("expected_lost", lost, "people", metric="churn_probability"),
            self.card("band_high_members", self._band_sizes().get("high", 0) if lost is not None else None, "people"),
            self.card("expected_back", self._total(f"next_purchase_{WITHIN}d"), "people"),
            self.card("expected_value", self._total(value) if value else None, "money", metric="customer_value",
                      sentence=self.text("in_days", days=horizon) if horizon else ""),
            sentence=sentence,
        )  # fmt: skip

    def verdicts(self) -> Block:
        """Every model: published, its baseline in its place, or not enough data; how it did against the best baseline."""
        if not self.cards:
            return self.missing(self.text("models"), self.text("no_models_cost"))
        rows = pd.DataFrame([self.words.row(card) for card in self.cards.values()])
        rows["own"] = [f"{row.own} ({row.measure})" if row.own != numbers.NOTHING else row.own for row in rows.itertuples()]
        columns = self.columns(
            model="model", verdict="verdict", published="published", own="of_model", rival="of_baseline",
            gain="gain_interval", tested="tested_on",
        )  # fmt: skip
        parts = [self.table(rows, columns, more=self.text("all_models", count=len(rows)), note=self.text("gate_note"))]
        parts += [
            blocks.note(self.labels, self.words.why(card), "warn") for card in self.cards.values() if card.verdict != "published"
        ]
        return blocks.group(*parts)

    def bands(self) -> Block:
        """Members in each band today, and how many of such members were lost when the model was tried."""
        card = self.cards.get("churn")
        if card is None or card.verdict == "insufficient":
            return self.unforeseen("churn", card)
        sizes = self._band_sizes()
        rows = pd.DataFrame([
            {
                "band": self.text(title), "members": sizes.get(name, 0),
                "precision": card.params["bands"].get(name, {}).get("lost"),
                "interval": self.words.span(card.params["bands"].get(name, {})),
                "tried": card.params["bands"].get(name, {}).get("buyers", 0),
            }
            for name, title in BANDS.items()
        ])  # fmt: skip
        rows["share"] = rows["members"] / max(rows["members"].sum(), 1)
        columns = self.columns(
            band="band", members="members people", share="share percent bar",
            precision="expected_precision percent @expected_precision", interval="interval", tried="tried_on count",
        )  # fmt: skip
        shown = self.masked(self.masked(rows, "members", ["share"]), "tried", ["precision", "interval"])
        return self.table(shown, columns, note=self.words.definition(card))

    def _band_sizes(self) -> dict[str, int]:
        scores = self._of("churn")
        counted = scores.group_by("label").agg(members=scores.count()).to_pyarrow().to_pylist()
        return {row["label"]: row["members"] for row in counted}

    def reasons(self) -> Block:
        """Of the members in the highest band: what most often weighs most."""
        card, scores = self.cards.get("churn"), self._of("churn")
        if card is None or card.verdict == "insufficient":
            return self.unforeseen("churn", card)
        if card.published != "boosted_trees":
            return self.missing(self.words.name("churn"), self.text("no_reasons_cost"))
        first = scores.filter(scores.label == "high", scores.reason != "").select(main=scores.reason.split(";")[0])
        upward = first.filter(first.main.contains("+")).select(name=first.main.split(":")[0])
        counted = frame(upward.group_by("name").agg(members=upward.count()).order_by(ibis.desc("members"), "name").limit(8))
        if counted.empty:
            return self.note("no_reasons")
        counted["title"] = [self._feature(name) for name in counted["name"]]
        counted["share"] = counted["members"] / self._band_sizes().get("high", 1)
        return self.bars(self.masked(counted, "members", ["share"]), "share", "percent", "reasons_chart")

    def _feature(self, name: str) -> str:
        feature = FEATURES.get(name)
        return str(getattr(feature, self.language)) if feature else name

    def calibration(self) -> Block:
        """Expected against found, by tenths of the members that the model was tried on."""
        card = self.cards.get("churn")
        if card is None or card.verdict == "insufficient":
            return self.unforeseen("churn", card)
        rows = pd.DataFrame(card.params["calibration"]).rename(columns={"lost": "found"})
        return calibration(
            rows, self.labels, title=self.text("calibration_chart"),
            subtitle=self.text("calibration_chart_sub", count=numbers.show(rows["buyers"].sum(), "count")),
            x_title=self.text("calibration_x"), y_title=self.text("calibration_y"),
        )  # fmt: skip

    def next_purchases(self) -> Block:
        """By horizon: buyers expected back, and the members with at least an even chance; then when they come."""
        card = self.cards.get("next_purchase")
        if card is None or card.verdict == "insufficient":
            return self.unforeseen("next_purchase", card)
        rows = pd.DataFrame([
            {
                "within": self.text("in_days", days=days), "expected": self._total(f"next_purchase_{days}d"),
                "even": self._total(f"next_purchase_{days}d", "half"),
                "share": numbers.share(self._total(f"next_purchase_{days}d"), self._total(f"next_purchase_{days}d", "members")),
            }
            for days in card.params["horizons"]
        ])  # fmt: skip
        columns = self.columns(
            within="within", expected="expected_buyers people", share="share percent bar", even="even_chance people"
        )
        table = self.table(
            self.masked(self.masked(rows, "expected", ["share"]), "even"), columns, note=self._window_note(card.params)
        )
        return blocks.group(table, *self._windows(card))

    def _window_note(self, params: Mapping[str, Any]) -> str:
        churn = self.cards.get("churn")
        days = same_question(churn, params["horizons"])
        same = f" {self.text('same_question', days=days)}" if days else ""
        if "window_held" not in params:
            return same.strip()
        said, held = (self.show(params[name], "percent") for name in ("window", "window_held"))
        note = self.text("window_note", days=params["horizons"][-1], said=said, held=held)
        return (f"{note} {self.text('chances_age')}" if "curves" in params else note) + same

    def _windows(self, card: ModelCard) -> list[Block]:
        likely = self._of(f"next_purchase_{card.params['horizons'][-1]}d").select("member_id", chance="score")
        scores = self._of("next_purchase_days").inner_join(likely, "member_id")
        week, chance = (scores.score / 7).ceil().cast("int64"), scores.chance.cast("decimal(38, 6)")
        counted = frame(scores.group_by(week=week).agg(members=chance.sum()).order_by("week"))
        if counted.empty:
            return []
        counted["title"] = [self.text("week_number", number=number) for number in counted["week"]]
        return [self.bars(self.masked(counted, "members"), "members", "people", "weeks_chart")]

    def categories(self) -> Block:
        """What the next order will mostly be of: members by category."""
        card = self.cards.get("next_category")
        if card is None or card.verdict == "insufficient":
            return self.unforeseen("next_category", card)
        scores = self._of("next_category")
        counted = scores.group_by("label").agg(members=scores.count())
        rows = frame(counted.order_by(ibis.desc("members"), "label").limit(10)).rename(columns={"label": "title"})
        rate = card.backtest.best(baseline=card.verdict == "baseline").measures["hit_rate"] if card.backtest else None
        return self.bars(self.masked(rows, "members"), "members", "people", "category_chart", rate=self.show(rate, "percent"))

    def value_grid(self) -> Block:
        """Tenths of members by value × the chance that they are still there."""
        value, alive = self._value_name(), "p_alive" if "p_alive" in self.totals.index else "churn"
        if value is None or alive not in self.totals.index:
            return self.missing(self.text("value_and_alive"), self.text("no_grid_cost"))
        worth, there = self._of(value), self._of(alive)
        chance = there.score if alive == "p_alive" else 1 - there.score
        both = worth.select("member_id", worth=worth.score).inner_join(there.select("member_id", chance=chance), "member_id")
        limits = list(first_row(both.aggregate(**{f"q{n}": both.worth.quantile(n / DECILES) for n in range(1, DECILES)})).values())
        tenth = sum(((both.worth > limit).cast("int64") for limit in limits), ibis.literal(1))
        step = ibis.least((both.chance * ALIVE_STEPS).floor().cast("int64"), ALIVE_STEPS - 1)
        counted = both.group_by(tenth=tenth, step=step).agg(members=ibis._.count(), worth=ibis._.worth.sum())
        found = frame(counted).set_index(["tenth", "step"])["members"]
        rows = pd.DataFrame(
            [(tenth, step, int(found.get((tenth, step), 0))) for tenth in range(DECILES, 0, -1) for step in range(ALIVE_STEPS)],
            columns=["tenth", "step", "members"],
        )  # fmt: skip
        rows = rows[rows["tenth"].isin({place for place, _ in found.index})]
        rows["text"] = [self.people(members) if members else "" for members in rows["members"]]
        rows["members"] = rows["members"].where(rows["members"] >= self.min_cell, 0)
        rows["x"] = [f"{100 * step // ALIVE_STEPS}–{100 * (step + 1) // ALIVE_STEPS} %" for step in rows["step"]]
        rows["y"] = [self.text("tenth", number=DECILES + 1 - tenth) for tenth in rows["tenth"]]
        return grid(
            rows, "x", "y", "members", self.labels, text="text", title=self.text("value_grid"),
            subtitle=self.text("value_grid_sub"), x_title=self.text(ALIVE[alive]),
            y_title=self.text("grid_value", days=value.removeprefix("value_").removesuffix("d")),
        )  # fmt: skip

    def _value_name(self) -> str | None:
        names = [name for name in self.totals.index if name.startswith("value_")]
        return min(names, key=len) if names else None

    def next_steps(self) -> Block:
        """Whom to write to, and what to mend where a model was withheld."""
        items = []
        high = self._band_sizes().get("high", 0)
        if high >= max(self.min_cell, 1):
            items.append((self.text("do_high", members=self.people(high)), "crm model churn"))
        if (soon := self._total(f"next_purchase_{WITHIN}d", "half")) and soon >= max(self.min_cell, 1):
            items.append((self.text("do_soon", members=self.people(soon), days=WITHIN), "crm model next_purchase"))
        held = [card for card in self.cards.values() if card.verdict != "published"]
        if held:
            which = self.labels.joined([self.words.name(card.model) for card in held][:4])
            items.append((self.text("do_withheld", which=which), f"crm model {held[0].model}"))
        items.append((self.text("do_member_scores"), "crm member MEMBER_ID"))
        return self.steps(*items)
