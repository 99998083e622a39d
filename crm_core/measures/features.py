"""One row per member with what segments, tags and reports ask about; `feature_list` has each column.

Each source table is grouped by member once and joined to the list of members; a source that was never
supplied gives nulls instead of noughts, so that 'no complaints' and 'we know nothing of complaints' stay
apart.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_core.measures.by_day import by_day
from crm_core.measures.feature_list import EVENT_COUNTS, EVENT_WINDOWS, EVER_COUNTS, FEATURES, POINTS, WINDOWS
from crm_core.measures.rfm import days_back, rfm
from crm_core.store.clock import local_date
from crm_core.store.hashing import as_float

if TYPE_CHECKING:
    from crm_core.store import Tables

OWN_ACTIONS = (
    "visit", "register", "login", "browse", "search", "favourite", "consult", "cart_add",
    "check_in", "share", "referral", "game", "benefit_used",
)  # fmt: skip
"""Events that the member does; messages, expiries and the shop's own calls are not activity."""


def features(tables: Tables, names: Collection[str] = tuple(FEATURES)) -> ir.Table:
    """One row per member known at `tables.as_of` (as a member, from an order or from a refund), lazily.

    Columns: member_id and those of FEATURES that are among `names`, in order, with their types and units; tables that none of
    them is of are not read. Features of a table that was never supplied are null, and so are amounts where no order has any;
    where it was, members without rows have 0 for counts and amounts and null for everything else.
    """
    asked = {FEATURES[name].table for name in names}
    asked |= {"orders"} if "refunds" in asked else set()  # of which refunds are a share
    joined = beside(_everyone(tables), *(part(tables) for table, part in _PARTS.items() if table in asked))
    if "refunds" in asked:
        returned = joined.refund_amount.fill_null(ibis.literal(0).cast(joined.refund_amount.type()))
        joined = joined.mutate(refund_share=_share(returned, joined.net_amount))
    joined = joined.mutate(**by_day(tables, joined))
    if "members" in asked:
        joined = _persons(tables, joined)
    known = known_features(tables)
    wanted = {name: _finished(joined, name, known[name]) for name in FEATURES if name in names}
    return joined.select("member_id", **wanted)


def known_features(tables: Tables) -> dict[str, bool]:
    """Feature → whether the table it needs was supplied, and amounts where it speaks of money."""
    supplied = {name: tables.supplied(name) for name in {feature.table for feature in FEATURES.values()}}
    return {name: supplied[each.table] and (tables.priced or not each.of_money) for name, each in FEATURES.items()}


def _finished(joined: ir.Table, name: str, known: bool) -> ir.Value:
    feature = FEATURES[name]
    if not known and name != "person_id":  # buyers are persons where no list of members was supplied
        return ibis.null(feature.type)
    value = feature.held(joined[name])
    return value.fill_null(ibis.literal(0).cast(feature.type)) if feature.zero else value


def _persons(tables: Tables, joined: ir.Table) -> ir.Table:
    """The person of members that are in no list of members too: those of whom only orders are known."""
    found = tables.persons.members
    if not found.num_rows:
        return joined
    together = beside(joined, ibis.memtable(found).select("member_id", of_person="person_id"))
    return together.mutate(person_id=together.of_person.coalesce(together.person_id)).drop("of_person")


def beside(left: ir.Table, *parts: ir.Table) -> ir.Table:
    """`left` with the columns of `parts` beside it; one chain of joins, which ibis compiles sooner than joins of joins."""
    for place, part in enumerate(parts):
        left = left.left_join(part, "member_id", rname=f"_{place}_{{name}}")
    return left.drop(*(f"_{place}_member_id" for place in range(len(parts))))


def _everyone(tables: Tables) -> ir.Table:
    sources = [tables.members, tables.placed_orders, tables.refunds]
    ids = [source.filter(source.member_id.notnull()).select("member_id") for source in sources]
    return ibis.union(*ids, distinct=True)


def _share(part: ir.Value, whole: ir.Value) -> ir.Value:
    """part / whole as a float; unknown where the whole is nought."""
    return as_float(part) / as_float(whole).nullif(0.0)


