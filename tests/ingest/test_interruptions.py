"""Loads that are killed, or run out of disk or permission: the lake is as before or as after."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crm_core.errors import CrmError, RunFailed
from tests.ingest.corner_shop import Shop, open_shop, order, orders_file, text_of, write

CHILD = """
import sys
from pathlib import Path
from tests.ingest.corner_shop import open_shop
shop = open_shop(Path(sys.argv[1]))
shop.load(*map(Path, sys.argv[2:]), progress=lambda step: print(step, flush=True))
print("done", flush=True)
"""


def start(root: Path, *paths: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(root), *map(str, paths)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2])


@pytest.mark.slow
def test_a_load_that_is_killed_at_any_moment_is_wholly_there_or_not_at_all(tmp_path: Path) -> None:
    first = orders_file(tmp_path, *range(50))
    second = write(
        tmp_path / "订单2.csv",
        text_of(order(number, amount="70.00", refunded="1.00") for number in range(30, 3000)),
    )
    sample = open_shop(tmp_path / "sample")
    sample.load(first)
    before = sample.content()
    began = time.monotonic()
    sample.load(second)
    after, seconds = sample.content(), time.monotonic() - began
    shop = open_shop(tmp_path / "shop")
    shop.load(first)
    outcomes = set()
    for moment in ("checking 订单2.csv", "writing to the lake", 0.2, 0.4, 0.7):
        child = start(shop.root, second)
        assert child.stdout is not None
        waited = moment if isinstance(moment, str) else "writing to the lake"
        for line in child.stdout:
            if line.strip() in (waited, "done"):
                break
        time.sleep(0 if isinstance(moment, str) else moment * seconds)
        child.send_signal(signal.SIGKILL)
        child.wait()
        shop = open_shop(shop.root)
        content = shop.content()
        assert content in (before, after), moment
        outcomes.add(content == after)
        if content == after:
            assert shop.load(second).nothing_new
            break
    assert False in outcomes
    assert open_shop(shop.root).load(second).accepted in (0, 2970)
    assert shop.content() == after
    assert not list((shop.root / "spill").glob("ingest_*"))
    assert {path.stem for path in (shop.root / "vault" / "accounts").iterdir()} <= live(shop)


def live(shop: Shop) -> set[str]:
    from crm_core.ingest import loads

    return {load.load_id for load, _ in loads(shop.ledger) if load.state == "live"}


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
