"""Each shipped tag once more in pandas: the same members, the same values; each reason holds for its member; rows in any order."""

from __future__ import annotations

import random
import re
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

import ibis
import pandas as pd
import pytest

from crm_core.measures import features
from crm_core.tags import Sources, compute, reasons
from tests.pandas_rules import behaviour, evaluate, holds, typed
from tests.spark.test_parity import made_up
from tests.tags.test_tags import BASE, SHIPPED
from tests.tiny_world import rows_of, world

DAY = date(2026, 10, 31)
ASKS = {"kind": "rule", "when": "did('visit', 2, 200) and not tier == '金卡' or times('order', 365) > 3"}
CONF = SHIPPED.model_copy(
    update={"tags": {**SHIPPED.tags, "asks": type(SHIPPED.tags["new_member"]).model_validate({**BASE, **ASKS})}}
)
RULES = [name for name, tag in CONF.tags.items() if tag.kind == "rule"]


@pytest.fixture(scope="module")
def shop():
    """(features stored, tables, tags by member, features and events in pandas)."""
    tables = world("2026-10-31", **made_up(seed=5, members=150))
    known = ibis.memtable(features(tables).to_pyarrow())
    score = {"model": "churn", "score": 0.5, "low": 0.0, "high": 1.0}
    labels = ["low", "high"] * 40
    scores = ibis.memtable([{"member_id": f"m{n:03d}", **score, "label": label} for n, label in enumerate(labels)])
    sources = Sources(scores=scores, tables=tables)
    events = tables.interactions.select("member_id", "event", at="occurred_at")
    orders = tables.paid_orders.select("member_id", event=ibis.literal("order"), at="paid_at")
    rows = events.union(orders.select("member_id", "event", "at")).to_pandas()
    rows["day"] = [(moment + pd.Timedelta(hours=8)).date() for moment in rows["at"]]
    return known, sources, rows_of(compute(known, CONF, DAY, sources)), typed(known.to_pandas()), rows


@pytest.mark.parametrize("name", RULES)
def test_each_rule_gives_in_pandas_the_same_members_the_same_value(shop, name):
    _, _, wide, frame, events = shop
    tag, called = CONF.tags[name], behaviour(frame, events, DAY)
    cases = [(case.value, case.when) for case in tag.cases] or [(True, tag.when)]
    expected = dict.fromkeys(frame.member_id, tag.otherwise if tag.cases else False)
    for value, when in reversed(cases):
        expected |= dict.fromkeys(holds(when, frame, called), value)
    assert {member: row[name] for member, row in wide.items()} == expected


@pytest.mark.parametrize("name", [name for name, tag in CONF.tags.items() if tag.kind == "statistic"])
def test_each_statistic_gives_in_pandas_the_same_number(shop, name):
    _, _, wide, frame, events = shop
    text = CONF.tags[name].value
    inner = re.fullmatch(r"round\((.*), (\d)\)", text)
    found = evaluate(inner[1] if inner else text, frame, behaviour(frame, events, DAY))
    found = rounded(found, int(inner[2])) if inner else found
    for member, value in zip(frame.member_id, found, strict=True):
        mine = wide[member][name]
        assert (mine is None) == pd.isna(value), member
        assert mine is None or mine == value or mine == pytest.approx(float(value), abs=0.0051), member


def rounded(values, digits):
    """Half away from nought, as money is rounded."""
    return values.map(lambda v: None if pd.isna(v) else float(Decimal(str(v)).quantize(Decimal(10) ** -digits, ROUND_HALF_UP)))


def test_the_reasons_of_a_few_members_hold_in_pandas(shop):
    known, sources, wide, frame, events = shop
    called = behaviour(frame, events, DAY)
    for member in random.Random(2).sample(sorted(wide), 4):
        for reason in reasons(known, CONF, member, DAY, sources):
            assert reason.value == wide[member][reason.tag]
            if reason.fired:
                assert member in holds(reason.fired, frame, called)
                assert reason.said("zh") and reason.said("en")


def test_the_order_of_rows_changes_no_tag(shop):
    known, sources, wide, _, _ = shop
    shuffled = ibis.memtable(known.to_pyarrow().to_pandas().sample(frac=1, random_state=3), schema=known.schema())
    assert rows_of(compute(shuffled, CONF, DAY, sources)) == wide
