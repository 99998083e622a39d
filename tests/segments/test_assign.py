"""Groups, types and rule segments of members made up by hand."""

from __future__ import annotations

import random

import ibis
import pytest

from crm_core.config.segments import LifecycleSettings, SegmentSettings
from crm_core.errors import InputError
from crm_core.segments import assign, basis_of, movement, redefined, score, sizes, thresholds
from crm_core.segments.grid import GRID, GROUP_TITLES, NO_PAID_ORDER, TYPE_TITLES, TYPES, cells
from tests.tiny_features import buyer, features_table, nobody

ELEVEN = [
    "champions",
    "loyal",
    "potential_loyalist",
    "new",
    "promising",
    "need_attention",
    "about_to_sleep",
    "at_risk",
    "cant_lose",
    "hibernating",
    "lost",
]
EIGHT = ["high_value", "high_growth", "high_keep", "high_winback", "value", "growth", "keep", "winback"]
TITLE = {"zh": "甲", "en": "A"}


def settings(**rules):
    conf = {"rules": {name: {"title": TITLE, "when": when} for name, when in rules.items()}}
    limits = {name: [1, 2, 3, 4] for name in ("days_since_last_order", "order_count", "net_amount")}
    values = dict.fromkeys(limits, 2)
    return SegmentSettings.model_validate({"rfm": {"thresholds": limits}, "type": {"compare": "given", "values": values}, **conf})


def segment_of(rows, scheme, conf=None):
    found = assign(features_table(rows), conf or settings()).to_pyarrow().to_pylist()
    chosen = [(row["member_id"], row["segment"]) for row in found if row["scheme"] == scheme]
    assert len(dict(chosen)) == len(chosen)
    return dict(chosen)


def test_the_grid_covers_every_cell_with_the_eleven_groups_and_no_other():
    assert set(GRID) == {1, 2, 3, 4, 5}
    assert all(len(row) == 5 for row in GRID.values())
    assert {name for row in GRID.values() for name in row} == set(ELEVEN)
    assert list(GROUP_TITLES) == [*ELEVEN, NO_PAID_ORDER]
    assert sum(len(cells(name)) for name in ELEVEN) == 25


def test_the_eight_types_are_those_of_the_contract():
    assert list(TYPES.values()) == EIGHT
    assert list(TYPE_TITLES) == [*EIGHT, NO_PAID_ORDER]
    assert [TYPES[key] for key in ((True, False, True), (False, True, True), (False, False, False))] == [
        "high_growth", "high_keep", "winback",
    ]  # fmt: skip


def test_every_cell_of_the_grid_is_reached_by_members_with_those_scores():
    # with limits 1, 2, 3, 4: f orders score f; 5 - r + 1 days score r
    rows = [buyer(f"{r}{f}", days=6 - r, orders=f, amount="1") for r in range(1, 6) for f in range(1, 6)]
    assert segment_of(rows, "rfm") == {f"{r}{f}": GRID[r][f - 1] for r in range(1, 6) for f in range(1, 6)}


@pytest.mark.parametrize("key", list(TYPES))
def test_a_measure_is_high_when_it_is_strictly_better_than_the_comparison(key):
    days, orders, amount = (1 if key[0] else 2), (3 if key[1] else 2), ("3" if key[2] else "2")
    assert segment_of([buyer("a", days, orders, amount)], "type") == {"a": TYPES[key]}


def test_members_without_a_paid_order_are_so_in_both_schemes():
    rows = [nobody("x"), buyer("a", 1, 1, "1")]
    assert segment_of(rows, "rfm")["x"] == segment_of(rows, "type")["x"] == "no_paid_order"


def test_where_orders_were_never_supplied_nobody_is_said_to_have_none():
    assert segment_of([{"member_id": "x"}], "rfm") == {}


