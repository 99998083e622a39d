"""What is stored for a date is shown only while it is what the data and the settings say."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_core.ingest import ingest, undo
from crm_core.workspace import Workspace

HEADINGS = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
pytestmark = pytest.mark.slow


def buyers(root: Path) -> list[str]:
    features = Workspace.open(root, "2011-01-31").features
    return sorted(features.filter(features.order_count > 0).member_id.to_pyarrow().to_pylist())


def load(root: Path, number: int, customer: str) -> str:
    path = root / f"online_retail_{number}.csv"
    path.write_text(f"{HEADINGS}{number},A1,THING,1,2011-01-05 10:00:00,5.00,{customer},France\n")
    workspace = Workspace.open(root)
    return ingest(workspace.config, workspace.lake, workspace.vault, "online_retail", [path]).load_id


def test_a_load_or_an_undo_after_the_run_is_seen_at_once(tmp_path: Path) -> None:
    load(tmp_path, 1, "111")
    Workspace.open(tmp_path, "2011-01-31").refresh()
    assert buyers(tmp_path) == ["111"]
    second = load(tmp_path, 2, "222")
    assert buyers(tmp_path) == ["111", "222"]
    Workspace.open(tmp_path, "2011-01-31").refresh()
    workspace = Workspace.open(tmp_path)
    undo(workspace.lake, workspace.vault, second)
    assert buyers(tmp_path) == ["111"]


def test_a_rule_changed_after_the_run_is_seen_at_once(tmp_path: Path) -> None:
    load(tmp_path, 1, "111")
    Workspace.open(tmp_path, "2011-01-31").refresh()
    own = tmp_path / "conf"
    own.mkdir()
    tag = "tags: {anybody: {kind: rule, title: {zh: 任何人, en: Anybody}, owner: crm, when: order_count >= 0}}\n"
    (own / "tags.yml").write_text(tag)
    assert "anybody" in Workspace.open(tmp_path, "2011-01-31").tags.columns
