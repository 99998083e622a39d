"""What drives the sample is recoverable from it: rates, dropout, spend, arithmetic, campaign effects."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise
from math import sqrt
from pathlib import Path

import ibis
import numpy as np
import phonenumbers
import pyarrow.compute as pc
import pytest

from crm_core.models import basket_rules
from crm_core.simulate import TYPES
from crm_core.simulate.catalogue import BRANDS, CATEGORIES, STEPS
from crm_core.simulate.dirt import BAD_TIMES
from crm_core.simulate.words import EVENTS
from tests.simulate.worlds import raw, small, truth

SIGMA = 3.89  # two-sided 99.99 % of the normal distribution


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("truth") / "shop", members=12_000, days=730)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_purchase_rates_and_dropout_are_those_of_the_type(shop: Path, kind: object) -> None:
    latent = truth(shop, "latent_members").to_pandas()
    mine = latent[latent.type == kind.name]
    size = len(mine)
    assert abs(size - 12_000 * kind.share) < SIGMA * sqrt(12_000 * kind.share)
    # Gamma(r, alpha): mean r / alpha, standard deviation sqrt(r) / alpha
    mean = kind.r / kind.alpha
    assert abs(mine.rate.mean() - mean) < SIGMA * sqrt(kind.r) / kind.alpha / sqrt(size)
    # repeat purchases minus their intensity is a martingale: its variance is the summed intensity
    intensity = (mine.rate * mine.exposure).sum()
    assert abs(mine.repeat_purchases.sum() - intensity) < SIGMA * sqrt(intensity)
    # each repeat purchase ends the life with the member's own chance
    expected = (mine.dropout * mine.repeat_purchases).sum()
    spread = (mine.dropout * (1 - mine.dropout) * mine.repeat_purchases).sum()
    assert abs(mine.dropped_out.sum() - expected) < SIGMA * sqrt(spread) + 1


def test_what_members_pay_is_their_own_mean_spend(shop: Path) -> None:
    latent = truth(shop, "latent_members").select(["account_id", "type", "mean_spend"]).to_pandas()
    orders = truth(shop, "expected_orders").to_pandas()
    paid = orders[orders.paid_at.notna() & orders.account_id.notna()].merge(latent, on="account_id")
    relative = paid.net_amount.astype(float) / paid.mean_spend
    shape = paid.type.map({kind.name: kind.p for kind in TYPES})
    # Gamma(p) has mean 1 and variance 1 / p in units of its mean; the floor of nine yuan lifts it a little
    assert abs(relative.mean() - 1) < SIGMA * sqrt((1 / shape).mean() / len(paid)) + 0.003


def test_orders_add_up_and_their_steps_come_in_order(shop: Path) -> None:
    orders = truth(shop, "expected_orders").to_pandas()
    assert orders.order_id.is_unique
    assert (orders.net_amount == orders.gross_amount - orders.discount_amount + orders.shipping_amount).all()
    assert (orders.discount_amount >= 0).all()
    lines = truth(shop, "expected_order_lines").to_pandas()
    sums = lines.groupby("order_id").line_amount.sum()
    assert (orders.set_index("order_id").gross_amount.sort_index() == sums.sort_index()).all()
    steps = ["ordered_at", "paid_at", "approved_at", "shipped_at", "delivered_at", "confirmed_at", "reviewed_at"]
    for before, after in pairwise(steps):
        both = orders[orders[after].notna()]
        assert (both[before] <= both[after]).all(), after


def test_refunds_never_exceed_what_was_paid(shop: Path) -> None:
    refunds = truth(shop, "expected_refunds").to_pandas()
    paid = truth(shop, "expected_orders").to_pandas().set_index("order_id").net_amount
    sums = refunds[refunds.order_id.notna()].groupby("order_id").amount.sum()
    assert (sums <= paid.reindex(sums.index)).all()
    assert (refunds.days_after_payment > 60).sum() > 20, "some refunds are months late"
    assert set(refunds.kind) == {"refund", "cancellation", "adjustment"}


def test_every_mobile_is_valid_in_form_and_every_address_reserved(shop: Path) -> None:
    members = raw(shop, "会员资料")
    phones = [cell for cell in set(members["手机号"].to_pylist()) if cell and "*" not in cell]
    for phone in phones[:400]:
        assert phonenumbers.is_valid_number(phonenumbers.parse(phone, "CN")), phone
    assert {cell.split("@")[1] for cell in members["邮箱"].to_pylist() if cell} <= {
        "example.com", "example.cn", "mail.example.com",
    }  # fmt: skip


def test_the_raw_files_are_as_dirty_as_the_summary_says(shop: Path) -> None:
    world = json.loads((shop / "truth" / "world.json").read_text("utf-8"))
    orders = raw(shop, "订单")
    assert orders.num_rows - len(set(orders["订单编号"].to_pylist())) == world["repeated"]["orders"] > 0
    unreadable = [cell for cell in orders["订单创建时间"].to_pylist() if cell in BAD_TIMES]
    assert len(unreadable) == world["refused"]["orders"] > 0
    assert any("￥" in cell and "," in cell for cell in orders["总金额"].to_pylist())
    assert "NULL" in orders["优惠券编号"].to_pylist()
    assert any("****" in cell for cell in raw(shop, "会员资料")["手机号"].to_pylist())
    words = set(raw(shop, "会员互动")["互动类型"].to_pylist())
    assert words - set(EVENTS) == {"拼团砍价"}


def test_expected_interactions_count_what_a_loader_should_accept(shop: Path) -> None:
    world = json.loads((shop / "truth" / "world.json").read_text("utf-8"))
    families = ("journey", "engagement", "service", "messaging")
    written = sum(raw(shop, feed).num_rows for feed in ("浏览行为", "会员互动", "客服记录", "消息记录"))
    bad = sum(world[what][family] for what in ("repeated", "refused") for family in families)
    expected = truth(shop, "expected_interactions")
    assert pc.sum(expected["rows"]).as_py() == written - bad
    assert set(expected["event"].to_pylist()) <= set(EVENTS.values())


def test_past_campaigns_kept_a_random_control_and_their_effect_is_in_the_orders(shop: Path) -> None:
    """Orders within 14 days, arm against arm, differ by the true effect within sampling error."""
    campaigns = raw(shop, "营销活动").to_pylist()
    orders = truth(shop, "expected_orders").to_pandas()
    orders = orders[orders.paid_at.notna() & orders.account_id.notna()]
    arms = truth(shop, "campaign_assignments").to_pandas()
    effects = truth(shop, "campaign_effects").to_pandas().set_index("campaign_id")
    assert len(campaigns) == 2
    for campaign, control in zip(campaigns, (0.20, 0.25), strict=True):
        mine = arms[arms.campaign_id == campaign["营销活动"]]
        treated = mine.arm == "message"
        size, share = len(mine), 1 - control
        assert abs(treated.mean() - share) < SIGMA * sqrt(share * control / size)
        # drawn independent of the arm
        gap = mine[treated].responds.mean() - mine[~treated].responds.mean()
        assert abs(gap) < SIGMA * mine.responds.std() * sqrt(1 / treated.sum() + 1 / (~treated).sum())
        opened = datetime.fromisoformat(campaign["开始时间"]) + timedelta(hours=25 - 8)
        window = orders[(orders.ordered_at >= f"{opened}+00:00") & (orders.ordered_at < f"{opened + timedelta(14)}+00:00")]
        count = mine.account_id.map(window.groupby("account_id").size()).fillna(0)
        found = count[treated].mean() - count[~treated].mean()
        error = np.sqrt(count[treated].var() / treated.sum() + count[~treated].var() / (~treated).sum())
        truth_here = effects.loc[campaign["营销活动"]]
        assert abs(found - truth_here.true_effect_orders) < SIGMA * error
        assert abs(truth_here.true_effect_orders - truth_here.expected_effect_orders) < 0.02
    first = effects.loc[campaigns[0]["营销活动"]]
    assert first.true_effect_orders > 0.04


def test_effects_differ_by_hidden_type(shop: Path) -> None:
    latent = truth(shop, "latent_members").to_pandas()
    share = latent.groupby("type").responds_past_1.mean()
    assert share["loyal"] == 0
    assert share["bargain"] > share["occasional"] > share["one_timer"]


def test_each_category_is_bought_with_its_companion_and_with_no_other(shop: Path) -> None:
    """Of further lines 45 % come from the companion's category, 25 % from the same one, the rest from any (`companions`)."""
    lines = ibis.memtable(truth(shop, "expected_order_lines").select(["order_id", "product_id"]))
    number = lines.product_id.substr(2).cast("int64") // (STEPS * BRANDS)
    rules = basket_rules(lines.select(basket_id="order_id", item=number), 0.001, 0.001, 2)
    strong = {(row.antecedent[0], row.consequent) for row in rules[rules.lift > 1.5].itertuples()}
    assert strong == {(place, category.companion) for place, category in enumerate(CATEGORIES)}
    assert (rules.lift[rules.lift < 1.5] < 1.1).all()
