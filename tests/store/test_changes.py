"""Rows that changed between two snapshots are those that the two do not share, whatever led from one to the other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.schema import TABLES
from crm_core.store import Lake
from crm_core.store.changes import changed_rows
from crm_core.store.lake import content_columns
from crm_core.store.ledger import Snapshot
from crm_core.store.versions import stamped
from tests.conftest import few
from tests.store.lakes import listed, load, open_lake, order, rows_of

ORDER = st.builds(
    lambda key, month, day, who: order(key, f"2026-{month:02}-10", f"2026-06-{day:02}", member_id=who),
    st.sampled_from("abc"), st.integers(1, 2), st.integers(1, 3), st.sampled_from(["m", "n", None]),
)  # fmt: skip
STEP = st.one_of(st.lists(ORDER, min_size=1, max_size=3), st.integers(0, 3), st.just("compact"))
COLUMNS = ["order_id", "member_id"]


@settings(max_examples=few(30), deadline=None)
@given(steps=st.lists(STEP, min_size=2, max_size=6), since=st.integers(0, 3))
@pytest.mark.slow
def test_after_loads_undos_and_joined_files_in_any_order(engine, steps, since):
    with tempfile.TemporaryDirectory() as folder:
        lake = open_lake(Path(folder), engine)
        load(lake, "first", "orders", [order("a", "2026-01-10", "2026-06-01", member_id="m")])
        seen = [newest(lake)]
        for place, step in enumerate(steps):
            take(lake, step, place)
            seen.append(newest(lake))
        before, after = seen[min(since, len(steps))], seen[-1]
        assert changed(lake, before, after) == differing(lake, before, after)


@pytest.mark.parametrize("joined", [False, True])
def test_an_order_that_moves_and_moves_back_is_told_with_both_members_and_one_that_comes_again_is_not(lake, joined):
    same, moved = (order(key, "2026-01-10", "2026-06-01", member_id="m") for key in "ab")
    load(lake, "one", "orders", [same, moved])
    before = newest(lake)
    load(lake, "two", "orders", [same, {**moved, **order("b", "2026-01-10", "2026-06-02", member_id="n")}])
    middle = newest(lake)
    assert changed(lake, before, middle) == {("b", "m"), ("b", "n")}
    if joined:
        lake.compact()
    with lake.write("undo") as writer:
        writer.forget("orders", "two")
    assert changed(lake, middle, newest(lake)) == {("b", "m"), ("b", "n")}
    assert changed(lake, before, newest(lake)) == set()


def test_a_table_that_was_written_without_versions_is_compared_whole(lake):
    schema = TABLES["orders"]
    rows = [order(key, "2026-01-10", "2026-06-01", member_id="m") for key in "ab"]
    for kept in (rows, rows[:1]):
        before = lake.snapshot()
        with lake.write("by hand") as writer:
            stored = stamped(rows_of("orders", kept), schema, "x")
            writer._commit("orders", stored, append=False, month_of="ordered_at")
    assert changed(lake, before, newest(lake)) == {("b", "m")}


def take(lake: Lake, step: Any, place: int) -> None:
    """One step: rows are loaded, the load of an earlier step is taken back, or files are joined."""
    if step == "compact":
        lake.compact()
    elif isinstance(step, int):
        with lake.write("undo") as writer:
            writer.forget("orders", f"load {step}")
    else:
        load(lake, f"load {place}", "orders", {row["order_id"]: row for row in step}.values())


def newest(lake: Lake) -> Snapshot:
    """The newest snapshot."""
    found = lake.snapshot()
    assert found is not None
    return found


def changed(lake: Lake, before: Snapshot, after: Snapshot) -> set[tuple[Any, ...]]:
    """Key and member of what is told to have changed."""
    rows = changed_rows(lake, "orders", before, after, COLUMNS)
    return set() if rows is None else set(listed(rows))


def differing(lake: Lake, before: Snapshot, after: Snapshot) -> set[tuple[Any, ...]]:
    """Key and member of the rows that only one of the snapshots holds."""
    columns = content_columns(TABLES["orders"])
    then, now = (set(listed(lake.table("orders", snapshot), *columns)) for snapshot in (before, after))
    return {(row[columns.index("order_id")], row[columns.index("member_id")]) for row in then ^ now}
