"""Tomorrow's features from today's: only members with new, changed or newly visible rows are worked out anew.

Of everybody else three things change with the day, none of which needs their orders or events. Days since something,
tenure and age follow from columns that are there (`by_day`). Windows of so many days are sums, so what leaves them is
subtracted: the rows of a few edge days. And a person may gain or lose a membership. The result is what `features`
gives for that day, to the last digit; the price is that of the members touched plus one pass over the stored rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_core.measures.by_day import by_day
from crm_core.measures.feature_list import EVENT_WINDOWS, FEATURES, WINDOWS
from crm_core.measures.features import event_windows, features, known_features, order_windows
from crm_core.measures.rfm import days_back

if TYPE_CHECKING:
    from crm_core.store import Tables

_CURRENT = ("orders", "order_lines", "refunds", "interactions", "consents")
SOURCES = (*(f"{name}_versions" for name in ("members", "products", *_CURRENT)), *_CURRENT)
"""Stored tables whose changes are looked for; the files of the earlier snapshot must still be there."""
ATTRIBUTES = ("registered_at", "tier", "gender", "birth_year", "birth_month", "province", "city", "person_id")


def can_carry(tables: Tables, before: Tables) -> bool:
    """Whether the features of `before` can become those of `tables`: not later, and the same tables supplied."""
    return before.as_of <= tables.as_of and known_features(before) == known_features(tables)


def touched(tables: Tables, before: Tables, stored: ir.Table) -> ir.Table:
    """member_id of those whose features must be worked out anew, given `stored`, the features of `before`.

    A member is touched by a row that was added, corrected or taken back between the two snapshots, by a row that
    becomes visible between the two days, by a product that changes its category, and by a change of person.
    """
    parts = [_of_orders(tables, before), _of_persons(tables, stored), _restated(tables, before, "members", ATTRIBUTES)]
    for name, moments in {
        "refunds": ("refunded_at",),
        "interactions": ("occurred_at",),
        "consents": ("changed_at", "expires_at"),
    }.items():
        parts += [tables.changes(name, before, "member_id"), _begun(tables, before, name, moments, "member_id")]
    found = [part.select("member_id") for part in parts if part is not None]
    return ibis.union(*found, distinct=True).filter(lambda t: t.member_id.notnull())


def out_of_windows(tables: Tables, before: Tables) -> ir.Table:
    """Per member the features of windows over what lay in a window on the day of `before` and no longer does."""
    orders = _out(tables, before, "paid_orders", "paid_at", WINDOWS, order_windows)
    events = _out(tables, before, "interactions", "occurred_at", EVENT_WINDOWS, event_windows)
    both = orders.outer_join(events, "member_id", rname="_{name}")
    return both.mutate(member_id=both.member_id.coalesce(both._member_id)).drop("_member_id")


def carried(tables: Tables, stored: ir.Table, anew: ir.Table, out: ir.Table) -> ir.Table:
    """What `features(tables)` gives, from `stored` (the features of the day before), the members `anew` (of `touched`) and
    what is `out` (of `out_of_windows`). Both were worked out before: an engine that has to guess how few they are puts the
    stored rows into the table that it looks them up in."""
    kept = stored.anti_join(anew, "member_id").left_join(out, "member_id", rname="_out_{name}")
    fewer = {name: _less(kept, name) for name in out.columns if name != "member_id"}
    rows = kept.mutate(**fewer, **by_day(tables, kept))
    same = rows.select("member_id", **{name: rows[name].cast(each.type) for name, each in FEATURES.items()})
    return same.union(features(tables.only(anew)))


def _less(kept: ir.Table, name: str) -> Any:
    stored = kept[name]
    return stored - kept[f"_out_{name}"].cast(stored.type()).fill_null(ibis.literal(0).cast(stored.type()))


def _out(tables: Tables, before: Tables, name: str, moment: str, windows: tuple[int, ...], features_of: Any) -> ir.Table:
    rows = getattr(tables, name)
    rows = rows.filter(rows.member_id.notnull())

    def left(of: ir.Table) -> dict[int, Any]:
        return {days: _between(of[moment], days_back(before, days), days_back(tables, days)) for days in windows}

    # each edge is looked for by itself, as in `_begun`; what lies in two of them is taken with the first
    edges = list(left(rows).values())
    some = ibis.union(*(rows.filter(edge, *(~other for other in edges[:place])) for place, edge in enumerate(edges)))
    return some.group_by("member_id").agg(**features_of(some, left(some)))


def _between(value: Any, first: Any, end: Any) -> Any:
    return (value >= ibis.literal(first)) & (value < ibis.literal(end))


def _begun(tables: Tables, before: Tables, name: str, moments: tuple[str, ...], *columns: str) -> ir.Table | None:
    """`columns` of the stored rows of `name` of which one of `moments` lies between the two days. Each is looked for by
    itself: so the engine passes over the files that hold no such time."""
    if before.instant == tables.instant:
        return None
    stored, first, end = tables.stored(name), ibis.literal(before.instant), ibis.literal(tables.instant)
    # what expires at the very instant is over by then, so both ends count; a row too many costs nothing
    return ibis.union(*(stored.filter(stored[each] >= first, stored[each] <= end).select(*columns) for each in moments))


def _restated(tables: Tables, before: Tables, name: str, attributes: tuple[str, ...]) -> ir.Table | None:
    """Keys of `name` of which the sources now state another of `attributes` than before, or which came or went."""
    key = f"{name[:-1]}_id"
    versions = f"{name}_versions"
    begins = ("_effective_at", "registered_at") if name == "members" else ("_effective_at",)
    found = _together(tables.changes(versions, before, key), _begun(tables, before, versions, begins, key))
    keys = None if found is None else tables.held(found.distinct())
    if keys is None or not keys.count().to_pyarrow().as_py():
        return None
    then, now = (each.stated(name, keys).select(key, *attributes) for each in (before, tables))
    both = [key, *attributes]
    same = now.inner_join(then, [now[column].identical_to(then[column]) for column in both]).select(key)
    return keys.anti_join(same, key)


def _of_orders(tables: Tables, before: Tables) -> ir.Table | None:
    """Members of orders that changed or were placed, paid or reviewed since, or whose lines or products changed."""
    key = ("order_id", "member_id")
    orders = _together(
        tables.changes("orders", before, *key), _begun(tables, before, "orders", ("ordered_at", "paid_at", "reviewed_at"), *key)
    )
    products = _restated(tables, before, "products", ("category",))
    lines = _together(
        tables.changes("order_lines", before, "order_id"),
        _begun(tables, before, "order_lines", ("ordered_at",), "order_id"),
        None if products is None else tables.order_lines.semi_join(products, "product_id").select("order_id"),
    )
    if lines is None:
        return orders
    # lines come with their orders; of the others there are few or none, and the orders need not be looked through
    others = lines if orders is None else lines.anti_join(orders, "order_id")
    return _together(orders, tables.stored("orders").semi_join(others, "order_id").select(*key))


def _together(*parts: ir.Table | None) -> ir.Table | None:
    found = [part for part in parts if part is not None]
    return ibis.union(*found) if found else None


def _of_persons(tables: Tables, stored: ir.Table) -> ir.Table:
    """Members who became part of another person, or of whose person nobody else is left."""
    found = tables.persons.members
    known = stored.select("member_id", "person_id")
    if not found.num_rows:
        return known.filter(known.person_id != known.member_id)
    joined = known.left_join(ibis.memtable(found).rename(of_person="person_id"), "member_id")
    alone = joined.of_person.isnull() & (joined.person_id != joined.member_id)
    other = joined.of_person.notnull() & ~joined.of_person.identical_to(joined.person_id)
    return joined.filter(alone | other).select("member_id")
