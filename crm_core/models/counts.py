"""How many purchases a member will make, not only on average: the distribution of the count for each history, and intervals.

The counts' distribution given a history is known in closed form for one set of parameters (`counts_alive`); the uncertainty of the
parameters comes in by averaging over points around the estimate (`around`). Nothing is drawn at random, so the same cells
give the same intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.optimize import elementwise

from crm_core.models.bgbb import BgBb
from crm_core.models.fitting import Array, checked
from crm_core.models.gamma_gamma import GammaGamma
from crm_core.models.purchase_model import PurchaseModel

CHUNK = 4096
MOST = 5000
TAIL = 0.002
EXACT = 0.01
LOG_ENDS = (-14.0, 10.0)


@dataclass(frozen=True)
class CountInterval:
    """Whole numbers from `low` to `high` (N,) that hold the count with probability `content`, at least the level asked for: counts
    come in steps, so that most hold more. Below `low` lies at most half of what is left out; `high` is the smallest that will do.
    """

    low: Array
    high: Array
    content: Array


def count_chances(
    model: PurchaseModel, horizon: float, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, tail: float = TAIL, **covariates: ArrayLike
) -> Array:
    """P(0), P(1), … purchases in the horizon (N, K) of members with each history; beyond K lies at most `tail` of each."""
    history = checked(None, x, t_x, T)[:3]
    # parameters known to 1 % move a chance by ½ × 0.01² of its curvature: not worth eight times the work
    exact = bool(np.diag(np.array(model.covariance)).max() < EXACT**2)
    models = [model] if exact else model.around()
    alive = [each.p_alive(*history, **covariates) for each in models]
    counts = [each.counts_alive(horizon, *history, **covariates) for each in models]
    found: list[Array] = []
    total = np.zeros(len(history[0]))
    while len(found) < MOST and (not found or total.min() < 1 - tail):
        chance = sum((one * next(count) for one, count in zip(alive, counts, strict=True)), np.zeros(len(total)))
        if not found:
            chance = chance + sum(1 - one for one in alive)
        found.append(chance / len(models))
        total = total + found[-1]
    return np.stack(found, axis=1)


def chance_of_none(model: PurchaseModel, horizon: float, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
    """The probability of no purchase in the horizon (N,), at the estimate."""
    history = checked(None, x, t_x, T)[:3]
    alive = model.p_alive(*history)
    return np.asarray(1 - alive + alive * next(model.counts_alive(horizon, *history)))


def interval_of(chances: Array, level: float) -> CountInterval:
    """The interval of each row of `count_chances` at `level`."""
    below_or_at = np.cumsum(chances, axis=1)
    low = np.argmax(below_or_at > (1 - level) / 2 + 1e-12, axis=1)
    below = np.where(low > 0, np.take_along_axis(below_or_at, np.maximum(low - 1, 0)[:, None], axis=1)[:, 0], 0.0)
    enough = below_or_at - below[:, None] >= level - 1e-12
    high = np.where(enough.any(axis=1), np.argmax(enough, axis=1), chances.shape[1])
    content = np.take_along_axis(below_or_at, np.minimum(high, chances.shape[1] - 1)[:, None], axis=1)[:, 0] - below
    return CountInterval(low.astype(float), high.astype(float), content)


def count_interval(
    model: PurchaseModel | BgBb,
    horizon: float,
    x: ArrayLike,
    t_x: ArrayLike,
    T: ArrayLike,
    level: float = 0.9,
    **covariates: ArrayLike,
) -> CountInterval:
    """The purchases in the horizon of members with each history (N,), with the parameters' and the members' own uncertainty.

    Of BG/BB the horizon and T are whole numbers of periods.
    """
    if isinstance(model, BgBb):
        tables = [np.stack(list(each.counts(int(horizon), x, t_x, T)), axis=1) for each in model.around()]
        return interval_of(np.mean(tables, axis=0), level)
    history = checked(None, x, t_x, T)[:3]
    columns = {name: np.asarray(column) for name, column in covariates.items()}
    low, high, content = (np.zeros(len(history[0])) for _ in range(3))
    for some in alike(model.expected_purchases(horizon, *history, **columns)):
        part = {name: column[some] for name, column in columns.items()}
        found = interval_of(count_chances(model, horizon, *(column[some] for column in history), **part), level)
        low[some], high[some], content[some] = found.low, found.high, found.content
    return CountInterval(low, high, content)


def alike(expected: Array) -> Iterator[Array]:
    """The places of cells in chunks of similar expectation, so that no cell waits for another's long tail."""
    order = np.argsort(expected, kind="stable")
    yield from (order[start : start + CHUNK] for start in range(0, len(order), CHUNK))


def value_factors(chances: Array, x: Array, spend: GammaGamma, level: float) -> tuple[Array, Array]:
    """Bounds (N,), (N,) of the value of all purchases in the horizon over `spend.scale` of the member, at `level`.

    `x` counts the purchases that the member's mean value is over. Given n purchases, value / scale is beta prime (p n, p x + q);
    n has `chances` (N, K). Below the first lies half of what is left out, unless no purchase at all is likelier than that.
    """
    none, tail = chances[:, 0], (1 - level) / 2
    above = np.where(none > tail, level, level + tail)
    counts, weights = _grouped(chances)
    shape = spend.params["p"] * np.asarray(x, dtype=np.float64) + spend.params["q"]

    def quantile(target: Array) -> Array:
        found, asked = np.zeros(len(target)), np.flatnonzero(none < target)
        if len(asked):
            rows, wanted = asked.astype(float), special.ndtri(target[asked])

            def short(log_w: Array, row: Array, goal: Array) -> Array:
                # on the normal scale the distribution is all but a line in log w, so that the search ends soon
                at = row.astype(int)
                share = special.expit(log_w)[:, None]
                reached = (weights[at] * special.betainc(spend.params["p"] * counts[at], shape[at, None], share)).sum(axis=1)
                return np.asarray(special.ndtri(np.clip(none[at] + reached, 1e-12, 1 - 1e-12)) - goal)

            ends = np.full(len(asked), LOG_ENDS[0]), np.full(len(asked), LOG_ENDS[1])
            root = elementwise.find_root(short, ends, args=(rows, wanted), tolerances={"xatol": 1e-3})
            found[asked] = np.exp(root.x)
        return found

    return quantile(np.full(len(none), tail)), quantile(above)


def _grouped(chances: Array, most: int = 12) -> tuple[Array, Array]:
    """Counts of 1 and more with their chances; where there are many, neighbours stand together at their mean."""
    some, counts = chances[:, 1:], np.arange(1.0, chances.shape[1])
    if len(counts) <= most:
        return np.broadcast_to(counts, some.shape), some
    edges = np.unique(np.geomspace(1, len(counts) + 1, most + 1).astype(int)) - 1
    weights = np.add.reduceat(some, edges[:-1], axis=1)
    means = np.add.reduceat(some * counts, edges[:-1], axis=1) / np.maximum(weights, 1e-300)
    return np.maximum(means, 1.0), weights
