"""Qini and uplift by share: Radcliffe's definition worked out by hand, ties, known truths, and the bootstrap's coverage."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crm_core.errors import InputError
from crm_core.models import qini_curve, uplift_at, uplift_by
from crm_core.models.qini import qini_draws
from tests.conftest import few

MEMBERS = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 1)), min_size=2, max_size=30).filter(
    lambda rows: 0 < sum(row[1] for row in rows) < len(rows)
)


def by_hand(rows: list[tuple[int, bool, int]]) -> tuple[list[tuple[Fraction, Fraction]], Fraction]:
    """Points (share, gain) and the coefficient in whole fractions, block by block."""
    treated = sum(row[1] for row in rows)
    points = [(Fraction(0), Fraction(0))]
    for limit in sorted({row[0] for row in rows}, reverse=True):
        above = [row for row in rows if row[0] >= limit]
        written = [row for row in above if row[1]]
        held = [row for row in above if not row[1]]
        if written and held:
            gained = sum(row[2] for row in written) - Fraction(sum(row[2] for row in held) * len(written), len(held))
            points.append((Fraction(len(above), len(rows)), gained / treated))
    area = sum((b[1] + a[1]) / 2 * (b[0] - a[0]) for a, b in pairwise(points))
    return points, area - points[-1][1] / 2


@settings(max_examples=few(150))
@given(MEMBERS, st.randoms(use_true_random=False))
def test_the_curve_is_radcliffes_and_no_order_of_rows_matters(rows: list[tuple[int, bool, int]], draw: object) -> None:
    curve = qini_curve(*map(np.array, zip(*rows, strict=True)))
    points, area = by_hand(rows)
    assert curve.share.tolist() == pytest.approx([float(point[0]) for point in points])
    assert curve.gain.tolist() == pytest.approx([float(point[1]) for point in points])
    assert curve.qini == pytest.approx(float(area))
    draw.shuffle(rows)
    columns = list(map(np.array, zip(*rows, strict=True)))
    again = qini_curve(*columns)
    assert again.qini == curve.qini and again.gain.tolist() == curve.gain.tolist()
    assert uplift_at(*columns, 1.0) == pytest.approx(float(points[-1][1]))


def test_amounts_shuffled_within_ties_give_the_very_same_numbers() -> None:
    draw = np.random.default_rng(1)
    score, treated, amount = draw.integers(0, 5, 3000), draw.random(3000) < 0.4, np.round(draw.gamma(2, 37.1, 3000), 2)
    expected = qini_curve(score, treated, amount).gain
    deciles = uplift_by(score, treated, amount)
    drawn = qini_draws({"a": score}, treated, amount, 20, seed=3)["a"]
    for _ in range(3):
        order = draw.permutation(3000)
        shuffled = score[order], treated[order], amount[order]
        assert np.array_equal(qini_curve(*shuffled).gain, expected)
        assert uplift_by(*shuffled).equals(deciles)
        assert np.array_equal(qini_draws({"a": shuffled[0]}, *shuffled[1:], 20, seed=3)["a"], drawn)


def test_a_tie_that_the_share_cuts_counts_as_the_mean_over_its_orders() -> None:
    """Two above; of the tie of four one is taken: on average a quarter of its members and outcomes."""
    score = [2, 2, 1, 1, 1, 1]
    treated = [1, 0, 1, 1, 0, 0]
    outcome = [1, 0, 1, 0, 1, 0]
    # treated: (1 + 1/4) of 1 + 2/4 ; held out: (0 + 1/4) of 1 + 2/4
    assert uplift_at(score, treated, outcome, 0.5) == pytest.approx((1.25 - 0.25) / 1.5)


def test_a_constant_score_gains_nothing_and_the_best_possible_all_there_is() -> None:
    treated = np.tile([1, 0], 500)
    outcome = np.where(np.arange(1000) < 200, treated, 0)  # two in ten act only when written to
    moved = (np.arange(1000) < 200).astype(float)
    assert qini_curve(np.zeros(1000), treated, outcome).qini == 0
    # the curve reaches 0.2 at a share of 0.2 and stays there: 0.2 * 0.2 / 2 + 0.8 * 0.2 less 0.1
    assert qini_curve(moved, treated, outcome).qini == pytest.approx(0.08)
    assert qini_curve(-moved, treated, outcome).qini == pytest.approx(-0.08)


def test_the_bootstrap_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Scores that know the effect of each member: true Qini from the effects; 95 % intervals over 150 campaigns."""
    held = 0
    for seed in range(150):
        draw = np.random.default_rng(seed)
        effect = draw.choice([0.0, 0.1, 0.2], 1200)
        treated = draw.random(1200) < 0.5
        outcome = draw.random(1200) < 0.1 + effect * treated
        low, high = np.quantile(qini_draws({"s": effect}, treated, outcome, 100, seed)["s"], [0.025, 0.975])
        # thirds of effect 0.2, 0.1, 0: the curve passes 0.2/3 and 0.3/3; area less half the end
        held += low <= (0.2 / 3 / 2 + (0.2 / 3 + 0.1) / 2 + 0.1) / 3 - 0.05 <= high
    least, most = stats.binom.interval(0.999, 150, 0.95)
    assert least <= held <= most


def test_tenths_hold_all_members_and_their_uplift() -> None:
    draw = np.random.default_rng(8)
    score, treated = draw.random(5000), draw.random(5000) < 0.7
    outcome = (draw.random(5000) < 0.1 + 0.3 * score * treated).astype(float)
    rows = uplift_by(score, treated, outcome)
    assert rows.treated.sum() == pytest.approx(treated.sum()) and rows.held_out.sum() == pytest.approx((~treated).sum())
    first = rows.iloc[0]
    best = score >= np.sort(score)[-500]
    assert first.uplift == pytest.approx(outcome[best & treated].mean() - outcome[best & ~treated].mean())
    assert first.uplift == pytest.approx(uplift_at(score, treated, outcome, 0.1))
    variance = sum(outcome[best & arm].var() / (best & arm).sum() for arm in (treated, ~treated))
    assert first.high - first.low == pytest.approx(2 * 1.959964 * variance**0.5)
    # the true uplift of a tenth is 0.3 × its mean score
    truth = 0.3 * np.sort(score)[::-1].reshape(10, 500).mean(axis=1)
    assert ((rows.low <= truth) & (truth <= rows.high)).sum() >= 7


@pytest.mark.parametrize("share", [0.0, 1.5, -0.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="allowed is above 0"):
        uplift_at([1, 2], [1, 0], [1, 0], share)


def test_an_empty_arm_is_refused() -> None:
    with pytest.raises(InputError, match="both arms"):
        qini_curve([1, 2], [1, 1], [1, 0])
