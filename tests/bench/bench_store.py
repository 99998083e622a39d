"""The lake under late changes and daily loads, against rewriting it and against loading everything at once.

`upsert`: one per cent of recent orders into many, against rewriting the whole table by the same means and by DuckDB alone.
`daily`: five hundred loads of a thousand rows against one of all of them, read the same way.
SQL is written out here only, to have something to compare with.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
from sqlalchemy import update

from crm_core.config import EngineSettings
from crm_core.schema import TABLES
from crm_core.store import Lake, Ledger, connect, delta, now, table_hash
from crm_core.store.lake import content_columns
from crm_core.store.ledger import Snapshot

SCHEMA = TABLES["orders"]
DAYS = 730
BY_HAND = """
    COPY (
        SELECT *, strftime(ordered_at, '%Y-%m') AS _month FROM (
            SELECT * FROM read_parquet(?, hive_partitioning = false)
            WHERE order_id NOT IN (SELECT order_id FROM read_parquet(?))
            UNION ALL BY NAME SELECT * FROM read_parquet(?)
        )
    ) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, PARTITION_BY (_month))
"""


def open_lake(folder: Path) -> Lake:
    """A lake with an engine as `crm` has it."""
    settings = EngineSettings(memory_limit="4GB")
    return Lake(folder / "lake", Ledger.in_folder(folder / "ledger"), connect(settings, folder / "spill"))


def orders(first: int, last: int, from_day: int, to_day: int, net: str = "10.00", state: int = 0) -> ir.Table:
    """Orders numbered from `first` to before `last`, in time from day to day of two years; `state`: days later stated."""
    number = ibis.range(first, last).unnest().name("number").as_table()
    spread = (number.number - first) * ((to_day - from_day) * 86_400) // (last - first) + from_day * 86_400
    at = ibis.literal("2024-11-01").cast("timestamp(6)") + spread.as_interval("s")
    text = number.number.cast("string")
    columns = {
        "order_id": text.hexdigest("md5")[:20],
        "member_id": (number.number % 1_000_000).cast("string").hexdigest("md5")[:24],
        "channel": ibis.literal("tmall"), "ordered_at": at, "paid_at": at + ibis.interval(minutes=5),
        "gross_amount": (number.number % 900 + 10).cast("decimal(18, 2)"), "net_amount": ibis.literal(net).cast("decimal(18, 2)"),
        "city": (number.number % 300).cast("string"), "currency": ibis.literal("CNY"),
    }  # fmt: skip
    types = SCHEMA.types()
    content = {name: columns.get(name, ibis.null(types[name])) for name in content_columns(SCHEMA)}
    return number.select(**content, _effective_at=at + ibis.interval(days=state))


def upsert_rows(rows: int = 10_000_000) -> list[dict[str, Any]]:
    """One per cent of recent orders, nine tenths of them known: through the writer, by a rewrite, by hand, by MERGE."""
    with tempfile.TemporaryDirectory(prefix="crm-upsert-") as name:
        folder = Path(name)
        lake = open_lake(folder)
        part = rows // 100
        with lake.write("base") as writer:
            writer.upsert("orders", orders(0, rows, 0, DAYS), load_id="base")
        recent = [orders(rows - part * 9 // 10, rows + part // 10, DAYS - 8, DAYS, f"{n}.00", n) for n in (2, 3, 4)]
        seconds, counts = [], []
        for number, incoming in enumerate(recent):
            began = time.perf_counter()
            with lake.write("one per cent") as writer:
                counts.append(writer.upsert("orders", incoming, load_id=f"more{number}"))
            seconds.append(time.perf_counter() - began)
        table = lake.table("orders")
        found = table.aggregate(rows=table.count(), keys=table.order_id.nunique()).to_pyarrow().to_pylist()[0]
        began = time.perf_counter()
        with lake.write("undo") as writer:
            taken_back = writer.forget("orders", "more2")
        undoing = time.perf_counter() - began
        once = found["rows"] == found["keys"] == rows + part // 10
        ours = statistics.median(seconds)
        whole = {
            "rewriting it through the writer": _timed(lambda: _rewrite(lake)),
            "rewriting it by DuckDB alone": _timed(lambda: _by_hand(lake, recent[-1], folder)),
        }
        merge = _timed(lambda: _merge(lake, recent[-1]))
    made = [{"step": f"upsert 1 % of {rows:,} orders", "seconds": ours, "met": once, "counts": str(counts[0])}]
    for what, spent in whole.items():
        ratio = spent / ours
        made.append({"step": f"upsert against {what}", "seconds": spent, "ratio": round(ratio, 2), "goal": 3.0, "met": ratio >= 3})
    made.append({"step": f"undoing one of these loads {taken_back}", "seconds": undoing})
    return [*made, {"step": "upsert against MERGE of deltalake", "seconds": merge, "ratio": round(merge / ours, 2)}]


def daily_rows(days: int = 500, rows: int = 1000, views: int = 9) -> list[dict[str, Any]]:
    """`days` loads of `rows` orders, a tenth of them late changes, against one load of the same; reading and disk."""
    with tempfile.TemporaryDirectory(prefix="crm-daily-") as name:
        many, one = open_lake(Path(name) / "many"), open_lake(Path(name) / "one")
        parts = [orders(day * rows * 9 // 10, day * rows * 9 // 10 + rows, day, day + 2, "10.00", day) for day in range(days)]
        began = time.perf_counter()
        for day, part in enumerate(parts):
            with many.write("daily") as writer:
                writer.upsert("orders", part, load_id=f"l{day:04}")
            with many.ledger.transaction() as session:  # as if the day before were a day ago
                session.execute(update(Snapshot).values(created_at=now() - timedelta(days=2)))
        spent = time.perf_counter() - began
        with one.write("all") as writer:
            writer.upsert("orders", ibis.union(*parts), load_id="l")
        same = _content(many) == _content(one)
        seconds: dict[str, list[float]] = {"many": [], "one": []}
        for _ in range(views):
            for label, lake in (("many", many), ("one", one)):
                lake.forget_views()
                seconds[label].append(_timed(lambda lake=lake: _read(lake)))
        slower = statistics.median(seconds["many"]) / statistics.median(seconds["one"])
        size = {label: _bytes(lake) for label, lake in (("many", many), ("one", one))}
        files = {name: len(delta.parquet(many.root / name)) for name in ("orders", "orders_versions")}
    return [
        {"step": f"{days} daily loads of {rows:,} rows", "seconds": round(spent, 1), "files": str(files), "met": same},
        {"step": "reading after them", "seconds": statistics.median(seconds["many"])},
        {
            "step": "reading after one big load (goal: at least two thirds of it)", "seconds": statistics.median(seconds["one"]),
            "ratio": round(1 / slower, 2), "goal": 0.67, "met": slower <= 1.5,
        },
        {"step": "Parquet MB on disk, daily / one load", "seconds": size["many"], "ratio": round(size["many"] / size["one"], 2)},
    ]  # fmt: skip


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rewrite(lake: Lake) -> None:
    """The whole current table once more, as the writer writes."""
    with lake.write("rewrite") as writer:
        writer._commit("orders", writer.table("orders"), append=False, month_of=SCHEMA.month_of)


def _by_hand(lake: Lake, incoming: ir.Table, folder: Path) -> None:
    """Anti-join and union of everything, written by the engine; nothing of it is synced or committed."""
    snapshot = lake.snapshot()
    assert snapshot is not None
    paths = delta.files(lake.root / "orders", snapshot.versions["orders"])
    new = folder / "new.parquet"
    lake.engine.to_parquet(incoming, new)
    lake.engine.con.execute(BY_HAND.format(folder=folder / "by_hand"), [paths, [str(new)], [str(new)]])


def _merge(lake: Lake, incoming: ir.Table) -> None:
    """deltalake's own MERGE into a copy of the current table."""
    target = lake.root.parent / "merged"
    delta.copy(lake.root / "orders", target)
    table = delta.open_table(target)
    assert table is not None
    source = incoming.mutate(_month=incoming.ordered_at.strftime("%Y-%m")).to_pyarrow()
    merger = table.merge(source, "s.order_id = t.order_id", source_alias="s", target_alias="t")
    merger.when_matched_update_all().when_not_matched_insert_all().execute()


def _content(lake: Lake) -> str:
    return table_hash(lake.table("orders").select(content_columns(SCHEMA)))


def _read(lake: Lake) -> None:
    """Opening the snapshot and adding up current rows and versions, as reports do."""
    for name in ("orders", "orders_versions"):
        table = lake.table(name)
        table.group_by("member_id").agg(
            orders=table.count(), last=table.paid_at.max(), net=table.net_amount.sum()
        ).count().to_pyarrow()


def _bytes(lake: Lake) -> float:
    return round(sum(path.stat().st_size for path in lake.root.rglob("*.parquet")) / 2**20, 1)


if __name__ == "__main__":
    for found in upsert_rows(int(sys.argv[2])) if sys.argv[1] == "upsert" else daily_rows(int(sys.argv[2])):
        print(found)
