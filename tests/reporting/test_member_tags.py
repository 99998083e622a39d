"""The report of tags where there is little to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_core.ingest import ingest
from crm_core.reporting.views.member_tags import MemberTags
from crm_core.workspace import Workspace

TAG = "title: {zh: 甲, en: A}, owner: crm, kind: rule"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    return tmp_path


def load(root: Path, *customers: str) -> None:
    path = root / "online_retail.csv"
    rows = [f"{n},A1,THING,1,2011-01-05 10:00:00,5.00,{one},France" for n, one in enumerate(customers)]
    path.write_text("\n".join(["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country", *rows]))
    workspace = Workspace.open(root)
    ingest(workspace.config, workspace.lake, workspace.vault, "online_retail", [path])


def say(root: Path, **rules: str) -> None:
    told = ", ".join(f"{name}: {{{TAG}, {rule}}}" for name, rule in rules.items())
    (root / "conf" / "tags.yml").write_text(f"tags: {{{told}}}\n")


def test_where_nobody_is_a_member_values_are_said_to_be_missing(shop: Path) -> None:
    load(shop, "", "")
    view = MemberTags(Workspace.open(shop, "2011-01-31"))
    assert view.distribution() == view.missing(view.text("tags"), view.text("no_tags_cost"))


def test_a_tag_has_moved_only_where_it_said_the_same_before_and_was_published(shop: Path) -> None:
    load(shop, "111", "222", "222")
    say(shop, same="when: order_count > 1", other="when: order_count > 0", held="bounds: {coverage: [0, 0]}, when: order_count > 0")
    Workspace.open(shop, "2011-01-30").refresh()
    say(shop, same="when: order_count > 1", other="when: order_count > 1", held="when: order_count > 0")
    rows = MemberTags(Workspace.open(shop, "2011-01-31")).coverage_rows.set_index("tag")
    assert rows["before"].dropna().to_dict() == {"same": 0.5}
    assert rows["share"].to_dict() == {"same": 0.5, "other": 0.5, "held": 1.0}
