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
from crm_core.schema.expressions import clauses, compile_expression, names_in
from crm_core.tags.compute import WHERE, conditions, value_of


@dataclass(frozen=True)
class Reason:
    """One tag of one member.

    `fired` is the condition that decided (None: none did, or a statistic); `parts` are the parts that
    its and/or joins, each with yes, no or None for unknown (of the last condition when none fired);
    `features` are the values looked at.
    """

    tag: str
    value: Any
    fired: str | None
    parts: tuple[tuple[str, bool | None], ...]
    features: dict[str, Any]


def reasons(features: ir.Table, settings: TagSettings, member_id: str, as_of: date | None = None) -> list[Reason]:
    """A Reason per tag, in the order of conf/tags.yml, for one member of `features`; one query, one row.

    InputError when the member is not in `features` or an expression cannot be read.
    """
    one = features.filter(features.member_id == member_id)
    plan = {name: _Plan(name, tag, one, as_of) for name, tag in settings.tags.items()}
    wanted = {alias: value for tag_plan in plan.values() for alias, value in tag_plan.columns.items()}
    names = sorted({name for tag_plan in plan.values() for name in tag_plan.names})
    rows = (
        one.select("member_id", **{f"feature {name}": one[name] for name in names}, **wanted).to_pyarrow().to_pylist()
    )
    if not rows:
        raise InputError(f"member '{member_id}' is not among the members of that date; check the id and the date")
    return [tag_plan.reason(rows[0]) for tag_plan in plan.values()]


class _Plan:
    """The columns to ask for one tag, and how its reason is read from the answer."""

    def __init__(self, name: str, tag: Tag, one: ir.Table, as_of: date | None) -> None:
        self.name = name
        where = f"{WHERE}, tag '{name}'"
        self.conditions = [] if tag.kind == "statistic" else conditions(name, tag)
        texts = [tag.value] if tag.value is not None else [when for _, when, _ in self.conditions]
        found = [name for text in texts for name in sorted(names_in(text, where))]
        self.names = [name for name in dict.fromkeys(found) if name in one.columns]
        self.columns: dict[str, Any] = {f"value {name}": value_of(name, tag, one, as_of)}
        self.parts: list[list[str]] = []
        for number, (_, when, place) in enumerate(self.conditions):
            self.columns[f"whole {name} {number}"] = compile_expression(when, one, where=place)
            self.parts.append(clauses(when, place))
            for position, part in enumerate(self.parts[-1]):
                self.columns[f"part {name} {number} {position}"] = compile_expression(part, one, where=place)

    def reason(self, row: dict[str, Any]) -> Reason:
        features = {name: row[f"feature {name}"] for name in self.names}
        value = row[f"value {self.name}"]
        if not self.conditions:
            return Reason(self.name, value, None, (), features)
        held = [n for n in range(len(self.conditions)) if row[f"whole {self.name} {n}"]]
        chosen = held[0] if held else len(self.conditions) - 1
        parts = tuple(
            (part, row[f"part {self.name} {chosen} {position}"]) for position, part in enumerate(self.parts[chosen])
        )
        return Reason(self.name, value, self.conditions[chosen][1] if held else None, parts, features)
