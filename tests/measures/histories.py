"""Random histories of a small shop: nights of loads with late corrections, repeated rows, moved orders, persons and undos."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
from hypothesis import strategies as st

from crm_core import measures
from crm_core.config import EngineSettings
from crm_core.store import Lake, Ledger, Tables, connect
from tests.tiny_world import SHANGHAI, arrow

FIRST = date(2026, 1, 10)
MEMBERS = st.sampled_from([*"abcdef"])
BACK = st.sampled_from([-1, 0, 1, 5, 29, 30, 31, 60, 89, 90, 120, 180, 200, 364, 365, 366, 500])  # −1: dated later
EVENTS = ("visit", "cart_add", "complaint", "sent", "opened", "points_earned", "points_spent", "coupon_issued", "check_in")


def _rows(**columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.fixed_dictionaries(columns), max_size=3)


NIGHT = st.fixed_dictionaries(
    {
        "gap": st.sampled_from([0, 1, 1, 1, 2, 31, 100]),
        "undo": st.one_of(st.none(), st.integers(0, 3)),
        "compact": st.booleans(),
        "orders": _rows(order_id=st.sampled_from([*"123456"]), member_id=st.one_of(st.none(), MEMBERS), back=BACK,
                        paid=st.sampled_from([None, 0, 1, 40]), net=st.sampled_from(["5.10", "20.00"]),
                        channel=st.sampled_from(["tmall", "jd", None]), reviewed=st.sampled_from([None, 3])),
        "order_lines": _rows(order_id=st.sampled_from([*"123456"]), line_no=st.sampled_from([1, 2]),
                             product_id=st.sampled_from(["p", "q", "r"]), back=BACK),
        "refunds": _rows(refund_id=st.sampled_from(["x", "y"]), member_id=MEMBERS, back=BACK),
        "interactions": _rows(event_id=st.sampled_from([*"12345678"]), member_id=MEMBERS, back=BACK,
                              event=st.sampled_from(EVENTS)),
        "consents": _rows(member_id=MEMBERS, channel=st.sampled_from(["sms", "email"]), back=BACK,
                          state=st.sampled_from(["granted", "revoked"]), valid=st.sampled_from([None, 1, 2, 30])),
        "members": _rows(member_id=MEMBERS, tier=st.sampled_from(["gold", "tin"]), back=BACK,
                         birth_month=st.sampled_from([None, 1, 2, 6]), birth_year=st.sampled_from([None, 1990])),
        "products": _rows(product_id=st.sampled_from(["p", "q", "r"]), category=st.sampled_from(["Tea", "Cup", None])),
        "identities": _rows(member_id=MEMBERS, id_value_hash=st.sampled_from(["v", "w"]), back=BACK),
    }
)  # fmt: skip
START = {
    "gap": 0, "undo": None,
    "orders": [{"order_id": "1", "member_id": "a", "back": 31, "paid": 0, "net": "9.00", "channel": "jd", "reviewed": None}],
    "order_lines": [{"order_id": "1", "line_no": 1, "product_id": "p", "back": 31}],
    "refunds": [{"refund_id": "x", "member_id": "b", "back": 9}],
    "interactions": [{"event_id": "1", "member_id": "c", "back": 30, "event": "visit"}],
    "consents": [{"member_id": "a", "channel": "sms", "back": 9, "state": "granted", "valid": 15}],
    "members": [{"member_id": "a", "tier": "tin", "back": 99, "birth_month": 2, "birth_year": 1990}],
    "products": [{"product_id": "p", "category": "Tea"}],
    "identities": [{"member_id": "a", "id_value_hash": "v", "back": 9}],
}  # fmt: skip
"""Every table is supplied from the first night on, so that there is something to carry on."""


class Shop:
    """A real lake below `folder`, and the day that it has come to."""

    def __init__(self, folder: Path) -> None:
        self.engine = connect(EngineSettings(), folder / "spill")
        self.lake = Lake(folder / "lake", Ledger.in_folder(folder), self.engine)
        self.day, self.loads = FIRST, 0
        self.night(START)

    @property
    def tables(self) -> Tables:
        """The tables of the newest snapshot as of the day."""
        return Tables(self.lake, self.lake.snapshot(), self.day, SHANGHAI)

    def night(self, night: dict[str, Any]) -> None:
        """Moves on, loads what the night brings, and where it says so takes an earlier load back and joins files."""
        self.day += timedelta(days=night["gap"])
        with self.lake.write("night") as writer:
            if night["undo"] is not None and night["undo"] < self.loads and night["undo"] > 0:
                for name in LOADED:
                    writer.forget(name, f"load{night['undo']}")
            for name in LOADED:
                rows = {key_of(name, row): self.stated(name, row) for row in night[name]}
                if rows:
                    table = ibis.memtable(arrow_rows(name, list(rows.values())))
                    writer.upsert(name, table, load_id=f"load{self.loads}")
        self.loads += 1
        if night.get("compact"):
            self.lake.compact()

    def stated(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        """A row as a source states it, its times in the days before the shop's day."""
        now = datetime.combine(self.day, datetime.min.time()) + timedelta(hours=3)
        when = now - timedelta(days=row.get("back", 0))
        money = {f"{each}_amount": Decimal(row.get("net", "0")) for each in ("gross", "net")}
        more: dict[str, dict[str, Any]] = {
            "orders": {"ordered_at": when, "discount_amount": Decimal(0), "shipping_amount": Decimal(0), **money,
                       "paid_at": None if row.get("paid") is None else when + timedelta(days=row["paid"]),
                       "reviewed_at": row.get("reviewed") and when + timedelta(days=row["reviewed"]),
                       "review_score": row.get("reviewed") and 4.0, "currency": "CNY"},
            "order_lines": {"ordered_at": when, "line_amount": Decimal("3.00")},
            "refunds": {"refunded_at": when, "amount": Decimal("1.10")},
            "interactions": {"occurred_at": when, "quantity": 7.0},
            "consents": {"changed_at": when, "expires_at": row.get("valid") and when + timedelta(days=row["valid"])},
            "members": {"registered_at": when},
            "identities": {"id_kind": "phone", "first_seen_at": when},
        }  # fmt: skip
        return {**row, **more.get(name, {}), "_effective_at": now}

    def tomorrow(self, before: Tables, stored: pa.Table) -> tuple[pa.Table, int]:
        """(features of now carried on from `stored`, members worked out anew); all anew where it cannot be carried on."""
        tables = self.tables
        if not measures.can_carry(tables, before):
            return whole(tables), -1
        rows = ibis.memtable(stored)
        anew = self.engine.create_table("anew", measures.touched(tables, before, rows), temp=True, overwrite=True)
        out = measures.out_of_windows(tables, before)
        found = measures.carried(tables, rows, anew, out).to_pyarrow().sort_by("member_id")
        return found, int(anew.count().to_pyarrow().as_py())


LOADED = [name for name in START if name not in ("gap", "undo")]


def whole(tables: Tables) -> pa.Table:
    """All features from the beginning."""
    return measures.features(tables).to_pyarrow().sort_by("member_id")


def key_of(name: str, row: dict[str, Any]) -> Any:
    """What makes two rows of one night the same row."""
    names = {
        "orders": ("order_id",), "order_lines": ("order_id", "line_no"), "refunds": ("refund_id",),
        "interactions": ("event_id",), "members": ("member_id",), "products": ("product_id",),
        "consents": ("member_id", "channel", "state", "back"), "identities": ("member_id", "id_value_hash"),
    }[name]  # fmt: skip
    return tuple(row[each] for each in names)


def arrow_rows(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as `Writer.upsert` takes them."""
    table = arrow(name, rows).drop_columns(["load_id", "recorded_at"])
    times = pa.array([row["_effective_at"] for row in rows], pa.timestamp("us"))
    return table.append_column("_effective_at", times)


def differing(found: pa.Table, expected: pa.Table) -> list[str]:
    """What is not the same: 'rows', or the columns."""
    if found["member_id"].to_pylist() != expected["member_id"].to_pylist():
        return ["rows"]
    return [name for name in expected.column_names if not found[name].equals(expected[name])]
