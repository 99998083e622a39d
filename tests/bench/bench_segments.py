"""Scoring members by thresholds and by nearest centre, over a million members that lie in the engine.

Each work runs in turn in this process (interleaved, medians), so that a busy machine slows all alike, and begins at the
same Parquet file of features, as they lie in the lake. RFM scores: limits, scores and group, against the same written by
hand in SQL (to have something to compare with) and against pandas' qcut. Clusters: the nearest of eight centres, against
scikit-learn's predict on what pyarrow reads, filled, logged and scaled with NumPy. The rows 'in memory' have no goal: they
are qcut and predict alone, on a frame and a matrix that were read and made ready before the clock started.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crm_core.config.segments import ClusterSettings, SegmentSettings
from crm_core.segments import score, thresholds
from crm_core.segments.clusters import fit, nearest
from crm_core.segments.grid import GRID

RUNS = 7
FEATURES = ("days_since_last_order", "order_count", "net_amount", "discount_share", "category_count", "browses_90d")
MADE_UP = """
    SELECT
        md5(i::VARCHAR)[:24] AS member_id,
        (hash(i) % 700)::BIGINT AS days_since_last_order,
        floor(1 + 3 * -ln((1 + hash(i * 3) % 9999) / 10000))::BIGINT AS order_count,
        (order_count * (20 + (hash(i * 7) % 40000) / 100))::DECIMAL(18, 2) AS net_amount,
        ((hash(i * 11) % 1000) / 1000)::DOUBLE AS discount_share,
        (1 + hash(i * 13) % 6)::BIGINT AS category_count,
        (hash(i * 17) % 40)::BIGINT AS browses_90d
    FROM (SELECT i::UBIGINT AS i FROM range({members}) t(i))
"""
BY_HAND = """
    CREATE OR REPLACE TEMP TABLE by_hand AS
    WITH l AS (
        SELECT quantile_disc(days_since_last_order, [0.2, 0.4, 0.6, 0.8]) AS d,
               quantile_disc(order_count, [0.2, 0.4, 0.6, 0.8]) AS o,
               quantile_disc(net_amount::DECIMAL(18, 2), [0.2, 0.4, 0.6, 0.8]) AS a
        FROM made WHERE order_count > 0),
    s AS (
        SELECT member_id,
            5 - ((days_since_last_order > d[1])::INT + (days_since_last_order > d[2])::INT
                 + (days_since_last_order > d[3])::INT + (days_since_last_order > d[4])::INT) AS r_score,
            1 + (order_count > o[1])::INT + (order_count > o[2])::INT
                + (order_count > o[3])::INT + (order_count > o[4])::INT AS f_score,
            1 + (net_amount > a[1])::INT + (net_amount > a[2])::INT
                + (net_amount > a[3])::INT + (net_amount > a[4])::INT AS m_score
        FROM made, l)
    SELECT *, CASE {groups} END AS "group" FROM s
