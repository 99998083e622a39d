"""What all purchase models have in common: parameters with their errors, predictions, and being written down as plain numbers.

A family says how likely a history is and how purchases go on from one; everything else is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from crm_core.errors import InputError
from crm_core.models.fitting import (
    Array,
    Convergence,
    Design,
    Estimate,
    Likelihood,
    check_times,
    checked,
    maximise,
    normal_quantile,
)

FARTHEST = 2.0  # a logarithm that is less well known than this is not known, and the normal distribution no guide
NODES = np.polynomial.legendre.leggauss(48)


@dataclass(frozen=True)
class FittedModel:
    """Parameters found by maximum likelihood. `params` and `standard_errors` by name (delta method), in the data's unit of time;
    a covariate's coefficient is named 'parameter:covariate'. `covariance` is that of the logarithms (and coefficients).
    """

    names: ClassVar[tuple[str, ...]]
    family: ClassVar[str]

    params: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...] = field(repr=False)
    log_likelihood: float
    members: float
    convergence: Convergence

    @classmethod
    def of(cls, estimate: Estimate) -> Self:
        """The result of a search."""
        natural = np.where(_is_scale(estimate.names), np.exp(estimate.values), estimate.values)
        params = {name: float(value) for name, value in zip(estimate.names, natural, strict=True)}
        covariance = tuple(tuple(float(value) for value in row) for row in estimate.covariance)
        return cls(params, covariance, estimate.log_likelihood, estimate.members, estimate.convergence)

    @property
    def standard_errors(self) -> dict[str, float]:
        """By name, from the observed information; nan where the likelihood is not curved."""
        scale = np.where(_is_scale(tuple(self.params)), list(self.params.values()), 1.0)
        with np.errstate(invalid="ignore"):
            errors = np.sqrt(np.diag(np.array(self.covariance))) * scale
        return {name: float(error) for name, error in zip(self.params, errors, strict=True)}

    @property
    def aic(self) -> float:
        """Akaike's criterion; of models of the same data the smaller is the better."""
        return 2 * len(self.params) - 2 * self.log_likelihood

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Bounds of a parameter at `level`, normal in its logarithm (a covariate's coefficient as it is)."""
        place = list(self.params).index(name)
        reach = normal_quantile(level) * float(np.sqrt(self.covariance[place][place]))
        value = self.params[name]
        if ":" in name:
            return value - reach, value + reach
        return value * float(np.exp(-reach)), value * float(np.exp(reach))

    def around(self) -> list[Self]:
        """Models at 2P points around the estimate whose mean and covariance are those of its normal distribution (the cubature rule
        of degree 3): averages over them carry the parameters' uncertainty. Only the estimate where that is not known.
        """
        covariance = np.array(self.covariance)
        if not np.isfinite(covariance).all():
            return [self]
        # to the symmetric root, as it does not depend on the order of the parameters
        size, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.clip(size, 0, None)) @ vectors.T * np.sqrt(len(size))
        root = np.clip(root, -FARTHEST, FARTHEST)
        scale = _is_scale(tuple(self.params))
        centre = np.where(scale, np.log(np.where(scale, list(self.params.values()), 1)), list(self.params.values()))
        points = [centre + sign * column for column in root.T for sign in (1.0, -1.0)]
        return [replace(self, params=dict(zip(self.params, np.where(scale, np.exp(p), p).tolist(), strict=True))) for p in points]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers that `from_json` reads back."""
        end = self.convergence
        return {
            "family": self.family,
            "params": dict(self.params),
            "standard_errors": self.standard_errors,
            "covariance": [list(row) for row in self.covariance],
            "log_likelihood": self.log_likelihood,
            "members": self.members,
            "convergence": {
                "gradient": end.gradient,
                "at_boundary": list(end.at_boundary),
                "starts_differ": end.starts_differ,
                "curved": end.curved,
            },
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """The model that `to_json` wrote. Raises InputError when it was another family's."""
        if written["family"] != cls.family:
            raise InputError(f"these are parameters of '{written['family']}', not of '{cls.family}'")
        end = written["convergence"]
        covariance = tuple(map(tuple, np.array(written["covariance"], dtype=float).tolist()))
        convergence = Convergence(**{**end, "at_boundary": tuple(end["at_boundary"])})
        return cls(dict(written["params"]), covariance, written["log_likelihood"], written["members"], convergence)


def _is_scale(names: Sequence[str]) -> Any:
    return np.array([":" not in name for name in names])


