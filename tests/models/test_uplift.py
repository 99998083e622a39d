"""Uplift learners: a planted effect is found, none is not invented, and the public e-mail test comes out as it should."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crm_core.config.models import UpliftSettings
from crm_core.models.uplift import Uplift, cross_fitted, uplift

SETTINGS = UpliftSettings(folds=3, draws=200)


def judged(rows: pd.DataFrame, seed: int = 1, settings: UpliftSettings = SETTINGS) -> Uplift:
    return uplift(rows, settings, assigned_on=date(2026, 9, 30), measured_until=date(2026, 10, 14), seed=seed)


def campaign(members: int, lift: float, seed: int) -> pd.DataFrame:
    """Buyers are likelier the more they bought before; the message moves those with a coupon habit alone, by `lift`."""
    draw = np.random.default_rng(seed)
    habit, orders = draw.random(members) < 0.5, draw.poisson(2.0, members)
    treated = draw.random(members) < 0.6
    chance = np.clip(0.05 + 0.04 * orders, 0, 0.6) + lift * habit * treated
    return pd.DataFrame(
        {
            "member_id": [f"m{seed}-{number:06d}" for number in range(members)],
            "treated": treated,
            "outcome": (draw.random(members) < chance).astype(float),
            "habit": pd.Categorical(np.where(habit, "coupon", "none")),
            "orders": np.where(draw.random(members) < 0.1, np.nan, orders),
        }
    )


def test_a_planted_effect_is_found_and_published() -> None:
    rows = campaign(8000, 0.15, seed=4)
    found = judged(rows)
    assert found.card.verdict == "published" and found.card.backtest is not None and found.card.backtest.low > 0
    score = cross_fitted(rows, SETTINGS.folds, seed=1)[found.card.published]
    habit = (rows.habit == "coupon").to_numpy()
    # the planted difference is 0.15; 8,000 members know it to about ±0.03
    assert abs((score[habit].mean() - score[~habit].mean()) - 0.15) < 0.05
    assert found.groups.uplift[:3].mean() > 0.1 > found.groups.uplift[-3:].mean()
    assert found.low > 0


def test_an_effect_alike_for_all_is_not_published_as_targeting() -> None:
    """Of four campaigns whose message does nothing hardly one passes: the interval of the gain must leave zero out."""
    verdicts = [judged(campaign(2500, 0.0, seed=seed), seed=seed).card.verdict for seed in range(4)]
    assert verdicts.count("published") <= 1, "more than one in four would be far above the 2.5 % that the interval allows"


def test_the_order_of_rows_changes_no_score() -> None:
    rows = campaign(3000, 0.2, seed=9)
    shuffled = rows.sample(frac=1, random_state=2)
    first, second = judged(rows), judged(shuffled)
    assert first.card.to_json() == second.card.to_json()
    pd.testing.assert_frame_equal(first.groups, second.groups)


def test_too_few_members_are_named_with_the_numbers_found_and_needed() -> None:
    found = judged(campaign(900, 0.2, seed=1))
    assert found.card.verdict == "insufficient" and found.groups is None
    needs = {need.what: (need.found, need.needed) for need in found.card.needs}
    assert needs["treated_members"][1] == 1000 and needs["treated_members"][0] < 600


def test_amounts_have_an_uplift_too() -> None:
    rows = campaign(6000, 0.2, seed=12)
    found = judged(rows.assign(outcome=rows.outcome * 50.0))
    assert found.low > 0 and found.groups.uplift[0] > 5


@pytest.fixture(scope="module")
def hillstrom(shared_data: Path) -> pd.DataFrame:
    """K. Hillstrom's e-mail challenge (2008): 64,000 customers, a third each men's e-mail, women's e-mail, none; visits."""
    rows = pd.read_csv(shared_data / "hillstrom.csv")
    features = rows[["recency", "history", "mens", "womens", "newbie"]]
    words = {name: rows[name].astype("category") for name in ("zip_code", "channel")}
    ids = [f"r{number:05d}" for number in range(len(rows))]
    return features.assign(**words, member_id=ids, outcome=rows["visit"].astype(float), segment=rows["segment"])


def arm_of(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    kept = rows[rows.segment.isin([arm, "No E-Mail"])]
    return kept.assign(treated=kept.segment == arm).drop(columns="segment")


def test_hillstroms_womens_mail_moves_some_more_and_the_model_knows_whom(hillstrom: pd.DataFrame) -> None:
    found = judged(arm_of(hillstrom, "Womens E-Mail"), settings=SETTINGS)
    assert found.card.backtest is not None and found.card.verdict == "published"
    qini = {entrant.name: entrant.measures["qini"] for entrant in found.card.backtest.entrants}
    assert qini[found.card.published] > qini["response_model"] > qini["no_targeting"] == 0
    assert found.low > 0 and found.card.backtest.low > 0
    # 15.14 % visit after the women's mail, 10.62 % without: their difference is the mean of the tenths
    assert found.groups.uplift.mean() == pytest.approx(0.1514 - 0.1062, abs=1e-3)


def test_hillstroms_mens_mail_moves_all_alike_and_no_model_is_published(hillstrom: pd.DataFrame) -> None:
    """Its lift is .07659 (Welch 95 % .06995 … .08323) and about the same in every tenth."""
    found = judged(arm_of(hillstrom, "Mens E-Mail"), settings=SETTINGS)
    assert found.card.verdict == "baseline"
    assert found.groups.uplift.mean() == pytest.approx(0.07659, abs=1e-3)
