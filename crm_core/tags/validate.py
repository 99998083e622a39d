"""Is a tag fit to be used today? Its coverage and the drift of it against the bounds in conf; one query for all tags.

A tag outside its bounds is withheld: its column of that date is empty, the check says why, and the report, `crm tag` and the
list of reports repeat it. Drift is measured against the day on which the same definition was last published, so a fault does
not become the new normal by lasting two days; a true change is let through by widening `bounds`, or by a new definition.
A tag that says something of everybody, like a level, always covers all: of tags with words it counts how the members moved
between the words, as half the sum of the absolute changes of their shares (the total variation distance).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import ibis
import ibis.expr.types as ir

from crm_core.config.tags import TagSettings
from crm_core.tags.compute import expired, has

CHECKS = {
    "tag": "string", "definition": "string", "members": "int64", "everybody": "int64", "before": "float64",
    "problem": "string", "words": "string", "moved": "float64",
}  # fmt: skip
"""Columns of `tag_checks`."""
MOST_WORDS = 100
"""So many words of a tag are compared; the rest count as one."""


@dataclass(frozen=True)
class Check:
    """One tag on one date. `before`: coverage when this `definition` (a hash) was last published, None where it never was.
    `problem`: '' when published, else 'coverage', 'drift' or 'expired'. `words`: members by word as JSON, of a tag with words;
    `moved`: the share of members that moved between words since it was last published."""

    tag: str
    definition: str
    members: int
    everybody: int
    before: float | None
    problem: str
    words: str | None = None
    moved: float | None = None

    @property
    def coverage(self) -> float | None:
        """Share of members who have the tag; None without members."""
        return self.members / self.everybody if self.everybody else None

    @property
    def drift(self) -> float | None:
        """Change of coverage since it was last published, or what moved between words, where that is more."""
        now = self.coverage
        if now is None or self.before is None:
            return None
        change = now - self.before
        return change if self.moved is None or self.moved <= abs(change) + 1e-9 else self.moved


def judge(wide: ir.Table, settings: TagSettings, as_of: date, history: ir.Table | None = None) -> list[Check]:
    """A Check per tag of `wide`, the result of `compute`. `history`: `tag_checks` of earlier dates, with as_of."""
    names = list(settings.tags)
    counted = wide.aggregate(_all=wide.count(), **{name: wide.count(where=has(wide[name])) for name in names})
    found = counted.to_pyarrow().to_pylist()[0]
    everybody, before, words = int(found["_all"]), _last_published(history), _words(wide, names)
    checks = []
    for name in names:
        definition = definition_hash(name, settings)
        then, said = before.get((name, definition), (None, None))
        now = words.get(name)
        moved = None if now is None or said is None or not everybody else _moved(said, now)
        text = None if now is None else json.dumps(now, ensure_ascii=False)
        check = Check(name, definition, int(found[name]), everybody, then, "", text, moved)
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
    return [Check(**row) for row in _whole(rows).select(*CHECKS).order_by("tag").to_pyarrow().to_pylist()]


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


def _whole(rows: ir.Table) -> ir.Table:
    """Stored checks, with columns that were not known when they were stored."""
    return rows.mutate(**{name: ibis.null(kind) for name, kind in CHECKS.items() if name not in rows.columns})


def _last_published(history: ir.Table | None) -> dict[tuple[str, str], tuple[float, dict[str, int] | None]]:
    """(tag, definition) → coverage and members by word on the last day that it was published and somebody had it."""
    if history is None:
        return {}
    fit = _whole(history).filter(history.problem == "", history.members > 0).order_by("as_of").to_pyarrow().to_pylist()
    return {
        (row["tag"], row["definition"]): (row["members"] / row["everybody"], json.loads(row["words"]) if row["words"] else None)
        for row in fit
    }


def _words(wide: ir.Table, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Members by word of each tag whose values are words, the most frequent first."""
    texts = [name for name in names if wide[name].type().is_string()]
    if not texts:
        return {}
    counted = [
        wide.filter(wide[name].notnull()).group_by(word=wide[name]).agg(members=lambda t: t.count()).mutate(tag=ibis.literal(name))
        for name in texts
    ]
    rows = (counted[0] if len(counted) == 1 else ibis.union(*counted)).order_by(ibis.desc("members"), "word")
    found: dict[str, dict[str, int]] = {name: {} for name in texts}
    for row in rows.to_pyarrow().to_pylist():
        of = found[row["tag"]]
        word = row["word"] if len(of) < MOST_WORDS else ""
        of[word] = of.get(word, 0) + row["members"]
    return found


def _moved(then: Mapping[str, int], now: Mapping[str, int]) -> float:
    """Half the sum of the absolute changes of shares, among those who have the tag."""
    before, after = sum(then.values()), sum(now.values())
    if not before or not after:
        return 0.0
    return sum(abs(now.get(word, 0) / after - then.get(word, 0) / before) for word in {*then, *now}) / 2
