"""Net sales of the next weeks, with 80 and 95 % intervals: exponential smoothing in its state-space form.

A local level, with or without a steady slope and (from two years on) a yearly wave, by maximum likelihood (Durbin, Koopman 2012,
Time Series Analysis by State Space Methods, sec. 2–3; the level alone is simple exponential smoothing). The parts are
chosen by how well each week of the second half was foretold from the weeks before it. Logarithms are smoothed, where no week
is empty: sales grow by shares, and no interval falls below nought.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from crm_core.config.models import ForecastSettings
from crm_core.models.card import Backtest, Entrant, ModelCard, Need, judge
from crm_core.models.fitting import normal_quantile
from crm_core.models.outcome import Outcome, Task
from crm_core.store.clock import local_date
from crm_core.store.hashing import as_float

if TYPE_CHECKING:
    from crm_core.store import Tables

Floats: TypeAlias = npt.NDArray[np.float64]
YEAR, PERIOD, HARMONICS = 52, 365.25 / 7, 2
LEVELS = {level: normal_quantile(int(level) / 100) for level in ("80", "95")}
SMOOTHING, LAST_WEEK, LAST_YEAR = "smoothing", "last_week", "seasonal_naive"
BURN = 8
"""Weeks that the likelihood leaves out: as many as the largest model has states to learn first, and a few."""


def weekly_sales(tables: Tables) -> pd.Series:
    """Paid amount (refunds not taken off) per complete week, by the Monday on which it begins (a date); a week without sales is 0.

    Complete: from the first Monday with or after the first sale to the last Sunday up to `tables.as_of`.
    """
    orders = tables.paid_orders.select("net_amount", day=local_date(tables.paid_orders.paid_at, tables.zone))
    first = orders.day.min().to_pyarrow().as_py()
    if first is None:
        return pd.Series(dtype=float)
    start = first + timedelta(days=-first.weekday() % 7)
    past = tables.as_of + timedelta(days=1)
    past -= timedelta(days=past.weekday())
    inside = orders.filter(orders.day >= start, orders.day < past)
    sums = inside.group_by(week=inside.day.truncate("W")).agg(net=as_float(inside.net_amount.sum()))
    found = {row["week"]: row["net"] for row in sums.to_pyarrow().to_pylist()}
    weeks = [start + timedelta(days=7 * number) for number in range(max((past - start).days // 7, 0))]
    return pd.Series([float(found.get(week, 0.0)) for week in weeks], index=weeks, dtype=float)


@dataclass(frozen=True)
class Ahead:
    """What comes after a history: middle (median) and standard error by week ahead, on the log scale where `logs`."""

    middle: Floats
    error: Floats
    logs: bool

    def table(self) -> pd.DataFrame:
        """expected, low80, high80, low95, high95, a row a week; in the history's unit, never below 0."""
        ends: dict[str, Floats] = {"expected": self.middle}
        for level, z in LEVELS.items():
            ends |= {f"low{level}": self.middle - z * self.error, f"high{level}": self.middle + z * self.error}
        return pd.DataFrame({name: np.exp(v) if self.logs else np.maximum(v, 0.0) for name, v in ends.items()})


