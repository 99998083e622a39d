"""Gamma-gamma: what a member spends on a purchase, apart from how often.

A purchase's value is gamma(p, ν), ν ~ gamma(q, γ) between members. Fader and Hardie (2013), 'The gamma-gamma model of monetary
value', equations 1a and 5. Only repeat purchases count, as in the authors' use; a member without any has the population's mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crm_core.errors import InputError
from crm_core.models.fitting import Array, Design, Likelihood, checked, maximise
from crm_core.models.purchase_model import FittedModel


@dataclass(frozen=True)
class GammaGamma(FittedModel):
    """The gamma-gamma model; money in the currency it was fitted in."""

    names: ClassVar[tuple[str, ...]] = ("p", "q", "gamma")
    family: ClassVar[str] = "gamma_gamma"

    @classmethod
    def fit(cls, x: ArrayLike, mean_spend: ArrayLike, weight: ArrayLike | None = None) -> Self:
        """Fits cells (N,): repeat purchases (≥ 1), their mean value (> 0), members that have them (default one each).

        Raises InputError when a cell is impossible.
        """
        bought, mean, members = checked(weight, x, mean_spend)
        if (bought < 1).any() or (mean <= 0).any():
            raise InputError("spend is fitted on members with repeat purchases whose mean value is above 0; leave out the others")
        middle = float(np.log((members @ mean) / members.sum()))
        starts = [[np.log(p), np.log(q), middle + np.log((q - 1) / p)] for p, q in ((6.0, 4.0), (1.5, 2.0), (20.0, 10.0))]
        return cls.of(maximise(cls._likelihood, [bought, mean], members, Design(cls.names, {}, {}), starts))

    @classmethod
    def _likelihood(cls, x: Array, mean: Array) -> Likelihood:
        log_mean, log_x = np.log(mean), np.log(x)
        values, where = np.unique(x, return_inverse=True)

        def likelihood(theta: Array) -> tuple[Array, Array]:
            p, q, gamma = np.exp(theta)
            px = p * x
            counts = special.gammaln(p * values + q) - special.gammaln(p * values) - special.gammaln(q)
            above = special.psi(p * values + q)
            both = np.log(gamma + x * mean)
            value = counts[where] + q * theta[2] + (px - 1) * log_mean + px * log_x - (px + q) * both
            by_p = x * ((above - special.psi(p * values))[where] + log_mean + log_x - both)
            by_q = (above - special.psi(q))[where] + theta[2] - both
            by_gamma = q / gamma - (px + q) / (gamma + x * mean)
            return value, np.stack([p * by_p, q * by_q, gamma * by_gamma])

        return likelihood

    def expected_spend(self, x: ArrayLike, mean_spend: ArrayLike) -> Array:
        """The expected value of a purchase of a member with each history (N,); where x is 0 the mean is not read.

        Infinite where q ≤ 1 and x is 0, as then the population has no mean.
        """
        n = np.asarray(x, dtype=np.float64)
        spent = self.scale(n, mean_spend)
        below = self.params["p"] * n + self.params["q"] - 1
        return np.where(below > 0, self.params["p"] * spent / np.where(below > 0, below, 1), np.inf)

    def scale(self, x: ArrayLike, mean_spend: ArrayLike) -> Array:
        """γ + x × mean (N,): a member's ν given the history is gamma(p x + q, this), and all of its future values grow with it."""
        n = np.asarray(x, dtype=np.float64)
        return self.params["gamma"] + n * np.where(n > 0, np.maximum(np.asarray(mean_spend, dtype=np.float64), 0.0), 0.0)

    def spend_factor(self, x: ArrayLike, probability: float) -> Array:
        """The quantile of a member's own mean value at `probability`, over `scale` (N,)."""
        shape = self.params["p"] * np.asarray(x, dtype=np.float64) + self.params["q"]
        return np.asarray(self.params["p"] / special.gammaincinv(shape, 1 - probability))
