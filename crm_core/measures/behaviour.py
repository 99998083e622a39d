"""What conditions of segments and tags may ask beyond the features: events, stored segments, random buckets.

    times('cart_add', 30)                    how often within the last 30 local days; times('cart_add'): ever
    did('cart_add', 3, 30)                   at least 3 times within 30 days; did('order'): ever once
    did_not('order', 90)                     not once within 90 days
    in_segment('rfm:at_risk')                in that segment on the same day
    in_segment('rfm:at_risk', '2026-10-01')  in that segment as it was stored for that day
    bucket('autumn', 10) == 3                a random tenth: the salted hash of member_id, 0 … 9

An event is a word of the vocabulary `event`, or 'order' for a paid order. Where interactions (or orders) were never
supplied, `times` is unknown, and so neither did() nor did_not() holds: nobody is said not to have done what nobody
recorded. `prepare` adds the columns that a set of conditions needs, in one pass over interactions, one over paid
orders and one per stored day, however many conditions ask; `functions` is what the expression language calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir

from crm_core.errors import InputError, unknown
from crm_core.measures.feature_list import FEATURES
from crm_core.measures.features import beside
from crm_core.measures.rfm import days_back
from crm_core.schema.expressions import LOCAL_DAY, ArgumentError, Function, calls_in
from crm_core.schema.vocabulary import EVENT
from crm_core.store.clock import local_time
from crm_core.store.hashing import salted_bucket

if TYPE_CHECKING:
    from crm_core.store import Tables

ORDER = "order"
MOST_BUCKETS = 10_000
REFERENCE = re.compile(r"[a-z][a-z0-9_]*:[a-z0-9][a-z0-9_]*")
EVENT_ZH = {
    ORDER: "付款下单", "visit": "访问", "register": "注册", "login": "登录", "browse": "浏览", "search": "搜索",
    "favourite": "收藏", "consult": "咨询", "cart_add": "加购", "check_in": "签到", "share": "分享", "referral": "邀请",
    "game": "游戏", "points_earned": "获得积分", "points_spent": "使用积分", "points_expired": "积分过期",
    "coupon_issued": "领券", "coupon_redeemed": "用券", "coupon_expired": "券过期", "tier_changed": "等级变动",
    "benefit_used": "使用权益", "complaint": "投诉", "suggestion": "建议", "praise": "表扬", "question": "提问",
    "return_request": "申请退货", "follow_up": "跟进", "call": "通话", "care": "关怀", "case_closed": "工单关闭",
    "sent": "收到消息", "delivered": "消息送达", "failed": "发送失败", "opened": "打开消息", "clicked": "点击消息",
    "replied": "回复消息", "unsubscribed": "退订",
}  # fmt: skip
NAMES: dict[str, tuple[str, str]] = {
    **{name: (feature.zh, feature.en) for name, feature in FEATURES.items()},
    **{event: (EVENT_ZH[event], event.replace("_", " ")) for event in (ORDER, *EVENT)},
}
"""Features and events in words (zh, en), for `schema.expression_words.in_words`."""
Asked = tuple[str, str]
"""(place for errors, expression)."""


def prepare(
    table: ir.Table,
    texts: Iterable[Asked],
    tables: Tables | None = None,
    *,
    today: ir.Table | None = None,
    known: Collection[str] = (),
) -> ir.Table:
    """`table` (one row per member) with the columns that the conditions `texts` need beyond its own.

    `tables` gives events and stored segments; None (a check before there are data) makes their columns unknown. `today`:
    member_id, scheme, segment of the same day, for in_segment() without a date. `known`: the segments that conf defines,
    which may have been empty on a day. InputError when a text cannot be read or a day has no stored segments, UnknownName
    for a segment that neither conf nor the day knows.
    """
    asked = list(texts)
    counts = {key for place, text in asked for key in _counted(text, place)}
    references = {key: place for place, text in asked for key in _referred(text, place)}
    joined = table
    if tables is not None:
        joined = table.mutate(**{_local(name): local_time(table[name], tables.zone) for name in _times(table)})
    for orders in (True, False):
        keys = sorted(key for key in counts if (key[0] == ORDER) == orders)
        if keys:
            joined = _with_counts(joined, keys, tables, ORDER + "s" if orders else "interactions")
    for day in sorted({day for _, day in references}):
        wanted = {reference: place for (reference, on), place in references.items() if on == day}
        joined = _with_segments(joined, wanted, day, tables, today, known)
    return joined


def functions(table: ir.Table, today: Callable[[str], Any] | None = None) -> Mapping[str, Function]:
    """The functions of the module's docstring over a table from `prepare`; `today` gives the condition of a segment of the
    same day where it can be worked out from `table` itself.
    """

    def times(event: Any, days: Any = None) -> Any:
        return table[_count_column(*_count_key(event, days))]

    def did(event: Any, least: Any = 1, days: Any = None) -> Any:
        return times(event, days) >= _positive(least, "the number of times")

    def did_not(event: Any, days: Any = None) -> Any:
        return times(event, days) == 0

    def in_segment(reference: Any, day: Any = None) -> Any:
        key = _segment_key(reference, day)
        return today(key[0]) if today and not key[1] else table[_segment_column(*key)]

    def bucket(salt: Any, buckets: Any) -> Any:
        if not isinstance(salt, str):
            raise ArgumentError("takes a salt in quotes and a number of buckets, like bucket('autumn', 10)")
        return salted_bucket(table.member_id, salt, _positive(buckets, "the number of buckets", MOST_BUCKETS))

    def local_day(time: Any) -> Any:
        local = {table[name].op(): table[_local(name)].op() for name in _times(table) if _local(name) in table.columns}
        return time.op().replace(local).to_expr().date()

    called: dict[str, Function] = {"times": times, "did": did, "did_not": did_not, "in_segment": in_segment, "bucket": bucket}
    return {**called, LOCAL_DAY: local_day}


def _times(table: ir.Table) -> list[str]:
    return [name for name, kind in table.schema().items() if kind.is_timestamp() and not name.startswith(_local(""))]


def _local(name: str) -> str:
    return f"_local_{name}"


def segments_of_today(text: str, place: str) -> list[str]:
    """The segments of the same day that `text` refers to, as 'scheme:segment'."""
    return [reference for reference, day in _referred(text, place) if not day]


def days_asked(texts: Iterable[Asked]) -> set[date]:
    """The days whose stored segments the conditions `texts` refer to."""
    return {date.fromisoformat(day) for place, text in texts for _, day in _referred(text, place) if day}


def _counted(text: str, place: str) -> list[tuple[str, int]]:
    """(event, days) of each call; 0 days: ever."""
    found: list[tuple[str, int]] = []
    with _told(place, text):
        found += [_count_key(*arguments) for arguments in calls_in(text, "times", place)]
        found += [_count_key(*arguments) for arguments in calls_in(text, "did_not", place)]
        found += [_count_key(*arguments[:1], *arguments[2:]) for arguments in calls_in(text, "did", place)]
    return found


def _referred(text: str, place: str) -> list[tuple[str, str]]:
    """(reference, ISO day or '') of each in_segment()."""
    with _told(place, text):
        return [_segment_key(*arguments) for arguments in calls_in(text, "in_segment", place)]


@contextmanager
def _told(place: str, text: str) -> Iterator[None]:
    """Turns what is wrong with arguments into an InputError with the place."""
    try:
        yield
    except (ArgumentError, TypeError) as error:
        reason = str(error) if isinstance(error, ArgumentError) else "a function has too many or too few arguments"
        raise InputError(f"{place}: {reason} (in '{text.strip()}')") from None


def _count_key(event: Any, days: Any = None) -> tuple[str, int]:
    if not isinstance(event, str) or event not in (ORDER, *EVENT):
        raise ArgumentError(str(unknown("event", str(event), (ORDER, *EVENT))))
    return event, 0 if days is None else _positive(days, "the number of days")


def _positive(value: Any, what: str, most: int = 100_000) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ArgumentError(f"{what} must be a whole number from 1 to {most:,}, written out")
    return value


def _segment_key(reference: Any, day: Any = None) -> tuple[str, str]:
    if not isinstance(reference, str) or not REFERENCE.fullmatch(reference):
        raise ArgumentError("a segment is written 'scheme:segment', like 'rfm:at_risk' or 'rule:one_order_only'")
    try:
        return reference, "" if day is None else date.fromisoformat(day).isoformat()
    except (ValueError, TypeError):
        raise ArgumentError("a day is written like '2026-10-31'") from None


def _count_column(event: str, days: int) -> str:
    return f"_times {event} {days}"


def _segment_column(reference: str, day: str) -> str:
    return f"_in {reference} {day}"


def _with_counts(table: ir.Table, keys: list[tuple[str, int]], tables: Tables | None, source: str) -> ir.Table:
    if tables is None or not tables.supplied(source):
        return table.mutate(**{_count_column(*key): ibis.null("int64") for key in keys})
    if source == "orders":
        rows = tables.paid_orders.select("member_id", at="paid_at", event=ibis.literal(ORDER))
    else:
        rows = tables.interactions.select("member_id", "event", at="occurred_at")
    rows = rows.filter(rows.member_id.notnull(), rows.event.isin(sorted({event for event, _ in keys})))
    if all(days for _, days in keys):
        rows = rows.filter(rows.at >= ibis.literal(days_back(tables, max(days for _, days in keys))))
    counted = rows.group_by("member_id").agg(
        **{_count_column(event, days): rows.count(where=_within(rows, event, days, tables)) for event, days in keys}
    )
    joined = beside(table, counted)
    return joined.mutate(**{name: joined[name].fill_null(0) for name in (_count_column(*key) for key in keys)})


def _within(rows: ir.Table, event: str, days: int, tables: Tables) -> Any:
    same = rows.event == event
    return same & (rows.at >= ibis.literal(days_back(tables, days))) if days else same


def _with_segments(
    table: ir.Table, wanted: dict[str, str], day: str, tables: Tables | None, today: ir.Table | None, known: Collection[str]
) -> ir.Table:
    for reference, place in wanted.items():
        if known and not day and reference not in known:
            raise unknown("segment", reference, known, place)
    # what a day to come will say is not known, so that a rule with a date can be asked of earlier days
    if tables is None or (not day and today is None) or (day and date.fromisoformat(day) >= tables.as_of):
        return table.mutate(**{_segment_column(reference, day): ibis.null("boolean") for reference in wanted})
    rows = today if not day else _stored(wanted, date.fromisoformat(day), tables, known)
    assert rows is not None
    name = rows.scheme + ":" + rows.segment
    chosen = rows.filter(name.isin(sorted(wanted)))
    member_of = chosen.scheme + ":" + chosen.segment
    flags = chosen.group_by("member_id").agg(
        **{_segment_column(reference, day): (member_of == reference).any() for reference in wanted}
    )
    joined = beside(table, flags)
    return joined.mutate(**{column: joined[column].fill_null(False) for column in flags.columns if column != "member_id"})


def _stored(wanted: dict[str, str], day: date, tables: Tables, known: Collection[str]) -> ir.Table:
    stored = tables.result_dates("member_segments")
    if day not in stored:
        shown = ", ".join(map(str, stored[-5:])) or "none"
        raise InputError(
            f"{next(iter(wanted.values()))}: no segments are stored for {day} (up to {tables.as_of}); stored: {shown}; "
            f"work them out with: crm run --as-of {day}"
        )
    rows = tables.result("member_segments", day).select("member_id", "scheme", "segment")
    if not set(wanted) <= set(known):
        names = rows.select("scheme", "segment").distinct().to_pyarrow().to_pylist()
        there = {f"{row['scheme']}:{row['segment']}" for row in names}
        for reference, place in wanted.items():
            if reference not in there and reference not in known:
                raise unknown("segment", reference, {*there, *known}, f"{place}, on {day}")
    return rows
