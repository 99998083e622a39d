"""The main job on a real file: UCI Online Retail, from its Parquet file to reports, a list, and the proof that both can be rebuilt.

The numbers are those of the public file after cleaning as its many analyses do: customer known, invoice not cancelled, quantity and
price above zero.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pytest

from crm_core.store import delta, table_hash
from crm_core.workspace import Workspace

CRM = Path(sys.executable).parent / "crm"
CAMPAIGN = """
title: {zh: 唤回, en: Win back}
objective: bring members at risk back
segment: rfm:at_risk
channel: app
platform: member_list
control: 0.10
arms: {message: 0.90}
metric: net_amount
template: We miss you
exclusions: {consent: false, contact: false, suppressed: false}
"""
pytestmark = pytest.mark.slow


def crm(root: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """One command as its user types it; its JSON."""
    done = subprocess.run(
        [CRM, "--workspace", root, "--json", *words], capture_output=True, text=True, timeout=600, env={**os.environ}
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout) if code == 0 else {"error": done.stderr}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    root = tmp_path_factory.mktemp("retail") / "我的 数据 100%"
    (root / "conf" / "campaigns").mkdir(parents=True)
    (root / "conf" / "campaigns" / "back.yml").write_text(CAMPAIGN, encoding="utf-8")
    project = "name: shop\ntime_zone: Europe/London\ncurrency: GBP\nlanguage: en\ncountry: GB\n"
    (root / "conf" / "project.yml").write_text(project)
    report = crm(root, "ingest", "online_retail", str(shared_data / "online_retail.parquet"))
    assert report["read"] == 541_909 == report["accepted"] + report["duplicate"] + report["rejected"]
    assert report["duplicate"] == 0
    return root


def number(value: ibis.Value) -> Any:
    return value.to_pyarrow().as_py()


def test_every_line_is_a_line_a_refund_or_an_adjustment(shop: Path) -> None:
    tables = Workspace.open(shop).tables
    assert number(tables.order_lines.count()) + number(tables.refunds.count()) == 541_909
    assert number(tables.members.count()) == 4_372


def test_paying_customers_and_their_invoices_are_the_published_ones(shop: Path) -> None:
    paid = Workspace.open(shop).tables.paid_orders
    known = paid.filter(paid.member_id.notnull(), paid.net_amount > 0)
    assert number(known.member_id.nunique()) == 4_338
    assert number(known.count()) == 18_532


def test_cleaned_lines_are_worth_the_published_sum_exactly(shop: Path) -> None:
    tables = Workspace.open(shop).tables
    lines = tables.order_lines.join(tables.orders.select("order_id", "member_id"), "order_id")
    kept = lines.filter(lines.member_id.notnull(), lines.quantity > 0, lines.unit_price > 0)
    assert number(kept.count()) == 397_884
    worth = number((kept.quantity.cast("decimal(12, 0)") * kept.unit_price.cast("decimal(18, 6)")).sum())
    assert worth.quantize(Decimal("0.01")) == Decimal("8911407.90")


def test_four_reports_a_list_and_both_rebuilt_after_new_data(shop: Path, tmp_path: Path) -> None:
    run = crm(shop, "run", "--as-of", "2011-12-09")
    assert set(run["reports"]) == {
        "data_health",
        "rfm_segments",
        "member_tags",
        "member_value",
        "product_affinity",
        "campaign_result",
    }
    assert "not supplied" in Path(run["reports"]["campaign_result"]).read_text(encoding="utf-8").lower()

    _models_are_shown_and_losers_withheld(shop, Path(run["reports"]["member_value"]))

    groups = Workspace.open(shop, "2011-12-09").segments
    rfm = groups.filter(groups.scheme == "rfm")
    assert number(rfm.count()) == 4_372
    assert number((rfm.segment == "no_paid_order").sum()) == 34

    frozen = crm(shop, "campaign", "freeze", "back", "--as-of", "2011-12-09")
    first = crm(shop, "campaign", "export", "back")
    counts = first["counts"]
    assert counts["selected"] == counts["exported"] + counts["held_out"] + sum(counts["rejected"].values())
    assert counts["exported"] > 0
    assert counts["held_out"] == round(counts["selected"] / 10)
    before = {path.name: path.read_bytes() for path in Path(first["folder"]).rglob("*") if path.is_file()}
    again = crm(shop, "campaign", "export", "back")
    assert again["export_id"] == first["export_id"]
    assert {path.name: path.read_bytes() for path in Path(first["folder"]).rglob("*") if path.is_file()} == before

    later = tmp_path / "online_retail_later.csv"
    later.write_text(
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "990001,85123A,HEART,6,2011-12-12 10:00:00,2.55,17850,United Kingdom\n"
    )
    crm(shop, "ingest", "online_retail", str(later))
    assert crm(shop, "rebuild", run["run_id"])["same"]
    assert crm(shop, "rebuild", frozen["audience_id"])["same"]
    _alter_one_row(shop, frozen["audience_id"], remove_all=False)
    assert "altered" in crm(shop, "rebuild", frozen["audience_id"], code=1)["error"]
    _alter_one_row(shop, frozen["audience_id"], remove_all=True)
    assert crm(shop, "rebuild", frozen["audience_id"])["same"]
    assert crm(shop, "audit")["intact"]


def _models_are_shown_and_losers_withheld(shop: Path, report: Path) -> None:
    """Backtests of 3,370 buyers of the last quarter: churn and next purchases beat their baselines; value over 90 days does not
    (autumn is not like summer here), so each member's own past rate is published in its place and the report says so."""
    cards = crm(shop, "model", "--as-of", "2011-12-09")["models"]
    page = report.read_text(encoding="utf-8")
    assert cards["churn"]["verdict"] == cards["next_purchase"]["verdict"] == "published"
    assert cards["churn"]["backtest"]["rows"] == 3_370
    assert cards["churn"]["backtest"]["low"] > 0.02
    assert (cards["value_90d"]["verdict"], cards["value_90d"]["published"]) == ("baseline", "own_rate")
    assert "Expected value, 90 days</strong> is withheld" in page
    assert cards["next_category"]["verdict"] == "insufficient"  # the file has no categories
    assert "categories 0 of 2 needed" in page


def _alter_one_row(shop: Path, audience_id: str, *, remove_all: bool) -> None:
    """What somebody with access to the disk could do: change one member's arm, or throw the list away."""
    workspace = Workspace.open(shop)
    with workspace.lake.write("somebody's hand") as writer:
        rows = writer.table("audiences")
        keep = rows.filter(rows.audience_id != audience_id)
        if not remove_all:
            ours = rows.filter(rows.audience_id == audience_id)
            one = number(ours.filter(ours.arm == "message").member_id.min())
            keep = ours.mutate(arm=(ours.member_id == one).ifelse("control", ours.arm)).union(keep)
        reader = workspace.engine.to_pyarrow_batches(keep)
        writer._versions["audiences"] = delta.write(workspace.lake.root / "audiences", reader, append=False)
    assert table_hash(workspace.lake.table("audiences"))
