"""How a segment differs: growth since a date, overlap with others, and what distinguishes its members from all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir

from crm_core.segments.movement import movement

MOST_VALUES = 200
"""Distinct values of a text column up to which its values are compared; ids and the like have more."""


def growth(before: ir.Table, after: ir.Table) -> ir.Table:
    """scheme, segment, joined, left, stayed between two results of `assign`; in both, members before = left + stayed and
    members after = joined + stayed.
    """
    moved = movement(before, after)
    same = (moved.from_segment == moved.to_segment).fill_null(False)
    came = moved.filter(moved.to_segment.notnull()).select(
        "scheme",
        segment="to_segment",
        joined=same.ifelse(0, moved.members),
        left=0,
        stayed=same.ifelse(moved.members, 0),
    )
    went = moved.filter(moved.from_segment.notnull(), ~same).select(
        "scheme", segment="from_segment", joined=0, left="members", stayed=0
    )
    both = ibis.union(came, went.cast(dict(came.schema().items())))
    summed = both.group_by(["scheme", "segment"]).agg(
        **{name: both[name].sum() for name in ("joined", "left", "stayed")}
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
    both = (
        joined.filter(joined["first"] != joined["second"])
        .group_by(["first", "second"])
        .agg(members=lambda t: t.count())
    )
    sizes = [
        side.group_by(name).agg(**{f"of_{name}": side.count()}) for side, name in ((left, "first"), (right, "second"))
    ]
    sized = both.inner_join(sizes[0], "first").inner_join(sizes[1], "second")
    either = sized.of_first + sized.of_second - sized.members
    return sized.select(
        "first", "second", "members", jaccard=sized.members.cast("float64") / either.cast("float64")
    ).order_by(ibis.desc("members"), "first", "second")


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


def distinctive(rows: ir.Table, members: ir.Table, *, min_cell: int = 0, most: int = 10) -> list[Trait]:
    """What distinguishes `members` (member_id) from all of `rows` (features or tags, one row per member), greatest
    difference first; nothing that fewer than `min_cell` of them have. Two queries.

    Means are compared for numbers and shares for texts and yes or no; unknown values count as none for means and are left
    out of the values.
    """
    flagged = rows.left_join(members.select(member_id="member_id", _in=ibis.literal(True)), "member_id")
    flagged = flagged.mutate(_in=flagged._in.fill_null(False)).drop("member_id_right")
    names = [name for name in rows.columns if name not in ("member_id", "person_id", "as_of")]
    numbers = [name for name in names if rows[name].type().is_numeric()]
    words = [name for name in names if rows[name].type().is_string() or rows[name].type().is_boolean()]
    sizes = flagged.agg(all=flagged.count(), of=flagged.count(where=flagged._in)).to_pyarrow().to_pylist()[0]
    if not sizes["of"] or sizes["of"] < min_cell:
        return []
    found = [*_means(flagged, numbers), *_shares(flagged, words, sizes)]
    kept = [each for each in found if each.members >= max(1, min_cell) and each.difference]
    return sorted(kept, key=lambda each: (-abs(each.difference), each.name, each.value or ""))[:most]


def _means(flagged: ir.Table, names: Sequence[str]) -> list[Trait]:
    if not names:
        return []
    asked: dict[str, Any] = {}
    for name in names:
        value = flagged[name].cast("float64")
        asked |= {
            f"{name} of": value.mean(where=flagged._in), f"{name} all": value.mean(), f"{name} sd": value.std(how="pop"),
            f"{name} n": value.count(where=flagged._in),
        }  # fmt: skip
    row = flagged.agg(**asked).to_pyarrow().to_pylist()[0]
    return [
        Trait(name, None, row[f"{name} of"], row[f"{name} all"],
              round((row[f"{name} of"] - row[f"{name} all"]) / row[f"{name} sd"], 6), row[f"{name} n"])
        for name in names
        if row[f"{name} of"] is not None and (row[f"{name} sd"] or 0) > 1e-12
    ]  # fmt: skip


def _shares(flagged: ir.Table, names: Sequence[str], sizes: dict[str, int]) -> list[Trait]:
    if not names:
        return []
    parts = [
        flagged.select(name=ibis.literal(name), value=flagged[name].cast("string"), _in=flagged._in) for name in names
    ]
    stacked = ibis.union(*parts) if len(parts) > 1 else parts[0]
    known = stacked.filter(stacked.value.notnull())
    counted = known.group_by(["name", "value"]).agg(all=known.count(), of=known.count(where=known._in))
    kinds = counted.group_by("name").agg(kinds=counted.count()).filter(lambda t: t.kinds <= MOST_VALUES)
    rows = counted.semi_join(kinds, "name").to_pyarrow().to_pylist()
    found = []
    for row in rows:
        of, everybody = row["of"] / sizes["of"], row["all"] / sizes["all"]
        spread = (everybody * (1 - everybody)) ** 0.5
        if spread and row["value"] != "false":  # which says the same as the share of true
            found.append(
                Trait(row["name"], row["value"], of, everybody, round((of - everybody) / spread, 6), row["of"])
            )
    return found
