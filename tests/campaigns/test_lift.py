"""Published numbers, and agreement with plain numpy and scipy on generated data."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from tea_tasting.aggr import Aggregates

from crm_core.campaigns.lift import compare, moments, sample_ratio, smallest_detectable


def _world(seed: int, size: int = 4000, effect: float = 1.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    before = rng.gamma(1.0, 20.0, size) * rng.binomial(1, 0.5, size)
    arm = np.where(rng.random(size) < 0.3, "control", "message")
    after = 5 + 0.6 * before + rng.normal(0, 10, size) + effect * (arm == "message")
    return pa.table({"arm": arm, "value": after, "before": before})


def _from_sums(count: int, total: float, squares: float) -> Aggregates:
    mean = total / count
    return Aggregates(count, {"value": mean}, {"value": (squares - count * mean * mean) / (count - 1)}, {})


def test_relative_lift_is_the_published_one() -> None:
    # GrowthBook gbstats, tests/frequentist: relative lift by the delta method
    control = _from_sums(3407, 1396.87, 52377.9767)
    treatment = _from_sums(3461, 2422.7, 134698.29)
    found = compare(control, treatment, "value")
    assert found.relative == pytest.approx(0.70732, abs=1e-5)
    # the arms differ a little in size and much in variance, so that Student's interval is the wider by a third of a percent
    of_each = [(arm.mean("value"), math.sqrt(arm.var("value")), arm.count()) for arm in (treatment, control)]
    student, welch = (stats.ttest_ind_from_stats(*of_each[0], *of_each[1], equal_var=equal) for equal in (True, False))
    wider = welch.statistic / student.statistic
    assert 1.003 < wider < 1.004
    half = (1.44989 - -0.03526) / 2 * wider
    assert (found.relative_low, found.relative_high) == pytest.approx((0.70732 - half, 0.70732 + half), abs=5e-5)
    assert found.relative_p == pytest.approx(2 * stats.norm.sf(stats.norm.isf(0.06191 / 2) / wider), abs=2e-5)


def test_sample_ratio_of_1000_and_1200_is_a_mismatch() -> None:
    found = sample_ratio({"control": 1000, "message": 1200}, {"control": 0.5, "message": 0.5})
    assert found.p == pytest.approx(2.008e-5, rel=1e-3)
    assert found.verdict == "mismatch"


def test_sample_ratio_takes_several_arms_at_once() -> None:
    shares = {"control": Fraction(1, 5), "a": Fraction(2, 5), "b": Fraction(2, 5)}
    found = sample_ratio({"control": 200, "a": 410, "b": 390}, shares)
    assert found.p == pytest.approx(stats.chisquare([200, 410, 390], [200, 400, 400]).pvalue)
    assert found.verdict == "as_planned"
    assert sample_ratio({"control": 9}, {}).verdict == "unknown"
    assert sample_ratio({"control": 9, "stray": 1}, {"control": 1.0}).verdict == "mismatch"


def test_hillstrom_visit_lift_and_its_welch_interval(shared_data: Path) -> None:
    visits = ibis.duckdb.connect().read_csv(shared_data / "hillstrom.csv")
    visits = visits.mutate(value=visits.visit.cast("float64"))
    arms = moments(visits, "segment", ["value"])
    found = compare(arms["No E-Mail"], arms["Mens E-Mail"], "value")
    assert found.lift == pytest.approx(0.07659, abs=5e-6)
    assert (found.low, found.high) == pytest.approx((0.06995, 0.08323), abs=5e-6)
    assert found.reading == "raised"


@pytest.mark.parametrize(("spread", "equal"), [(30.0, False), (3.0, True)])
def test_the_interval_is_the_wider_of_welchs_and_students(spread: float, equal: bool) -> None:
    # of a control that varies more than the others Welch's is the wider, of one that varies less Student's
    rng = np.random.default_rng(1)
    control, message = rng.normal(5, spread, 300), rng.normal(6, 10, 3000)
    table = pa.table({"arm": ["control"] * 300 + ["message"] * 3000, "value": np.concatenate([control, message])})
    arms = moments(ibis.memtable(table), "arm", ["value"])
    found = compare(arms["control"], arms["message"], "value")
    wide, narrow = (stats.ttest_ind(message, control, equal_var=each) for each in (equal, not equal))
    interval = wide.confidence_interval(0.95)
    assert found.p == pytest.approx(wide.pvalue) and (found.low, found.high) == pytest.approx((interval.low, interval.high))
    other = narrow.confidence_interval(0.95)
    assert interval.high - interval.low > 1.1 * (other.high - other.low)
    assert found.relative_high - found.relative_low > found.high / found.control_mean - found.low / found.control_mean


@pytest.mark.parametrize(
    ("persons", "held_out", "ordering"), [(20, 4, 0.3), (90, 9, 0.1), (300, 30, 0.1), (1000, 100, 0.03), (2000, 100, 0.1)]
)
@pytest.mark.parametrize("metric", ["net_amount", "ordered"])
def test_chance_is_not_called_an_effect_however_few_were_held_out(
    persons: int, held_out: int, ordering: float, metric: str
) -> None:
    """Persons of very different inclination to order, amounts with a long tail, no effect: of 1,000 campaigns at most as many
    are read as raised, and as lowered, as 2.5 % gives (99.9 % binomial). By Welch's interval alone 70 to 390 rise.
    """
    rng = np.random.default_rng(20261127)
    readings = []
    for _ in range(1000):
        inclined = np.minimum(rng.gamma(0.5, 2 * ordering, persons), 0.95)
        before, value = (
            (rng.random(persons) < inclined) * (rng.lognormal(3, 1, persons) if metric == "net_amount" else 1.0) for _ in range(2)
        )
        held = np.zeros(persons, bool)
        held[rng.permutation(persons)[:held_out]] = True
        arms = [_moments(value[side], before[side]) for side in (held, ~held)]
        readings += [compare(*arms, "value").reading, compare(*arms, "value", "before").reading]
    most = stats.binom.ppf(0.999, 1000, 0.025)
    for place in (0, 1):
        one = readings[place::2]
        assert max(one.count("raised"), one.count("lowered")) <= most


def _moments(value: np.ndarray, before: np.ndarray) -> Aggregates:
    means, spread = {"value": value.mean(), "before": before.mean()}, np.cov(value, before)
    return Aggregates(len(value), means, {"value": spread[0, 0], "before": spread[1, 1]}, {("before", "value"): spread[0, 1]})


def test_several_arms_that_do_nothing_seldom_rise_together() -> None:
    rng, false, alone = np.random.default_rng(3), 0, 0
    for _ in range(1000):
        drawn = rng.normal(5, 2, (4, 200))
        control, *others = (_moments(each, each * 0) for each in drawn)
        false += any(compare(control, each, "value", arms=3).reading != "no_evidence" for each in others)
        alone += any(compare(control, each, "value").reading != "no_evidence" for each in others)
    assert 20 < false <= stats.binom.ppf(0.999, 1000, 0.05) < alone
    one, three = (compare(control, others[0], "value", arms=number) for number in (1, 3))
    assert three.p == pytest.approx(min(1, 3 * one.p)) and three.high - three.low > one.high - one.low
    assert three.relative_high - three.relative_low > one.relative_high - one.relative_low


def test_a_large_effect_is_seen_though_nobody_of_the_control_bought() -> None:
    arms = [_moments(np.zeros(200), np.zeros(200)), _moments(np.repeat([0.0, 1.0], [1600, 400]), np.zeros(2000))]
    assert compare(*arms, "value").reading == "raised"


def test_the_pre_period_narrows_the_interval_and_keeps_the_truth() -> None:
    arms = moments(ibis.memtable(_world(2)), "arm", ["value", "before"])
    plain = compare(arms["control"], arms["message"], "value")
    adjusted = compare(arms["control"], arms["message"], "value", "before")
    assert adjusted.high - adjusted.low < 0.75 * (plain.high - plain.low)
    assert adjusted.low < 1.0 < adjusted.high


def test_relative_adjusted_interval_agrees_with_the_bootstrap() -> None:
    data = _world(3, effect=6.0)
    arm, value, before = (np.asarray(data[name]) for name in ("arm", "value", "before"))
    rng, draws = np.random.default_rng(0), []
    for _ in range(2000):
        at = rng.integers(0, len(value), len(value))
        y, x, c = value[at], before[at], arm[at] == "control"
        slope = np.cov(y, x)[0, 1] / x.var(ddof=1)
        low, high = (y[s].mean() - slope * (x[s].mean() - x.mean()) for s in (c, ~c))
        draws.append(high / low - 1)
    arms = moments(ibis.memtable(data), "arm", ["value", "before"])
    found = compare(arms["control"], arms["message"], "value", "before")
    assert (found.relative_high - found.relative_low) / 2 == pytest.approx(1.96 * np.std(draws), rel=0.06)


def test_a_constant_covariate_changes_nothing() -> None:
    data = _world(4).set_column(2, "before", pa.array(np.zeros(4000)))
    arms = moments(ibis.memtable(data), "arm", ["value", "before"])
    assert compare(arms["control"], arms["message"], "value", "before") == compare(arms["control"], arms["message"], "value")


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0, 0.0], [3.0, 3.0, 3.0, 3.0]])
def test_without_variance_there_is_no_interval_and_no_evidence(values: list[float]) -> None:
    table = ibis.memtable(pa.table({"arm": ["control", "control", "message", "message"], "value": values}))
    arms = moments(table, "arm", ["value"])
    found = compare(arms["control"], arms["message"], "value")
    assert (found.low, found.high, found.p, found.reading) == (None, None, None, "no_evidence")


def test_one_person_in_an_arm_gives_no_interval() -> None:
    table = ibis.memtable(pa.table({"arm": ["control", "message", "message"], "value": [1.0, 2.0, 4.0]}))
    arms = moments(table, "arm", ["value"])
    assert compare(arms["control"], arms["message"], "value").low is None


def test_a_control_mean_of_zero_leaves_the_relative_lift_undefined() -> None:
    # as in half of the trials with 9 held out of whom nobody happens to order
    few = compare(Aggregates(9, {"value": 0.0}, {"value": 0.0}, {}), Aggregates(81, {"value": 2.0}, {"value": 64.0}, {}), "value")
    assert few.relative is None and few.relative_low is None and few.reading == "no_evidence"


def test_smallest_detectable_lift_follows_the_textbook_formula() -> None:
    outcome = Aggregates(10_000, {"value": 10.0}, {"value": 400.0}, {})
    found = smallest_detectable(outcome, "value", ratio=9.0, size=10_000)
    textbook = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * np.sqrt(400 * (1 / 1000 + 1 / 9000))
    assert found == pytest.approx(textbook, rel=0.005)
    of_three = smallest_detectable(outcome, "value", ratio=9.0, size=10_000, arms=3)
    assert of_three / found == pytest.approx((stats.norm.isf(0.025 / 3) + stats.norm.ppf(0.8)) / (1.95996 + 0.84162), rel=0.005)
    assert smallest_detectable(Aggregates(10, {"value": 1.0}, {"value": 0.0}, {}), "value", 1.0, 100) is None
