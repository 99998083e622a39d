"""BG/NBD and MBG/NBD: a member buys at rate λ ~ gamma(r, α) and gives up with probability p ~ beta(a, b) after a purchase.

Fader, Hardie and Lee (2005), 'Counting your customers the easy way', equations 3, 6, 9 and 10; the modified model, in which one may
give up after the first purchase already: Batislam, Denizel and Filiztekin (2007), Hoppe and Wagner (2007). With B = b + x (BG) or
b + x + 1 (MBG) both are one: alive, p ~ beta(a, B) and λ ~ gamma(r + x, α + T) independently.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg, special

from crm_core.models.fitting import Array, Likelihood, checked
from crm_core.models.purchase_model import PurchaseModel

NUDGE = 1e-6
"""The expectation has removable gaps at a = 1 and a + B = 1; this far beside them it is exact to about as much."""
NODES = 40


@dataclass(frozen=True)
class BgNbd(PurchaseModel):
    """The beta-geometric model: nobody gives up before a second purchase. See `PurchaseModel` for arguments."""

    names: ClassVar[tuple[str, ...]] = ("r", "alpha", "a", "b")
    family: ClassVar[str] = "bgnbd"
    acts: ClassVar[dict[str, float]] = {"alpha": -1.0, "a": 1.0, "b": 1.0}
    at_first: ClassVar[bool] = False

    @classmethod
    def _starts(cls, x: Array, t_x: Array, T: Array, weight: Array) -> list[list[float]]:
        rate = float((weight @ x) / max(weight @ T, 1e-9))
        return [[np.log(r), np.log(r / rate), np.log(a), np.log(b)] for r, a, b in ((0.5, 0.8, 2.5), (1.5, 0.5, 8.0), (0.3, 2, 2))]

    @classmethod
    def _likelihood(cls, x: Array, t_x: Array, T: Array) -> Likelihood:
        # the costly functions depend on x, t_x or T alone, of which there are few, unless covariates make each cell its own
        counts, lasts, ends = (np.unique(column, return_inverse=True) for column in (x, t_x, T))
        can_be_dead, shift = np.asarray(cls.at_first | (x > 0)), int(cls.at_first)

        def likelihood(theta: Array) -> tuple[Array, Array]:
            r, alpha, a, b = np.exp(theta)
            alone = theta.shape[1] == 1
            n, by_x = (counts[0], counts[1]) if alone else (x, slice(None))
            (last, by_last), (end, by_end) = (lasts, ends) if alone else ((t_x, slice(None)), (T, slice(None)))
            beyond, rx = b + n + shift, r + x
            left = np.maximum(beyond - 1, 1e-300)
            lived, died = np.log(alpha + end)[by_end], np.log(alpha + last)[by_last]
            odds = np.where(can_be_dead, (theta[2] - np.log(left))[by_x] + rx * (lived - died), -np.inf)
            small = np.exp(-np.abs(odds))
            dead = np.where(odds > 0, 1.0, small) / (1 + small)
            steady = special.gammaln(r + n) - special.gammaln(r) + r * theta[1]
            steady = steady + special.betaln(a, beyond) - special.betaln(a, b)
            value = steady[by_x] - rx * lived + np.maximum(odds, 0) + np.log1p(small)
            both = special.psi(a + b) - special.psi(a + beyond)
            by_r = (r * (special.psi(r + n) - special.psi(r) + theta[1]))[by_x] - r * (lived + dead * (died - lived))
            over_end, over_last = (alpha / (alpha + end))[by_end], (alpha / (alpha + last))[by_last]
            by_alpha = r - rx * (over_end + dead * (over_last - over_end))
            by_a = (a * both)[by_x] + dead
            by_b = (b * (both + special.psi(beyond) - special.psi(b)))[by_x] - dead * (b / left)[by_x]
            return value, np.stack([by_r, by_alpha, by_a, by_b])

        return likelihood

    def p_alive(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, **covariates: ArrayLike) -> Array:
        """The probability to be alive at T (N,)."""
        n, last, end = checked(None, x, t_x, T)[:3]
        p = self._of_cell(covariates)
        can_be_dead = np.asarray(self.at_first | (n > 0))
        beyond = np.where(can_be_dead, p["b"] + n + self.at_first, 2.0)
        odds = np.log(p["a"] / (beyond - 1)) + (p["r"] + n) * np.log((p["alpha"] + end) / (p["alpha"] + last))
        return np.where(can_be_dead, special.expit(-odds), 1.0)

    def expected_purchases_new(self, horizon: float | Array) -> Array:
        """Expected repeat purchases of a new member within `horizon` of the first purchase."""
        nought = np.zeros(np.shape(horizon))
        stays = self.params["b"] / (self.params["a"] + self.params["b"]) if self.at_first else 1.0
        return np.asarray(stays * self._expected_alive(np.asarray(horizon), nought, nought, nought, **{}))

    def _expected_alive(self, horizon: float | Array, x: Array, t_x: Array, T: Array, **covariates: ArrayLike) -> Array:
        p = self._of_cell(covariates)
        a, beyond, rx = p["a"], p["b"] + x + self.at_first, p["r"] + x
        a = np.where(np.abs(a - 1) < NUDGE, 1 + NUDGE, a)
        c = np.where(np.abs(a + beyond - 1) < NUDGE, NUDGE, a + beyond - 1)
        log_q = -np.log1p(horizon / (p["alpha"] + T))
        # Euler's transformation of the paper's (1 − z)^(r+x) ₂F₁(r+x, b+x; a+b+x−1; z): its terms stay small for any x
        first, z = a - 1, -np.expm1(log_q)
        rest = special.hyp2f1(first, c - rx, c, z)
        closed = c / first * (1 - np.exp(first * log_q) * np.where(np.isfinite(rest), rest, 0.0))
        # scipy 1.17 gives nan where rx − a is a whole number, and ∞ where members hardly differ in a / (a + b)
        return np.where(np.isfinite(rest), closed, _by_quadrature(p["a"], beyond, rx, z / (1 - z), ~np.isfinite(rest)))

    def counts_alive(self, horizon: float, x: Array, t_x: Array, T: Array, **covariates: ArrayLike) -> Iterator[Array]:
        """P(0), P(1), … purchases in the horizon of a member alive at T (the paper's equation 8, from the posterior)."""
        p = self._of_cell(covariates)
        a, beyond, rx = p["a"], p["b"] + x + self.at_first, p["r"] + x
        z = horizon / (p["alpha"] + T + horizon)
        would, fewer = ((1 - z) ** rx, np.zeros(len(x)))  # of the purchases of one who never gives up: k of them, fewer than k
        still, leaves = np.ones(len(x)), np.zeros(len(x))  # did not give up in k purchases; gives up at just the k-th
        k = 0
        while True:
            yield still * would + leaves * np.maximum(1 - fewer, 0.0)
            fewer = fewer + would
            would = would * z * (rx + k) / (k + 1)
            leaves = still * a / (a + beyond + k)
            still = still * (beyond + k) / (a + beyond + k)
            k += 1


@dataclass(frozen=True)
class MbgNbd(BgNbd):
    """The modified model: a member may give up right after the first purchase. See `PurchaseModel` for arguments."""

    family: ClassVar[str] = "mbgnbd"
    at_first: ClassVar[bool] = True


def _by_quadrature(a: Array, beyond: Array, rx: Array, longer: Array, where: Array) -> Array:
    """The same expectation where `where` is true, elsewhere 0: ∫ (1 − (1 + p·horizon/(α + T))^−(r+x)) / p over the chance p
    to leave after a purchase, p ~ Beta(a, beyond), by Gauss-Jacobi with NODES nodes (Golub and Welsch 1969)."""
    a, beyond, rx, longer = np.broadcast_arrays(a, beyond, rx, longer)
    found = np.zeros(a.shape)
    pairs, at = np.unique(np.stack([a[where], beyond[where]]), axis=1, return_inverse=True)
    for number, (first, second) in enumerate(pairs.T):
        chance, weight = _beta_nodes(first, second)
        cells = np.flatnonzero(where)[at.ravel() == number]
        grown = np.log1p(np.outer(longer.ravel()[cells], chance))
        found.ravel()[cells] = -np.expm1(-rx.ravel()[cells, None] * grown) @ (weight / chance)
    return found


def _beta_nodes(a: float, b: float) -> tuple[Array, Array]:
    """NODES points and weights that give the mean of any polynomial of less than twice their degree under Beta(a, b)."""
    n = np.arange(1, NODES)
    twice = 2 * n + a + b - 2
    middle = np.append((a - b) / (a + b), (a - b) * (a + b - 2) / (twice * (twice + 2)))
    side = n * (n + b - 1) * (n + a - 1) * (n + a + b - 2) / (twice**2 * (twice + 1) * (twice - 1))
    side[0] = a * b / ((a + b) ** 2 * (a + b + 1))
    at, vectors = linalg.eigh_tridiagonal((1 + middle) / 2, np.sqrt(side))
    return at, vectors[0] ** 2
