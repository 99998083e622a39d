"""Maximum likelihood on weighted cells: log-parameters, gradients, several starts, standard errors, and what went wrong.

A likelihood is a function of log-parameters that gives each cell's log-likelihood and its gradient. Parameters are scales of
time, shapes and the like, all above nought, so their logarithms are free; covariates move the logarithms linearly (Fader and Hardie
2007, 'Incorporating time-invariant covariates into the Pareto/NBD and BG/NBD models').
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from threadpoolctl import threadpool_limits

from crm_core.errors import InputError

Array: TypeAlias = NDArray[np.float64]
Likelihood: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""Log-parameters (P, 1) or (P, N) → log-likelihood of each cell (N,) and its gradient by the log-parameters (P, N)."""

BOUND = 16.0
"""Log-parameters this far from nought, or without curvature of FLAT, are at the boundary: the data do not hold them."""
FLAT = 1e-7
START_CELLS = 20_000
STEP = 1e-4
GOOD_GRADIENT = 1e-6


@dataclass(frozen=True)
class Convergence:
    """How the search ended. `gradient`: largest slope of the mean log-likelihood by a log-parameter; `at_boundary`: parameters that
    ran away; `starts_differ`: by how much the log-likelihoods reached from the other starts fall short of the best; `curved`:
    whether the likelihood falls in every direction, so that standard errors exist.
    """

    gradient: float
    at_boundary: tuple[str, ...]
    starts_differ: float
    curved: bool

    @property
    def ok(self) -> bool:
        """Whether the estimate can be relied on; starts that disagree alone do not forbid it, as the best one counts."""
        return self.gradient < GOOD_GRADIENT and not self.at_boundary and self.curved


@dataclass(frozen=True)
class Estimate:
    """A fit: names and logarithms of the parameters (those of covariates are plain coefficients), their covariance
    (inverse of the observed information), the log-likelihood, the weight it was fitted on, and how the search ended.
    """

    names: tuple[str, ...]
    values: Array
    covariance: Array
    log_likelihood: float
    members: float
    convergence: Convergence


def checked(weight: object, *columns: object) -> tuple[Array, ...]:
    """The columns as float arrays of one length, and the weight last (ones by default).

    Raises InputError when lengths differ, nothing is left, or a value is negative, infinite or missing.
    """
    arrays = [np.atleast_1d(np.asarray(column, dtype=np.float64)) for column in columns]
    arrays.append(np.ones(len(arrays[0])) if weight is None else np.asarray(weight, dtype=np.float64))
    if len({len(array) for array in arrays}) != 1:
        raise InputError(f"columns of different lengths: {', '.join(str(len(array)) for array in arrays)}")
    if not len(arrays[0]) or not arrays[-1].sum() > 0:
        raise InputError("there is no member to fit on")
    if any(not np.isfinite(array).all() or (array < 0).any() for array in arrays):
        raise InputError("counts, times, amounts and weights must be finite numbers of 0 or more")
    return tuple(arrays)


def check_times(x: Array, t_x: Array, until: Array) -> None:
    """Raises InputError unless every cell is possible: t_x at most T, and nought exactly where x is."""
    wrong = (t_x > until) | ((x == 0) & (t_x > 0)) | ((x > 0) & (t_x <= 0))
    if wrong.any():
        raise InputError(
            f"{int(wrong.sum())} of {len(x)} cells are impossible: t_x must be at most T, 0 where x is 0, above 0 elsewhere"
        )


@dataclass(frozen=True)
class Design:
    """How covariates act: for each of `columns` (N,) and each parameter of `acts` (index → sign) one coefficient."""

    names: tuple[str, ...]
    columns: Mapping[str, Array]
    acts: Mapping[int, float]

    @property
    def all_names(self) -> tuple[str, ...]:
        """Parameters, then 'parameter:covariate'."""
        return self.names + tuple(f"{self.names[place]}:{name}" for name in self.columns for place in self.acts)

    def spread(self, theta: Array) -> Array:
        """Log-parameters of each cell: (P, 1) without covariates, else (P, N)."""
        if not self.columns:
            return theta[:, None]
        moved = np.repeat(theta[: len(self.names), None], len(next(iter(self.columns.values()))), axis=1)
        rest = iter(theta[len(self.names) :])
        for column in self.columns.values():
            for place, sign in self.acts.items():
                moved[place] += sign * next(rest) * column
        return moved

    def gather(self, gradient: Array) -> Array:
        """The weighted gradient (P, N) of each cell as that of all parameters and coefficients."""
        extra = [sign * np.sum(gradient[place] * column) for column in self.columns.values() for place, sign in self.acts.items()]
        return np.append(gradient.sum(axis=1), extra)


