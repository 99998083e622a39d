"""Conditions in words, and the one spelling that they are printed in."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_core.schema.expression_words import in_words
from crm_core.schema.expressions import calls_in, printed

NAMES = {"order_count": ("付款订单数", "paid orders"), "cart_add": ("加购", "cart add"), "tier": ("会员等级", "tier")}


@pytest.mark.parametrize(
    ("text", "zh", "en"),
    [
        ("order_count==1", "付款订单数 = 1", "paid orders = 1"),
        (
            "order_count > 1000 and not (tier == 'gold' or is_null(tier))",
            "付款订单数 > 1,000 且 非（会员等级 = gold 或 会员等级未知）",
            "paid orders > 1,000 and not (tier = gold or tier is not known)",
        ),
        ("did('cart_add', 3, 30)", "近 30 天 加购 至少 3 次", "did cart add at least 3 times in 30 days"),
        ("did_not('cart_add', 90)", "近 90 天没有 加购", "did not cart add in 90 days"),
        ("between(order_count, 2, 4)", "付款订单数在 2 到 4 之间", "paid orders from 2 to 4"),
        ("tier in ['a', 'b']", "会员等级 是 a、b 之一", "tier one of a, b"),
        ("1 < order_count <= 3", "1 < 付款订单数 且 付款订单数 ≤ 3", "1 < paid orders and paid orders ≤ 3"),
        ("not 1 <= order_count <= 3", "非（1 ≤ 付款订单数 且 付款订单数 ≤ 3）", "not (1 ≤ paid orders and paid orders ≤ 3)"),
        ("(order_count > 1) == (tier == 'a')", "（付款订单数 > 1） = （会员等级 = a）", "(paid orders > 1) = (tier = a)"),
        ("in_segment('rfm:at_risk', '2026-10-01')", "2026-10-01 当天在分群 rfm:at_risk 中", "in segment rfm:at_risk on 2026-10-01"),
        ("bucket('a', 10) == 3", "随机桶（a，共 10 个） = 3", "random bucket (a, of 10) = 3"),
        ("round(order_count / 2, 1) > 0.5", "round(付款订单数 ÷ 2, 1) > 0.5", "round(paid orders ÷ 2, 1) > 0.5"),
    ],
)
def test_a_condition_reads_as_a_sentence_in_both_languages(text, zh, en):
    assert (in_words(text, NAMES, "zh"), in_words(text, NAMES, "en")) == (zh, en)


def test_calls_are_found_with_their_literal_arguments_in_order():
    text = "did('order', 2) or (times('visit', 30) > tier and did('visit', tier))"
    assert calls_in(text, "did") == [("order", 2), ("visit", None)]
    assert calls_in(text, "times") == [("visit", 30)]


NUMBER = st.one_of(st.integers(-99, 99).map(str), st.decimals(0, 99, places=2).map(str), st.sampled_from(["orders", "net_amount"]))
WORD = st.sampled_from(["tier", "'gold'", "'银卡'", "'it''s'", '"a\\"b"', "lower(tier)"])
LEAF = st.one_of(
    st.tuples(NUMBER, st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]), NUMBER).map(" ".join),
    st.tuples(WORD, st.sampled_from(["==", "!="]), WORD).map(" ".join),
    st.tuples(NUMBER, st.sampled_from(["<", "<="]), NUMBER, st.sampled_from(["<", "<="]), NUMBER).map(" ".join),
    st.tuples(WORD, st.sampled_from(["in", "not in"]), st.lists(WORD, min_size=1, max_size=3)).map(
        lambda three: f"{three[0]} {three[1]} [{', '.join(three[2])}]"
    ),
    st.tuples(NUMBER, NUMBER, NUMBER).map(lambda three: f"between({', '.join(three)})"),
    st.tuples(st.sampled_from("+-*/"), NUMBER, NUMBER, NUMBER).map(lambda p: f"({p[1]} {p[0]} {p[2]}) * {p[3]} > 0"),
    st.sampled_from(
        ["is_null(tier)", "did('cart_add', 3, 30)", "did_not('order', 90)", "bucket('s', 10) == 3",
         "in_segment('rfm:lost', '2026-10-01')", "in_segment('rule:a')", "活跃"]
    ),
)  # fmt: skip
EXPRESSION = st.recursive(
    LEAF,
    lambda inner: (
        st.tuples(st.lists(inner, min_size=2, max_size=3), st.sampled_from([" and ", " or ", "\nor  "])).map(
            lambda two: f"({two[1].join(two[0])})"
        )
        | inner.map(lambda one: f"not {one}")
        | inner.map(lambda one: f"(({one}))")
        | st.tuples(inner, inner, inner).map(lambda three: f"({three[0]} if {three[1]} else {three[2]})")
    ),
    max_leaves=7,
)


@given(EXPRESSION)
def test_what_is_read_prints_and_is_the_same_read_again(text):
    once = printed(text)
    # Python reads with its own grammar what we print: the trees are alike, node by node
    assert ast.dump(ast.parse(once, mode="eval")) == ast.dump(ast.parse(f"({text}\n)", mode="eval"))
    assert printed(once) == once and "\n" not in once
