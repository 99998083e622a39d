"""Loads that run out of disk or permission: the lake is as before. (Kills: tests/soak.)"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crm_core.errors import CrmError, RunFailed
from tests.ingest.corner_shop import Shop, open_shop, order, orders_file, text_of, write


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small disk, or changes it: disk('size=8m'), disk('remount,ro'). Skips where that is not
    permitted.
    """
    place = tmp_path / "disk"
    place.mkdir()

    def change(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small disk needs root")
        return place

    yield change
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


@pytest.mark.slow
def test_a_full_disk_is_one_clear_error_and_leaves_the_lake_as_it_was(
    disk: Callable[[str], Path], tmp_path: Path
) -> None:
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


def test_a_file_that_may_not_be_read_is_one_clear_error(shop: Shop, files: Path) -> None:
    path = orders_file(files, 1)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(CrmError, match=r"订单1\.csv cannot be read: Permission denied"):
        shop.load(path)
