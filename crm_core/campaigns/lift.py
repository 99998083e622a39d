"""The statistics of a controlled campaign: from sums and cross-products per arm to lift, interval and
verdict.

Members never leave the engine: tea-tasting reads count, mean, variance and covariance per arm through ibis,
and everything here works on those. The intervals are our own: tea-tasting's relative one lies on the log scale, where a
mean near zero, as spend after a message often is, says little or stops the program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import ibis.expr.types as ir
from scipy import stats
from tea_tasting.aggr import Aggregates, read_aggregates

Reading = Literal["raised", "no_evidence", "lowered"]
CONFIDENCE = 0.95
MISMATCH_BELOW = 0.001  # customary for sample-ratio checks: a real fault shows far below it, chance rarely


@dataclass(frozen=True)
class Lift:
    """Difference of an arm's mean from the control's, per person assigned; None where it is not defined.

    `lift` and its interval are in the metric's unit, `relative` ones are shares of the control's mean (0.1 =
    +10 %).
    """

    control_mean: float
    treatment_mean: float
    lift: float
    low: float | None
    high: float | None
    p: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    relative_p: float | None

    @property
    def reading(self) -> Reading:
        """'raised' or 'lowered' when the interval of the absolute lift leaves zero out, else
        'no_evidence'.
        """
        if self.low is not None and self.low > 0:
            return "raised"
        if self.high is not None and self.high < 0:
            return "lowered"
        return "no_evidence"


@dataclass(frozen=True)
class SampleRatio:
    """Do the arms have the sizes that were planned? `p` from chi-square; verdict 'as_planned' or
    'mismatch'.
    """

    counts: dict[str, int]
    expected: dict[str, float]
    p: float | None
    verdict: Literal["as_planned", "mismatch", "unknown"]


def moments(outcomes: ir.Table, group: str, columns: Sequence[str]) -> dict[str, Aggregates]:
    """Per value of `group`: count, means, variances and covariances of `columns` (floats, no nulls), in one
    query.
    """
    pairs = [(left, right) for left in columns for right in columns if left < right]
    found = read_aggregates(outcomes, group, has_count=True, mean_cols=columns, var_cols=columns, cov_cols=pairs)
    return {str(name): _filled(each) for name, each in found.items()}


def _filled(found: Aggregates) -> Aggregates:
    # engines answer null for the variance of one row
    def spread(values: Mapping[Any, float | None]) -> dict[Any, float]:
        return {name: 0.0 if value is None or math.isnan(value) else value for name, value in values.items()}

    return Aggregates(found.count(), found.mean_, spread(found.var_), spread(found.cov_))


def compare(control: Aggregates, treatment: Aggregates, value: str, covariate: str = "", arms: int = 1) -> Lift:
    """The lift with its interval, adjusted by `covariate` (CUPED) when one is named and varies.

    The wider of two intervals: Welch's (1947), which lets each arm have its variance, and Student's, which takes one for both.
    Welch's alone takes the few buyers of a small control for all the spread there is, and so calls chance a rise: of campaigns
    that do nothing, with 1,000 persons of whom 100 are held out and 3 % order, one in five. Where the arms have one size the
    two are the same. CUPED: Deng, Xu, Kohavi, Walker 2013, eq. 4–7, one coefficient pooled over both arms. The relative
    interval is by the delta method (Deng, Knoblich, Lu 2018, sec. 3), and as much wider. Of a campaign with several `arms` the
    intervals hold together with 95 % (Bonferroni), and p counts as often: else of three that do nothing one in seven would rise.
    """
    whole = control + treatment
    used = covariate if covariate and whole.var(covariate) > 0 else ""
    slope = whole.cov(value, used) / whole.var(used) if used else 0.0
    count_c, count_t = control.count(), treatment.count()
    spread_c, spread_t = (_residual_variance(control, value, used, slope), _residual_variance(treatment, value, used, slope))
    if min(count_c, count_t) < 2 or spread_c + spread_t <= 0:
        return _without_interval(control.mean(value), treatment.mean(value))
    mean_c, mean_t = (
        arm.mean(value) - (slope * (arm.mean(used) - whole.mean(used)) if used else 0.0) for arm in (control, treatment)
    )
    shared = ((count_c - 1) * spread_c + (count_t - 1) * spread_t) / (count_c + count_t - 2)
    own = math.sqrt(spread_c / count_c + spread_t / count_t), _freedom(spread_c / count_c, count_c, spread_t / count_t, count_t)
    pooled = math.sqrt(shared / count_c + shared / count_t), float(count_c + count_t - 2)
    found = max(own, pooled, key=lambda each: _half(each[0], each[1], arms))
    lift, half = mean_t - mean_c, _half(*found, arms)
    wider = half / _half(*own, arms)
    relative = _relative(mean_c, mean_t, control, treatment, value, used, slope, own[1], wider, arms)
    return Lift(mean_c, mean_t, lift, lift - half, lift + half, _p(lift, *found, arms), *relative)


def _half(error: float, freedom: float, arms: int) -> float:
    """Half of an interval of Student's t, of its standard error and degrees of freedom."""
    return error * float(stats.t.isf((1 - CONFIDENCE) / 2 / arms, freedom))


