"""What must hold of the purchase models whatever the data: exact gradients, probabilities that add up, known limits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, special, stats

from crm_core.errors import InputError
from crm_core.models import count_interval, fit_bgbb, fit_bgnbd, fit_cohorts, fit_gamma_gamma, fit_pareto_nbd
from crm_core.models.bgbb import BgBb
from crm_core.models.bgnbd import BgNbd, MbgNbd
from crm_core.models.counts import count_chances, value_factors
from crm_core.models.fitting import Convergence, Design
from crm_core.models.gamma_gamma import GammaGamma
from crm_core.models.measures import error_gain, ranking, ranking_gain
from crm_core.models.pareto_nbd import ParetoNbd, _died
from crm_core.models.purchase_model import FittedModel
from tests.models.simulated_buyers import TRUTH, buyers

FAMILIES = [BgNbd, MbgNbd, ParetoNbd]
SURE = Convergence(0.0, (), 0.0, True)


def known(family: Any, **params: float) -> Any:
    """A model whose parameters are known exactly."""
    nothing = tuple(tuple(0.0 for _ in params) for _ in params)
    return family(params, nothing, 0.0, 1.0, SURE)


def model_of(family: Any, logs: list[float]) -> Any:
    return known(family, **dict(zip(family.names, np.exp(logs).tolist(), strict=True)))


def histories(seed: int, size: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Possible histories of all kinds: none, few and many purchases, the last one just now or long ago."""
    rng = np.random.default_rng(seed)
    x = rng.choice([0, 1, 2, 7, 40, 300], size).astype(float)
    until = rng.integers(1, 900, size).astype(float)
    last = np.where(x > 0, np.maximum(np.ceil(until * rng.choice([0.01, 0.5, 0.99, 1.0], size)), 1), 0.0)
    return x, last, until


logs = st.lists(st.floats(-2.5, 2.5), min_size=4, max_size=4)


@given(logs, st.integers(0, 10_000))
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_the_likelihood(family: Any, theta: list[float], seed: int) -> None:
    likelihood = family._likelihood(*histories(seed, 8))
    _gradient_holds(likelihood, np.array(theta))


@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4))
def test_gradients_of_the_discrete_model_and_of_spend(theta: list[float]) -> None:
    periods = np.array([(x, t, n) for n in (1, 6) for t in range(n + 1) for x in range(min(t, 1), t + 1)], dtype=float)
    _gradient_holds(BgBb._likelihood(*periods.T), np.array(theta))
    _gradient_holds(GammaGamma._likelihood(np.array([1.0, 3, 50]), np.array([9.5, 30, 800])), np.array(theta[:3]))


def _gradient_holds(likelihood: Any, theta: np.ndarray) -> None:
    exact = likelihood(theta[:, None])[1]
    for place in range(len(theta)):
        step = np.zeros(len(theta))
        step[place] = 1e-5
        up, down = (likelihood((theta + sign * step)[:, None])[0] for sign in (1, -1))
        near = (up - down) / 2e-5
        assert exact[place] == pytest.approx(near, rel=2e-5, abs=2e-5 * (1 + np.abs(up).max() * 1e-2))


def test_covariates_move_the_gradient_too() -> None:
    x, t_x, until = histories(3, 40)
    z = {"channel": np.random.default_rng(1).normal(size=40)}
    for family in FAMILIES:
        design = Design(family.names, z, {family.names.index(name): sign for name, sign in family.acts.items()})
        likelihood = family._likelihood(x, t_x, until)

        def total(theta: np.ndarray, likelihood: Any = likelihood, design: Design = design) -> float:
            return float(likelihood(design.spread(theta))[0].sum())

        theta = np.random.default_rng(2).normal(0, 0.3, len(design.all_names))
        exact = design.gather(likelihood(design.spread(theta))[1])
        assert exact == pytest.approx(optimize.approx_fprime(theta, total, 1e-6), rel=1e-4, abs=1e-2)