def _orders(tables: Tables) -> ir.Table:
    orders = tables.paid_orders.filter(lambda t: t.member_id.notnull())
    score = orders.review_score.cast("decimal(18, 2)")  # summed as decimals: a sum of floats differs from run to run
    grouped = orders.group_by("member_id").agg(
        _first=orders.paid_at.min(),
        _last=orders.paid_at.max(),
        _count=orders.count(),
        _discount=orders.discount_amount.sum(),
        _gross=orders.gross_amount.sum(),
        _score=score.sum(),
        _scores=score.count(),
        **order_windows(orders, {days: orders.paid_at >= ibis.literal(days_back(tables, days)) for days in WINDOWS}),
    )
    span = local_date(grouped._last, tables.zone).delta(local_date(grouped._first, tables.zone), unit="day")
    shares = grouped.select(
        "member_id",
        *[name for name in grouped.columns if name in FEATURES],
        mean_days_between_orders=span.cast("float64") / (grouped._count - 1).nullif(0),
        discount_share=_share(grouped._discount, grouped._gross),
        review_score=_share(grouped._score, grouped._scores),
    )
    sold = orders.filter(orders.channel.notnull())
    channels = sold.group_by(["member_id", "channel"]).agg(weight=sold.count())
    known = rfm(tables).drop("days_since_last_order")
    buyers = beside(known, shares, _spread(tables, orders), _heaviest(channels, "channel", "main_channel"))
    return buyers.mutate(order_days=buyers.order_days.fill_null(1))


def order_windows(orders: ir.Table, within: dict[int, Any]) -> dict[str, ir.Value]:
    """The features of a window over paid orders: for each number of days what lies `within` it."""
    counts = {f"orders_{days}d": orders.count(where=inside) for days, inside in within.items()}
    return counts | {f"net_amount_{days}d": orders.net_amount.sum(where=inside) for days, inside in within.items()}


def event_windows(events: ir.Table, within: dict[int, Any]) -> dict[str, ir.Value]:
    """The features of a window over interactions: for each number of days what lies `within` it."""
    return {
        f"{stem}_{days}d": events.count(where=(events.event == event) & inside)
        for stem, (event, _, _) in EVENT_COUNTS.items()
        for days, inside in within.items()
    }


def _spread(tables: Tables, orders: ir.Table) -> ir.Table:
    """The standard deviation of the gaps, from whole numbers: the same to the last digit in any order of rows; the last gap
    between two different days, and how many days there are. Of members with more than one order."""
    dated = orders.select("member_id", "paid_at", day=local_date(orders.paid_at, tables.zone))
    before = dated.day.lag().over(ibis.window(group_by=dated.member_id, order_by=dated.paid_at))
    gaps = dated.mutate(gap=dated.day.delta(before, unit="day")).filter(lambda t: t.gap.notnull())
    summed = gaps.group_by("member_id").agg(
        n=gaps.count(), total=gaps.gap.sum(), squares=(gaps.gap * gaps.gap).sum(),
        days_between_last_orders=gaps.gap.argmax(gaps.day, where=gaps.gap > 0), order_days=gaps.count(where=gaps.gap > 0) + 1,
    )  # fmt: skip
    n, total, squares = (summed[name].cast("float64") for name in ("n", "total", "squares"))
    variance = (squares - total * total / n) / (n - 1).nullif(0.0)
    spread = variance.clip(lower=0.0).sqrt()  # a least of two, unlike the greatest, leaves unknown what is unknown
    return summed.select("member_id", "days_between_last_orders", "order_days", sd_days_between_orders=spread)


def _heaviest(weighted: ir.Table, column: str, name: str) -> ir.Table:
    """Per member the value of `column` with the greatest weight (of equal ones the first by name), its share of
    the weight, and how many values there are."""
    order = [weighted.weight.desc(), weighted[column].asc()]
    rank = ibis.row_number().over(group_by=weighted.member_id, order_by=order)
    whole = ibis.window(group_by=weighted.member_id)
    ranked = weighted.mutate(_rank=rank, _all=weighted.weight.sum().over(whole), _values=weighted.count().over(whole))
    first = ranked.filter(lambda t: t._rank == 0)
    share, count = f"{name}_share", f"{column}_count"
    return first.select("member_id", **{name: first[column], share: _share(first.weight, first._all), count: first._values})


