"""One row per member with what segments, tags and reports ask about; `feature_list` has each column.

Each source table is grouped by member once and joined to the list of members; a source that was never
supplied gives nulls instead of noughts, so that 'no complaints' and 'we know nothing of complaints' stay
apart.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_core.measures.feature_list import EVENT_COUNTS, EVENT_WINDOWS, FEATURES, MESSAGE_COUNTS, WINDOWS
from crm_core.measures.rfm import days_back, days_until, rfm
from crm_core.store.clock import local_date
from crm_core.store.hashing import as_float

if TYPE_CHECKING:
    from crm_core.store import Tables

OWN_ACTIONS = (
    "visit", "register", "login", "browse", "search", "favourite", "consult", "cart_add",
    "check_in", "share", "referral", "game", "benefit_used",
)  # fmt: skip
"""Events that the member does; messages, expiries and the shop's own calls are not activity."""


def features(tables: Tables) -> ir.Table:
    """One row per member known at `tables.as_of` (as a member, from an order or from a refund), lazily.

    Columns: member_id and FEATURES in order, with their types and units. Features of a table that was
    never supplied are null, and so are amounts where no order has any; where it was, members without rows
    have 0 for counts and amounts and null for everything else.
    """
    parts = [rfm(tables), _orders(tables), _lines(tables), _refunds(tables), _interactions(tables)]
    joined = reduce(_join, [*parts, _consents(tables), _members(tables)], _everyone(tables))
    joined = joined.mutate(refund_share=_share(joined.refund_amount, joined.net_amount))
    joined = _persons(tables, joined)
    supplied = {name: tables.supplied(name) for name in {feature.table for feature in FEATURES.values()}}
    known = {name: supplied[each.table] and (tables.priced or not each.of_money) for name, each in FEATURES.items()}
    return joined.select("member_id", **{name: _finished(joined, name, known[name]) for name in FEATURES})


def _finished(joined: ir.Table, name: str, known: bool) -> ir.Value:
    feature = FEATURES[name]
    if not known and name != "person_id":  # buyers are persons where no list of members was supplied
        return ibis.null(feature.type)
    value = joined[name].cast(feature.type)
    return value.fill_null(ibis.literal(0).cast(feature.type)) if feature.zero else value


def _persons(tables: Tables, joined: ir.Table) -> ir.Table:
    """The person of members that are in no list of members too: those of whom only orders are known."""
    found = tables.persons.members
    if not found.num_rows:
        return joined
    together = _join(joined, ibis.memtable(found).select("member_id", of_person="person_id"))
    return together.mutate(person_id=together.of_person.coalesce(together.person_id)).drop("of_person")


def _join(left: ir.Table, right: ir.Table) -> ir.Table:
    return left.left_join(right, "member_id", rname="_right_{name}").drop("_right_member_id")


def _everyone(tables: Tables) -> ir.Table:
    sources = [tables.members, tables.orders, tables.refunds]
    ids = [source.filter(source.member_id.notnull()).select("member_id") for source in sources]
    return ibis.union(*ids, distinct=True)


def _share(part: ir.Value, whole: ir.Value) -> ir.Value:
    """part / whole as a float; unknown where the whole is nought."""
    return as_float(part) / as_float(whole).nullif(0.0)


def _orders(tables: Tables) -> ir.Table:
    orders = tables.paid_orders.filter(lambda t: t.member_id.notnull())
    recent: dict[str, ir.Value] = {}
    for days in WINDOWS:
        inside = orders.paid_at >= ibis.literal(days_back(tables, days))
        recent[f"orders_{days}d"] = orders.count(where=inside)
        recent[f"net_amount_{days}d"] = orders.net_amount.sum(where=inside)
    grouped = orders.group_by("member_id").agg(
        _first=orders.paid_at.min(),
        _last=orders.paid_at.max(),
        _count=orders.count(),
        _discount=orders.discount_amount.sum(),
        _gross=orders.gross_amount.sum(),
        **recent,
    )
    span = local_date(grouped._last, tables.zone).delta(local_date(grouped._first, tables.zone), unit="day")
    shares = grouped.select(
        "member_id",
        *recent,
        mean_days_between_orders=span.cast("float64") / (grouped._count - 1).nullif(0),
        discount_share=_share(grouped._discount, grouped._gross),
    )
    sold = orders.filter(orders.channel.notnull())
    channels = sold.group_by(["member_id", "channel"]).agg(weight=sold.count())
    return _join(shares, _heaviest(channels, "channel", "main_channel"))


