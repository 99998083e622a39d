"""Growth, overlap and what distinguishes: counted by hand and against pandas."""

from __future__ import annotations

import ibis
import numpy as np
import pandas as pd
import pytest

from crm_core.segments import distinctive, growth, overlap

MEMBERS = 700  # more than a byte counts


def assigned(rows):
    return ibis.memtable(pd.DataFrame(rows, columns=["member_id", "scheme", "segment"]))


def test_growth_tells_who_joined_left_and_stayed_and_adds_up():
    before = assigned([(f"m{n}", "rfm", "new" if n % 3 else "lost") for n in range(MEMBERS)])
    after = assigned([(f"m{n}", "rfm", "new" if n % 2 else "lost") for n in range(10, MEMBERS + 10)] + [("m11", "rule", "x")])
    rows = {(r["scheme"], r["segment"]): r for r in growth(before, after).to_pyarrow().to_pylist()}
    then = {f"m{n}" for n in range(MEMBERS) if n % 3}
    now = {f"m{n}" for n in range(10, MEMBERS + 10) if n % 2}
    new = rows["rfm", "new"]
    assert (new["joined"], new["left"], new["stayed"]) == (len(now - then), len(then - now), len(now & then))
    assert {name: rows["rule", "x"][name] for name in ("joined", "left", "stayed")} == {"joined": 1, "left": 0, "stayed": 0}


def test_overlap_counts_who_is_in_both_and_jaccard():
    rows = assigned(
        [("a", "rule", "x"), ("b", "rule", "x"), ("c", "rule", "x"), ("b", "rule", "y"), ("c", "rule", "y"),
         ("d", "rule", "y"), ("e", "rule", "z"), ("a", "rfm", "new")]
    )  # fmt: skip
    rules = rows.filter(rows.scheme == "rule")
    found = {(r["first"], r["second"]): (r["members"], r["jaccard"]) for r in overlap(rules, rules).to_pyarrow().to_pylist()}
    assert found == {("rule:x", "rule:y"): (2, 0.5), ("rule:y", "rule:x"): (2, 0.5)}
    other = overlap(rules.filter(rules.segment == "x"), rows).to_pyarrow().to_pylist()
    assert {(r["second"], r["members"]) for r in other} == {("rule:y", 2), ("rfm:new", 1)}


def test_what_distinguishes_is_the_difference_of_means_and_shares_in_standard_deviations():
    draw = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "member_id": [f"m{n}" for n in range(MEMBERS)],
            "person_id": [f"p{n}" for n in range(MEMBERS)],
            "orders": draw.integers(0, 9, MEMBERS).astype(float),
            "same": 1.0,
            "tier": draw.choice(["gold", "tin"], MEMBERS),
            "warm": draw.random(MEMBERS) < 0.5,
        }
    )
    frame.loc[::7, ["orders", "tier"]] = None
    chosen = (frame.orders > 5) & (frame.tier == "gold")
    ours = pd.DataFrame({"member_id": frame.member_id[chosen], "segment": "s"})
    found = {(t.name, t.value): t for t in distinctive(ibis.memtable(frame), ibis.memtable(ours))["s"]}
    orders = found["orders", None]
    assert orders.difference == pytest.approx(
        (frame.orders[chosen].mean() - frame.orders.mean()) / frame.orders.std(ddof=0), abs=1e-5
    )
    gold = (frame.tier == "gold").mean()
    assert found["tier", "gold"].difference == pytest.approx((1 - gold) / (gold * (1 - gold)) ** 0.5, abs=1e-5)
    assert found["tier", "gold"].members == chosen.sum() and found["warm", "true"].segment == frame.warm[chosen].mean()
    assert not {name for name, _ in found} & {"person_id", "same", "member_id"} and ("warm", "false") not in found


def test_what_few_members_have_is_not_told():
    frame = pd.DataFrame({"member_id": list("abcdef"), "city": ["x", "x", "y", "z", "z", "z"]})
    ours = pd.DataFrame({"member_id": list("abc"), "segment": "s"})
    found = distinctive(ibis.memtable(frame), ibis.memtable(ours), min_cell=2)["s"]
    assert [(trait.value, trait.members) for trait in found] == [("x", 2)]
    assert distinctive(ibis.memtable(frame), ibis.memtable(ours), min_cell=4) == {}