@dataclass(frozen=True)
class PurchaseModel(FittedModel):
    """A model of repeat purchases in continuous time: BG/NBD, MBG/NBD or Pareto/NBD.

    Histories are (x, t_x, T) arrays of one length N in the unit that the model was fitted in; `covariates` (name → (N,)) are
    those of the fit. Purchases come at rate λ ~ gamma(r, α) while a member is alive.
    """

    acts: ClassVar[Mapping[str, float]]
    """On which parameters a covariate acts, and with which sign of its coefficient."""

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        t_x: ArrayLike,
        T: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        covariates: Mapping[str, ArrayLike] | None = None,
        start: Mapping[str, float] | None = None,
    ) -> Self:
        """Fits cells (N,): repeat purchases, time of the last, time observed, members that have them (default one each).

        `covariates`: name → (N,), one coefficient for each parameter of `acts`; `start`: parameters to search from instead of the
        usual ones. Raises InputError when a cell is impossible or nobody ever came back.
        """
        *data, members = checked(weight, x, t_x, T)
        check_times(*data)
        if not (data[0] * members).sum() > 0:
            raise InputError("no member has bought a second time; there is nothing to fit a purchase model on")
        columns = {name: np.asarray(column, dtype=np.float64) for name, column in (covariates or {}).items()}
        if any(column.shape != members.shape or not np.isfinite(column).all() for column in columns.values()):
            raise InputError(f"covariates must be finite numbers, one for each of the {len(members)} cells")
        design = Design(cls.names, columns, {cls.names.index(name): sign for name, sign in cls.acts.items()})
        starts = [[np.log(start[name]) for name in cls.names]] if start else cls._starts(data[0], data[1], data[2], members)
        return cls.of(maximise(cls._likelihood, data, members, design, starts))

    @classmethod
    def _starts(cls, x: Array, t_x: Array, T: Array, weight: Array) -> list[list[float]]:
        """Log-parameters to search from: the usual purchase rate, with members of short and of long life."""
        raise NotImplementedError

    @classmethod
    def _likelihood(cls, x: Array, t_x: Array, T: Array) -> Likelihood:
        raise NotImplementedError

    def log_likelihoods(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike) -> Array:
        """The log-likelihood of each history (N,)."""
        theta = np.log([[self.params[name]] for name in self.names])
        return self._likelihood(*checked(None, x, t_x, T)[:3])(theta)[0]

    def p_alive(self, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, **covariates: ArrayLike) -> Array:
        """The probability of each history's member to be alive at T (N,)."""
        raise NotImplementedError

    def expected_purchases(
        self, horizon: float | Array, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, **covariates: ArrayLike
    ) -> Array:
        """The expected purchases in (T, T + horizon] of a member with each history (N,)."""
        history = checked(None, x, t_x, T)[:3]
        return self.p_alive(*history, **covariates) * self._expected_alive(horizon, *history, **covariates)

    def expected_purchases_new(self, horizon: float | Array) -> Array:
        """The expected repeat purchases of a new member within `horizon` of the first."""
        raise NotImplementedError

    def discounted_purchases(
        self, rate: float, x: ArrayLike, t_x: ArrayLike, T: ArrayLike, horizon: float = np.inf, **covariates: ArrayLike
    ) -> Array:
        """Expected purchases after T, each worth e^(−rate × delay) (N,): DERT (Fader, Hardie and Lee 2005, 'RFM and CLV') for an
        endless horizon. `rate` is continuous, per unit of time, above 0.

        ∫ e^(−δu) dE(u) by parts, E the expected purchases within u, on Gauss-Legendre nodes in log(1 + u / scale).
        """
        if not rate > 0:
            raise InputError(f"a discount rate of {rate} is not possible; give one above 0 per unit of time")
        history = checked(None, x, t_x, T)[:3]
        alive = self.p_alive(*history, **covariates)
        end = min(horizon, 45 / rate)
        scale = history[2] + self.params["alpha"]
        reach = np.log1p(end / scale)
        total = np.zeros(len(alive))
        for node, weight in zip(*NODES, strict=True):
            y = reach * (node + 1) / 2
            u = scale * np.expm1(y)
            within = self._expected_alive(u, *history, **covariates)
            total += weight / 2 * reach * (u + scale) * rate * np.exp(-rate * u) * within
        return alive * (total + np.exp(-rate * end) * self._expected_alive(end, *history, **covariates))

    def _expected_alive(self, horizon: float | Array, x: Array, t_x: Array, T: Array, **covariates: ArrayLike) -> Array:
        """Expected purchases in the horizon of a member who is alive at T."""
        raise NotImplementedError

    def counts_alive(self, horizon: float, x: Array, t_x: Array, T: Array, **covariates: ArrayLike) -> Iterator[Array]:
        """P(0), P(1), … purchases (N,) in the horizon of a member who is alive at T, without end."""
        raise NotImplementedError

    def _of_cell(self, covariates: Mapping[str, ArrayLike]) -> dict[str, Any]:
        """The parameters, moved by covariates where the model has some. Raises InputError when others are given."""
        wanted = {name.split(":")[1] for name in self.params if ":" in name}
        if wanted != set(covariates):
            raise InputError(f"covariates {sorted(covariates)} were given; the model has {sorted(wanted)}")
        moved: dict[str, Any] = {name: self.params[name] for name in self.names}
        for name, column in covariates.items():
            for param, sign in self.acts.items():
                moved[param] = moved[param] * np.exp(sign * self.params[f"{param}:{name}"] * np.asarray(column))
        return moved
