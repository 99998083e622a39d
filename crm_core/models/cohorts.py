"""One purchase model for each cohort – members who began in one quarter, or came by one channel – where it is large enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from crm_core.errors import InputError
from crm_core.models.purchase_model import PurchaseModel

Model = TypeVar("Model", bound=PurchaseModel)


def fit_cohorts(fit: Callable[..., Model], cells: pa.Table, by: str = "cohort", least: int = 500) -> dict[Any, Model]:
    """Cohort → its model. `cells`: x, t_x, T, weight and the column `by`, as `purchase_counts(…, by=…)` gives them.

    Cohorts of fewer than `least` members, without a second purchase, or whose search found no sound optimum have the model of all
    cells together. Raises InputError when there is no column `by`.
    """
    if by not in cells.column_names:
        raise InputError(f"the cells have no column '{by}'; they have {', '.join(cells.column_names)}")
    pooled = _fitted(fit, cells)
    found: dict[Any, Model] = {}
    for cohort in sorted(pc.unique(cells[by]).to_pylist(), key=str):
        own = cells.filter(pc.equal(cells[by], cohort) if cohort is not None else pc.is_null(cells[by]))
        enough = pc.sum(own["weight"]).as_py() >= least and pc.sum(own["x"]).as_py() > 0
        model = _fitted(fit, own) if enough else pooled
        found[cohort] = model if model.convergence.ok else pooled
    return found


def _fitted(fit: Callable[..., Model], cells: pa.Table) -> Model:
    return fit(*(cells[name].to_numpy() for name in ("x", "t_x", "T", "weight")))
