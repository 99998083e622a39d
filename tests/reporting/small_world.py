"""A small workspace made straight through the store: two loads, three thousand members, one campaign with a
known effect.

Reports are tested on it without waiting for a simulation: every table a report reads has rows, one table is
left out (so that 'not supplied' shows), some texts are hostile, and two dates are stored, so that movement
has something to move.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pandas as pd

from crm_core.campaigns.audience import freeze
from crm_core.schema import LOAD, TABLES
from crm_core.store.ledger.models import Load, LoadFile
from crm_core.workspace import Workspace

AS_OF, BEFORE, FROZEN_ON = dt.date(2026, 10, 31), dt.date(2026, 9, 30), dt.date(2026, 10, 10)
CITIES = ("上海", "杭州", "<b>成都</b>", "北京")
CATEGORIES = ("护肤", "彩妆", "食品", "<script>alert('x')</script>")
MEMBERS = 3000


def build(root: Path, members: int = MEMBERS) -> Workspace:
    """Fill `root` and return its workspace as of AS_OF."""
    root.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(20261031)
    ids = np.array([f"m{number:06d}" for number in range(members)])
    orders = _orders(draw, ids)
    _load(
        root,
        "load-1",
        "sample",
        {
            "members": _members(draw, ids),
            "orders": orders,
            "order_lines": _lines(draw, orders),
            "products": _products(),
            "refunds": _refunds(draw, orders),
            "interactions": _events(draw, ids),
            "consents": _consents(draw, ids),
            "identities": _identities(ids),
        },
    )
    for day in (BEFORE, FROZEN_ON):
        Workspace.open(root, as_of=day).refresh()
    frozen = Workspace.open(root, as_of=FROZEN_ON)
    freeze(frozen.tables, frozen.config, frozen.lake, frozen.ledger, frozen.vault, "winback_at_risk")
    rows = Workspace.open(root).lake.table("audiences").to_pandas().sort_values("member_id")
    _load(root, "load-2", "sample", {"orders": _answers(draw, rows)})
    workspace = Workspace.open(root, as_of=AS_OF)
    workspace.refresh()
    return Workspace.open(root, as_of=AS_OF)


def _load(root: Path, load_id: str, source: str, tables: dict[str, pd.DataFrame]) -> None:
    workspace = Workspace.open(root)
    moment = dt.datetime(2026, 11, 1, 1, 30)
    with workspace.lake.write("load", "tests") as writer:
        for name, frame in tables.items():
            writer.upsert(name, _typed(name, frame), load_id=load_id)
        rejects = pd.DataFrame(
            {
                "load_id": load_id,
                "file": "订单.csv",
                "row_number": np.arange(1, 8),
                "field": ["phone"] * 4 + ["channel"] * 3,
                "reason": ["not a phone number"] * 4 + ["channel '<i>smz</i>' is not known"] * 3,
                "row": "{}",
            }
        )
        writer.append("rejects", ibis.memtable(rejects))
        writer.covers_until = AS_OF
        accepted = sum(len(frame) for frame in tables.values())
        counts = {"rows_read": accepted + 10, "rows_accepted": accepted, "rows_duplicate": 3, "rows_rejected": 7}
        writer.record(
            Load(
                load_id=load_id,
                source=source,
                state="published",
                started_at=moment,
                finished_at=moment,
                undone_at=None,
                snapshot_id=None,
                detail={},
                **counts,
            ),
            LoadFile(load_id=load_id, sha256=load_id, name="订单.csv", feed="orders", size_bytes=1, detail={}, **counts),
        )


def _typed(name: str, frame: pd.DataFrame) -> Any:
    schema = TABLES[name]
    content = [column for column in schema.columns if column.name not in {c.name for c in LOAD}]
    table = ibis.memtable(frame)
    values = {
        column.name: (table[column.name] if column.name in frame else ibis.null("string")).cast(column.type) for column in content
    }
    return table.select(**values, _effective_at=table["_effective_at"].cast("timestamp(6)"))


def _times(base: str, seconds: Any) -> Any:
    return pd.Timestamp(base) + pd.to_timedelta(np.asarray(seconds).astype("int64"), unit="s")


def _members(draw: Any, ids: Any) -> pd.DataFrame:
    joined = _times("2024-11-01", draw.integers(0, 600 * 86400, len(ids)))
    return pd.DataFrame(
        {
            "member_id": ids,
            "registered_at": joined,
            "source_channel": draw.choice(["store", "tmall", "wechat"], len(ids)),
            "gender": draw.choice(["female", "male", None], len(ids)),
            "birth_year": draw.integers(1960, 2005, len(ids)),
            "birth_month": draw.integers(1, 13, len(ids)),
            "city": draw.choice(CITIES, len(ids)),
            "province": "浙江",
            "tier": draw.choice(["普通", "银卡", "金卡"], len(ids), p=[0.7, 0.2, 0.1]),
            "status": "active",
            "_effective_at": joined,
        }
    )


def _orders(draw: Any, ids: Any) -> pd.DataFrame:
    rate = draw.gamma(0.9, 3.0, len(ids))
    counts = draw.poisson(rate)
    owner = np.repeat(ids, counts)
    alive = np.repeat(draw.beta(2, 1, len(ids)), counts)
    placed = _times("2024-11-15", draw.random(len(owner)) * alive * 700 * 86400)
    return _order_frame(draw, owner, placed, "o")


def _order_frame(draw: Any, owner: Any, placed: Any, prefix: str) -> pd.DataFrame:
    n = len(owner)
    gross = np.round(draw.gamma(3, 80, n) + 20, 2)
    discount = np.round(gross * draw.choice([0, 0.1, 0.3], n), 2)
    paid = np.where(draw.random(n) < 0.94, placed + pd.to_timedelta(120, unit="s"), np.datetime64("NaT"))
    return pd.DataFrame(
        {
            "order_id": [f"{prefix}{i:07d}" for i in range(n)],
            "member_id": owner,
            "channel": draw.choice(["store", "tmall"], n),
            "ordered_at": placed,
            "paid_at": paid,
            "gross_amount": gross,
            "discount_amount": discount,
            "shipping_amount": 0.0,
            "net_amount": np.round(gross - discount, 2),
            "currency": "CNY",
            "city": draw.choice(CITIES, n),
            "_effective_at": placed,
        }
    )


def _lines(draw: Any, orders: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "order_id": orders["order_id"],
            "line_no": 1,
            "ordered_at": orders["ordered_at"],
            "product_id": draw.choice(["p0", "p1", "p2", "p3"], len(orders)),
            "quantity": 1.0,
            "unit_price": orders["net_amount"],
            "line_amount": orders["net_amount"],
            "_effective_at": orders["ordered_at"],
        }
    )


def _products() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "product_id": ["p0", "p1", "p2", "p3"],
            "product_name": "商品",
            "category": CATEGORIES,
            "list_price": 100.0,
            "currency": "CNY",
            "_effective_at": pd.Timestamp("2024-11-01"),
        }
    )


def _refunds(draw: Any, orders: pd.DataFrame) -> pd.DataFrame:
    some = orders[orders["paid_at"].notna() & (draw.random(len(orders)) < 0.05)]
    when = some["ordered_at"] + pd.Timedelta(days=3)
    return pd.DataFrame(
        {
            "refund_id": "r" + some["order_id"],
            "order_id": some["order_id"],
            "member_id": some["member_id"],
            "refunded_at": when,
            "date_assumed": False,
            "amount": some["net_amount"],
            "currency": "CNY",
            "kind": "refund",
            "_effective_at": when,
        }
    )


def _events(draw: Any, ids: Any) -> pd.DataFrame:
    n = 8 * len(ids)
    when = _times("2026-03-01", draw.random(n) * 240 * 86400)
    return pd.DataFrame(
        {
            "event_id": [f"e{i:07d}" for i in range(n)],
            "member_id": draw.choice(ids, n),
            "occurred_at": when,
            "event": draw.choice(
                ["visit", "browse", "cart_add", "check_in", "points_earned", "complaint"], n, p=[0.4, 0.3, 0.12, 0.1, 0.07, 0.01]
            ),
            "channel": "app",
            "quantity": 10.0,
            "_effective_at": when,
        }
    )


def _consents(draw: Any, ids: Any) -> pd.DataFrame:
    when = pd.Timestamp("2025-01-01")
    state = draw.choice(["granted", "denied"], len(ids), p=[0.9, 0.1])
    return pd.DataFrame({"member_id": ids, "channel": "sms", "state": state, "changed_at": when, "_effective_at": when})


def _identities(ids: Any) -> pd.DataFrame:
    when = pd.Timestamp("2025-01-01")
    hashes = [f"h{i}" for i in range(len(ids))]
    return pd.DataFrame(
        {"id_kind": "phone", "id_value_hash": hashes, "member_id": ids, "first_seen_at": when, "_effective_at": when}
    )


def _answers(draw: Any, audience: pd.DataFrame) -> pd.DataFrame:
    """Orders after the message: seven in ten of those written to, one in twelve of the held out."""
    rate = audience["status"].map({"selected": 0.7, "held_out": 0.08, "rejected": 0.05}).to_numpy()
    answering = audience["member_id"].to_numpy()[draw.random(len(audience)) < rate]
    placed = _times("2026-10-12", draw.random(len(answering)) * 12 * 86400)
    return _order_frame(draw, answering, placed, "a")
