"""Basket rules against published counts, against mlxtend and against counting by hand; what is bought next, by hand."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.errors import InputError
from crm_core.models import basket_rules
from crm_core.models import baskets as room
from tests.conftest import few


def table(baskets: list[list[str]], seed: int | None = None) -> Any:
    """One row per item bought, shuffled where a seed is given."""
    rows = [(number, item) for number, basket in enumerate(baskets) for item in basket]
    if seed is not None:
        np.random.default_rng(seed).shuffle(rows)
    numbers, items = zip(*rows, strict=True) if rows else ((), ())
    return ibis.memtable(pa.table({"basket_id": pa.array(numbers, pa.int64()), "item": pa.array(items, pa.string())}))


def by_hand(
    baskets: list[list[str]], support: Fraction, confidence: Fraction, most: int
) -> dict[tuple[tuple[str, ...], str], tuple[int, Fraction, Fraction]]:
    """(antecedent, consequent) → baskets, confidence, lift, by looking at every set in every basket."""
    sets = [set(basket) for basket in baskets if basket]
    items = sorted(set().union(*sets)) if sets else []

    def holding(wanted: tuple[str, ...]) -> int:
        return sum(set(wanted) <= basket for basket in sets)

    found = {}
    for size in range(2, most + 1):
        for chosen in combinations(items, size):
            both = holding(chosen)
            if both == 0 or Fraction(both, len(sets)) < support:
                continue
            for last in chosen:
                before = tuple(item for item in chosen if item != last)
                share = Fraction(both, holding(before))
                if share >= confidence:
                    found[before, last] = (both, share, share * len(sets) / holding((last,)))
    return found


BASKETS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=25)


@settings(max_examples=few(8))
@given(
    BASKETS,
    st.sampled_from(["0.04", "0.1", "0.2", "0.25", "0.5"]),
    st.sampled_from(["0.2", "0.5", "0.75", "1.0"]),
    st.integers(2, 5),
)
def test_rules_are_those_of_counting_every_set_in_every_basket(
    baskets: list[list[str]], support: str, confidence: str, most: int
) -> None:
    found = basket_rules(table(baskets), float(support), float(confidence), most)
    expected = by_hand(baskets, Fraction(support), Fraction(confidence), most)
    assert {(row.antecedent, row.consequent): row.baskets for row in found.itertuples()} == {
        key: value[0] for key, value in expected.items()
    }
    for row in found.itertuples():
        _, share, lift = expected[row.antecedent, row.consequent]
        assert row.confidence == pytest.approx(float(share)) and row.lift == pytest.approx(float(lift))
    assert found.lift.round(9).is_monotonic_decreasing


def test_the_order_of_rows_repeats_and_rows_without_item_change_nothing() -> None:
    baskets = [list("abc"), list("abd"), list("ab"), list("cd"), list("acd"), ["b"]]
    expected = basket_rules(table(baskets), 0.1, 0.1, 4)
    shuffled = table([[*basket, basket[0]] for basket in baskets], seed=3)
    empty = ibis.memtable(pa.table({"basket_id": pa.array([None, 99], pa.int64()), "item": pa.array(["a", None])}))
    pd.testing.assert_frame_equal(basket_rules(shuffled.union(empty), 0.1, 0.1, 4), expected)


def test_a_set_that_lies_exactly_on_the_threshold_counts() -> None:
    """3 of 10 baskets at 0.3, where 0.3 as a binary fraction times 10 would ask for a little more or less; so with 0.29 of 100."""
    baskets = [list("ab")] * 3 + [["c"]] * 7
    assert len(basket_rules(table(baskets), 0.3, 1.0)) == 2
    assert len(basket_rules(table([list("ab")] * 29 + [["c"]] * 71), 0.29, 1.0)) == 2
    assert basket_rules(table(baskets), 0.31, 1.0).empty


def test_p_is_the_chance_of_so_many_baskets_under_independence() -> None:
    """Both in 3 of 4 baskets, together in 3: one way in C(4, 3) = 4 to place the second."""
    rules = basket_rules(table([list("ab")] * 3 + [["c"]]), 0.5, 0.5)
    assert rules.p.tolist() == pytest.approx([0.25, 0.25])


def test_pairs_counted_in_parts_are_the_pairs_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(11)
    baskets = [[f"i{n:02d}" for n in draw.choice(40, draw.integers(1, 9), replace=False)] for _ in range(400)]
    whole, pairs = basket_rules(table(baskets), 0.01, 0.1, 4), room.item_pairs(table(baskets), 0.01)
    monkeypatch.setattr(room, "PART_ROWS", 600)
    pd.testing.assert_frame_equal(basket_rules(table(baskets), 0.01, 0.1, 4), whole)
    pd.testing.assert_frame_equal(room.item_pairs(table(baskets), 0.01), pairs)
    assert len(pairs) > 50


@pytest.mark.parametrize(("support", "confidence", "most"), [(0.0, 0.5, 2), (1.2, 0.5, 2), (0.1, -1.0, 2), (0.1, 0.5, 1)])
def test_thresholds_out_of_range_are_refused(support: float, confidence: float, most: int) -> None:
    with pytest.raises(InputError, match=r"allowed is a share above 0|a rule has 2 items"):
        basket_rules(table([["a", "b"]]), support, confidence, most)


def test_too_many_sets_are_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_SETS", 3)
    with pytest.raises(InputError, match="raise min_support"):
        basket_rules(table([list("abcdef")] * 3), 0.1, 0.1, 4)


@pytest.fixture(scope="module")
def groceries(shared_data: Path) -> list[list[str]]:
    """A month of a grocery's baskets (Hahsler, Hornik, Reutterer 2006; the data set Groceries of the R package arules)."""
    lines = (shared_data / "groceries_baskets.csv").read_text("utf-8").splitlines()
    return [[item.strip() for item in line.split(",")] for line in lines]


