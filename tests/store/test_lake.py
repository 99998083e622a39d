"""Snapshots, durability, dated results, vacuum and compaction of the lake."""

from __future__ import annotations

import os
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pytest

from crm_core.errors import InputError, RunFailed
from crm_core.store import Lake, delta, now
from crm_core.store.ledger import Load, Run
from tests.store.lakes import content_hash, listed, load, open_lake, order, rows_of

DAY = date(2026, 10, 31)


def on_disk(lake: Lake) -> dict[str, bytes]:
    """Every file of the lake with its bytes."""
    files = [path for path in lake.root.rglob("*") if path.is_file()]
    return {str(path.relative_to(lake.root)): path.read_bytes() for path in files}


def features(*members: str) -> Any:
    return ibis.memtable(pa.table({"member_id": list(members), "score": list(range(len(members)))}))


def some_load(load_id: str) -> Load:
    counts = dict.fromkeys(("rows_read", "rows_accepted", "rows_duplicate", "rows_rejected"), 1)
    return Load(load_id=load_id, source="s", state="live", started_at=now(), finished_at=now(), detail={}, **counts)


def test_an_exception_publishes_nothing_and_leaves_the_disk_as_it_was(lake: Lake) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    before, snapshot = on_disk(lake), lake.snapshot()
    with pytest.raises(ZeroDivisionError), lake.write("failing") as writer:
        writer.upsert("orders", rows_of("orders", [order("a", "2026-02-05", "2026-06-02")]), load_id="l2")
        writer.upsert("members", rows_of("members", []), load_id="l2")
        writer.record(some_load("l2"))
        writer.audit("load", "l2", {})
        _ = 1 / 0
    assert on_disk(lake) == before
    assert lake.snapshot().id == snapshot.id
    assert lake.ledger.get(Load, "l2") is None and lake.ledger.verify_audit() == 0


def test_after_a_failed_first_write_the_next_one_reads_its_own_files(lake: Lake) -> None:
    for key in ("a", "b"):
        with pytest.raises(KeyError), lake.write("failing") as writer:
            writer.upsert("orders", rows_of("orders", [order(key, "2026-01-05", "2026-06-01")]), load_id="l1")
            assert listed(writer.table("orders"), "order_id") == [(key,)]
            raise KeyError
    load(lake, "l1", "orders", [order("c", "2026-01-05", "2026-06-01")])
    assert listed(lake.table("orders"), "order_id") == [("c",)]


def test_ledger_rows_audit_and_tables_appear_together(lake: Lake) -> None:
    with lake.write("load", actor="ann") as writer:
        writer.upsert("orders", rows_of("orders", [order("a", "2026-01-05", "2026-06-01")]), load_id="l1")
        writer.record(some_load("l1"))
        writer.audit("load", "l1", {"rows": 1})
        writer.cover(DAY)
        writer.cover(date(2026, 1, 1))
        assert lake.snapshot() is None and lake.ledger.get(Load, "l1") is None
    snapshot = lake.snapshot()
    assert snapshot.covers_until == DAY
    assert set(snapshot.versions) == {"orders", "orders_versions"}
    assert lake.ledger.get(Load, "l1").snapshot_id == snapshot.id
    assert lake.ledger.verify_audit() == 1


def test_a_reader_of_a_snapshot_sees_it_unchanged_while_others_follow(lake: Lake) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    first = lake.snapshot()
    reading = lake.table("orders", first)
    load(lake, "l2", "orders", [order("b", "2026-01-05", "2026-06-01"), order("a", "2026-01-05", "2026-06-02", "9.00")])
    assert listed(reading, "order_id") == [("a",)]
    assert listed(lake.table("orders", lake.snapshot(first.id)), "order_id", "load_id") == [("a", "l1")]
    with pytest.raises(InputError, match="snapshot 99 is not known"):
        lake.snapshot(99)


@pytest.mark.parametrize("name", ["我的 数据 100%", "a#b?c&d=e", "quote's"])
def test_any_folder_name_will_do(tmp_path: Path, engine: Any, name: str) -> None:
    lake = open_lake(tmp_path / name, engine)
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    load(lake, "l2", "orders", [order("a", "2026-02-05", "2026-06-02")])
    with lake.write("results") as writer:
        writer.replace_date("member_features", DAY, features("m"))
    lake.compact()
    lake.vacuum(1, readers_newest=0)
    assert listed(open_lake(tmp_path / name, engine).table("orders"), "order_id", "load_id") == [("a", "l2")]
    assert lake.dates("member_features") == [DAY]
    with lake.write("undo") as writer:
        writer.forget("orders", "l2")
    assert listed(lake.table("orders"), "order_id", "load_id") == [("a", "l1")]
    assert not list(tmp_path.glob("*/*%25*")), "a percent sign was encoded into a second folder"


