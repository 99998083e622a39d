"""Churn warning: the probability that a member will not be back in time, as boosted trees say it, against 'days since the last
order alone'.

With h = `days` of conf/models.yml: fitted on what was known 2h days ago and who was lost in the h days after, tried on what was
known h days ago and who was lost since. What is published is then fitted on what was known h days ago. The Brier score decides
(Brier 1950: the mean squared error of a probability), because the probabilities are read as such and added up; AUC is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
from sklearn.metrics import roc_auc_score

from crm_core.config.models import ChurnSettings
from crm_core.errors import unknown
from crm_core.measures import MODEL_FEATURES
from crm_core.models.batches import in_batches
from crm_core.models.card import Backtest, Entrant, Need, judge
from crm_core.models.cells import sample_share
from crm_core.models.labels import labelled
from crm_core.models.measures import Z95, wilson
from crm_core.models.outcome import Outcome, Task
from crm_core.models.trees import TREES, Calibrated, Floats, fit, isotonic_curve, read_curve

NAME, MODEL, RECENCY = "churn", "boosted_trees", "days_since_last_order"
BANDS = ("low", "medium", "high")
BINS, REASONS, SHOWN_REASONS, LEAST_MOVE = 10, 8, 3, 0.01
LOOKED_AT = 2_000  # rows by which the features that move most are chosen


@dataclass(frozen=True)
class Predictor:
    """Rows of features → (3, rows) probability and bounds, and the reason of each row ('' where there is none to give)."""

    probabilities: Callable[[pa.Table], Floats]
    reasons: Callable[[pa.Table], list[str]]
    params: Mapping[str, Any]


Learn = Callable[[pa.Table, Floats], Predictor]


def run(task: Task) -> list[Outcome]:
    """The outcome of the churn model: label is the band, score the probability of being lost, low and high its 95 % bounds."""
    settings, day = task.settings.churn, task.tables.as_of
    names = _names(settings)
    early, late = (day - timedelta(days=settings.days * times) for times in (2, 1))
    needs = _enough_history(task, early)
    if not all(need.enough for need in needs):
        return [Outcome(judge(NAME, day, needs, None, params=_definition(settings)))]
    salt = f"{NAME}{task.settings.seed}"
    rows = {each: _labelled(task, each, names, salt) for each in (early, late)}
    lost = {each: table["lost"].to_numpy().astype(float) for each, table in rows.items()}
    needs += tuple(
        Need(what, float(min((values == outcome).sum() for values in lost.values())), settings.need_each)
        for what, outcome in (("lost_buyers", 1.0), ("kept_buyers", 0.0))
    )
    if not all(need.enough for need in needs):
        return [Outcome(judge(NAME, day, needs, None, params=_definition(settings)))]
    learn: dict[str, Learn] = {MODEL: partial(_by_trees, seed=task.settings.seed), RECENCY: _by_recency}
    tried = {name: make(rows[early], lost[early]).probabilities(rows[late])[0] for name, make in learn.items()}
    backtest = _backtest(early, day, lost[late], tried)
    card = judge(NAME, day, needs, backtest, seed=task.settings.seed)
    chosen = learn[card.published](rows[late], lost[late])
    params = {
        **_definition(settings), **chosen.params, "fitted_until": late.isoformat(),
        "bands": _bands(tried[card.published], lost[late], settings),
        "calibration": _calibration(tried[card.published], lost[late]),
    }  # fmt: skip
    card = judge(NAME, day, needs, backtest, params=params, seed=task.settings.seed)
    buyers = task.features.filter(task.features.order_count > 0).select("member_id", *names)
    return [Outcome(card, in_batches(task, buyers, partial(_scores, predictor=chosen, settings=settings)))]


def band(probability: Floats, settings: ChurnSettings) -> Any:
    """The name of each probability's band."""
    place = np.digitize(probability, [settings.medium, settings.high])
    return np.array(BANDS)[place]


def _names(settings: ChurnSettings) -> list[str]:
    for name in settings.features:
        if name not in MODEL_FEATURES:
            raise unknown("feature for models", name, MODEL_FEATURES, "conf/models.yml (churn.features)")
    return list(dict.fromkeys([RECENCY, *settings.features]))


def _enough_history(task: Task, early: date) -> tuple[Need, ...]:
    settings, orders = task.settings.churn, task.tables.at(early).paid_orders
    known = orders.filter(orders.member_id.notnull())
    found = known.aggregate(buyers=known.member_id.nunique(), first=known.paid_at.min()).to_pyarrow().to_pylist()[0]
    days = (early - found["first"].date()).days if found["first"] else 0
    return (
        Need("days_of_orders_before_backtest", float(days), settings.need_days),
        Need("buyers_before_backtest", float(found["buyers"]), settings.need_buyers),
    )