@pytest.mark.parametrize(("support", "confidence", "count"), [(0.001, 0.5, 5668), (0.006, 0.25, 463)])
def test_groceries_give_the_published_number_of_rules(
    groceries: list[list[str]], support: float, confidence: float, count: int
) -> None:
    """5,668: vignette of arulesViz (Hahsler 2017, sec. 3); 463: Lantz, Machine Learning with R, ch. 8 (two items or more)."""
    assert len(basket_rules(table(groceries), support, confidence, 10)) == count


@pytest.mark.parametrize(("support", "confidence", "most"), [(0.002, 0.4, 10), (0.01, 0.1, 4), (0.005, 0.3, 3)])
def test_groceries_give_the_rules_of_mlxtend(groceries: list[list[str]], support: float, confidence: float, most: int) -> None:
    from mlxtend.frequent_patterns import association_rules, fpgrowth
    from mlxtend.preprocessing import TransactionEncoder

    encoder = TransactionEncoder().fit(groceries)
    frame = pd.DataFrame(encoder.transform(groceries), columns=encoder.columns_)
    sets = fpgrowth(frame, min_support=support, max_len=most, use_colnames=True)
    # its shares are floats: 14/35 comes out below 0.4, so it is asked for a hair less; nothing lies in between
    rules = association_rules(sets, metric="confidence", min_threshold=confidence - 1e-9)
    rules = rules[rules.consequents.map(len) == 1]
    theirs = {
        (tuple(sorted(row.antecedents)), *row.consequents): (row.support, row.confidence, row.lift) for row in rules.itertuples()
    }
    found = basket_rules(table(groceries), support, confidence, most)
    ours = {(r.antecedent, r.consequent): (r.support, r.confidence, r.lift) for r in found.itertuples()}
    assert ours.keys() == theirs.keys() and len(ours) > 100
    assert all(ours[key] == pytest.approx(theirs[key], rel=1e-12) for key in ours)