def test_all_that_was_published_was_synced_first(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[str] = set()
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.add(str(Path(f"/proc/self/fd/{handle}").readlink())), real(handle))[1])
    for load_id, month in (("l1", 1), ("l2", 2)):
        synced.clear()
        earlier = on_disk(lake) if lake.root.exists() else {}
        load(lake, load_id, "orders", [order(load_id, f"2026-0{month}-05", f"2026-06-0{month}")])
        with lake.write("results") as writer:
            writer.replace_date("member_features", date(2026, 1, month), features("m"))
        new = {lake.root / name for name in on_disk(lake) if name not in earlier and "/" in name}
        folders = {path.parent for path in new} | {lake.root / name for name in lake.snapshot().versions} | {lake.root}
        assert len(new) >= 6
        assert {str(path) for path in new | folders} <= synced


def test_dated_results_are_replaced_by_date_and_removed_by_date(lake: Lake) -> None:
    days = [date(2026, 10, day) for day in (29, 30, 31)]
    for day in days:
        with lake.write("results") as writer:
            writer.replace_date("member_features", day, features("m", "n"))
    with lake.write("again") as writer:
        writer.replace_date("member_features", days[1], features("k"))
    assert lake.dates("member_features") == days
    found = listed(lake.table("member_features"), "as_of", "member_id")
    assert found == [(days[0], "m"), (days[0], "n"), (days[1], "k"), (days[2], "m"), (days[2], "n")]
    before = lake.snapshot()
    with lake.write("thin") as writer:
        writer.remove_dates("member_features", days[:2])
        writer.remove_dates("member_tags", days)
        writer.remove_dates("member_features", [])
    assert lake.dates("member_features") == days[2:]
    assert lake.dates("member_features", before) == days
    assert lake.dates("member_tags") == []


def test_a_dated_result_may_gain_columns_from_one_date_to_the_next(lake: Lake) -> None:
    with lake.write("results") as writer:
        writer.replace_date("member_tags", date(2026, 10, 30), features("m").drop("score").mutate(old=ibis.literal(True)))
    with lake.write("results") as writer:
        writer.replace_date("member_tags", DAY, features("m").drop("score").mutate(new=ibis.literal("x")))
    assert listed(lake.table("member_tags"), "as_of", "old", "new") == [(date(2026, 10, 30), True, None), (DAY, None, "x")]


@pytest.mark.parametrize(
    ("before", "after", "kept"), [(7, 200.5, 7.0), (True, "much", None), ("much", True, None), (True, 3, None)]
)
def test_a_dated_result_may_change_the_type_of_a_column_without_changing_a_value(
    lake: Lake, before: Any, after: Any, kept: Any
) -> None:
    def tagged(*members: str, value: Any) -> Any:
        return ibis.memtable({"member_id": members}).mutate(x=ibis.literal(value))

    first = date(2026, 10, 30)
    for day, value in ((first, before), (DAY, after)):
        with lake.write("results") as writer:
            writer.replace_date("member_tags", day, tagged("m", value=value))
    assert listed(lake.table("member_tags"), "as_of", "x") == [(first, kept), (DAY, after)]
    with lake.write("results") as writer:
        writer.replace_date("member_tags", DAY, tagged("m", "n", value=after))
    assert listed(lake.table("member_tags"), "as_of", "x") == [(first, kept), (DAY, after), (DAY, after)]
    assert lake.dates("member_tags") == [first, DAY]


def test_a_dated_result_keeps_the_amounts_that_a_narrower_column_of_money_holds(lake: Lake) -> None:
    amounts = {"m": "12.34", "n": "-1.00", "o": "12345678901234567890.12"}
    wide = pa.table({"member_id": list(amounts), "x": pa.array(map(Decimal, amounts.values()), pa.decimal128(38, 2))})
    first = date(2026, 10, 30)
    for day, rows in ((first, wide), (DAY, wide[:2].set_column(1, "x", wide["x"][:2].cast(pa.decimal128(18, 2))))):
        with lake.write("results") as writer:
            writer.replace_date("member_tags", day, ibis.memtable(rows))
    kept = [("m", Decimal("12.34")), ("n", Decimal("-1.00")), ("o", None)]
    assert listed(lake.table("member_tags"), "as_of", "member_id", "x") == [
        *((first, *row) for row in kept), *((DAY, *row) for row in kept[:2])
    ]  # fmt: skip


def test_the_rows_of_one_load_leave_an_append_only_table(lake: Lake) -> None:
    def reject(load_id: str, row: int) -> Any:
        return ibis.memtable(
            pa.table({"load_id": [load_id], "file": ["f"], "row_number": [row], "field": [""], "reason": ["r"], "row": [""]})
        )

    with lake.write("rejects") as writer:
        writer.append("rejects", reject("it's", 1))
        writer.append("rejects", reject("l2", 2))
    with lake.write("undo") as writer:
        writer.remove_load("rejects", "it's")
    assert listed(lake.table("rejects"), "load_id", "row_number") == [("l2", 2)]


