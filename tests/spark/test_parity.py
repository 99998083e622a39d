"""One suite over everything that must run on Spark too: the same rows from both engines."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from crm_core.config import EngineSettings, read_yaml
from crm_core.config.segments import ClusterSettings, SegmentSettings
from crm_core.config.tags import TagSettings
from crm_core.measures import features, rfm
from crm_core.schema.expressions import compile_expression, condition
from crm_core.segments import Basis, assign, distinctive, movement, overlap, score, sizes, thresholds
from crm_core.segments.clusters import fit, nearest
from crm_core.store.engine import connect
from crm_core.tags import compute, long, reasons
from tests.require import need, spark
from tests.tiny_world import SHANGHAI, moment, order, world

pytestmark = [pytest.mark.spark, pytest.mark.slow]
CONF = Path(__file__).parents[2] / "conf"
SEGMENTS = read_yaml(CONF / "segments.yml", SegmentSettings)
TAGS = read_yaml(CONF / "tags.yml", TagSettings)
EXPRESSIONS = [
    "net_amount * 1.5 - 0.25",
    "net_amount * net_amount",
    "round(net_amount * 0.333, 2)",
    "coalesce(net_amount, 0.5)",
    "order_count / (order_count - 1)",
    "net_amount / order_count",
    "between(net_amount, 10, 99.01)",
    "number(concat(' 1', order_count, '.5 '))",
    "number(tier)",
    "text(net_amount)",
    "concat(tier, '-', city)",
    "matches(city, '^杭.$')",
    "contains(tier, '卡') and not starts_with(tier, '金')",
    "length(strip(upper(city)))",
    "tier in ['金卡', '银卡']",
    "tier not in ['金卡']",
    "'a' if age < 30 else 'b' if age >= 30 else None",
    "registered_at >= '2026-01-01'",
    "days_between(registered_at, date('2026-10-31'))",
    "is_null(tier) or age > 20",
]


def made_up(seed: int = 7, members: int = 120) -> dict[str, list[dict]]:
    """A small world with ties, guests, gaps and Chinese text, the same for each seed."""
    rng = random.Random(seed)
    ids = [f"m{n:03d}" for n in range(members)]
    first = datetime(2025, 6, 1)

    def when() -> datetime:
        return first + timedelta(minutes=rng.randrange(60 * 24 * 560))  # some after the day that is asked for

    people = [
        {
            "member_id": one,
            "registered_at": rng.choice([None, when()]),
            "tier": rng.choice(["金卡", "银卡", None]),
            "birth_month": rng.choice([None, *range(1, 13)]),
            "birth_year": rng.choice([None, 1980, 1999, 2010]),
            "city": rng.choice(["杭州", "上海", None]),
        }
        for one in ids[:-5]
    ]
    orders = [
        order(
            str(n),
            rng.choice([*ids[::2], None]),
            str(when()),
            rng.choice(["10.00", "20.00", "99.01"]),
            channel=rng.choice(["tmall", "jd", "store"]),
            gross_amount=Decimal("120"),
            discount_amount=Decimal(rng.randrange(40)),
        )
        for n in range(600)
    ]
    lines = [
        {
            "order_id": one["order_id"],
            "line_no": k,
            "ordered_at": one["ordered_at"],
            "product_id": f"p{rng.randrange(9)}",
            "line_amount": Decimal(rng.randrange(1, 50)),
        }
        for one in orders
        for k in (1, 2)
    ]
    events = [
        "visit",
        "browse",
        "cart_add",
        "consult",
        "check_in",
        "share",
        "complaint",
        "points_earned",
        "points_spent",
        "points_expired",
        "coupon_issued",
        "coupon_redeemed",
        "sent",
        "opened",
        "clicked",
        "unsubscribed",
    ]
    return {
        "members": people,
        "orders": orders,
        "order_lines": lines,
        "products": [{"product_id": f"p{n}", "category": ["茶", "杯", None][n % 3]} for n in range(9)],
        "refunds": [
            {"refund_id": str(n), "member_id": rng.choice(ids), "refunded_at": when(), "amount": Decimal("3.33")} for n in range(60)
        ],
        "interactions": [
            {
                "event_id": str(n),
                "member_id": rng.choice([*ids, None]),
                "occurred_at": when(),
                "event": rng.choice(events),
                "quantity": float(rng.randrange(100)),
            }
            for n in range(3000)
        ],
        "consents": [
            {
                "member_id": rng.choice(ids),
                "channel": rng.choice(["sms", "email"]),
                "changed_at": when(),
                "state": rng.choice(["granted", "denied", "revoked"]),
                "expires_at": rng.choice([None, moment("2026-06-01")]),
            }
            for n in range(200)
        ],
    }


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """(DuckDB tables, Spark tables) over the same Parquet files."""
    need(spark(), "Spark (make spark, and Java 17)")
    rows = made_up()
    both = []
    for kind in ("duckdb", "spark"):
        folder = tmp_path_factory.mktemp(kind)
        engine = connect(EngineSettings(kind=kind), folder / "spill")
        if kind == "spark":
            engine._session.conf.set("spark.sql.shuffle.partitions", "2")  # 200 tasks a join are slow on 500 rows

        def load(name, content, engine=engine, folder=folder):
            pq.write_table(content, folder / f"{name}.parquet")
            return engine.read_parquet(str(folder / f"{name}.parquet"))

        # stored before segments and tags read them, as the nightly run does: Spark plans each from scratch
        tables = world("2026-10-31", SHANGHAI, load, **rows)
        tables.features = load("features", features(tables).to_pyarrow())
        tables.earlier = world("2026-06-30", SHANGHAI, load, **rows)
        both.append(tables)
    return both


def same(both, make) -> None:
    """The two engines give the same rows for `make(tables)`; floats may differ in their last digits."""
    duck, spark = (sorted(make(tables).to_pyarrow().to_pylist(), key=repr_of_key) for tables in both)
    assert len(duck) == len(spark) > 0
    for one, two in zip(duck, spark, strict=True):
        assert one.keys() == two.keys()
        for name in one:
            expected = pytest.approx(one[name], rel=1e-9) if isinstance(one[name], float) else one[name]
            assert two[name] == expected, (one, two, name)


def repr_of_key(row) -> str:
    return repr([value for value in row.values() if isinstance(value, str | None)])


def test_rfm_is_the_same(engines):
    same(engines, rfm)


def test_rfm_in_a_window_is_the_same(engines):
    same(engines, lambda tables: rfm(tables, window=90))


def test_features_are_the_same(engines):
    same(engines, features)


def test_features_of_an_earlier_day_are_the_same(engines):
    same(engines, lambda tables: features(tables.earlier))


def test_limits_are_the_same_to_the_last_digit(engines):
    duck, spark = (thresholds(tables.features, SEGMENTS) for tables in engines)
    assert duck == spark


def test_scores_are_the_same(engines):
    same(engines, lambda tables: score(tables.features, thresholds(tables.features, SEGMENTS)))


def test_segments_and_their_sizes_are_the_same(engines):
    same(engines, lambda tables: assign(tables.features, SEGMENTS))
    same(engines, lambda tables: sizes(assign(tables.features, SEGMENTS)))


def test_rules_that_ask_beyond_features_are_the_same(engines):
    """Events, segments of the day and of a stored one, and buckets; also rules over lifecycle stages."""
    when = {
        "did": "did('visit', 2, 200) or did_not('order', 90) and times('browse') > 1",
        "drawn": "bucket('盐', 7) in [1, 4]",
        "cut": "in_segment('rule:did') and not in_segment('lifecycle:lost') or in_segment('rfm3:111')",
        "was": "in_segment('rfm:lost', '2026-06-30')",
    }
    rules = {name: SEGMENTS.rules["one_order_only"].model_copy(update={"when": text}) for name, text in when.items()}
    conf = SEGMENTS.model_copy(update={"rules": rules})

    def held(tables):
        then = assign(tables.features, SEGMENTS)  # any day's segments will do as the stored ones
        tables.result_dates = lambda name: [date(2026, 6, 30)] if name == "member_segments" else []
        tables.result = lambda name, day: then
        return assign(tables.features, conf, tables=tables).filter(lambda t: t.scheme == "rule")

    same(engines, held)


def test_clusters_are_the_same(engines):
    """Fitted on one engine, scored on both, unknown values and all."""
    names = {"order_count": "log", "net_amount": "log", "discount_share": "plain", "mean_days_between_orders": "log"}
    conf = ClusterSettings(features=names, enough=50, repeats=2, most=4)
    duck, spark = (fit(tables.features, conf) for tables in engines)
    assert duck is not None and spark is not None and duck.numbers == spark.numbers
    np.testing.assert_allclose(duck.centres, spark.centres, atol=1e-6)
    same(engines, lambda tables: nearest(tables.features, duck).select("member_id", "_cluster"))


def test_growth_overlap_and_what_distinguishes_are_the_same(engines):
    def parts(tables):
        assigned = assign(tables.features, SEGMENTS)
        return assigned.filter(assigned.scheme == "rfm"), assigned.filter(assigned.scheme == "lifecycle")

    same(engines, lambda tables: overlap(*parts(tables)))
    columns = ["member_id", "order_count", "discount_share", "tier", "city"]
    duck, spark = (distinctive(tables.features.select(*columns), parts(tables)[0]) for tables in engines)
    assert duck.keys() == spark.keys()
    for segment, traits in duck.items():
        assert [(t.name, t.value, t.members) for t in traits] == [(t.name, t.value, t.members) for t in spark[segment]]


def test_movement_is_the_same(engines):
    def moved(tables):
        rfm_of = tables.features.mutate(order_count=tables.features.orders_90d)
        basis = Basis(thresholds(tables.features, SEGMENTS))
        return movement(assign(rfm_of, SEGMENTS, basis), assign(tables.features, SEGMENTS, basis))

    same(engines, moved)


def test_tags_are_the_same_wide_and_long(engines):
    same(engines, lambda tables: compute(tables.features, TAGS))
    same(engines, lambda tables: long(compute(tables.features, TAGS)))


def test_reasons_are_the_same(engines):
    duck, spark = (reasons(tables.features, TAGS, "m000") for tables in engines)
    assert duck == spark


def test_expressions_are_the_same(engines):
    # one query for all of them: each query costs Spark a second or more
    def answers(t):
        return t.features.select("member_id", **{text: compile_expression(text, t.features, where="x") for text in EXPRESSIONS})

    same(engines, answers)


def test_conditions_are_the_same(engines):
    same(engines, lambda t: t.features.filter(condition("not tier == '金卡'", t.features, where="x")).select("member_id"))
