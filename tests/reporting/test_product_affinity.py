"""The affinity report's words: planted pairs first, chance left out, and what it says where something is not there."""

from __future__ import annotations

import random
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from crm_core.errors import InputError
from crm_core.models.forecast import forecast, weekly_sales
from crm_core.reporting.views import ProductAffinity
from crm_core.workspace import REPOSITORY, read_config
from tests.tiny_world import moment, order, world

PRODUCTS = [
    {"product_id": "p1", "product_name": "tea", "category": "drinks"},
    {"product_id": "p2", "product_name": "cup", "category": "ware"},
    {"product_id": "p3", "product_name": "tea", "category": "sweets"},  # two products of one name
]


def shop(with_lines: bool = True, categories: bool = True) -> Any:
    """600 members with two visits 20 days apart; ware goes with drinks in half of the orders that have drinks; sweets at random."""
    draw = random.Random(7)
    orders, lines = [], []
    for number in range(600):
        start = date(2026, 1, 1) + timedelta(days=draw.randrange(200))
        for visit in (0, 1):
            name, day = f"o{number}-{visit}", start + timedelta(days=20 * visit)
            drinks = draw.random() < 0.4
            items = ["p1"] * drinks + ["p2"] * (draw.random() < (0.5 if drinks else 0.1)) + ["p3"] * (draw.random() < 0.5)
            orders.append(order(name, f"m{number}", f"{day} 04:00", currency="CNY"))
            lines += [
                {"order_id": name, "line_no": place, "ordered_at": moment(f"{day} 04:00"), "product_id": item}
                for place, item in enumerate(items, 1)
            ]
    products = [{**product, "category": product["category"] if categories else None} for product in PRODUCTS]
    tables = world(orders=orders, order_lines=lines if with_lines else [], products=products)
    tables.priced = True
    config = read_config(REPOSITORY)
    models = {"forecast": forecast(weekly_sales(tables), tables.as_of, config.models.forecast)}
    return SimpleNamespace(tables=tables, config=config, as_of=tables.as_of, models=models)


def said(block: Any) -> dict[str, Any]:
    return dict(block.data)


def test_the_planted_pair_stands_first_and_chance_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_LANGUAGE", "en")
    report = ProductAffinity(shop())
    rows = said(report.together())["blocks"][1]["data"]["rows"]
    assert [[cell["text"] for cell in row[:2]] for row in rows] == [["ware", "drinks"]]
    sentence = said(report.headline())["sentence"]
    assert sentence.startswith("Of the orders with **ware**") and "**drinks**" in sentence
    assert said(report.next_purchase()).get("text", "").startswith("Nothing follows more often"), "visits are independent"
    entry = said(report.entry())
    assert {row[3]["text"] for row in entry["rows"]} == {"no clear difference"}
    assert "ware" in said(report.next_steps())["items"][0]["text"]


def test_products_of_one_name_are_told_apart_and_stand_in_where_there_are_no_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_LANGUAGE", "en")
    report = ProductAffinity(shop(categories=False))
    rows = said(report.together())["blocks"][1]["data"]["rows"]
    assert [cell["text"] for cell in rows[0][:2]] == ["cup", "tea (p1)"]


def test_a_shop_without_lines_is_told_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_LANGUAGE", "en")
    report = ProductAffinity(shop(with_lines=False))
    for section in (report.headline, report.together, report.next_purchase, report.entry):
        assert section().kind == "missing" and said(section())["what"] == "Order lines"
    assert report.next_steps().kind == "note"


def test_sales_are_foretold_by_the_stored_model_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_LANGUAGE", "en")
    seldom = shop(with_lines=False)
    weeks = [seldom.as_of - timedelta(days=7 * back) for back in reversed(range(60))]
    few = pd.Series([100.0] * 10 + [0.0] * 50, index=weeks)
    seldom.models = {"forecast": forecast(few, seldom.as_of, seldom.config.models.forecast)}
    text = said(ProductAffinity(seldom).sales())["text"]
    assert text == "**Sales forecast**: not enough data, weeks with sales 10 of 26 needed."
    seldom.models = {}
    block = ProductAffinity(seldom).sales()
    assert (block.kind, said(block)["what"]) == ("missing", "Sales forecast")


def test_another_word_than_category_or_product_is_refused() -> None:
    with pytest.raises(InputError, match="by 'brand' is not known; allowed: category, product"):
        ProductAffinity(shop(), by="brand")
