"""What is bought together: association rules with one consequent, counted in the engine.

Items are coded as integers once and rare ones dropped; pairs are counted by one self-join, some items at a time. Larger sets
grow level by level: candidates whose every subset is frequent (apriori: Agrawal, Srikant 1994, VLDB, sec. 2.1.1) are joined to
the baskets that hold their first part (Houtsma, Swami 1995, ICDE: set-oriented mining). Neither baskets nor candidates are
looped over, and nothing but frequent sets leaves the engine. Supports are compared as whole numbers, confidences as fractions:
what lies exactly on a threshold counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, TypeAlias

import ibis
import ibis.expr.types as ir
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy import stats

from crm_core.errors import InputError

Ints: TypeAlias = npt.NDArray[np.int64]
MOST_SETS = 2_000_000
PART_ROWS, MOST_PARTS = 1_000_000, 8
COLUMNS = ("antecedent", "consequent", "baskets", "support", "confidence", "lift", "p")
_names = itertools.count()


def basket_rules(baskets: ir.Table, min_support: float, min_confidence: float, max_items: int = 3) -> pd.DataFrame:
    """Rules 'who buys the antecedent buys the consequent too' of two to `max_items` items, the highest lift first.

    `baskets` has basket_id and item, one row per item bought: repeated rows count once, rows with a null not at all.
    `min_support` is a share of all baskets, `min_confidence` one of those with the antecedent (both > 0, ≤ 1, taken as their
    shortest decimals: 0.1 is one tenth). Columns: antecedent (tuple of items, sorted), consequent (item), baskets (how many
    hold all of it), support = baskets / all, confidence = baskets / those with the antecedent, lift = confidence / the
    consequent's share of all, p = chance of as many baskets were the two independent (Hahsler, Hornik 2007, Intelligent Data
    Analysis 11, p. 437: 1 − hyper-confidence). The order of rows changes nothing. Raises InputError on a threshold out of range
    and where more than MOST_SETS sets would have to be looked at.
    """
    with _counted(baskets, min_support) as found:
        least = _fraction("min_confidence", min_confidence)
        return _rules(found, _levels(found, max_items), least)


def item_pairs(baskets: ir.Table, min_support: float) -> pd.DataFrame:
    """Pairs of items in at least `min_support` of the baskets (both as in `basket_rules`): first < second, baskets."""
    with _counted(baskets, min_support) as found:
        level = _levels(found, 2)[-1]
    first, second = (found.items[level.sets[:, column]] for column in (0, 1))
    return pd.DataFrame({"first": first, "second": second, "baskets": level.baskets})


@dataclass(frozen=True)
class _Counted:
    """Baskets in the engine: `rows` (basket_id, code), `total` baskets, `least` for a frequent set, items by code."""

    engine: Any
    rows: ir.Table
    total: int
    least: int
    items: npt.NDArray[Any]
    baskets: Ints


@dataclass(frozen=True)
class _Level:
    """Frequent sets of one size, sorted: `sets` (n × size codes, rising), `baskets` of each, and `keys` = place of the set
    without its last item in the level below × items + last item, rising as well, so that a set is found by bisection."""

    sets: Ints
    baskets: Ints
    keys: Ints


@contextmanager
def _counted(baskets: ir.Table, min_support: float) -> Iterator[_Counted]:
    share = _fraction("min_support", min_support)
    engine = baskets.get_backend()
    bought = baskets.filter(baskets.basket_id.notnull() & baskets.item.notnull()).select("basket_id", "item")
    total = int(bought.basket_id.nunique().to_pyarrow().as_py())
    least = max(1, ceil(share * total))
    # rows are at least as many as baskets, so this drops no frequent item, and texts need no distinct
    rows = bought.group_by("item").agg(rows=bought.count())
    items = rows.filter(rows.rows >= least).item.to_pyarrow().combine_chunks().sort()
    name = f"baskets_{next(_names)}"
    kept = ibis.memtable(pa.table({"item": items, "code": pa.array(range(len(items)), pa.int32())}))
    coded = engine.create_table(name, bought.inner_join(kept, "item").select("basket_id", "code").distinct(), temp=True)
    try:
        counted = coded.group_by("code").agg(baskets=coded.count()).to_pyarrow()
        sizes = np.zeros(len(items), dtype=np.int64)
        sizes[counted["code"].to_numpy()] = counted["baskets"].to_numpy()
        rare = np.flatnonzero(sizes < least).tolist()
        rows = coded.filter(coded.code.notin(rare)) if rare else coded
        yield _Counted(engine, rows, total, least, items.to_numpy(zero_copy_only=False), sizes)
    finally:
        engine.drop_table(name, force=True)


def _fraction(name: str, value: float) -> Fraction:
    share = Fraction(str(value))
    if not 0 < share <= 1:
        raise InputError(f"{name} is {value}; allowed is a share above 0, at most 1")
    return share


def _levels(found: _Counted, max_items: int) -> list[_Level]:
    """Frequent single items, pairs, triples … of at most `max_items` items; the last ones may be empty."""
    if max_items < 2:
        raise InputError(f"max_items is {max_items}; a rule has 2 items or more")
    size = max(len(found.items), 1)
    codes = np.flatnonzero(found.baskets >= found.least)
    held = _pairs(found, 0, size)
    parts = [_frequent(_pairs(found, *part), found.least) for part in _parts(found.baskets)]
    pairs, counts = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
    first, second = pairs // size, pairs % size
    levels = [
        _Level(codes[:, None], found.baskets[codes], codes),
        _Level(np.stack([first, second], axis=1), counts, np.searchsorted(codes, first) * size + second),
    ]
    names: list[str] = []
    try:
        while len(levels) < max_items and len(pairs) > len(levels):  # a set of n + 1 items has n + 1 subsets of n
            parents, added = _candidates(levels, size)
            wanted = pa.table({"grown": pairs[parents] * size + added, "number": np.arange(len(parents))})
            held = held.semi_join(ibis.memtable({"key": np.unique(pairs[parents])}), "key")
            held = _grown(found, held, ibis.memtable(wanted), names)
            pairs, counts = _frequent(held, found.least)
            before, last = parents[pairs], added[pairs]
            sets = np.concatenate([levels[-1].sets[before], last[:, None]], axis=1)
            levels.append(_Level(sets, counts, before * size + last))
    finally:
        for name in names:
            found.engine.drop_table(name, force=True)
    return levels


def _pairs(found: _Counted, first: int, past: int) -> ir.Table:
    """basket_id and key (lower code × items + higher code) of each pair whose lower code lies in [first, past)."""
    rows = found.rows
    left = rows.filter(rows.code >= first, rows.code < past)
    right = rows.select(of_basket="basket_id", later="code")
    both = left.inner_join(right, [left.basket_id == right.of_basket, left.code < right.later])
    return both.mutate(key=both.code.cast("int64") * len(found.items) + both.later).select("basket_id", "key")


def _parts(baskets: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of codes with about PART_ROWS rows each: the pairs of one are counted at a time, which bounds the memory."""
    rows = np.cumsum(baskets)
    parts = int(np.clip(rows[-1] // PART_ROWS if len(rows) else 1, 1, MOST_PARTS))
    edges = np.searchsorted(rows, rows[-1] * np.arange(1, parts) / parts, side="right") if parts > 1 else []
    return itertools.pairwise([0, *map(int, edges), len(baskets)])


def _frequent(held: ir.Table, least: int) -> tuple[Ints, Ints]:
    """Keys of `held` (basket_id, key) that at least `least` baskets hold, rising, and how many do."""
    counted = held.group_by("key").agg(baskets=held.count())
    rows = counted.filter(counted.baskets >= least).order_by("key").limit(MOST_SETS + 1).to_pyarrow()
    _bounded(rows.num_rows)
    return rows["key"].to_numpy().astype(np.int64), rows["baskets"].to_numpy().astype(np.int64)


def _bounded(sets: int) -> None:
    if sets > MOST_SETS:
        raise InputError(f"more than {MOST_SETS:,} sets of items would have to be looked at; raise min_support")


def _grown(found: _Counted, held: ir.Table, wanted: ir.Table, names: list[str]) -> ir.Table:
    """The candidates `wanted` (grown, number) that each basket holds, in a temporary table; `grown` is the key of a set in
    `held` × items + the item added: one number, so that the engine joins the baskets first and does not pair candidates
    with every basket that holds the item."""
    both = held.inner_join(found.rows, "basket_id")
    both = both.mutate(grown=both.key * len(found.items) + both.code).select("basket_id", "grown")
    names.append(f"baskets_{next(_names)}")
    grown = both.inner_join(wanted, "grown").select("basket_id", key="number")
    return found.engine.create_table(names[-1], grown, temp=True)


def _candidates(levels: list[_Level], size: int) -> tuple[Ints, Ints]:
    """(place of a set in the last level, item to add) for each set of one more item whose subsets are all frequent, sorted."""
    newest = levels[-1]
    prefix, last = newest.keys // size, newest.keys % size
    _, starts, members = np.unique(prefix, return_index=True, return_counts=True)
    later = np.repeat(starts + members, members) - np.arange(len(prefix)) - 1  # sets of the same prefix that follow
    _bounded(int(later.sum()))
    parents = np.repeat(np.arange(len(prefix)), later)
    added = last[parents + 1 + np.arange(len(parents)) - np.repeat(np.cumsum(later) - later, later)]
    sets = np.concatenate([newest.sets[parents], added[:, None]], axis=1)
    frequent = np.ones(len(sets), dtype=bool)
    for left_out in range(sets.shape[1] - 2):  # without either of the last two it is frequent by its making
        frequent &= _find(levels, np.delete(sets, left_out, axis=1), size) >= 0
    return parents[frequent], added[frequent]


def _find(levels: list[_Level], sets: Ints, size: int) -> Ints:
    """Place of each of `sets` (n × k codes, rising) in its level; -1 where it is not frequent."""
    place = np.searchsorted(levels[0].keys, sets[:, 0])
    known = np.ones(len(sets), dtype=bool)
    for level, column in zip(levels[1:], range(1, sets.shape[1]), strict=False):
        keys = place * size + sets[:, column]
        place = np.minimum(np.searchsorted(level.keys, keys), max(len(level.keys) - 1, 0))
        known &= level.keys[place] == keys if len(level.keys) else False
    return np.where(known, place, -1)


def _rules(found: _Counted, levels: list[_Level], least: Fraction) -> pd.DataFrame:
    size, parts = max(len(found.items), 1), []
    for level in levels[1:]:
        for column in range(level.sets.shape[1] if len(level.sets) else 0):
            before = np.delete(level.sets, column, axis=1)
            bought = levels[before.shape[1] - 1].baskets[_find(levels, before, size)]
            kept = level.baskets * least.denominator >= bought * least.numerator
            names = [tuple(each) for each in found.items[before[kept]].tolist()]
            after = level.sets[kept, column]
            parts.append(
                pd.DataFrame(
                    {
                        "antecedent": pd.Series(names, dtype=object), "consequent": found.items[after],
                        "baskets": level.baskets[kept], "bought": bought[kept], "base": found.baskets[after],
                    }
                )
            )  # fmt: skip
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))
    rules = pd.concat(parts, ignore_index=True)
    rules["support"] = rules["baskets"] / found.total
    rules["confidence"] = rules["baskets"] / rules["bought"]
    rules["lift"] = rules["confidence"] * found.total / rules["base"]
    rules["p"] = stats.hypergeom.sf(rules["baskets"] - 1, found.total, rules["base"], rules["bought"])
    rules["order"] = -rules["lift"].round(9)
    return rules.sort_values(["order", "antecedent", "consequent"], ignore_index=True)[list(COLUMNS)]
