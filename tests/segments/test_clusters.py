"""Clusters: known groups are found again, scored in the engine as scikit-learn does, and keep their numbers."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from types import SimpleNamespace

import ibis
import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import adjusted_rand_score

from crm_core.config.segments import ClusterSettings, SegmentSettings
from crm_core.errors import UnknownName
from crm_core.measures import empty_features
from crm_core.segments import Basis, Clusters, assign, describe
from crm_core.segments.clusters import clusters_of_day, fit, nearest
from tests.tiny_features import buyer, features_table, nobody

FEATURES = {"order_count": "log", "average_order_value": "log", "discount_share": "plain"}
SETTINGS = ClusterSettings(features=FEATURES, enough=300, repeats=3, most=6, sample=1500)
CENTRES = np.array([[0.7, 3.0, 0.1], [2.5, 3.0, 0.5], [0.7, 6.0, 0.1], [2.5, 6.0, 0.9]])  # log, log, plain


def world(seed=1, members=1200, centres=CENTRES, weights=(0.4, 0.3, 0.2, 0.1), spread=0.12):
    """(features, true group by member) of members around known centres."""
    draw = np.random.default_rng(seed)
    group = draw.choice(len(centres), members, p=weights)
    at = centres[group] + draw.normal(0, 1, (members, 3)) * [spread, spread, spread / 3]
    columns = {field.name: pa.nulls(members, field.type) for field in empty_features().schema().to_pyarrow()}
    columns |= {
        "member_id": pa.array([f"m{n}" for n in range(members)]),
        "order_count": pa.array(np.maximum(1, np.expm1(at[:, 0]).round()).astype("int64")),
        "average_order_value": pa.array(np.expm1(at[:, 1])),
        "discount_share": pa.array(at[:, 2]),
        "days_since_last_order": pa.array(np.full(members, 3)),
    }
    return pa.table(columns), group


TABLE, GROUP = world()
FOUND = fit(ibis.memtable(TABLE), SETTINGS, date(2026, 10, 31))


def scored(table, clusters):
    rows = nearest(ibis.memtable(table), clusters).select("member_id", "_cluster").to_pyarrow().to_pylist()
    return {row["member_id"]: row["_cluster"] for row in rows}


def test_as_many_clusters_are_found_as_there_are_and_they_are_those():
    assert len(FOUND.centres) == 4
    assert FOUND.stability["4"] > 0.95 and FOUND.stability["4"] > FOUND.stability["5"] + SETTINGS.margin
    labels = scored(TABLE, FOUND)
    assert adjusted_rand_score(GROUP, [labels[f"m{n}"] for n in range(len(GROUP))]) > 0.95


def test_the_greatest_is_number_one():
    assert FOUND.names[int(np.argmax(FOUND.shares))] == "c1" and sorted(FOUND.numbers) == [1, 2, 3, 4]


def test_the_engine_chooses_the_centre_that_scikit_learn_chooses():
    from sklearn.cluster import KMeans

    names = list(FEATURES)
    raw = np.column_stack([TABLE[name].to_numpy().astype(float) for name in names])
    read = np.where([FEATURES[name] == "log" for name in names], np.log1p(np.maximum(raw, 0)), raw)
    scaled = (read - np.array(FOUND.means)) / np.array(FOUND.deviations)
    model = KMeans(4, n_init=1, max_iter=1, init=np.array(FOUND.centres)).fit(np.array(FOUND.centres))
    expected = [FOUND.names[label] for label in model.predict(scaled)]
    labels = scored(TABLE, FOUND)
    assert [labels[f"m{n}"] for n in range(len(expected))] == expected


def test_the_order_of_rows_changes_nothing():
    shuffled = TABLE.take(np.random.default_rng(5).permutation(len(TABLE)))
    assert fit(ibis.memtable(shuffled), SETTINGS, date(2026, 10, 31)) == FOUND


def test_a_fit_is_plain_numbers_and_comes_back_the_same_from_json():
    assert Clusters.of(json.loads(json.dumps(FOUND.params()))) == FOUND


def test_unknown_values_are_read_as_the_mean_and_who_never_ordered_is_apart():
    rows = [buyer("a", 1, 2, "1"), nobody("b"), {"member_id": "c"}]
    table = features_table(rows)
    labels = scored(table.to_pyarrow(), FOUND)
    z = (np.log1p(2) - FOUND.means[0]) / FOUND.deviations[0]
    distances = ((np.array(FOUND.centres) - [z, 0, 0]) ** 2).sum(axis=1)
    assert labels == {"a": FOUND.names[int(np.argmin(distances))], "b": "no_paid_order", "c": None}


@pytest.mark.parametrize("scale", ["log", "plain"])
def test_an_unknown_value_is_at_the_mean_and_a_nought_is_not(scale):
    made = Clusters(("discount_share",), (scale,), (5.0,), (1.0,), ((0.0,), (-5.0,)), (2, 1), (0.5, 0.5), {}, 9, "", "")
    rows = [buyer("unknown", 1, 1, "1"), buyer("nought", 1, 1, "1", discount_share=0.0)]
    rows += [buyer("below", 1, 1, "1", discount_share=-1.0)]
    assert scored(features_table(rows).to_pyarrow(), made) == {"unknown": "c2", "nought": "c1", "below": "c1"}


def test_of_equal_distances_the_lower_number_is_taken():
    made = Clusters(("discount_share",), ("plain",), (0.0,), (1.0,), ((1.0,), (-1.0,)), (7, 3), (0.5, 0.5), {}, 9, "", "")
    assert scored(features_table([buyer("a", 1, 1, "1", discount_share=0.0)]).to_pyarrow(), made) == {"a": "c3"}


def test_after_a_new_fit_a_cluster_keeps_its_number_though_it_became_the_greatest():
    # the same groups half a deviation further on, and the smallest now the greatest
    table, group = world(seed=9, centres=CENTRES + np.array([0.1, -0.1, 0.05]), weights=(0.1, 0.2, 0.3, 0.4))
    again = fit(ibis.memtable(table), SETTINGS, date(2026, 12, 1), FOUND)
    old, new = scored(TABLE, FOUND), scored(table, again)
    assert [most(old, GROUP, each) for each in range(4)] == [most(new, group, each) for each in range(4)]
    assert again.names[int(np.argmax(again.shares))] != "c1"


def test_numbers_stay_below_what_conf_allows_though_there_were_more_clusters_before():
    few = SETTINGS.model_copy(update={"least": 2, "most": 2})
    assert set(fit(ibis.memtable(TABLE), few, date(2026, 12, 1), FOUND).names) == {"c1", "c2"}


def most(labels, groups, each):
    """The label that most members of true group `each` have."""
    return Counter(labels[f"m{n}"] for n in np.flatnonzero(groups == each)).most_common(1)[0][0]


def stored_on(day, clusters):
    """Tables of a later day on which `clusters` are stored for `day`."""
    rows = ibis.memtable(Basis(clusters=clusters).rows())
    return lambda as_of: SimpleNamespace(
        as_of=as_of, result_dates=lambda name: [day], result=lambda name, on: rows if on == day else rows.limit(0)
    )


def test_centres_are_kept_until_they_are_old_or_the_settings_change():
    at = stored_on(date(2026, 10, 31), FOUND)
    other = ibis.memtable(world(seed=4)[0])
    assert clusters_of_day(other, SETTINGS, at(date(2026, 11, 27))) == FOUND
    assert clusters_of_day(other, SETTINGS, at(date(2026, 11, 28))).fitted_on == "2026-11-28"
    changed = SETTINGS.model_copy(update={"seed": 1})
    assert clusters_of_day(other, changed, at(date(2026, 11, 1))).fitted_on == "2026-11-01"
    # what is stored for the day itself is not asked: the day is worked out anew, the same
    assert clusters_of_day(ibis.memtable(TABLE), SETTINGS, at(date(2026, 10, 31))) == FOUND


def test_too_few_members_make_no_clusters():
    assert fit(ibis.memtable(TABLE.slice(0, 299)), SETTINGS) is None
    conf = SegmentSettings(schemes=("cluster",), clusters=SETTINGS)
    assert assign(ibis.memtable(TABLE.slice(0, 299)), conf).to_pyarrow().num_rows == 0


@pytest.mark.filterwarnings("error")
def test_members_who_all_buy_alike_make_no_clusters():
    alike = ibis.memtable(TABLE.take([0] * 400))
    assert fit(alike, SETTINGS) is None


def test_a_cluster_is_described_by_what_distinguishes_it():
    conf = SegmentSettings(clusters=SETTINGS)
    rare = FOUND.names[int(np.argmin(FOUND.shares))]  # many orders of great value at a discount
    shown = describe(f"cluster:{rare}", conf, "en", Basis(clusters=FOUND))
    assert "high share of discounts in the gross amount" in shown.title and "σ" in shown.definition
    assert describe("cluster:c6", conf, "zh", Basis(clusters=FOUND)).definition == "此期没有这个行为群"


def test_a_feature_that_does_not_exist_or_is_no_number_is_refused():
    for name in ("order_cuont", "tier"):
        with pytest.raises(UnknownName, match=r"conf/segments\.yml, clusters"):
            fit(ibis.memtable(TABLE), SETTINGS.model_copy(update={"features": {name: "log"}}))
