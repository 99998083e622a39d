"""Faults planted in a shop that delivers every day are found, each by its name, and nothing is found in the clean one."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.config.loader import parse_yaml
from crm_core.config.reports import ReportSettings
from crm_core.errors import InputError, UnknownName
from crm_core.measures.quality import Quality, judge, stability_index
from crm_core.measures.quality.gate import check_names
from crm_core.measures.quality.loads import HeadingChange
from crm_core.workspace import Workspace
from tests.measures.daily_shop import LAST, another, build, quality

NOW = datetime(2026, 10, 2)
NEXT = LAST + timedelta(days=1)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clean shop."""
    return build(tmp_path_factory.mktemp("daily") / "我的 数据 100%")


def findings(found: Quality) -> dict[str, Any]:
    """Everything that is wrong, by part."""
    return {
        "late": [(each.table, each.age) for each in found.freshness if each.late],
        "falls": [(each.table, each.column) for each in found.falls],
        "drifts": [(each.table, each.column) for each in found.drifts if each.shifted],
        "gaps": [(each.table, each.channel, each.first, each.days) for each in found.gaps],
        "impossible": {each.kind: (each.orders, each.examples) for each in found.impossible if each.orders},
        "broken": found.broken,
        "faults": [(load.load_id, load.faults) for load in found.loads if load.faults],
        "headings": found.headings,
        "refused": [(each.kind, each.field, each.heading, each.rule, each.rows) for each in found.refused],
    }


NOTHING = {
    "late": [], "falls": [], "drifts": [], "gaps": [], "impossible": {}, "broken": {}, "faults": [], "headings": [],
    "refused": [],
}  # fmt: skip


def test_nothing_is_found_in_a_clean_shop_and_every_part_was_looked_at(clean: Path, tmp_path: Path) -> None:
    found = quality(another(clean, tmp_path / "shop"))
    assert findings(found) == NOTHING
    assert [load.covers_until for load in found.loads[:2]] == [NEXT, LAST] and len(found.loads) == 5
    assert found.cadences[0].every_days == 1 and found.cadences[0].late_after == 2
    judged = {(drift.table, drift.column) for drift in found.drifts}
    assert {("orders", "net_amount"), ("orders", "channel"), ("orders", "province")} <= judged
    assert len(found.impossible) == 13
    profile = found.profiles["orders"]
    assert profile.rows == 180 * 123 and profile.last == NEXT and profile.first == date(2026, 6, 1)
    shipped = profile.column("shipped_at")
    assert 0.88 < shipped.filled / shipped.rows < 0.92 and shipped.possible == shipped.filled


def test_a_column_that_the_source_stopped_filling_is_named(clean: Path, tmp_path: Path) -> None:
    def plant(tables: dict[str, pd.DataFrame]) -> None:
        tables["orders"]["province"] = None

    found = quality(another(clean, tmp_path / "shop", plant))
    assert findings(found) == {**NOTHING, "falls": [("orders", "province")]}
    fall = found.falls[0]
    assert (fall.now, fall.before, fall.rows) == (0, 1, 180)


def test_amounts_in_another_unit_and_a_lost_channel_are_drift(clean: Path, tmp_path: Path) -> None:
    def plant(tables: dict[str, pd.DataFrame]) -> None:
        for name in ("gross_amount", "discount_amount", "net_amount"):
            tables["orders"][name] = (tables["orders"][name] * 100).round(2)
        for name in ("unit_price", "line_amount"):
            tables["order_lines"][name] = (tables["order_lines"][name] * 100).round(2)
        tables["refunds"]["amount"] = (tables["refunds"]["amount"] * 100).round(2)
        tables["orders"]["channel"] = tables["orders"]["channel"].where(tables["orders"]["channel"] != "tmall", "jd")

    found = quality(another(clean, tmp_path / "shop", plant))
    drifted = {("orders", name) for name in ("gross_amount", "discount_amount", "net_amount", "channel")}
    drifted |= {("order_lines", "unit_price"), ("order_lines", "line_amount")}
    assert set(findings(found)["drifts"]) == drifted
    channel = next(drift for drift in found.drifts if drift.column == "channel")
    assert channel.value in ("tmall", "jd") and channel.rows == 180 and 10_000 < channel.rows_before < 10_200
    assert findings(found)["impossible"] == {} and findings(found)["gaps"] == [("orders", "tmall", NEXT, 1)]