def _p(value: float, error: float, freedom: float, arms: int) -> float:
    return min(1.0, 2 * arms * float(stats.t.sf(abs(value) / error, freedom)))


def _residual_variance(arm: Aggregates, value: str, covariate: str, slope: float) -> float:
    if not covariate:
        return float(arm.var(value))
    return float(arm.var(value) - 2 * slope * arm.cov(value, covariate) + slope**2 * arm.var(covariate))


def _freedom(variance_c: float, count_c: int, variance_t: float, count_t: int) -> float:
    # Welch–Satterthwaite
    both = variance_c + variance_t
    return both**2 / (variance_c**2 / (count_c - 1) + variance_t**2 / (count_t - 1))


def _relative(
    mean_c: float,
    mean_t: float,
    control: Aggregates,
    treatment: Aggregates,
    value: str,
    covariate: str,
    slope: float,
    freedom: float,
    wider: float,
    arms: int,
) -> tuple[float | None, float | None, float | None, float | None]:
    if mean_c <= 0:
        return None, None, None, None
    relative = mean_t / mean_c - 1
    # d relative = dT/C − T dC/C²; both means also hold slope × (overall mean of the covariate), whose weight
    # is −relative/C
    common = -relative / mean_c * slope / (control.count() + treatment.count())
    variance = sum(
        arm.count() * _linear_variance(arm, value, covariate, weight, common - weight * slope)
        for arm, weight in ((control, -mean_t / mean_c**2 / control.count()), (treatment, 1 / mean_c / treatment.count()))
    )
    error = math.sqrt(variance) * wider
    half = _half(error, freedom, arms)
    p = _p(relative, error, freedom, arms) if error else None
    return float(relative), float(relative - half), float(relative + half), p


def _linear_variance(arm: Aggregates, value: str, covariate: str, on_value: float, on_covariate: float) -> float:
    found = on_value**2 * arm.var(value)
    if covariate:
        found += 2 * on_value * on_covariate * arm.cov(value, covariate) + on_covariate**2 * arm.var(covariate)
    return float(found)


def _without_interval(mean_c: float, mean_t: float) -> Lift:
    relative = mean_t / mean_c - 1 if mean_c > 0 else None
    return Lift(mean_c, mean_t, mean_t - mean_c, None, None, None, relative, None, None, None)


def sample_ratio(counts: Mapping[str, int], shares: Mapping[str, Fraction | float]) -> SampleRatio:
    """Pearson's chi-square of all arms' sizes against the planned shares at once.

    tea-tasting's check compares two arms with a continuity correction; a campaign may have several. Shares
    need not add up to 1; without shares the verdict is 'unknown'.
    """
    total, weight = sum(counts.values()), float(sum(shares.values()))
    if not shares or not total:
        return SampleRatio(dict(counts), {}, None, "unknown")
    arms = sorted({*counts, *shares})
    observed = [counts.get(arm, 0) for arm in arms]
    expected = [total * float(shares.get(arm, 0)) / weight for arm in arms]
    unplanned = any(seen and not due for seen, due in zip(observed, expected, strict=True))
    if unplanned:
        p = 0.0
    else:
        kept = [(seen, due) for seen, due in zip(observed, expected, strict=True) if due]
        statistic = sum((seen - due) ** 2 / due for seen, due in kept)
        p = float(stats.chi2.sf(statistic, len(kept) - 1)) if len(kept) > 1 else 1.0
    verdict: Literal["as_planned", "mismatch"] = "mismatch" if p < MISMATCH_BELOW else "as_planned"
    return SampleRatio(dict(counts), dict(zip(arms, expected, strict=True)), p, verdict)


def smallest_detectable(
    outcome: Aggregates, value: str, ratio: float, size: int, power: float = 0.8, arms: int = 1
) -> float | None:
    """The smallest absolute lift that a two-sided test at 5 % (of all `arms` together) finds with `power`.

    `outcome` holds mean and variance of `value`; `ratio` is treated per held out; `size` persons in all. None
    when the variance is zero or an arm would be empty.
    """
    if outcome.var(value) <= 0 or size < 4 or ratio <= 0 or size / (1 + ratio) < 2 or size * ratio / (1 + ratio) < 2:
        return None
    held, freedom = size / (1 + ratio), size - 2
    error = math.sqrt(outcome.var(value) * (1 / held + 1 / (size - held)))
    return error * float(stats.t.isf((1 - CONFIDENCE) / 2 / arms, freedom) + stats.t.ppf(power, freedom))