"""


def rows(members: int = 1_000_000) -> list[dict[str, Any]]:
    """The two comparisons with their goals; fails where the contenders do not agree."""
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder:
        path = f"{folder}/features.parquet"
        engine = ibis.duckdb.connect()
        engine.raw_sql("SET enable_progress_bar = false")
        engine.raw_sql(f"COPY ({MADE_UP.format(members=members)}) TO '{path}'")
        engine.raw_sql(f"CREATE VIEW made AS FROM read_parquet('{path}')")
        return [*_scores(engine, path), *_clusters(engine, path)]


def _scores(engine: Any, path: str) -> list[dict[str, Any]]:
    made, settings = engine.read_parquet(path), SegmentSettings()
    groups = " ".join(
        f"WHEN r_score = {r} AND f_score = {f} THEN '{name}'" for r, row in GRID.items() for f, name in enumerate(row, 1)
    )

    def ours() -> Any:
        found = score(made, thresholds(made, settings), ["rfm"])
        engine.raw_sql(f"CREATE OR REPLACE TEMP TABLE ours AS {engine.compile(found)}")

    def by_hand() -> Any:
        engine.raw_sql(BY_HAND.format(groups=groups))

    def qcut(frame: pd.DataFrame) -> Any:
        first = frame.order_count.rank(method="first")  # as everybody does, since qcut refuses ties; it splits them
        r = pd.qcut(-frame.days_since_last_order, 5, labels=False) + 1
        f, m = pd.qcut(first, 5, labels=False) + 1, pd.qcut(frame.net_amount, 5, labels=False) + 1
        names = np.array([GRID[r][f - 1] for r in range(1, 6) for f in range(1, 6)])
        return frame.assign(r=r, f=f, m=m, group=names[5 * r + f - 6])

    def pulled() -> Any:
        return pq.read_table(path, columns=["member_id", *FEATURES[:3]])

    def by_pandas() -> Any:
        table = pulled()
        amount = table["net_amount"].cast(pa.float64())  # pandas makes Python objects of decimals
        qcut(table.set_column(3, "net_amount", amount).to_pandas())

    held = pulled().to_pandas().assign(net_amount=lambda t: t.net_amount.astype(float))
    works = {"ours": ours, "duckdb by hand": by_hand, "pandas qcut": by_pandas, "qcut in memory": lambda: qcut(held)}
    taken = _interleaved(works)
    same = engine.table("ours").difference(engine.table("by_hand").cast(engine.table("ours").schema()))
    assert int(same.count().to_pyarrow().as_py()) == 0, "not the scores that were written by hand"
    split = engine.table("ours").inner_join(made, "member_id").group_by("order_count").agg(n=lambda t: t.f_score.nunique())
    assert int(split.n.max().to_pyarrow().as_py()) == 1, "equal values have different scores"
    return _told("rfm scores", taken, {"duckdb by hand": 0.8, "pandas qcut": 2.0})


def _clusters(engine: Any, path: str) -> list[dict[str, Any]]:
    made = engine.read_parquet(path)
    scales = {name: "plain" if name == "discount_share" else "log" for name in FEATURES}
    found = fit(made, ClusterSettings(features=scales, least=8, most=8, repeats=2), date(2026, 10, 31))
    assert found is not None
    logged = np.array([scales[name] == "log" for name in FEATURES])

    def ready() -> tuple[Any, Any]:
        table = pq.read_table(path, columns=["member_id", *FEATURES])
        raw = np.column_stack([table[name].cast(pa.float64()).to_numpy() for name in FEATURES])
        raw[:, logged] = np.log1p(np.maximum(raw[:, logged], 0.0))
        scaled = (raw - np.array(found.means)) / np.array(found.deviations)
        return table["member_id"], np.nan_to_num(scaled)

    from sklearn.cluster import KMeans

    model = KMeans(len(found.centres), n_init=1, max_iter=1, init=np.array(found.centres))
    model.fit(np.array(found.centres))
    answers: dict[str, Any] = {}

    def ours() -> None:
        named = nearest(made, found).select("member_id", "_cluster")
        engine.raw_sql(f"CREATE OR REPLACE TEMP TABLE clusters AS {engine.compile(named)}")

    def predict() -> None:
        ids, scaled = ready()
        answers["sklearn"] = ids, model.predict(scaled)

    held = ready()[1]
    works = {"ours": ours, "scikit-learn predict": predict, "predict in memory": lambda: model.predict(held)}
    taken = _interleaved(works)
    ids, numbers = answers["sklearn"]
    expected = pd.Series(np.array(found.names)[numbers], ids.to_pandas())
    labels = engine.table("clusters").to_pandas().set_index("member_id")["_cluster"]
    agree = float((labels == expected.loc[labels.index]).mean())
    assert agree > 0.99999, f"only {agree:.5%} of members at the centre that scikit-learn chooses"
    return _told("clusters", taken, {"scikit-learn predict": 0.5})


def _interleaved(works: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """name → (median wall seconds, median CPU seconds of all threads)."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    for number in range(RUNS + 1):
        for name, work in works.items():
            began, spent = time.perf_counter(), time.process_time()
            work()
            if number:  # the first run warms up
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - spent)
    return {name: (statistics.median(wall[name]), statistics.median(cpu[name])) for name in works}


def _told(step: str, taken: dict[str, tuple[float, float]], goals: dict[str, float]) -> list[dict[str, Any]]:
    ours, cpu = taken["ours"]
    told = [{"step": f"{step}, one million members", "seconds": round(ours, 3), "cpu": round(cpu, 3)}]
    for name, (seconds, spent) in list(taken.items())[1:]:
        ratio = seconds / ours
        row = {"step": f"{step} against {name}", "seconds": round(seconds, 3), "cpu": round(spent, 3), "ratio": round(ratio, 2)}
        told.append(row | ({"goal": goals[name], "met": ratio >= goals[name]} if name in goals else {}))
    return told


if __name__ == "__main__":
    for row in rows():
        print(row)
