"""Shops whose orders are all alike in one way: every section of every report says what it can, and none fails."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from crm_core.reporting import views
from crm_core.reporting.page import render_alone
from crm_core.workspace import Workspace
from tests.store.lakes import order, rows_of

FIRST = datetime(2026, 1, 1, 12)
REPORTS = (views.RfmSegments, views.MemberTags, views.MemberValue, views.ProductAffinity, views.DataHealth)


def _order(number: int, member: int | None, days: int, net: str = "10.00", paid: bool = True) -> dict[str, Any]:
    at = (FIRST + timedelta(days=days)).isoformat()
    who = None if member is None else f"m{member}"
    when = datetime.fromisoformat(at) if paid else None
    return order(f"o{number}", at, at, net, member_id=who, paid_at=when, currency="CNY", channel="store")


SHOPS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "one order": lambda: [_order(0, 0, 0)],
    "one day, for nothing": lambda: [_order(n, n % 200, 0, "0.00") for n in range(400)],
    "guests alone": lambda: [_order(n, None, n) for n in range(100)],
    "nobody paid": lambda: [_order(n, n, n, paid=False) for n in range(100)],
    "the greatest amounts": lambda: [_order(n, n % 50, n % 300, "999999999999999.99") for n in range(3000)],
    "everybody alike": lambda: [_order(n, n % 600, 30 * (n // 600)) for n in range(4800)],
}


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("shop", SHOPS)
def test_every_section_says_what_it_can(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workspace.open(tmp_path).lake.write("odd") as writer:
        writer.upsert("orders", rows_of("orders", SHOPS[shop]()), load_id="odd", distinct=True)
        writer.cover((FIRST + timedelta(days=300)).date())
    Workspace.open(tmp_path).refresh()
    workspace = Workspace.open(tmp_path)
    for language in ("zh", "en"):
        monkeypatch.setenv("CRM_LANGUAGE", language)
        for view in (report(workspace) for report in REPORTS):
            shown = {name: section() for name, section in inspect.getmembers(view, _is_section)}
            assert len(shown) >= 5
            for name, block in shown.items():
                data = json.loads(json.dumps(block.as_json(), allow_nan=False))
                text = re.sub(r"<[^>]*>", " ", render_alone(data).split("</style>")[1])
                assert not re.search(r"\b(nan|NaN|NaT|None|inf)\b", text), (view, name, text)


def _is_section(member: Any) -> bool:
    shown = inspect.ismethod(member) and not member.__name__.startswith("_")
    return shown and inspect.get_annotations(member.__func__) == {"return": "Block"}
