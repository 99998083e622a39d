"""Which file belongs to which feed: names, headings, and what is said when neither fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_core.config import parse_yaml
from crm_core.config.sources import SourceSettings
from crm_core.errors import InputError
from crm_core.ingest import loads, undo
from crm_core.ingest.files import find
from crm_core.ingest.headings import choose, match
from tests.ingest.corner_shop import EXAMPLE, HEADINGS, LINES, Shop, order, orders_file, text_of, write

SETTINGS = parse_yaml(EXAMPLE, SourceSettings, "conf/sources/corner_shop.yml")


def test_a_folder_gives_the_files_that_fit_and_names_those_that_do_not(tmp_path: Path) -> None:
    for name in ("订单1.csv", "订单2.csv.gz", "订单明细1.csv", "readme.txt", ".订单.csv", "~$订单.xlsx"):
        (tmp_path / name).touch()
    found, ignored = find(SETTINGS, [tmp_path, tmp_path / "订单1.csv"])
    assert {item.path.name: item.feeds for item in found} == {
        "订单1.csv": ("orders",),
        "订单2.csv.gz": ("orders",),
        "订单明细1.csv": ("lines",),
    }
    assert ignored == ["readme.txt"]


@pytest.mark.parametrize("name", ["not there.csv", "empty"])
def test_nothing_to_load_is_an_error_that_says_what_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"does not exist|is one of source 'corner_shop'"):
        find(SETTINGS, [tmp_path / name])


def test_headings_are_matched_after_nfkc_and_trimming() -> None:
    found = match(SETTINGS.feeds["orders"], [f"\ufeff{HEADINGS[0]} ", *(f" {name}　" for name in HEADINGS[1:])])
    assert not found.problems
    assert found.positions == dict(zip(SETTINGS.feeds["orders"].fields, range(8), strict=True))


def test_an_alias_is_taken_where_the_heading_is_not_there() -> None:
    assert match(SETTINGS.feeds["orders"], ["订单号", *HEADINGS[1:]]).positions["order_id"] == 0
    both = match(SETTINGS.feeds["orders"], ["订单号", *HEADINGS])
    assert (both.positions["order_id"], both.unknown) == (1, ("订单号",))


def test_a_missing_heading_is_named_with_the_nearest_found() -> None:
    with pytest.raises(InputError, match="heading '总金额' is missing, the nearest found is '总金额元'"):
        choose(SETTINGS, ["orders"], [name.replace("总金额", "总金额元") for name in HEADINGS], "订单.csv")


def test_a_heading_that_stands_there_twice_is_an_error_with_its_columns() -> None:
    with pytest.raises(InputError, match=r"heading '渠道' stands there 2 times \(columns 8 and 9\)"):
        choose(SETTINGS, ["orders"], [*HEADINGS, " 渠道"], "订单.csv")


def test_a_strange_heading_may_stand_there_twice() -> None:
    assert match(SETTINGS.feeds["orders"], [*HEADINGS, "分销员", "分销员"]).unknown == ("分销员", "分销员")


def test_a_file_of_any_name_goes_to_the_feed_that_its_headings_fit() -> None:
    assert choose(SETTINGS, [], LINES, "export.csv")[0] == "lines"
    assert choose(SETTINGS, [], HEADINGS, "export.csv")[0] == "orders"


def test_headings_of_nothing_known_name_the_source_and_are_not_shown() -> None:
    with pytest.raises(InputError, match=r"does not fit feed .* of source 'corner_shop'.*Headings found: not shown"):
        choose(SETTINGS, [], ["a", "b"], "export.csv")


def test_a_lost_heading_row_is_refused_without_a_member_being_said(shop: Shop, files: Path) -> None:
    path = write(files / "订单.csv", text_of([order(1)], order(2, mobile="13800138000", member_no="王小明")))
    with pytest.raises(InputError, match=r"not shown, because the first row holds values") as refused:
        shop.load(path)
    assert not [value for value in ("13800138000", "王小明", "138001") if value in str(refused.value)]


def test_headings_that_came_and_went_since_the_load_before_are_kept_in_the_record(shop: Shop, files: Path) -> None:
    first = shop.load(orders_file(files, 1))
    assert (first.files[0].new_headings, first.files[0].gone_headings) == ((), ())
    changed = [*HEADINGS[:-1], "备注 "]
    path = write(files / "订单2.csv", text_of([order(2)], changed))
    second = shop.load(path, dry_run=True)
    assert (second.files[0].new_headings, second.files[0].gone_headings) == (("备注",), ("渠道",))
    assert second.files[0].unknown_headings == ("备注",)
    load_id = shop.load(path).load_id
    (_, (record,)), _ = loads(shop.ledger)
    assert (record.load_id, record.detail["new_headings"], record.detail["gone_headings"]) == (load_id, ["备注"], ["渠道"])
    # what was taken back is nothing to compare with
    undo(shop.lake, shop.vault, load_id)
    assert shop.load(orders_file(files, 3, name="订单3.csv")).files[0].new_headings == ()
