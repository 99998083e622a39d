"""Models, their measures and the gate's verdicts in words, for reports and the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from crm_core.models.card import ModelCard
from crm_core.reporting import numbers
from crm_core.reporting.labels import Labels

PERCENT = ("hit_rate",)


class ModelWords:
    """What is said of a model card in one language."""

    def __init__(self, labels: Labels, currency: str) -> None:
        """`labels`: the reader's language; `currency`: of amounts."""
        self.labels, self.currency = labels, currency

    def name(self, model: str) -> str:
        """A model, predictor or score: 'next_purchase_30d' by its stem and its days."""
        stem, days = re.sub(r"_\d+d$", "", model), re.search(r"_(\d+)d$", model)
        if days is None or self.labels.name("models", model) != model:
            return "+".join(self.labels.name("models", part) for part in model.split("+"))
        return self.labels.text("of_days", name=self.labels.name("models", stem), days=days[1])

    def measure(self, value: float | None, metric: str, sign: bool = False) -> str:
        """A measure of a backtest as text."""
        if value is None:
            return numbers.NOTHING
        if metric in PERCENT:
            return numbers.show(value, "points" if sign else "percent", language=self.labels.language, sign=sign)
        form = ",.0f" if abs(value) >= 1000 else ",.4g"
        return f"{value:+{form}}".replace("-", numbers.MINUS) if sign else f"{value:{form}}"

    def row(self, card: ModelCard) -> dict[str, Any]:
        """model, verdict, published, measure, own, rival, gain, tested: one line of the table of models."""
        test = card.backtest
        shown = {
            "model": self.name(card.model),
            "verdict": self.labels.text(f"verdict_{card.verdict}"),
            "published": self.name(card.published) if card.published else numbers.NOTHING,
        }
        empty = dict.fromkeys(("measure", "own", "rival", "gain", "tested"), numbers.NOTHING)
        if test is None:
            return {**shown, **empty}
        own, rival = test.best(baseline=False), test.best(baseline=True)
        gain = self.measure(test.gain, test.metric, sign=True)
        if test.low is not None and test.high is not None:
            gain += f" [{self.measure(test.low, test.metric, True)}, {self.measure(test.high, test.metric, True)}]"
        return {
            **shown,
            "measure": self.labels.name("measures", test.metric),
            "own": self.measure(own.measures[test.metric], test.metric),
            "rival": f"{self.measure(rival.measures[test.metric], test.metric)} ({self.name(rival.name)})",
            "gain": gain,
            "tested": f"{test.fitted_until} – {test.tested_until}",
        }

    def why(self, card: ModelCard) -> str:
        """Why a model is not published, with the numbers found and needed or those of the backtest; '' for one that is."""
        if card.verdict == "published":
            return ""
        name = self.name(card.model)
        if card.verdict == "insufficient" or card.backtest is None:
            short = [need for need in card.needs if not need.enough]
            listed = [
                self.labels.text(
                    "need", what=self.labels.name("needs", need.what), found=f"{need.found:,.0f}", needed=f"{need.needed:,.0f}"
                )
                for need in short
            ]
            return self.labels.text("why_insufficient", model=name, needs=self.labels.joined(listed))
        row = self.row(card)
        return self.labels.text(
            "why_baseline", model=name, own=row["own"], rival=row["rival"], gain=row["gain"], measure=row["measure"],
            published=row["published"],
        )  # fmt: skip

    def span(self, bounds: Any) -> str:
        """'low to high' of shares, as text."""
        if "low" not in bounds:
            return numbers.NOTHING
        low, high = (numbers.show(bounds[end], "percent", language=self.labels.language) for end in ("low", "high"))
        return self.labels.text("span", low=low, high=high)

    def definition(self, card: ModelCard) -> str:
        """What 'lost' means, by the card of the churn model."""
        params = card.params
        key = "lost_by_days" if params.get("gaps") is None else "lost_by_gaps"
        return self.labels.text(key, **{name: params.get(name, "") for name in ("days", "gaps", "least_days")})


def same_question(churn: ModelCard | None, horizons: Sequence[int]) -> int:
    """The days within which churn, too, says whether a member buys; 0 where it asks something else or nothing is published."""
    if churn is None or churn.verdict == "insufficient" or churn.params.get("gaps"):
        return 0
    days = int(churn.params.get("days", 0))
    return days if days in horizons else 0
