"""`product_affinity`: what is bought together, what comes next, which first purchase brings members back, and net sales ahead."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Any

import pandas as pd

from crm_core.errors import InputError
from crm_core.measures import bought
from crm_core.models import ModelCard, basket_rules, entry_items, next_after
from crm_core.models.forecast import weekly_sales
from crm_core.reporting import blocks
from crm_core.reporting.band_chart import band
from crm_core.reporting.blocks import Block
from crm_core.reporting.views.base import View, frame, scalar

LEAST_LIFT, CHANCE, FEWEST = 1.1, 0.05, 20
SHOWN, DRAWN = 30, 8
BY = ("category", "product")


class ProductAffinity(View):
    """Sections of the report on products that belong together.

    `by`: category or product; `window`: local days of orders; `min_support`: share of orders that a set of items must be in;
    `max_items`: items of the largest set. Where products have no categories, `by` is product.
    """

    reads = ("orders", "order_lines", "products", "model_cards")
    metrics = ("support", "confidence", "basket_lift", "next_purchase_share", "entry_share", "sales_forecast", "backtest")

    def __init__(
        self, workspace: Any, by: str = "category", window: int = 365, min_support: float = 0.005, max_items: int = 3
    ) -> None:
        """Raises InputError where `by` is neither."""
        super().__init__(workspace)
        if by not in BY:
            raise InputError(f"by '{by}' is not known; allowed: {', '.join(BY)}")
        self.window, self.min_support, self.max_items = window, min_support, max_items
        tables = workspace.tables
        self.by: Any = by
        if by == "category" and not scalar(tables.products.category.count()):
            self.by = "product"
        self.least = max(FEWEST, self.min_cell)

    @cached_property
    def _names(self) -> dict[str, str]:
        """Product id → what the reader calls it; a name that two products share is followed by the id."""
        if self.by == "category":
            return {}
        products = self.workspace.tables.products
        asked = {*self._rules["consequent"], *(item for items in self._rules["antecedent"] for item in items)}
        asked |= {*self._next["antecedent"], *self._next["consequent"], *self._entry["item"]}
        rows = frame(products.filter(products.product_id.isin(sorted(asked))).select("product_id", "product_name"))
        rows["twice"] = rows["product_name"].duplicated(keep=False)
        return {
            row.product_id: f"{row.product_name} ({row.product_id})" if row.twice else row.product_name
            for row in rows.itertuples()
            if row.product_name
        }

    def _name(self, item: str) -> str:
        return self._names.get(item, item)

    @cached_property
    def _baskets(self) -> Any:
        return bought(self.workspace.tables, self.by, self.window).select("item", basket_id="order_id")

    @cached_property
    def _counts(self) -> dict[str, int]:
        """Orders with an item, and with two or more."""
        sizes = self._baskets.group_by("basket_id").agg(items=self._baskets.count())
        row = frame(sizes.aggregate(orders=sizes.count(), several=sizes.count(where=sizes["items"] > 1))).iloc[0]
        return {"orders": int(row["orders"]), "several": int(row["several"])}

    @cached_property
    def _all_rules(self) -> pd.DataFrame:
        return basket_rules(self._baskets, self.min_support, 0.001, self.max_items)

    @cached_property
    def _rules(self) -> pd.DataFrame:
        """Rules worth using: more than chance explains (p × rules looked at), a lift that matters, of each set of items the
        surest rule, and no larger set that says hardly more than a smaller one. First those that bring most."""
        rules = self._all_rules
        found = rules[(rules["lift"] >= LEAST_LIFT) & (rules["p"] * len(rules) < CHANCE) & (rules["baskets"] >= self.least)]
        sure = {(row.antecedent, row.consequent): row.confidence for row in rules.itertuples()}
        more = [
            all(
                row.confidence >= LEAST_LIFT * sure.get((tuple(x for x in row.antecedent if x != item), row.consequent), 0.0)
                for item in row.antecedent
                if len(row.antecedent) > 1
            )
            for row in found.itertuples()
        ]
        found = found[pd.Series(more, index=found.index, dtype=bool)]
        kind = [tuple(sorted((*row.antecedent, row.consequent))) for row in found.itertuples()]
        found = found.assign(kind=kind, extra=found["baskets"] * (1 - 1 / found["lift"]))
        found = found.sort_values(["confidence", "consequent"], ascending=[False, True]).drop_duplicates("kind")
        return found.assign(order=-found["extra"].round(6)).sort_values(["order", "kind"], ignore_index=True).head(SHOWN)

    @cached_property
    def _next(self) -> pd.DataFrame:
        rows = next_after(self.workspace.tables, self.by, self.least)
        rows = rows[(rows["lift"] >= LEAST_LIFT) & (rows["low"] > rows["base"]) & (rows["members"] >= self.min_cell)]
        rows = rows.assign(order=-(rows["followed"] * (1 - 1 / rows["lift"])).astype(float).round(6))
        return rows.sort_values(["order", "antecedent", "consequent"], ignore_index=True).head(SHOWN)

    @cached_property
    def _entry(self) -> pd.DataFrame:
        rows = entry_items(self.workspace.tables, self.by, least=self.least)
        return rows.sort_values(["members", "item"], ascending=[False, True], ignore_index=True).head(SHOWN)

    @property
    def _supplied(self) -> bool:
        tables = self.workspace.tables
        return bool(tables.supplied("orders") and tables.supplied("order_lines"))

    def _absent(self) -> Block:
        if self._supplied or not self.workspace.tables.supplied("orders"):
            return self.no_buyers()
        return self.missing(self.labels.name("tables", "order_lines"), self.text("cost_order_lines"))

    def headline(self) -> Block:
        """Orders with several items, the pair that brings most, and what is bought next."""
        if not self._supplied or not self._counts["orders"]:
            return self._absent()
        several = self._counts["several"] / self._counts["orders"]
        cards = [
            self.card("orders_looked_at", self._counts["orders"], "count", sentence=self.text("last_days", days=self.window)),
            self.card("orders_with_several", several, "percent", sentence=self.text(f"several_{self.by}")),
        ]
        sentence = self.text("affinity_nothing", orders=self.show(self._counts["orders"], "count"))
        if len(self._rules):
            best = self._rules.iloc[0]
            words = {"first": self._all(best["antecedent"]), "second": self._name(best["consequent"])}
            times = self.show(best["lift"], "ratio")
            sentence = self.text("affinity_sentence", **words, times=times, share=self.show(best["confidence"], "percent"))
            pair = f"{words['first']} → {words['second']}"
            cards.append(self.card("best_pair", best["lift"], "ratio", sentence=pair, metric="basket_lift"))
        others = self._next[self._next["antecedent"] != self._next["consequent"]]
        for best in others.head(1).itertuples():
            pair = f"{self._name(best.antecedent)} → {self._name(best.consequent)}"
            cards.append(self.card("best_next", best.median_days, "days", sentence=pair, metric="next_purchase_share"))
        return self.opening(*cards, sentence=sentence)

    def _all(self, items: tuple[str, ...]) -> str:
        return " + ".join(self._name(item) for item in items)

    def together(self) -> Block:
        """Rules worth using, as bars of lift and as a table."""
        if not self._supplied:
            return self._absent()
        if self._rules.empty:
            return self.note("affinity_no_rules", orders=self.show(self._counts["orders"], "count"), count=len(self._all_rules))
        rows = self._rules.assign(
            first=[self._all(items) for items in self._rules["antecedent"]],
            second=[self._name(item) for item in self._rules["consequent"]],
            base=self._rules["confidence"] / self._rules["lift"],
        )
        rows["title"] = rows["first"] + " → " + rows["second"]
        columns = self.columns(
            first="bought", second="bought_too", baskets="rule_orders count @support", confidence="rule_share percent @confidence",
            base="rule_base percent", lift="rule_lift ratio @basket_lift",
        )  # fmt: skip
        return blocks.group(
            self.bars(rows.head(DRAWN), "lift", "ratio", "rules_chart"),
            self.table(rows, columns, note=self.text("rules_note", count=len(self._all_rules)), more=self._more(rows)),
        )

    def _more(self, rows: pd.DataFrame) -> str:
        return self.text("all_lines", count=len(rows))

    def next_purchase(self) -> Block:
        """After A, next B: share against what anybody buys next, and after how many days."""
        if not self._supplied:
            return self._absent()
        if self._next.empty:
            return self.note("affinity_no_next", least=self.least)
        same = self.text("bought_again")
        rows = self._next.assign(
            first=[self._name(item) for item in self._next["antecedent"]],
            second=[same if row.antecedent == row.consequent else self._name(row.consequent) for row in self._next.itertuples()],
        )
        columns = self.columns(
            first="after_buying", second="comes_next", members="members people", share="next_share percent @next_purchase_share",
            base="next_base percent", lift="rule_lift ratio", median_days="next_days days",
        )  # fmt: skip
        return self.table(rows, columns, note=self.text("next_note"), more=self._more(rows))

    def entry(self) -> Block:
        """First purchases and the share of members who came back within 90 days."""
        if not self._supplied:
            return self._absent()
        if self._entry.empty:
            return self.note("affinity_no_entry", least=self.least)
        rows = self._entry.assign(title=[self._name(item) for item in self._entry["item"]])
        rows["reading"] = [
            self.text("above_base" if row.low > row.base else "below_base" if row.high < row.base else "like_base")
            for row in rows.itertuples()
        ]
        columns = self.columns(
            title="first_bought", members="members people", share="entry_came_back percent bar @entry_share",
            reading="entry_against_all",
        )  # fmt: skip
        note = self.text("entry_note", base=self.show(rows["base"].iloc[0], "percent"))
        return self.table(rows, columns, note=note, more=self._more(rows))

    def sales(self) -> Block:
        """Net sales of the next weeks with their intervals, what they were tried against, and which guess is shown."""
        if not self.workspace.tables.supplied("orders"):
            return self.no_buyers()
        if not self.workspace.tables.priced:
            return self.missing(self.text("amounts"), self.text("no_amounts_forecast"))
        card = self.workspace.models.get("forecast")
        if card is None or not card.published:
            return self.unforeseen("forecast", card)
        rows, weeks = pd.DataFrame(card.params["rows"]), weekly_sales(self.workspace.tables)
        past = pd.DataFrame({"week": [str(day) for day in weeks.index], "value": weeks.to_numpy()}).tail(78)
        whole = self.show(rows["expected"][:4].sum(), "money")
        verdict = self.note(
            f"forecast_{card.verdict}",
            "good" if card.verdict == "published" else "warn",
            **self._errors(card),
            four=whole,
            first=rows["week"].iloc[0],
        )
        drawn = band(
            past,
            rows,
            self.labels,
            title=self.text("forecast_chart"),
            subtitle=self.text("forecast_chart_sub"),
            currency=self.currency,
        )
        began = [date.fromisoformat(week) <= self.workspace.as_of for week in rows["week"]]
        shown = rows.assign(ends=[self.text("running_week", week=w) if b else w for w, b in zip(rows["week"], began, strict=True)])
        columns = self.columns(
            ends="week_of", expected="expected_sales money @sales_forecast", low80="low80 money", high80="high80 money",
            low95="low95 money", high95="high95 money",
        )  # fmt: skip
        return blocks.group(verdict, drawn, self.table(shown, columns, more=self._more(shown)), self._backtest(card))

    def _errors(self, card: ModelCard) -> dict[str, str]:
        test = card.backtest
        assert test is not None
        kinds = {"ours": test.best(baseline=False), "theirs": test.best(baseline=True)}
        words = {kind: self.show(entrant.measures["wape"], "percent") for kind, entrant in kinds.items()}
        return {**words, "rival": self.labels.name("models", kinds["theirs"].name)}

    def _backtest(self, card: ModelCard) -> Block:
        assert card.backtest is not None
        rows = pd.DataFrame(
            [
                {
                    "guess": self.labels.name("models", each.name),
                    "shown": self.text("yes" if each.name == card.published else "no"),
                    **each.measures,
                }
                for each in card.backtest.entrants
            ]
        )
        columns = self.columns(
            guess="forecast_guess",
            wape="forecast_error percent @backtest",
            cover80="cover80 percent",
            cover95="cover95 percent",
            shown="forecast_used",
        )
        span = {"first": str(card.backtest.fitted_until), "last": str(card.backtest.tested_until)}
        return self.table(rows, columns, title=self.text("forecast_tried"), note=self.text("forecast_tried_note", **span))

    def next_steps(self) -> Block:
        """What the pairs and the next purchases suggest."""
        items: list[tuple[str, str]] = []
        if self._supplied and len(self._rules):
            best = self._rules.iloc[0]
            items.append((self.text("do_bundle", first=self._all(best["antecedent"]), second=self._name(best["consequent"])), ""))
        same = self._next["antecedent"] == self._next["consequent"] if self._supplied else pd.Series(dtype=bool)
        for key, rows in (("do_next", self._next[~same]), ("do_again", self._next[same])) if len(same) else ():
            for best in rows.head(1).itertuples():
                days = self.show(best.median_days, "days")
                words = {"first": self._name(best.antecedent), "second": self._name(best.consequent), "days": days}
                items.append((self.text(key, **words), ""))
        return self.steps(*items) if items else self.note("nothing_to_do")
