"""Is a tag fit to be used today? Its coverage and the drift of it against the bounds in conf; one query for all tags.

A tag outside its bounds is withheld: its column of that date is empty, the check says why, and the report, `crm tag` and the
list of reports repeat it. Drift is measured against the day on which the same definition was last published, so a fault does
not become the new normal by lasting two days; a true change is let through by widening `bounds`, or by a new definition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date

import ibis
import ibis.expr.types as ir

from crm_core.config.tags import TagSettings
from crm_core.tags.compute import expired, has

CHECKS = {
    "tag": "string", "definition": "string", "members": "int64", "everybody": "int64", "before": "float64",
    "problem": "string",
}  # fmt: skip
"""Columns of `tag_checks`."""


@dataclass(frozen=True)
class Check:
    """One tag on one date. `before`: coverage when this `definition` (a hash) was last published, None where it never was.
    `problem`: '' when published, else 'coverage', 'drift' or 'expired'."""

    tag: str
    definition: str
    members: int
    everybody: int
    before: float | None
    problem: str

    @property
    def coverage(self) -> float | None:
        """Share of members who have the tag; None without members."""
        return self.members / self.everybody if self.everybody else None

    @property
    def drift(self) -> float | None:
        """Change of coverage since it was last published."""
        now = self.coverage
        return None if now is None or self.before is None else now - self.before


def judge(wide: ir.Table, settings: TagSettings, as_of: date, history: ir.Table | None = None) -> list[Check]:
    """A Check per tag of `wide`, the result of `compute`. `history`: `tag_checks` of earlier dates, with as_of."""
    names = list(settings.tags)
    counted = wide.aggregate(_all=wide.count(), **{name: wide.count(where=has(wide[name])) for name in names})
    found = counted.to_pyarrow().to_pylist()[0]
    everybody, before = int(found["_all"]), _last_published(history)
    checks = []
    for name in names:
        definition = definition_hash(name, settings)
        then = before.get((name, definition))
        check = Check(name, definition, int(found[name]), everybody, then, "")
        checks.append(Check(**{**asdict(check), "problem": _problem(check, settings, as_of)}))
    return checks


def published(wide: ir.Table, checks: Sequence[Check]) -> ir.Table:
    """`wide` with the columns of withheld tags empty."""
    held = [check.tag for check in checks if check.problem]
    return wide.mutate(**{name: ibis.null(wide[name].type()) for name in held}) if held else wide


def checks_table(checks: Sequence[Check]) -> ir.Table:
    """The checks as rows of `tag_checks`."""
    return ibis.memtable([asdict(check) for check in checks], schema=CHECKS)


def checks_of(rows: ir.Table) -> list[Check]:
    """The checks in a table of `tag_checks`, by tag."""
    return [Check(**row) for row in rows.select(*CHECKS).order_by("tag").to_pyarrow().to_pylist()]


def definition_hash(name: str, settings: TagSettings) -> str:
    """What a tag says and how, as a short hash; titles, owner and bounds do not count."""
    tag = settings.tags[name].model_dump_json(include={"kind", "model", "when", "cases", "otherwise", "value", "update"})
    return hashlib.sha256(tag.encode()).hexdigest()[:12]


def _problem(check: Check, settings: TagSettings, as_of: date) -> str:
    bounds, coverage, drift = settings.bounds_of(check.tag), check.coverage, check.drift
    if expired(settings.tags[check.tag], as_of):
        return "expired"
    if coverage is not None and not bounds.coverage[0] <= coverage <= bounds.coverage[1]:
        return "coverage"
    return "drift" if drift is not None and abs(drift) > bounds.drift else ""


def _last_published(history: ir.Table | None) -> dict[tuple[str, str], float]:
    if history is None:
        return {}
    fit = history.filter(history.problem == "", history.members > 0).order_by("as_of").to_pyarrow().to_pylist()
    return {(row["tag"], row["definition"]): row["members"] / row["everybody"] for row in fit}
