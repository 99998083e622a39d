"""Data of other shapes run through `crm run` to reports without a change of code: event logs without amounts, household baskets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crm_core.simulate import simulate
from crm_core.workspace import Workspace
from tests.end_to_end.test_online_retail import crm, number

pytestmark = pytest.mark.slow
MONEY = re.compile(r"[¥$]\s*[\d.,]+")


def reports(root: Path, *words: str) -> dict[str, str]:
    """The visible text of every report of one `crm run`."""
    crm(root, "run", *words)
    pages = sorted((root / "reports").glob("*/*.html"))
    return {page.stem: re.sub(r"(?s)<(script|style|svg).*?</\1>|<[^>]+>", "|", page.read_text("utf-8")) for page in pages}


def test_event_logs_give_reports_that_say_which_amounts_are_not_supplied(tmp_path: Path) -> None:
    root = tmp_path / "logs"
    root.mkdir()
    simulate(tmp_path / "raw", members=400, days=200, shape="user_behavior")
    loaded = crm(root, "ingest", "user_behavior", str(tmp_path / "raw"))
    assert loaded["read"] == loaded["accepted"] + loaded["duplicate"] > 2_000
    workspace = Workspace.open(root)
    tables, features = workspace.tables, workspace.features
    assert not tables.priced and number(tables.orders.net_amount.sum()) == 0
    assert number(features.net_amount.notnull().sum()) == 0, "an unknown amount is no nought"
    assert number((features.order_count > 0).sum()) > 100
    pages = reports(root, "rfm_segments", "member_tags")
    assert not any(MONEY.search(text) for text in pages.values()), "no amount is shown where none is known"
    assert all("未提供：|订单金额" in re.sub(r"\s*\|[\s|]*", "|", text) or "订单金额" in text for text in pages.values())
    assert "核心客户" in pages["rfm_segments"]


def test_complete_journey_runs_to_reports_with_the_sums_of_its_files(tmp_path: Path, shared_data: Path) -> None:
    root = tmp_path / "journey"
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "project.yml").write_text(
        "name: journey\ntime_zone: America/New_York\ncurrency: USD\nlanguage: en\ncountry: US\n"
    )
    loaded = crm(root, "ingest", "complete_journey", str(shared_data / "complete_journey"))
    # one row's sales_value is 4.4e-16, a sum gone wrong in binary, which is no amount
    assert (loaded["read"], loaded["duplicate"], loaded["rejected"]) == (170_261, 0, 1)
    tables = Workspace.open(root).tables
    assert number(tables.members.count()) == 2_377
    assert number(tables.order_lines.count()) == 74_999
    assert str(number(tables.orders.net_amount.sum())) == "232578.53"
    pages = reports(root, "--as-of", "2017-12-31")
    assert {"data_health", "rfm_segments", "member_tags", "campaign_result"} <= pages.keys()
    assert MONEY.search(pages["rfm_segments"])
