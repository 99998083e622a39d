"""The gate decides by the numbers alone, and a card survives being written down."""

from __future__ import annotations

from datetime import date

import pytest

from crm_core.cli.models import _lines
from crm_core.models import Backtest, Entrant, ModelCard, Need, judge
from crm_core.reporting.labels import Labels
from crm_core.reporting.views.model_words import ModelWords, same_question

DAY = date(2026, 10, 31)
ENOUGH = (Need("orders", 500, 200), Need("history_days", 400, 365))


def backtest(model: float, *baselines: float, lower: bool = True) -> Backtest:
    rivals = tuple(Entrant(f"baseline_{n}", True, {"mae": value}) for n, value in enumerate(baselines))
    return Backtest("mae", lower, date(2026, 4, 30), DAY, 900, (Entrant("bgnbd", False, {"mae": model}), *rivals))


@pytest.mark.parametrize(
    ("test", "verdict", "published"),
    [
        (backtest(0.7, 0.8, 0.9), "published", "bgnbd"),
        (backtest(0.85, 0.9, 0.8), "baseline", "baseline_1"),
        (backtest(0.8, 0.8), "baseline", "baseline_0"),
        (backtest(0.9, 0.8, 0.7, lower=False), "published", "bgnbd"),
        (backtest(0.7, 0.8, 0.6, lower=False), "baseline", "baseline_0"),
    ],
)
def test_a_model_is_published_only_when_it_beats_every_baseline(test: Backtest, verdict: str, published: str) -> None:
    card = judge("purchases", DAY, ENOUGH, test)
    assert (card.verdict, card.published) == (verdict, published)


def test_too_little_to_learn_from_is_said_before_any_comparison() -> None:
    card = judge("purchases", DAY, (*ENOUGH, Need("repeat_buyers", 12, 100)), None)
    assert (card.verdict, card.published) == ("insufficient", "")
    assert [need.what for need in card.needs if not need.enough] == ["repeat_buyers"]


def test_a_card_read_back_is_the_card_that_was_written() -> None:
    card = judge("churn", DAY, ENOUGH, backtest(0.1, 0.2), params={"r": 0.25, "bands": [0.1, 0.5]}, seed=7)
    assert ModelCard.from_json(card.to_json()) == card


def test_a_measure_that_is_not_defined_is_shown_as_none() -> None:
    """The error of a total is none where nobody bought in the held-out time; JSON has no nan."""
    entrants = tuple(Entrant(name, name != "bgnbd", {"mae": 0.1, "total_error": float("nan")}) for name in ("bgnbd", "own_rate"))
    test = Backtest("mae", True, date(2026, 4, 30), DAY, 900, entrants)
    card = ModelCard.from_json(judge("value_90d", DAY, ENOUGH, test).to_json())
    assert sum("–" in line for line in _lines(card, ModelWords(Labels("en"), "CNY"))) >= 2


def test_churn_and_next_purchase_answer_one_question_also_where_churn_publishes_its_baseline() -> None:
    won, lost = (judge("churn", DAY, ENOUGH, backtest(model, 0.8), params={"days": 90}) for model in (0.7, 0.9))
    unknown = judge("churn", DAY, (*ENOUGH, Need("repeat_buyers", 12, 100)), None, params={"days": 90})
    assert [same_question(card, (30, 90)) for card in (won, lost, unknown, None)] == [90, 90, 0, 0]
    assert same_question(won, (30,)) == 0
