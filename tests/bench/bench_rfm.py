"""RFM against a query written by hand and against pandas, over the same Parquet files, columns and as-of day.

`run(tables)` works on the tables of any lake. Times are medians of interleaved runs in this process, so
that a busy machine slows all alike; memory is the greatest resident size of a fresh process that does the
work once. SQL is written out here only, to have something to compare with.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import ibis

from crm_core.config import EngineSettings
from crm_core.measures import rfm
from crm_core.store import Lake, Ledger, Tables, connect
from crm_core.store.delta import files
from crm_core.store.lake import stored_schema
from tests.bench.peak import peak_mb

ROOT = Path(__file__).resolve().parents[2]
RUNS = 9
COLUMNS = ["member_id", "ordered_at", "paid_at", "net_amount"]
BY_HAND = """
    SELECT member_id, first_order_at, last_order_at,
           date_diff('day', CAST(last_order_at + to_seconds(?) AS DATE), CAST(? AS DATE))
               AS days_since_last_order,
           order_count, net_amount, CAST(net_amount AS DOUBLE) / order_count AS average_order_value
    FROM (
        SELECT member_id, min(paid_at) AS first_order_at, max(paid_at) AS last_order_at,
               count(*) AS order_count, sum(net_amount) AS net_amount
        FROM read_parquet(?, hive_partitioning = false, union_by_name = true)
        WHERE ordered_at < ? AND paid_at < ? AND member_id IS NOT NULL
        GROUP BY member_id
    )
