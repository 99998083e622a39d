"""The purchase models give the numbers that their authors published, from the transactions on.

Sources: [FHL] Fader, Hardie and Lee (2005), 'Counting your customers the easy way', table 2 (BG/NBD and Pareto/NBD on CDNOW);
[FH8] Fader and Hardie, note 008 (Pareto/NBD); [HW] Hoppe and Wagner (2007) and the R package BTYDplus (MBG/NBD); [FHS] Fader,
Hardie and Shang (2010), table 2 (BG/BB on donations); [GG] Fader and Hardie (2013), note 025 (gamma-gamma, 946 repeat buyers);
[W] the walkthrough of the R package BTYD (McCarthy and Wadsworth). Hold-out sums and errors are those of lifetimes 0.11.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from crm_core.models import (
    fit_bgbb,
    fit_bgnbd,
    fit_gamma_gamma,
    fit_mbgnbd,
    fit_pareto_nbd,
    member_purchases,
    purchase_counts,
    spend_cells,
)
from tests.models.public_purchases import CALIBRATED, cdnow_rows, cdnow_tables, donations
from tests.models.simulated_buyers import TRUTH, buyers

HOLD_OUT = 39.0
FITS = {"bgnbd": fit_bgnbd, "mbgnbd": fit_mbgnbd, "pareto_nbd": fit_pareto_nbd}


@pytest.fixture(scope="module")
def tables() -> Any:
    return cdnow_tables(cdnow_rows())


@pytest.fixture(scope="module")
def cells(tables: Any) -> pd.DataFrame:
    return purchase_counts(tables, "week", until=CALIBRATED).to_pandas()


@pytest.fixture(scope="module")
def fitted(cells: pd.DataFrame) -> dict[str, Any]:
    return {name: fit(cells.x, cells.t_x, cells["T"], cells.weight) for name, fit in FITS.items()}


@pytest.fixture(scope="module")
def held_out(tables: Any) -> pd.DataFrame:
    """One row per member: the history in weeks, and what was bought in the 39 weeks after."""
    members = member_purchases(tables, CALIBRATED).to_pandas().set_index("member_id")
    bought = cdnow_rows().drop_duplicates(["customer", "day"])
    later = bought[bought.day > pd.Timestamp(CALIBRATED)].groupby("customer").size()
    weeks = members.assign(t_x=members.t_x / 7, T=members["T"] / 7)
    return weeks.assign(later=later.reindex(weeks.index).fillna(0))


def test_cells_hold_every_customer_and_same_day_repeats_are_one_purchase(cells: pd.DataFrame) -> None:
    rows = cdnow_rows()
    assert (len(rows), rows.customer.nunique(), rows.duplicated(["customer", "day"]).sum()) == (6919, 2357, 223)
    assert cells.weight.sum() == 2357
    assert cells.weight[cells.x > 0].sum() == 946  # [GG]
    assert (cells.x * cells.weight).sum() == 2457  # what [FHL]'s summary adds up to


@pytest.mark.parametrize(
    ("name", "published", "log_likelihood"),
    [
        ("bgnbd", (0.2426, 4.414, 0.7929, 2.426), -9582.43),  # [FHL]
        ("pareto_nbd", (0.5533, 10.578, 0.6062, 11.669), -9594.98),  # [FHL], [FH8]
        ("mbgnbd", (0.5248, 6.183, 0.8914, 1.614), -9582.14),  # [HW], BTYDplus
    ],
)
def test_cdnow_has_the_published_parameters_and_likelihood(
    fitted: dict[str, Any], name: str, published: tuple[float, ...], log_likelihood: float
) -> None:
    model = fitted[name]
    assert [float(f"{value:.4g}") for value in model.params.values()] == pytest.approx(
        [float(f"{value:.4g}") for value in published], rel=1e-12
    )
    assert model.log_likelihood == pytest.approx(log_likelihood, abs=0.01)
    assert model.convergence.ok
    assert model.convergence.starts_differ < 0.01
    assert model.members == 2357


def test_gamma_gamma_has_the_published_parameters_though_close_means_share_a_cell(tables: Any) -> None:
    spend = spend_cells(member_purchases(tables, CALIBRATED)).to_pandas()
    assert spend.weight.sum() == 946 > len(spend)
    model = fit_gamma_gamma(spend.x, spend.mean_spend, spend.weight)
    assert [float(f"{value:.4g}") for value in model.params.values()] == [6.25, 3.744, 15.44]  # [GG]
    assert model.log_likelihood == pytest.approx(-4055.92, abs=0.01)  # [GG]


def test_donations_have_the_published_parameters(fitted: dict[str, Any]) -> None:
    given = donations()
    model = fit_bgbb(**given)
    assert given["weight"].sum() == 11_104
    assert [round(value, 3) for value in model.params.values()] == [1.204, 0.750, 0.657, 2.783]  # [FHS]
    assert model.log_likelihood == pytest.approx(-33225.58, abs=0.01)  # [FHS]
    assert model.expected_purchases_new(10) == pytest.approx(3.1798, abs=5e-4)  # [W]
    assert model.expected_purchases(10, [0, 4], [0, 5], [6, 6]) == pytest.approx([0.1302, 3.6278], abs=5e-4)  # [W]
    chances = np.array(list(model.counts(10, [0, 4], [0, 5], [6, 6])))
    assert chances.sum(axis=0) == pytest.approx(1)
    assert np.arange(11) @ chances == pytest.approx(model.expected_purchases(10, [0, 4], [0, 5], [6, 6]))


def test_conditional_expectations_are_the_published_ones(fitted: dict[str, Any]) -> None:
    assert fitted["bgnbd"].expected_purchases(39, 2, 30.43, 38.86) == pytest.approx([1.226], abs=5e-4)  # [FHL]
    pareto = fitted["pareto_nbd"]
    assert pareto.expected_purchases(52, 26, 30.86, 31) == pytest.approx([25.46], abs=5e-3)  # [W]
    assert pareto.p_alive(26, 30.86, 31) == pytest.approx([0.9979], abs=5e-5)  # [W]
    assert pareto.expected_purchases_new(52) == pytest.approx(1.473, abs=5e-4)  # [W]


@pytest.mark.parametrize(
    ("name", "total", "error"), [("bgnbd", 1653.4, 0.7855), ("pareto_nbd", 1665.5, 0.7545), ("mbgnbd", 1576.7, 0.7648)]
)
def test_held_out_sums_and_errors(fitted: dict[str, Any], held_out: pd.DataFrame, name: str, total: float, error: float) -> None:
    expected = fitted[name].expected_purchases(HOLD_OUT, held_out.x, held_out.t_x, held_out["T"])
    assert held_out.later.sum() == 1882
    assert expected.sum() == pytest.approx(total, abs=0.05)
    assert np.abs(expected - held_out.later).mean() == pytest.approx(error, abs=5e-5)


def test_lifetimes_gives_the_same_from_its_own_start(cells: pd.DataFrame, fitted: dict[str, Any]) -> None:
    import lifetimes

    theirs = {
        "bgnbd": lifetimes.BetaGeoFitter(),
        "mbgnbd": lifetimes.ModifiedBetaGeoFitter(),
        "pareto_nbd": lifetimes.ParetoNBDFitter(),
    }
    sample = cells.sample(50, random_state=1)
    for name, fitter in theirs.items():
        fitter.fit(cells.x, cells.t_x, cells["T"], weights=cells.weight)
        ours = fitted[name]
        assert list(ours.params.values()) == pytest.approx(list(fitter.params_), rel=2e-3), name
        fitter.params_ = pd.Series(ours.params)
        alive = fitter.conditional_probability_alive(sample.x, sample.t_x, sample["T"])
        assert ours.p_alive(sample.x, sample.t_x, sample["T"]) == pytest.approx(np.ravel(alive), rel=1e-6)
        buys = fitter.conditional_expected_number_of_purchases_up_to_time(26, sample.x, sample.t_x, sample["T"])
        assert ours.expected_purchases(26, sample.x, sample.t_x, sample["T"]) == pytest.approx(np.ravel(buys), rel=1e-6)
        new = fitter.expected_number_of_purchases_up_to_time(26)
        assert ours.expected_purchases_new(26) == pytest.approx(float(new), rel=1e-6)


def test_lifetimes_gives_the_same_for_spend_for_donors_and_for_drawn_members(tables: Any) -> None:
    import lifetimes

    spend = spend_cells(member_purchases(tables, CALIBRATED)).to_pandas()
    ours = fit_gamma_gamma(spend.x, spend.mean_spend, spend.weight)
    theirs = lifetimes.GammaGammaFitter()
    theirs.params_ = pd.Series({"p": ours.params["p"], "q": ours.params["q"], "v": ours.params["gamma"]})
    worth = theirs.conditional_expected_average_profit(spend.x, spend.mean_spend)
    assert ours.expected_spend(spend.x, spend.mean_spend) == pytest.approx(worth.to_numpy())

    given = donations()
    donors = lifetimes.BetaGeoBetaBinomFitter().fit(given["x"], given["t_x"], given["n"], given["weight"])
    discrete = fit_bgbb(**given)
    assert list(discrete.params.values()) == pytest.approx(list(donors.params_), rel=2e-3)
    donors.params_ = pd.Series(discrete.params)
    later = donors.conditional_expected_number_of_purchases_up_to_time(5, given["x"], given["t_x"], given["n"])
    assert discrete.expected_purchases(5, given["x"], given["t_x"], given["n"]) == pytest.approx(np.ravel(later))

    drawn = buyers("bgnbd", TRUTH["bgnbd"], np.random.default_rng(4).uniform(10, 200, 3000), 0.0, np.random.default_rng(5))
    fitter = lifetimes.BetaGeoFitter().fit(drawn.x, drawn.t_x, drawn.T)
    assert list(fit_bgnbd(drawn.x, drawn.t_x, drawn.T).params.values()) == pytest.approx(list(fitter.params_), rel=1e-4)


def test_time_in_days_scales_the_scales_and_shifts_the_likelihood_by_a_known_constant(
    tables: Any, cells: pd.DataFrame, fitted: dict[str, Any]
) -> None:
    days = purchase_counts(tables, "day", until=CALIBRATED).to_pandas()
    assert days.weight.tolist() == cells.weight.tolist()
    for name, fit in FITS.items():
        weekly, daily = fitted[name], fit(days.x, days.t_x, days["T"], days.weight)
        for param, value in weekly.params.items():
            times = 7 if param in ("alpha", "beta") else 1
            assert daily.params[param] == pytest.approx(times * value, rel=1e-5)
            assert daily.standard_errors[param] == pytest.approx(times * weekly.standard_errors[param], rel=1e-4)
        # each of Σx purchase times is a density, seven times thinner per day
        shift = (days.x * days.weight).sum() * np.log(7)
        assert daily.log_likelihood == pytest.approx(weekly.log_likelihood - shift, abs=1e-4)
        expected = weekly.expected_purchases(39, cells.x, cells.t_x, cells["T"])
        assert daily.expected_purchases(273, days.x, days.t_x, days["T"]) == pytest.approx(expected, rel=1e-5)


def test_dates_moved_and_rows_shuffled_give_the_same_cells() -> None:
    rows = cdnow_rows()
    moved = rows.assign(day=rows.day + pd.Timedelta(days=1461)).sample(frac=1, random_state=3)
    before = purchase_counts(cdnow_tables(rows), "day", until=CALIBRATED).to_pandas()
    later = purchase_counts(
        cdnow_tables(moved, as_of=pd.Timestamp("2002-06-30").date()), "day", until=pd.Timestamp("2001-09-30").date()
    ).to_pandas()
    pd.testing.assert_frame_equal(before, later)


def test_customers_resampled_scatter_as_the_standard_errors_say(cells: pd.DataFrame, fitted: dict[str, Any]) -> None:
    model, rng = fitted["bgnbd"], np.random.default_rng(11)
    share = cells.weight / cells.weight.sum()
    start, found = dict(model.params), []
    for _ in range(40):
        weight = rng.multinomial(2357, share)
        found.append(list(fit_bgnbd(cells.x, cells.t_x, cells["T"], weight, start=start).params.values()))
    scatter = np.log(found).std(axis=0, ddof=1)
    stated = np.array([model.standard_errors[name] / model.params[name] for name in model.names])
    # a standard deviation of 40 is itself known to within a factor 0.68 to 1.39 in 99.8 % of samples
    assert np.all((scatter > 0.6 * stated) & (scatter < 1.6 * stated)), scatter / stated
