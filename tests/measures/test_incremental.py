"""Features carried on from the day before are those worked out from the beginning, whatever happened in between."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core import results
from crm_core.workspace import Workspace
from tests.measures.histories import NIGHT, START, Shop, differing, whole

QUIET = {**{name: [] for name in START}, "undo": None}


# a night costs seconds, most of it ibis; `make soak` has a thousand examples where others have a hundred
@settings(
    max_examples=max(2, settings.default.max_examples // 50), deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(nights=st.lists(NIGHT, min_size=2, max_size=2 + settings.default.max_examples // 500))
@pytest.mark.slow
def test_carrying_on_is_the_same_as_working_out_all(nights):
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        before = shop.tables
        stored = whole(before)
        for night in nights:
            shop.night(night)
            stored, _ = shop.tomorrow(before, stored)
            before = shop.tables
        assert differing(stored, whole(before)) == []


NEW = {**START["orders"][0], "order_id": "n", "member_id": "f", "back": 0}
AGAIN = {**NEW, "order_id": "2", "member_id": "c", "back": 14}
NIGHTS = [
    ("windows move on, and nobody is worked out anew for it", {"gap": 1}, 0),
    ("an order of f", {"gap": 1, "orders": [NEW]}, 1),
    ("the same order again, and files are joined", {"gap": 0, "orders": [NEW], "compact": True}, 0),
    ("a late correction gives the order of f to d", {"gap": 1, "orders": [{**NEW, "member_id": "d", "back": 1}]}, 2),
    ("a product changes its category, of which a bought some; another night's load says so again",
     {"gap": 1, "products": [{"product_id": "p", "category": "Cup"}], "orders": [AGAIN]}, 1),
    ("the consent of a is over", {"gap": 6}, 1),
    ("the correction is taken back", {"gap": 0, "undo": 5}, 2),
]  # fmt: skip


@pytest.mark.slow
def test_only_members_with_something_new_are_worked_out_anew(tmp_path):
    shop = Shop(tmp_path)
    history = [{**NEW, "order_id": str(n), "member_id": "abcdef"[n % 6], "back": 5 * n} for n in range(2, 90)]
    shop.night({**QUIET, "gap": 1, "orders": history})
    before = shop.tables
    stored = whole(before)
    for what, night, anew in NIGHTS:
        shop.night({**QUIET, **night})
        stored, touched = shop.tomorrow(before, stored)
        before = shop.tables
        assert touched == anew, what
    assert differing(stored, whole(before)) == []


def test_a_refresh_carries_on_and_gives_what_working_out_all_gives(tmp_path, monkeypatch):
    made = []
    carry = results.carried
    monkeypatch.setattr(results, "carried", lambda *given: made.append(carry(*given)) or made[-1])
    from tests.measures.daily_shop import LAST, another, build

    root = build(tmp_path / "shop")
    Workspace.open(root, LAST).refresh()
    later = another(root, tmp_path / "later", until=LAST + timedelta(days=1))
    later.refresh()
    assert [rows is not None for rows in made] == [True]  # not asked on the first day, which has none before it
    carried = later.features.drop("as_of").to_pyarrow().sort_by("member_id")
    assert differing(carried, whole(later.tables)) == []