def test_days_without_orders_are_a_gap_and_an_old_table_is_late(clean: Path, tmp_path: Path) -> None:
    found = quality(another(clean, tmp_path / "gap", until=LAST + timedelta(days=4)))
    assert findings(found) == {**NOTHING, "gaps": [("orders", "", NEXT, 3)]}

    def only_refunds(tables: dict[str, pd.DataFrame]) -> None:
        tables["refunds"]["order_id"] = None
        del tables["orders"], tables["order_lines"]

    late = quality(another(clean, tmp_path / "late", only_refunds, until=LAST + timedelta(days=5)))
    assert findings(late) == {**NOTHING, "late": [("orders", 5)]}


def test_a_channel_that_falls_silent_is_a_gap_of_its_own(clean: Path, tmp_path: Path) -> None:
    def plant(tables: dict[str, pd.DataFrame]) -> None:
        tables["orders"]["channel"] = tables["orders"]["channel"].where(tables["orders"]["channel"] != "jd", "store")

    assert findings(quality(another(clean, tmp_path / "shop", plant)))["gaps"] == [("orders", "jd", NEXT, 1)]


def test_each_contradiction_is_counted_with_three_order_ids(clean: Path, tmp_path: Path) -> None:
    def plant(tables: dict[str, pd.DataFrame]) -> None:
        orders, refunds, lines = tables["orders"], tables["refunds"], tables["order_lines"]
        orders.loc[:3, "paid_at"] = orders.loc[:3, "ordered_at"] - pd.Timedelta(minutes=1)
        orders.loc[4:4, "shipped_at"] = orders.loc[4:4, "paid_at"] - pd.Timedelta(hours=1)
        orders.loc[5:6, "member_id"] = "nobody"
        lines.loc[7:8, "line_amount"] += 5
        orders.loc[10, ["member_id", "ordered_at", "channel", "net_amount", "gross_amount", "discount_amount"]] = orders.loc[
            9, ["member_id", "ordered_at", "channel", "net_amount", "gross_amount", "discount_amount"]
        ]
        orders.loc[10, ["paid_at", "shipped_at"]] = orders.loc[9, ["paid_at", "shipped_at"]]
        lines.loc[10, ["ordered_at", "unit_price", "line_amount"]] = lines.loc[9, ["ordered_at", "unit_price", "line_amount"]]
        first = refunds.index[0]
        refunds.loc[first, "amount"] += 1
        refunds.loc[refunds.index[1], "refunded_at"] -= pd.Timedelta(days=1)
        refunds.loc[refunds.index[2], "order_id"] = "gone"

    found = quality(another(clean, tmp_path / "shop", plant))
    impossible = findings(found)["impossible"]
    assert {kind: count for kind, (count, _) in impossible.items()} == {
        "paid_before_placed": 4, "shipped_before_paid": 1, "refunded_before_placed": 1, "refunded_over_paid": 1,
        "lines_differ": 2, "unknown_member": 2, "told_twice": 1, "refund_without_order": 1,
    }  # fmt: skip
    assert impossible["paid_before_placed"][1] == tuple(f"o{NEXT:%m%d}0000{number}" for number in range(3))
    assert {**findings(found), "impossible": {}} == NOTHING


def test_broken_rules_sums_and_headings_are_named(clean: Path, tmp_path: Path) -> None:
    def plant(tables: dict[str, pd.DataFrame]) -> None:
        tables["orders"].loc[:3, "net_amount"] += 7
        tables["order_lines"].loc[:3, "line_amount"] += 7

    wrong = [{"feed": "orders", "name": "net", "rows": "10.00", "written": "9.99"}]
    workspace = another(
        clean, tmp_path / "shop", plant, rows_rejected=3, balances=wrong, headings=["订单编号", "新列"], unknown=["新列"]
    )
    found = quality(workspace)
    assert findings(found) == {
        **NOTHING,
        "broken": {("orders", "net = gross − discount + shipping"): 4},
        "faults": [(f"load-{NEXT:%Y%m%d}", ["rows", "files", "money net"])],
        "headings": [HeadingChange("sample", "orders", ("新列",), ("订单创建时间",), ("新列",))],
    }
    assert found.loads[0].money[0].written == Decimal("9.99")


def test_rejects_are_told_by_kind_and_never_quote_a_value(clean: Path, tmp_path: Path) -> None:
    reasons = [
        "手机: '13800138000' is not known (known: a, b)", "订单创建时间: 'x' is not a time", "金额: is empty",
        "下单: '2031-01-01' lies in the future", "the row has 3 cells, the headings are 4",
        "orders: net = gross − discount + shipping", "the amount of an order is negative",
    ]  # fmt: skip
    rejects = pd.DataFrame({"file": "订单.csv", "row_number": np.arange(7), "field": "f", "reason": reasons, "row": "{}"})
    found = quality(another(clean, tmp_path / "shop", rows_read=440, rows_rejected=7, rejects=rejects))
    kinds = {each.kind: (each.heading, each.rule) for each in found.refused}
    assert kinds == {
        "unknown_word": ("手机", ""), "unreadable": ("订单创建时间", ""), "empty": ("金额", ""), "future": ("下单", ""),
        "malformed": ("", ""), "broken_rule": ("", "orders: net = gross − discount + shipping"),
        "source_rule": ("", "the amount of an order is negative"),
    }  # fmt: skip
    assert "138" not in str(found.refused)


