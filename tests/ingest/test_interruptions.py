"""Loads that run out of disk or permission: the lake is as before. (Kills: tests/soak.)"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from crm_core.errors import CrmError, RunFailed
from crm_core.ingest import loads, undo
from tests.ingest.corner_shop import EXAMPLE, PROJECT, Shop, open_shop, order, orders_file, text_of, write
from tests.require import need

CRM = str(Path(sys.executable).with_name("crm"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk, or changes it: disk('size=8m'), disk('remount,ro'). Skips where that is not
    permitted.
    """
    place = tmp_path / "disk"
    place.mkdir()

    def change(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        mounted = os.geteuid() == 0 and not subprocess.run(command, capture_output=True, check=False).returncode
        need(mounted, "right to mount a small disk (root)")
        return place

    yield change
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_leaves_the_lake_as_it_was(disk: Callable[[str], Path], tmp_path: Path) -> None:
    shop = open_shop(disk("size=64m") / "shop")
    shop.load(orders_file(tmp_path, 1, 2, 3))
    before, snapshot = shop.content(), shop.lake.snapshot().id
    big = write(tmp_path / "订单2.csv", text_of(order(number) for number in range(20_000)))
    failures = 0
    for room in range(300, 9000, 600):  # from no room for the copy of the file to room for everything
        used = sum(path.stat().st_blocks * 512 for path in shop.root.rglob("*") if path.is_file())
        disk(f"remount,size={used // 1024 + room}k")
        try:
            shop.load(big)
        except RunFailed as error:
            failures += 1
            assert re.search("[Nn]o space left|disk is full|could not be written", str(error)), error
            disk("remount,size=64m")
            assert (shop.content(), shop.lake.snapshot().id) == (before, snapshot)
        else:
            break
    assert failures >= 3
    assert len(shop.rows("orders")) == 20_000


@pytest.mark.slow
@pytest.mark.parametrize("action", ["undo", "compact"])
def test_undo_and_compaction_on_a_full_disk_change_nothing_and_go_through_once_there_is_room(
    disk: Callable[[str], Path], tmp_path: Path, action: str
) -> None:
    shop = open_shop(disk("size=64m") / "shop")
    shop.load(write(tmp_path / "订单1.csv", text_of(order(number) for number in range(3000))))
    later = [order(number, amount="71.00", refunded="1.00") for number in range(1500, 4500)]
    second = shop.load(write(tmp_path / "订单2.csv", text_of(later)))
    before = shop.content()

    def act() -> None:
        if action == "undo":
            undo(shop.lake, shop.vault, second.load_id)
        else:
            shop.lake.compact()

    failures = 0
    for room in (0, 40, 80, 160, 320, 640, 1280, 2560):
        used = sum(path.stat().st_blocks * 512 for path in shop.root.rglob("*") if path.is_file())
        disk(f"remount,size={used // 1024 + room}k")
        try:
            act()
        except RunFailed as error:
            failures += 1
            assert re.search("[Nn]o space left|disk is full", str(error)), error
            disk("remount,size=64m")
            assert shop.content() == before
        else:
            break
    disk("remount,size=64m")
    assert failures >= 2
    if action == "undo":
        never = open_shop(tmp_path / "never")
        never.load(tmp_path / "订单1.csv")
        before = never.content()
    else:
        shop.lake.compact()
    assert shop.content() == before
    kept = [path for path in (shop.root / "vault" / "accounts").iterdir() if pq.read_metadata(path).num_rows]
    assert {path.stem for path in kept} <= live(shop)


def test_a_disk_that_may_not_be_written_is_one_clear_error(disk: Callable[[str], Path], tmp_path: Path) -> None:
    shop = open_shop(disk("size=64m") / "shop")
    shop.load(orders_file(tmp_path, 1))
    before = shop.content()
    shop.ledger.engine.dispose()  # a disk with files open for writing cannot become read-only
    disk("remount,ro")
    with pytest.raises(CrmError, match=r"cannot be written|Read-only|readonly|permission"):
        shop.load(orders_file(tmp_path, 2, name="订单2.csv"))
    disk("remount,rw")
    assert shop.content() == before


def live(shop: Shop) -> set[str]:
    return {load.load_id for load, _ in loads(shop.ledger) if load.state == "live"}


def test_a_file_that_may_not_be_read_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "conf" / "sources").mkdir(parents=True)
    write(tmp_path / "conf" / "project.yml", PROJECT)
    write(tmp_path / "conf" / "sources" / "corner_shop.yml", EXAMPLE)
    files = tmp_path / "files"
    orders_file(files, 1).chmod(0)
    # root may read everything, but for what this takes from it
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    command = [*ordinary, CRM, "--workspace", str(tmp_path), "ingest", "corner_shop", str(files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("crm: 订单1.csv cannot be read: Permission denied")
