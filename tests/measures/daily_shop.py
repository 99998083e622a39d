"""A shop that delivers every day, in a real lake: four months of history in one load, then three daily loads; a test adds
one more day with a fault planted in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd

from crm_core.measures.quality import Quality
from crm_core.schema import LOAD, TABLES
from crm_core.store.ledger import Load, LoadFile
from crm_core.workspace import Workspace

START, HISTORY_END = date(2026, 6, 1), date(2026, 9, 27)
LAST = HISTORY_END + timedelta(days=3)
MEMBERS = 400
Plant = Callable[[dict[str, pd.DataFrame]], Any]


def build(root: Path) -> Path:
    """The clean shop up to LAST."""
    root.mkdir(parents=True)
    workspace = Workspace.open(root)
    members = pd.DataFrame({"member_id": [f"m{number:04d}" for number in range(MEMBERS)], "status": "active"})
    members["registered_at"] = pd.Timestamp("2026-05-01")
    members["tier"] = "普通"
    members["_effective_at"] = members["registered_at"]
    load(workspace, HISTORY_END, {"members": members, **facts(START, HISTORY_END)})
    for place in range(1, 4):
        day = HISTORY_END + timedelta(days=place)
        load(workspace, day, facts(day, day))
    return root


def another(clean: Path, root: Path, plant: Plant | None = None, until: date | None = None, **totals: Any) -> Workspace:
    """A copy of the clean shop with one more load: the days after LAST up to `until`, changed by `plant`. `totals` are
    rows that the load claims."""
    shutil.copytree(clean, root)
    until = until or LAST + timedelta(days=1)
    tables = facts(until, until)
    if plant is not None:
        plant(tables)
    workspace = Workspace.open(root)
    load(workspace, until, tables, **totals)
    return Workspace.open(root)


def quality(workspace: Workspace) -> Quality:
    """Of everything in the workspace."""
    return Quality(workspace.tables, workspace.lake, workspace.config)


def facts(first: date, last: date) -> dict[str, pd.DataFrame]:
    """Orders, their lines and some refunds of the days `first` to `last`, about 180 orders a day; the same each time."""
    draw = np.random.default_rng(first.toordinal())
    days = (last - first).days + 1
    placed = np.sort(draw.random(180 * days)) * days * 86400
    moments = pd.Timestamp(first) - pd.Timedelta(hours=8) + pd.to_timedelta(placed.astype("int64"), unit="s")
    n = len(moments)
    gross, share = np.round(draw.gamma(3, 80, n) + 20, 2), draw.choice([0, 0.1, 0.3], n)
    discount = np.round(gross * share, 2)
    orders = pd.DataFrame({
        "order_id": [f"o{first:%m%d}{number:05d}" for number in range(n)],
        "member_id": draw.choice([f"m{number:04d}" for number in range(MEMBERS)], n),
        "channel": draw.choice(["store", "tmall", "jd"], n, p=[0.5, 0.3, 0.2]), "shop_id": "S1",
        "ordered_at": moments, "paid_at": moments + pd.Timedelta(minutes=2),
        "shipped_at": (moments + pd.Timedelta(days=1)).where(draw.random(n) < 0.9),
        "gross_amount": gross, "discount_amount": discount, "shipping_amount": 0.0,
        "net_amount": np.round(gross - discount, 2), "currency": "CNY", "payment_method": "alipay",
        "province": draw.choice(["浙江", "江苏", "上海"], n), "_effective_at": moments,
    })  # fmt: skip
    lines = orders[["order_id", "ordered_at", "_effective_at"]].assign(
        line_no=1, product_id="p1", quantity=1.0, unit_price=orders["net_amount"], line_amount=orders["net_amount"]
    )
    back = orders[draw.random(n) < 0.05]
    refunds = pd.DataFrame({
        "refund_id": "r" + back["order_id"], "order_id": back["order_id"], "member_id": back["member_id"],
        "refunded_at": back["ordered_at"] + pd.Timedelta(hours=3), "date_assumed": False, "amount": back["net_amount"],
        "currency": "CNY", "kind": "refund", "_effective_at": back["ordered_at"] + pd.Timedelta(hours=3),
    })  # fmt: skip
    return {"orders": orders, "order_lines": lines, "refunds": refunds}


def load(workspace: Workspace, day: date, tables: dict[str, pd.DataFrame], **totals: Any) -> None:
    """One published load of `sample` that reaches to `day`."""
    load_id = f"load-{day:%Y%m%d}"
    rows = sum(len(frame) for frame in tables.values())
    counts = {"rows_read": rows, "rows_accepted": rows, "rows_duplicate": 0, "rows_rejected": 0, **totals}
    counts = {name: value for name, value in counts.items() if name.startswith("rows_")}
    balances = totals.get("balances", [{"feed": "orders", "name": "net", "rows": "10.00", "written": "10.00"}])
    headings = totals.get("headings", ["订单编号", "订单创建时间"])
    moment = datetime.combine(day, datetime.min.time()) + timedelta(days=1)
    detail: dict[str, Any] = {"covers_until": day.isoformat(), "balances": balances, "tables": []}
    with workspace.lake.write("load", "tests") as writer:
        for name, frame in tables.items():
            found = asdict(writer.upsert(name, typed(name, frame), load_id=load_id))
            found["examples"] = found.pop("conflict_keys")
            detail["tables"].append({"table": name, "rows": len(frame), **found})
        if totals.get("rejects") is not None:
            writer.append("rejects", ibis.memtable(totals["rejects"].assign(load_id=load_id)))
        writer.cover(day)
        writer.record(
            Load(
                load_id=load_id, source="sample", state="live", started_at=moment, finished_at=moment, undone_at=None,
                snapshot_id=None, detail=detail, **counts,
            ),
            LoadFile(
                load_id=load_id, sha256=load_id, name="订单.csv", feed="orders", size_bytes=1,
                detail={"headings": headings, "unknown_headings": totals.get("unknown", [])}, **counts,
            ),
            *[
                LoadFile(
                    load_id=load_id, sha256=f"{load_id} {feed}", name=f"{feed}.csv", feed=feed, size_bytes=1, detail={},
                    **dict.fromkeys(counts, 0),
                )
                for feed in ("order_lines", "refunds")
            ],
        )  # fmt: skip


def typed(name: str, frame: pd.DataFrame) -> Any:
    """A frame as `Writer.upsert` takes it."""
    of_load = {column.name for column in LOAD}
    table = ibis.memtable(frame)
    values = {
        column.name: (table[column.name] if column.name in frame else ibis.null("string")).cast(column.type)
        for column in TABLES[name].columns
        if column.name not in of_load
    }
    return table.select(**values, _effective_at=table["_effective_at"].cast("timestamp(6)"))
