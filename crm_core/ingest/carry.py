"""Cells that a file writes once for a group of rows (a shop's order cells, on the order's first line), given to all."""

from __future__ import annotations

from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.config.sources import CarrySettings
from crm_core.ingest.reader import file_of


def carried(cells: ir.Table, carry: CarrySettings | None) -> ir.Table:
    """`cells` (`_row`, `_raw_<field>` as text) in which an empty cell of `carry.fields` has the first filled value
    above it in the rows of its file that agree in `carry.by`; rows without one of `carry.by` stay as they are.
    """
    if carry is None:
        return cells
    keys = [cells[f"_raw_{name}"] for name in carry.by if f"_raw_{name}" in cells.columns]
    names = [f"_raw_{name}" for name in carry.fields if f"_raw_{name}" in cells.columns]
    if len(keys) < len(carry.by) or not names:
        return cells
    above = ibis.window(group_by=[file_of(cells._row), *keys], order_by=cells._row, preceding=None, following=0)
    whole: Any = ibis.and_(*[key.notnull() for key in keys])
    filled = {name: whole.ifelse(cells[name].first().over(above), cells[name]) for name in names}
    return cells.mutate(**{name: ibis.coalesce(cells[name], value) for name, value in filled.items()})