def _labelled(task: Task, day: date, names: list[str], salt: str) -> pa.Table:
    then, most = ibis.literal(task.tables.at(day).instant), task.settings.sample
    buyers = task.features.filter(task.features.first_order_at < then).select("member_id")
    count = int(buyers.count().to_pyarrow().as_py())
    among = sample_share(buyers, most, count, salt) if count > most else None
    return labelled(task.tables, day, task.settings.churn, names, salt, among).to_pyarrow()


def _definition(settings: ChurnSettings) -> dict[str, Any]:
    """What 'lost' means here, for the reader of the card."""
    return {name: getattr(settings, name) for name in ("days", "gaps", "least_days", "high", "medium")}


def _by_trees(rows: pa.Table, lost: Floats, seed: int) -> Predictor:
    fitted = fit(rows.drop_columns(["member_id", "lost"]), lost, seed)
    names, encoder = fitted.encoder.names, fitted.encoder
    weight = np.abs(fitted.moves(encoder.matrix(rows.slice(0, LOOKED_AT)), range(len(names)))).mean(axis=0).round(9)
    strongest = sorted(range(len(names)), key=lambda place: (-weight[place], names[place]))[:REASONS]
    params = {
        "trees": TREES, "rows": rows.num_rows, "features": list(names),
        "importance": {names[place]: float(weight[place]) for place in strongest},
        "typical": {names[place]: _typical(fitted, place) for place in strongest},
    }  # fmt: skip
    return Predictor(
        lambda table: fitted.probabilities(encoder.matrix(table)),
        lambda table: _reasons(fitted.moves(encoder.matrix(table), strongest), [names[place] for place in strongest]),
        params,
    )


def _typical(fitted: Calibrated, place: int) -> float | str | None:
    value, texts = fitted.typical[place], fitted.encoder.values.get(fitted.encoder.names[place])
    if np.isnan(value):
        return None
    return texts[int(value)] if texts else float(value)


def _by_recency(rows: pa.Table, lost: Floats) -> Predictor:
    curve = isotonic_curve(rows[RECENCY].to_numpy().astype(float), lost)
    return Predictor(
        lambda table: read_curve(curve, table[RECENCY].to_numpy().astype(float)),
        lambda table: [""] * table.num_rows,
        {"curve": curve[:2].T.tolist(), "rows": rows.num_rows},
    )


def _reasons(moves: Floats, names: list[str]) -> list[str]:
    """The strongest moves of each row, as the column `reason` of the scores has them."""
    order = np.argsort(-np.abs(moves).round(9), axis=1, kind="stable")[:, :SHOWN_REASONS]
    return [
        ";".join(f"{names[place]}:{row[place]:+.3f}" for place in places if abs(row[place]) >= LEAST_MOVE)
        for row, places in zip(moves, order, strict=True)
    ]


def _backtest(early: date, day: date, lost: Floats, tried: Mapping[str, Floats]) -> Backtest:
    entrants = tuple(
        Entrant(
            name, name != MODEL, {"brier": float(np.mean((found - lost) ** 2)), "auc": float(roc_auc_score(lost, found.round(9)))}
        )
        for name, found in tried.items()
    )
    better = (tried[RECENCY] - lost) ** 2 - (tried[MODEL] - lost) ** 2
    half = Z95 * float(better.std()) / len(lost) ** 0.5
    low, high = float(better.mean()) - half, float(better.mean()) + half
    return Backtest("brier", True, early, day, len(lost), entrants, low, high)


def _bands(found: Floats, lost: Floats, settings: ChurnSettings) -> dict[str, dict[str, float]]:
    """Per band of the backtest: buyers, the share of them that was lost (its expected precision), and 95 % bounds."""
    names, shown = band(found, settings), {}
    for name in BANDS:
        inside = lost[names == name]
        if len(inside):
            share = inside.mean()
            low, high = wilson(share, np.float64(len(inside)))
            shown[name] = {"buyers": len(inside), "lost": float(share), "low": float(low), "high": float(high)}
    return shown


def _calibration(found: Floats, lost: Floats) -> list[dict[str, float]]:
    """Tenths of the backtest by probability: buyers, mean probability, share lost, and 95 % bounds of that share."""
    tenths = np.array_split(np.argsort(found.round(9), kind="stable"), BINS)
    shown = []
    for places in tenths:
        share = lost[places].mean()
        low, high = wilson(share, np.float64(len(places)))
        shown.append({
            "buyers": len(places), "expected": float(found[places].mean()), "lost": float(share),
            "low": float(low), "high": float(high),
        })  # fmt: skip
    return shown


def _scores(rows: pa.Table, predictor: Predictor, settings: ChurnSettings) -> pa.Table:
    score, low, high = predictor.probabilities(rows)
    return pa.table({
        "member_id": rows["member_id"], "model": pa.array([NAME] * rows.num_rows, pa.string()),
        "score": score, "low": low, "high": high,
        "label": pa.array(band(score.round(6), settings), pa.string()),
        "reason": pa.array(predictor.reasons(rows), pa.string()),
    })  # fmt: skip
