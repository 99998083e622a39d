"""What segments are called and what they mean: references such as 'rfm:at_risk', titles and definitions."""

from __future__ import annotations

from dataclasses import dataclass

import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings
from crm_core.errors import InputError, unknown
from crm_core.measures import empty_features
from crm_core.segments.assign import WHERE, rule
from crm_core.segments.grid import GROUP_TITLES, NO_PAID_ORDER, TYPE_TITLES, TYPES, cells
from crm_core.segments.thresholds import Thresholds

NAMES_OF = {
    "days_since_last_order": ("距最近付款天数", "days since the last paid order"),
    "order_count": ("付款订单数", "paid orders"),
    "net_amount": ("付款金额", "net amount"),
}


@dataclass(frozen=True)
class Description:
    """A segment for people: 'scheme:segment', then title and definition in the language asked for."""

    reference: str
    title: str
    definition: str
    owner: str = ""


def references(settings: SegmentSettings) -> list[str]:
    """Every segment as 'scheme:segment', best group first."""
    rules = [f"rule:{name}" for name in settings.rules]
    return [*(f"rfm:{name}" for name in GROUP_TITLES), *(f"type:{name}" for name in TYPE_TITLES), *rules]


def resolve(name: str, settings: SegmentSettings) -> tuple[str, str]:
    """('rfm', 'at_risk') for 'rfm:at_risk', or for 'at_risk' when it is in one scheme only.

    UnknownName offers the nearest; InputError when a bare name is in several schemes and 'scheme:name'
    is needed.
    """
    known = references(settings)
    matches = [name] if name in known else [one for one in known if one.split(":", 1)[1] == name]
    if not matches:
        offered = known if ":" in name else [*{one.split(":", 1)[1]: None for one in known}]
        raise unknown("segment", name, offered, WHERE)
    if len(matches) > 1 and matches[0] != f"rfm:{NO_PAID_ORDER}":  # which is the same members in both schemes
        raise InputError(f"segment '{name}' is in several schemes; write one of {', '.join(matches)}")
    scheme, segment = matches[0].split(":", 1)
    return scheme, segment


def members_of(assigned: ir.Table, name: str, settings: SegmentSettings) -> ir.Table:
    """member_id of the members of segment `name` in the result of `assign`. Errors as `resolve`."""
    scheme, segment = resolve(name, settings)
    return assigned.filter(assigned.scheme == scheme, assigned.segment == segment).select("member_id")


def describe(
    name: str, settings: SegmentSettings, language: str = "zh", limits: Thresholds | None = None
) -> Description:
    """Title and definition of segment `name`, with the numbers of `limits` if given. Errors as `resolve`."""
    scheme, segment = resolve(name, settings)
    index = 0 if language == "zh" else 1
    reference = f"{scheme}:{segment}"
    if scheme == "rule":
        found = settings.rules[segment]
        meaning = f"{getattr(found.meaning, language)}: " if found.meaning else ""
        return Description(reference, getattr(found.title, language), f"{meaning}{found.when}", found.owner)
    title = (GROUP_TITLES if scheme == "rfm" else TYPE_TITLES)[segment][index]
    if segment == NO_PAID_ORDER:
        return Description(reference, title, ("没有已付款订单", "no paid order")[index])
    definition = _cells(segment) if scheme == "rfm" else _better(segment, index)
    if limits:
        chosen = limits.quintiles if scheme == "rfm" else limits.types
        shown = (f"{NAMES_OF[n][index]} {', '.join(f'{v:,.2f}' for v in getattr(chosen, n))}" for n in NAMES_OF)
        definition += f" ({'; '.join(shown)})"
    return Description(reference, title, definition)


def check(settings: SegmentSettings) -> None:
    """Compiles every rule against the features that exist. InputError with all that is wrong, one a line."""
    problems = []
    for name in settings.rules:
        try:
            rule(name, empty_features(), settings)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))


def _cells(group: str) -> str:
    by_r: dict[int, list[int]] = {}
    for r, f in cells(group):
        by_r.setdefault(r, []).append(f)
    return "; ".join(f"R {r}, F {_range(fs)}" for r, fs in by_r.items())


def _range(scores: list[int]) -> str:
    low, high = min(scores), max(scores)
    return str(low) if low == high else f"{low}–{high}"


def _better(name: str, index: int) -> str:
    flags = next(key for key, value in TYPES.items() if value == name)
    words = (("低", "高"), ("low", "high"))[index]
    return ", ".join(f"{letter} {words[flag]}" for letter, flag in zip("RFM", flags, strict=True))