@given(st.floats(-2.5, 2.5), st.floats(-2.5, 2.5), st.floats(-4, 7), st.floats(-4, 7), st.integers(0, 10_000))
def test_the_integral_of_pareto_nbd_is_right_where_the_papers_hypergeometric_fails(
    log_r: float, log_s: float, log_alpha: float, log_beta: float, seed: int
) -> None:
    r, s, alpha, beta = np.exp([log_r, log_s, log_alpha, log_beta])
    x, t_x, until = (column[:1] for column in histories(seed))
    if t_x[0] == until[0]:
        return
    rx, first = r + x[0], min(alpha, beta) + t_x[0]
    start = -rx * np.log(alpha + t_x[0]) - (s + 1) * np.log(beta + t_x[0])

    def integrand(y: float) -> float:
        t = t_x[0] + first * np.expm1(y)
        return float(np.exp(-rx * np.log(alpha + t) - (s + 1) * np.log(beta + t) - start + y) * first)

    ends = np.log((min(alpha, beta) + until[0]) / first) * np.linspace(0, 1, 25) ** 3
    exact = sum(integrate.quad(integrand, *pair)[0] for pair in pairwise(ends))
    found = _died(rx + 0 * x, np.array([alpha]), np.array([s]), np.array([beta]), t_x, until)[0][0]
    assert found == pytest.approx(np.log(s) + start + np.log(exact), abs=1e-9)


