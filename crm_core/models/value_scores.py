"""The scores of the day: worked out once for each cell, and brought to its members by a join in the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa

from crm_core.models.cells import cells_of
from crm_core.models.counts import alike, count_chances, interval_of, value_factors
from crm_core.models.fitting import normal_quantile
from crm_core.models.gamma_gamma import GammaGamma
from crm_core.models.purchase_model import PurchaseModel
from crm_core.store.hashing import as_float


def model_scores(
    members: ir.Table, purchases: PurchaseModel, spend: GammaGamma | None, horizons: Sequence[int], level: float
) -> ir.Table:
    """One row per member of `members` (as `histories` gives them), lazily: p_alive, expected_purchases_{h}d, and where there is a
    spend model expected_spend and value_{h}d, each with _low and _high.

    Intervals at `level`: of p_alive for the parameters' uncertainty, null where that is not known; of purchases and value for the
    member's own as well; of expected_spend for what is not known of the member's mean.
    """
    keys = cells_of(members).drop("weight").to_pyarrow()
    x, t_x, until = (keys[name].to_numpy().astype(float) for name in ("x", "t_x", "T"))
    columns = cell_scores(purchases, spend, horizons, level, x, t_x, until)
    known = {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
    scored = ibis.memtable(pa.table({**{f"cell_{name}": keys[name] for name in ("x", "t_x", "T")}, **known}))
    same = [members[name] == scored[f"cell_{name}"] for name in ("x", "t_x", "T")]
    joined = members.inner_join(scored, same)
    found: dict[str, ir.Value] = {name: joined[name] for name in columns if not name.startswith("per_")}
    if spend is not None:
        # γ + x × mean of the gamma-gamma model, whose x × mean is what the member spent
        scale: Any = ibis.greatest(as_float(joined.spend), 0.0) + spend.params["gamma"]
        found |= {name.removeprefix("per_"): joined[name] * scale for name in columns if name.startswith("per_")}
    return joined.select("member_id", **found)


def cell_scores(
    model: PurchaseModel, spend: GammaGamma | None, horizons: Sequence[int], level: float, x: Any, t_x: Any, until: Any
) -> dict[str, Any]:
    """The columns of `model_scores` for cells (N,); those of money begin with 'per_', to be multiplied by the member's scale."""
    history = x, t_x, until
    alive = model.p_alive(*history)
    known = np.isfinite(np.array(model.covariance)).all()
    error = np.sqrt(np.mean([(each.p_alive(*history) - alive) ** 2 for each in model.around()], axis=0))
    reach = normal_quantile(level) * error if known else np.nan
    found = {"p_alive": alive, "p_alive_low": np.maximum(alive - reach, 0), "p_alive_high": np.minimum(alive + reach, 1)}
    if spend is not None:
        shape = spend.params["p"] * (x + 1) + spend.params["q"]
        a_purchase = np.where(shape > 1, spend.params["p"] / np.maximum(shape - 1, 1e-9), np.nan)
        found["per_expected_spend"] = a_purchase
        found["per_expected_spend_low"] = spend.spend_factor(x + 1, (1 - level) / 2)
        found["per_expected_spend_high"] = spend.spend_factor(x + 1, (1 + level) / 2)
    for days in horizons:
        count, worth = f"expected_purchases_{days}d", f"per_value_{days}d"
        found[count] = model.expected_purchases(days, *history)
        names = [f"{count}_low", f"{count}_high"] + ([f"{worth}_low", f"{worth}_high"] if spend is not None else [])
        found |= {name: np.zeros(len(x)) for name in names}
        for some in alike(found[count]):
            chances = count_chances(model, days, x[some], t_x[some], until[some])
            bounds = interval_of(chances, level)
            found[names[0]][some], found[names[1]][some] = bounds.low, bounds.high
            if spend is not None:
                found[names[2]][some], found[names[3]][some] = value_factors(chances, x[some] + 1, spend, level)
        if spend is not None:
            found[worth] = found[count] * a_purchase
    return found
