"""Why a member has a tag: the condition that fired, its parts, and the features that they looked at.

Worked out when somebody asks, for one member, from the same features and the same compiled conditions as
the tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import ibis.expr.types as ir

from crm_core.config.tags import Tag, TagSettings
from crm_core.errors import InputError
from crm_core.measures import NAMES, functions
from crm_core.schema.expression_words import in_words
from crm_core.schema.expressions import clauses, compile_expression
from crm_core.tags.compute import conditions, value_of
from crm_core.tags.inputs import Sources, asked_of, inputs, kept_column, list_column


@dataclass(frozen=True)
class Reason:
    """One tag of one member.

    `fired` is the condition that decided (None: none did, a statistic or a list); `parts` are the parts that
    its and/or joins, each with yes, no or None for unknown (of the last condition when none fired);
    `features` are the values looked at. `kept`: nothing says so today, and the tag keeps what was said before.
    `withheld`: why nobody has the tag on this date ('' when it is published).
    """

    tag: str
    value: Any
    fired: str | None
    parts: tuple[tuple[str, bool | None], ...]
    features: dict[str, Any]
    kept: bool = False
    withheld: str = ""

    def said(self, language: str = "zh") -> str:
        """The condition that fired in words, '' where none did."""
        return in_words(self.fired, NAMES, language) if self.fired else ""


def reasons(
    features: ir.Table, settings: TagSettings, member_id: str, as_of: date | None = None, sources: Sources | None = None
) -> list[Reason]:
    """A Reason per tag, in the order of conf/tags.yml, for one member of `features`; one query, one row.

    InputError when the member is not in `features` or an expression cannot be read.
    """
    one = inputs(features.filter(features.member_id == member_id), settings, sources)
    plan = {name: _Plan(name, tag, one, as_of) for name, tag in settings.tags.items()}
    wanted = {alias: value for tag_plan in plan.values() for alias, value in tag_plan.columns.items()}
    names = sorted({name for tag_plan in plan.values() for name in tag_plan.names})
    rows = one.select("member_id", **{f"feature {name}": one[name] for name in names}, **wanted).to_pyarrow().to_pylist()
    if not rows:
        raise InputError(f"member '{member_id}' is not among the members of that date; check the id and the date")
    return [tag_plan.reason(rows[0]) for tag_plan in plan.values()]


class _Plan:
    """The columns to ask for one tag, and how its reason is read from the answer."""

    def __init__(self, name: str, tag: Tag, one: ir.Table, as_of: date | None) -> None:
        self.name = name
        self.kept = tag.update == "keep"
        self.conditions = conditions(name, tag)
        self.names = [list_column(name, "listed_on")] if tag.kind == "list" else asked_of(name, tag, one)
        self.columns: dict[str, Any] = {f"value {name}": value_of(name, tag, one, as_of)}
        if self.kept:
            self.columns[f"before {name}"] = one[kept_column(name)]
        calls = functions(one)
        self.parts: list[list[str]] = []
        for number, (_, when, place) in enumerate(self.conditions):
            self.columns[f"whole {name} {number}"] = compile_expression(when, one, where=place, functions=calls)
            self.parts.append(clauses(when, place))
            for position, part in enumerate(self.parts[-1]):
                self.columns[f"part {name} {number} {position}"] = compile_expression(part, one, where=place, functions=calls)

    def reason(self, row: dict[str, Any]) -> Reason:
        features = {_shown(name): row[f"feature {name}"] for name in self.names}
        value = row[f"value {self.name}"]
        if not self.conditions:
            return Reason(self.name, value, None, (), features)
        held = [n for n in range(len(self.conditions)) if row[f"whole {self.name} {n}"]]
        chosen = held[0] if held else len(self.conditions) - 1
        parts = tuple((part, row[f"part {self.name} {chosen} {position}"]) for position, part in enumerate(self.parts[chosen]))
        kept = self.kept and not held and bool(row[f"before {self.name}"])
        return Reason(self.name, value, self.conditions[chosen][1] if held else None, parts, features, kept)


def _shown(column: str) -> str:
    return "listed_on" if column.startswith("_list ") else column
