"""Members drawn from the models themselves, with what they do after the history that a model sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Buyers:
    """Histories (N,) and, for each, the purchases in the horizon after T; `times` (member, time) of all but the first."""

    x: np.ndarray
    t_x: np.ndarray
    T: np.ndarray
    later: np.ndarray
    times: tuple[np.ndarray, np.ndarray]


def buyers(
    family: str, params: dict[str, np.ndarray | float], until: np.ndarray, horizon: float, rng: np.random.Generator
) -> Buyers:
    """One member for each of `until` (N,); parameters may differ by member."""
    size = len(until)
    rate = rng.gamma(params["r"], 1.0, size) / params["alpha"]
    life, leaves = np.full(size, np.inf), np.zeros(size)
    if family == "pareto_nbd":
        life = rng.exponential(1.0, size) / (rng.gamma(params["s"], 1.0, size) / params["beta"])
    else:
        leaves = rng.beta(params["a"], params["b"], size)
    alive = np.ones(size, bool) if family != "mbgnbd" else rng.random(size) >= leaves
    x, t_x, later, clock = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    who, when = [], []
    while alive.any():
        clock = clock + rng.exponential(1.0, size) / rate
        alive &= (clock <= until + horizon) & (clock <= life)
        before = alive & (clock <= until)
        x += before
        t_x = np.where(before, clock, t_x)
        later += alive & ~before
        who.append(np.flatnonzero(alive))
        when.append(clock[alive])
        alive &= rng.random(size) >= leaves
    return Buyers(x, t_x, until, later, (np.concatenate(who), np.concatenate(when)))


TRUTH: dict[str, dict[str, float]] = {
    "bgnbd": {"r": 0.8, "alpha": 5.0, "a": 0.9, "b": 2.5},
    "mbgnbd": {"r": 0.8, "alpha": 5.0, "a": 0.9, "b": 2.5},
    "pareto_nbd": {"r": 0.8, "alpha": 5.0, "s": 0.8, "beta": 10.0},
}
"""Parameters in weeks: not far from CDNOW's, but members buy more often."""
