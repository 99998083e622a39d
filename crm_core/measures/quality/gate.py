"""The gate: named checks of conf/reports.yml judged on the data, each with what was found and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from crm_core.config.reports import OF, OF_SOURCE, GateCheck
from crm_core.errors import unknown
from crm_core.measures.quality.loads import LoadRecord
from crm_core.measures.quality.quality import Quality
from crm_core.schema import TABLES

GAP_WINDOW = timedelta(days=28)


@dataclass(frozen=True)
class Outcome:
    """One check. `found` is None where there is nothing to judge (the table was not supplied): that passes. `what` names
    where the worst figure was found: a source, table, column, kind."""

    check: str
    of: str
    found: float | None
    allowed: float
    passed: bool
    what: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values for ledger and run.json."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The outcome in one line for the command line and logs."""
        where = f" of {self.of}" if self.of else ""
        worst = f" ({self.what})" if self.what and self.what != self.of else ""
        if self.found is None:
            return f"{self.check}{where}: nothing to judge"
        sign = "at least" if self.check in ("completeness", "validity") else "at most"
        return f"{self.check}{where}: found {self.found:.4g}{worst}, allowed {sign} {self.allowed:.4g}"


def check_names(checks: Sequence[GateCheck], sources: Iterable[str]) -> None:
    """Raises UnknownName for a check of a table, column or source that does not exist."""
    known = list(sources)
    for check in checks:
        where = f"conf/reports.yml, gate, check '{check.check}'"
        table, _, column = check.of.partition(".")
        if not check.of:
            continue
        if OF_SOURCE in OF[check.check]:
            if check.of not in known:
                raise unknown("source", check.of, known, where)
        elif table not in TABLES:
            raise unknown("table", table, TABLES, where)
        elif column and column not in TABLES[table].names:
            raise unknown("column", column, TABLES[table].names, where)


def judge(quality: Quality, checks: Sequence[GateCheck], at: datetime) -> list[Outcome]:
    """Every check's outcome, in the order of conf. `at`: now, naive UTC, for the age of loads. Only what the checks ask
    for is worked out."""
    outcomes = []
    for check in checks:
        found, what = FIGURES[check.check](quality, check.of, at)
        limit = check.at_least if check.at_least is not None else check.at_most
        assert limit is not None
        least = check.at_least is not None
        passed = found is None or (found >= limit if least else found <= limit)
        outcomes.append(Outcome(check.check, check.of, found, limit, passed, what))
    return outcomes


Figure = tuple[float | None, str]


def _worst(figures: Iterable[tuple[float, str]]) -> Figure:
    return max(figures, default=(None, ""), key=lambda pair: pair[0])


def _newest(quality: Quality, source: str) -> list[LoadRecord]:
    """The newest load of a source, or of each that comes again and again."""
    return [load for load in quality.newest.values() if source == load.source or (not source and load.regular)]


def _balance(quality: Quality, of: str, _: datetime) -> Figure:
    loads = [load for load in quality.loads if of in ("", load.source)]
    wrong = [load for load in loads if load.faults]
    return (float(len(wrong)), wrong[0].load_id if wrong else "") if loads else (None, "")


def _rows(what: str) -> Callable[[Quality, str, datetime], Figure]:
    """The share of the rows of the newest loads that are `what`."""

    def figure(quality: Quality, of: str, _: datetime) -> Figure:
        return _worst((getattr(load, what) / load.read, load.source) for load in _newest(quality, of) if load.read)

    return figure


def _conflicts(quality: Quality, of: str, _: datetime) -> Figure:
    tables = [(each, load.source) for load in _newest(quality, of) for each in load.tables if each.keys]
    return _worst((each.conflicts / each.keys, f"{source}, {each.table}") for each, source in tables)


def _freshness(quality: Quality, of: str, _: datetime) -> Figure:
    profile = quality.profiles.get(of)
    if profile is None or profile.last is None:
        return None, ""
    return float(max(0, (quality.tables.as_of - profile.last).days)), of


def _since_load(quality: Quality, of: str, at: datetime) -> Figure:
    return _worst((round((at - load.finished_at).total_seconds() / 86400, 2), load.source) for load in _newest(quality, of))


def _broken(quality: Quality, of: str, _: datetime) -> Figure:
    names = [name for name in quality.profiles if of in ("", name)]
    found = {key: rows for key, rows in quality.broken.items() if key[0] in names}
    worst = max(found, key=lambda key: found[key], default=None)
    return (float(sum(found.values())), f"{worst[0]}: {worst[1]}" if worst else "") if names else (None, "")


def _completeness(quality: Quality, of: str, _: datetime) -> Figure:
    count = _column(quality, of)
    return (count.filled / count.rows, of) if count and count.rows else (None, "")


def _validity(quality: Quality, of: str, _: datetime) -> Figure:
    count = _column(quality, of)
    return (count.possible / count.filled, of) if count and count.filled else (None, "")


def _column(quality: Quality, of: str) -> Any:
    table, _, column = of.partition(".")
    profile = quality.profiles.get(table)
    return profile.column(column) if profile is not None and column in profile.columns else None


def _drift(quality: Quality, of: str, _: datetime) -> Figure:
    # below what chance brings in samples of this size it is no drift
    listed = [drift for drift in quality.drifts if of in ("", drift.table, f"{drift.table}.{drift.column}")]
    return _worst((drift.psi if drift.psi > drift.chance else 0.0, f"{drift.table}.{drift.column}") for drift in listed)


def _gaps(quality: Quality, of: str, _: datetime) -> Figure:
    names = [name for name in quality.supplied if of in ("", name)]
    since = quality.tables.as_of - GAP_WINDOW
    found = [gap for gap in quality.gaps if gap.table in names and gap.last > since and not gap.channel]
    days = sum((gap.last - max(gap.first - timedelta(days=1), since)).days for gap in found)
    return (float(days), f"{found[0].table} {found[0].first}" if found else "") if names else (None, "")


def _impossible(quality: Quality, _: str, __: datetime) -> Figure:
    return _worst((each.orders / each.of, each.kind) for each in quality.impossible if each.of)


FIGURES: dict[str, Callable[[Quality, str, datetime], Figure]] = {
    "balance": _balance,
    "rejected_share": _rows("rejected"),
    "duplicate_share": _rows("duplicate"),
    "conflict_share": _conflicts,
    "freshness_days": _freshness,
    "days_since_load": _since_load,
    "broken_rules": _broken,
    "completeness": _completeness,
    "validity": _validity,
    "drift": _drift,
    "gap_days": _gaps,
    "impossible_share": _impossible,
}
