"""kill -9, two writers at once, a full disk, no permission: as before or as after, never between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crm_core.errors import RunFailed
from crm_core.store import Lake, Ledger, lease, now
from crm_core.store.ledger import Lease
from tests.require import need
from tests.store.child import DEATHS
from tests.store.lakes import content_hash, listed, load, open_lake, order, rows_of
from tests.store.test_lake import on_disk

ROOT = Path(__file__).resolve().parents[2]


def child(action: str, folder: Path, argument: str = "", **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.child", action, str(folder), argument]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


@pytest.mark.parametrize("point", list(DEATHS))
def test_a_killed_load_is_there_whole_or_not_at_all_and_the_next_writer_goes_on(lake: Lake, tmp_path: Path, point: str) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01"), order("b", "2026-02-05", "2026-06-01")])
    before = content_hash(lake, "orders"), lake.snapshot().id
    dying = child("crash", tmp_path, point)
    assert dying.wait(120) == -signal.SIGKILL, dying.stderr.read() if dying.stderr else ""
    published = point in ("between ledger and marker", "just after publishing")
    assert ((content_hash(lake, "orders"), lake.snapshot().id) == before) != published
    assert lake.ledger.verify_audit() == lake.has_rows("members") == published

    started = time.monotonic()
    load(lake, "l3", "orders", [order("d", "2026-01-05", "2026-06-03")])
    assert time.monotonic() - started < 60, "a dead holder's lease is taken over at once"
    expected = [("a", "l2"), ("b", "l1"), ("c", "l2"), ("d", "l3")] if published else [("a", "l1"), ("b", "l1"), ("d", "l3")]
    assert listed(lake.table("orders"), "order_id", "load_id") == expected
    assert (tmp_path / "lake" / "members").exists() == published


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing_that_was_published_and_double_nothing(lake: Lake, tmp_path: Path) -> None:
    random.seed(7)
    for _ in range(2):
        running = child("endless", tmp_path)
        assert running.stdout is not None
        said = running.stdout.readline()
        timer = threading.Timer(random.uniform(0.1, 2.0), running.kill)
        timer.start()
        lines = [said, *running.stdout.readlines()]
        running.wait(60)
        acknowledged = {f"e{line.strip()}" for line in lines if line.strip()}
        load(lake, "after", "orders", [])
        keys = [key for (key,) in listed(lake.table("orders"), "order_id")]
        assert acknowledged <= set(keys)
        assert len(keys) == len(set(keys))
        versions = listed(lake.table("orders_versions"), "order_id")
        assert {key for (key,) in versions} == set(keys)


def test_a_log_entry_that_a_power_cut_left_torn_is_taken_back(lake: Lake) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    version = lake.snapshot().versions["orders"]
    (lake.root / "orders" / "_delta_log" / f"{version + 1:020}.json").write_bytes(b"")
    assert listed(lake.table("orders"), "order_id") == [("a",)]
    load(lake, "l2", "orders", [order("b", "2026-01-05", "2026-06-01")])
    assert listed(lake.table("orders"), "order_id") == [("a",), ("b",)]


def test_two_processes_that_write_at_once_both_succeed_one_after_the_other(lake: Lake, tmp_path: Path) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    both = [child("hold", tmp_path, "0.5") for _ in range(2)]
    for process in both:
        assert process.wait(120) == 0, process.stderr.read() if process.stderr else ""
    keys = {key for (key,) in listed(lake.table("orders"), "order_id")}
    assert keys == {"a", *(str(process.pid) for process in both)}


def test_whoever_waits_too_long_is_told_who_writes(lake: Lake, tmp_path: Path) -> None:
    holder = child("hold", tmp_path, "30")
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(RunFailed, match=rf"being written by holding \(process {holder.pid}\); try again"):
        lease.acquire(lake.ledger, "impatient", wait_seconds=0.3)
    holder.kill()
    holder.wait()
    assert lease.acquire(lake.ledger, "heir", wait_seconds=5) == 2, "a dead holder's lease is taken long before it expires"


def test_a_holder_on_another_machine_keeps_the_lease_until_it_expires(lake: Lake) -> None:
    fence = lease.acquire(lake.ledger, "first")
    with lake.ledger.transaction() as session:
        session.get(Lease, lease.NAME).owner = "elsewhere:1:1.0"
    with pytest.raises(RunFailed, match="being written by first"):
        lease.acquire(lake.ledger, "second", wait_seconds=0)
    with lake.ledger.transaction() as session:
        session.get(Lease, lease.NAME).expires_at = now() - timedelta(seconds=1)
    assert lease.acquire(lake.ledger, "second", wait_seconds=0) == fence + 1


def test_a_writer_that_lost_its_lease_publishes_nothing_and_leaves_the_new_ones_work_alone(lake: Lake) -> None:
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    taken: dict[str, bytes] = {}
    with pytest.raises(RunFailed, match="another process took over writing the lake"), lake.write("late") as writer:
        writer.upsert("orders", rows_of("orders", [order("b", "2026-01-05", "2026-06-01")]), load_id="l2")
        with lake.ledger.transaction() as session:
            session.get(Lease, lease.NAME).fence += 1
        taken = on_disk(lake)
    assert on_disk(lake) == taken, "what is on disk now is the new holder's business"
    assert listed(lake.table("orders"), "order_id") == [("a",)]


def test_threads_of_one_process_hold_the_lease_one_after_the_other(lake: Lake) -> None:
    holding, worst, fences = [0], [0], []

    def work() -> None:
        for _ in range(5):
            fence = lease.acquire(lake.ledger, "thread", wait_seconds=60)
            holding[0] += 1
            worst[0] = max(worst[0], holding[0])
            time.sleep(0.005)
            fences.append(fence)
            holding[0] -= 1
            lease.release(lake.ledger, fence)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == [1] and sorted(fences) == list(range(1, 21))


def test_a_lease_that_could_not_be_given_back_is_free_again_for_the_same_process(lake: Lake) -> None:
    fence = lease.acquire(lake.ledger, "first")
    lease._HELD.clear()  # as after a release that a full disk refused
    assert lease.acquire(lake.ledger, "second", wait_seconds=0) == fence + 1


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("lake", "could not be written: permission denied"),
        ("ledger", "the ledger could not be written: attempt to write a readonly database"),
        ("new ledger", "lake/ledger cannot be made: Permission denied"),
    ],
)
def test_without_write_permission_there_is_one_clear_error_and_no_change(engine: Any, action: str, message: str) -> None:
    need(os.geteuid() == 0, "root, to become somebody else")
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        lake = open_lake(folder, engine)
        load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
        before = on_disk(lake)
        for path in [folder, *folder.rglob("*")]:
            if action == "lake" and "ledger" in path.parts[-2:]:
                path.chmod(0o777)  # the ledger may be written, the lake may only be read
            else:
                path.chmod(0o755 if path.is_dir() else 0o644)
        (folder / "spill").mkdir(exist_ok=True)
        (folder / "spill").chmod(0o777)
        done = child("as_nobody", folder, action)
        said, complaints = done.communicate(timeout=120)
        assert done.returncode == 0, complaints
        assert message in said
        assert on_disk(lake) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True)
    need(not done.returncode, "right to mount a small disk (root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("ledger_too", [False, True], ids=["lake", "lake and ledger"])
def test_a_full_disk_is_one_clear_error_and_the_lake_stays_as_it_was(
    small_disk: Path, tmp_path: Path, engine: Any, ledger_too: bool
) -> None:
    home = small_disk if ledger_too else tmp_path
    lake = Lake(small_disk / "lake", Ledger.in_folder(home / "ledger"), engine)
    load(lake, "l1", "orders", [order("a", "2026-01-05", "2026-06-01")])
    before = on_disk(lake)
    rng = random.Random(1)
    many = [
        order(f"o{rng.getrandbits(400):x}", "2026-01-05", "2026-06-02", city=f"{rng.getrandbits(800):x}") for _ in range(40_000)
    ]
    with pytest.raises(RunFailed, match=r"could not be written: (no space left|.*disk is full)"):
        load(lake, "l2", "orders", many)
    assert on_disk(lake) == before
    assert listed(lake.table("orders"), "order_id") == [("a",)]
    load(lake, "l3", "orders", [order("b", "2026-01-05", "2026-06-02")])
    assert listed(lake.table("orders"), "order_id") == [("a",), ("b",)]
