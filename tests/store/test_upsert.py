"""Current tables and versions: any order, split or repetition gives the same tables, and undo is exact."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.errors import UnknownName
from crm_core.schema import TABLES
from crm_core.store import Lake, UndoCounts, UpsertCounts, delta, table_hash
from crm_core.store.lake import content_columns
from tests.conftest import few
from tests.store.lakes import content_hash, listed, load, open_lake, order, rows_of

# few keys, months and times, so that corrections, ties, repetitions and moves across months are common
ORDER = st.builds(
    lambda key, month, day, net: order(key, f"2026-{month:02}-10", f"2026-06-{day:02}", f"{net}.00"),
    st.sampled_from("abc"), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2),
)  # fmt: skip
MEMBER = st.builds(
    lambda key, day, tier: {"member_id": key, "tier": tier, "_effective_at": datetime(2026, 6, day)},
    st.sampled_from("abc"), st.integers(1, 3), st.sampled_from(["gold", "silver", None]),
)  # fmt: skip
IDENTITY = st.builds(
    lambda key, day: {
        "id_kind": "phone", "id_value_hash": key, "member_id": "m",
        "first_seen_at": datetime(2026, 6, day), "_effective_at": datetime(2026, 6, day),
    },
    st.sampled_from("abc"), st.integers(1, 9),
)  # fmt: skip
LINE = st.builds(
    lambda key, line, month, day, quantity: {
        "order_id": key, "line_no": line, "ordered_at": datetime(2026, month, 10), "quantity": float(quantity),
        "_effective_at": datetime(2026, 6, day),
    },
    st.sampled_from("ab"), st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2),
)  # fmt: skip
REFUND = st.builds(
    lambda key, day, amount, reason: {
        "refund_id": key, "refunded_at": datetime(2026, 6, day), "amount": Decimal(amount), "reason": reason,
        "_effective_at": datetime(2026, 6, day),
    },
    st.sampled_from("ab"), st.integers(1, 2), st.integers(1, 3), st.sampled_from(["late", "broken"]),
)  # fmt: skip
KINDS = {"orders": ORDER, "members": MEMBER, "identities": IDENTITY, "order_lines": LINE, "refunds": REFUND}


@contextmanager
def fresh(engine: Any) -> Iterator[Lake]:
    with tempfile.TemporaryDirectory() as folder:
        lake = open_lake(Path(folder), engine)
        yield lake
        lake.ledger.engine.dispose()


def take_in(lake: Lake, load_id: str, rows: dict[str, list[Any]]) -> None:
    """One load of several tables."""
    with lake.write(f"load {load_id}") as writer:
        for name, listed_rows in rows.items():
            writer.upsert(name, rows_of(name, listed_rows), load_id=load_id)


def take_back(lake: Lake, load_id: str) -> None:
    """The undoing of one load."""
    with lake.write(f"undo {load_id}") as writer:
        for name in KINDS:
            writer.forget(name, load_id)


def said(lake: Lake) -> dict[str, tuple[str, str]]:
    """Hashes of the current tables and of what their versions say, for each table; loads and times of recording aside."""
    hashes = {}
    for name in KINDS:
        columns = [*content_columns(TABLES[name]), "_effective_at"]
        current, versions = (lake.table(each).select(columns) for each in (name, f"{name}_versions"))
        hashes[name] = table_hash(current), table_hash(versions.distinct())
    return hashes


@settings(max_examples=few(6), deadline=None)
@given(data=st.data())
def test_any_history_of_loads_and_undoing_is_worth_what_the_remaining_rows_say_at_once(engine: Any, data: st.DataObject) -> None:
    pool = {name: data.draw(st.lists(kind, min_size=1, max_size=6), name) for name, kind in KINDS.items()}
    parts = st.fixed_dictionaries({name: st.lists(st.sampled_from(rows), max_size=5) for name, rows in pool.items()})
    live: dict[str, dict[str, list[Any]]] = {}
    gone: list[dict[str, list[Any]]] = []
    with fresh(engine) as lake, fresh(engine) as whole:
        for number, rows in enumerate(data.draw(st.lists(parts, min_size=1, max_size=4), "loads")):
            take_in(lake, f"l{number}", rows)
            live[f"l{number}"] = rows
            if data.draw(st.booleans(), "undo one"):
                load_id = data.draw(st.sampled_from(sorted(live)))
                take_back(lake, load_id)
                gone.append(live.pop(load_id))
            if data.draw(st.booleans(), "compact"):
                lake.compact()
        if gone and data.draw(st.booleans(), "load again"):
            take_in(lake, "again", gone[-1])
            live["again"] = gone[-1]
        take_in(whole, "all", {name: [row for rows in live.values() for row in rows[name]] for name in KINDS})
        assert said(lake) == said(whole)
        for name in KINDS:
            keys = listed(lake.table(name), *TABLES[name].key)
            assert len(keys) == len(set(keys)), name


def test_the_latest_statement_of_the_source_is_current_whenever_it_was_loaded(lake: Lake) -> None:
    load(lake, "new", "orders", [order("a", "2026-03-05", "2026-06-02", "20.00")])
    counts = load(lake, "old", "orders", [order("a", "2026-01-05", "2026-06-01", "10.00")])
    assert counts == UpsertCounts(inserted=0, updated=0, unchanged=1, conflicts=0)
    assert listed(lake.table("orders"), "order_id", "load_id") == [("a", "new")]
    assert len(listed(lake.table("orders_versions"))) == 2


def test_a_corrected_order_date_moves_the_order_to_its_month_and_leaves_none_behind(lake: Lake) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-31 15:00", "2026-06-01"), order("b", "2026-01-05", "2026-06-01")])
    counts = load(lake, "l2", "orders", [order("a", "2026-02-01 15:00", "2026-06-02")])
    assert (counts.inserted, counts.updated) == (0, 1)
    expected = [("a", datetime(2026, 2, 1, 15)), ("b", datetime(2026, 1, 5))]
    assert listed(lake.table("orders"), "order_id", "ordered_at") == expected


def test_the_same_rows_again_change_nothing_and_are_counted_as_unchanged(lake: Lake) -> None:
    rows = [order(key, "2026-01-05", "2026-06-01") for key in "abc"]
    assert load(lake, "l1", "orders", rows).inserted == 3
    before = lake.snapshot().versions["orders"]
    assert load(lake, "l2", "orders", rows) == UpsertCounts(0, 0, 3, 0)
    assert lake.snapshot().versions["orders"] == before


def test_two_contents_of_one_key_and_time_are_a_conflict_that_is_named_and_decided_always_alike(engine: Any) -> None:
    first = order("a", "2026-01-05", "2026-06-01", "1.00"), order("b", "2026-01-05", "2026-06-01")
    second = order("a", "2026-01-05", "2026-06-01", "2.00")
    with fresh(engine) as one, fresh(engine) as two:
        counts = load(one, "l1", "orders", [*first, second, first[1]])
        assert (counts.inserted, counts.conflicts, counts.conflict_keys) == (2, 1, ("a",))
        assert load(two, "l1", "orders", [second]).conflicts == 0
        load(two, "l2", "orders", first)
        assert content_hash(one, "orders") == content_hash(two, "orders")


def test_loads_that_disagree_on_a_time_are_a_conflict_and_every_key_is_counted_once(lake: Lake) -> None:
    stated = [order(f"o{number}", "2026-01-05", "2026-06-01", "1.00") for number in range(9)]
    other = [{**row, "net_amount": Decimal(2)} for row in stated[:6]]
    load(lake, "l1", "orders", stated)
    counts = load(lake, "l2", "orders", [*other, *stated[6:], order("new", "2026-01-05", "2026-06-01")])
    assert (counts.inserted, counts.inserted + counts.updated + counts.unchanged) == (1, 10)
    assert 0 < counts.updated < 6 and (counts.conflicts, counts.conflict_keys) == (6, ("o0", "o1", "o2"))


def test_what_grows_without_a_new_time_is_as_great_as_any_load_says_and_no_conflict(engine: Any) -> None:
    day = datetime(2026, 6, 1)
    refunds = [[{"refund_id": f"r{n}", "refunded_at": day, "amount": Decimal(amount), "_effective_at": day}
                for n in range(8)] for amount in (5, 10)]  # fmt: skip
    with fresh(engine) as one, fresh(engine) as two:
        load(one, "l1", "refunds", refunds[0])
        counts = load(one, "l2", "refunds", refunds[1])
        assert counts == UpsertCounts(0, 8, 0, 0)
        load(two, "l1", "refunds", refunds[1])
        assert load(two, "l2", "refunds", refunds[0]) == UpsertCounts(0, 0, 8, 0)
        for lake in (one, two):
            assert listed(lake.table("refunds"), "amount") == [(Decimal(10),)] * 8


def test_a_conflict_in_a_table_of_two_key_columns_names_both(lake: Lake) -> None:
    line = {"order_id": "a", "line_no": 1, "ordered_at": datetime(2026, 1, 5), "_effective_at": datetime(2026, 6, 1)}
    counts = load(lake, "l1", "order_lines", [line | {"quantity": 1.0}, line | {"quantity": 2.0}, line | {"line_no": 2}])
    assert (counts.inserted, counts.conflicts, counts.conflict_keys) == (2, 1, ("a / 1",))


def test_an_identity_keeps_its_first_sighting(lake: Lake) -> None:
    def seen(day: int) -> dict[str, Any]:
        moment = datetime(2026, 6, day)
        return {"id_kind": "phone", "id_value_hash": "h", "member_id": "m", "first_seen_at": moment, "_effective_at": moment}

    load(lake, "l1", "identities", [seen(5)])
    load(lake, "l2", "identities", [seen(9), seen(2)])
    load(lake, "l3", "identities", [seen(4)])
    assert listed(lake.table("identities"), "first_seen_at") == [(datetime(2026, 6, 2),)]
    with lake.write("undo") as writer:
        assert writer.forget("identities", "l2") == UndoCounts(gone=0, returned=1, unchanged=0)
    assert listed(lake.table("identities"), "first_seen_at") == [(datetime(2026, 6, 4),)]


def test_undo_says_what_went_what_returned_and_what_stayed_and_touches_only_their_months(lake: Lake) -> None:
    old = [order(key, "2026-01-05", "2026-06-01") for key in "abc"]
    load(lake, "l1", "orders", [*old, order("z", "2025-03-05", "2026-06-01")])
    more = [order("a", "2026-02-05", "2026-06-02"), order("b", "2026-01-05", "2026-06-01"), order("n", "2026-02-05", "2026-06-02")]
    load(lake, "l2", "orders", more)
    before = {name: set(delta.files(lake.root / name, version)) for name, version in lake.snapshot().versions.items()}
    with lake.write("undo") as writer:
        assert writer.forget("orders", "l2") == UndoCounts(gone=1, returned=1, unchanged=1)
    after = {name: set(delta.files(lake.root / name, version)) for name, version in lake.snapshot().versions.items()}
    rewritten = {path.split("_month=")[1][:7] for name in after for path in before[name] ^ after[name]}
    assert rewritten == {"2026-01", "2026-02"}
    expected = [("a", "l1"), ("b", "l1"), ("c", "l1"), ("z", "l1")]
    assert listed(lake.table("orders"), "order_id", "load_id") == expected


def test_several_upserts_of_one_writer_build_on_each_other_before_they_are_published(lake: Lake) -> None:
    with lake.write("two files") as writer:
        writer.upsert("orders", rows_of("orders", [order("a", "2026-01-05", "2026-06-01")]), load_id="l1")
        counts = writer.upsert("orders", rows_of("orders", [order("a", "2026-01-05", "2026-06-02", "2.00")]), load_id="l1")
        assert (counts.inserted, counts.updated) == (0, 1)
        assert listed(writer.table("orders"), "order_id") == [("a",)]
        assert listed(lake.table("orders")) == []
    assert listed(lake.table("orders"), "order_id") == [("a",)]


def test_no_rows_at_all_make_an_empty_table_and_an_unknown_load_is_forgotten_without_a_trace(lake: Lake) -> None:
    assert load(lake, "l1", "orders", []) == UpsertCounts(0, 0, 0, 0)
    assert not lake.has_rows("orders") and listed(lake.table("orders")) == []
    load(lake, "l2", "orders", [order("a", "2026-01-05", "2026-06-01")])
    with lake.write("undo") as writer:
        assert writer.forget("orders", "l9") == writer.forget("members", "l1") == UndoCounts(0, 0, 0)
    assert listed(lake.table("orders"), "order_id") == [("a",)]


def test_a_table_that_cannot_be_is_refused_with_the_nearest(lake: Lake) -> None:
    with pytest.raises(UnknownName, match=r"table 'ordres' is not known in the lake; did you mean 'orders'\?"):
        lake.table("ordres")


def test_columns_that_a_load_says_nothing_of_stand_in_no_file_but_in_the_table(lake: Lake) -> None:
    said = rows_of("orders", [order("a", "2026-01-05", "2026-06-01")])
    with lake.write("few columns") as writer:
        writer.upsert("orders", said.drop("city", "review_score", "coupon_id"), load_id="l1", distinct=True)
    written = {name for path in delta.parquet(lake.root / "orders") for name in pq.read_schema(path).names}
    assert not {"city", "review_score", "coupon_id"} & written and {"order_id", "province"} <= written
    assert lake.table("orders").schema() == lake._empty("orders").schema()
    assert {"city", "_effective_at"} <= set(DeltaTable(str(lake.root / "orders")).to_pandas().columns)
    load(lake, "l2", "orders", [order("b", "2026-01-06", "2026-06-01", city="杭州")])
    lake.compact()
    assert listed(lake.table("orders"), "order_id", "city") == [("a", None), ("b", "杭州")]
    take_back(lake, "l2")
    assert listed(lake.table("orders"), "order_id", "city") == [("a", None)]
