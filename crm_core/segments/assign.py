"""From features to segments: every scheme and rule as one wide lazy table, and as the long one that is stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_core.config.segments import SegmentSettings
from crm_core.errors import InputError, unknown
from crm_core.measures import functions, prepare
from crm_core.measures.behaviour import Asked, segments_of_today
from crm_core.schema.expressions import condition
from crm_core.segments.basis import OF_RFM, Basis, basis_of
from crm_core.segments.clusters import nearest
from crm_core.segments.grid import GRID, NO_PAID_ORDER, TYPES, references
from crm_core.segments.lifecycle import expected_gap, stage
from crm_core.segments.thresholds import Limits, Thresholds

if TYPE_CHECKING:
    from crm_core.store import Tables

WHERE = "conf/segments.yml"
RULE = "rule"


def assign(features: ir.Table, settings: SegmentSettings, basis: Basis | None = None, *, tables: Tables | None = None) -> ir.Table:
    """member_id, scheme, segment: a row per member in each scheme and one per rule that holds. Arguments as of `wide`."""
    return long(wide(features, settings, basis, tables=tables))


def wide(
    features: ir.Table,
    settings: SegmentSettings,
    basis: Basis | None = None,
    *,
    tables: Tables | None = None,
    only: Collection[str] | None = None,
) -> ir.Table:
    """member_id, a text column per scheme (null: in none of its segments) and a yes-or-no column 'rule:NAME' per rule.

    `basis` (what it lacks is worked out) has the limits, rhythm and clusters that decide; `tables` gives rules the events
    and stored segments that they ask for, which are unknown without. `only`: references ('rfm:at_risk', 'rule:x') whose
    columns are wanted; their `inputs` must be in `features`.

    Members without a paid order are 'no_paid_order' in 'rfm', 'type' and 'cluster' and 'prospect' in 'lifecycle'; where
    orders were never supplied nobody is in any of them, and where their amounts are not known no buyer is in 'type',
    'rfm5' or 'rfm3'. InputError when a rule cannot be read or rules ask for each other in a circle, UnknownName for a
    segment that does not exist.
    """
    wanted = closure(only, settings) if only is not None else all_of(settings)
    table = described(features, wanted, settings, basis, tables)
    held = {each: rule(each.partition(":")[2], table, settings) for each in sorted(wanted) if each.startswith(f"{RULE}:")}
    rules = {f"{RULE}:{name}": held[f"{RULE}:{name}"] for name in settings.rules if f"{RULE}:{name}" in held}
    return table.select("member_id", **{name: table[f"_{name}"] for name in schemes_of(wanted, settings)}, **rules)


def holding(features: ir.Table, text: str, settings: SegmentSettings, *, where: str, tables: Tables | None = None) -> ir.Table:
    """The rows of `features` for which the condition `text` (written at `where`) holds; as a rule of no name would."""
    wanted = closure(segments_of_today(text, where), settings, where)
    table = described(features, wanted, settings, None, tables, [(where, text)])
    found = table.filter(condition(text, table, where=where, functions=functions(table, today_of(table, settings))))
    return found.select(features.columns)


def described(
    features: ir.Table,
    wanted: Collection[str],
    settings: SegmentSettings,
    basis: Basis | None = None,
    tables: Tables | None = None,
    texts: Collection[Asked] = (),
) -> ir.Table:
    """`features` with what the segments `wanted` (from `closure`) and the conditions `texts` are worked out from: counts of
    events, stored segments, scores, and a column '_SCHEME' for each scheme in `wanted`.
    """
    rules = [name for name in settings.rules if f"{RULE}:{name}" in wanted]
    asked = [*((place(name), settings.rules[name].when) for name in rules), *texts]
    schemes = schemes_of(wanted, settings)
    basis = basis_of(features, settings, tables, schemes=schemes, given=basis)
    table = prepare(features, asked, tables, known=references(settings))
    return _with_schemes(table, schemes, settings, basis)


def schemes_of(wanted: Collection[str], settings: SegmentSettings) -> list[str]:
    """The schemes, in the order of conf, that the references `wanted` need."""
    return [name for name in settings.schemes if any(each.startswith(f"{name}:") for each in wanted)]


def long(wide_table: ir.Table) -> ir.Table:
    """member_id, scheme, segment from the result of `wide`; give it as a stored table, as each column is read by itself."""
    parts = []
    for name in wide_table.columns:
        if name.startswith(f"{RULE}:"):
            members = wide_table.filter(wide_table[name])
            segment: Any = ibis.literal(name.partition(":")[2])
            parts.append(members.select("member_id", scheme=ibis.literal(RULE), segment=segment))
        elif name != "member_id":
            members = wide_table.filter(wide_table[name].notnull())
            parts.append(members.select("member_id", scheme=ibis.literal(name), segment=members[name]))
    if not parts:
        return wide_table.select("member_id", scheme=ibis.null("string"), segment=ibis.null("string")).limit(0)
    return ibis.union(*parts)


def score(features: ir.Table, limits: Thresholds, schemes: Collection[str] = OF_RFM) -> ir.Table:
    """member_id and, for the `schemes` wanted, r_score, f_score, m_score (1 worst … 5 best; of 'rfm' and 'rfm5'), r_third,
    f_third, m_third (1 … 3; of 'rfm3'), group ('rfm') and type ('type').

    Scores are null without a paid order. A value is compared with its limits strictly: F and M score 1 + the limits
    exceeded, R the greatest score less the limits exceeded.
    """
    known = _scored(features.filter(features.order_count.notnull()), limits, schemes)
    named = {"r_score": "_r5", "f_score": "_f5", "m_score": "_m5", "r_third": "_r3", "f_third": "_f3", "m_third": "_m3"}
    columns: dict[str, Any] = {name: column for name, column in named.items() if column in known.columns}
    columns |= {"group": _group(known)} if "rfm" in schemes else {}
    return known.select("member_id", **columns, **({"type": _type(known)} if "type" in schemes else {}))


def rule(name: str, table: ir.Table, settings: SegmentSettings) -> ir.BooleanValue:
    """The condition of the rule segment `name` over a table from `described`; unknown counts as no."""
    called = functions(table, today_of(table, settings))
    return condition(settings.rules[name].when, table, where=place(name), functions=called)


def today_of(table: ir.Table, settings: SegmentSettings) -> Callable[[str], Any]:
    """Reference → yes or no for each row of a table from `described`: what in_segment() without a date asks for."""

    def held(reference: str) -> Any:
        scheme, _, segment = reference.partition(":")
        return rule(segment, table, settings) if scheme == RULE else (table[f"_{scheme}"] == segment).fill_null(False)

    return held


def place(name: str) -> str:
    """Where rule `name` is written, for messages."""
    return f"{WHERE}, rule '{name}'"


def all_of(settings: SegmentSettings) -> set[str]:
    """Every scheme and rule, its circles refused."""
    return closure([f"{RULE}:{name}" for name in settings.rules], settings) | {f"{name}:" for name in settings.schemes}


def closure(wanted: Collection[str], settings: SegmentSettings, where: str = WHERE) -> set[str]:
    """`wanted` (asked for at `where`) and all segments of the same day that their rules ask for, directly or through others.

    InputError when rules ask for each other in a circle, UnknownName for a segment that does not exist.
    """
    known, found = set(references(settings)), set()

    def visit(reference: str, path: tuple[str, ...]) -> None:
        if reference in path:
            circle = " → ".join([*path[path.index(reference) :], reference])
            raise InputError(f"{place(reference.partition(':')[2])}: the rules ask for each other in a circle: {circle}")
        if reference in found:
            return
        scheme, _, name = reference.partition(":")
        if scheme == RULE:
            for inner in segments_of_today(settings.rules[name].when, place(name)):
                exists(inner, place(name))
                visit(inner, (*path, reference))
        found.add(reference)

    def exists(reference: str, asked_at: str) -> None:
        if reference not in known:
            raise unknown("segment", reference, known, asked_at)

    for reference in wanted:
        exists(reference, where)
        visit(reference, ())
    return found


def _with_schemes(table: ir.Table, schemes: Collection[str], settings: SegmentSettings, basis: Basis) -> ir.Table:
    """`table` with a column '_SCHEME' for each of `schemes`."""
    if basis.limits and {*OF_RFM} & {*schemes}:
        table = _scored(table, basis.limits, schemes)
        texts: dict[str, Callable[[ir.Table], Any]] = {
            "rfm": _group, "type": _type, "rfm5": lambda scored: _code(scored, 5), "rfm3": lambda scored: _code(scored, 3)
        }  # fmt: skip
        table = table.mutate(**{f"_{name}": text(table) for name, text in texts.items() if name in schemes})
    if basis.rhythm and "lifecycle" in schemes:
        table = table.mutate(_gap=expected_gap(table, basis.rhythm, settings.lifecycle))
        table = table.mutate(_lifecycle=stage(table, table._gap, basis.rhythm, settings.lifecycle))
    return nearest(table, basis.clusters) if "cluster" in schemes else table


def _scored(table: ir.Table, limits: Thresholds, schemes: Collection[str]) -> ir.Table:
    """`table` with what `schemes` need of the scores _r5 … _m3, and of how the measures compare for the types (_better)."""
    buyer = table.order_count > 0
    columns: dict[str, Any] = {}
    for best, chosen, asked in ((5, limits.quintiles, ("rfm", "rfm5")), (3, limits.thirds, ("rfm3",))):
        if not {*asked} & {*schemes}:
            continue
        rising, falling = range(1, best + 1), range(best, 0, -1)
        columns[f"_r{best}"] = _ranked(table, "days_since_last_order", chosen, falling)
        columns[f"_f{best}"] = _ranked(table, "order_count", chosen, rising)
        columns[f"_m{best}"] = buyer.ifelse(_ranked(table, "net_amount", chosen, rising), ibis.null("int64"))
    if "type" not in schemes:
        return table.mutate(**columns)
    centre = limits.types
    better = [
        _ranked(table, name, centre, scores, rounding)
        for name, scores, rounding in (
            ("days_since_last_order", (4, 0), ROUND_CEILING), ("order_count", (0, 2), ROUND_FLOOR),
            ("net_amount", (0, 1), ROUND_FLOOR),
        )
    ]  # fmt: skip
    columns["_better"] = buyer.ifelse(better[0] + better[1] + better[2], ibis.null("int64"))
    return table.mutate(**columns)


def _ranked(table: ir.Table, name: str, limits: Limits, scores: Sequence[int], rounding: str = ROUND_FLOOR) -> Any:
    """The score by how many rising limits the value exceeds (of the types' R: reaches); null without a paid order.

    Limits are cut to the digits of the value, which changes no comparison.
    """
    value, digits = _comparable(table, name)
    cut = [_number(limit, digits, rounding) for limit in getattr(limits, name)]
    if not cut:
        return ibis.null("int64")
    reaches = rounding == ROUND_CEILING
    above = [((value >= limit) if reaches else (value > limit), at) for at, limit in enumerate(cut, 1)]
    last = value.notnull() if name != "order_count" else value > 0
    branches = [(over, ibis.literal(scores[at], "int64")) for over, at in reversed(above)]
    return ibis.cases(*branches, (last, ibis.literal(scores[0], "int64")), else_=ibis.null("int64"))


def _comparable(table: ir.Table, name: str) -> tuple[Any, int]:
    value: Any = table[name]
    return (value, 0) if value.type().is_integer() else (value.cast("decimal(18, 2)"), 2)


def _number(limit: Decimal, digits: int, rounding: str) -> Any:
    cut = limit.quantize(Decimal(1).scaleb(-digits), rounding)
    return ibis.literal(cut, "decimal(18, 2)") if digits else ibis.literal(int(cut), "int64")


def _group(scored: ir.Table) -> ir.StringValue:
    # row by row: of 25 conditions in one list a member would pass twelve on average
    rows = [(scored._r5 == r, ibis.cases(*((scored._f5 == f, name) for f, name in enumerate(row, 1)))) for r, row in GRID.items()]
    return ibis.cases(*rows, (scored.order_count == 0, NO_PAID_ORDER))


def _type(scored: ir.Table) -> ir.StringValue:
    unsaid = scored.order_count.isnull() | ((scored.order_count > 0) & scored.net_amount.isnull())
    numbers = [(4 * r + 2 * f + m, name) for (r, f, m), name in TYPES.items()]
    return ibis.cases(
        (unsaid, ibis.null("string")),
        (scored.order_count == 0, NO_PAID_ORDER),
        *((scored._better == number, name) for number, name in numbers),
    )


def _code(scored: ir.Table, best: int) -> ir.StringValue:
    """The three scores as '545'."""
    number = scored[f"_r{best}"] * 100 + scored[f"_f{best}"] * 10 + scored[f"_m{best}"]
    return number.cast("string")
