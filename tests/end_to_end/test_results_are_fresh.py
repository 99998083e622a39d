"""What is stored for a date is shown only while it is what the data and the settings say."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from crm_core.cli.people import segment
from crm_core.ingest import ingest, undo
from crm_core.reporting.views.rfm_segments import RfmSegments
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


def test_a_tag_that_another_type_took_the_column_of_is_worked_out_anew(tmp_path: Path) -> None:
    load(tmp_path, 1, "111")
    (tmp_path / "conf").mkdir()
    conf = tmp_path / "conf" / "tags.yml"
    tag = "tags: {x: {title: {zh: 甲, en: A}, owner: crm, %s}}\n"
    for day, said in (("30", "kind: statistic, value: order_count"), ("31", "kind: rule, when: order_count > 0")):
        conf.write_text(tag % said)
        Workspace.open(tmp_path, f"2011-01-{day}").refresh()
    assert Workspace.open(tmp_path, "2011-01-31").tags.x.to_pyarrow().to_pylist() == [True]
    conf.write_text(tag % "kind: statistic, value: order_count")
    assert Workspace.open(tmp_path, "2011-01-30").tags.x.to_pyarrow().to_pylist() == [1]


def test_what_an_earlier_day_said_is_seen_once_it_was_worked_out_anew(tmp_path: Path) -> None:
    load(tmp_path, 1, "111")
    (tmp_path / "conf").mkdir()
    rules = "rules: {past: {title: {zh: 过去, en: Past}, owner: crm, when: \"in_segment('rule:one', '2011-01-10')\"}, "
    one = "one: {title: {zh: 一, en: One}, owner: crm, when: order_count >= %d}}\n"
    (tmp_path / "conf" / "segments.yml").write_text(rules + one % 1)
    Workspace.open(tmp_path, "2011-01-10").refresh()
    day = Workspace.open(tmp_path, "2011-01-31")
    day.refresh()
    assert day._is_stored("member_segments")
    past = day.segments.filter(day.segments.segment == "past").member_id.to_pyarrow().to_pylist()
    assert past == ["111"]
    (tmp_path / "conf" / "segments.yml").write_text(rules + one % 2)
    Workspace.open(tmp_path, "2011-01-10").refresh()
    (tmp_path / "conf" / "segments.yml").write_text(rules + one % 1)
    again = Workspace.open(tmp_path, "2011-01-31")
    assert not again._is_stored("member_segments")  # though neither data nor settings changed since
    assert again.segments.filter(again.segments.segment == "past").count().to_pyarrow().as_py() == 0
    assert day._days_asked == {date(2011, 1, 10)}


def test_what_a_new_rule_changed_is_not_told_as_members_who_left(tmp_path: Path, monkeypatch, capsys) -> None:
    load(tmp_path, 1, "111")
    (tmp_path / "conf").mkdir()
    for day, orders in (("2011-01-30", 1), ("2011-01-31", 0)):
        rules = f"{{often: {{title: {{zh: 常客, en: Often}}, when: order_count >= {orders}}}}}"
        (tmp_path / "conf" / "segments.yml").write_text(f"rules: {rules}\n")
        Workspace.open(tmp_path, day).refresh()
    view = RfmSegments(Workspace.open(tmp_path, "2011-01-31"))
    view.min_cell = 1
    report = view.rules().data["blocks"][0]["data"]
    assert [cell["text"] for cell in report["rows"][0][1:5]] == ["1 人", "100.0%", "–", "–"]
    assert "2011-01-30" in report["note"]
    assert "常客" in report["note"]
    monkeypatch.setenv("CRM_WORKSPACE", str(tmp_path))
    segment("rule:often", "2011-01-31")
    assert "movement: not told, as other settings decided the segment on 2011-01-30" in capsys.readouterr().out
