"""Hashes of rows and tables, and the way from decimals to floats."""

from __future__ import annotations

import random
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.store import as_float, row_hash, salted_order, table_hash

SCHEMA = pa.schema(
    {"k": pa.string(), "n": pa.int64(), "x": pa.float64(), "d": pa.decimal128(18, 2), "t": pa.timestamp("us"),
     "day": pa.date32(), "flag": pa.bool_()}
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=5)
ROW = st.fixed_dictionaries(
    {
        "k": st.none() | TEXT,
        "n": st.none() | st.integers(-(2**40), 2**40),
        "x": st.none() | st.integers(-(10**6), 10**6).map(lambda n: n / 64),
        "d": st.none() | st.decimals(Decimal("-9999.99"), Decimal("9999.99"), places=2),
        "t": st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)),
        "day": st.none() | st.dates(date(1950, 1, 1), date(2100, 1, 1)),
        "flag": st.none() | st.booleans(),
    }
)


def hash_of(rows: list[dict[str, Any]], columns: list[str] | None = None) -> str:
    return table_hash(ibis.memtable(pa.Table.from_pylist(rows, schema=SCHEMA)), columns)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(ROW, max_size=30), seed=st.integers())
def test_the_order_of_rows_and_columns_does_not_matter(rows: list[dict[str, Any]], seed: int) -> None:
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert hash_of(rows) == hash_of(shuffled) == hash_of(rows, list(reversed(SCHEMA.names)))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=5), other=ROW, column=st.sampled_from(SCHEMA.names), data=st.data())
def test_one_changed_cell_changes_the_hash(
    rows: list[dict[str, Any]], other: dict[str, Any], column: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    changed = [{**row, column: other[column]} if index == at else row for index, row in enumerate(rows)]
    assert (hash_of(rows) == hash_of(changed)) == (rows[at][column] == other[column])


def test_null_is_not_empty_text_and_a_row_more_is_a_difference() -> None:
    row = dict.fromkeys(SCHEMA.names)
    assert len({hash_of([row]), hash_of([{**row, "k": ""}]), hash_of([row, row]), hash_of([])}) == 4


def test_a_timestamp_counts_to_the_microsecond_and_does_not_depend_on_its_declared_precision() -> None:
    def of(moment: datetime, unit: str) -> str:
        table = ibis.memtable(pa.table({"t": pa.array([moment], pa.timestamp(unit))}))
        return table.select(h=row_hash(table, ["t"])).to_pyarrow()["h"][0].as_py()

    whole = datetime(2026, 10, 31, 16)
    assert of(whole, "us") == of(whole, "s") == of(whole, "ms")
    assert of(whole, "us") != of(whole.replace(microsecond=1), "us")


def test_floats_are_compared_to_nine_decimals_and_those_that_no_decimal_holds_still_count() -> None:
    def of(number: float) -> str:
        return hash_of([{**dict.fromkeys(SCHEMA.names), "x": number}])

    assert of(0.1 + 0.2) == of(0.3)
    assert len({of(float("inf")), of(float("-inf")), of(float("nan")), of(1e30), of(2e30), of(0.0)}) == 6


def test_the_salt_decides_the_order_and_nothing_else_does() -> None:
    table = ibis.memtable(pa.table({"k": [f"m{number}" for number in range(50)]}))

    def order(salt: str) -> list[str]:
        return table.mutate(o=salted_order(table.k, salt)).order_by("o").to_pyarrow()["k"].to_pylist()

    assert order("a") == order("a") != order("b")
    assert sorted(order("a")) == sorted(order("b"))


def test_the_mean_of_money_is_taken_in_floats_because_that_of_decimals_is_wrong() -> None:
    money = pa.array([Decimal("0.01"), Decimal("0.02"), Decimal("0.02")], pa.decimal128(18, 2))
    table = ibis.memtable(pa.table({"amount": money}))
    assert as_float(table.amount).mean().to_pyarrow().as_py() == pytest.approx(0.05 / 3)
    # the trap itself; when ibis mends it, as_float is no longer needed here
    assert float(table.amount.mean().to_pyarrow().as_py()) != pytest.approx(0.05 / 3)
