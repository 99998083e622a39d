"""`violations` names what is wrong with each row, and only with those."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.schema import TABLES, violations

NOON = datetime(2026, 10, 31, 12)
LOADED = {"load_id": "l1", "recorded_at": NOON}
MONEY = st.decimals(Decimal("0"), Decimal("9999.99"), places=2)


def order(order_id: str | None = "a", **more: Any) -> dict[str, Any]:
    amounts = {"gross_amount": Decimal("12.00"), "discount_amount": Decimal("2.00"), "shipping_amount": Decimal("0.50")}
    return {"order_id": order_id, "ordered_at": NOON, **amounts, "net_amount": Decimal("10.50"), **LOADED, **more}


def found(name: str, *rows: dict[str, Any], drop: str = "") -> list[str | None]:
    schema = TABLES[name]
    fields = ibis.schema(schema.types()).to_pyarrow()
    columns = {f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in fields if f.name != drop}
    table = ibis.memtable(pa.table({**columns, "_n": list(range(len(rows)))}))
    return table.select("_n", wrong=violations(table, schema)).order_by("_n").to_pyarrow()["wrong"].to_pylist()


def test_a_clean_table_has_none() -> None:
    assert found("orders", order("a"), order("b", review_score=5.0, channel="tmall", currency="CNY")) == [None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order_id": None}, "orders.order_id: is empty; "),
        ({"ordered_at": None}, "orders.ordered_at: is empty; "),
        ({"load_id": None}, "orders.load_id: is empty; "),
        ({"channel": "smz"}, "orders.channel: not one of store, factory, distributor"),
        ({"net_amount": Decimal("10.51")}, "orders: net = gross − discount + shipping; "),
        ({"review_score": 6.0}, "orders: review_score is 1–5; "),
        ({"discount_amount": Decimal("-1.00"), "net_amount": Decimal("13.50")}, "orders: discount is not negative; "),
    ],
)
def test_a_broken_rule_is_named_on_its_row_and_on_no_other(change: dict[str, Any], message: str) -> None:
    result = found("orders", order("a"), order("b") | change, order("c"))
    assert result[0] is None and result[2] is None
    assert result[1] is not None and result[1].startswith(message)


def test_a_row_with_several_faults_names_each() -> None:
    wrong = found("orders", order(None, channel="x", status="y", review_score=9.0))[0]
    assert wrong is not None and wrong.count(";") == 4


@settings(max_examples=30, deadline=None)
@given(gross=MONEY, discount=MONEY, shipping=MONEY, off=st.sampled_from([Decimal("0"), Decimal("0.01"), Decimal("-0.01")]))
def test_the_sum_of_an_order_is_checked_to_the_cent(gross: Decimal, discount: Decimal, shipping: Decimal, off: Decimal) -> None:
    amounts = {"gross_amount": gross, "discount_amount": discount, "shipping_amount": shipping}
    wrong = found("orders", order(net_amount=gross - discount + shipping + off, **amounts))[0]
    assert (wrong is None) == (off == 0)


def test_a_rule_that_cannot_be_decided_for_want_of_an_optional_value_holds() -> None:
    start = {"campaign_id": "c", "starts_at": NOON, **LOADED}
    late = start | {"ends_at": datetime(2026, 1, 1)}
    assert found("campaigns", start, start | {"ends_at": NOON}, late) == [None, None, "campaigns: ends after it starts; "]


def test_birth_dates_and_genders_out_of_range_are_named() -> None:
    member = {"member_id": "m", **LOADED}
    result = found("members", member, member | {"birth_month": 13}, member | {"birth_year": 26}, member | {"gender": "F"})
    assert result == [
        None,
        "members: birth_month is 1–12; ",
        "members: birth_year is 1900–2100; ",
        "members.gender: not one of female, male, other; ",
    ]


def test_the_failing_keys_come_from_one_filter() -> None:
    fields = ibis.schema(TABLES["orders"].types()).to_pyarrow()
    rows = [order(f"o{n}", net_amount=Decimal("10.50") + (n % 7 == 0)) for n in range(100)]
    table = ibis.memtable(pa.table({f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in fields}))
    bad = table.filter(violations(table, TABLES["orders"]).notnull()).order_by("order_id").order_id.to_pyarrow()
    assert sorted(bad.to_pylist()) == sorted(f"o{n}" for n in range(0, 100, 7))


@pytest.mark.parametrize("name", list(TABLES))
def test_every_table_can_be_checked_also_without_rows(name: str) -> None:
    assert found(name) == []


def test_columns_that_a_table_does_not_have_are_not_checked() -> None:
    assert found("orders", order("a"), drop="channel") == [None]
