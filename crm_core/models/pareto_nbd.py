"""Pareto/NBD: a member buys at rate λ ~ gamma(r, α) and lives for a time of rate μ ~ gamma(s, β).

Schmittlein, Morrison and Colombo (1987), 'Counting your customers'; Fader and Hardie (2005), 'A note on deriving the Pareto/NBD
model'. The likelihood's ₂F₁ difference is worked out as the integral it stands for,

    s ∫ (α + t)^−(r+x) (β + t)^−(s+1) dt   over t from t_x to T,

in logarithms on Gauss-Legendre nodes: its integrand falls smoothly, so that it loses no digits where the difference of two ₂F₁
does, and its gradient is exact. Against a fine composite rule over r, s from 0.08 to 12, α, β from 0.02 to 1,100 and x up to 300 it
erred by 5e-11 at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crm_core.models.fitting import Array, Likelihood, checked
from crm_core.models.purchase_model import PurchaseModel

NODES = np.polynomial.legendre.leggauss(32)
LIFE_NODES = np.polynomial.legendre.leggauss(24)
LOST = 45.0  # e^−45 of the integrand's first value adds nothing


@dataclass(frozen=True)
class ParetoNbd(PurchaseModel):
    """The Pareto/NBD model. See `PurchaseModel` for arguments."""

    names: ClassVar[tuple[str, ...]] = ("r", "alpha", "s", "beta")
    family: ClassVar[str] = "pareto_nbd"
    acts: ClassVar[dict[str, float]] = {"alpha": -1.0, "beta": -1.0}

    @classmethod
    def _starts(cls, x: Array, t_x: Array, T: Array, weight: Array) -> list[list[float]]:
        rate = float((weight @ x) / max(weight @ T, 1e-9))
        span = float((weight @ T) / weight.sum())
        return [
            [np.log(r), np.log(r / rate), np.log(s), np.log(beta)]
            for r, s, beta in ((0.6, 0.6, span / 3), (1.5, 1.5, span), (0.3, 3.0, 6 * span))
        ]

    @classmethod
    def _likelihood(cls, x: Array, t_x: Array, T: Array) -> Likelihood:
        values, where = np.unique(x, return_inverse=True)

        def likelihood(theta: Array) -> tuple[Array, Array]:
            r, alpha, s, beta = np.exp(theta)
            rx = r + x
            if theta.shape[1] == 1:
                bought = (special.gammaln(r + values) - special.gammaln(r))[where]
                slope = (special.psi(r + values) - special.psi(r))[where]
            else:
                bought, slope = special.gammaln(rx) - special.gammaln(r), special.psi(rx) - special.psi(r)
            lived = -rx * np.log(alpha + T) - s * np.log(beta + T)
            died, means = _died(rx, alpha, s, beta, t_x, T)
            dead = special.expit(died - lived)
            log_alpha, log_beta, over_alpha, over_beta = means
            value = bought + r * theta[1] + s * theta[3] + np.logaddexp(lived, died)
            by_r = slope + theta[1] - (1 - dead) * np.log(alpha + T) - dead * log_alpha
            by_alpha = r / alpha - rx * ((1 - dead) / (alpha + T) + dead * over_alpha)
            by_s = theta[3] - (1 - dead) * np.log(beta + T) + dead * (1 / s - log_beta)
            by_beta = s / beta - (1 - dead) * s / (beta + T) - dead * (s + 1) * over_beta
            return value, np.stack([r * by_r, alpha * by_alpha, s * by_s, beta * by_beta])

        return likelihood

    def p_alive(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, **covariates: ArrayLike) -> Array:
        """The probability to be alive at T (N,)."""
        n, last, end = checked(None, x, t_x, T)[:3]
        p = self._of_cell(covariates)
        lived = -(p["r"] + n) * np.log(p["alpha"] + end) - p["s"] * np.log(p["beta"] + end)
        return np.asarray(special.expit(lived - _died(p["r"] + n, p["alpha"], p["s"], p["beta"], last, end)[0]))

    def expected_purchases_new(self, horizon: float | Array) -> Array:
        """Expected repeat purchases of a new member within `horizon` of the first purchase."""
        nought = np.zeros(np.shape(horizon))
        return self._expected_alive(np.asarray(horizon), nought, nought, nought)

    def _expected_alive(self, horizon: float | Array, x: Array, t_x: Array, T: Array, **covariates: ArrayLike) -> Array:
        p = self._of_cell(covariates)
        log_q = np.log1p(horizon / (p["beta"] + T))
        # (1 − e^−(s−1)q) / (s − 1), which is q at s = 1
        years = special.exprel(-(p["s"] - 1) * log_q) * log_q
        return np.asarray((p["r"] + x) * (p["beta"] + T) / (p["alpha"] + T) * years)

    def counts_alive(self, horizon: float, x: Array, t_x: Array, T: Array, **covariates: ArrayLike) -> Iterator[Array]:
        """P(0), P(1), … purchases in the horizon of a member alive at T: negative binomial counts over the time that is lived of
        the horizon, averaged over nodes that are even in the probability to have died.
        """
        p = self._of_cell(covariates)
        rx, alpha, beta, s = p["r"] + x, p["alpha"] + T, p["beta"] + T, p["s"]
        leaves = -np.expm1(-s * np.log1p(horizon / beta))
        part = leaves * (LIFE_NODES[0][:, None] + 1) / 2
        lived = np.vstack([beta * np.expm1(-np.log1p(-part) / s), np.full(len(x), horizon)])
        share = np.vstack([leaves * LIFE_NODES[1][:, None] / 2, 1 - leaves])
        z = lived / (alpha + lived)
        would, k = (1 - z) ** rx, 0
        while True:
            yield np.asarray((share * would).sum(axis=0))
            would = would * z * (rx + k) / (k + 1)
            k += 1


def _died(rx: Array, alpha: Array, s: Array, beta: Array, t_x: Array, T: Array) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """The logarithm of the integral above (N,), and the means under its integrand of log(α + t), log(β + t), 1 / (α + t),
    1 / (β + t).

    Nodes lie in y = log((c + t) / (c + t_x)) with c the smaller of α and β, in which both factors are smooth whatever their scale;
    the integrand falls at least as fast as e^−(slope y), so what lies beyond LOST / slope is left out.
    """
    alpha_first = np.asarray(alpha <= beta)
    c, other = np.minimum(alpha, beta), np.maximum(alpha, beta)
    of_c, of_other = np.where(alpha_first, rx, s + 1), np.where(alpha_first, s + 1, rx)
    near, far = c + t_x, other + t_x
    slope = of_c + of_other * near / far - 1
    reach = np.minimum(np.log((c + T) / near), LOST / np.maximum(slope, LOST / 700))
    total, sums = 0.0, [np.zeros(len(T)) for _ in range(4)]
    for node, weight in zip(*NODES, strict=True):
        y = reach * ((node + 1) / 2)
        step = near * np.exp(y)
        at_other = step + (other - c)
        log_other = np.log(at_other / far)
        value = weight * step * np.exp(-of_c * y - of_other * log_other)
        total = total + value
        for place, function in enumerate((y, log_other, 1 / step, 1 / at_other)):
            sums[place] += value * function
    safe = np.maximum(total, 1e-300)
    log_near, log_far = np.log(near), np.log(far)
    with np.errstate(divide="ignore"):
        died = np.log(s) - of_c * log_near - of_other * log_far + np.log(reach / 2 * total)
    means = log_near + sums[0] / safe, log_far + sums[1] / safe, sums[2] / safe, sums[3] / safe
    log_alpha, log_beta = (np.where(alpha_first, *pair) for pair in (means[:2], means[1::-1]))
    over_alpha, over_beta = (np.where(alpha_first, *pair) for pair in (means[2:], means[:1:-1]))
    return np.asarray(died), (log_alpha, log_beta, over_alpha, over_beta)
