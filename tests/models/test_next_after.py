"""What is bought next, on a history small enough to count by hand."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest

from crm_core.models import entry_items, next_after
from tests.tiny_world import moment, order, world

PRODUCTS = [{"product_id": f"{kind}1", "category": kind} for kind in ("tea", "cup", "cake")]


def shop(visits: list[tuple[str, str, str]], as_of: str = "2026-10-31", seed: int = 0) -> Any:
    """Paid orders (member, time in UTC, items parted by blanks), in an order drawn by `seed`."""
    orders, lines = [], []
    for number, (member, paid_at, items) in enumerate(visits):
        orders.append(order(f"o{number}", member or None, paid_at))
        lines += [
            {"order_id": f"o{number}", "line_no": place, "ordered_at": moment(paid_at), "product_id": f"{item}1"}
            for place, item in enumerate(items.split(), 1)
        ]
    random.Random(seed).shuffle(orders)
    random.Random(seed).shuffle(lines)
    return world(as_of=as_of, orders=orders, order_lines=lines, products=PRODUCTS)


VISITS = [
    ("a", "2026-01-01 02:00", "tea"),
    ("a", "2026-01-01 15:59", "cup"),  # 23:59 in Shanghai: the same visit as the tea
    ("a", "2026-01-01 16:01", "cake"),  # 00:01 of the next day
    ("a", "2026-01-11 02:00", "cake tea"),
    ("b", "2026-02-01 02:00", "tea"),
    ("b", "2026-02-21 02:00", "cake"),
    ("c", "2026-03-01 02:00", "tea"),  # never again
    ("d", "2026-03-01 02:00", "cup cup"),
    ("d", "2026-03-05 02:00", "tea"),
    ("", "2026-03-06 02:00", "cake"),  # a guest
]


def test_next_purchases_are_counted_by_visit_against_all_next_visits() -> None:
    rows = next_after(shop(VISITS), "category", least=1).set_index(["antecedent", "consequent"])
    tea = rows.loc[("tea", "cake")]
    # next visits: a 2 Jan (cake), a 11 Jan (cake, tea), b 21 Feb (cake), d 5 Mar (tea): cake in 3 of 4
    assert (tea.followed, tea.members, tea.share, tea.base) == (2, 2, 1.0, 0.75)
    assert tea.lift == pytest.approx(4 / 3) and tea.median_days == 10.5
    assert rows.loc[("cake", "cake")].followed == 1, "bought again counts too"
    assert rows.loc[("cup", "tea")].followed == 1 and ("tea", "tea") not in rows.index


def test_entry_items_count_those_whose_time_is_over() -> None:
    rows = entry_items(shop(VISITS, as_of="2026-05-30"), "category", days=90, least=1).set_index("item")
    # by 30 May a, b, c and d began 90 days ago or earlier (1 March is exactly 90); a, b and d came back
    assert rows.base.tolist() == [0.75] * 2
    assert (rows.loc["tea"].members, rows.loc["tea"].returned) == (3, 2)
    assert (rows.loc["cup"].members, rows.loc["cup"].returned) == (2, 2)
    assert (rows.low <= rows.share).all() and (rows.share <= rows.high).all()
    assert entry_items(shop(VISITS, as_of="2026-05-29"), "category", days=90, least=1).members.sum() == 3


def test_later_rows_and_the_order_of_rows_change_nothing() -> None:
    later = [("b", "2026-11-01 02:00", "tea cup"), ("c", "2026-11-05 02:00", "cake"), ("z", "2026-12-01 02:00", "tea")]
    for found in (next_after, entry_items):
        expected = found(shop(VISITS), "product", least=1)
        pd.testing.assert_frame_equal(found(shop(VISITS + later, seed=5), "product", least=1), expected)
        assert len(expected) > 1


def test_a_planted_habit_is_found_with_its_lag_and_nothing_else_stands_out() -> None:
    """One cup buyer in two buys cake on the next visit, others one in five; the next visit comes 14 days later."""
    draw = random.Random(42)
    visits = []
    for number in range(600):
        first = draw.choice(["tea", "cup"])
        cake = draw.random() < (0.5 if first == "cup" else 0.2)
        day = date(2026, 1, 1) + timedelta(days=draw.randrange(60))
        visits.append((f"m{number}", f"{day} 02:00", first))
        visits.append((f"m{number}", f"{day + timedelta(days=14)} 02:00", "cake" if cake else draw.choice(["tea", "cup"])))
    rows = next_after(shop(visits), "category")
    best = rows.iloc[0]
    assert (best.antecedent, best.consequent, best.median_days) == ("cup", "cake", 14)
    # 99.99 % of the normal distribution around the planted rate, about 300 cup buyers
    assert abs(best.share - 0.5) < 3.89 * (0.25 / 300) ** 0.5 and best.low > best.base
    others = rows[(rows.antecedent != "cup") | (rows.consequent != "cake")]
    assert (others.low < others.base * 1.1).all()


def test_a_shop_without_lines_has_no_next_purchase() -> None:
    assert next_after(shop([]), "category").empty and entry_items(shop([]), "product").empty