def test_compaction_joins_files_and_changes_no_content(lake: Lake) -> None:
    for number in range(4):
        load(lake, f"l{number}", "orders", [order(f"o{number}", "2026-01-05", "2026-06-01")])
    before = content_hash(lake, "orders"), listed(lake.table("orders_versions"), "order_id", "load_id")
    many = len(delta.files(lake.root / "orders_versions", lake.snapshot().versions["orders_versions"]))
    lake.compact()
    assert (content_hash(lake, "orders"), listed(lake.table("orders_versions"), "order_id", "load_id")) == before
    assert len(delta.files(lake.root / "orders_versions", lake.snapshot().versions["orders_versions"])) < many


def test_vacuum_keeps_what_a_run_stands_on_and_frees_the_rest(lake: Lake) -> None:
    snapshots = []
    for number in range(5):
        load(lake, f"l{number}", "orders", [order("a", "2026-01-05", f"2026-06-0{number + 1}", f"{number + 1}.00")])
        snapshots.append(lake.snapshot())
    lake.compact()
    with lake.ledger.transaction() as session:
        session.add(
            Run(
                run_id="r",
                state="done",
                as_of=DAY,
                snapshot_id=snapshots[1].id,
                config_hash="h",
                started_at=now(),
                results={},
                detail={},
            )
        )
    current = content_hash(lake, "orders")
    assert lake.vacuum(keep_newest=1, readers_newest=0) > 0
    assert content_hash(lake, "orders") == current
    assert listed(lake.table("orders", snapshots[1]), "load_id") == [("l1",)]
    assert len(listed(lake.table("orders_versions", snapshots[1]))) == 2
    with pytest.raises(Exception, match=r"No files found|No such file"):
        listed(open_lake(lake.root.parent, lake.engine).table("orders", snapshots[3]))
    assert lake.vacuum(keep_newest=1, readers_newest=0) == 0
    load(lake, "l9", "orders", [order("b", "2026-01-05", "2026-06-09")])
    assert listed(lake.table("orders"), "order_id") == [("a",), ("b",)]


def test_a_hundred_commits_and_their_checkpoint_leave_every_version_readable(lake: Lake) -> None:
    first = None
    with lake.write("many") as writer:
        for number in range(103):
            writer.append("rejects", features("m").select(load_id=ibis.literal(f"l{number}")))
    first = lake.snapshot()
    with pytest.raises(KeyError), lake.write("failing") as writer:
        for _ in range(3):
            writer.append("rejects", features("m").select(load_id=ibis.literal("never")))
        raise KeyError
    log = lake.root / "rejects" / "_delta_log"
    assert len(list(log.glob("*.json"))) == 104, "no log entry may ever be cleaned away; the last one joined the files"
    assert len(listed(lake.table("rejects"), "load_id")) == 103
    assert len(listed(open_lake(lake.root.parent, lake.engine).at_version("rejects", 5), "load_id")) == 6
    assert lake.snapshot().id == first.id
    assert list(log.glob("*.checkpoint.parquet")) and lake.vacuum(1, readers_newest=0)
    again = Lake(lake.root, lake.ledger, lake.engine)
    assert len(listed(again.table("rejects"), "load_id")) == 103, "a checkpoint is no file that vacuum may take"


def test_a_version_that_is_not_on_disk_is_a_clear_error(lake: Lake) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    with pytest.raises(RunFailed, match=r"table orders has no version 7; was data/lake changed by hand\?"):
        lake.at_version("orders", 7)


def test_a_lake_is_not_rolled_back_by_an_older_copy_of_its_ledger(tmp_path: Path, engine: Any) -> None:
    lake = open_lake(tmp_path, engine)
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    (lake.root / ".published").write_text("")  # as earlier versions left it
    load(lake, "l2", "orders", [order("b", "2026-01-05", "2026-06-01")])
    lake.ledger.scrub()
    shutil.copytree(tmp_path / "ledger", tmp_path / "copy")
    load(lake, "l3", "orders", [order("c", "2026-01-05", "2026-06-01")])
    before = on_disk(lake)
    lake.ledger.engine.dispose()
    shutil.rmtree(tmp_path / "ledger")
    (tmp_path / "copy").rename(tmp_path / "ledger")
    old = open_lake(tmp_path, engine)
    with pytest.raises(RunFailed, match=r"holds snapshot 3, but the ledger ends at 2: it is an older copy"):
        old.compact()
    assert on_disk(lake) == before
    (lake.root / ".published").unlink()
    load(old, "l4", "orders", [order("d", "2026-01-05", "2026-06-01")])
    assert listed(old.table("orders"), "order_id") == [("a",), ("b",), ("d",)]


def test_a_lake_is_not_rolled_back_by_a_ledger_that_never_knew_it(tmp_path: Path, engine: Any) -> None:
    lake = open_lake(tmp_path, engine)
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    before = on_disk(lake)
    lake.ledger.engine.dispose()
    (tmp_path / "ledger").rename(tmp_path / "lost")
    with pytest.raises(RunFailed, match="it is not the ledger of this lake"):
        load(open_lake(tmp_path, engine), "l2", "orders", [])
    assert on_disk(lake) == before
