"""The draw: exact counts in both directions, the same for any row order, persons kept whole."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_core.campaigns.allocation import allocate, arm_counts, arm_totals, largest_remainder, stratum_of
from crm_core.errors import InputError

TENTH = {"control": Fraction(1, 10), "message": Fraction(9, 10)}
THREE = {"control": Fraction(1, 5), "a": Fraction(2, 5), "b": Fraction(2, 5)}
SHARES = st.lists(st.integers(1, 9), min_size=2, max_size=4).map(
    lambda weights: {("control" if not at else f"arm{at}"): Fraction(w, sum(weights)) for at, w in enumerate(weights)}
)
SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 400), min_size=1, max_size=8)


def _members(persons: list[tuple[str, str, str]]) -> ibis.Table:
    names = ("member_id", "person_id", "stratum")
    return ibis.memtable(pa.table({name: pa.array([row[at] for row in persons], pa.string()) for at, name in enumerate(names)}))


def _drawn(persons: list[tuple[str, str, str]], shares: dict[str, Fraction], salt: str) -> dict[str, str]:
    found = allocate(_members(persons), shares, salt).to_pyarrow()
    return dict(zip(found["member_id"].to_pylist(), found["arm"].to_pylist(), strict=True))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.data())
def test_largest_remainder_is_exact_and_within_one_of_the_quota(sizes: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(sizes)))
    shares = largest_remainder(sizes, total)
    assert sum(shares) == total
    for size, share in zip(sizes, shares, strict=True):
        assert 0 <= share <= size
        assert sum(sizes) == 0 or abs(share - Fraction(size * total, sum(sizes))) < 1


def test_largest_remainder_refuses_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="5 cannot be taken out of 4"):
        largest_remainder([1, 3], 5)


@given(st.integers(0, 10_000), SHARES)
def test_arm_totals_add_up(size: int, shares: dict[str, Fraction]) -> None:
    totals = arm_totals(size, shares)
    assert sum(totals.values()) == size
    assert all(abs(totals[arm] - share * size) < 1 for arm, share in shares.items())


@given(SIZES, SHARES, st.text(max_size=5))
def test_counts_are_exact_in_both_directions(sizes: dict[str, int], shares: dict[str, Fraction], salt: str) -> None:
    counts = arm_counts(sizes, shares, salt)
    assert {name: sum(arms.values()) for name, arms in counts.items()} == sizes
    columns = {arm: sum(arms[arm] for arms in counts.values()) for arm in shares}
    assert columns == arm_totals(sum(sizes.values()), shares)
    total = sum(sizes.values())
    for name, size in sizes.items():
        quota = Fraction(size * columns["control"], total) if total else 0
        assert abs(counts[name]["control"] - quota) < 1


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 120), st.sampled_from([TENTH, THREE]), st.randoms(use_true_random=False), st.text(max_size=4))
def test_the_draw_is_exact_whole_and_blind_to_row_order(size, shares, rng, salt) -> None:
    rows = [(f"m{at:03d}", f"p{rng.randrange(max(size, 1)):03d}", rng.choice("xyz")) for at in range(size)]
    shuffled = rng.sample(rows, len(rows))
    arms = _drawn(rows, shares, salt)
    assert arms == _drawn(shuffled, shares, salt)
    assert set(arms) == {row[0] for row in rows}
    by_person: dict[str, set[str]] = {}
    stratum: dict[str, str] = {}
    for member, person, name in sorted(rows):
        by_person.setdefault(person, set()).add(arms[member])
        stratum.setdefault(person, name)
    assert all(len(found) == 1 for found in by_person.values())
    seen = Counter((stratum[person], *found) for person, found in by_person.items())
    expected = arm_counts(Counter(stratum.values()), shares, salt)
    assert seen == Counter({(s, arm): n for s, of in expected.items() for arm, n in of.items()})


def test_another_salt_draws_others_and_the_same_salt_the_same() -> None:
    rows = [(f"m{at}", f"m{at}", "all") for at in range(400)]
    held = {salt: {m for m, arm in _drawn(rows, TENTH, salt).items() if arm == "control"} for salt in ("a", "b")}
    assert len(held["a"]) == len(held["b"]) == 40 and held["a"] != held["b"]
    assert held["a"] == {m for m, arm in _drawn(rows, TENTH, "a").items() if arm == "control"}


def test_adding_a_member_moves_few_others() -> None:
    rows = [(f"m{at}", f"m{at}", "all") for at in range(400)]
    before, after = _drawn(rows, TENTH, "a"), _drawn([*rows, ("new", "new", "all")], TENTH, "a")
    assert sum(before[member] != after[member] for member in before) <= 1


def test_stratum_names_missing_values() -> None:
    table = ibis.memtable(pa.table({"tier": ["gold", None], "orders": [1, 2]}))
    assert table.select(s=stratum_of(table, ("tier", "orders"))).to_pyarrow()["s"].to_pylist() == ["gold / 1", "unknown / 2"]


def test_too_many_strata_are_refused() -> None:
    with pytest.raises(InputError, match="more than 2000 groups"):
        allocate(_members([(f"m{at}", f"m{at}", f"s{at}") for at in range(2001)]), TENTH, "a")


def test_inputs_are_not_changed() -> None:
    shares = dict(THREE)
    members = _members([("m1", "p1", "x"), ("m2", "p2", "x")])
    before = members.to_pyarrow()
    allocate(members, shares, "s").to_pyarrow()
    assert shares == THREE and members.to_pyarrow() == before
