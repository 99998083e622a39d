"""Why a member is in a segment, in words, with the values that decided: worked out when asked, for a few members."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings
from crm_core.measures import FEATURES, NAMES, functions
from crm_core.schema.expression_words import in_words
from crm_core.schema.expressions import calls_in, clauses, compile_expression, names_in
from crm_core.segments.assign import RULE, all_of, closure, described, place, rule, schemes_of, today_of
from crm_core.segments.basis import Basis, basis_of
from crm_core.segments.clusters import scaled_value
from crm_core.segments.grid import NO_PAID_ORDER, TYPES
from crm_core.segments.lifecycle import NEEDS
from crm_core.segments.names import HIGH, describe
from crm_core.segments.thresholds import MEASURES, Limits

if TYPE_CHECKING:
    from crm_core.store import Tables

BETTER = {"days_since_last_order": -1, "order_count": 1, "net_amount": 1}
"""Measure → whether more of it (1) or less (−1) is better."""


@dataclass(frozen=True)
class SegmentReason:
    """One segment of one member. `because`: sentences in the language asked for, each with yes, no or None for unknown;
    `values`: what they were decided on, by feature or expression.
    """

    reference: str
    title: str
    definition: str
    because: tuple[tuple[str, bool | None], ...]
    values: dict[str, Any]


def segment_reasons(
    features: ir.Table,
    member_ids: Collection[str],
    settings: SegmentSettings,
    basis: Basis | None = None,
    *,
    tables: Tables | None = None,
    only: Collection[str] | None = None,
    language: str = "zh",
) -> dict[str, list[SegmentReason]]:
    """member_id → the segments that it is in (of `only`, references, where given) with the reason for each; one query.

    `features` are those of all members, from whom what `basis` lacks is worked out. Errors as `assign.wide`.
    """
    wanted = closure(only, settings) if only is not None else all_of(settings)
    basis = basis_of(features, settings, tables, schemes=schemes_of(wanted, settings), given=basis)
    ours = features.filter(features.member_id.isin(list(member_ids)))
    table = described(ours, wanted, settings, basis, tables)
    rules = {name: _Rule(name, table, settings, language) for name in settings.rules if f"{RULE}:{name}" in wanted}
    columns = {alias: value for each in rules.values() for alias, value in each.columns.items()}
    shown = [name for name in (*FEATURES, *table.columns) if name in table.columns]
    rows = table.select(*dict.fromkeys(["member_id", *shown]), **columns).to_pyarrow().to_pylist()
    found: dict[str, list[SegmentReason]] = {}
    for row in rows:
        explain = _Explainer(row, settings, basis, language)
        schemes = [scheme for scheme in settings.schemes if row.get(f"_{scheme}")]
        listed = [explain.scheme(scheme, row[f"_{scheme}"]) for scheme in schemes]
        listed += [each.reason(row) for each in rules.values() if row[f"{RULE} {each.name}"]]
        of_interest = set(only) if only is not None else None
        found[row["member_id"]] = [each for each in listed if of_interest is None or each.reference in of_interest]
    return found


class _Rule:
    """The columns to ask for one rule, and how its reason is read from the answer."""

    def __init__(self, name: str, table: ir.Table, settings: SegmentSettings, language: str) -> None:
        self.name, self.language, where = name, language, place(name)
        text = settings.rules[name].when
        self.shown = describe(f"{RULE}:{name}", settings, language)
        called = functions(table, today_of(table, settings))
        self.parts = clauses(text, where)
        self.columns: dict[str, Any] = {f"{RULE} {name}": rule(name, table, settings)}
        for at, part in enumerate(self.parts):
            self.columns[f"part {name} {at}"] = compile_expression(part, table, where=where, functions=called)
        self.values = {each: each for each in sorted(names_in(text, where)) if each in table.columns}
        for event, days in _events(text, where):
            asked = f"times('{event}', {days})" if days else f"times('{event}')"
            self.values[asked] = f"value {name} {asked}"
            self.columns[self.values[asked]] = compile_expression(asked, table, where=where, functions=called)

    def reason(self, row: dict[str, Any]) -> SegmentReason:
        because = [(in_words(part, NAMES, self.language), row[f"part {self.name} {at}"]) for at, part in enumerate(self.parts)]
        values = {name: row[alias] for name, alias in self.values.items()}
        return SegmentReason(self.shown.reference, self.shown.title, self.shown.definition, tuple(because), values)


def _events(text: str, where: str) -> list[tuple[str, int | None]]:
    """(event, days or None) of each count that `text` asks for."""
    found = [(*call, None)[:2] for function in ("times", "did_not") for call in calls_in(text, function, where)]
    found += [(call[0], call[2] if len(call) > 2 else None) for call in calls_in(text, "did", where)]
    return list(dict.fromkeys(found))


class _Explainer:
    """Sentences about one member's row."""

    def __init__(self, row: dict[str, Any], settings: SegmentSettings, basis: Basis, language: str) -> None:
        self.row, self.settings, self.basis, self.language = row, settings, basis, language
        self.index = 0 if language == "zh" else 1

    def scheme(self, scheme: str, segment: str) -> SegmentReason:
        shown = describe(f"{scheme}:{segment}", self.settings, self.language, self.basis)
        made: dict[str, Callable[[], tuple[list[str], list[str]]]] = {
            "lifecycle": self._stage, "cluster": lambda: self._cluster(segment), "type": lambda: self._type(segment),
        }  # fmt: skip
        if segment in (NO_PAID_ORDER, "prospect"):
            sentences, names = [f"{NAMES['order_count'][self.index]} 0"], ["order_count"]
        else:
            sentences, names = made.get(scheme, lambda: self._scores(scheme))()
        values = {name: self.row[name] for name in names}
        return SegmentReason(shown.reference, shown.title, shown.definition, tuple((text, True) for text in sentences), values)

    def _scores(self, scheme: str) -> tuple[list[str], list[str]]:
        assert self.basis.limits
        best, limits = (3, self.basis.limits.thirds) if scheme == "rfm3" else (5, self.basis.limits.quintiles)
        letters = "RF" if scheme == "rfm" else "RFM"
        found = []
        for letter, name in zip(letters, MEASURES, strict=False):
            between = _interval(limits, name, Decimal(self.row[name]))
            found.append(f"{letter} {self.row[f'_{letter.lower()}{best}']}: {self._named(name)} {between}")
        return found, list(MEASURES[: len(letters)])

    def _type(self, segment: str) -> tuple[list[str], list[str]]:
        assert self.basis.limits
        flags = next(key for key, value in TYPES.items() if value == segment)
        found = []
        for letter, name, better in zip("RFM", MEASURES, flags, strict=True):
            limit = getattr(self.basis.limits.types, name)[0]
            sign = {(1, True): ">", (1, False): "≤", (-1, True): "<", (-1, False): "≥"}[BETTER[name], better]
            found.append(f"{letter} {HIGH[self.index][better]}: {self._named(name)} {sign} {limit:,.2f}")
        return found, list(MEASURES)

    def _stage(self) -> tuple[list[str], list[str]]:
        gap, silent = self.row["_gap"], self.row["days_since_last_order"]
        rhythm = self.basis.rhythm
        assert rhythm
        text = (
            "沉默 {silent} 天，是预期间隔 {gap:.1f} 天的 {times:.2f} 倍",
            "silent for {silent} days, {times:.2f} times the expected gap of {gap:.1f} days",
        )[self.index]
        gaps = self.row["order_days"] - 1
        span = round((self.row["mean_days_between_orders"] or 0.0) * (self.row["order_count"] - 1))
        usual = (
            (
                "预期间隔由本人 {n} 次间隔（平均 {own:.1f} 天）与常见间隔 {usual:.1f} 天（计作 {weight:g} 次）得出",
                "expected from {n} gaps of its own ({own:.1f} days on average) and the usual {usual:.1f} days (as {weight:g} gaps)",
            )
            if gaps
            else ("还没有自己的间隔，取常见间隔 {usual:.1f} 天", "no gap of its own yet: the usual one of {usual:.1f} days")
        )[self.index]
        sentences = [
            text.format(silent=silent, gap=gap, times=silent / gap),
            usual.format(n=gaps, own=span / max(gaps, 1), usual=rhythm.usual_gap_days, weight=rhythm.weight_in_gaps),
        ]
        held = self.settings.lifecycle
        if gap in (held.shortest_gap_days, held.longest_gap_days):
            sentences.append((f"预期间隔按至少 {held.shortest_gap_days}、至多 {held.longest_gap_days} 天计",
                              f"held between {held.shortest_gap_days} and {held.longest_gap_days} days")[self.index])  # fmt: skip
        last = self.row["days_between_last_orders"]
        if self.row["_lifecycle"] == "won_back":
            sentences.append((f"最近一单之前沉默了 {last} 天", f"had been silent for {last} days before")[self.index])
        return sentences, list(NEEDS)

    def _cluster(self, segment: str) -> tuple[list[str], list[str]]:
        clusters = self.basis.clusters
        assert clusters
        traits = clusters.traits(segment) or clusters.traits(segment, least=0.0, most=1)
        words = ("{name}，{own:+.1f} σ（中心 {centre:+.1f} σ）", "{name}, {own:+.1f} σ (centre {centre:+.1f} σ)")[self.index]
        sentences = [
            words.format(name=self._named(name), own=scaled_value(clusters, name, self.row[name]), centre=centre)
            for name, centre in traits
        ]
        return sentences, [name for name, _ in traits]

    def _named(self, name: str) -> str:
        value = self.row[name]
        if value is None:
            return f"{NAMES[name][self.index]} {('未知', 'not known')[self.index]}"
        shown = f"{value:,.2f}".removesuffix(".00") if isinstance(value, (float, Decimal)) else f"{value:,}"
        return f"{NAMES[name][self.index]} {shown}"


def _interval(limits: Limits, name: str, value: Decimal) -> str:
    """Between which limits a value lies: '> 20.00, ≤ 40.00'."""
    of = getattr(limits, name)
    below = [limit for limit in of if value > limit]
    above = [limit for limit in of if value <= limit]
    return ", ".join([*(f"> {limit:,.2f}" for limit in below[-1:]), *(f"≤ {limit:,.2f}" for limit in above[:1])])
