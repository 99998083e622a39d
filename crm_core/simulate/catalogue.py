"""The product catalogue: categories with a companion each, price steps, brands, and a log of list prices.

A product is category × step × brand. Steps rise by a constant ratio, so that a basket can be filled to any
amount from goods that exist; the list price changes over time, the selling price of an item stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crm_core.simulate.arrays import DAY, Floats, Ints, pick
from crm_core.simulate.world import World

STEPS, BRANDS, RATIO = 16, 3, 1.24


class Category(NamedTuple):
    """One category: popularity, lowest price in yuan, the category bought with it, and its subcategories."""

    name: str
    weight: float
    lowest: float
    companion: int
    subcategories: tuple[str, str]
    brands: tuple[str, str, str]


CATEGORIES = (
    Category("咖啡", 1.3, 16.0, 1, ("速溶咖啡", "咖啡豆"), ("山前", "晨焙", "深巷")),
    Category("杯壶器具", 0.8, 22.0, 0, ("马克杯", "手冲壶"), ("陶里", "器物集", "晨焙")),
    Category("茶叶", 1.0, 18.0, 3, ("袋泡茶", "原叶茶"), ("云岭", "一芽", "山前")),
    Category("糕点零食", 1.4, 9.0, 2, ("饼干", "礼盒"), ("甜隅", "麦野", "一芽")),
    Category("母婴用品", 0.9, 25.0, 5, ("洗护", "纸尿裤"), ("初芽", "小满", "贝谷")),
    Category("童装", 0.7, 29.0, 4, ("上装", "套装"), ("小满", "初芽", "豆丁屋")),
    Category("护肤", 1.2, 30.0, 7, ("面膜", "精华"), ("澄肌", "素颜社", "花汀")),
    Category("彩妆", 0.8, 26.0, 6, ("口红", "粉底"), ("花汀", "澄肌", "霓色")),
    Category("家居收纳", 0.9, 15.0, 9, ("收纳盒", "置物架"), ("方寸", "里屋", "器物集")),
    Category("床品家纺", 0.6, 45.0, 8, ("枕套", "四件套"), ("里屋", "眠山", "方寸")),
    Category("户外露营", 0.6, 35.0, 11, ("灯具", "帐篷"), ("野径", "北坡", "轻行")),
    Category("运动服饰", 0.8, 32.0, 10, ("速干衣", "冲锋衣"), ("轻行", "北坡", "跃动")),
)


@dataclass(frozen=True)
class Catalogue:
    """`prices[category, step]` in fen; `log_*` one row per product and change of list price, in fen."""

    prices: Ints
    popularity: Floats
    log_product: Ints
    log_at: Ints
    log_list_price: Ints
    log_cost: Ints

    @property
    def products(self) -> int:
        """How many products there are; a product's number is (category × STEPS + step) × BRANDS + brand."""
        return int(self.prices.size) * BRANDS

    def price(self, product: Ints) -> Ints:
        """Selling price in fen."""
        return self.prices.ravel()[product // BRANDS]

    def codes(self) -> list[str]:
        """Product codes by product number."""
        return [f"SP{number:05d}" for number in range(self.products)]


def catalogue(world: World) -> Catalogue:
    """The catalogue of a world: 576 products, about two list prices each."""
    rng = world.rng("catalogue", 0)
    lowest = np.array([category.lowest for category in CATEGORIES])
    prices = np.round(np.outer(lowest, RATIO ** np.arange(STEPS))).astype(np.int64) * 100 - 10
    number = prices.size * BRANDS
    base = prices.ravel()[np.arange(number) // BRANDS]
    changes = 1 + rng.poisson(0.9, number)
    product: Ints = np.repeat(np.arange(number), changes)
    first = np.concatenate([[True], product[1:] != product[:-1]])
    at = np.sort(world.clock.start + rng.integers(20, world.days, len(product)) * DAY) + 8 * 3_600
    # sorted per product: a stable sort by product of times that are sorted already
    order = np.argsort(rng.permutation(product), kind="stable")
    at = at[order] + np.arange(len(order)) % 3_000
    at[first] = world.clock.start - rng.integers(30, 600, number) * DAY
    markup = rng.choice([1.1, 1.2, 1.25, 1.3, 1.5], len(product))
    cost = np.round(base * rng.uniform(0.38, 0.62, number)).astype(np.int64)
    return Catalogue(
        prices, np.array([category.weight for category in CATEGORIES]), product, at,
        np.round(base[product] * markup / 100).astype(np.int64) * 100, cost[product],
    )  # fmt: skip


def companions(rng: np.random.Generator, first: Ints, popularity: Floats) -> Ints:
    """The category of a further line, given that of the first: its companion, the same, or any."""
    partner = np.array([category.companion for category in CATEGORIES])
    how = pick(rng, (0.45, 0.25, 0.30), len(first))
    return np.choose(how, [partner[first], first, pick(rng, popularity, len(first))])
