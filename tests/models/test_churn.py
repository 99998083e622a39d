"""Churn warnings: labels at the borders of days, the gate on noise and on few members, refits, dates, and calibration."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.config.models import ChurnSettings
from crm_core.errors import InputError
from crm_core.measures import MODEL_FEATURES
from crm_core.models import Outcome
from crm_core.models.cells import sample_share
from crm_core.models.churn import run as churn
from crm_core.models.labels import labelled
from crm_core.models.measures import wilson
from crm_core.models.trees import Encoder, fit, isotonic_curve, read_curve
from crm_core.store import table_hash
from crm_core.workspace import Workspace
from tests.models.drawn_shop import DAYS, LAST, drawn, shop, task


@pytest.fixture(scope="module")
def outcome(rhythm_shop: Workspace) -> Outcome:
    return churn(task(rhythm_shop))[0]


def test_who_is_lost_is_decided_by_local_days(tmp_path: Path) -> None:
    day = date(2026, 7, 31)
    # midnight in Shanghai is 16:00 UTC: (paid before, paid after, lost by 30 days)
    known = {
        "back on the last day": ("2026-07-01 10:00", "2026-08-30 15:59:59", False),
        "back a second later": ("2026-07-01 10:00", "2026-08-30 16:00:00", True),
        "bought in the last second of the day": ("2026-07-31 15:59:59", None, True),
        "back in the first second after it": ("2026-07-01 10:00", "2026-07-31 16:00:00", False),
        "never back": ("2026-01-01 10:00", None, True),
    }
    first_day = datetime(2026, 10, 31, 16) - timedelta(days=DAYS)
    rows = [
        (place, (datetime.fromisoformat(moment) - first_day).total_seconds() / 86400)
        for place, (before, after, _) in enumerate(known.values())
        for moment in (before, after)
        if moment
    ]
    rows.append((9, (datetime(2026, 7, 31, 16) - first_day).total_seconds() / 86400))  # a first order a second late: no buyer yet
    small = shop(tmp_path / "shop", pd.DataFrame(rows, columns=["member", "at"]))
    found = labelled(small.tables, day, ChurnSettings(days=30), ["order_count"], "salt").to_pyarrow().to_pylist()
    lost = {row["member_id"]: row["lost"] for row in found}
    assert lost == {f"m{place:06d}": expected for place, (*_, expected) in enumerate(known.values())}
    assert {row["order_count"] for row in found} == {1}  # nothing of after the day


def test_with_gaps_each_member_waits_by_their_own_rhythm(tmp_path: Path) -> None:
    day, start = date(2026, 7, 31), (date(2026, 7, 31) - (LAST - timedelta(days=DAYS - 1))).days + 0.5
    # orders in days before the day, then when the next came; waits: 2 × 20 = 40, at least 30, at most 90, one order: 90
    known = [([40, 20, 0], 40, False), ([40, 20, 0], 41, True), ([10, 5, 0], 30, False), ([10, 5, 0], 31, True),
             ([200, 100, 0], 90, False), ([200, 100, 0], 91, True), ([0], 90, False), ([0], 91, True)]  # fmt: skip
    rows = [
        (member, start + days) for member, (before, after, _) in enumerate(known) for days in [*(-each for each in before), after]
    ]
    small = shop(tmp_path / "shop", pd.DataFrame(rows, columns=["member", "at"]))
    settings = ChurnSettings(days=90, gaps=2.0, least_days=30)
    found = labelled(small.tables, day, settings, [], "salt").to_pyarrow().to_pylist()
    assert {row["member_id"]: row["lost"] for row in found} == {f"m{member:06d}": lost for member, (*_, lost) in enumerate(known)}


def test_it_beats_recency_on_a_shop_where_rhythms_differ_and_says_by_how_much(outcome) -> None:
    card = outcome.card
    assert card.verdict == "published"
    assert card.published == "boosted_trees"
    assert card.backtest.low > 0
    assert card.backtest.fitted_until == LAST - timedelta(days=180)
    assert {entrant.name for entrant in card.backtest.entrants} == {"boosted_trees", "days_since_last_order"}
    assert all(need.enough for need in card.needs)


def test_probabilities_hold_on_the_time_that_comes_after(outcome, rhythm_shop, rhythms) -> None:
    """Scored 90 days ago and compared with who really came back: the shares meet the probabilities."""
    then = LAST - timedelta(days=90)
    past = Workspace.open(rhythm_shop.root, then)
    made = churn(task(past))[0]
    scores = made.scores.to_pandas().set_index("member_id")["score"]
    day = DAYS - 90
    after = rhythms[rhythms["at"] >= day].groupby("member")["at"].min()
    lost = pd.Series([float(int(name[1:]) not in after.index) for name in scores.index], scores.index)
    for group in np.array_split(scores.sort_values(kind="stable").index, 5):
        sd = np.sqrt(scores[group].mean() * (1 - scores[group].mean()) / len(group))
        # 4 standard errors, and 4 points for what shifts between two quarters
        assert abs(scores[group].mean() - lost[group].mean()) < 4 * sd + 0.04
    bands = made.card.params["bands"]
    assert bands["high"]["lost"] > bands["medium"]["lost"] > bands["low"]["lost"]


def test_reasons_name_features_and_hold_for_the_member(outcome) -> None:
    rows = outcome.scores.filter(outcome.scores.label == "high").to_pyarrow().to_pylist()
    assert rows
    names = set(outcome.card.params["importance"])
    for row in rows[:200]:
        parts = [part.split(":") for part in row["reason"].split(";") if part]
        assert {name for name, _ in parts} <= names
        assert sorted((abs(float(move)) for _, move in parts), reverse=True) == [abs(float(move)) for _, move in parts]
    assert np.mean([row["reason"].startswith("days_since_last_order:+") for row in rows]) > 0.5


def test_refitted_with_rows_in_another_order_and_later_ones_it_gives_the_same_scores(outcome, mixed_shop) -> None:
    again = churn(task(mixed_shop))[0]
    assert again.card.to_json() == outcome.card.to_json()
    assert table_hash(again.scores) == table_hash(outcome.scores)


def test_where_nothing_but_chance_decides_the_model_is_withheld_and_the_baseline_given(noise_shop: Workspace) -> None:
    made = churn(task(noise_shop))[0]
    assert made.card.verdict == "baseline"
    assert made.card.published == "days_since_last_order"
    assert made.scores.count().to_pyarrow().as_py() == noise_shop.features.count().to_pyarrow().as_py()
    assert made.scores.reason.max().to_pyarrow().as_py() == ""


def test_on_300_members_it_says_what_was_found_and_needed(tmp_path: Path) -> None:
    made = churn(task(shop(tmp_path / "shop", drawn(300, seed=2))))[0]
    assert made.card.verdict == "insufficient"
    assert made.scores is None
    short = {need.what: (need.found, need.needed) for need in made.card.needs if not need.enough}
    assert set(short) == {"buyers_before_backtest"}
    assert 100 < short["buyers_before_backtest"][0] < 300
    assert short["buyers_before_backtest"][1] == 1000


def test_an_unknown_feature_is_refused_with_the_nearest_name(rhythm_shop) -> None:
    with pytest.raises(InputError, match=r"conf/models.yml.*did you mean 'order_count'"):
        churn(task(rhythm_shop, churn={"features": ("order_cont",)}))


@pytest.mark.parametrize("name", ["gender", "person_id", "last_order_at"])
def test_who_a_member_is_and_moments_are_no_features_for_models(rhythm_shop, name: str) -> None:
    with pytest.raises(InputError, match=rf"'{name}' is not known in conf/models.yml.*known: average_order_value"):
        churn(task(rhythm_shop, churn={"features": (name,)}))


def test_every_feature_for_models_can_be_learned_from(rhythm_shop) -> None:
    made = churn(task(rhythm_shop, churn={"features": MODEL_FEATURES}))[0]
    assert {"net_amount", "order_count"} <= set(made.card.params["features"])


def test_the_sample_is_drawn_among_buyers_whatever_the_order_of_rows(rhythm_shop) -> None:
    given = task(rhythm_shop)
    never = {"member_id": "x" + given.features.member_id, "order_count": 0, "first_order_at": ibis.null("timestamp(6)")}
    visitors = given.features.mutate(**never).cast(given.features.schema())
    settings = given.settings.model_copy(update={"sample": 1_000})
    made = churn(replace(given, features=given.features.union(visitors), settings=settings))[0]
    assert abs(made.card.backtest.rows - 1_000) < 110  # 4 standard deviations
    buyers = rhythm_shop.features.select("member_id")
    chosen = sample_share(buyers, 1_000, 3_000, "salt")
    assert table_hash(chosen) == table_hash(sample_share(buyers.order_by(ibis.desc("member_id")), 1_000, 3_000, "salt"))


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans()), min_size=1, max_size=400))
def test_a_curve_rises_stays_between_0_and_1_and_its_bounds_hold_it(rows: list[tuple[int, bool]]) -> None:
    score, outcome = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], float)
    curve = isotonic_curve(score, outcome)
    middle, low, high = read_curve(curve, np.linspace(-5, 60, 40))
    assert (np.diff(middle) >= -1e-12).all()
    assert ((low <= middle + 1e-12) & (middle <= high + 1e-12)).all()
    assert (low >= 0).all() and (high <= 1).all()


def test_a_curve_joins_groups_that_would_fall_and_adds_half_a_row_of_each_outcome() -> None:
    score = np.repeat([0.0, 1.0, 2.0], 200)
    outcome = np.concatenate([np.arange(200) < bought for bought in (20, 100, 60)]).astype(float)
    curve = isotonic_curve(score, outcome)
    assert curve[0].tolist() == [0, 1, 2]
    assert curve[1] == pytest.approx([20.5 / 201, 80.5 / 201, 80.5 / 201])
    assert curve[2:, 1] == pytest.approx(wilson(np.float64(80.5 / 201), np.float64(400)))


def test_wilson_gives_the_interval_of_its_textbook_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263, 0.2553 to 0.3662
    low, high = wilson(np.float64(81 / 263), np.float64(263))
    assert (round(float(low), 4), round(float(high), 4)) == (0.2553, 0.3662)


def test_texts_unknown_when_fitted_and_missing_values_are_both_not_known() -> None:
    encoder = Encoder.of(pa.table({"tier": ["b", "a", "b", None], "age": [1, None, 3, 4]}))
    found = encoder.matrix(pa.table({"tier": ["a", "b", "new", None], "age": [1, 2, None, 4]}))
    assert np.isnan(found).tolist() == [[False, False], [False, False], [True, True], [True, False]]
    assert found[:2].tolist() == [[0, 1], [1, 2]]


def test_a_feature_moves_nobody_who_has_its_typical_value() -> None:
    draw = np.random.default_rng(4)
    rows = pa.table({"x": np.round(draw.normal(size=900), 1), "kind": draw.choice(["a", "b"], 900), "same": [1] * 900})
    outcome = (rows["x"].to_numpy() + draw.normal(size=900) > 0).astype(float)
    fitted = fit(rows, outcome, seed=1)
    assert fitted.encoder.names == ("x", "kind")
    matrix = fitted.encoder.matrix(rows)
    moves = fitted.moves(matrix, [0, 1])
    typical = matrix == fitted.typical
    assert (moves[typical] == 0).all()
    assert moves[matrix[:, 0] > 1.5, 0].min() > 0 > moves[matrix[:, 0] < -1.5, 0].max()
