"""Text to values: what is read, what is refused, in which zone."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.config.sources import FieldSettings
from crm_core.ingest import casts

ENGINE = ibis.duckdb.connect()
NOW = datetime(2026, 11, 1)


def read(texts: list[str | None], zone: str = "Asia/Shanghai", fen: bool = False, **field: Any) -> list[tuple[Any, Any]]:
    """(value, problem) of each text."""
    setting = FieldSettings(heading="h", **field)
    table = ibis.memtable({"raw": texts}, schema={"raw": "string"})
    table = table.select(text=casts.cell(table.raw, ("NULL",)))
    local = casts.local_time(table.text, setting) if setting.type == "time" else None
    table = table.mutate(value=casts.typed(table.text, setting, ZoneInfo(zone), fen, local))
    now = ibis.literal(NOW).cast("timestamp(6)")
    fault = casts.fault(table.text, table.value, setting, now)
    textual = ibis.literal(setting.type in casts.TEXTS)
    problem = casts.sentence(fault, ibis.literal("h"), table.text, ibis.literal(setting.private), textual, ibis.literal(False))
    rows = ENGINE.to_pyarrow(table.select("value", problem=problem)).to_pylist()
    return [(row["value"], row["problem"]) for row in rows]


def value(text: str, **field: Any) -> Any:
    return read([text], **field)[0][0]


def problem(text: str, **field: Any) -> str:
    return read([text], **field)[0][1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-31 08:26:00", datetime(2026, 10, 31, 0, 26)),
        ("2026/10/31 8:26", datetime(2026, 10, 31, 0, 26)),
        ("2026-10-31", datetime(2026, 10, 30, 16)),
        ("2026-10-31T08:26:00.5", datetime(2026, 10, 31, 0, 26, 0, 500_000)),
        # DuckDB's own cast of text to TIMESTAMP would drop these offsets
        ("2026-10-31T08:26:00+08:00", datetime(2026, 10, 31, 0, 26)),
        ("2026-10-31 08:26:00Z", datetime(2026, 10, 31, 8, 26)),
        ("2026-10-31 08:26:00 -0800", datetime(2026, 10, 31, 16, 26)),
        ("2026/10/31 8:26 +08:00", datetime(2026, 10, 31, 0, 26)),
        ("2026-10-31T08:26Z", datetime(2026, 10, 31, 8, 26)),
        ("2026-10-31 08:26:00+05:30", datetime(2026, 10, 31, 2, 56)),
        ("　2026-10-31 08:26\t", datetime(2026, 10, 31, 0, 26)),
    ],
)
def test_a_time_is_local_to_the_source_unless_it_has_an_offset(text: str, expected: datetime) -> None:
    assert read([text], type="time") == [(expected, None)]


@pytest.mark.parametrize(
    "text",
    [
        "2026-13-45",
        "2026-02-30",
        "2026-10-31 24:00:00",
        "2026-10-31 08:60",
        "31.10.2026",
        "20261031",
        "昨天",
        "infinity",
        "epoch",
        "2026-10/31",
        "0000-00-00 00:00:00",
        "2026-10-31 08:26:00 PM",
        "45961.5",
    ],
)
def test_what_is_no_time_is_refused_with_the_text(text: str) -> None:
    assert read([text], type="time") == [(None, f"h: '{text}' is not a time, such as 2026-10-31 08:26:00")]


def test_a_zone_with_summer_time_is_followed() -> None:
    times = ["2026-03-29 00:30:00", "2026-07-01 00:00:00", "2026-12-01 00:00:00"]
    found = [item[0] for item in read(times, zone="Europe/London", type="time", future=True)]
    assert found == [datetime(2026, 3, 29, 0, 30), datetime(2026, 6, 30, 23), datetime(2026, 12, 1)]


def test_formats_replace_the_usual_ones() -> None:
    assert value("31.10.2026 08:26", type="time", formats=("%d.%m.%Y %H:%M",)) == datetime(2026, 10, 31, 0, 26)
    assert value("2026-10-31 08:26", type="time", formats=("%d.%m.%Y %H:%M",)) is None


def test_a_fact_of_the_future_is_refused_and_a_plan_is_not() -> None:
    assert problem("2026-11-01 08:00:01", type="time") == "h: '2026-11-01 08:00:01' lies in the future"
    assert problem("2026-11-01 08:00:00", type="time") is None
    assert problem("2026-12-24", type="time", future=True) is None


def test_a_date_stays_the_day_that_is_written() -> None:
    days = [item[0] for item in read(["1990-05-01", "1990/5/1", "1990-05-01 00:00:00", "1990-05-01 10:00"], type="date")]
    assert days == [date(1990, 5, 1)] * 3 + [None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1,234.50", "1234.50"), ("¥12", "12.00"), ("￥-3.1", "-3.10"), ("12元", "12.00"), ("12.340", "12.34"), ("0", "0.00")],
)
def test_money_may_have_a_sign_of_currency_and_thousands(text: str, expected: str) -> None:
    assert value(text, type="money") == Decimal(expected)


@pytest.mark.parametrize(
    "text", ["1.38E+10", "12.345", "12,34", "499.00（系统计算中，该值仅供参考）", "９", "1.2.3", "--1", "", "12 345", "0x10", "nan"]
)
def test_money_is_never_guessed(text: str) -> None:
    assert value(text, type="money") is None


def test_money_in_fen_is_moved_by_two_places_exactly() -> None:
    found = read(["1234567890123457", "-1", "12.0", "12.5"], type="money", fen=True)
    assert [item[0] for item in found] == [Decimal("12345678901234.57"), Decimal("-0.01"), Decimal("0.12"), None]
    prices = read(["12345", "922337204", "6901234567892", "1" * 18], type="price", fen=True)
    assert [item[0] for item in prices] == [Decimal("123.45"), Decimal("9223372.04"), Decimal("69012345678.92"), None]


def test_a_word_that_is_not_known_is_refused_with_the_known_ones() -> None:
    words = {"天猫": "tmall", "门店": "store", "-": None}
    assert read(["天猫", "-", "拼多多", None], values=words) == [
        ("tmall", None),
        (None, None),
        (None, "h: '拼多多' is not known (known: 天猫, 门店, -)"),
        (None, None),
    ]


def test_values_that_look_like_contacts_are_masked_wherever_they_stand() -> None:
    assert problem("13800138000", type="time") == "h: '138****8000' is not a time, such as 2026-10-31 08:26:00"
    assert problem("zhang@example.com", type="money") == "h: '***@***' is not an amount, such as 1,234.50"
    for text, shown in [
        ("138 0013 8001", "138****8001"), ("+86 138-0013-8002", "+86 138****8002"), ("x13800138009y", "x138****8009y"),
        ("１３８００１３８００６", "***"), ("1.3800138004E10", "***"), ("021-58881234", "021****1234"), ("张三丰", "张***"),
        ("张三 13812345678", "张***"), ("上海市浦东新区世纪大道100号", "上***"), ("Zhang Sanfeng", "Z***"), ("一百二", "一百二"),
        ("13800138000/13900139000,13700137000", "138****8000/139****9000,137****7000"), ("86 138.0013.8000", "86 138****8000"),
        ("8613800138000", "86138****8000"), ("138－0013－8000", "138****8000"), ("+44 7911 123456", "+44****"),
        ("021-65551234;021-65554321", "021****1234;021****4321"), ("415-555-2671", "415****2671"), ("90000123456", "90000123456"),
        ("yesterday", "yesterday"), ("昨天上午九点", "昨天上午九点"), ("31/10/2026 8:26", "31/10/2026 8:26"), ("¥12元", "¥12元"),
    ]:  # fmt: skip
        assert problem(text, type="flag") == f"h: '{shown}' is not a yes or no"
    assert "张三丰" not in problem("张三丰", type="integer", private=True)
    assert "10112345678" not in problem("10112345678x", type="integer", private=True)
    assert len(problem("长" * 500, type="integer")) < 120


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2))
@settings(max_examples=60, deadline=None)
def test_every_amount_that_is_written_is_read_back(amount: Decimal) -> None:
    assert read([str(amount), f"{amount:,}"], type="money") == [(amount, None)] * 2


@given(
    st.datetimes(min_value=datetime(1991, 6, 1), max_value=datetime(2026, 10, 1)),
    st.sampled_from(["Asia/Shanghai", "Europe/London", "America/New_York"]),
)
@settings(max_examples=60, deadline=None)
def test_every_local_time_is_what_python_says(moment: datetime, zone: str) -> None:
    moment = moment.replace(microsecond=0)
    expected = moment.replace(tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
    assert value(moment.strftime("%Y-%m-%d %H:%M:%S"), zone=zone, type="time") == expected


@given(st.text(max_size=20), st.sampled_from(["integer", "number", "money", "price", "time", "date", "flag"]))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused_and_never_stops_the_engine(text: str, kind: str) -> None:
    text = text.replace("\0", "")
    found, trouble = read([text], type=kind, future=True)[0]
    assert (found is None) or trouble is None
    assert not text.strip(casts.BLANKS) or text.strip(casts.BLANKS) == "NULL" or (found is None) == (trouble is not None)


def test_the_machine_s_own_zone_plays_no_part() -> None:
    code = (
        "from tests.ingest.test_casts import value, date, datetime\n"
        "assert value('2026-10-31 00:30', type='time') == datetime(2026, 10, 30, 16, 30)\n"
        "assert value('1990-05-01', type='date') == date(1990, 5, 1)\n"
    )
    environment = {**os.environ, "TZ": "America/New_York"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