class Smoother:
    """Exponential smoothing fitted once; `ahead` carries it over any longer history without fitting again."""

    def __init__(self, history: Floats) -> None:
        """`history`: one number a week, at least 2 × BURN of them."""
        self.logs = bool((history > 0).all())
        wave: dict[str, Any] = {"freq_seasonal": [{"period": PERIOD, "harmonics": HARMONICS}], "stochastic_freq_seasonal": [False]}
        kinds: list[dict[str, Any]] = [{"level": level} for level in ("llevel", "lldtrend")]
        kinds += [{**kind, **wave} for kind in kinds] if len(history) >= 2 * YEAR else []
        fitted = [self._fit(self._scaled(history), kind) for kind in kinds]
        half = len(history) // 2
        foretold = [round(float(np.sum(each.llf_obs[half:])), 6) for each in fitted]
        best = int(np.argmax(foretold))
        self.parts, self._result = kinds[best], fitted[best]

    def ahead(self, history: Floats, weeks: int) -> Ahead:
        """The `weeks` after `history`, with the weights that were fitted."""
        middle, error = self._carried(self._scaled(history), weeks)
        return Ahead(middle, error * self._widening(history, weeks), self.logs)

    def _carried(self, values: Floats, weeks: int) -> tuple[Floats, Floats]:
        found = self._result.apply(values).get_forecast(weeks)
        return np.asarray(found.predicted_mean), np.asarray(found.se_mean)

    def _widening(self, history: Floats, weeks: int) -> float:
        """By how much guesses from every third week of the second half were further off than the model held likely; at least 1.
        Its own error takes its weights for known: where they are not (a level that seemed never to move), it is too small."""
        values, squares = self._scaled(history), []
        for origin in range(len(values) // 2, len(values) - 1, 3):
            middle, error = self._carried(values[:origin], min(weeks, len(values) - origin))
            squares.append(((values[origin : origin + len(middle)] - middle) / np.maximum(error, 1e-9)) ** 2)
        return float(np.sqrt(max(np.mean(np.concatenate(squares)), 1.0)))

    @property
    def params(self) -> dict[str, Any]:
        """Variances, and which parts were chosen."""
        return {
            "logs": self.logs, "slope": self.parts["level"] == "lldtrend", "wave": "freq_seasonal" in self.parts,
            **dict(zip(self._result.param_names, map(float, self._result.params), strict=True)),
        }  # fmt: skip

    def _scaled(self, history: Floats) -> Floats:
        return np.log(np.maximum(history, 1e-2)) if self.logs else history

    @staticmethod
    def _fit(values: Floats, kind: dict[str, Any]) -> Any:
        # imported here: reading a stored card must not wait for it
        from statsmodels.tsa.statespace.structural import UnobservedComponents

        return UnobservedComponents(values, loglikelihood_burn=BURN, **kind).fit(disp=False, method="powell")


def naive(history: Floats, weeks: int, lag: int) -> Ahead:
    """The week `lag` weeks before each (1: the last one, whatever the distance; 52: last year's), with the spread of such guesses
    in the history."""
    logs = bool((history > 0).all())
    values = np.log(history) if logs else history
    places = np.array([len(values) - lag + (ahead % lag if lag > 1 else 0) for ahead in range(weeks)])
    errors = []
    for ahead in range(1, weeks + 1):
        back = lag if lag > 1 else ahead
        misses = values[back:] - values[:-back]
        errors.append(np.sqrt(np.mean(misses**2)))
    return Ahead(values[places], np.array(errors), logs)


def forecast(sales: pd.Series, as_of: date, settings: ForecastSettings) -> ModelCard:
    """The card of the forecast; `params` has `rows` (week, expected, low80 … high95) of whatever the gate let through.

    Backtest: from each of the last `settings.origins` weeks that leave `settings.weeks` to come, smoothing (fitted before the
    first of them) beside last week and, where a year lies before them, last year's week; mae in the currency, wape = Σ |error| /
    Σ sales, cover80 and cover95 the shares of weeks inside the intervals. `sales` as `weekly_sales` gives them.
    """
    history, weeks = sales.to_numpy(dtype=float), settings.weeks
    first = len(history) - weeks - settings.origins + 1
    needs = (
        Need("weeks_before_test", max(first, 0), settings.need_weeks),
        Need("weeks_with_sales", int((history > 0).sum()), settings.need_weeks),
    )
    if not all(need.enough for need in needs):
        return judge("forecast", as_of, needs, None)
    model = Smoother(history[:first])
    rivals = {LAST_WEEK: 1, **({LAST_YEAR: YEAR} if first >= YEAR + BURN else {})}
    guesses: dict[str, list[Ahead]] = {name: [] for name in (SMOOTHING, *rivals)}
    for origin in range(first, first + settings.origins):
        guesses[SMOOTHING].append(model.ahead(history[:origin], weeks))
        for name, lag in rivals.items():
            guesses[name].append(naive(history[:origin], weeks, lag))
    truth = np.stack([history[origin : origin + weeks] for origin in range(first, first + settings.origins)])
    entrants = tuple(Entrant(name, name != SMOOTHING, _measures(each, truth)) for name, each in guesses.items())
    days = [day + timedelta(days=6) for day in sales.index]
    test = Backtest("mae", True, days[first - 1], days[-1], truth.size, entrants)
    card = judge("forecast", as_of, needs, test)
    final = Smoother(history)
    chosen = final.ahead(history, weeks) if card.published == SMOOTHING else naive(history, weeks, rivals[card.published])
    rows = chosen.table().round(2)
    rows.insert(0, "week", [str(sales.index[-1] + timedelta(days=7 * ahead)) for ahead in range(1, weeks + 1)])
    params = {"rows": rows.to_dict("records"), **(final.params if card.published == SMOOTHING else {})}
    return judge("forecast", as_of, needs, test, params=params)


def run(task: Task) -> list[Outcome]:
    """The forecast as a model of conf/models.yml: a card, no scores of members."""
    return [Outcome(forecast(weekly_sales(task.tables), task.tables.as_of, task.settings.forecast))]


def _measures(guesses: list[Ahead], truth: Floats) -> dict[str, float]:
    tables = [guess.table() for guess in guesses]
    middle = np.stack([table["expected"].to_numpy() for table in tables])
    inside = {
        f"cover{level}": float(
            np.mean(
                [
                    (table[f"low{level}"] <= real) & (real <= table[f"high{level}"])
                    for table, real in zip(tables, truth, strict=True)
                ]
            )
        )
        for level in LEVELS
    }
    misses = np.abs(middle - truth)
    return {"mae": float(misses.mean()), "wape": float(misses.sum() / truth.sum()) if truth.sum() else float("nan"), **inside}
