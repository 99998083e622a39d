"""Tags through their life: models and lists as inputs, what is kept, what is withheld, what it tells, better thresholds."""

from __future__ import annotations

import json
import random
from datetime import date
from typing import Any

import ibis
import pytest
from scipy.stats import binomtest

from crm_core.errors import InputError, UnknownName
from crm_core.tags import (
    Check,
    Lift,
    Sources,
    check,
    checks_of,
    checks_table,
    compute,
    dimensions,
    evaluate,
    inputs,
    judge,
    propose,
    published,
    reasons,
)
from tests.tags.test_tags import tags
from tests.tiny_features import features_table, nobody
from tests.tiny_world import moment, rows_of, world

DAY = date(2026, 10, 31)
PEOPLE = features_table([nobody(one, age=20 + n) for n, one in enumerate("abcd")])
SCORES = ibis.memtable(
    [
        {"member_id": "a", "model": "churn", "score": 0.9, "low": 0.8, "high": 0.95, "label": "high"},
        {"member_id": "b", "model": "churn", "score": 0.2, "low": 0.1, "high": 0.3, "label": "low"},
        {"member_id": "a", "model": "value", "score": 77.0, "low": 1.0, "high": 99.0, "label": None},
    ],
    schema={"member_id": "string", "model": "string", "score": "float64", "low": "float64", "high": "float64", "label": "string"},
)
LISTS = ibis.memtable(
    [{"tag": "vip", "member_id": "c", "value": "gold", "listed_on": date(2026, 10, 1)}],
    schema={"tag": "string", "member_id": "string", "value": "string", "listed_on": "date"},
)
CONF = tags(
    leaving={"kind": "model", "model": "churn", "when": "churn_score >= 0.5"},
    chance={"kind": "model", "model": "churn", "value": "round(churn_score, 1)"},
    vip={"kind": "list"},
    young={"kind": "rule", "when": "age < 22", "update": "keep"},
)  # fmt: skip


def test_models_lists_and_what_is_kept_are_inputs_like_features():
    earlier = ibis.memtable([{"member_id": "d", "young": True}, {"member_id": "c", "young": False}])
    found = rows_of(compute(PEOPLE, CONF, DAY, Sources(scores=SCORES, lists=LISTS, earlier=earlier)))
    assert {one: tuple(row[name] for name in CONF.tags) for one, row in found.items()} == {
        "a": (True, 0.9, None, True),
        "b": (False, 0.2, None, True),
        "c": (False, None, "gold", False),
        "d": (False, None, None, True),
    }


def test_reasons_name_the_score_the_list_and_what_was_kept():
    earlier = ibis.memtable([{"member_id": "d", "young": True}])
    sources = Sources(scores=SCORES, lists=LISTS, earlier=earlier)
    by_tag = {each.tag: each for each in reasons(PEOPLE, CONF, "a", DAY, sources)}
    assert (by_tag["leaving"].fired, by_tag["leaving"].features) == ("churn_score >= 0.5", {"churn_score": 0.9})
    assert by_tag["young"].said("en") == "age < 22"
    listed = {each.tag: each for each in reasons(PEOPLE, CONF, "c", DAY, sources)}["vip"]
    assert (listed.value, listed.features) == ("gold", {"listed_on": date(2026, 10, 1)})
    kept = {each.tag: each for each in reasons(PEOPLE, CONF, "d", DAY, sources)}["young"]
    assert (kept.value, kept.kept, kept.fired) == (True, True, None)
    wide = rows_of(compute(PEOPLE, CONF, DAY, sources))
    for one in "abcd":
        assert {each.tag: each.value for each in reasons(PEOPLE, CONF, one, DAY, sources)} == {
            name: value for name, value in wide[one].items() if name != "member_id"
        }


def test_events_and_segments_may_be_asked_and_are_unknown_before_there_are_any():
    conf = tags(asked={"kind": "rule", "when": "did('visit', 2, 30) or in_segment('rfm:new')"})
    assert [row["asked"] for row in rows_of(compute(PEOPLE, conf)).values()] == [False] * 4
    segments = ibis.memtable([{"member_id": "b", "scheme": "rfm", "segment": "new"}])
    visits = [{"event_id": str(n), "member_id": "c", "occurred_at": moment("2026-10-20"), "event": "visit"} for n in (1, 2)]
    sources = Sources(segments=segments, tables=world(interactions=visits))
    found = rows_of(compute(PEOPLE, conf, DAY, sources))
    assert {one for one, row in found.items() if row["asked"]} == {"b", "c"}
    assert {each.tag: each.value for each in reasons(PEOPLE, conf, "c", DAY, sources)} == {"asked": True}


def test_a_model_tag_that_asks_for_no_score_is_refused():
    with pytest.raises(InputError, match=r"of model 'churn' but asks for none of churn_high, churn_label, churn_low, churn_score"):
        check(tags(x={"kind": "model", "model": "churn", "when": "age > 3"}))


