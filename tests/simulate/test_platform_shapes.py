"""Each shape: the same bytes for the same arguments, the quirks of its platform, and nothing that its day of export cannot know."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import pytest

from crm_core.errors import InputError
from crm_core.simulate import simulate
from crm_core.simulate.shapes import SHAPES
from tests.simulate.worlds import UNTIL, digests


def written(folder: Path, shape: str, **changes: object) -> Path:
    simulate(folder, **{"members": 120, "days": 120, "until": UNTIL, "events": 0.3, "shape": shape, **changes})
    return folder


def cells(path: Path, encoding: str = "utf-8-sig") -> list[list[str]]:
    return list(csv.reader(path.read_text(encoding).splitlines()))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_arguments_give_the_same_bytes_and_every_file_has_rows(tmp_path: Path, shape: str) -> None:
    one, two = digests(written(tmp_path / "one", shape)), digests(written(tmp_path / "two", shape))
    assert one == two
    rows = json.loads((tmp_path / "one/truth/world.json").read_text("utf-8"))["rows"]
    assert rows.keys() == {file.name for file in SHAPES[shape]}
    assert all(rows.values())


def test_the_truth_is_that_of_the_sample_whatever_the_shape(tmp_path: Path) -> None:
    truths = [digests(written(tmp_path / shape, shape) / "truth") for shape in ("sample", "jd", "shopify")]
    for truth in truths:
        truth.pop("world.json")
    assert truths[0] == truths[1] == truths[2]


def test_platforms_have_their_quirks(tmp_path: Path) -> None:
    taobao = cells(written(tmp_path / "taobao", "taobao") / "ExportOrderList202608.csv", "gb18030")
    assert "收货地址 " in taobao[0] and any(cell.startswith("'1") for row in taobao for cell in row)
    assert any("NULL" in row for row in taobao)
    jd = (written(tmp_path / "jd", "jd") / "京东订单明细.csv").read_text("gb18030")
    assert "（系统计算中，该值仅供参考）" in jd and "1******" in jd
    youzan = written(tmp_path / "youzan", "youzan")
    assert cells(youzan / "有赞订单报表.csv")[0].count("分销员") == 2
    customers = cells(youzan / "有赞客户列表.csv")
    assert {len(row) for row in customers[1:]} == {len(customers[0]) - 1}
    head, *rows = cells(written(tmp_path / "shopify", "shopify") / "orders_export.csv")
    empty = [row[head.index("Total")] == "" for row in rows]
    again = [row[0] in {other[0] for other in rows[:place]} for place, row in enumerate(rows)]
    assert empty == again and any(empty), "an order's cells stand in its first row only"
    log = cells(written(tmp_path / "log", "user_behavior") / "UserBehavior.csv")
    assert {row[3] for row in log} == {"pv", "fav", "cart", "buy"} and log[0][4].isdigit()


def test_an_earlier_export_knows_nothing_later(tmp_path: Path) -> None:
    early = written(tmp_path / "early", "woocommerce", exported_on=date(2026, 8, 31)) / "orders-export.csv"
    late = written(tmp_path / "late", "woocommerce") / "orders-export.csv"
    head, *rows = cells(early)
    times = [row[head.index(name)] for row in rows for name in ("date", "paid_date")]
    assert max(time for time in times if time.startswith("2026")) < "2026-09-01"
    assert len(rows) < len(cells(late)) - 1


def test_an_unknown_shape_is_named_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shape 'taobo' is not known.*did you mean 'taobao'"):
        written(tmp_path / "shop", "taobo")
    assert not (tmp_path / "shop").exists()
