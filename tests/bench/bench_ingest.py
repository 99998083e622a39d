"""Five million orders of twelve columns from CSV into the lake, beside DuckDB and pandas.

The file is drawn in DuckDB from hashes of the row number: the same bytes each time. One row in a thousand is wrong in one
of five ways. `duckdb, cast only` reads it as text, tries the casts and writes one Parquet file (zstd), `pandas, cast only`
does so with its fastest engine (pyarrow): neither checks, refuses, numbers, hashes or publishes anything. `pandas, the same
job` is what one would write in pandas to have the rows in a Delta table and the refused ones beside it.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.peak import peak_mb

ROOT = Path(__file__).resolve().parents[2]
ORDERS = 5_000_000
SOURCE = textwrap.dedent(
    """\
    source: bench
    time_zone: Asia/Shanghai
    currency: CNY
    feeds:
      orders:
        match: ["orders*.csv"]
        fields:
          order_id: {heading: order_id, filled: true}
          member_no: {heading: member_no, private: true}
          ordered_at: {heading: ordered_at, type: time, filled: true}
          paid_at: {heading: paid_at, type: time}
          shipped_at: {heading: shipped_at, type: time}
          gross: {heading: gross, type: money, filled: true}
          discount: {heading: discount, type: money, filled: true}
          shipping: {heading: shipping, type: money, filled: true}
          net: {heading: net, type: money, filled: true}
          channel: {heading: channel, values: {天猫: tmall, 京东: jd, 门店: store, 抖音: douyin}}
          coupon: {heading: coupon}
          city: {heading: city}
        reject_when:
          - {rule: "net < 0", reason: the amount of an order is negative}
        tables:
          orders:
            columns:
              order_id: order_id
              member_id: account(member_no)
              channel: channel
              ordered_at: ordered_at
              paid_at: paid_at
              shipped_at: shipped_at
              gross_amount: gross
              discount_amount: discount
              shipping_amount: shipping
              net_amount: net
              coupon_id: coupon
              city: city
        balance:
          - {name: net, rows: net, written: {orders: net_amount}}
    """
)
WITH_PHONE = SOURCE.replace("coupon: {heading: coupon}", "mobile: {heading: mobile}").replace(
    "          coupon_id: coupon\n", ""
) + textwrap.indent("contacts:\n  - {account: member_no, seen_at: ordered_at, phone: mobile}\n", " " * 4)
TIMES, AMOUNTS = ("ordered_at", "paid_at", "shipped_at"), ("gross", "discount", "shipping", "net")


def draw(path: Path, rows: int = ORDERS, phones: bool = False) -> None:
    """Writes the file: two years of orders in the order of time, as shops export them, of a tenth as many
    members."""
    import duckdb

    words = {
        "channel": ["天猫", "京东", "门店", "抖音"],
        "city": ["上海", "北京", "广州", "深圳", "杭州", "成都", "武汉", "西安", "南京", "苏州"],
    }
    coupon = "'1' || [38,39,58,59,77,86][h // 7 % 6 + 1] || lpad((h // 11 % 100000000)::varchar, 8, '0') AS mobile"
    if not phones:
        coupon = "CASE WHEN h // 7 % 4 = 0 THEN 'C' || (h // 11 % 5000) END AS coupon"
    bad = "CASE WHEN h // 13 % 1000 = 0 THEN h // 17 % 5 END"
    query = f"""
        WITH drawn AS (SELECT i, (hash(i) >> 1)::bigint AS h, (hash(i * 2 + 1) % 100000)::int AS cents, {bad} AS bad,
                       TIMESTAMP '2024-11-01'
                           + to_seconds(i * 62899200 // {rows} + (hash(i, 5) % 3600)::bigint) AS t FROM range({rows}) r(i)),
        priced AS (SELECT *, 1000 + cents AS gross, cents // 10 AS discount, [0, 600][h // 19 % 2 + 1] AS shipping FROM drawn)
        SELECT CASE WHEN bad = 0 THEN '' ELSE 'O' || lpad(i::varchar, 12, '0') END AS order_id,
               'M' || (hash(i, 7) % {max(rows // 10, 1)}) AS member_no,
               CASE WHEN bad = 1 THEN 'yesterday' ELSE strftime(t, '%Y-%m-%d %H:%M:%S') END AS ordered_at,
               CASE WHEN h // 23 % 10 > 0 THEN strftime(t + INTERVAL 3 MINUTE, '%Y-%m-%d %H:%M:%S') END AS paid_at,
               CASE WHEN h // 23 % 10 > 1 THEN strftime(t + INTERVAL 30 HOUR, '%Y-%m-%d %H:%M:%S') END AS shipped_at,
               printf('%.2f', gross / 100) AS gross, printf('%.2f', discount / 100) AS discount,
               printf('%.2f', shipping / 100) AS shipping,
               CASE WHEN bad = 2 THEN '1.38E+10' WHEN bad = 3 THEN '-1.00'
                    ELSE printf('%.2f', (gross - discount + shipping) / 100) END AS net,
               CASE WHEN bad = 4 THEN '集市' ELSE {words["channel"]}[h // 29 % 4 + 1] END AS channel,
               {coupon}, {words["city"]}[h // 31 % 10 + 1] AS city
        FROM priced ORDER BY i"""
    duckdb.connect().sql(query).write_csv(str(path), header=True)


def refused(rows: int) -> int:
    """How many rows of the drawn file are wrong."""
    import duckdb

    found = (
        duckdb.connect().sql(f"SELECT count(*) FROM range({rows}) r(i) WHERE (hash(i) >> 1)::bigint // 13 % 1000 = 0").fetchone()
    )
    assert found is not None
    return int(found[0])


def ours(root: Path, path: Path, phones: bool = False) -> Any:
    """The load, in a new workspace at `root`; returns its report."""
    from crm_core.config import Config
    from crm_core.ingest import ingest
    from crm_core.store import Lake, Ledger, Vault, connect

    config = Config({"project.yml": "time_zone: Asia/Shanghai\n", "sources/bench.yml": WITH_PHONE if phones else SOURCE})
    engine = connect(config.project.engine, root / "spill")
    ledger = Ledger.in_folder(root / "ledger")
    return ingest(config, Lake(root / "lake", ledger, engine), Vault(root / "vault", ledger, engine), "bench", [path])


def duckdb_by_hand(path: Path, target: Path) -> None:
    """Text in, casts tried, one Parquet file out."""
    import duckdb

    names = duckdb.connect().read_csv(str(path), all_varchar=True).columns
    kinds = {**dict.fromkeys(TIMES, "TIMESTAMP"), **dict.fromkeys(AMOUNTS, "DECIMAL(18, 2)")}
    cast = ", ".join(f"try_cast({name} AS {kinds[name]}) AS {name}" if name in kinds else name for name in names)
    query = f"SELECT {cast} FROM read_csv('{path}', all_varchar = true)"
    duckdb.connect().execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


def pandas_by_hand(path: Path, target: Path) -> None:
    """The same in pandas: pyarrow's parser, casts with what cannot be read as empty, Parquet by pyarrow."""
    import pandas as pd

    frame = pd.read_csv(path, engine="pyarrow", dtype_backend="pyarrow", dtype=str)
    for name in TIMES:
        frame[name] = pd.to_datetime(frame[name], format="%Y-%m-%d %H:%M:%S", errors="coerce")
    for name in AMOUNTS:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    frame.to_parquet(target, compression="zstd", index=False)


def pandas_whole(path: Path, target: Path) -> None:
    """The load's job in pandas: read as text, trimmed, cast, refused rows kept with number and reason, repeated rows dropped,
    account ids made HMACs (once each), written to a Delta table by month. No hash of rows, no second table, no sync to disk.
    """
    import hashlib
    import hmac

    import pandas as pd
    from deltalake import write_deltalake

    frame = pd.read_csv(path, engine="pyarrow", dtype_backend="pyarrow", dtype=str)
    frame["row_number"] = range(2, len(frame) + 2)
    reason = pd.Series("", index=frame.index)
    for name in frame.columns.drop("row_number"):
        frame[name] = frame[name].str.strip()
    typed = frame.copy()
    for name in TIMES:
        typed[name] = pd.to_datetime(frame[name], format="%Y-%m-%d %H:%M:%S", errors="coerce")
    for name in AMOUNTS:
        fits = frame[name].str.fullmatch(r"[-+]?\d+(\.\d{1,2})?").fillna(False)
        typed[name] = pd.to_numeric(frame[name].where(fits), errors="coerce")
    for name in (*TIMES, *AMOUNTS):
        reason[(typed[name].isna() & frame[name].notna()).to_numpy(bool)] = f"{name} cannot be read"
    words = {"天猫": "tmall", "京东": "jd", "门店": "store", "抖音": "douyin"}
    typed["channel"] = frame["channel"].map(words)
    reason[(typed["channel"].isna() & frame["channel"].notna()).to_numpy(bool)] = "channel is not known"
    for name in ("order_id", "ordered_at", *AMOUNTS):
        reason[typed[name].isna().to_numpy(bool)] = f"{name} is empty"
    reason[(typed["net"] < 0).fillna(False).to_numpy(bool)] = "the amount of an order is negative"
    frame[reason != ""].assign(reason=reason[reason != ""]).to_parquet(target.with_suffix(".rejects"))
    good = typed[reason == ""]
    good = good[~good.drop(columns="row_number").duplicated()].drop(columns="row_number")
    ids = {name: hmac.digest(b"k" * 32, name.encode(), hashlib.sha256).hex()[:24] for name in good["member_no"].unique()}
    good = good.assign(member_no=good["member_no"].map(ids), month=good["ordered_at"].dt.strftime("%Y-%m"))
    write_deltalake(str(target), good, partition_by=["month"])


CONTENDERS: dict[str, Callable[[Path, Path], Any]] = {
    "ours": lambda folder, path: ours(folder / "workspace", path),
    "duckdb, cast only": lambda folder, path: duckdb_by_hand(path, folder / "duckdb.parquet"),
    "pandas, the same job": lambda folder, path: pandas_whole(path, folder / "pandas"),
    "pandas, cast only": lambda folder, path: pandas_by_hand(path, folder / "pandas.parquet"),
}
GOALS = {"duckdb, cast only": 0.5, "pandas, the same job": 3.0}
MOST_MB = 1536


def run(folder: Path, rows: int = ORDERS) -> list[dict[str, Any]]:
    """Each contender in a process of its own; a row of the bench's table for each. Fails when ours refuses other rows than
    those that were drawn wrong.
    """
    path = folder / "orders.csv"
    # in a process of its own: a child's greatest size begins with what its parent holds
    drawing = f"from pathlib import Path; from tests.bench.bench_ingest import draw; draw(Path({str(path)!r}), {rows})"
    subprocess.run([sys.executable, "-c", drawing], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    found = {name: _child(name, folder, path) for name in CONTENDERS}
    mine = found["ours"]
    assert mine["rejected"] == refused(rows) and mine["accepted"] == rows - refused(rows), mine
    shown = [
        {"step": f"{rows:,} orders: ours", "seconds": mine["seconds"], "peak_mb": mine["peak_mb"],
         "goal": f"<{MOST_MB}", "met": mine["peak_mb"] < MOST_MB}
    ]  # fmt: skip
    for name in list(CONTENDERS)[1:]:
        ratio = found[name]["seconds"] / mine["seconds"]
        row = {"step": f"{rows:,} orders: {name}", "ratio": round(ratio, 2)}
        row |= {key: found[name][key] for key in ("seconds", "peak_mb")}
        shown.append(row | ({"goal": GOALS[name], "met": ratio >= GOALS[name]} if name in GOALS else {}))
    return shown


def _child(name: str, folder: Path, path: Path) -> dict[str, Any]:
    """Seconds of the work alone, and the greatest resident size, of a fresh process."""
    out = folder / "contender.json"
    command = [sys.executable, "-m", "tests.bench.bench_ingest", name, str(folder), str(path), str(out)]
    process = os.posix_spawn(sys.executable, command, {**os.environ, "PYTHONPATH": str(ROOT)})
    if os.waitpid(process, 0)[1]:
        raise SystemExit(f"{name} failed")
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def _main(name: str, folder: str, path: str, out: str) -> None:
    for module in ("duckdb", "pandas", "crm_core.ingest"):  # imports are not what is measured
        importlib.import_module(module)
    began = time.perf_counter()
    report = CONTENDERS[name](Path(folder), Path(path))
    told: dict[str, Any] = {"seconds": round(time.perf_counter() - began, 2), "peak_mb": peak_mb()}
    if report is not None:
        told |= {"accepted": report.accepted, "rejected": report.rejected}
    Path(out).write_text(json.dumps(told))


if __name__ == "__main__":
    _main(*sys.argv[1:5])