def _lines(tables: Tables) -> ir.Table:
    orders = tables.paid_orders.filter(lambda t: t.member_id.notnull()).select("order_id", "member_id")
    lines = tables.order_lines.select("order_id", "product_id", "line_amount")
    products = tables.products.filter(lambda t: t.category.notnull()).select("product_id", "category")
    bought = lines.inner_join(orders, "order_id").inner_join(products, "product_id")
    weighted = bought.group_by(["member_id", "category"]).agg(weight=bought.line_amount.sum())
    return _heaviest(weighted, "category", "favourite_category")


def _refunds(tables: Tables) -> ir.Table:
    refunds = tables.refunds.filter(lambda t: t.member_id.notnull())
    return refunds.group_by("member_id").agg(refund_amount=refunds.amount.sum())


def _interactions(tables: Tables) -> ir.Table:
    events = tables.interactions.filter(lambda t: t.member_id.notnull())
    within = {days: events.occurred_at >= ibis.literal(days_back(tables, days)) for days in EVENT_WINDOWS}
    points = events.quantity.abs().cast("decimal(18, 2)").fill_null(ibis.literal(0).cast("decimal(18, 2)"))
    gone = events.event.isin(["points_spent", "points_expired"])
    signed = ibis.cases((events.event == "points_earned", points), (gone, -points))
    grouped = events.group_by("member_id").agg(
        last_activity_at=events.occurred_at.max(where=events.event.isin(OWN_ACTIONS)),
        last_message_at=events.occurred_at.max(where=events.event == "sent"),
        last_complaint_at=events.occurred_at.max(where=events.event == "complaint"),
        points_balance=as_float(signed.sum()),
        coupons_held=_coupons(events),
        coupons_redeemed=events.count(where=events.event == "coupon_redeemed"),
        **{name: as_float(points.sum(where=events.event == event)) for name, (event, _, _) in POINTS.items()},
        **{name: events.count(where=events.event == event) for name, (event, _, _, _) in EVER_COUNTS.items()},
        **event_windows(events, within),
    )
    sent = grouped.messages_sent
    return grouped.mutate(
        # a message may be opened and clicked more than once
        message_open_rate=_share(ibis.least(grouped.messages_opened, sent), sent),
        message_click_rate=_share(ibis.least(grouped.messages_clicked, sent), sent),
    )


def _coupons(events: ir.Table) -> Any:
    gone = events.count(where=events.event.isin(["coupon_redeemed", "coupon_expired"]))
    return ibis.greatest(events.count(where=events.event == "coupon_issued") - gone, 0)


def _consents(tables: Tables) -> ir.Table:
    asked = tables.consents.filter(lambda t: t.channel.isin(["sms", "email"]))
    # of two changes at one instant the refusal counts: nobody knows which came last
    rank = ibis.row_number().over(
        group_by=[asked.member_id, asked.channel],
        order_by=[asked.changed_at.desc(), (asked.state == "granted").cast("int64").asc(), asked.state],
    )
    latest = asked.mutate(_rank=rank).filter(lambda t: t._rank == 0)
    expired = (latest.state == "granted") & (latest.expires_at <= ibis.literal(tables.instant)).fill_null(False)
    now = latest.mutate(state=expired.ifelse("expired", latest.state))
    states = {f"{channel}_consent": now.state.max(where=now.channel == channel) for channel in ("sms", "email")}
    return now.group_by("member_id").agg(**states)


def _members(tables: Tables) -> ir.Table:
    members = tables.members
    registered = (members.registered_at < ibis.literal(tables.instant)).ifelse(members.registered_at, ibis.null("timestamp(6)"))
    return members.select(
        "member_id", "person_id", "tier", "gender", "birth_year", "birth_month", "province", "city",
        registered_at=registered,
    )  # fmt: skip


_PARTS = {
    "orders": _orders, "order_lines": _lines, "refunds": _refunds, "interactions": _interactions, "consents": _consents,
    "members": _members,
}  # fmt: skip
