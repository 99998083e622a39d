"""The promise of dates: what a shop would have exported on day D, loaded alone, is the full load as of D."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from crm_core.campaigns.audience import computed
from crm_core.schema import TABLES
from crm_core.workspace import RESULTS, Workspace
from tests.end_to_end.sample_shop import as_of, eager_models, elsewhere, loaded, rows

WORLD = {"members": 400, "days": 400}
DAYS = (
    date(2025, 12, 31),  # before either campaign; the last day of a year of the shop, not of UTC
    date(2026, 4, 30),  # between the campaigns; the last day of a month
    date(2026, 9, 3),  # goods on their way, reviews to come
    date(2026, 10, 31),  # everything
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The whole world, in a folder whose name is no easy one."""
    with elsewhere():
        root = tmp_path_factory.mktemp("full") / "我的 数据 100%"
        eager_models(root)
        yield loaded(root, **WORLD)[0]


@pytest.fixture(scope="module", params=DAYS, ids=str)
def both(request: pytest.FixtureRequest, full: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Workspace]:
    """(the full load read as of D, the export of D loaded alone and read as of D)."""
    day: date = request.param
    root = tmp_path_factory.mktemp(str(day)) / "我的 数据 100%"
    eager_models(root)
    alone, report = loaded(root, exported_on=day, **WORLD)
    assert report.read == report.accepted + report.duplicate + report.rejected
    return as_of(full, day), as_of(alone, day)


@pytest.mark.slow
def test_every_canonical_table_is_the_same(both: tuple[Workspace, Workspace]) -> None:
    whole, alone = both
    for name in TABLES:
        seen, exported = rows(getattr(whole.tables, name)), rows(getattr(alone.tables, name))
        assert seen - exported == {}, f"{name}: only in the full load"
        assert exported - seen == {}, f"{name}: only in the export of the day"
    assert rows(whole.tables.paid_orders) == rows(alone.tables.paid_orders)


@pytest.fixture(scope="module")
def results(both: tuple[Workspace, Workspace]) -> list[dict[str, Any]]:
    """What is worked out of the two: features, segments, tags, scores, cards of models."""
    return [workspace.compute() for workspace in both]


@pytest.mark.slow
@pytest.mark.parametrize("name", RESULTS)
def test_every_result_is_the_same(results: list[dict[str, Any]], name: str) -> None:
    found, expected = (rows(each[name]) for each in results)
    assert found == expected
    assert found or name == "member_scores"  # early days have too little to learn from


@pytest.mark.slow
@pytest.mark.parametrize("campaign", ["second_order", "winback_at_risk"])
def test_the_lists_to_be_frozen_are_the_same(both: tuple[Workspace, Workspace], campaign: str) -> None:
    lists = []
    for workspace in both:
        tables, until = workspace.tables, workspace.tables.instant
        with computed(tables, workspace.config, workspace.lake, workspace.vault, campaign, 1, until) as found:
            lists.append(rows(found.rows))
    assert lists[0] == lists[1]
    assert {"selected", "held_out"} <= {value for row in lists[0] for value in row}


@pytest.mark.slow
def test_the_world_has_something_to_hide_on_that_day(full: Path) -> None:
    """The proof would prove nothing if no table changed after the earlier days."""
    early, late = as_of(full, DAYS[2]).tables, as_of(full, DAYS[3]).tables
    for name in ("members", "orders", "order_lines", "refunds", "interactions", "consents", "opportunities"):
        assert rows(getattr(early, name)) - rows(getattr(late, name)) or name in (
            "order_lines", "refunds", "interactions", "consents",
        ), name  # fmt: skip
        assert rows(getattr(late, name)) - rows(getattr(early, name)), name