def test_a_segment_that_conf_does_not_define_is_refused_in_a_tag():
    for text in ("in_segment('rfm:at_rsik')", "not in_segment('rfm:at_rsik')"):
        with pytest.raises(UnknownName, match="did you mean 'rfm:at_risk'"):
            inputs(PEOPLE, tags(x={"kind": "rule", "when": text}), Sources(known=["rfm:at_risk"]))
        with pytest.raises(InputError, match="did you mean 'rfm:at_risk'"):
            check(tags(x={"kind": "rule", "when": text}), ["rfm:at_risk"])


def test_what_was_kept_in_another_type_is_not_kept():
    rows = inputs(PEOPLE, CONF, Sources(earlier=ibis.memtable({"member_id": ["c"], "young": ["much"]})))
    assert rows.count().to_pyarrow().as_py() == 4
    kept = compute(PEOPLE, tags(young={"kind": "rule", "when": "age < 22", "update": "keep"}), DAY,
                   Sources(earlier=ibis.memtable({"member_id": ["c", "d"], "young": ["much", "some"]})))  # fmt: skip
    assert {name: row["young"] for name, row in rows_of(kept).items()} == {"a": True, "b": True, "c": False, "d": False}


def test_the_dimension_check_says_which_input_is_known_of_how_many():
    rows = inputs(PEOPLE, CONF, Sources(scores=SCORES, lists=LISTS))
    found = {each.name: (each.source, each.tags, each.coverage) for each in dimensions(rows, CONF)}
    assert found["churn_score"] == ("churn", ("leaving", "chance"), 0.5)
    assert found["age"] == ("members", ("young",), 1.0)
    assert found["_list vip value"] == ("upload", ("vip",), 0.25)


def wide(share):
    return ibis.memtable([{"member_id": str(n), "x": n < 100 * share} for n in range(100)])


def bounded(**bounds):
    return tags(x={"kind": "rule", "when": "order_count > 0", "bounds": bounds})


def test_a_tag_outside_its_coverage_is_withheld_and_its_column_is_empty():
    conf = bounded(coverage=[0.2, 0.6])
    assert [each.problem for each in judge(wide(0.3), conf, DAY)] == [""]
    (found,) = judge(wide(0.7), conf, DAY)
    assert (found.problem, found.coverage) == ("coverage", 0.7)
    assert {row["x"] for row in published(wide(0.7), [found]).to_pyarrow().to_pylist()} == {None}


def test_drift_is_measured_against_the_day_when_the_same_definition_was_last_published():
    conf = bounded(drift=0.1)

    def on(day, share, history):
        (found,) = judge(wide(share), conf, date(2026, 10, day), history)
        return found

    def told(*days):
        rows = [checks_table([found]).mutate(as_of=ibis.literal(date(2026, 10, day))) for day, found in days]
        return ibis.union(*rows)

    first = on(1, 0.30, None)
    fault = on(2, 0.90, told((1, first)))
    assert (first.problem, fault.problem, round(fault.drift, 6)) == ("", "drift", 0.6)
    again = on(3, 0.90, told((1, first), (2, fault)))
    assert again.problem == "drift", "a fault of two days is no new normal"
    assert on(3, 0.35, told((1, first), (2, fault))).problem == ""
    nobody_yet = on(1, 0.0, None)
    assert on(2, 0.9, told((1, nobody_yet))).problem == "", "what nobody had is no base: it only became known"
    other = tags(x={"kind": "rule", "when": "order_count > 1", "bounds": {"drift": 0.1}})
    assert judge(wide(0.9), other, DAY, told((1, first)))[0].problem == "", "a new definition may give another share"
    assert checks_of(checks_table([fault])) == [fault]


def lift(hits: int, size: int, other_hits: int, others: int) -> Lift:
    rows = ibis.memtable([{"member_id": str(n), "x": n < size} for n in range(size + others)])
    ordered = ibis.memtable(
        {"member_id": [str(n) for n in [*range(hits), *range(size, size + other_hits)]]}, schema={"member_id": "string"}
    )
    return next(each for each in evaluate(rows, ordered) if each.tag == "x")


def test_the_lift_of_a_tag_is_the_ratio_of_shares_with_the_interval_of_both():
    """Donner and Zou 2012: at its ends the interval of p − ratio · q, made of the Wilson limits of p and q, touches nought."""
    found = lift(30, 100, 10, 100)
    assert (found.members, found.rate, found.others, round(found.lift, 9), found.reading) == (100, 0.3, 0.1, 2.0, "more")
    for ratio, near, far in ((found.low + 1, "low", "high"), (found.high + 1, "high", "low")):
        limit, other = (getattr(proportion(hits), side) for hits, side in ((30, near), (10, far)))
        apart = ((0.3 - limit) ** 2 + ratio**2 * (other - 0.1) ** 2) ** 0.5
        assert abs(0.3 - ratio * 0.1) == pytest.approx(apart)
    turned = lift(10, 100, 30, 100)
    assert (turned.low + 1, turned.high + 1) == pytest.approx((1 / (found.high + 1), 1 / (found.low + 1)))
    assert turned.reading == "fewer"


