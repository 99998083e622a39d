"""Local time in the engine, against zoneinfo."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.store import day_end, local_date, local_time, utc_time

ZONES = ("Asia/Shanghai", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC")
MOMENTS = st.lists(st.datetimes(datetime(1990, 1, 2), datetime(2044, 12, 30)), min_size=20, max_size=60)


def column(moments: list[datetime]) -> Any:
    return ibis.memtable(pa.table({"n": list(range(len(moments))), "at": pa.array(moments, pa.timestamp("us"))}))


def results(engine: Any, table: Any, value: Any) -> list[Any]:
    return engine.to_pyarrow(table.select("n", value=value).order_by("n"))["value"].to_pylist()


@pytest.mark.parametrize("name", ZONES)
@settings(max_examples=8, deadline=None)
@given(moments=MOMENTS)
def test_local_time_is_what_zoneinfo_says(engine: Any, name: str, moments: list[datetime]) -> None:
    zone, table = ZoneInfo(name), column(moments)
    expected = [moment.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) for moment in moments]
    assert results(engine, table, local_time(table.at, zone)) == expected
    assert results(engine, table, local_date(table.at, zone)) == [moment.date() for moment in expected]


@pytest.mark.parametrize("name", ZONES)
@settings(max_examples=8, deadline=None)
@given(moments=MOMENTS)
def test_utc_time_is_what_zoneinfo_says_for_the_first_of_two_equal_hours(engine: Any, name: str, moments: list[datetime]) -> None:
    zone, table = ZoneInfo(name), column(moments)
    expected = [moment.replace(tzinfo=zone, fold=0).astimezone(UTC).replace(tzinfo=None) for moment in moments]
    assert results(engine, table, utc_time(table.at, zone)) == expected


@pytest.mark.parametrize("name", ["America/New_York", "Europe/London", "Australia/Lord_Howe"])
def test_the_hours_around_each_change_of_the_clock_are_right_to_the_second(engine: Any, name: str) -> None:
    from crm_core.store.clock import _offsets

    zone = ZoneInfo(name)
    near = [start for start, _ in _offsets(name)[60:80]]
    moments = [
        start + timedelta(seconds=step) for start in near for step in (-7200, -3601, -3600, -1800, -1, 0, 1, 1799, 3599, 3600, 7200)
    ]
    table = column(moments)
    local = [moment.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None, fold=0) for moment in moments]
    assert results(engine, table, local_time(table.at, zone)) == local
    back = column(local)
    expected = [moment.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None) for moment in local]
    assert results(engine, back, utc_time(back.at, zone)) == expected


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("Asia/Shanghai", date(2026, 10, 31), datetime(2026, 10, 31, 16)),
        ("UTC", date(2026, 10, 31), datetime(2026, 11, 1)),
        ("America/New_York", date(2026, 3, 8), datetime(2026, 3, 9, 4)),
        ("America/New_York", date(2026, 11, 1), datetime(2026, 11, 2, 5)),
    ],
)
def test_a_local_day_ends_where_the_next_one_begins(zone: str, day: date, end: datetime) -> None:
    assert day_end(day, ZoneInfo(zone)) == end
