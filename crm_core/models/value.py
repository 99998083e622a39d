"""What members will buy and spend, tried on time that was held out, and scored per cell.

Scores: expected_purchases_{h}d and value_{h}d for each horizon of conf, p_alive, expected_spend (of a purchase). For each horizon
the models are fitted as of so many days ago and judged on the days since, by the root mean squared error – the measure that an
expectation minimises; the mean absolute error of counts that are mostly 0 rewards to predict 0. p_alive is judged by how well the
chance to come back that follows from it ranks those who did. Baselines are ibis expressions: what was judged is what is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import numpy as np

from crm_core.config.models import ValueSettings
from crm_core.models.bgnbd import BgNbd, MbgNbd
from crm_core.models.card import Backtest, Entrant, Need, judge
from crm_core.models.cells import cells_of, histories, sample_share, spend_cells
from crm_core.models.counts import chance_of_none
from crm_core.models.gamma_gamma import GammaGamma
from crm_core.models.measures import error_gain, errors, ranking, ranking_gain
from crm_core.models.outcome import Outcome
from crm_core.models.pareto_nbd import ParetoNbd
from crm_core.models.purchase_model import PurchaseModel
from crm_core.models.value_scores import model_scores
from crm_core.store.hashing import as_float

if TYPE_CHECKING:
    from crm_core.models.outcome import Task

FAMILIES: tuple[type[PurchaseModel], ...] = (BgNbd, MbgNbd, ParetoNbd)
CHOICE_MEMBERS = 10_000
"""The family is chosen by AIC on about so many members, on what was known before the held-out time."""
ALL_ALIVE = 1 - 1e-6

Choice = tuple[type[PurchaseModel], Mapping[str, float]]
"""A family of purchase models and the parameters to start from."""
Baseline = Callable[[ir.Table, int, float], ir.Value]
"""Histories, horizon in days, the mean value of a purchase → the score of each member."""


def _rate(t: ir.Table, days: int, _: float) -> Any:
    # a short history says little: it is taken as long as the horizon at least
    return t.x * days / ibis.greatest(t["T"], days)


def own_mean(t: ir.Table) -> Any:
    """The mean value of all purchases of each member."""
    return as_float(t.spend) / t.purchases


BASELINES: dict[str, dict[str, Baseline]] = {
    "purchases": {"own_rate": _rate, "last_period": lambda t, days, _: t[f"purchases_{days}"]},
    "value": {
        "own_rate": lambda t, days, mean: _rate(t, days, mean) * own_mean(t),
        "last_period": lambda t, days, _: as_float(t[f"spend_{days}"]),
    },
    "p_alive": {
        "own_rate": lambda t, days, mean: 1 - (-_rate(t, days, mean)).exp(),
        "last_period": lambda t, days, _: (t[f"purchases_{days}"] > 0).cast("float64"),
        "days_since_last_order": lambda t, days, _: days / (days + t["T"] - t.t_x).cast("float64"),
    },
    "spend": {"own_mean": lambda t, _, __: own_mean(t), "population_mean": lambda _, __, mean: ibis.literal(mean)},
}
"""By what is predicted, then by name."""


@dataclass(frozen=True)
class Fitted:
    """The models of one date; `spend` is None where no amounts are known."""

    purchases: PurchaseModel
    spend: GammaGamma | None


@dataclass(frozen=True)
class Trial:
    """The backtest of one horizon: what was found and needed (for purchases, and for money), and, where that is enough, the models
    as of `past` and the members they are judged on (columns by name, one entry a member of a bounded sample)."""

    days: int
    past: date
    needs: tuple[Need, ...]
    money_needs: tuple[Need, ...]
    fitted: Fitted | None = None
    members: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Now:
    """What is published from: histories of the day, its models, their scores, the mean value of a purchase."""

    histories: ir.Table
    fitted: Fitted
    scored: ir.Table
    mean: float


def run(task: Task) -> Sequence[Outcome]:
    """The outcomes of all scores: the horizons', then p_alive and expected_spend, which are judged on the shortest one."""
    settings = task.settings.value
    trials: list[Trial] = []
    chosen: Choice | None = None
    for days in reversed(settings.horizons):  # the family is chosen before all held-out time
        trial = _trial(task, settings, days, chosen)
        if trial.fitted is not None and chosen is None:
            chosen = type(trial.fitted.purchases), dict(trial.fitted.purchases.params)
        trials.insert(0, trial)
    now = _now(task, settings, [trial.days for trial in trials if trial.fitted], chosen) if chosen else None
    first = next((trial for trial in trials if trial.fitted), trials[0])
    return [
        *(_purchases(task, trial, now) for trial in trials),
        *(_value(task, trial, now) for trial in trials),
        _alive(task, first, now),
        _spend(task, first, now),
    ]


