"""The same arguments give the same bytes; each block is drawn alone; bad arguments are named."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from crm_core.errors import InputError
from crm_core.simulate import simulate
from crm_core.simulate.blocks import draw
from crm_core.simulate.catalogue import catalogue
from crm_core.simulate.world import World
from tests.simulate.worlds import FEEDS, UNTIL, digests, raw, small


def test_the_same_arguments_give_the_same_bytes_in_every_file(tmp_path: Path) -> None:
    one, two = digests(small(tmp_path / "one")), digests(small(tmp_path / "two"))
    assert one == two
    assert len(one) > 20


def test_another_seed_gives_other_members_and_orders(tmp_path: Path) -> None:
    one, two = digests(small(tmp_path / "one")), digests(small(tmp_path / "two", seed=7))
    same = {name for name in one if one[name] == two.get(name)}
    assert same == {"营销活动.csv"}, "the past campaigns are the shop's, not chance's"


def test_a_block_is_the_same_whatever_was_drawn_before_it() -> None:
    world = World(20_500, 3, 120, UNTIL, UNTIL)
    goods = catalogue(world)
    alone = draw(world, goods, 2, [])
    for number in (0, 1):
        draw(world, goods, number, [])
    after = draw(world, goods, 2, [])
    assert len(alone.people) == 500
    assert np.array_equal(alone.people.phone, after.people.phone)
    assert np.array_equal(alone.trades[0].orders.net, after.trades[0].orders.net)
    assert all(np.array_equal(a[1]["at"], b[1]["at"]) for a, b in zip(alone.events, after.events, strict=True))


def test_every_feed_has_rows_in_its_own_encoding(tmp_path: Path) -> None:
    folder = small(tmp_path / "shop")
    assert {feed: raw(folder, feed).num_rows > 0 for feed in FEEDS} == dict.fromkeys(FEEDS, True)
    assert (folder / "订单_2026.csv").read_bytes().startswith(b"\xef\xbb\xbf")
    assert "会员卡号".encode("gb18030") in (folder / "会员资料.csv").read_bytes()[:40]
    assert (folder / "授权记录.csv.gz").read_bytes()[3:8] == b"\0" * 5, "no name and no time in the gzip head"


def test_large_worlds_have_a_file_a_month() -> None:
    periods = {size: World(size, 1, 400, UNTIL, UNTIL).periods[-1] for size in (20_000, 100_000, 1_000_000)}
    assert periods == {20_000: "2026", 100_000: "2026Q4", 1_000_000: "2026-10"}


def test_fewer_events_can_be_asked_for(tmp_path: Path) -> None:
    full, few = small(tmp_path / "full"), small(tmp_path / "few", events=0.1)
    assert raw(few, "浏览行为").num_rows < 0.3 * raw(full, "浏览行为").num_rows
    assert raw(few, "订单").num_rows == raw(full, "订单").num_rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 0}, "members is 0; allowed are 1 to 9,999,999"),
        ({"days": 10}, "days is 10; allowed are 60 to 3,650"),
        ({"seed": -1}, "seed is -1"),
        ({"exported_on": date(2027, 1, 1)}, "2027-01-01 is outside the simulated period"),
        ({"events": -0.5}, "events is -0.5"),
    ],
)
def test_an_argument_out_of_range_is_named_with_what_is_allowed(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(tmp_path / "shop", **changes)
    assert not (tmp_path / "shop").exists()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "订单.csv").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        simulate(tmp_path, members=10, days=60)
    assert (tmp_path / "订单.csv").read_text() == "mine"


def test_one_member_is_world_enough(tmp_path: Path) -> None:
    summary = simulate(tmp_path / "one", members=1, days=60)
    assert summary.rows["会员资料.csv"] >= 1


def test_a_disk_that_takes_no_more_is_named(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk; it holds for a process, so it gets its own."""
    code = (
        "import pathlib, resource; from crm_core.errors import RunFailed\n"
        "from crm_core.simulate import simulate\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))\n"
        f"try: simulate(pathlib.Path({str(tmp_path / 'shop')!r}), members=300, days=200)\n"
        "except RunFailed as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "stopped: File too large; what is there is not whole" in done.stdout, done.stderr
