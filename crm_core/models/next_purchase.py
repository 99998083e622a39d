"""When the next purchase comes: the probability within each horizon and a window of days, against 'the mean gap alone'.

With h the longest horizon: fitted on the waits known h days ago and tried on who bought since, on distinct histories and how many
have each, so that no member leaves the engine. The mean of the horizons' Brier scores decides. The baselines: each member's own
mean gap as the mean of exponential waits, and the share of all buyers who came back in the h days before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis.util import gen_name

from crm_core.config.models import NextPurchaseSettings
from crm_core.models.card import Backtest, Entrant, Need, judge
from crm_core.models.cells import purchase_days
from crm_core.models.measures import Z95
from crm_core.models.outcome import Outcome, Task
from crm_core.models.waiting import CELL, Cells, Floats, Waiting, last_purchases, spells

NAME, MODEL, GAP, RATE = "next_purchase", "waiting_times", "mean_gap", "base_rate"
CHUNK = 20_000
Chances = Callable[[Cells, Floats], Floats]
"""Histories and days → (histories, days): the probability of a purchase within so many days."""


@dataclass(frozen=True)
class Tried:
    """Histories at a day, and what followed: `back` = days until the next purchase (0: none within the longest horizon)."""

    cells: Cells
    back: Floats
    weight: Floats


def run(task: Task) -> list[Outcome]:
    """The outcome: scores next_purchase_{h}d (probability) and next_purchase_days (median and window of the days until the next
    purchase, for those who come back within the longest horizon)."""
    settings, day = task.settings.next_purchase, task.tables.as_of
    longest = settings.horizons[-1]
    before, earlier = (day - timedelta(days=longest * times) for times in (1, 2))
    bought = purchase_days(task.tables).select("member_id", "day")
    days = task.engine.create_table(gen_name("purchase_days"), bought, temp=True)
    needs = _needs(days, before, settings)
    if not all(need.enough for need in needs):
        return [Outcome(judge(NAME, day, needs, None))]
    made = _predictors(days, before, earlier, settings)
    tried = _tried(days, before, day)
    backtest = _backtest(tried, made, before, day, settings)
    chosen = judge(NAME, day, needs, backtest).published
    fitted = Waiting.fit(spells(days, day).to_pyarrow())
    chances = _predictors(days, day, before, settings, fitted)[chosen]
    params: dict[str, Any] = {"horizons": settings.horizons, "mean_gap": fitted.mean_gap}
    if chosen == MODEL:
        params["curves"] = fitted.curves.round(6).tolist()
    if chosen != RATE:
        params |= {"window": settings.window, "window_held": _coverage(tried, made[chosen], settings)}
    card = judge(NAME, day, needs, backtest, params=params, seed=task.settings.seed)
    return [Outcome(card, _scores(days, day, chances, settings, has_window=chosen != RATE))]


def _needs(days: ir.Table, before: date, settings: NextPurchaseSettings) -> tuple[Need, ...]:
    known = days.filter(days.day <= ibis.literal(before))
    asked = known.aggregate(buyers=known.member_id.nunique(), bought=known.count(), first=known.day.min())
    found = asked.to_pyarrow().to_pylist()[0]
    seen, needed = (before - (found["first"] or before)).days, settings.horizons[-1] + settings.need_days
    return (
        Need("days_of_orders_before_backtest", float(seen), needed),
        Need("buyers_before_backtest", float(found["buyers"]), settings.need_buyers),
        Need("repeat_orders", float(found["bought"] - found["buyers"]), settings.need_gaps),
    )


def _predictors(
    days: ir.Table, until: date, earlier: date, settings: NextPurchaseSettings, fitted: Waiting | None = None
) -> dict[str, Chances]:
    """The model and its baselines by what is known at `until`; the base rate is that of the time since `earlier`."""
    fitted = fitted or Waiting.fit(spells(days, until).to_pyarrow())
    past = _tried(days, earlier, until)
    known = np.arange(1, settings.horizons[-1] + 1)
    weight = max(past.weight.sum(), 1.0)
    shares = np.array([past.weight[(past.back > 0) & (past.back <= each)].sum() / weight for each in known])
    return {MODEL: fitted.returning, GAP: partial(_by_gap, fitted.mean_gap), RATE: partial(_by_rate, known, shares)}


def _by_gap(mean_gap: float, cells: Cells, days: Floats) -> Floats:
    found: Floats = 1 - np.exp(-days[None, :] / cells.gap(mean_gap)[:, None])
    return found


def _by_rate(known: Floats, shares: Floats, cells: Cells, days: Floats) -> Floats:
    return np.tile(np.interp(days, known, shares), (len(cells.waited), 1))


def _tried(days: ir.Table, start: date, end: date) -> Tried:
    state = last_purchases(days, start)
    after = days.filter(days.day > ibis.literal(start), days.day <= ibis.literal(end))
    first = after.group_by("member_id").agg(_first=after.day.min())
    joined = state.left_join(first, "member_id")
    back = joined._first.delta(ibis.literal(start), unit="day").fill_null(0)
    rows = joined.select(*CELL, back=back)
    counted = rows.group_by(*CELL, "back").agg(weight=rows.count()).order_by(*CELL, "back").to_pyarrow()
    return Tried(Cells.of(counted), *(counted[name].to_numpy().astype(float) for name in ("back", "weight")))


def _backtest(tried: Tried, made: dict[str, Chances], before: date, day: date, settings: NextPurchaseSettings) -> Backtest:
    horizons = np.array(settings.horizons, float)
    came = (tried.back[:, None] > 0) & (tried.back[:, None] <= horizons[None, :])
    errors = {name: (chances(tried.cells, horizons) - came) ** 2 for name, chances in made.items()}
    rows = tried.weight.sum()

    def mean(values: Floats) -> float:
        return float((values * tried.weight).sum() / rows)

    entrants = tuple(
        Entrant(
            name,
            name != MODEL,
            {"brier": mean(each.mean(axis=1))}
            | {f"brier_{horizon}d": mean(each[:, place]) for place, horizon in enumerate(settings.horizons)},
        )
        for name, each in errors.items()
    )
    rival = min((GAP, RATE), key=lambda name: mean(errors[name].mean(axis=1)))
    better = (errors[rival] - errors[MODEL]).mean(axis=1)
    half = Z95 * (mean((better - mean(better)) ** 2) / rows) ** 0.5
    return Backtest("brier", True, before, day, int(rows), entrants, mean(better) - half, mean(better) + half)


def _window(cells: Cells, chances: Chances, settings: NextPurchaseSettings) -> Floats:
    """(3, histories): median, first and last day of the window in which those buy who buy within the longest horizon."""
    grid = np.arange(1, settings.horizons[-1] + 1, dtype=float)
    rest = (1 - settings.window) / 2
    found = np.full((3, len(cells.waited)), np.nan)
    for start in range(0, len(cells.waited), CHUNK):
        part = slice(start, start + CHUNK)
        some = Cells(cells.purchases[part], cells.gap_step[part], cells.waited[part])
        reached = chances(some, grid)
        possible = reached[:, -1] > 0
        for place, level in enumerate((0.5, rest, 1 - rest)):
            days = grid[(reached >= level * reached[:, -1:] - 1e-12).argmax(axis=1)]
            found[place, part] = np.where(possible, days, np.nan)
    return found


def _coverage(tried: Tried, chances: Chances, settings: NextPurchaseSettings) -> float:
    """The share of those who came back in the backtest whose purchase lay in their window."""
    _, low, high = _window(tried.cells, chances, settings)
    came = tried.back > 0
    inside = came & (low <= tried.back) & (tried.back <= high)
    return float(tried.weight[inside].sum() / max(tried.weight[came].sum(), 1.0))


def _scores(days: ir.Table, day: date, chances: Chances, settings: NextPurchaseSettings, *, has_window: bool) -> ir.Table:
    state = last_purchases(days, day)
    distinct = state.select(*CELL).distinct().order_by(*CELL).to_pyarrow()
    cells = Cells.of(distinct)
    chance = chances(cells, np.array(settings.horizons, float))
    columns = {f"{NAME}_{horizon}d": (chance[:, place], None, None) for place, horizon in enumerate(settings.horizons)}
    if has_window:
        columns[f"{NAME}_days"] = tuple(_window(cells, chances, settings))
    parts = [
        distinct.append_column("model", pa.array([name] * distinct.num_rows, pa.string()))
        .append_column("score", pa.array(score, pa.float64(), from_pandas=True))
        .append_column("low", _numbers(low, distinct.num_rows))
        .append_column("high", _numbers(high, distinct.num_rows))
        for name, (score, low, high) in columns.items()
    ]
    scored = ibis.memtable(pa.concat_tables(parts))
    joined = state.inner_join(scored, list(CELL))
    return joined.filter(joined.score.notnull()).select("member_id", "model", "score", "low", "high")


def _numbers(values: Floats | None, size: int) -> Any:
    return pa.nulls(size, pa.float64()) if values is None else pa.array(values, pa.float64(), from_pandas=True)
