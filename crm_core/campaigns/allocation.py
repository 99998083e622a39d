"""Who is held out: a deterministic draw with exact counts, keyed by person.

The order within a stratum is that of hexdigest(salt || person_id), so that the draw needs no random state, no
row order and no stored list to be made again; counts per stratum come from largest remainders under exact
totals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from crm_core.errors import InputError
from crm_core.store.hashing import salted_order

MOST_STRATA = 2000
JOINT = " / "
UNKNOWN = "unknown"


def largest_remainder(sizes: Sequence[int], total: int) -> list[int]:
    """Splits `total` over `sizes` in proportion: whole numbers that add up to `total`, none above its size.

    Every share lies within one of its exact quota; ties go to the earlier entry (Hamilton's method).
    Raises ValueError when `total` exceeds the sum of the sizes.
    """
    whole = sum(sizes)
    if not 0 <= total <= whole:
        raise ValueError(f"{total} cannot be taken out of {whole}")
    if whole == 0:
        return [0] * len(sizes)
    shares = [size * total // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda at: (-(sizes[at] * total % whole), at))
    for at in by_remainder[: total - sum(shares)]:
        shares[at] += 1
    return shares


def arm_totals(size: int, shares: Mapping[str, Fraction]) -> dict[str, int]:
    """Exact number of persons per arm for `size` persons; `shares` add up to 1."""
    exact = {arm: share * size for arm, share in shares.items()}
    totals = {arm: int(quota) for arm, quota in exact.items()}
    by_remainder = sorted(exact, key=lambda arm: totals[arm] - exact[arm])  # stable: control first among equals
    for arm in by_remainder[: size - sum(totals.values())]:
        totals[arm] += 1
    return totals


def arm_counts(sizes: Mapping[str, int], shares: Mapping[str, Fraction], salt: str) -> dict[str, dict[str, int]]:
    """stratum -> arm -> persons, exact in both directions: rows add up to `sizes`, columns to `arm_totals`.

    Arms are filled one after the other from what the earlier ones left, each by largest remainder. Equal
    remainders are settled by the salted hash of the stratum's name, so that no stratum is favoured for its
    place in the alphabet.
    """
    order = sorted(sizes, key=lambda name: (hashlib.sha256(f"{salt}{name}".encode()).hexdigest(), name))
    left = [sizes[name] for name in order]
    counts: dict[str, dict[str, int]] = {name: {} for name in order}
    for arm, total in arm_totals(sum(left), shares).items():
        taken = largest_remainder(left, total)
        for at, name in enumerate(order):
            counts[name][arm] = taken[at]
            left[at] -= taken[at]
    return counts


def stratum_of(table: ir.Table, strata: Sequence[str]) -> ir.StringValue:
    """The stratum's name: values of the features in `strata`, joined; a missing value is 'unknown', no strata
    is 'all'.
    """
    if not strata:
        return ibis.literal("all")
    parts: list[ir.Value] = [table[name].cast("string").fill_null(UNKNOWN) for name in strata]
    joined = parts[0]
    for part in parts[1:]:
        joined = joined + ibis.literal(JOINT) + part
    return joined


def persons_of(members: ir.Table) -> ir.Table:
    """One row per person out of (member_id, person_id, stratum): person_id, stratum.

    A person with several accounts takes the stratum of the account with the smallest member_id.
    """
    return members.group_by("person_id").aggregate(stratum=lambda t: t.stratum.argmin(t.member_id))


def allocate(members: ir.Table, shares: Mapping[str, Fraction], salt: str) -> ir.Table:
    """Draws the arm of every member.

    `members` has member_id, person_id, stratum (all text, none null; one row per member); `shares` hold
    control and arms and add up to 1. Result: the same rows with `arm`; all accounts of a person share one
    arm; counts of persons per stratum are `arm_counts`. The result does not depend on the order of rows.
    Raises InputError on too many strata.
    """
    persons = persons_of(members)
    sizes = stratum_sizes(persons)
    if not sizes:
        return members.mutate(arm=ibis.literal("").cast("string"))
    bounds = _bounds(arm_counts(sizes, shares, salt))
    window = ibis.window(group_by="stratum", order_by=["_order", "person_id"])
    placed = persons.mutate(_order=salted_order(persons.person_id, salt))
    placed = placed.mutate(_place=ibis.row_number().over(window))
    limits = ibis.memtable(bounds)
    drawn = placed.join(
        limits, [placed.stratum == limits.in_stratum, placed._place >= limits.first, placed._place < limits.past]
    ).select(drawn_person=placed.person_id, arm=limits.arm)
    return members.join(drawn, members.person_id == drawn.drawn_person).select(*members.columns, "arm")


def stratum_sizes(persons: ir.Table) -> dict[str, int]:
    """stratum -> persons. Raises InputError when there are so many strata that shares cannot be kept in
    them.
    """
    found = persons.group_by("stratum").aggregate(size=lambda t: t.count()).limit(MOST_STRATA + 1).to_pyarrow()
    if found.num_rows > MOST_STRATA:
        raise InputError(
            f"the strata split the audience into more than {MOST_STRATA} groups; name features with few "
            "values "
            "(a tier, a channel, a band), not numbers or ids"
        )
    return dict(zip(found["stratum"].to_pylist(), found["size"].to_pylist(), strict=True))


def _bounds(counts: Mapping[str, Mapping[str, int]]) -> pa.Table:
    rows: list[tuple[str, str, int, int]] = []
    for stratum, arms in counts.items():
        first = 0
        for arm, size in arms.items():
            rows.append((stratum, arm, first, first + size))
            first += size
    columns = list(zip(*rows, strict=True))
    names = ("in_stratum", "arm", "first", "past")
    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64())
    return pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)})
