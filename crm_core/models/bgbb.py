"""BG/BB: purchases or none in each of n periods (donations a year, attendance): a member buys with probability p ~ beta(α, β)
while alive, and gives up before a period with probability θ ~ beta(γ, δ).

Fader, Hardie and Shang (2010), 'Customer-base analysis in a discrete-time noncontractual setting', equations 7, 11 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crm_core.errors import InputError
from crm_core.models.fitting import Array, Design, Likelihood, checked, maximise
from crm_core.models.purchase_model import FittedModel


@dataclass(frozen=True)
class BgBb(FittedModel):
    """The BG/BB model. Histories: x purchases, the last in period t_x, of n periods (N,), all whole numbers."""

    names: ClassVar[tuple[str, ...]] = ("alpha", "beta", "gamma", "delta")
    family: ClassVar[str] = "bgbb"

    @classmethod
    def fit(cls, x: ArrayLike, t_x: ArrayLike, n: ArrayLike, weight: ArrayLike | None = None) -> Self:
        """Fits cells (N,) with the members that have them (default one each). Raises InputError when a cell is impossible."""
        *data, members = checked(weight, x, t_x, n)
        if (data[0] > data[1]).any() or (data[1] > data[2]).any() or ((data[0] == 0) != (data[1] == 0)).any():
            raise InputError("some cells are impossible: x must be at most t_x, t_x at most n, and both are 0 together")
        if any((column != np.round(column)).any() for column in data):
            raise InputError("x, t_x and n must be whole numbers of periods")
        starts = [[0.0] * 4, [0.5, 0.5, -0.5, 1.0], [-0.5, 0.5, -1.0, -0.5]]
        return cls.of(maximise(cls._likelihood, data, members, Design(cls.names, {}, {}), starts))

    @classmethod
    def _likelihood(cls, x: Array, t_x: Array, n: Array) -> Likelihood:
        # one row per number of periods lived: those of the last purchase up to all n
        lived = [np.minimum(t_x + i, n) for i in range(int((n - t_x).max()) + 1)]
        possible = np.array([t_x + i <= n for i in range(len(lived))])
        ended = np.array([lived_ < n for lived_ in lived])
        periods = np.array(lived)

        def likelihood(theta: Array) -> tuple[Array, Array]:
            alpha, beta, gamma, delta = np.exp(theta[:, 0])
            some, none, left, stay = alpha + x, beta + periods - x, gamma + ended, delta + periods
            terms = special.betaln(some, none) + special.betaln(left, stay)
            terms = np.where(possible, terms, -np.inf)
            top = special.logsumexp(terms, axis=0)
            share = np.exp(terms - top)
            value = top - special.betaln(alpha, beta) - special.betaln(gamma, delta)
            psi = special.psi
            buys, ends = psi(some + none), psi(left + stay)
            gradient = [
                alpha * ((share * (psi(some) - buys)).sum(axis=0) - psi(alpha) + psi(alpha + beta)),
                beta * ((share * (psi(none) - buys)).sum(axis=0) - psi(beta) + psi(alpha + beta)),
                gamma * ((share * (psi(left) - ends)).sum(axis=0) - psi(gamma) + psi(gamma + delta)),
                delta * ((share * (psi(stay) - ends)).sum(axis=0) - psi(delta) + psi(gamma + delta)),
            ]
            return value, np.stack(gradient)

        return likelihood

    def log_likelihoods(self, x: ArrayLike, t_x: ArrayLike, n: ArrayLike) -> Array:
        """The log-likelihood of each history (N,)."""
        return self._likelihood(*checked(None, x, t_x, n)[:3])(np.log([[self.params[name]] for name in self.names]))[0]

    def p_alive(self, x: ArrayLike, t_x: ArrayLike, n: ArrayLike) -> Array:
        """The probability to be alive in period n + 1 (N,)."""
        return self._alive(x, t_x, n) * self._stays(1, np.asarray(n, dtype=np.float64))

    def expected_purchases(self, horizon: int, x: ArrayLike, t_x: ArrayLike, n: ArrayLike) -> Array:
        """The expected purchases in the next `horizon` periods (N,)."""
        bought, seen = np.asarray(x, dtype=np.float64), np.asarray(n, dtype=np.float64)
        rate = (self.params["alpha"] + bought) / (self.params["alpha"] + self.params["beta"] + seen)
        # the paper's quotient of gammas, summed period by period: it has no gap at γ = 1
        later = sum((self._stays(ahead, seen) for ahead in range(1, horizon + 1)), np.zeros(seen.shape))
        return self._alive(x, t_x, n) * rate * later

    def expected_purchases_new(self, horizon: int) -> float:
        """The expected purchases of a new member in the first `horizon` periods."""
        return float(self.expected_purchases(horizon, [0], [0], [0])[0])

    def counts(self, horizon: int, x: ArrayLike, t_x: ArrayLike, n: ArrayLike) -> Iterator[Array]:
        """P(0), …, P(horizon) purchases in the next `horizon` periods (N,)."""
        bought, seen = np.asarray(x, dtype=np.float64), np.asarray(n, dtype=np.float64)
        a, b = self.params["alpha"] + bought, self.params["beta"] + seen - bought
        alive, stays = self._alive(x, t_x, n), [self._stays(ahead, seen) for ahead in range(horizon + 1)]
        just = [now - after for now, after in zip(stays, [*stays[1:], 0.0], strict=True)]
        for k in range(horizon + 1):
            chance = np.zeros(seen.shape)
            for ahead in range(k, horizon + 1):
                ways = special.binom(ahead, k)
                chance = chance + just[ahead] * ways * np.exp(special.betaln(a + k, b + ahead - k) - special.betaln(a, b))
            yield alive * chance + (1 - alive if k == 0 else 0.0)

    def _alive(self, x: ArrayLike, t_x: ArrayLike, n: ArrayLike) -> Array:
        """The probability to have been alive in all n periods (N,)."""
        p = self.params
        bought, seen = np.asarray(x, dtype=np.float64), np.asarray(n, dtype=np.float64)
        whole = special.betaln(p["alpha"] + bought, p["beta"] + seen - bought) - special.betaln(p["alpha"], p["beta"])
        whole = whole + special.betaln(p["gamma"], p["delta"] + seen) - special.betaln(p["gamma"], p["delta"])
        return np.asarray(np.exp(whole - self.log_likelihoods(x, t_x, n)))

    def _stays(self, ahead: int, n: Array) -> Array:
        """The probability to stay for `ahead` more periods after n (N,)."""
        gamma, delta = self.params["gamma"], self.params["delta"]
        return np.asarray(np.exp(special.betaln(gamma, delta + n + ahead) - special.betaln(gamma, delta + n)))