def test_equal_values_get_equal_scores_and_the_order_of_rows_changes_nothing():
    rng = random.Random(1)
    rows = [buyer(str(n), rng.randrange(50), rng.choice([1, 1, 1, 2, 3, 9]), str(rng.randrange(5))) for n in range(300)]
    rows += [nobody(f"n{n}") for n in range(10)]

    def scores(given):
        table = features_table(given)
        return {row["member_id"]: row for row in score(table, thresholds(table, SegmentSettings())).to_pyarrow().to_pylist()}

    found = scores(rows)
    assert scores(rng.sample(rows, len(rows))) == found
    for measure, name in (("days_since_last_order", "r"), ("order_count", "f"), ("net_amount", "m")):
        by_value = {}
        for row in rows[:300]:
            by_value.setdefault(row[measure], set()).add(found[row["member_id"]][f"{name}_score"])
        assert all(len(given) == 1 for given in by_value.values())
    assert found["n1"]["r_score"] is None


def test_groups_add_up_to_all_members():
    rows = [buyer(str(n), n % 7, 1 + n % 4, str(n)) for n in range(100)] + [nobody("x")]
    counted = sizes(assign(features_table(rows), SegmentSettings())).to_pandas()
    assert counted.groupby("scheme").members.sum().to_dict() == {
        "rfm": 101, "type": 101, "rfm5": 100, "rfm3": 100, "lifecycle": 101,
    }  # fmt: skip


def test_rule_segments_hold_those_for_whom_the_condition_is_true_and_unknown_is_no():
    conf = settings(
        gold="tier == 'gold'", not_gold="not tier == 'gold'", both="tier == 'gold' and (order_count > 1 or net_amount >= 5.5)"
    )
    rows = [buyer("a", 1, 1, "5.50", tier="gold"), buyer("b", 1, 2, "5", tier="tin"), nobody("c")]
    found = assign(features_table(rows), conf)
    held = {(row["member_id"], row["segment"]) for row in found.to_pyarrow().to_pylist() if row["scheme"] == "rule"}
    assert held == {("a", "gold"), ("b", "not_gold"), ("a", "both")}


def test_a_rule_that_cannot_be_read_names_file_rule_and_nearest_feature():
    with pytest.raises(InputError, match=r"conf/segments.yml, rule 'x'.*did you mean 'order_count'"):
        assign(features_table([nobody("a")]), settings(x="order_cuont > 1"))


def test_movement_counts_who_went_where_and_rules_only_enter_stay_or_leave():
    conf = settings(rich="net_amount > 3", frequent="order_count > 2")
    before = assign(features_table([buyer("a", 1, 1, "1"), buyer("b", 1, 5, "4"), nobody("gone")]), conf)
    after = assign(features_table([buyer("a", 1, 5, "5"), buyer("b", 5, 5, "1"), nobody("new")]), conf)
    rows = movement(before, after).to_pyarrow().to_pylist()
    moved = {(row["scheme"], row["from_segment"], row["to_segment"]): row["members"] for row in rows}
    assert moved[("rfm", "new", "champions")] == 1
    assert moved[("rfm", "champions", "cant_lose")] == 1
    assert moved[("rfm", "no_paid_order", None)] == moved[("rfm", None, "no_paid_order")] == 1
    assert moved[("rule", None, "rich")] == moved[("rule", "rich", None)] == 1
    assert moved[("rule", "frequent", "frequent")] == moved[("rule", None, "frequent")] == 1
    assert sum(n for (scheme, *_), n in moved.items() if scheme == "rfm") == 4


def test_a_rule_is_redefined_when_it_or_one_that_it_asks_for_reads_otherwise():
    asking, none = "in_segment('rule:rich')", features_table([nobody("a")])
    then = ibis.memtable(basis_of(none, settings(rich="net_amount > 3", same="order_count > 2", asking=asking)).rows())
    now = settings(rich="net_amount > 9", same="order_count > 2", asking=asking, added="order_count > 1")
    assert redefined(then, now) == {"rule:rich", "rule:asking", "rule:added"}
    assert redefined(then.filter(then.model != "rules"), now) == set()


def test_other_limits_redefine_a_scheme_and_the_rules_that_ask_for_it():
    asking = {"asking": "in_segment('lifecycle:lost')", "own": "order_count > 2"}
    then = ibis.memtable(basis_of(features_table([nobody("a")]), settings(**asking)).rows())
    assert redefined(then, settings(**asking)) == set()
    other = settings(**asking).model_copy(update={"lifecycle": LifecycleSettings(cooling=1.0)})
    assert redefined(then, other) == {"lifecycle", "rule:asking"}
    assert redefined(then.filter(then.model != "schemes"), other) == set(), "of days that noted none nothing is known"
