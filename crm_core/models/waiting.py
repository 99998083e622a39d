"""The wait for the next purchase, counted in each member's own expected gap: Kaplan-Meier curves by how often a member has
bought, read on from the days already waited.

A member's expected gap mixes the own mean gap with that of all, as if PRIOR gaps of that length had been seen; so the first wait
is counted in days. Waits that have not ended count as not ended (Kaplan and Meier 1958): members who stopped hold the curve up, and
the chance of another purchase falls by itself with every day that passes without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
MOST_COUNTED, GAP_STEPS, NO_GAP = 12, 20, -999
PRIOR = 1.0
STRATA = (1, 2, 3, 5, 8)
"""The least number of purchases of each curve."""
RATIOS = np.exp(np.arange(np.log(0.01), np.log(100), 0.05))
"""Ends of the steps of a curve, in expected gaps: each 5 % longer than the one before."""
CELL = ("purchases", "gap_step", "waited")


@dataclass(frozen=True)
class Cells:
    """Distinct histories: purchases so far (at most MOST_COUNTED), the mean gap in steps of 5 % (NO_GAP for one purchase), days
    waited since the last."""

    purchases: Floats
    gap_step: Floats
    waited: Floats

    @classmethod
    def of(cls, rows: Any) -> Cells:
        """From an Arrow table with the columns CELL."""
        return cls(*(rows[name].to_numpy().astype(float) for name in CELL))

    def gap(self, of_all: float) -> Floats:
        """The own mean gap in days; that of all where there is none yet."""
        own: Floats = np.where(self.gap_step == NO_GAP, of_all, np.exp(self.gap_step / GAP_STEPS))
        return own


@dataclass(frozen=True)
class Waiting:
    """`curves` (strata, ratios): the share that has not bought again after so many expected gaps; `mean_gap`: of all, in days."""

    mean_gap: float
    curves: Floats

    @classmethod
    def fit(cls, rows: Any) -> Waiting:
        """From the spells of `spells`, as an Arrow table."""
        cells, again, weight = Cells.of(rows), rows["again"].to_numpy(zero_copy_only=False), rows["weight"].to_numpy()
        mean_gap = float(np.average(cells.waited[again], weights=weight[again]))
        step = np.searchsorted(RATIOS, cells.waited / _expected(cells, mean_gap))
        stratum = _stratum(cells)
        curves = []
        for place in range(len(STRATA)):
            ended, running = (
                np.bincount(step[those], weight[those], minlength=len(RATIOS) + 1)[: len(RATIOS)]
                for those in ((stratum == place) & again, (stratum == place) & ~again)
            )
            at_risk = (ended + running)[::-1].cumsum()[::-1]
            curves.append(np.cumprod(1 - ended / np.maximum(at_risk, 1)))
        return cls(mean_gap, np.array(curves))

    def returning(self, cells: Cells, days: Floats) -> Floats:
        """(cells, days): the probability of a purchase within each of `days`, given the days waited without one."""
        expected, stratum = _expected(cells, self.mean_gap), _stratum(cells)
        until = cells.waited[:, None] + np.concatenate([[0.0], days])[None, :] + 0.5  # the day's purchases are over by then
        left = np.empty(until.shape)
        for place in np.unique(stratum):
            those = stratum == place
            ratio = np.log(until[those] / expected[those, None])
            left[those] = np.interp(ratio, np.log(RATIOS), self.curves[place], left=1.0)
        now = np.maximum(left[:, :1], 1e-12)
        found: Floats = np.where(left[:, :1] > 1e-9, 1 - left[:, 1:] / now, 0.0)
        return found


def last_purchases(days: ir.Table, until: date) -> ir.Table:
    """member_id and the columns CELL: each member's history at the end of the local day `until`; `days` has member_id, day."""
    return _spells(days, until).filter(lambda t: ~t.again).select("member_id", *CELL)


def spells(days: ir.Table, until: date) -> ir.Table:
    """CELL, again, weight: how often which wait ended with a purchase by `until`, or had not ended then."""
    found = _spells(days, until)
    return found.group_by(*CELL, "again").agg(weight=found.count()).order_by(*CELL, "again")


def _spells(days: ir.Table, until: date) -> ir.Table:
    seen = days.filter(days.day <= ibis.literal(until))
    one_by_one = ibis.window(group_by=seen.member_id, order_by=seen.day)
    number = ibis.row_number().over(one_by_one) + 1
    rows = seen.mutate(number=number, then=seen.day.lead().over(one_by_one), first=seen.day.min().over(group_by=seen.member_id))
    span = rows.day.delta(rows["first"], unit="day")
    step = ((span / (rows.number - 1).nullif(0)).ln() * GAP_STEPS).round().cast("int64")
    return rows.select(
        "member_id",
        purchases=ibis.least(rows.number, MOST_COUNTED),
        gap_step=step.fill_null(NO_GAP),
        waited=rows.then.coalesce(ibis.literal(until)).delta(rows.day, unit="day"),
        again=rows.then.notnull(),
    )


def _expected(cells: Cells, mean_gap: float) -> Floats:
    gaps = cells.purchases - 1
    found: Floats = (PRIOR * mean_gap + gaps * cells.gap(mean_gap)) / (PRIOR + gaps)
    return found


def _stratum(cells: Cells) -> Any:
    return np.searchsorted(STRATA, cells.purchases, side="right") - 1
