"""Value and purchases through the gate: who is told what, and from which predictor."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pytest

from crm_core.config.models import ModelSettings
from crm_core.errors import InputError
from crm_core.models import Outcome, Task, cards, purchase_counts, together
from crm_core.models.cells import cohorts, histories
from crm_core.models.pareto_nbd import ParetoNbd
from crm_core.models.value import run
from crm_core.models.value_scores import model_scores
from tests.models.drawn_shop import DAYS, drawn
from tests.models.public_purchases import cdnow_rows, cdnow_tables
from tests.models.simulated_buyers import TRUTH, buyers
from tests.tiny_world import order, world

DAY = date(2026, 10, 31)
SPAN = 700
NAMES = {"expected_purchases_90d", "expected_purchases_365d", "value_90d", "value_365d", "p_alive", "expected_spend"}


def shop(members: int, seed: int = 5, *, regular: bool = False) -> list[dict[str, Any]]:
    """Paid orders of members drawn from Pareto/NBD (in weeks) and gamma-gamma, up to DAY; `regular` ones buy like clockwork."""
    rng = np.random.default_rng(seed)
    until = rng.uniform(0, SPAN / 7, members)
    if regular:
        gap = rng.integers(20, 120, members) / 7
        who = np.repeat(np.arange(members), (until / gap).astype(int))
        when = np.concatenate([gap[m] * np.arange(1, int(until[m] / gap[m]) + 1) for m in range(members)])
    else:
        drawn = buyers("pareto_nbd", TRUTH["pareto_nbd"], until, 0.0, rng)
        who, when = drawn.times
    who, when = np.concatenate([np.arange(members), who]), np.concatenate([np.zeros(members), when])
    mean = rng.gamma(6.0, 1.0, members)[who] / rng.gamma(4.0, 1 / 15.0, members)[who]
    worth = np.round(np.maximum(rng.gamma(6.0, 1 / 6.0, len(who)) * mean, 0.01), 2)
    end = datetime(2026, 10, 31, 3)
    days = ((until[who] - when) * 7).astype(int)
    return [
        order(f"o{n}", f"m{m:05d}", f"{end - timedelta(days=int(back)):%Y-%m-%d %H:%M}", f"{value:.2f}")
        for n, (m, back, value) in enumerate(zip(who, days, worth, strict=True))
    ]


@dataclass
class Run:
    outcomes: dict[str, Outcome]
    scores: Any
    cards: Any


def done(orders: list[dict[str, Any]], **settings: Any) -> Run:
    tables, engine = world(DAY.isoformat(), orders=orders), ibis.duckdb.connect()
    task = Task(tables, ibis.memtable({"member_id": ["m"]}), ModelSettings(**settings), engine, Path())
    found = run(task)
    scores = engine.to_pyarrow(together(found)).to_pandas()
    told = engine.to_pyarrow(cards(found).order_by("model")).to_pylist()
    return Run({outcome.card.model: outcome for outcome in found}, scores, told)


@pytest.fixture(scope="module")
def orders() -> list[dict[str, Any]]:
    return shop(2500)


@pytest.fixture(scope="module")
def told(orders: list[dict[str, Any]]) -> Run:
    return done(orders)


def test_a_model_of_its_own_world_beats_every_baseline(told: Run) -> None:
    assert set(told.outcomes) == NAMES
    for name in ("expected_purchases_90d", "expected_purchases_365d", "value_90d", "value_365d", "p_alive"):
        card = told.outcomes[name].card
        assert card.verdict == "published", card
        assert card.backtest is not None and card.backtest.low is not None and card.backtest.low > 0
        assert card.published.startswith("pareto_nbd")
    test = told.outcomes["expected_purchases_90d"].card.backtest
    assert test is not None
    assert {entrant.name for entrant in test.entrants if entrant.baseline} == {"own_rate", "last_period"}
    assert (test.fitted_until, test.tested_until) == (DAY - timedelta(days=90), DAY)
    assert abs(test.best(baseline=False).measures["total_error"]) < 0.15


def test_each_member_has_each_score_once_inside_its_bounds(told: Run) -> None:
    scores = told.scores
    assert not scores.duplicated(["member_id", "model"]).any()
    assert scores.groupby("model").size().to_dict() == dict.fromkeys(NAMES, 2500)
    assert not scores.score.isna().any()
    bounded = scores.dropna(subset=["low"])
    assert set(bounded.model) >= NAMES - {"expected_spend"}
    assert (bounded.low <= bounded.high).all()
    alive = bounded[bounded.model == "p_alive"]
    assert ((alive.low <= alive.score) & (alive.score <= alive.high) & (alive.low >= 0) & (alive.high <= 1)).all()
    whole = bounded[bounded.model.str.startswith("expected_purchases")]
    assert (whole.low % 1 == 0).all() and (whole.high % 1 == 0).all()


def test_scores_are_what_the_card_s_parameters_say(told: Run) -> None:
    model = ParetoNbd.from_json(told.outcomes["p_alive"].card.params["purchases"])
    assert model.convergence.ok
    weekly = {**TRUTH["pareto_nbd"], "alpha": 35.0, "beta": 70.0}  # in days
    for name, true in weekly.items():
        low, high = model.interval(name, 0.999)
        # purchases of one day count once, so that heavy buyers seem a little rarer than they are
        assert low * 0.8 < true < high * 1.25, name
    scores = told.scores.pivot(index="member_id", columns="model", values="score")
    assert (scores.expected_purchases_90d <= scores.expected_purchases_365d + 1e-6).all()
    assert scores.value_90d.sum() == pytest.approx((scores.expected_purchases_90d * scores.expected_spend).sum(), rel=0.1)


def test_later_rows_and_the_order_of_rows_change_nothing(told: Run, orders: list[dict[str, Any]]) -> None:
    rng = np.random.default_rng(1)
    later = [order(f"x{n}", f"m{n:05d}", "2026-11-02 10:00", "900.00") for n in range(500)]
    mixed = [*later, *orders]
    again = done([mixed[place] for place in rng.permutation(len(mixed))])
    assert again.cards == told.cards
    both = [run_.scores.sort_values(["model", "member_id"]).reset_index(drop=True) for run_ in (told, again)]
    assert both[0].equals(both[1])


def test_the_seed_draws_the_members_that_models_are_judged_on(orders: list[dict[str, Any]]) -> None:
    first, again, other = (
        done(orders, sample=1000, seed=seed, value={"horizons": [90]}).outcomes["expected_purchases_90d"].card.backtest
        for seed in (1, 1, 2)
    )
    assert first == again and first is not None and other is not None
    assert abs(first.rows - 1000) < 110 and first.entrants != other.entrants


def test_too_few_members_are_told_the_numbers_found_and_needed() -> None:
    few = done(shop(300))
    assert len(few.scores) == 0
    for name, outcome in few.outcomes.items():
        assert (outcome.card.verdict, outcome.scores) == ("insufficient", None), name
        assert outcome.card.needs[0].what == "buyers"
        assert outcome.card.needs[0].found < 300 < outcome.card.needs[0].needed


def test_nobody_at_all_is_no_error() -> None:
    assert {outcome.card.verdict for outcome in done([]).outcomes.values()} == {"insufficient"}


def test_a_model_that_loses_is_withheld_and_the_baseline_s_scores_are_published() -> None:
    """Members who buy like clockwork contradict every model of random purchases."""
    orders = shop(1200, regular=True)
    found = done(orders, value={"horizons": [90]})
    outcome = found.outcomes["expected_purchases_90d"]
    assert (outcome.card.verdict, outcome.card.published) == ("baseline", "last_period")
    scores = found.scores[found.scores.model == "expected_purchases_90d"].set_index("member_id")
    assert len(scores) == 1200
    assert scores.low.isna().all()
    since = datetime(2026, 10, 31, 16) - timedelta(days=90)  # the end of DAY in Shanghai is 16:00 UTC
    recent = {(row["member_id"], row["paid_at"].date()) for row in orders if row["paid_at"] >= since}
    assert scores.score.sum() == len(recent)


@pytest.mark.parametrize(("dropout", "spread", "short"), [(0.0, 0.7, ["lapses_seen"]), (0.1, 1e6, [])])
def test_the_chance_to_be_alive_is_withheld_where_nobody_was_seen_to_give_up(
    dropout: float, spread: float, short: list[str]
) -> None:
    """Members of one rate for all run into a boundary too, which says nothing of whether they give up."""
    end = datetime(2026, 10, 31, 15, 59, 59) - timedelta(days=DAYS)
    bought = drawn(1500, seed=5, dropout=dropout, spread=spread).itertuples()
    rows = [order(f"o{n}", f"m{m}", f"{end + timedelta(days=at):%Y-%m-%d %H:%M}", "20.00") for n, m, at in bought]
    card = done(rows, value={"horizons": [90]}).outcomes["p_alive"].card
    assert card.params["purchases"]["convergence"]["at_boundary"]
    assert [need.what for need in card.needs if not need.enough] == short


def test_what_is_not_known_of_a_model_is_null_in_its_card_and_bounds(told: Run, orders: list[dict[str, Any]]) -> None:
    known = ParetoNbd.from_json(told.outcomes["p_alive"].card.params["purchases"])
    unsure = replace(known, covariance=((float("nan"),) * 4,) * 4)
    card = replace(told.outcomes["p_alive"].card, params={"purchases": unsure.to_json()})
    written = json.loads(card.to_json(), parse_constant=pytest.fail)["params"]["purchases"]
    assert written["covariance"][0][0] is None
    model = ParetoNbd.from_json(written)
    assert model.params == pytest.approx(known.params, rel=1e-8) and np.isnan(model.covariance).all()
    rows = histories(world(DAY.isoformat(), orders=orders[:300]))
    scored = model_scores(rows, model, None, [90], 0.9).to_pyarrow()
    nulls = {name: scored[name].null_count for name in scored.column_names}
    assert {name for name, count in nulls.items() if count} == {"p_alive_low", "p_alive_high"}


def test_without_amounts_purchases_are_still_predicted() -> None:
    free = [{**row, "net_amount": row["net_amount"] * 0} for row in shop(1500, seed=8)]
    found = done(free, value={"horizons": [90]})
    assert found.outcomes["expected_purchases_90d"].card.verdict == "published"
    for name in ("value_90d", "expected_spend"):
        card = found.outcomes[name].card
        assert card.verdict == "insufficient"
        assert [need.what for need in card.needs if not need.enough] == ["priced_repeat_buyers"]


def test_cdnow_s_buyers_are_predicted_better_than_by_their_own_past() -> None:
    """The public data: 39 weeks held out, as in Fader, Hardie and Lee (2005), and the last 90 days."""
    task = Task(
        cdnow_tables(cdnow_rows()),
        ibis.memtable({"member_id": ["m"]}),
        ModelSettings(value={"horizons": [90, 273]}),
        ibis.duckdb.connect(),
        Path(),
    )
    cards = {outcome.card.model: outcome.card for outcome in run(task)}
    for name in ("expected_purchases_90d", "expected_purchases_273d", "value_90d", "value_273d"):
        assert cards[name].verdict == "published", cards[name]
    # 273 days are 39 weeks: the model of the calibration period is the published one, chosen by AIC (-9582.14 against -9582.43)
    test = cards["expected_purchases_273d"].backtest
    assert test is not None
    assert (test.best(baseline=False).name, test.rows) == ("mbgnbd", 2357)
    assert test.best(baseline=False).measures["mae"] == pytest.approx(0.7648, abs=5e-4)


def test_cells_can_be_split_by_what_is_known_of_members() -> None:
    days = {"a": ["2026-01-05", "2026-02-01"], "b": ["2026-02-10"], "c": ["2026-05-01", "2026-05-02"], "d": ["2026-05-01"]}
    rows = [order(f"{member}{day}", member, f"{day} 02:00") for member, bought in days.items() for day in bought]
    tables = world(DAY.isoformat(), orders=rows)
    cells = purchase_counts(tables, by=cohorts(tables)).to_pandas()
    found = {(str(row.cohort)[:10], row.x, row.t_x, row.weight) for row in cells.itertuples()}
    assert found == {("2026-01-01", 0, 0, 1), ("2026-01-01", 1, 27, 1), ("2026-04-01", 0, 0, 1), ("2026-04-01", 1, 1, 1)}
    assert purchase_counts(tables).to_pandas().weight.sum() == 4


def test_an_unknown_unit_of_time_is_refused() -> None:
    with pytest.raises(InputError, match="'month' is not known; known: day, week"):
        purchase_counts(world(orders=shop(3)), "month")


def test_a_held_out_time_that_is_not_over_is_refused() -> None:
    with pytest.raises(InputError, match="30 days after 2026-10-31 lie beyond 2026-10-31"):
        histories(world(DAY.isoformat(), orders=shop(3)), later=30)