def proportion(hits: int) -> Any:
    return binomtest(hits, 100).proportion_ci(0.95, "wilson")


def test_shares_of_nothing_and_of_all_are_told_as_what_they_are():
    assert (lift(0, 1000, 400, 1000).reading, lift(0, 1000, 400, 1000).lift) == ("fewer", -1.0)
    alone = lift(17, 457, 0, 2000)
    assert (alone.reading, alone.lift, alone.high) == ("more", float("inf"), float("inf")) and alone.low > 1
    assert lift(7, 7, 83, 87).reading == "no evidence", "Fisher's exact test: p = 1"
    assert lift(0, 10, 0, 10).reading == "no evidence"
    rng, told = random.Random(1), 0
    for _ in range(200):  # seven of 94, of whom 90 ordered
        hits = sum(place < 90 for place in rng.sample(range(94), 7))
        told += lift(hits, 7, 90 - hits, 87).reading != "no evidence"
    assert told <= 22, "5 % of 200, the exact 99.9 % binomial region"


def test_no_tag_tells_more_than_the_level_allows_where_nothing_is_to_be_told():
    rng = random.Random(4)
    rows = [{"member_id": str(n), **{f"t{k}": rng.random() < 0.3 for k in range(200)}} for n in range(1500)]
    ordered = ibis.memtable([{"member_id": str(n)} for n in range(1500) if rng.random() < 0.2])
    told = [each.reading != "no evidence" for each in evaluate(ibis.memtable(rows), ordered)]
    assert 2 <= sum(told) <= 22, "5 % of 200, the exact 99.9 % binomial region"


def test_a_threshold_is_proposed_where_orders_really_change():
    """Members order with 10 % below an age of 40 and with 60 % from there on; the tag cuts at 25."""
    rng = random.Random(1)
    ages = {f"m{n}": rng.randrange(18, 70) for n in range(6000)}
    rows = features_table([nobody(one, age=age) for one, age in ages.items()])
    ordered = ibis.memtable([{"member_id": one} for one, age in ages.items() if rng.random() < (0.6 if age >= 40 else 0.1)])
    conf = tags(
        young={"kind": "rule", "when": "age < 25"},
        right={"kind": "rule", "when": "age >= 40"},
        both={"kind": "rule", "when": "age < 25 and order_count > 3"},
        at={"kind": "rule", "when": "age == 25"},
    )
    (found,) = propose(rows, ordered, conf, list(conf.tags))
    assert (found.tag, found.feature, found.present, found.proposed) == ("young", "age", (25.0,), (40.0,))
    assert found.would_explain > 3 * found.explains
    assert found.rates == pytest.approx((0.1, 0.6), abs=0.04)


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_proposed_where_orders_depend_on_nothing(seed):
    rng = random.Random(seed)
    ages = {f"m{n}": rng.randrange(18, 70) for n in range(3000)}
    rows = features_table([nobody(one, age=age) for one, age in ages.items()])
    ordered = ibis.memtable([{"member_id": one} for one in ages if rng.random() < 0.1])
    conf = tags(young={"kind": "rule", "when": "age < 25"})
    assert propose(rows, ordered, conf, ["young"]) == []


def test_a_level_that_everybody_has_drifts_when_members_move_between_its_words():
    cases = [{"value": "high", "when": "order_count >= 2"}, {"value": "low", "when": "order_count == 1"}]
    conf = tags(level={"kind": "rule", "cases": cases, "otherwise": "none", "bounds": {"drift": 0.25}})

    def day(words, history=None):
        rows = [{"member_id": f"m{place}", "level": word} for place, word in enumerate(words)]
        return judge(ibis.memtable(rows), conf, DAY, history)[0]

    def stored(check):
        return checks_table([check]).mutate(as_of=ibis.literal(DAY))

    first = day(["high"] * 4 + ["low"] * 3 + ["none"] * 3)
    assert (first.problem, first.drift, json.loads(first.words)) == ("", None, {"high": 4, "low": 3, "none": 3})
    moved = day(["high"] * 2 + ["low"] * 5 + ["none"] * 3, stored(first))
    assert (moved.problem, moved.drift) == ("", pytest.approx(0.2))
    stopped = day(["none"] * 10, stored(first))
    assert (stopped.problem, stopped.coverage, stopped.drift) == ("drift", 1.0, pytest.approx(0.7))
    # of a day stored before words were noted, coverage alone is known
    assert day(["none"] * 10, stored(first).drop("words", "moved")).drift == 0.0


def test_a_tag_may_have_any_name():
    conf = tags(everybody={"kind": "rule", "when": "order_count > 0"})
    (found,) = judge(ibis.memtable([{"member_id": "a", "everybody": True}]), conf, DAY)
    assert (found.members, found.everybody) == (1, 1)


def test_a_check_without_members_says_nothing():
    assert Check("x", "d", 0, 0, 0.5, "").drift is None
