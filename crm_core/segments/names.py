"""What segments are called and what they mean: references such as 'rfm:at_risk', titles and definitions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings
from crm_core.errors import InputError, unknown
from crm_core.measures import NAMES, empty_features
from crm_core.schema.expression_words import in_words
from crm_core.schema.expressions import names_in
from crm_core.segments import clusters as clustering
from crm_core.segments import lifecycle
from crm_core.segments.assign import RULE, WHERE, closure, place, wide
from crm_core.segments.basis import Basis
from crm_core.segments.clusters import Clusters
from crm_core.segments.grid import NO_PAID_ORDER, TYPES, cells, references, titles
from crm_core.segments.thresholds import MEASURES

if TYPE_CHECKING:
    from crm_core.store import Tables

HIGH = (("低", "高"), ("low", "high"))


@dataclass(frozen=True)
class Description:
    """A segment for people: 'scheme:segment', then title and definition in the language asked for."""

    reference: str
    title: str
    definition: str
    owner: str = ""


def resolve(name: str, settings: SegmentSettings) -> tuple[str, str]:
    """('rfm', 'at_risk') for 'rfm:at_risk', or for 'at_risk' when it is in one scheme only.

    UnknownName offers the nearest; InputError when a bare name is in several schemes and 'scheme:name' is needed.
    """
    known = references(settings)
    matches = [name] if name in known else [one for one in known if one.split(":", 1)[1] == name]
    if not matches:
        of_scheme = [one for one in known if one.startswith(name.split(":")[0] + ":")]
        offered = known if ":" in name else [*{one.split(":", 1)[1]: None for one in known}]
        raise unknown("segment", name, of_scheme or offered, WHERE)
    if len(matches) > 1 and name != NO_PAID_ORDER:  # which is the same members in every scheme
        raise InputError(f"segment '{name}' is in several schemes; write one of {', '.join(matches)}")
    scheme, segment = matches[0].split(":", 1)
    return scheme, segment


def members_of(assigned: ir.Table, name: str, settings: SegmentSettings) -> ir.Table:
    """member_id of the members of segment `name` in the result of `assign`. Errors as `resolve`."""
    scheme, segment = resolve(name, settings)
    return assigned.filter(assigned.scheme == scheme, assigned.segment == segment).select("member_id")


def members_in(features: ir.Table, name: str, settings: SegmentSettings, tables: Tables | None = None) -> ir.Table:
    """member_id of the members of segment `name`, worked out from `features` (at least `inputs`) without the others."""
    scheme, segment = resolve(name, settings)
    reference = f"{scheme}:{segment}"
    found = wide(features, settings, tables=tables, only=[reference])
    held = found[reference] if scheme == RULE else (found[scheme] == segment).fill_null(False)
    return found.filter(held).select("member_id")


def inputs(wanted: Collection[str], settings: SegmentSettings) -> set[str]:
    """The features that the segments `wanted` ('scheme:segment') and those that they ask for are decided on."""
    found: set[str] = set()
    for reference in closure(wanted, settings):
        scheme, _, name = reference.partition(":")
        if scheme == RULE:
            found |= names_in(settings.rules[name].when, place(name))
        else:
            needs = {"lifecycle": lifecycle.NEEDS, "cluster": (*settings.clusters.features, "order_count")}
            found |= {*needs.get(scheme, MEASURES)}
    return found


def describe(name: str, settings: SegmentSettings, language: str = "zh", basis: Basis | None = None) -> Description:
    """Title and definition of segment `name`, with the numbers of `basis` if given. Errors as `resolve`."""
    scheme, segment = resolve(name, settings)
    index = 0 if language == "zh" else 1
    limits, clusters = (basis.limits, basis.clusters) if basis else (None, None)
    reference, title = f"{scheme}:{segment}", titles(scheme, settings)[segment][index]
    if scheme == RULE:
        found = settings.rules[segment]
        meaning = f"{getattr(found.meaning, language)}: " if found.meaning else ""
        return Description(reference, title, f"{meaning}{in_words(found.when, NAMES, language)}", found.owner)
    if segment == NO_PAID_ORDER:
        return Description(reference, title, ("没有已付款订单", "no paid order")[index])
    if scheme == "lifecycle":
        return Description(reference, title, _of_stage(segment, settings, index))
    if scheme == "cluster":
        return Description(reference, *_of_cluster(segment, title, clusters, index))
    chosen = {"rfm": "quintiles", "rfm5": "quintiles", "rfm3": "thirds", "type": "types"}[scheme]
    definition = _cells(segment) if scheme == "rfm" else _better(segment, index) if scheme == "type" else _scores(segment)
    if limits:
        found_limits = getattr(limits, chosen)
        shown = (f"{NAMES[n][index]} {', '.join(f'{v:,.2f}' for v in getattr(found_limits, n))}" for n in MEASURES)
        definition += f" ({'; '.join(shown)})"
    return Description(reference, title, definition)


def check(settings: SegmentSettings) -> None:
    """Compiles every rule against the features that exist. InputError with all that is wrong, one a line."""
    problems = []
    empty = empty_features()
    for name in settings.rules:
        try:
            wide(empty, settings, only=[f"{RULE}:{name}"])
        except InputError as error:
            problems.append(str(error))
    try:
        clustering.check(settings.clusters)
    except InputError as error:
        problems.append(str(error))
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))


def _scores(code: str) -> str:
    return ", ".join(f"{letter} {score}" for letter, score in zip("RFM", code, strict=True))


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
    return ", ".join(f"{letter} {HIGH[index][flag]}" for letter, flag in zip("RFM", flags, strict=True))


def _of_stage(stage: str, settings: SegmentSettings, index: int) -> str:
    of = settings.lifecycle
    silent = ("沉默超过预期间隔的 {0:g} 倍", "silent for more than {0:g} expected gaps")[index]
    within = ("{1}，沉默不超过预期间隔的 {0:g} 倍", "{1}, silent for at most {0:g} expected gaps")[index]
    orders = ("在 {} 天以上付过款", "paid orders on {} days or more")[index]
    back = ("最近一单之前沉默超过当时预期间隔的 {0:g} 倍", "back after more than {0:g} of the gaps expected then")[index]
    return {
        "prospect": ("没有已付款订单", "no paid order")[index],
        "new": within.format(of.cooling, ("只在 1 天付过款", "paid orders on one day")[index]),
        "active": within.format(of.cooling, orders.format(2)),
        "loyal": within.format(of.cooling, orders.format(of.loyal_orders)),
        "cooling": silent.format(of.cooling),
        "lapsed": silent.format(of.lapsed),
        "lost": silent.format(of.lost),
        "won_back": back.format(of.lapsed),
    }[stage]


def _of_cluster(name: str, title: str, clusters: Clusters | None, index: int) -> tuple[str, str]:
    """(title, definition) of a cluster by what distinguishes it."""
    if clusters is None or name not in clusters.names:
        return title, ("此期没有这个行为群", "there is no such cluster on this date")[index]
    traits = clusters.traits(name)
    said = [f"{NAMES[f][index]}{HIGH[index][v > 0]}" if index == 0 else f"{HIGH[index][v > 0]} {NAMES[f][index]}"
            for f, v in traits]  # fmt: skip
    short = ("、".join(said[:2]), ", ".join(said[:2]))[index] or ("各项接近平均", "near the average in everything")[index]
    numbers = "; ".join(f"{NAMES[f][index]} {v:+.1f} σ" for f, v in traits)
    share = clusters.shares[clusters.names.index(name)]
    whole = (f"最近的中心（{numbers}），占有单会员 {share:.0%}", f"nearest centre ({numbers}), {share:.0%} of buyers")[index]
    return f"{title} · {short}", whole
