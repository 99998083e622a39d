"""What the next order is mostly of: each member's own categories, mixed with what others bought after the last one, against the
member's favourite category.

An order is of the category with most of its amount. A category's probability is (own orders of it + WEIGHT × p) / (own orders +
WEIGHT), where p is how often it followed the last category among all members (Dirichlet prior). Tried on the next order of members
who bought in the last h days, knowing what was known before; the share that was named right decides.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from ibis.util import gen_name

from crm_core.config.models import NextCategorySettings
from crm_core.models.card import Backtest, Entrant, Need, judge
from crm_core.models.measures import Z95
from crm_core.models.outcome import Outcome, Task
from crm_core.store import Tables
from crm_core.store.clock import local_date

NAME, MODEL = "next_category", "own_and_followed"
BASELINES = ("favourite_category", "last_category", "most_bought")
WEIGHT, SMOOTH = 2.0, 10.0
"""How many own orders the others' habit weighs; how many orders of all stand behind a rare category."""


def run(task: Task) -> list[Outcome]:
    """The outcome: label is the category, score its probability."""
    settings, day = task.settings.next_category, task.tables.as_of
    before = day - timedelta(days=settings.days)
    orders = task.engine.create_table(gen_name("order_categories"), main_categories(task.tables), temp=True)
    needs = _needs(orders, before, settings)
    if not all(need.enough for need in needs):
        return [Outcome(judge(NAME, day, needs, None))]
    guesses = _guesses(_until(orders, before), settings)
    backtest = _backtest(guesses, _next_after(orders, before), before, day)
    card = judge(NAME, day, needs, backtest)
    now = _until(orders, day)
    guessed = _guesses(now, settings)
    chosen = guessed.select("member_id", label=guessed[card.published], score=guessed.probability)
    if card.published != MODEL:
        entrant = backtest.best(baseline=True)
        chosen = chosen.mutate(score=ibis.literal(entrant.measures["hit_rate"]))
    params = {"days": settings.days, "weight": WEIGHT, "followed": _followed(now, settings).to_pylist()}
    card = judge(NAME, day, needs, backtest, params=params)
    return [Outcome(card, chosen.mutate(model=ibis.literal(NAME)))]


def main_categories(tables: Tables) -> ir.Table:
    """One row per paid order of a member whose goods have a category: member_id, order_id, paid_at, day (local), category – the
    one with the greatest amount, of equal ones the first by name."""
    paid = tables.paid_orders
    orders = paid.filter(paid.member_id.notnull()).select("order_id", "member_id", "paid_at")
    products = tables.products.filter(lambda t: t.category.notnull()).select("product_id", "category")
    lines = tables.order_lines.select("order_id", "product_id", "line_amount")
    bought = lines.inner_join(orders, "order_id").inner_join(products, "product_id")
    amounts = bought.group_by("member_id", "order_id", "paid_at", "category").agg(amount=bought.line_amount.sum())
    first = ibis.row_number().over(group_by=amounts.order_id, order_by=[amounts.amount.desc(), amounts.category])
    return (
        amounts.mutate(_rank=first)
        .filter(lambda t: t._rank == 0)
        .select("member_id", "order_id", "paid_at", "category", day=local_date(amounts.paid_at, tables.zone))
    )


def _until(orders: ir.Table, day: date) -> ir.Table:
    """The orders known then, with their number per member and the category that came next."""
    seen = orders.filter(orders.day <= ibis.literal(day))
    in_turn = ibis.window(group_by=seen.member_id, order_by=[seen.paid_at, seen.order_id])
    return seen.mutate(then=seen.category.lead().over(in_turn))


def _next_after(orders: ir.Table, day: date) -> ir.Table:
    """member_id, actual: the category of each member's first order after `day`."""
    after = orders.filter(orders.day > ibis.literal(day))
    first = ibis.row_number().over(group_by=after.member_id, order_by=[after.paid_at, after.order_id])
    return after.mutate(_rank=first).filter(lambda t: t._rank == 0).select("member_id", actual="category")


def _needs(orders: ir.Table, before: date, settings: NextCategorySettings) -> tuple[Need, ...]:
    known, after = _until(orders, before), _next_after(orders, before)
    found = known.aggregate(categories=known.category.nunique(), repeats=known.then.count()).to_pyarrow().to_pylist()[0]
    tried = after.semi_join(known, "member_id").count().to_pyarrow().as_py()
    return (
        Need("categories", float(found["categories"]), settings.need_categories),
        Need("repeat_orders", float(found["repeats"]), settings.need_orders),
        Need("orders_to_test_on", float(tried), settings.need_orders),
    )