def _now(task: Task, settings: ValueSettings, horizons: Sequence[int], chosen: Choice) -> Now:
    rows = _kept(task, "now", histories(task.tables, recent=settings.horizons))
    fitted = _fit(rows, *chosen)
    scored = model_scores(rows, fitted.purchases, fitted.spend, horizons, settings.level)
    return Now(rows, fitted, scored, _mean_value(rows))


def _kept(task: Task, name: str, rows: ir.Table) -> ir.Table:
    """The rows as a temporary table: they are asked for several times."""
    kept: ir.Table = task.engine.create_table(f"value_{name}_{task.tables.as_of:%Y%m%d}", rows, temp=True, overwrite=True)
    return kept


def _trial(task: Task, settings: ValueSettings, days: int, chosen: Choice | None) -> Trial:
    past = task.tables.as_of - timedelta(days=days)
    then = _kept(task, f"then_{days}", histories(task.tables, past, recent=[days], later=days))
    positive = (then.x > 0) & (then.spend > 0)
    asked = then.agg(buyers=then.count(), repeat=(then.x > 0).sum(), priced=positive.sum(), days=then["T"].max())
    found = {name: float(value or 0) for name, value in asked.to_pyarrow().to_pylist()[0].items()}
    needs = (
        Need("buyers", found["buyers"], settings.need_buyers),
        Need("repeat_buyers", found["repeat"], settings.need_repeat_buyers),
        Need("history_days", found["days"], settings.need_days),
    )
    money = (*needs, Need("priced_repeat_buyers", found["priced"], settings.need_repeat_buyers))
    if not all(need.enough for need in needs):
        task.engine.drop_table(then.op().name, force=True)
        return Trial(days, past, needs, money)
    buyers = int(found["buyers"])
    salt = f"value{task.settings.seed}"
    fitted = _fit(then, *(chosen or _choice(then, buyers, salt)))
    mean = _mean_value(then)
    rivals = {
        f"{kind}/{name}": rule(then, days, mean).cast("float64")
        for kind, rules in BASELINES.items()
        for name, rule in rules.items()
    }
    columns = ["member_id", "x", "t_x", "T", "later"]
    judged = then.select(*columns, mean=own_mean(then), later_spend=as_float(then.later_spend), **rivals)
    table = sample_share(judged, task.settings.sample, buyers, salt).order_by("member_id").drop("member_id").to_pyarrow()
    members = {name: table[name].to_numpy().astype(float) for name in table.column_names}
    task.engine.drop_table(then.op().name, force=True)
    return Trial(days, past, needs, money, fitted, members)


def _mean_value(rows: ir.Table) -> float:
    """The mean value of a purchase, from exact sums."""
    found = rows.agg(spend=rows.spend.sum(), purchases=rows.purchases.sum()).to_pyarrow().to_pylist()[0]
    return float(found["spend"]) / float(found["purchases"])


def _choice(then: ir.Table, buyers: int, salt: str) -> Choice:
    """The family with the best AIC on a sample of members, and its parameters."""
    cells = cells_of(sample_share(then, CHOICE_MEMBERS, buyers, salt)).to_pandas()
    tried = [family.fit(cells.x, cells.t_x, cells["T"], cells.weight) for family in FAMILIES]
    best = min(tried, key=lambda model: round(model.aic, 3))
    return type(best), dict(best.params)


def _fit(rows: ir.Table, family: type[PurchaseModel], start: Mapping[str, float]) -> Fitted:
    cells = cells_of(rows).to_pandas()
    purchases = family.fit(cells.x, cells.t_x, cells["T"], cells.weight, start=start)
    # all purchases have their say, the first too: most members have no other
    spend = spend_cells(rows.select(x=rows.purchases, mean_spend=own_mean(rows))).to_pandas()
    return Fitted(purchases, GammaGamma.fit(spend.x, spend.mean_spend, spend.weight) if len(spend) > 1 else None)


