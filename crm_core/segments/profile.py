"""How a segment differs: growth since a date, overlap with others, and what distinguishes its members from all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from crm_core.segments.movement import movement

MONTHS = ("birth_month", "months_to_birthday")
"""Numbers of which a mean says nothing."""
MOST_VALUES = 200
"""Distinct values of a text column up to which they are compared; ids and the like have more."""


def growth(before: ir.Table, after: ir.Table) -> ir.Table:
    """scheme, segment, joined, left, stayed between two results of `assign`; in both, members before = left + stayed and
    members after = joined + stayed.
    """
    moved = movement(before, after)
    stays = (moved.from_segment == moved.to_segment).fill_null(False)
    went = moved.filter(moved.from_segment.notnull(), ~stays).mutate(side=ibis.literal("left"), segment="from_segment")
    came = moved.filter(moved.to_segment.notnull()).mutate(side=stays.ifelse("stayed", "joined"), segment=moved.to_segment)
    both = ibis.union(*(part.select("scheme", "segment", "side", "members") for part in (went, came)))
    summed = both.group_by(["scheme", "segment"]).agg(
        **{name: both.members.sum(where=both.side == name).fill_null(0) for name in ("joined", "left", "stayed")}
    )
    return summed.order_by(["scheme", "segment"])


def overlap(one: ir.Table, other: ir.Table) -> ir.Table:
    """first, second ('scheme:segment'), members in both, and jaccard (both / in either), of the segments in two parts of a
    result of `assign`; pairs without a common member are left out. Keep the parts to the schemes that are asked for.
    """
    left, right = (
        part.select(**{"member_id": part.member_id, name: part.scheme + ":" + part.segment})
        for part, name in ((one, "first"), (other, "second"))
    )
    joined = left.inner_join(right, "member_id")
    both = joined.filter(joined["first"] != joined["second"]).group_by(["first", "second"]).agg(members=lambda t: t.count())
    sizes = [side.group_by(name).agg(**{f"of_{name}": side.count()}) for side, name in ((left, "first"), (right, "second"))]
    sized = both.inner_join(sizes[0], "first").inner_join(sizes[1], "second")
    either = sized.of_first + sized.of_second - sized.members
    return sized.select("first", "second", "members", jaccard=sized.members.cast("float64") / either.cast("float64")).order_by(
        ibis.desc("members"), "first", "second"
    )


@dataclass(frozen=True)
class Trait:
    """One thing that sets a segment apart from all members.

    `value` is the value of a text or yes-or-no column whose shares are compared, None where means are. `difference`: of
    mean or share, in standard deviations of all members. `members`: of the segment, with this value or a known one.
    """

    name: str
    value: str | None
    segment: float
    everybody: float
    difference: float
    members: int


def distinctive(rows: ir.Table, assigned: ir.Table, *, min_cell: int = 0, most: int = 10) -> dict[str, list[Trait]]:
    """segment → what distinguishes its members from all of `rows` (features or tags, one row per member), greatest
    difference first. `assigned`: member_id, segment. Nothing that fewer than `min_cell` of its members have.

    Means are compared for numbers and shares for texts and yes or no; unknown values are left out of means and are no
    value of their own. Four queries, however many segments.
    """
    names = [name for name in rows.columns if name not in ("member_id", "person_id", "as_of")]
    numbers = [name for name in names if rows[name].type().is_numeric() and name not in MONTHS]
    words = [name for name in names if rows[name].type().is_string() or rows[name].type().is_boolean()]
    joined = rows.inner_join(assigned.select("member_id", _segment="segment"), "member_id")
    found: dict[str, list[Trait]] = {}
    for segment, trait in [*_means(rows, joined, numbers), *_shares(rows, joined, words)]:
        if trait.members >= max(1, min_cell) and trait.difference:
            found.setdefault(segment, []).append(trait)
    return {segment: sorted(traits, key=_order)[:most] for segment, traits in found.items()}


def _order(trait: Trait) -> tuple[float, str, str]:
    return -abs(trait.difference), trait.name, trait.value or ""


def _means(rows: ir.Table, joined: ir.Table, names: Sequence[str]) -> list[tuple[str, Trait]]:
    if not names:
        return []
    base = {f"{name} mean": rows[name].cast("float64").mean() for name in names}
    base |= {f"{name} sd": rows[name].cast("float64").std(how="pop") for name in names}
    everybody = rows.agg(**base).to_pyarrow().to_pylist()[0]
    of = {f"{name} mean": joined[name].cast("float64").mean() for name in names}
    of |= {f"{name} n": joined[name].count() for name in names}
    found = []
    for row in joined.group_by("_segment").agg(**of).to_pyarrow().to_pylist():
        for name in names:
            mean, whole, spread = row[f"{name} mean"], everybody[f"{name} mean"], everybody[f"{name} sd"] or 0.0
            if mean is not None and spread > 1e-12:
                means = (float(f"{mean:.9g}"), float(f"{whole:.9g}"))  # sums of floats differ in the last digits from run to run
                trait = Trait(name, None, *means, round((mean - whole) / spread, 6), row[f"{name} n"])
                found.append((row["_segment"], trait))
    return found


def _shares(rows: ir.Table, joined: ir.Table, names: Sequence[str]) -> list[tuple[str, Trait]]:
    if not names:
        return []
    everybody = _counted(rows.mutate(_segment=ibis.literal("")), names)
    kinds = Counter(name for _, name, _ in everybody)
    sizes = {row["_segment"]: row["n"] for row in joined.group_by("_segment").agg(n=joined.count()).to_pyarrow().to_pylist()}
    total = int(rows.count().to_pyarrow().as_py())
    found = []
    for (segment, name, value), members in _counted(joined, names).items():
        share, whole = members / sizes[segment], everybody["", name, value] / total
        spread = (whole * (1 - whole)) ** 0.5
        if spread and value != "false" and kinds[name] <= MOST_VALUES:  # no says the same as the share of yes
            found.append((segment, Trait(name, value, share, whole, round((share - whole) / spread, 6), members)))
    return found


def _counted(rows: ir.Table, names: Sequence[str]) -> dict[tuple[str, str, str], int]:
    """(segment, column, value) → members."""
    parts = [rows.select("_segment", name=ibis.literal(name), value=rows[name].cast("string")) for name in names]
    stacked = ibis.union(*parts) if len(parts) > 1 else parts[0]
    counted = stacked.filter(stacked.value.notnull()).group_by(["_segment", "name", "value"]).agg(n=lambda t: t.count())
    return {(row["_segment"], row["name"], row["value"]): row["n"] for row in counted.to_pyarrow().to_pylist()}