def _followed(known: ir.Table, settings: NextCategorySettings) -> pa.Table:
    """last, category, p: how often `category` followed `last`, smoothed towards how often it is bought at all; only the most bought
    categories are told apart, so it is small."""
    counted = known.group_by("category").agg(n=known.count()).to_pyarrow().to_pylist()
    counted = sorted(counted, key=lambda row: (-row["n"], row["category"]))[: settings.categories]
    place = {row["category"]: number for number, row in enumerate(counted)}
    share = np.array([row["n"] for row in counted], float) / sum(row["n"] for row in counted)
    pairs = np.zeros((len(place), len(place)))
    moves = known.filter(known.then.notnull()).group_by("category", "then").agg(n=ibis._.count()).to_pyarrow()
    for row in moves.to_pylist():
        if row["category"] in place and row["then"] in place:
            pairs[place[row["category"]], place[row["then"]]] = row["n"]
    chance = (pairs + SMOOTH * share) / (pairs.sum(axis=1, keepdims=True) + SMOOTH)
    names = list(place)
    return pa.table({
        "last": [last for last in names for _ in names], "category": names * len(names),
        "p": chance.round(9).ravel(),
    })  # fmt: skip


def _guesses(known: ir.Table, settings: NextCategorySettings) -> ir.Table:
    """member_id, the model's guess and its probability, and the guess of each baseline."""
    followed = _followed(known, settings).to_pandas()
    first = followed.sort_values(["last", "p", "category"], ascending=[True, False, True]).groupby("last").head(1)
    own = known.group_by("member_id", "category").agg(bought=known.count())
    last = known.filter(known.then.isnull()).select("member_id", last="category")
    # of the categories that a member never bought only the likeliest one can win
    new = last.inner_join(ibis.memtable(first[["last", "category"]]), "last")
    both = own.union(new.select("member_id", "category", bought=ibis.literal(0, "int64")))
    summed = both.group_by("member_id", "category").agg(bought=both.bought.sum())
    rows = summed.inner_join(last, "member_id").left_join(ibis.memtable(followed), ["last", "category"], rname="_{name}")
    orders = rows.bought.sum().over(group_by=rows.member_id)
    score = ((rows.bought + WEIGHT * rows.p.fill_null(0.0)) / (orders + WEIGHT)).round(9)
    rows = rows.select("member_id", "category", "bought", "last", score=score)
    likeliest, oftenest = (
        ibis.row_number().over(group_by=rows.member_id, order_by=[order.desc(), rows.category])
        for order in (rows.score, rows.bought)
    )
    ranked = rows.mutate(_likeliest=likeliest, _oftenest=oftenest)
    return ranked.group_by("member_id").agg(
        own_and_followed=ranked.category.max(where=ranked._likeliest == 0),
        probability=ranked.score.max(),
        favourite_category=ranked.category.max(where=ranked._oftenest == 0),
        last_category=ranked["last"].max(),
        most_bought=ibis.literal(str(_most_bought(known))),
    )


def _most_bought(known: ir.Table) -> Any:
    counted = known.group_by("category").agg(n=known.count())
    return counted.order_by([counted.n.desc(), counted.category]).limit(1).to_pyarrow()["category"][0].as_py()


def _backtest(guesses: ir.Table, actual: ir.Table, before: date, day: date) -> Backtest:
    joined = guesses.inner_join(actual, "member_id")
    names = (MODEL, *BASELINES)
    hits = joined.select(**{name: (joined[name] == joined.actual).cast("int64") for name in names})
    both = {f"{name}_less": (hits[MODEL] - hits[name]).sum() for name in BASELINES}
    apart = {f"{name}_apart": (hits[MODEL] - hits[name]).abs().sum() for name in BASELINES}
    found = hits.aggregate(rows=hits.count(), **{name: hits[name].sum() for name in names}, **both, **apart)
    row = found.to_pyarrow().to_pylist()[0]
    rows = row["rows"]
    entrants = tuple(Entrant(name, name != MODEL, {"hit_rate": row[name] / rows}) for name in names)
    rival = min(BASELINES, key=lambda name: (-row[name], name))
    gain = row[f"{rival}_less"] / rows
    half = Z95 * float(max(row[f"{rival}_apart"] / rows - gain**2, 0.0) / rows) ** 0.5
    return Backtest("hit_rate", False, before, day, rows, entrants, gain - half, gain + half)
