"""Watermarks: whatever loads are undone, everything below the mark is in the loads that remain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.config.databases import ExtractSettings
from crm_core.config.loader import parse_yaml
from crm_core.config.sources import SourceSettings
from crm_core.errors import InputError
from crm_core.ingest.watermark import Highest, Mark, beginning, chain
from tests.ingest.database_shop import SOURCE

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 1)


def number_mark(since: int | None, high: int) -> Mark:
    return Mark("f", "e", "number", "" if since is None else str(since), str(high))


@given(
    starts=st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=8),
    lengths=st.lists(st.integers(0, 20), min_size=8, max_size=8),
)
def test_below_the_mark_no_row_is_missing_from_the_live_loads(starts: list[int | None], lengths: list[int]) -> None:
    marks = [number_mark(start, (start or 0) + length) for start, length in zip(starts, lengths, strict=False)]
    read: set[int] = set()
    for start, mark in zip(starts, marks, strict=False):
        read |= set(range(-1 if start is None else start, int(mark.high) + 1))
    reached = chain(marks)
    if reached is None:
        assert None not in starts
    else:
        assert set(range(int(reached.high) + 1)) <= read
        # and no live load reaches further without a gap
        assert not any(m.since and int(m.since) <= int(reached.high) < int(m.high) for m in marks)


@pytest.mark.parametrize(
    ("kind", "high", "overlap", "expected"),
    [
        ("number", "19", "5", "14"),
        ("time", "2026-10-20T09:00:00", "2d", "2026-10-18T09:00:00"),
        ("instant", "2026-10-20T09:00:00+00:00", "36h", "2026-10-18T21:00:00+00:00"),
        ("date", "2026-10-20", "30h", "2026-10-18"),
        ("text", "2026-10-20 09:00:00.5", "90m", "2026-10-20 07:30:00"),
        ("text", "2026-10-20T09:00:00Z", "1s", "2026-10-20T08:59:59"),
        ("text", "2026-10-20T09:00", "30s", "2026-10-20T08:59"),
        ("text", "2026-10-20", "1d", "2026-10-19"),
    ],
)  # fmt: skip
def test_reading_begins_at_the_mark_less_the_overlap(kind: str, high: str, overlap: str, expected: str) -> None:
    settings = ExtractSettings(table="t", watermark="w", overlap=overlap)
    assert beginning(Mark("f", "e", kind, "", high), settings, "here") == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([datetime(2026, 10, 31, tzinfo=UTC), None], "2026-10-31T00:00:00+00:00"),
        ([datetime(2099, 1, 1, tzinfo=UTC), datetime(2026, 10, 6, tzinfo=UTC)], "2026-10-06T00:00:00+00:00"),
        ([datetime(2026, 11, 1, 8), datetime(2026, 11, 1, 9)], "2026-11-01T08:00:00"),  # the shop's clock is eight hours on
        (["2099-01-01T00:00:00Z", "2026-10-06T00:00:00Z"], "2026-10-06T00:00:00Z"),
        (["2026-11-01 08:00:00", "2026-11-01 08:00:01"], "2026-11-01 08:00:00"),
        (["2099-01-01", "2026-11-01"], "2026-11-01"),
        ([NOW.date() + timedelta(days=900), NOW.date()], "2026-11-01"),
        ([datetime(2099, 1, 1)], ""),
        ([3, None, 7], "7"),
        ([None], ""),
    ],
)
def test_the_highest_is_that_of_the_rows_that_are_not_later_than_the_present(values: list[object], expected: str) -> None:
    high = Highest(ExtractSettings(table="t", watermark="w"), NOW, ZONE, "here")
    high.see(values)
    assert high.text == expected


@pytest.mark.parametrize(
    "values", [["W1"], [True], [1.5], [1, "2026-10-31"], [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)]]
)
def test_what_cannot_be_a_watermark_is_refused_without_its_values(values: list[object]) -> None:
    high = Highest(ExtractSettings(table="t", watermark="w"), NOW, ZONE, "here")
    with pytest.raises(InputError, match="here: column 'w' cannot be a watermark") as caught:
        high.see(values)
    assert "W1" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("url_env: WEB_SHOP_URL", "url: postgresql://ann:s3cret@h/db", "setting 'url' is not known.*known: nightly, url_env"),
        ("url_env: WEB_SHOP_URL", "url_env: 'postgresql://ann:s3cret@h/db'", "line 5: setting 'database.url_env'"),
        ("table: shop_orders,", "table: shop_orders, query: select 1,", "give either `table` or `query`"),
        ("table: shop_orders,", "", "give either `table` or `query`"),
        ("table: shop_orders", "table: a.b.c", "feeds.orders.extract.table"),
        (">= :since", ">= :sinze", "may use :since and :until only, found :sinze"),
        (">= :since", ">= 0", "a query with a watermark must use :since"),
        ("      watermark: changed_no\n", "", "needs `watermark`"),
        ("overlap: 2d", "overlap: 2 weeks", "feeds.orders.extract.overlap"),
        ("database: {url_env: WEB_SHOP_URL, nightly: true}\n", "", "feed 'orders' has `extract`, but the source no"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_one_clear_error_without_the_password(old: str, new: str, message: str) -> None:
    assert old in SOURCE
    with pytest.raises(InputError, match=message) as caught:
        parse_yaml(SOURCE.replace(old, new, 1), SourceSettings, "conf/sources/web_shop.yml")
    assert "s3cret" not in str(caught.value)
