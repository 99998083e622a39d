"""What conditions may ask beyond the features: events, stored segments, buckets."""

from __future__ import annotations

import hashlib
from datetime import date

import ibis
import pyarrow as pa
import pytest

from crm_core.errors import InputError, UnknownName
from crm_core.measures import days_asked, functions, prepare
from crm_core.schema.expressions import condition
from tests.tiny_world import moment, order, world

IDS = ["a", "b", "c"]


def event(number: int, member_id: str, occurred_at: str, what: str) -> dict:
    return {"event_id": str(number), "member_id": member_id, "occurred_at": moment(occurred_at), "event": what}


EVENTS = [
    event(1, "a", "2026-10-30", "cart_add"),
    event(2, "a", "2026-10-02 16:00", "cart_add"),  # the first instant of the last 29 local days
    event(3, "a", "2026-10-02 15:59", "cart_add"),
    event(4, "b", "2026-10-31", "visit"),
    event(5, "b", "2026-11-01", "cart_add"),  # after the day
    event(6, None, "2026-10-30", "cart_add"),
]
TABLES = world(interactions=EVENTS, orders=[order("1", "a", "2026-10-01"), order("2", "b", None)])
SEGMENTS = ibis.memtable(
    pa.table({"member_id": ["a", "b", "c"], "scheme": ["rfm", "rfm", "rule"], "segment": ["lost", "new", "x"]})
)


def stored(name, day=None):
    return SEGMENTS if day == date(2026, 10, 1) else SEGMENTS.limit(0)


TABLES.result, TABLES.result_dates = stored, lambda name: [date(2026, 9, 1), date(2026, 10, 1)]


def held(text, tables=TABLES, **more):
    members = ibis.memtable({"member_id": IDS})
    table = prepare(members, [("rule 'x'", text)], tables, **more)
    chosen = table.filter(condition(text, table, where="rule 'x'", functions=functions(table)))
    return sorted(chosen.to_pyarrow()["member_id"].to_pylist())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("did('cart_add', 2, 29)", ["a"]),
        ("did('cart_add', 3, 29)", []),
        ("did('cart_add', 3, 30)", ["a"]),
        ("did('cart_add', 3)", ["a"]),
        ("did('visit')", ["b"]),
        ("did_not('cart_add', 30)", ["b", "c"]),
        ("times('cart_add', 1) == 0 and did('visit', 1, 1)", ["b"]),
        ("did('order')", ["a"]),
        ("did_not('order', 30)", ["a", "b", "c"]),
        ("did_not('order', 31)", ["b", "c"]),
        ("in_segment('rfm:lost', '2026-10-01') or in_segment('rule:x', '2026-10-01')", ["a", "c"]),
        ("not in_segment('rfm:lost', '2026-10-01')", ["b", "c"]),
    ],
)
def test_events_and_stored_segments_are_asked_for_in_local_days(text, expected):
    assert held(text) == expected


def test_nobody_is_said_not_to_have_done_what_nobody_recorded():
    unknown = world(orders=[order("1", "a", "2026-10-01")])
    assert held("did_not('visit')", unknown) == held("did('visit')", unknown) == []
    assert held("did_not('order')", unknown) == ["b", "c"]


def test_a_bucket_is_the_salted_hash_of_the_member():
    def by_hand(salt, member_id, buckets):
        return int(hashlib.md5(f"{salt}\x1f{member_id}".encode()).hexdigest()[:7], 16) % buckets

    for at in range(3):
        assert held(f"bucket('盐', 3) == {at}") == [one for one in IDS if by_hand("盐", one, 3) == at]


def test_buckets_are_of_equal_size_and_another_salt_draws_anew():
    members = ibis.memtable({"member_id": [f"m{n}" for n in range(5000)]})
    draw = functions(members)["bucket"]
    rows = members.select(one=draw("a", 10), two=draw("b", 10)).to_pandas()
    sizes = rows["one"].value_counts()
    assert len(sizes) == 10 and sizes.min() > 410 and sizes.max() < 590  # 500 ± four standard deviations
    both = (rows["one"] == rows["two"]).mean()
    assert 0.08 < both < 0.12


def test_segments_of_the_same_day_come_from_the_caller():
    assert held("in_segment('rule:x') and did_not('visit')", today=SEGMENTS) == ["c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("did('cart_ad', 3, 30)", "event 'cart_ad' is not known; did you mean 'cart_add'"),
        ("did('visit', 0)", "whole number from 1"),
        ("did_not('visit', 1.5)", "whole number from 1"),
        ("did('visit', 1, 2, 3)", "too many"),
        ("in_segment('lost')", "written 'scheme:segment'"),
        ("in_segment('rfm:lost', '1.10.2026')", "written like '2026-10-31'"),
        ("in_segment('rfm:lost', '2026-10-02')", "no segments are stored for 2026-10-02.*stored: 2026-09-01, 2026-10-01"),
        ("in_segment('rfm:lsot', '2026-10-01')", "segment 'rfm:lsot' is not known in rule 'x'.*did you mean 'rfm:lost'"),
        ("bucket(3, 10) == 1", "takes a salt in quotes"),
        ("bucket('a', 0) == 1", "number of buckets must be a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused_with_place_and_advice(text, message):
    with pytest.raises(InputError, match=message) as caught:
        held(text)
    assert "rule 'x'" in str(caught.value)


def test_a_segment_that_conf_knows_may_be_empty_on_a_day_and_others_are_unknown():
    assert held("in_segment('rfm:champions', '2026-10-01')", known=["rfm:champions"]) == []
    with pytest.raises(UnknownName, match="did you mean 'rfm:champions'"):
        held("in_segment('rfm:champion')", known=["rfm:champions"], today=SEGMENTS)


@pytest.mark.parametrize("day", ["2026-10-31", "2026-12-01"])
def test_what_a_day_to_come_will_say_is_unknown(day):
    assert held(f"in_segment('rfm:lost', '{day}') or not in_segment('rfm:lost', '{day}')") == []
    assert days_asked([("x", f"in_segment('rfm:lost', '{day}') and in_segment('rule:x')")]) == {date.fromisoformat(day)}


def test_before_there_are_data_everything_is_unknown():
    assert held("did_not('visit') or in_segment('rfm:lost', '2000-01-01')", None) == []