def _heaviest(weighted: ir.Table, column: str, name: str) -> ir.Table:
    """Per member the value of `column` with the greatest weight; of equal ones the first by name."""
    order = [weighted.weight.desc(), weighted[column].asc()]
    rank = ibis.row_number().over(group_by=weighted.member_id, order_by=order)
    return weighted.mutate(_rank=rank).filter(lambda t: t._rank == 0).select("member_id", **{name: column})


def _lines(tables: Tables) -> ir.Table:
    orders = tables.paid_orders.filter(lambda t: t.member_id.notnull()).select("order_id", "member_id")
    lines = tables.order_lines.select("order_id", "product_id", "line_amount")
    products = tables.products.filter(lambda t: t.category.notnull()).select("product_id", "category")
    bought = lines.inner_join(orders, "order_id").inner_join(products, "product_id")
    weighted = bought.group_by(["member_id", "category"]).agg(weight=bought.line_amount.sum())
    counted = weighted.group_by("member_id").agg(category_count=weighted.count())
    return _join(counted, _heaviest(weighted, "category", "favourite_category"))


def _refunds(tables: Tables) -> ir.Table:
    refunds = tables.refunds.filter(lambda t: t.member_id.notnull())
    return refunds.group_by("member_id").agg(refund_amount=refunds.amount.sum())


def _interactions(tables: Tables) -> ir.Table:
    events = tables.interactions.filter(lambda t: t.member_id.notnull())
    counts: dict[str, ir.Value] = {}
    for stem, (event, _, _) in EVENT_COUNTS.items():
        for days in EVENT_WINDOWS:
            inside = events.occurred_at >= ibis.literal(days_back(tables, days))
            counts[f"{stem}_{days}d"] = events.count(where=(events.event == event) & inside)
    for name, (event, _, _) in MESSAGE_COUNTS.items():
        counts[name] = events.count(where=events.event == event)
    grouped = events.group_by("member_id").agg(
        _active=events.occurred_at.max(where=events.event.isin(OWN_ACTIONS)),
        points_balance=_points(events),
        coupons_held=_coupons(events),
        **counts,
    )
    return grouped.mutate(days_since_last_activity=days_until(tables, grouped._active)).drop("_active")


def _points(events: ir.Table) -> Any:
    # summed as decimals: a sum of floats differs from run to run
    points = events.quantity.abs().cast("decimal(18, 2)").fill_null(ibis.literal(0).cast("decimal(18, 2)"))
    signed = ibis.cases(
        (events.event == "points_earned", points),
        (events.event.isin(["points_spent", "points_expired"]), -points),
    )
    return as_float(signed.sum())


def _coupons(events: ir.Table) -> Any:
    gone = events.count(where=events.event.isin(["coupon_redeemed", "coupon_expired"]))
    return ibis.greatest(events.count(where=events.event == "coupon_issued") - gone, 0)


def _consents(tables: Tables) -> ir.Table:
    sms = tables.consents.filter(lambda t: t.channel == "sms")
    # of two changes at one instant the refusal counts: nobody knows which came last
    rank = ibis.row_number().over(
        group_by=sms.member_id,
        order_by=[sms.changed_at.desc(), (sms.state == "granted").cast("int64").asc(), sms.state],
    )
    latest = sms.mutate(_rank=rank).filter(lambda t: t._rank == 0)
    expired = (latest.state == "granted") & (latest.expires_at <= ibis.literal(tables.instant)).fill_null(False)
    return latest.select("member_id", sms_consent=expired.ifelse("expired", latest.state))


def _members(tables: Tables) -> ir.Table:
    members = tables.members
    registered = (members.registered_at < ibis.literal(tables.instant)).ifelse(
        members.registered_at, ibis.null("timestamp(6)")
    )
    month = ibis.literal(tables.as_of.month)
    not_yet = (members.birth_month > month).fill_null(False).cast("int64")
    return members.select(
        "member_id", "person_id", "tier", "gender", "birth_month", "province", "city",
        registered_at=registered,
        tenure_days=days_until(tables, registered),
        months_to_birthday=(members.birth_month - month + 12) % 12,
        age=ibis.literal(tables.as_of.year) - members.birth_year - not_yet,
    )  # fmt: skip