"""


def run(tables: Tables, runs: int = RUNS, pandas_runs: int = 3) -> list[dict[str, Any]]:
    """One row per contender: name, seconds (median), ratio to rfm, peak_mb, members, orders.

    Fails when the contenders do not give the same members, orders and money.
    """
    spec = _spec(tables)
    contenders = {"rfm": _ours(tables), "duckdb by hand": _by_hand(spec), "pandas": _pandas(spec)}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    totals = {}
    for number in range(runs):
        for name, work in contenders.items():
            if name == "pandas" and number >= pandas_runs:
                continue
            started = time.perf_counter()
            result = work()
            times[name].append(time.perf_counter() - started)
            totals[name] = _totals(result)
            del result
    assert totals["rfm"] == totals["duckdb by hand"] == totals["pandas"], totals
    ours = statistics.median(times["rfm"])
    members, orders, _ = totals["rfm"]
    return [
        {
            "contender": name,
            "seconds": round(statistics.median(taken), 3),
            "times_rfm": round(statistics.median(taken) / ours, 3),
            "peak_mb": _peak_in_child(name, spec),
            "members": members,
            "orders": orders,
        }
        for name, taken in times.items()
    ]


def _spec(tables: Tables) -> dict[str, Any]:
    """What a child process needs to do the same work."""
    lake, snapshot = tables._lake, tables.snapshot
    assert snapshot is not None
    offset = tables.zone.utcoffset(datetime.combine(tables.as_of, datetime.min.time()))
    assert offset is not None
    return {
        "root": str(lake.root),
        "ledger": str(lake.ledger.url),
        "snapshot": snapshot.id,
        "as_of": tables.as_of.isoformat(),
        "zone": tables.zone.key,
        "offset": int(offset.total_seconds()),
        "instant": tables.instant.isoformat(),
        "files": files(lake.root / "orders", snapshot.versions["orders"]),
    }


def _ours(tables: Tables) -> Callable[[], Any]:
    return lambda: rfm(tables).to_pyarrow()


def _by_hand(spec: dict[str, Any]) -> Callable[[], Any]:
    connection = duckdb.connect(config={"memory_limit": "4GB"})
    day, until = date.fromisoformat(spec["as_of"]), datetime.fromisoformat(spec["instant"])
    values = [spec["offset"], day, spec["files"], until, until]
    return lambda: connection.execute(BY_HAND, values).to_arrow_table()


def _pandas(spec: dict[str, Any]) -> Callable[[], Any]:
    return lambda: _with_pandas(spec)


def _with_pandas(spec: dict[str, Any]) -> Any:
    """As a pandas user writes it; money as float, since pandas adds decimals one Python object at a time."""
    import pandas as pd
    import pyarrow as pa

    parts = [pd.read_parquet(name, columns=COLUMNS, partitioning=None) for name in spec["files"]]
    orders = pd.concat(parts, ignore_index=True)
    until = pd.Timestamp(spec["instant"])
    orders = orders[(orders.ordered_at < until) & (orders.paid_at < until) & orders.member_id.notna()]
    orders = orders.assign(net_amount=orders.net_amount.astype(float))
    found = orders.groupby("member_id", as_index=False).agg(
        first_order_at=("paid_at", "min"),
        last_order_at=("paid_at", "max"),
        order_count=("paid_at", "size"),
        net_amount=("net_amount", "sum"),
    )
    local = (found.last_order_at + pd.Timedelta(seconds=spec["offset"])).dt.normalize()
    found["days_since_last_order"] = (pd.Timestamp(spec["as_of"]) - local).dt.days
    found["average_order_value"] = found.net_amount / found.order_count
    return pa.Table.from_pandas(found)


def _totals(result: Any) -> tuple[int, int, float]:
    import pyarrow.compute as pc

    return (result.num_rows, pc.sum(result["order_count"]).as_py(), round(float(pc.sum(result["net_amount"]).as_py()), 2))


def _peak_in_child(name: str, spec: dict[str, Any]) -> int:
    """Peak resident megabytes of a fresh process that does the work of one contender once."""
    command = [sys.executable, "-m", "tests.bench.bench_rfm", name]
    done = subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, cwd=ROOT, check=True)
    return int(json.loads(done.stdout)["peak_mb"])


def _child(name: str, spec: dict[str, Any]) -> None:
    if name == "rfm":
        engine = connect(EngineSettings(), Path(spec["root"]).parent / "spill")
        lake = Lake(Path(spec["root"]), Ledger(spec["ledger"]), engine)
        day = date.fromisoformat(spec["as_of"])
        work = _ours(Tables(lake, lake.snapshot(spec["snapshot"]), day, ZoneInfo(spec["zone"])))
    else:
        work = {"duckdb by hand": _by_hand, "pandas": _pandas}[name](spec)
    work()
    print(json.dumps({"peak_mb": peak_mb()}))


def made_up_lake(folder: Path, members: int = 1_000_000, orders: int = 10_000_000) -> Tables:
    """A lake with nothing but orders, when no other is at hand: two years, three in four members ordered."""
    engine = connect(EngineSettings(), folder / "spill")
    lake = Lake(folder / "lake", Ledger.in_folder(folder), engine)
    engine.raw_sql(f"""
        CREATE TEMP VIEW made AS SELECT
            'o' || i AS order_id,
            CASE WHEN i % 50 > 0
                 THEN md5((hash(i * 7) % ({members} * 3 // 4))::VARCHAR)[:24] END AS member_id,
            's1' AS shop_id, ['tmall', 'jd', 'store'][(i % 3 + 1)::INT] AS channel,
            TIMESTAMP '2024-11-01' + to_seconds((hash(i) % 63072000)::BIGINT) AS ordered_at,
            CASE WHEN i % 10 > 0 THEN ordered_at + to_minutes((i % 100)::BIGINT) END AS paid_at,
            ((hash(i * 3) % 50000) / 100)::DECIMAL(18, 2) AS net_amount
        FROM (SELECT i::UBIGINT AS i FROM range({orders}) t(i)) """)
    made = engine.table("made")
    types = stored_schema("orders").types()
    rows = made.select(**{name: made[name] if name in made.columns else ibis.null(kind) for name, kind in types.items()})
    with lake.write("bench") as writer:
        writer._commit("orders", rows, append=False, month_of="ordered_at")
    return Tables(lake, lake.snapshot(), date(2026, 10, 31), ZoneInfo("Asia/Shanghai"))


if __name__ == "__main__":
    _child(sys.argv[1], json.load(sys.stdin))
