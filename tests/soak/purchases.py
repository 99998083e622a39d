"""Are the stated errors true? Members drawn from each model with known parameters, fitted, predicted on time that was held out.

Recovery: each parameter lies inside its 95 % interval in as many of the seeds as the exact 99.9 % binomial region allows (179 to
198 of 200). Prediction: the counts of 2,000 members lie inside their 90 % intervals. Whole numbers come in steps, so that an
interval holds at least its level and says how much (`content`); a count inside is kept with probability level / content, which
makes 90 % exact for every member, and the kept ones must lie in the region around 0.90. So must values of money, whose intervals
are exact but for members who most likely buy nothing.

    python -m tests.soak.purchases [--seeds 200] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
from scipy import stats

from crm_core.models import count_interval, fit_bgbb, fit_bgnbd, fit_gamma_gamma, fit_mbgnbd, fit_pareto_nbd
from crm_core.models.counts import count_chances, value_factors
from tests.models.simulated_buyers import TRUTH, buyers

FITS = {"bgnbd": fit_bgnbd, "mbgnbd": fit_mbgnbd, "pareto_nbd": fit_pareto_nbd}
BGBB = {"alpha": 1.2, "beta": 0.75, "gamma": 0.66, "delta": 2.8}
SPEND = {"p": 6.0, "q": 4.0, "gamma": 15.0}
HORIZON, LEVEL = 26.0, 0.9


def region(trials: int, probability: float) -> tuple[int, int]:
    """The counts that an honest coin of `probability` stays within in 999 of 1,000 runs."""
    count = stats.binom(trials, probability)
    return int(count.ppf(0.0005)), int(count.ppf(0.9995))


def discrete(rng: np.random.Generator, size: int, ahead: int = 0) -> tuple[np.ndarray, ...]:
    """x, t_x, n of members of BG/BB after 4 to 12 periods, and what they buy in `ahead` more."""
    n = rng.integers(4, 13, size)
    buys, leaves = rng.beta(BGBB["alpha"], BGBB["beta"], size), rng.beta(BGBB["gamma"], BGBB["delta"], size)
    alive, x, t_x, later = np.ones(size, bool), np.zeros(size), np.zeros(size), np.zeros(size)
    for period in range(1, 13 + ahead):
        alive &= rng.random(size) >= leaves
        bought = alive & (rng.random(size) < buys)
        now = bought & (period <= n)
        x, t_x = x + now, np.where(now, period, t_x)
        later += bought & (period > n) & (period <= n + ahead)
    return x, t_x, n, later


def spending(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Each member's rate ν of the gamma-gamma model."""
    drawn: np.ndarray = rng.gamma(SPEND["q"], 1 / SPEND["gamma"], len(x))
    return drawn


def fitted(family: str, members: int, rng: np.random.Generator) -> tuple[Any, dict[str, float]]:
    """A model of members that were drawn from it, and the truth."""
    if family == "bgbb":
        cells, weight = np.unique(np.stack(discrete(rng, members)[:3]), axis=1, return_counts=True)
        return fit_bgbb(*cells, weight), BGBB
    if family == "gamma_gamma":
        x = 1.0 + rng.poisson(2.0, members)
        return fit_gamma_gamma(x, rng.gamma(SPEND["p"] * x) / spending(rng, x) / x), SPEND
    drawn = buyers(family, TRUTH[family], rng.uniform(20, 100, members), 0.0, rng)
    return FITS[family](drawn.x, drawn.t_x, drawn.T), TRUTH[family]


def recovery(family: str, seeds: int, first: int, members: int = 4000) -> dict[str, int]:
    """How often each parameter lay inside its 95 % interval, and how often the search was sound."""
    held: Counter[str] = Counter()
    for seed in range(first, first + seeds):
        model, truth = fitted(family, members, np.random.default_rng([seed, sorted(FAMILIES).index(family)]))
        held["sound"] += model.convergence.ok
        for name, value in truth.items():
            low, high = model.interval(name)
            held[name] += low < value < high
    return dict(held)


FAMILIES = (*FITS, "bgbb", "gamma_gamma")


def prediction(family: str, seed: int, members: int = 2000) -> dict[str, Any]:
    """Members inside their 90 % intervals of counts and of value over the 26 weeks after what the model saw."""
    rng = np.random.default_rng([seed, 77])
    drawn = buyers(family, TRUTH[family], rng.uniform(20, 100, members), HORIZON, rng)
    model, history = FITS[family](drawn.x, drawn.t_x, drawn.T), (drawn.x, drawn.t_x, drawn.T)
    found = count_interval(model, HORIZON, *history, level=LEVEL)
    inside = (drawn.later >= found.low) & (drawn.later <= found.high)
    kept = inside & (rng.random(members) < LEVEL / found.content)
    chances = count_chances(model, HORIZON, *history)
    nu, x = spending(rng, drawn.x), drawn.x + 1
    mean = rng.gamma(SPEND["p"] * x) / nu / x
    spend = fit_gamma_gamma(x, mean)
    low, high = value_factors(chances, x, spend, LEVEL)
    worth = np.where(drawn.later > 0, rng.gamma(SPEND["p"] * np.maximum(drawn.later, 1)) / nu, 0.0)
    scale = spend.scale(x, mean)
    held = (worth >= low * scale) & (worth <= high * scale)
    held &= rng.random(members) < LEVEL / np.maximum(chances[:, 0], LEVEL)
    below, at = np.cumsum(np.pad(chances, ((0, 0), (1, 0))), axis=1), np.minimum(drawn.later, chances.shape[1] - 1)
    place = np.arange(members), at.astype(int)
    even = below[place] + rng.random(members) * chances[place]
    return {
        "counts": int(kept.sum()),
        "values": int(held.sum()),
        "as_stated": float(stats.binomtest(int(inside.sum()), members, float(found.content.mean())).pvalue),
        "stated": float(found.content.mean()),
        "inside": float(inside.mean()),
        "uniform": float(stats.kstest(even, "uniform").pvalue),
    }


def soak(seeds: int, first: int) -> dict[str, Any]:
    """Both, for every family; 'ok' is true when all counts lie inside their regions."""
    started = time.perf_counter()
    allowed, right = region(seeds, 0.95), region(2000, LEVEL)
    recovered = {family: recovery(family, seeds, first) for family in FAMILIES}
    predicted = {family: prediction(family, first) for family in FITS}
    ok = all(allowed[0] <= count <= allowed[1] for held in recovered.values() for name, count in held.items() if name != "sound")
    ok &= all(right[0] <= found[what] <= right[1] for found in predicted.values() for what in ("counts", "values"))
    return {
        "ok": ok,
        "seeds": seeds,
        "recovery_region": allowed,
        "recovered": recovered,
        "prediction_region": right,
        "predicted": predicted,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main(arguments: list[str] | None = None) -> int:
    """Prints one JSON object; 1 when a count lies outside its region."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    found = soak(options.seeds, options.seed)
    print(json.dumps(found, indent=2))
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
