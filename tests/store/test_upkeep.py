"""Daily loads: files stay few, the disk holds what is pinned and what is new, and pinned snapshots stay as they were."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from crm_core.errors import RunFailed
from crm_core.store import Lake, delta, now, upkeep
from crm_core.store.ledger import Run, Snapshot
from tests.store.lakes import content_hash, listed, load, open_lake, order

LOADS = 2 * upkeep.SWEEP_EVERY + 2


def pin(lake: Lake) -> None:
    """A run that stands on the newest snapshot."""
    with lake.ledger.transaction() as session:
        facts = {"state": "done", "as_of": date(2026, 10, 31), "started_at": now(), "results": {}, "detail": {}}
        session.add(Run(run_id="r", snapshot_id=lake.snapshot().id, config_hash="h", **facts))


def days_ago(lake: Lake) -> None:
    """Makes every snapshot older than any reader."""
    with lake.ledger.transaction() as session:
        session.execute(update(Snapshot).values(created_at=now() - timedelta(days=2)))


def daily(lake: Lake, first: int, last: int) -> None:
    """Each day one new order, and one of the day before that was paid meanwhile."""
    for number in range(first, last):
        rows = [order(f"o{max(number - late, 0):03}", "2026-01-05", f"2026-06-{1 + number // 2:02}") for late in (0, 1)]
        load(lake, f"l{number:03}", "orders", rows)
        days_ago(lake)


def test_daily_loads_leave_few_files_and_no_old_copies_but_what_a_run_stands_on(lake: Lake) -> None:
    daily(lake, 0, 5)
    pin(lake)
    stood = lake.snapshot()
    before = content_hash(lake, "orders"), listed(lake.table("orders_versions", stood), "order_id", "load_id")
    daily(lake, 5, LOADS)
    for name, version in lake.snapshot().versions.items():
        assert len(delta.files(lake.root / name, version)) <= upkeep.CROWD + 1, name
        # pinned, live, and what came since the newest sweep
        assert len(delta.parquet(lake.root / name)) <= 5 + (upkeep.CROWD + 1) + 2 * upkeep.SWEEP_EVERY, name
    assert len(delta.parquet(lake.root / "orders")) < LOADS
    again = open_lake(lake.root.parent, lake.engine)
    found = again.table("orders", stood)
    assert len(listed(found)) == 5 and len(listed(again.table("orders"))) == LOADS
    assert listed(again.table("orders_versions", stood), "order_id", "load_id") == before[1]
    assert len(listed(again.table("orders_versions"))) == 2 * LOADS
    assert again.vacuum(keep_newest=1, readers_newest=0) > 0
    assert listed(again.table("orders", stood)) == listed(found) and len(listed(again.table("orders"))) == LOADS


def test_what_a_reader_may_have_opened_today_outlives_a_sweep(lake: Lake) -> None:
    load(lake, "l0", "orders", [order("a", "2026-01-05", "2026-06-01")])
    opened = lake.snapshot()
    for number in range(1, upkeep.SWEEP_EVERY + 1):
        load(lake, f"l{number}", "orders", [order("a", "2026-01-05", f"2026-06-{number + 1:02}", f"{number}.00")])
    assert lake.snapshot().id > upkeep.SWEEP_EVERY
    reader = open_lake(lake.root.parent, lake.engine)
    assert listed(reader.table("orders", opened), "load_id") == [("l0",)]


def test_a_log_that_lacks_an_entry_lets_no_file_be_deleted(lake: Lake) -> None:
    for number in range(3):
        load(lake, f"l{number}", "orders", [order("a", "2026-01-05", f"2026-06-0{number + 1}")])
    assert upkeep.superseded(lake.root / "orders", [2])
    (lake.root / "orders" / "_delta_log" / f"{0:020}.json").unlink()
    assert upkeep.superseded(lake.root / "orders", [2]) == set()


def test_files_that_cannot_be_joined_now_stop_no_load(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, partitions: list[str]) -> None:
        raise RunFailed("no space left on the disk")

    monkeypatch.setattr(upkeep, "join_files", refuse)
    for number in range(upkeep.CROWD + 2):
        load(lake, f"l{number}", "orders", [order(f"o{number}", "2026-01-05", "2026-06-01")])
    files = delta.files(lake.root / "orders_versions", lake.snapshot().versions["orders_versions"])
    assert len(files) == upkeep.CROWD + 2
