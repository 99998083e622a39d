"""Whom a message moves: T- and X-learner on gradient-boosted trees, scored on members that they were not fitted on.

Learned from a campaign whose control was drawn at random, so that the chance of being written to is known by design. The
gate compares the better learner's Qini with no targeting (0 by definition) and with the response model, which ranks by
how likely a member is to buy once written to: the customary choice, which spends the budget on those who buy anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from crm_core.config.models import UpliftSettings
from crm_core.models.card import Backtest, Entrant, ModelCard, Need, judge
from crm_core.models.qini import Floats, qini_curve, qini_draws, uplift_by

LEARNERS, RESPONSE, NOBODY = ("t_learner", "x_learner"), "response_model", "no_targeting"
GIVEN = ("member_id", "treated", "outcome")
CATEGORIES = 60
TREES = {"max_iter": 60, "learning_rate": 0.05, "max_leaf_nodes": 4, "min_samples_leaf": 200, "early_stopping": False}
"""Few small trees: the difference of two arms is far noisier than either, and deep trees follow the noise."""


@dataclass(frozen=True)
class Uplift:
    """A campaign's verdict on targeting. `low` and `high` (95 % of the better learner's Qini) and `groups` (`uplift_by`) are None
    where the data did not suffice."""

    card: ModelCard
    low: float | None = None
    high: float | None = None
    groups: pd.DataFrame | None = None


def uplift(rows: pd.DataFrame, settings: UpliftSettings, *, assigned_on: date, measured_until: date, seed: int = 0) -> Uplift:
    """Fits, scores and judges on the members of one campaign with a random control.

    `rows`: member_id, treated (bool), outcome (0 or 1, or an amount), and features known before assignment (numbers or texts,
    nulls allowed); its order changes nothing. Needs `settings.need_arm` members and
    `settings.need_responders` with an outcome above 0 in each arm.
    """
    rows = rows.sort_values("member_id", ignore_index=True)
    treated, outcome = rows["treated"].to_numpy(dtype=float), rows["outcome"].to_numpy(dtype=float)
    needs = needs_of(treated, outcome, settings)
    if not all(need.enough for need in needs):
        return Uplift(judge("uplift", assigned_on, needs, None, seed=seed))
    scores = cross_fitted(rows, settings.folds, seed)
    curves = {name: qini_curve(score, treated, outcome) for name, score in scores.items()}
    drawn = qini_draws(scores, treated, outcome, settings.draws, seed)
    best = max(LEARNERS, key=lambda name: round(curves[name].qini, 9))
    rival = drawn[RESPONSE] if curves[RESPONSE].qini > 0 else 0.0
    low, high = np.quantile(drawn[best] - rival, [0.025, 0.975])
    entrants = [Entrant(name, name == RESPONSE, {"qini": curve.qini}) for name, curve in curves.items()]
    entrants.append(Entrant(NOBODY, True, {"qini": 0.0}))
    test = Backtest("qini", False, assigned_on, measured_until, len(rows), tuple(entrants), low=float(low), high=float(high))
    own = np.quantile(drawn[best], [0.025, 0.975])
    params = {"qini_low": float(own[0]), "qini_high": float(own[1]), "propensity": float(treated.mean())}
    card = judge("uplift", assigned_on, needs, test, params=params, seed=seed)
    return Uplift(card, float(own[0]), float(own[1]), uplift_by(scores[best], treated, outcome))


def cross_fitted(rows: pd.DataFrame, folds: int, seed: int) -> dict[str, Floats]:
    """Name → score per row of `rows` (as `uplift` has them, sorted by member_id): each fold, drawn by hash of the id, is scored by
    models fitted on the others. The response model is the T-learner's model of the treated.

    T-learner: difference of two models, one per arm; X-learner: each arm's outcomes less what the other arm's model expects of
    those members, fitted again and blended by the propensity (Künzel, Sekhon, Bickel, Yu 2019, PNAS 116, p. 4156, eq. 6–9).
    """
    fold = pd.util.hash_array(rows["member_id"].astype(str).to_numpy(dtype=object), hash_key=f"{seed:016d}"[:16]) % folds
    found = {name: np.zeros(len(rows)) for name in (*LEARNERS, RESPONSE)}
    features = _known(rows.drop(columns=list(GIVEN)))
    with threadpool_limits(1, user_api="openmp"):  # threads that wait for each other cost more than they bring
        for number in range(folds):
            inside = fold == number
            for name, score in _fitted(rows[~inside], features[~inside], features[inside], seed).items():
                found[name][inside] = np.round(score, 9)
    return found


def _fitted(rows: pd.DataFrame, known: pd.DataFrame, asked: pd.DataFrame, seed: int) -> dict[str, Floats]:
    outcome, written = rows["outcome"].to_numpy(dtype=float), rows["treated"].to_numpy(dtype=bool)
    arms = {True: written, False: ~written}
    models = {arm: _Outcome(known[chosen], outcome[chosen], seed) for arm, chosen in arms.items()}
    expected = {arm: model.of(asked) for arm, model in models.items()}
    effects = {}
    for arm, chosen in arms.items():
        moved = outcome[chosen] - models[not arm].of(known[chosen])
        trees = HistGradientBoostingRegressor(**TREES, random_state=seed)
        effects[arm] = trees.fit(known[chosen], moved if arm else -moved).predict(asked)
    share = written.mean()
    return {
        "t_learner": expected[True] - expected[False],
        "x_learner": share * effects[False] + (1 - share) * effects[True],
        RESPONSE: expected[True],
    }


class _Outcome:
    """The expected outcome of members: a chance where outcomes are 0 or 1, else an amount."""

    def __init__(self, known: pd.DataFrame, outcome: Floats, seed: int) -> None:
        self.binary = bool(np.isin(outcome, (0.0, 1.0)).all())
        kind = HistGradientBoostingClassifier if self.binary else HistGradientBoostingRegressor
        self.model: Any = kind(**TREES, random_state=seed).fit(known, outcome)

    def of(self, asked: pd.DataFrame) -> Floats:
        found: Floats = self.model.predict_proba(asked)[:, 1] if self.binary else self.model.predict(asked)
        return found


def _known(features: pd.DataFrame) -> pd.DataFrame:
    """Features that differ at all; of texts the most frequent values, the others as unknown."""
    kept = features.loc[:, features.nunique(dropna=False) > 1]
    for name in kept.select_dtypes(["object", "string", "category"]):
        counted = kept[name].astype(object).value_counts()
        common = sorted(counted.index, key=lambda value: (-counted[value], value))[:CATEGORIES]
        kept = kept.assign(**{name: pd.Categorical(kept[name], sorted(common))})
    return kept


def needs_of(treated: Floats, outcome: Floats, settings: UpliftSettings) -> tuple[Need, ...]:
    """Members and buyers in each arm, as found and as needed."""
    arms = {"treated": treated == 1, "held_out": treated == 0}
    return (
        *(Need(f"{arm}_members", int(chosen.sum()), settings.need_arm) for arm, chosen in arms.items()),
        *(Need(f"{arm}_buyers", int((outcome[chosen] > 0).sum()), settings.need_responders) for arm, chosen in arms.items()),
    )