@threadpool_limits.wrap(limits=1, user_api="blas")  # threads of BLAS wait for each other over matrices of 4 by 4
def maximise(
    make: Callable[..., Likelihood], data: Sequence[Array], weight: Array, design: Design, starts: Sequence[Sequence[float]]
) -> Estimate:
    """The most likely parameters. `make(*data)` gives the likelihood; `starts` are log-parameters to search from.

    All starts are tried on at most START_CELLS cells (evenly spaced, weights kept); the search on all cells goes on from
    the best of them, and ends with Newton's steps.
    """
    some = slice(None, None, max(1, -(-len(weight) // START_CELLS)))
    small = _objective(make, data, weight, design, some)
    padded = [np.append(start, np.zeros(len(design.all_names) - len(start))) for start in starts]
    tried = [_search(small, start) for start in padded]
    best = min(tried, key=lambda found: float(found.fun))
    differ = (max(float(found.fun) for found in tried) - float(best.fun)) * float(weight[some].sum())
    theta, hessian = _newton(small, best.x)
    objective = small
    if some.step > 1:
        objective = _objective(make, data, weight, design, slice(None))
        theta, hessian = _newton(objective, _refined(objective, theta, hessian))
    value, gradient = objective(theta)
    total = float(weight.sum())
    curved = bool(np.all(np.linalg.eigvalsh(hessian) > 0))
    covariance = np.linalg.inv(hessian) / total if curved else np.full(hessian.shape, np.nan)
    lost = (np.abs(theta) >= BOUND - 0.01) | (np.diag(hessian) < FLAT)
    ran = tuple(name for name, gone in zip(design.all_names, lost, strict=True) if gone)
    end = Convergence(float(np.abs(gradient).max()), ran, max(0.0, differ), curved)
    return Estimate(design.all_names, theta, covariance, -float(value) * total, total, end)


def _objective(
    make: Callable[..., Likelihood], data: Sequence[Array], weight: Array, design: Design, some: slice
) -> Callable[[Array], tuple[float, Array]]:
    """The mean negative log-likelihood and its gradient on the cells of `some`."""
    likelihood, share = make(*(column[some] for column in data)), weight[some] / weight[some].sum()
    thinned = Design(design.names, {name: column[some] for name, column in design.columns.items()}, design.acts)

    def objective(theta: Array) -> tuple[float, Array]:
        value, gradient = likelihood(thinned.spread(theta))
        return -float(share @ value), -thinned.gather(gradient * share)

    return objective


def _search(objective: Callable[[Array], tuple[float, Array]], start: Array) -> Any:
    return optimize.minimize(
        objective,
        np.clip(start, -BOUND, BOUND),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-BOUND, BOUND)] * len(start),
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-7},
    )


def _refined(objective: Callable[[Array], tuple[float, Array]], theta: Array, hessian: Array) -> Array:
    """The optimum on all cells from that on some: steps with the curvature of those, which is all but the same; each costs one
    look at the cells instead of Newton's nine. The usual search where they do not arrive."""
    nearer = theta
    if np.all(np.linalg.eigvalsh(hessian) > 0):
        for _ in range(12):
            gradient = objective(nearer)[1]
            if np.abs(gradient).max() < GOOD_GRADIENT / 100:
                return nearer
            nearer = np.clip(nearer - np.clip(np.linalg.solve(hessian, gradient), -0.5, 0.5), -BOUND, BOUND)
    found: Array = _search(objective, theta).x
    return found


def _newton(objective: Callable[[Array], tuple[float, Array]], theta: Array) -> tuple[Array, Array]:
    """A few Newton steps from near the optimum, and the Hessian there (central differences of the exact gradient)."""
    for _ in range(4):
        hessian = _hessian(objective, theta)
        value, gradient = objective(theta)
        small = np.abs(gradient).max() < GOOD_GRADIENT / 100
        if small or np.any(np.linalg.eigvalsh(hessian) <= 0):
            return theta, hessian
        step = np.clip(np.linalg.solve(hessian, gradient), -0.5, 0.5)
        nearer = np.clip(theta - step, -BOUND, BOUND)
        if objective(nearer)[0] > value + 1e-12:
            return theta, hessian
        theta = nearer
    return theta, _hessian(objective, theta)


def _hessian(objective: Callable[[Array], tuple[float, Array]], theta: Array) -> Array:
    rows = []
    for step in np.eye(len(theta)) * STEP:
        rows.append((objective(theta + step)[1] - objective(theta - step)[1]) / (2 * STEP))
    whole = np.array(rows)
    return (whole + whole.T) / 2


def normal_quantile(level: float) -> float:
    """How many standard deviations each way hold `level` of a normal distribution."""
    return float(special.ndtri((1 + level) / 2))
