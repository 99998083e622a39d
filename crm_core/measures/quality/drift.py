"""Whether the newest facts of a source are distributed like those before: the population stability index by column.

PSI = Σ (p − q) · ln(p / q) over the deciles of the earlier facts (numbers) or over the words (categories), p the newer and
q the earlier share; from 0.25 on it counts as a shift (N. Siddiqi, Credit Risk Scorecards, 2006, ch. 12: below 0.1 none,
0.1–0.25 some, above a great one). In small samples PSI is large by chance: without any drift PSI / (1/n + 1/m) follows a
chi-square with B − 1 degrees of freedom (B. Yurdakul and J. Naranjo, Statistical properties of the population stability
index, Journal of Risk Model Validation 14(4), 2020), so a shift must also lie above its 99.9 % quantile.

Newer are the facts dated after the day that the loads of the same kind before had reached; earlier those of the 56 days up
to it (whole weeks). The day decides and not the load, because an order that is updated moves to the load that did it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
from scipy.stats import chi2

from crm_core.measures.quality.columns import BEGINS
from crm_core.measures.quality.loads import Feeds, LoadRecord, compared
from crm_core.schema import TABLES, Column, TableSchema
from crm_core.store import Tables, as_float, day_end

SHIFT = 0.25
CHANCE = 0.999
FEWEST = 100
BACK = timedelta(days=56)
DECILES = [place / 10 for place in range(1, 10)]
PLAIN_WORDS = ("country", "province", "tier", "payment_method", "currency", "shop_id", "team")
"""Text columns without a declared vocabulary that take few different words."""
MOST_WORDS = 4000


@dataclass(frozen=True)
class Drift:
    """One column: `rows` newer and `rows_before` earlier facts, `psi`, and the value whose share moved most (a decile's
    span for numbers) with its share then and now. `chance`: what PSI stays under by chance alone."""

    source: str
    table: str
    column: str
    rows: int
    rows_before: int
    psi: float
    chance: float
    value: str
    share: float
    share_before: float

    @property
    def shifted(self) -> bool:
        """Whether the distribution has shifted."""
        return self.psi >= SHIFT and self.psi > self.chance


def drifts(tables: Tables, loads: list[LoadRecord], names: Sequence[str], feeds_of: Feeds) -> list[Drift]:
    """Every column that can be compared, greatest PSI first; tables of which one side has under 100 facts are left out."""
    found: list[Drift] = []
    for name in names:
        for newest, before in compared(loads, name, feeds_of):
            reached = max((load.covers_until for load in before if load.covers_until), default=None)
            if reached is not None and newest.covers_until is not None and newest.covers_until > reached:
                ids = [load.load_id for load in loads if load.source == newest.source]
                found += _of_table(tables, TABLES[name], newest.source, ids, reached)
    return sorted(found, key=lambda drift: -drift.psi)


def _of_table(tables: Tables, schema: TableSchema, source: str, ids: list[str], reached: date) -> list[Drift]:
    begins = schema.exists_at or BEGINS.get(schema.name, "")
    if not begins:
        return []
    table, zone = getattr(tables, schema.name), tables.zone
    split = ibis.literal(day_end(reached, zone))
    since = ibis.literal(day_end(reached - BACK, zone))
    rows = table.filter(table.load_id.isin(ids), table[begins] >= since)
    rows = rows.mutate(_newer=rows[begins] >= split)
    compare = [column for column in schema.columns if not column.seen_with and column.name != "status"]
    numbers = [c for c in compare if c.type.startswith("decimal") or (c.type == "float64" and "score" not in c.name)]
    words = [column for column in compare if column.vocabulary or column.name in PLAIN_WORDS]
    counted = rows.group_by("_newer").agg(rows=rows.count()).to_pyarrow().to_pylist()
    sizes = {row["_newer"]: int(row["rows"]) for row in counted}
    if min(sizes.get(True, 0), sizes.get(False, 0)) < FEWEST:
        return []
    bins = {**_number_bins(rows, numbers), **_word_bins(rows, words)}
    return [drift for column, counts in bins.items() if (drift := _drift(source, schema.name, column, counts)) is not None]


Counts = dict[str, tuple[int, int]]
"""Bin → (newer, earlier) facts."""


def _number_bins(rows: ir.Table, columns: Sequence[Column]) -> dict[str, Counts]:
    if not columns:
        return {}
    values = {column.name: as_float(rows[column.name]) for column in columns}
    earlier = ~rows._newer
    asked = {
        f"{name} {place}": value.quantile(share, where=earlier)
        for name, value in values.items()
        for place, share in enumerate(DECILES)
    }
    edges = rows.aggregate(**asked).to_pyarrow().to_pylist()[0]
    wanted, spans = {}, {}
    for name, value in values.items():
        own = {edges[f"{name} {place}"] for place in range(len(DECILES))} - {None}
        limits = [None, *sorted(own), None] if own else []
        for place, (low, high) in enumerate(itertools.pairwise(limits)):
            inside: Any = value.notnull()
            inside = inside & (value > low) if low is not None else inside
            inside = inside & (value <= high) if high is not None else inside
            wanted[f"{name} {place}"] = rows.count(where=inside)
            spans[f"{name} {place}"] = (name, _span(low, high))
    if not wanted:
        return {}
    sides = {row["_newer"]: row for row in rows.group_by("_newer").agg(**wanted).to_pyarrow().to_pylist()}
    found: dict[str, Counts] = {}
    for key, (name, span) in spans.items():
        found.setdefault(name, {})[span] = (sides[True][key], sides[False][key])
    return found


def _span(low: float | None, high: float | None) -> str:
    if low is None:
        return f"≤ {high:,.6g}"
    return f"> {low:,.6g}" if high is None else f"{low:,.6g} – {high:,.6g}"


def _word_bins(rows: ir.Table, columns: Sequence[Column]) -> dict[str, Counts]:
    if not columns:
        return {}
    parts = []
    for column in columns:
        counted = rows.group_by(value=rows[column.name]).agg(
            newer=rows.count(where=rows._newer), earlier=rows.count(where=~rows._newer)
        )
        parts.append(counted.mutate(column=ibis.literal(column.name)))
    together = reduce(lambda left, right: left.union(right), parts)
    ordered = together.order_by(ibis.desc("earlier"), "column", "value").limit(MOST_WORDS)
    found: dict[str, Counts] = {}
    for row in ordered.to_pyarrow().to_pylist():
        if row["value"] is not None:
            found.setdefault(row["column"], {})[row["value"]] = (row["newer"], row["earlier"])
    return found


def _drift(source: str, table: str, column: str, counts: Counts) -> Drift | None:
    newer = np.array([pair[0] for pair in counts.values()], dtype=float)
    earlier = np.array([pair[1] for pair in counts.values()], dtype=float)
    if min(newer.sum(), earlier.sum()) < FEWEST:
        return None
    psi = stability_index(newer, earlier)
    move = newer / newer.sum() - earlier / earlier.sum()
    most = int(np.argmax(np.abs(move)))
    bins = len(counts)
    chance = float(chi2.ppf(CHANCE, bins - 1) * (1 / newer.sum() + 1 / earlier.sum())) if bins > 1 else 0.0
    return Drift(
        source, table, column, int(newer.sum()), int(earlier.sum()), psi, chance, list(counts)[most],
        float(newer[most] / newer.sum()), float(earlier[most] / earlier.sum()),
    )  # fmt: skip


def stability_index(newer: Any, earlier: Any) -> float:
    """PSI of two arrays of counts over the same bins; half a fact is added to each bin, so that an empty one counts."""
    p, q = (np.asarray(side, dtype=float) + 0.5 for side in (newer, earlier))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())
