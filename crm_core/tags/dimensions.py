"""Which inputs each tag looks at, whether they were supplied, and of how many members they are known: one query for all."""

from __future__ import annotations

from dataclasses import dataclass

import ibis.expr.types as ir

from crm_core.config.tags import TagSettings
from crm_core.measures import FEATURES
from crm_core.tags.inputs import asked_of, list_column


@dataclass(frozen=True)
class Dimension:
    """One input of one or more tags. `source`: the table, model or list it comes from; `coverage`: share of members of whom it
    is known, None without members."""

    name: str
    source: str
    tags: tuple[str, ...]
    coverage: float | None

    @property
    def known(self) -> bool:
        """Whether it is known of anybody."""
        return bool(self.coverage)


def dimensions(rows: ir.Table, settings: TagSettings) -> list[Dimension]:
    """Every input of the tags of `settings` over `rows`, a table of `inputs`; least known first."""
    used: dict[str, list[str]] = {}
    for name, tag in settings.tags.items():
        for column in [list_column(name)] if tag.kind == "list" else asked_of(name, tag, rows):
            used.setdefault(column, []).append(name)
    counted = {column: rows[column].count() for column in used}
    found = rows.aggregate(everybody=rows.count(), **counted).to_pyarrow().to_pylist()[0]
    everybody = found["everybody"]
    models = {tag.model for tag in settings.tags.values() if tag.model}
    made = [
        Dimension(column, _source(column, models), tuple(names), found[column] / everybody if everybody else None)
        for column, names in used.items()
    ]
    return sorted(made, key=lambda each: (each.coverage or 0.0, each.name))


def _source(column: str, models: set[str]) -> str:
    if column in FEATURES:
        return FEATURES[column].table
    return next((model for model in models if column.startswith(f"{model}_")), "upload")