def _purchases(task: Task, trial: Trial, now: Now | None) -> Outcome:
    test, models, found = None, trial.fitted, trial.members
    if models is not None:
        count = models.purchases.expected_purchases(trial.days, found["x"], found["t_x"], found["T"])
        test = _backtest(task, trial, "purchases", models.purchases.family, count, found["later"])
    return _outcome(task, f"expected_purchases_{trial.days}d", "purchases", trial, now, test)


def _value(task: Task, trial: Trial, now: Now | None) -> Outcome:
    test, models, found = None, trial.fitted, trial.members
    if models is not None and models.spend is not None:
        count = models.purchases.expected_purchases(trial.days, found["x"], found["t_x"], found["T"])
        worth = count * models.spend.expected_spend(found["x"] + 1, found["mean"])
        test = _backtest(task, trial, "value", f"{models.purchases.family}+gamma_gamma", worth, found["later_spend"])
    return _outcome(task, f"value_{trial.days}d", "value", trial, now, test)


def _alive(task: Task, trial: Trial, now: Now | None) -> Outcome:
    test, models, found = None, trial.fitted, trial.members
    if models is not None:
        # whether one is alive is never seen, but the chance to come back that follows from it is
        none = chance_of_none(models.purchases, trial.days, found["x"], found["t_x"], found["T"])
        back = (found["later"] > 0).astype(float)
        test = _backtest(task, trial, "p_alive", models.purchases.family, 1 - none, back)
    if now is not None and now.scored.p_alive.min().to_pyarrow().as_py() > ALL_ALIVE:
        # the data do not show that anybody gives up
        return _outcome(task, "p_alive", "p_alive", trial, now, test, Need("lapses_seen", 0, 1))
    return _outcome(task, "p_alive", "p_alive", trial, now, test)


def _spend(task: Task, trial: Trial, now: Now | None) -> Outcome:
    test, models, found = None, trial.fitted, trial.members
    if models is not None and models.spend is not None and found["later"].any():
        back = found["later"] > 0
        worth = models.spend.expected_spend(found["x"] + 1, found["mean"])
        actual = found["later_spend"] / np.maximum(found["later"], 1)
        test = _backtest(task, trial, "spend", "gamma_gamma", worth, actual, back)
    return _outcome(task, "expected_spend", "spend", trial, now, test)


def _backtest(task: Task, trial: Trial, kind: str, name: str, predicted: Any, actual: Any, which: Any = slice(None)) -> Backtest:
    """The model `name` beside the baselines of its kind, on the members of `which`."""
    actual = actual[which]
    values = {name: predicted[which]}
    values |= {rival: trial.members[f"{kind}/{rival}"][which] for rival in BASELINES[kind]}
    ranked = kind == "p_alive"
    measure, bounds = (ranking, ranking_gain) if ranked else (errors, partial(error_gain, seed=task.settings.seed))
    entrants = tuple(Entrant(each, each != name, measure(scores, actual)) for each, scores in values.items())
    metric = "auc" if ranked else "rmse"
    test = Backtest(metric, not ranked, trial.past, task.tables.as_of, len(actual), entrants)
    low, high = bounds(values[name], values[test.best(baseline=True).name], actual)
    return replace(test, low=low, high=high)


def _outcome(task: Task, name: str, kind: str, trial: Trial, now: Now | None, test: Backtest | None, *more: Need) -> Outcome:
    """The card by the gate, with the model's scores, or the best baseline's, or none."""
    of_money = kind in ("value", "spend")
    needs = (*(trial.money_needs if of_money else trial.needs), *more)
    if test is None and all(need.enough for need in needs):
        needs = (*needs, Need("returning_buyers", 0, 1))
    params = {}
    if now is not None and test is not None:
        params = {"purchases": now.fitted.purchases.to_json()} if kind != "spend" else {}
        params |= {"spend": now.fitted.spend.to_json()} if of_money and now.fitted.spend is not None else {}
    card = judge(name, task.tables.as_of, needs, test, params=params, seed=task.settings.seed)
    if card.verdict == "insufficient" or now is None:
        return Outcome(card)
    if card.verdict == "published":
        scores = now.scored.select("member_id", score=name, low=f"{name}_low", high=f"{name}_high")
    else:
        rule = BASELINES[kind][card.published]
        scores = now.histories.select("member_id", score=rule(now.histories, trial.days, now.mean).cast("float64"))
    return Outcome(card, scores.mutate(model=ibis.literal(name)))
