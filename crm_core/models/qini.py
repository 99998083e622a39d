"""How well a score finds those whom a message moves: Qini curve, uplift among the best, uplift by tenth – ties never split.

All three rest on running sums over members sorted by falling score. Members of equal score are one block: sums are known at
its end and run straight through it, as they would on average over every order of the block. So the order of rows, and of
members within a tie, changes nothing. The shares of treated and held out are random by design and the same for every member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from crm_core.errors import InputError
from crm_core.models.measures import Z95

Floats: TypeAlias = npt.NDArray[np.float64]
SUMS = ("treated", "held_out", "treated_outcome", "held_out_outcome", "treated_squares", "held_out_squares")


@dataclass(frozen=True)
class QiniCurve:
    """`gain[i]`: outcomes gained per treated member when only the best `share[i]` of all are written to; both begin at 0.

    `qini`: area between the curve and the straight line to its end (that of writing at random), in the same unit.
    """

    share: Floats
    gain: Floats
    qini: float


def qini_curve(score: Any, treated: Any, outcome: Any) -> QiniCurve:
    """Radcliffe's Qini curve and coefficient (2007, 'Using control groups to target on predicted lift', Direct Marketing Analytics
    Journal, p. 14–21), per treated member.

    score, treated (0 or 1), outcome: arrays of one length, one entry per member. With the best share φ by score holding n_t(φ)
    treated with outcomes R_t(φ), and n_c(φ), R_c(φ) held out: gain(φ) = (R_t(φ) − R_c(φ) · n_t(φ) / n_c(φ)) / n_t(1),
    at the end of every block of equal scores from where both arms lie above it, straight between. gain(1) is the mean uplift;
    qini = ∫ gain(φ) − φ · gain(1) dφ: 0 for scores that say nothing, negative for those that mislead. Raises InputError where
    an arm is empty.
    """
    sums, counts = _blocks(_floats(score), _floats(treated), _floats(outcome))
    share, gain = _curve(sums, counts)
    return QiniCurve(share, gain, _area(share, gain))


def uplift_at(score: Any, treated: Any, outcome: Any, share: float) -> float:
    """Mean outcome of the treated less that of the held out among the best `share` (0 < share ≤ 1) of members by score.

    A block of ties that the share cuts counts in part. NaN where one arm has nobody there. Raises InputError on a share out of
    range.
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share}; allowed is above 0, at most 1")
    found = _at(*_blocks(_floats(score), _floats(treated), _floats(outcome)), np.array([share]))
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((found[2] / found[0] - found[3] / found[1])[0])


def uplift_by(score: Any, treated: Any, outcome: Any, groups: int = 10) -> pd.DataFrame:
    """One row per tenth (1 / `groups`) of members by falling score: group (1 = best), treated, held_out (members; fractions where
    a tie is cut), treated_mean, held_out_mean, uplift, low, high (95 %, normal, unequal variances)."""
    edges = np.arange(groups + 1) / groups
    sums = np.diff(_at(*_blocks(_floats(score), _floats(treated), _floats(outcome)), edges), axis=1)
    rows = pd.DataFrame(sums.T, columns=list(SUMS))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = {arm: rows[f"{arm}_outcome"] / rows[arm] for arm in ("treated", "held_out")}
        error = np.sqrt(sum((rows[f"{arm}_squares"] / rows[arm] - means[arm] ** 2).clip(lower=0) / rows[arm] for arm in means))
    uplift = means["treated"] - means["held_out"]
    return pd.DataFrame(
        {
            "group": np.arange(1, groups + 1), "treated": rows["treated"], "held_out": rows["held_out"],
            "treated_mean": means["treated"], "held_out_mean": means["held_out"], "uplift": uplift,
            "low": uplift - Z95 * error, "high": uplift + Z95 * error,
        }
    )  # fmt: skip


def qini_draws(scores: Mapping[str, Any], treated: Any, outcome: Any, draws: int = 400, seed: int = 0) -> dict[str, Floats]:
    """Qini of each score in `draws` bootstrap samples of members, drawn within each arm, the same samples for all scores.

    Differences of two entries are differences on one sample. The scores are taken as given: what another fit of the model would
    change is not in the spread. Members alike in every score, arm and outcome are drawn together by their number, so that the
    order of rows changes nothing.
    """
    columns = np.column_stack([*(_floats(score) for score in scores.values()), _floats(treated), _floats(outcome)])
    cells, counts = np.unique(columns, axis=0, return_counts=True)
    arms = [np.flatnonzero(cells[:, -2] == arm) for arm in (0.0, 1.0)]
    sorted_by = {name: _order(*cells[:, [place, -2, -1]].T) for place, name in enumerate(scores)}
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(draws):
        weight = np.zeros(len(cells))
        for arm in arms:
            weight[arm] = random.multinomial(counts[arm].sum(), counts[arm] / counts[arm].sum())
        for name, (order, ends) in sorted_by.items():
            blocks = _sums(cells[order, -2], cells[order, -1], weight[order], ends, powers=2)
            found[name].append(_area(*_curve(*blocks)))
    return {name: np.array(values) for name, values in found.items()}


def _floats(values: Any) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _order(score: Floats, treated: Floats, outcome: Floats) -> tuple[Any, Any]:
    """Places by falling score, and the last place of every block of equal scores. Within a block by arm and outcome, so that
    not even the last bits of a sum tell in which order the rows came."""
    order = np.lexsort((outcome, treated, -score))
    return order, np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)


def _blocks(score: Floats, treated: Floats, outcome: Floats) -> tuple[Floats, Floats]:
    if not (len(score) == len(treated) == len(outcome)) or not 0 < treated.sum() < len(treated):
        raise InputError("score, treated and outcome must have one length, and both arms members")
    order, ends = _order(score, treated, outcome)
    return _sums(treated[order], outcome[order], np.ones(len(score)), ends)


def _sums(treated: Floats, outcome: Floats, weight: Floats, ends: Any, powers: int = 3) -> tuple[Floats, Floats]:
    """Running sums (rows as SUMS, two for each power of the outcome) and members at the end of each block, a nought before."""
    arms = (weight * treated, weight * (1 - treated))
    columns = np.stack([arm * outcome**power for power in range(powers) for arm in arms])
    within = np.add.reduceat(columns, np.concatenate([[0], ends[:-1] + 1]), axis=1)
    sums = np.concatenate([np.zeros((len(columns), 1)), np.cumsum(within, axis=1)], axis=1)
    return sums, sums[0] + sums[1]


def _at(sums: Floats, counts: Floats, shares: Floats) -> Floats:
    return np.stack([np.interp(shares * counts[-1], counts, row) for row in sums])


def _curve(sums: Floats, counts: Floats) -> tuple[Floats, Floats]:
    treated, held_out, gained, without = sums[:4]
    both = (treated > 0) & (held_out > 0)
    gain = (gained[both] - without[both] * treated[both] / held_out[both]) / treated[-1]
    return np.append(0.0, counts[both] / counts[-1]), np.append(0.0, gain)


def _area(share: Floats, gain: Floats) -> float:
    return float(np.sum((gain[1:] + gain[:-1]) / 2 * np.diff(share)) - gain[-1] / 2)