def test_a_report_of_an_older_snapshot_knows_only_its_own_loads(clean: Path) -> None:
    newest = Workspace.open(clean)
    assert newest.snapshot is not None
    before = Workspace.open(clean, snapshot=newest.snapshot.id - 1)
    assert len(quality(newest).loads) == 4 and len(quality(before).loads) == 3
    assert quality(Workspace.open(clean, as_of=date(2026, 8, 1))).profiles["orders"].last == date(2026, 8, 1)


CHECKS = """
gate:
  - {check: balance, at_most: 0}
  - {check: rejected_share, of: sample, at_most: 0.05}
  - {check: freshness_days, of: orders, at_most: 2}
  - {check: days_since_load, at_most: 2}
  - {check: broken_rules, at_most: 0}
  - {check: completeness, of: orders.province, at_least: 0.999}
  - {check: validity, of: orders.channel, at_least: 1}
  - {check: drift, of: orders, at_most: 0.25}
  - {check: gap_days, of: orders, at_most: 0}
  - {check: impossible_share, at_most: 0}
  - {check: freshness_days, of: opportunities, at_most: 1}
"""


def test_the_gate_names_exactly_the_check_that_fails(clean: Path, tmp_path: Path) -> None:
    checks = parse_yaml(CHECKS, ReportSettings, "reports.yml").gate
    good = judge(quality(another(clean, tmp_path / "good")), checks, NOW)
    assert all(outcome.passed for outcome in good) and good[-1].found is None

    def plant(tables: dict[str, pd.DataFrame]) -> None:
        tables["orders"]["province"] = None

    shop = another(clean, tmp_path / "bad", plant, rows_read=1000, rows_rejected=300)
    outcomes = judge(quality(shop), checks, NOW)
    assert [(each.check, each.what) for each in outcomes if not each.passed] == [
        ("balance", f"load-{NEXT:%Y%m%d}"), ("rejected_share", "sample"),
        ("completeness", "orders.province"),
    ]  # fmt: skip
    assert outcomes[1].sentence == "rejected_share of sample: found 0.3, allowed at most 0.05"
    assert judge(quality(shop), checks, NOW + timedelta(days=9))[3].passed is False


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{check: balanse, at_most: 0}", "balance"),
        ("{check: balance}", "takes `at_most`"),
        ("{check: completeness, of: orders.city, at_most: 1}", "takes `at_least`"),
        ("{check: freshness_days, at_most: 1}", "needs `of`: a table"),
        ("{check: completeness, of: orders, at_least: 1}", "is of a table.column, not of 'orders'"),
        ("{check: impossible_share, of: orders, at_most: 1}", "is of everything, not of 'orders'"),
    ],
)
def test_a_wrong_check_is_one_clear_error(line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(f"gate:\n  - {line}\n", ReportSettings, "reports.yml")
    assert message in str(caught.value) and "reports.yml" in str(caught.value)


def test_a_check_of_an_unknown_table_column_or_source_names_the_nearest() -> None:
    for line, nearest in (
        ("{check: freshness_days, of: order, at_most: 1}", "'orders'"),
        ("{check: completeness, of: orders.citi, at_least: 1}", "'city'"),
        ("{check: balance, of: sampel, at_most: 1}", "'sample'"),
    ):
        checks = parse_yaml(f"gate:\n  - {line}\n", ReportSettings, "reports.yml").gate
        with pytest.raises(UnknownName, match=f"did you mean {nearest}"):
            check_names(checks, ["sample"])


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=30))
def test_the_stability_index_is_never_negative_symmetric_and_nothing_for_equal_shares(pairs: list[tuple[int, int]]) -> None:
    newer, earlier = ([pair[side] for pair in pairs] for side in (0, 1))
    index = stability_index(newer, earlier)
    assert index >= 0 and index == pytest.approx(stability_index(earlier, newer))
    assert stability_index(newer, newer) == 0


def test_the_stability_index_of_a_hand_made_case() -> None:
    # shares .2 .8 → .5 .5: (.5−.2)·ln(.5/.2) + (.5−.8)·ln(.5/.8) = .3·.9163 + .3·.4700 = .4159; the half facts added to
    # each bin of a million change nothing in these digits
    assert stability_index([500_000, 500_000], [200_000, 800_000]) == pytest.approx(0.4159, abs=1e-4)