@given(logs, st.integers(0, 10_000))
@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_and_expectations_behave(family: Any, theta: list[float], seed: int) -> None:
    model, history = model_of(family, theta), histories(seed, 20)
    alive = model.p_alive(*history)
    assert ((alive >= 0) & (alive <= 1)).all()
    within = [model.expected_purchases(days, *history) for days in (0.0, 1.0, 30.0, 365.0)]
    assert within[0] == pytest.approx(0, abs=1e-9)
    for near, far in pairwise(within):
        assert (far >= near - 1e-8 * (1 + far)).all()
    # what is bought today is worth its price, what is bought later less
    worth = model.discounted_purchases(0.001, *history, horizon=365.0)
    assert (worth <= within[3] * (1 + 1e-6)).all()
    assert (worth >= within[3] * np.exp(-0.365) * (1 - 1e-6)).all()
    assert model.discounted_purchases(1e-9, *history, horizon=365.0) == pytest.approx(within[3], rel=1e-5, abs=1e-9)
    # right after a first purchase a member is a new one
    new = model.expected_purchases_new(30.0)
    assert new == pytest.approx(model.expected_purchases(30.0, 0, 0, 0)[0], rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("theta", [[0.0, 1.6, 0.0, 1.0], [-0.5, 2.3, -0.5, 2.4], [0.7, 0.0, 0.7, 0.7]])
def test_chances_of_counts_add_up_to_one_and_to_the_expectation(family: Any, theta: list[float]) -> None:
    model = model_of(family, theta)
    history = np.array([0.0, 1, 5, 20]), np.array([0.0, 3, 50, 60]), np.array([30.0, 40, 52, 61])
    chances = count_chances(model, 26.0, *history, tail=1e-9)
    assert chances.min() >= 0
    assert chances.sum(axis=1) == pytest.approx(1, abs=1e-6)
    mean = chances @ np.arange(chances.shape[1])
    assert mean == pytest.approx(model.expected_purchases(26.0, *history), rel=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_removable_gaps_of_the_formulas_are_filled(family: Any) -> None:
    history = np.array([0.0, 3]), np.array([0.0, 20]), np.array([30.0, 30])
    third, fourth = family.names[2:]
    for shape in (1.0, 0.5):
        at, beside = (
            known(family, r=0.5, alpha=9.0, **{third: shape + off, fourth: 0.5 if family is not ParetoNbd else 9.0})
            for off in (0.0, 3e-6)
        )
        assert at.expected_purchases(52, *history) == pytest.approx(beside.expected_purchases(52, *history), rel=1e-4)


@pytest.mark.parametrize("family", [BgNbd, MbgNbd])
@pytest.mark.parametrize("share", [0.01, 0.2, 0.6])
@pytest.mark.parametrize("certain", [1e3, 1e5, 1e8])
def test_members_who_hardly_differ_in_giving_up_are_predicted_too(family: Any, share: float, certain: float) -> None:
    """a, b → ∞: alive, the mean over p ~ beta(a, B) of (1 − (1 + p·horizon/(α + T))^−(r+x)) / p, here by adaptive quadrature."""
    model = known(family, r=0.6, alpha=58.0, a=certain * share, b=certain * (1 - share))
    for x, until, horizon in ((0, 10, 365), (3, 300, 90), (40, 300, 7)):
        chance = stats.beta(certain * share, certain * (1 - share) + x + family.at_first)
        growth = horizon / (58.0 + until)

        def bought(p: float, x: int = x, growth: float = growth, chance: Any = chance) -> float:
            return float(-np.expm1(-(0.6 + x) * np.log1p(p * growth)) / p * chance.pdf(p))

        middle, spread = chance.mean(), chance.std()
        span = max(1e-9, middle - 12 * spread), min(1.0, middle + 12 * spread)
        alive = integrate.quad(bought, *span, points=[middle], limit=200, epsrel=1e-10)[0]
        last = float(until) if x else 0.0
        found = model.expected_purchases(float(horizon), [x], [last], [until])
        assert found == pytest.approx(alive * model.p_alive([x], [last], [until]), rel=1e-7)


def test_discounted_purchases_of_pareto_nbd_are_the_closed_form() -> None:
    """Fader, Hardie and Lee (2005), 'RFM and CLV: using iso-value curves', equation 8 (DERT), with Tricomi's function."""
    r, alpha, s, beta = 0.5533, 10.578, 0.6062, 11.669
    model, rate = known(ParetoNbd, r=r, alpha=alpha, s=s, beta=beta), 0.0027
    for x, t_x, until in ((0, 0, 38.86), (2, 30.43, 38.86), (26, 30.86, 31.0), (7, 2.0, 75.0)):
        log = r * np.log(alpha) + s * np.log(beta) + (s - 1) * np.log(rate) + special.gammaln(r + x + 1)
        log += -special.gammaln(r) - (r + x + 1) * np.log(alpha + until) - model.log_likelihoods(x, t_x, until)[0]
        closed = np.exp(log) * special.hyperu(s, s, rate * (beta + until))
        assert model.discounted_purchases(rate, x, t_x, until) == pytest.approx([closed], rel=1e-6)


def test_a_member_s_value_given_the_count_is_beta_prime() -> None:
    """Against draws of the gamma-gamma model itself: 200,000 members' values for a count that is known."""
    spend, rng, x, mean = known(GammaGamma, p=6.0, q=4.0, gamma=15.0), np.random.default_rng(4), 3, 20.0
    chances = np.array([[0.02, 0.3, 0.0, 0.68]])
    low, high = value_factors(chances, np.array([float(x)]), spend, 0.9)
    rate = rng.gamma(6.0 * x + 4.0, 1.0, 200_000) / float(spend.scale(x, mean))
    count = rng.choice(4, 200_000, p=chances[0])
    drawn = np.where(count > 0, rng.gamma(6.0 * np.maximum(count, 1)) / rate, 0.0)
    scale = float(spend.scale(x, mean))
    assert (drawn < low * scale).mean() == pytest.approx(0.05, abs=0.002)
    assert (drawn > high * scale).mean() == pytest.approx(0.05, abs=0.002)
    assert drawn[count == 1].mean() == pytest.approx(float(spend.expected_spend(x, mean)), rel=0.01)
    factor = spend.spend_factor(x, np.array([0.05, 0.95])) * scale
    assert [(6.0 / rate < one).mean() for one in factor] == pytest.approx([0.05, 0.95], abs=0.002)


@pytest.mark.parametrize(
    ("family", "true"),
    [
        (BgNbd, {"alpha": 0.5, "a": 0.4, "b": -0.3}),
        (MbgNbd, {"alpha": 0.5, "a": 0.4, "b": -0.3}),
        (ParetoNbd, {"alpha": 0.5, "beta": 0.6}),
    ],
)
def test_covariates_are_recovered_and_needed_again_for_predictions(family: Any, true: dict[str, float]) -> None:
    """Members of the app buy at e^0.5 times the rate, and leave sooner."""
    rng = np.random.default_rng(12)
    app = (rng.random(2500) < 0.5).astype(float)
    truth = TRUTH[family.family]
    params = {
        name: value * np.exp(family.acts[name] * true[name] * app) if name in true else value for name, value in truth.items()
    }
    drawn = buyers(family.family, params, rng.uniform(20, 100, 2500), 26.0, rng)
    history = drawn.x, drawn.t_x, drawn.T
    model, plain = family.fit(*history, covariates={"app": app}), family.fit(*history)
    assert model.convergence.ok
    assert model.aic < plain.aic - 30
    for name, value in {**truth, **{f"{name}:app": value for name, value in true.items()}}.items():
        low, high = model.interval(name, 0.999)
        assert low < value < high, name
    with pytest.raises(InputError, match=r"covariates \[\] were given; the model has \['app'\]"):
        model.p_alive(*history)
    chances = count_chances(model, 26.0, *history, tail=1e-5, app=app)
    number = np.arange(chances.shape[1])
    mean, second = chances @ number, chances @ number**2
    for group in (0, 1):
        ours = app == group
        apart = (drawn.later[ours] - mean[ours]).sum() / np.sqrt((second - mean**2)[ours].sum())
        assert abs(apart) < 3.3  # 99.9 % of a normal sum
    wide = count_interval(model, 26.0, *history, app=app)
    inside = (drawn.later >= wide.low) & (drawn.later <= wide.high)
    assert stats.binomtest(int(inside.sum()), 2500, wide.content.mean()).pvalue > 0.001


def test_points_around_an_estimate_have_its_mean_and_covariance_and_widen_the_chances() -> None:
    covariance = np.array([[0.04, 0.03, 0.0, 0.01], [0.03, 0.05, 0.0, 0.0], [0.0, 0.0, 0.2, 0.1], [0.01, 0.0, 0.1, 0.1]])
    sure = known(BgNbd, r=2.0, alpha=4.0, a=0.8, b=2.5)
    model = replace(sure, covariance=tuple(map(tuple, covariance.tolist())))
    points = np.log([list(each.params.values()) for each in model.around()])
    assert points.mean(axis=0) == pytest.approx(np.log(list(sure.params.values())))
    assert np.cov(points.T, bias=True) == pytest.approx(covariance)
    spread = []
    for each in (sure, model):
        chances = count_chances(each, 30.0, [40.0], [58.0], [60.0], tail=1e-9)[0]
        number = np.arange(len(chances))
        spread.append(chances @ number**2 - (chances @ number) ** 2)
    assert spread[1] > 1.02 * spread[0]


def test_cohorts_have_their_own_model_and_small_ones_that_of_all() -> None:
    rng = np.random.default_rng(7)
    cohorts = {"2025Q1": (2500, 1.0), "2025Q2": (2500, 3.0), "2025Q3": (40, 1.0)}
    rows = []
    for name, (size, slower) in cohorts.items():
        params = {**TRUTH["bgnbd"], "alpha": TRUTH["bgnbd"]["alpha"] * slower}
        drawn = buyers("bgnbd", params, rng.uniform(20, 100, size), 0.0, rng)
        rows.append(pa.table({"x": drawn.x, "t_x": drawn.t_x, "T": drawn.T, "cohort": [name] * size}))
    cells = pa.concat_tables(rows)
    cells = cells.append_column("weight", pa.array(np.ones(len(cells))))
    models = fit_cohorts(fit_bgnbd, cells)
    for name, (size, slower) in cohorts.items():
        low, high = models[name].interval("alpha", 0.999)
        assert (low < 5.0 * slower < high) == (size > 500), name
    assert models["2025Q3"].members == len(cells)
    with pytest.raises(InputError, match="no column 'tier'; they have x, t_x, T, cohort, weight"):
        fit_cohorts(fit_bgnbd, cells, by="tier")


def test_weights_stand_for_members_and_order_does_not_matter() -> None:
    drawn = buyers("bgnbd", TRUTH["bgnbd"], np.full(500, 60.0), 0.0, np.random.default_rng(2))
    x, t_x, until = np.round(drawn.x), np.ceil(drawn.t_x), drawn.T
    each = fit_bgnbd(x, t_x, until)
    cells, weight = np.unique(np.stack([x, t_x, until]), axis=1, return_counts=True)
    for order in (np.arange(len(weight)), np.random.default_rng(1).permutation(len(weight))):
        together = fit_bgnbd(*cells[:, order], weight[order])
        assert together.log_likelihood == pytest.approx(each.log_likelihood, abs=1e-6)
        assert list(together.params.values()) == pytest.approx(list(each.params.values()), rel=1e-6)


@pytest.mark.parametrize("family", [*FAMILIES, BgBb, GammaGamma])
def test_a_model_read_back_from_json_is_the_model(family: type[FittedModel]) -> None:
    model = replace(model_of(family, [0.1, 0.2, 0.3, 0.4][: len(family.names)]), log_likelihood=-12.5, members=3.0)
    assert family.from_json(model.to_json()) == model
    with pytest.raises(InputError, match="these are parameters of"):
        (MbgNbd if family is not MbgNbd else BgNbd).from_json(model.to_json())


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(InputError, match="1 of 2 cells are impossible"):
        fit_bgnbd([0, 1], [0, 9], [5, 5])
    with pytest.raises(InputError, match="nothing to fit"):
        fit_pareto_nbd([0, 0], [0, 0], [5, 6])
    with pytest.raises(InputError, match="different lengths: 2, 1, 2, 2"):
        fit_bgnbd([0, 1], [0], [5, 5])
    with pytest.raises(InputError, match="finite numbers of 0 or more"):
        fit_bgnbd([0, 1], [0, np.nan], [5, 5])
    with pytest.raises(InputError, match="no member"):
        fit_bgnbd([], [], [])
    with pytest.raises(InputError, match="x must be at most t_x"):
        fit_bgbb([3], [2], [6])
    with pytest.raises(InputError, match="leave out the others"):
        fit_gamma_gamma([0, 1], [3.0, 4.0])
    with pytest.raises(InputError, match="discount rate of 0"):
        model_of(BgNbd, [0.0] * 4).discounted_purchases(0, 1, 2, 3)


def test_a_search_that_runs_away_says_so() -> None:
    """Members who never give up: a and b of BG/NBD cannot be told."""
    rng = np.random.default_rng(3)
    rate = rng.gamma(2.0, 0.1, 1500)
    x = rng.poisson(rate * 50).astype(float)
    t_x = np.where(x > 0, 50 * rng.random(1500) ** (1 / np.maximum(x, 1)), 0.0)
    model = fit_bgnbd(x, np.where(x > 0, np.maximum(t_x, 1e-3), 0), np.full(1500, 50.0))
    assert not model.convergence.ok
    assert "a" in model.convergence.at_boundary
    assert model.params["r"] == pytest.approx(2.0, rel=0.2)


def test_ranking_and_gains_are_the_textbook_ones() -> None:
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(5)
    actual = (rng.random(400) < 0.3).astype(float)
    good, poor = actual + rng.normal(0, 1, 400).round(1), rng.normal(0, 1, 400).round(1)
    for scores in (good, poor):
        assert ranking(scores, actual)["auc"] == pytest.approx(roc_auc_score(actual, scores))
    low, high = ranking_gain(good, poor, actual)
    draws = []
    for _ in range(400):
        some = rng.integers(0, 400, 400)
        draws.append(ranking(good[some], actual[some])["auc"] - ranking(poor[some], actual[some])["auc"])
    assert (low, high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.025)
    low, high = error_gain(good, poor, actual)
    assert low < np.sqrt(((poor - actual) ** 2).mean()) - np.sqrt(((good - actual) ** 2).mean()) < high
