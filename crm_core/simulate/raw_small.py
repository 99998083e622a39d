"""The small files: products and their list prices, past campaigns, opportunities, contract payments."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate import words
from crm_core.simulate.arrays import DAY, NEVER, NONE, Ints
from crm_core.simulate.blocks import Block
from crm_core.simulate.catalogue import BRANDS, CATEGORIES, STEPS, Catalogue
from crm_core.simulate.columns import money, numbers, picked, times
from crm_core.simulate.files import Sheet
from crm_core.simulate.pipeline import LOST, WON, Pipeline
from crm_core.simulate.raw_events import opportunity_ids
from crm_core.simulate.world import World


def product_sheet(world: World, goods: Catalogue) -> Sheet:
    """商品: one row per product and change of list price."""
    rows = np.flatnonzero(goods.log_at < world.cut)
    product = goods.log_product[rows]
    category, subcategory, brand = categories_of(product)
    return Sheet(
        "products",
        {
            "商家编码": picked(goods.codes(), product),
            "商品名称": product_names(product),
            "一级类目": category,
            "二级类目": subcategory,
            "品牌": brand,
            "吊牌价": money(goods.log_list_price[rows]),
            "成本价": money(goods.log_cost[rows]),
            "更新时间": times(goods.log_at[rows], NEVER),
        },
        None,
        0,
        0,
    )


def categories_of(product: Ints) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Category, subcategory and brand of each product number."""
    step, brand, category = product // BRANDS % STEPS, product % BRANDS, product // BRANDS // STEPS
    upper = (step >= STEPS // 2).astype(np.int64)
    brands = [name for each in CATEGORIES for name in each.brands]
    subcategories = [name for each in CATEGORIES for name in each.subcategories]
    return (
        picked([each.name for each in CATEGORIES], category),
        picked(subcategories, category * 2 + upper),
        picked(brands, category * BRANDS + brand),
    )


def product_names(product: Ints) -> pa.Array:
    """The name of each product number: brand, subcategory and the step of its price."""
    _, subcategory, brand = categories_of(product)
    steps = picked([f"{step:02d}号" for step in range(1, STEPS + 1)], product // BRANDS % STEPS)
    return pc.binary_join_element_wise(brand, subcategory, steps, " ")


def campaign_sheet(world: World) -> Sheet:
    """营销活动: the past campaigns that have begun."""
    found = [each for each in world.campaigns if each.starts_at < world.cut]

    def words_of(name: str) -> list[str]:
        return [str(getattr(each, name)) for each in found]

    def fen(name: str) -> Ints:
        return np.array([getattr(each, name) for each in found], dtype=np.int64)

    every = np.arange(len(found))
    return Sheet(
        "campaigns",
        {
            "营销活动": picked(words_of("campaign_id"), every),
            "活动名称": picked(words_of("name"), every),
            "活动目标": picked(words_of("objective"), every),
            "渠道": picked(list(words.CHANNELS), np.array([words.CHANNEL_CODES[each.channel] for each in found], dtype=np.int64)),
            "开始时间": times(fen("starts_at"), NEVER),
            "结束时间": times(fen("sent_at") + 14 * DAY, NEVER),
            "预算": money(fen("budget")),
            "考核指标": picked(["下单会员数"] * len(found), every),
            "目标值": numbers(np.full(len(found), 100 if world.members < 10_000 else world.members // 100)),
            "单条成本": money(fen("unit_cost")),
            "优惠内容": picked(words_of("offer"), every),
        },
        None,
        0,
        0,
    )


def opportunity_sheet(world: World, block: Block, found: Pipeline) -> Sheet:
    """商机: one row per opportunity and change of stage."""
    rows = np.flatnonzero(found.log_at < world.cut)
    who, stage, at = found.log_opportunity[rows], found.log_stage[rows], found.log_at[rows]
    ended = stage >= WON
    holder = found.row[who]
    won: Ints = np.where(stage == WON, who, NONE)
    return Sheet(
        "opportunities",
        {
            "商机编号": picked(opportunity_ids(len(found.created)), who),
            "会员卡号": numbers(np.where(holder == NONE, NONE, block.people.card[holder])),
            "负责人": picked(words.OWNERS, found.owner[who]),
            "团队": picked(words.TEAMS, found.owner[who] % len(words.TEAMS)),
            "客户来源": picked(words.LEAD_SOURCES, found.source[who]),
            "商机阶段": picked(list(words.STAGES), stage),
            "商机金额": money(found.log_amount[rows]),
            "创建时间": times(found.created[who], NEVER),
            "预计成交日期": times(found.log_expected[rows] // DAY * DAY, NEVER),
            "结束时间": times(np.where(ended, at, NEVER), NEVER),
            "结果": picked(list(words.OUTCOMES), np.where(ended, stage - WON, NONE)),
            "输单原因": picked(words.LOST_REASONS, np.where(stage == LOST, found.lost_reason[who], NONE)),
            "合同编号": picked(contract_ids(len(found.created)), won),
            "更新时间": times(at, NEVER),
        },
        None,
        0,
        0,
    )


def payment_sheet(world: World, found: Pipeline) -> Sheet:
    """合同回款: one row per payment due of the contracts signed so far."""
    rows = np.flatnonzero(found.pay_signed < world.cut)
    who = found.pay_opportunity[rows]
    return Sheet(
        "contract_payments",
        {
            "合同编号": picked(contract_ids(len(found.created)), who),
            "回款期次": numbers(found.pay_no[rows]),
            "商机编号": picked(opportunity_ids(len(found.created)), who),
            "签约日期": times(found.pay_signed[rows], NEVER),
            "计划回款日期": times(found.pay_due[rows], NEVER),
            "回款日期": times(found.pay_paid[rows], world.cut),
            "回款金额": money(found.pay_amount[rows]),
        },
        None,
        0,
        0,
    )


def contract_ids(size: int) -> list[str]:
    """Codes of contracts by the number of their opportunity."""
    return [f"HT{number:05d}" for number in range(size)]
