"""An earlier export shows the same world: only what was known on the day, nothing of what came after."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from tests.simulate.worlds import raw, small, truth

DAYS = (date(2026, 2, 16), date(2026, 6, 18), date(2026, 9, 30))
BORN = {  # feed → heading of the time at which a row came into being
    "会员资料": "更新时间", "订单": "订单创建时间", "订单明细": "订单创建时间", "退款": "退款完结时间",
    "浏览行为": "发生时间", "会员互动": "发生时间", "客服记录": "发生时间", "消息记录": "发生时间",
    "授权记录": "变更时间", "营销名单": "分组时间", "营销活动": "开始时间", "商品": "更新时间",
    "商机": "更新时间", "合同回款": "签约日期",
}  # fmt: skip
LATER = {  # cells that are filled after the row came into being → the time that reveals them
    "订单": {
        "订单付款时间": "订单付款时间", "审核时间": "审核时间", "发货时间": "发货时间",
        "签收时间": "签收时间", "确认收货时间": "确认收货时间", "确认方式": "确认收货时间",
        "评价时间": "评价时间", "评价得分": "评价时间", "订单关闭时间": "订单关闭时间",
        "支付方式": "订单付款时间",
    },
    "合同回款": {"回款日期": "回款日期"},
}  # fmt: skip
DERIVED = {"订单状态", "更新时间"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("whole") / "shop")


def _known(table: pa.Table, feed: str, last: str, ids: set[str]) -> Counter[tuple[str, ...]]:
    """The rows of the whole export that an export of that day would show, as it would show them."""
    revealed = LATER.get(feed, {})
    dropped = DERIVED if feed == "订单" else set()
    rows: Counter[tuple[str, ...]] = Counter()
    first = table.column_names[0]
    for row in table.to_pylist():
        at = row[BORN[feed]]
        readable = at[:2] == "20" and at[4] == "-" and at[5:10] != "02-30"
        if (at[:10] <= last) if readable else row[first] in ids:
            shown = {
                name: value if name not in revealed or row[revealed[name]][:10] <= last else ""
                for name, value in row.items()
                if name not in dropped
            }
            rows[tuple(shown.values())] += 1
    return rows


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_an_export_of_an_earlier_day_holds_exactly_what_was_known_then(tmp_path: Path, whole: Path, day: date) -> None:
    early = small(tmp_path / "shop", exported_on=day)
    for feed in BORN:
        if not any(path.name.startswith(feed) for path in early.iterdir()):
            assert not _known(raw(whole, feed), feed, str(day), set()), feed
            continue
        found = raw(early, feed)
        ids = set(found[found.column_names[0]].to_pylist())
        kept = [name for name in found.column_names if not (feed == "订单" and name in DERIVED)]
        assert Counter(map(tuple, _rows(found.select(kept)))) == _known(raw(whole, feed), feed, str(day), ids), feed


def _rows(table: pa.Table) -> list[tuple[str, ...]]:
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_no_cell_of_an_early_export_is_later_than_its_day(tmp_path: Path) -> None:
    day = DAYS[1]
    early = small(tmp_path / "shop", exported_on=day)
    for feed, name in BORN.items():
        headings = {name, "更新时间", *LATER.get(feed, {}).values()} & set(raw(early, feed).column_names)
        for heading in headings:
            times = [cell for cell in raw(early, feed)[heading].to_pylist() if cell[:3] == "202"]
            assert max(times, default="")[:10] <= str(day), (feed, heading)


def test_the_last_day_shows_more_than_the_day_before(tmp_path: Path, whole: Path) -> None:
    before = small(tmp_path / "shop", exported_on=date(2026, 10, 31) - timedelta(days=1))
    assert 0 < raw(whole, "订单").num_rows - raw(before, "订单").num_rows < 60


def test_latent_truth_does_not_depend_on_the_day_of_export(tmp_path: Path, whole: Path) -> None:
    early = small(tmp_path / "shop", exported_on=DAYS[0])
    assert truth(early, "latent_members").equals(truth(whole, "latent_members"))
    assert truth(early, "expected_orders").num_rows < truth(whole, "expected_orders").num_rows
