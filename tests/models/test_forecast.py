"""The sales forecast: whole weeks counted by hand, intervals that hold what they say, and the gate against naive guesses."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats

from crm_core.config.models import ForecastSettings
from crm_core.models.card import ModelCard
from crm_core.models.forecast import Smoother, forecast, naive, weekly_sales
from tests.tiny_world import order, world

AS_OF = date(2026, 10, 31)
ORDERS = [
    order("0", "a", "2026-10-03 02:00", "7.00"),  # a Saturday: its week is not whole
    order("1", "a", "2026-10-04 16:00", "10.10"),  # Monday 5 October, midnight in Shanghai
    order("2", None, "2026-10-11 15:59", "20.20"),  # the last minute of Sunday; guests count
    order("3", "b", None, "99.00"),
    order("4", "b", "2026-10-19 02:00", "5.00"),  # nothing in the week of the 12th
    order("5", "b", "2026-10-26 02:00", "80.00"),  # the week of the 26th ends after as_of
]


def series(values: np.ndarray, last: date = date(2026, 10, 19)) -> pd.Series:
    return pd.Series(values, index=[last - timedelta(days=7 * back) for back in reversed(range(len(values)))])


def card_of(values: np.ndarray, **settings: int) -> ModelCard:
    return forecast(series(values), AS_OF, ForecastSettings(**settings))


def test_weeks_are_whole_local_and_without_gaps() -> None:
    found = weekly_sales(world(orders=ORDERS))
    assert found.to_dict() == {date(2026, 10, 5): 30.3, date(2026, 10, 12): 0.0, date(2026, 10, 19): 5.0}
    assert len(weekly_sales(world(as_of="2026-11-01", orders=ORDERS))) == 4, "Sunday ends the week"
    assert weekly_sales(world(orders=[])).empty


def test_later_orders_and_the_order_of_rows_change_nothing() -> None:
    later = [order("6", "a", "2026-11-02 02:00", "50.00"), order("7", "a", "2026-12-02 02:00", "50.00")]
    assert weekly_sales(world(orders=[*later, *reversed(ORDERS)])).equals(weekly_sales(world(orders=ORDERS)))


def test_intervals_hold_the_weeks_to_come_as_often_as_they_say() -> None:
    """80 series of a wandering level with noise, a third of them growing; weeks 1, 4 and 13; exact 99.9 % binomial region."""
    inside = {(level, ahead): 0 for level in ("80", "95") for ahead in (1, 4, 13)}
    for seed in range(80):
        draw = np.random.default_rng(seed)
        level = 10 + np.cumsum(draw.normal(0.01 if seed % 3 == 0 else 0.0, 0.04, 93))
        values = np.exp(level + draw.normal(0, 0.1, 93))
        rows = Smoother(values[:80]).ahead(values[:80], 13).table()
        for level, ahead in inside:
            row = rows.iloc[ahead - 1]
            inside[level, ahead] += row[f"low{level}"] <= values[79 + ahead] <= row[f"high{level}"]
    for (level, ahead), count in inside.items():
        least, most = stats.binom.interval(0.999, 80, int(level) / 100)
        assert least <= count <= most, (level, ahead, count)


def test_a_yearly_wave_is_seen_from_two_years_on_and_foretold() -> None:
    draw = np.random.default_rng(3)
    weeks = np.arange(143)
    values = np.exp(9 + 0.4 * np.sin(weeks * 2 * np.pi / 52.18) + draw.normal(0, 0.08, 143))
    model = Smoother(values[:130])
    assert model.params["wave"] and not Smoother(values[:90]).params["wave"]
    rows = model.ahead(values[:130], 13).table()
    truth = np.exp(9 + 0.4 * np.sin(weeks[130:] * 2 * np.pi / 52.18))
    assert np.abs(rows.expected / truth - 1).max() < 0.15


def test_smoothing_beats_naive_guesses_where_weeks_are_noisy_and_its_rows_are_published() -> None:
    draw = np.random.default_rng(5)
    card = card_of(np.exp(8 + draw.normal(0, 0.3, 80)))
    assert (card.verdict, card.published) == ("published", "smoothing")
    rows = pd.DataFrame(card.params["rows"])
    assert len(rows) == 13 and rows.week[0] == "2026-10-26"
    assert ((rows.low95 < rows.low80) & (rows.low80 < rows.expected) & (rows.expected < rows.high80)).all()
    measures = {entrant.name: entrant.measures for entrant in card.backtest.entrants}
    assert measures["smoothing"]["mae"] < measures["last_week"]["mae"] and "seasonal_naive" in measures
    assert ModelCard.from_json(card.to_json()).to_json() == card.to_json()


def test_a_year_that_repeats_itself_is_left_to_last_years_weeks_with_their_own_interval() -> None:
    draw = np.random.default_rng(6)
    year = np.exp(8 + draw.normal(0, 0.8, 52))
    values = np.concatenate([year, year, year]) * np.exp(draw.normal(0, 0.02, 156))
    card = card_of(values)
    assert (card.verdict, card.published) == ("baseline", "seasonal_naive")
    rows = pd.DataFrame(card.params["rows"])
    assert rows.expected.to_numpy() == pytest.approx(values[-52:-39], rel=1e-5)
    assert (rows.low95 < rows.expected).all() and (rows.high95 / rows.expected < 1.1).all()


def test_a_naive_guess_is_as_unsure_as_such_guesses_were() -> None:
    walks = np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.1, (40, 200)), axis=1))
    assert naive(walks[0], 9, 1).table().expected.tolist() == pytest.approx([walks[0, -1]] * 9)
    # a random walk: the error grows with the root of the distance
    errors = np.mean([naive(walk, 9, 1).error for walk in walks], axis=0)
    assert errors == pytest.approx(0.1 * np.sqrt(np.arange(1, 10)), rel=0.1)


def test_weeks_without_sales_are_not_logged_and_nothing_falls_below_nought() -> None:
    values = np.maximum(np.random.default_rng(4).normal(20, 15, 90), 0).round()
    assert (values == 0).any()
    rows = pd.DataFrame(card_of(values).params["rows"])
    assert (rows.drop(columns="week").to_numpy() >= 0).all() and rows.expected.between(5, 40).all()


def test_each_distance_foretold_was_seen_before_the_backtest() -> None:
    with pytest.raises(ValidationError, match="need_weeks must be above weeks, found 16 and 26"):
        ForecastSettings(weeks=26, need_weeks=16)
    assert np.isfinite(naive(np.arange(1.0, 28.0), 26, 1).error).all()


def test_too_short_a_history_is_said_with_the_weeks_found_and_needed() -> None:
    card = card_of(np.full(40, 100.0))
    assert card.verdict == "insufficient" and not card.params
    assert (card.needs[0].found, card.needs[0].needed) == (20, 26)


def test_an_error_relative_to_nothing_sold_is_none() -> None:
    """A shop that sold for two years and then nothing in the weeks that the forecast is tried on."""
    weeks = pd.date_range("2024-01-01", periods=104, freq="W-MON").date
    sales = pd.Series([1000.0] * 78 + [0.0] * 26, index=weeks)
    test = forecast(sales, weeks[-1] + timedelta(days=7), ForecastSettings()).backtest
    assert test is not None and all(np.isnan(entrant.measures["wape"]) for entrant in test.entrants)
    assert all(np.isfinite(entrant.measures["mae"]) for entrant in test.entrants)
