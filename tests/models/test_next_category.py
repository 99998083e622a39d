"""What the next order is mostly of: main categories, the gate where habits follow each other and where they do not."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from crm_core.config.models import NextCategorySettings
from crm_core.models.next_category import WEIGHT, _followed, _guesses, _until, main_categories, run
from crm_core.store import table_hash
from crm_core.workspace import Workspace
from tests.models.drawn_shop import LAST, drawn, shop, task
from tests.tiny_world import moment, order, world

BEFORE = {"ordered_at": moment("2026-10-01")}
KINDS = np.array(["bread", "coffee", "nappies", "soap", "tea"])


def chain(orders, stay: float):
    """A category for each order: with chance `stay` the one that follows the member's last in KINDS, else any."""
    draw = np.random.default_rng(3)
    turn = orders.groupby("member")["at"].rank().astype(int).to_numpy()
    begin = draw.integers(0, 5, orders["member"].max() + 1)[orders["member"]]
    in_turn = (begin + turn) % 5
    return KINDS[np.where(draw.random(len(orders)) < stay, in_turn, draw.integers(0, 5, len(orders)))]


@pytest.fixture(scope="module")
def orders():
    return drawn(1_500, seed=4)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory, orders) -> Workspace:
    return shop(tmp_path_factory.mktemp("chain") / "shop", orders, category=chain(orders, 0.8))


def test_an_order_is_of_the_category_with_most_of_its_amount() -> None:
    lines = [("o1", 1, "a", 5), ("o1", 2, "b", 3), ("o1", 3, "b", 3), ("o2", 1, "a", 4), ("o2", 2, "b", 4)]
    found = main_categories(
        world(
            as_of="2026-10-31",
            orders=[order("o1", "m", "2026-10-01 17:00"), order("o2", "m", "2026-10-02"), order("o3", None, "2026-10-02")],
            order_lines=[
                {"order_id": each, "line_no": number, "product_id": product, "line_amount": amount, **BEFORE}
                for each, number, product, amount in lines
            ],
            products=[{"product_id": name, "category": kind} for name, kind in (("a", "apples"), ("b", "bread"))],
        )
    )
    rows = {row["order_id"]: (row["category"], row["day"]) for row in found.to_pyarrow().to_pylist()}
    assert rows == {"o1": ("bread", date(2026, 10, 2)), "o2": ("apples", date(2026, 10, 2))}  # equal amounts: first by name


def test_where_one_thing_follows_another_the_model_finds_it(followed: Workspace, orders) -> None:
    made = run(task(followed))[0]
    card = made.card
    assert (card.verdict, card.published) == ("published", "own_and_followed")
    rates = {entrant.name: entrant.measures["hit_rate"] for entrant in card.backtest.entrants}
    assert set(rates) == {"own_and_followed", "favourite_category", "last_category", "most_bought"}
    # two orders in turn follow each other with chance 0.8 × 0.8 + the rest by chance: 0.64 + 0.36 / 5
    assert rates["own_and_followed"] > 0.45 > rates["favourite_category"]
    rows = made.scores.to_pandas()
    assert sorted(rows["member_id"]) == sorted({f"m{member:06d}" for member in orders["member"]})
    assert set(rows["label"]) <= set(KINDS)
    assert rows["score"].between(0, 1).all()


def test_the_score_is_the_mixture_that_the_docstring_states(tmp_path: Path, followed: Workspace, orders) -> None:
    made = run(task(followed))[0]
    kinds = chain(orders, 0.8)
    chance = {(row["last"], row["category"]): row["p"] for row in made.card.params["followed"]}
    turns = orders.assign(kind=kinds).sort_values(["member", "at"])
    scores = made.scores.to_pandas().set_index("member_id")
    for member, own in list(turns.groupby("member")["kind"])[:300]:
        counts, last = own.value_counts(), own.iloc[-1]
        expected = {kind: (counts.get(kind, 0) + WEIGHT * chance[last, kind]) / (len(own) + WEIGHT) for kind in KINDS}
        row = scores.loc[f"m{member:06d}"]
        assert row["score"] == pytest.approx(max(expected.values()), abs=1e-6)
        assert expected[row["label"]] == pytest.approx(max(expected.values()), abs=1e-6)


def test_a_category_that_is_not_told_apart_is_guessed_for_members_who_buy_it(followed: Workspace, orders) -> None:
    known, settings = _until(main_categories(followed.tables), LAST), NextCategorySettings(categories=2)
    apart = set(_followed(known, settings)["category"].to_pylist())
    guesses = _guesses(known, settings).to_pandas().set_index("member_id")["own_and_followed"]
    others = guesses[~guesses.isin(apart)]
    own = {f"m{member:06d}": set(kinds) for member, kinds in orders.assign(kind=chain(orders, 0.8)).groupby("member")["kind"]}
    assert len(apart) == 2 and len(others) > 100
    assert all(kind in own[member] for member, kind in others.items())


def test_where_nothing_follows_it_is_withheld_and_the_favourite_given(tmp_path: Path, orders) -> None:
    draw = np.random.default_rng(5)
    favourite = draw.integers(0, 5, orders["member"].max() + 1)[orders["member"]]
    kinds = KINDS[np.where(draw.random(len(orders)) < 0.6, favourite, draw.integers(0, 5, len(orders)))]
    made = run(task(shop(tmp_path / "shop", orders, category=kinds)))[0]
    assert (made.card.verdict, made.card.published) == ("baseline", "favourite_category")
    assert made.scores.score.nunique().to_pyarrow().as_py() == 1  # all that a rule knows is how often it was right


def test_shuffled_rows_give_the_same_guesses(tmp_path: Path, followed: Workspace, orders) -> None:
    again = run(task(shop(tmp_path / "shop", orders, category=chain(orders, 0.8), shuffle=9)))[0]
    made = run(task(followed))[0]
    assert table_hash(again.scores) == table_hash(made.scores)
    assert again.card == made.card


def test_without_categories_it_says_so(rhythm_shop: Workspace) -> None:
    card = run(task(rhythm_shop))[0].card
    assert card.verdict == "insufficient"
    assert {need.what: need.found for need in card.needs}["categories"] == 0
