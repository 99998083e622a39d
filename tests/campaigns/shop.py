"""A small real workspace: lake, ledger and vault on disk with 600 members, loaded as ingest would."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pyarrow as pa

from crm_core.campaigns import freeze
from crm_core.campaigns.audience import audience_id_of
from crm_core.config import Config, EngineSettings
from crm_core.schema import TABLES
from crm_core.store import Lake, Ledger, Tables, Vault, connect, now
from crm_core.store.ledger import Audience, Load
from crm_core.store.vault import CONTACTS

ZONE = ZoneInfo("Asia/Shanghai")
AS_OF = date(2026, 10, 31)
CONF = Path(__file__).parents[2] / "conf"
MEMBERS = 600

CAMPAIGN = """
title: {zh: 试验, en: Trial}
objective: tests
segment: order_count == 1
control: 0.10
arms: {message: 0.90}
strata: [tier]
metric: net_amount
window_days: 14
template: "【商城】{tier}会员专享{offer}。拒收请回复R"
parameters: {offer: 30元券}
unit_cost: 0.05
"""


@dataclass(frozen=True)
class Shop:
    """The workspace's parts, as `Workspace` will hand them over."""

    root: Path
    config: Config
    engine: Any
    lake: Lake
    ledger: Ledger
    vault: Vault

    @property
    def parts(self) -> dict[str, Any]:
        """lake, ledger, vault as keyword arguments."""
        return {"lake": self.lake, "ledger": self.ledger, "vault": self.vault}

    def tables(self, as_of: date = AS_OF) -> Tables:
        """The newest snapshot as of a day."""
        return Tables(self.lake, self.lake.snapshot(), as_of, ZONE)

    def with_file(self, name: str, text: str) -> Shop:
        """The same workspace with one settings file replaced."""
        return replace(self, config=Config({**self.config.texts(), name: text}))

    def frozen(self, campaign: str = "trial") -> str:
        """The id of the campaign's list of `AS_OF`, frozen on the first call."""
        audience_id = audience_id_of(campaign, 1, AS_OF)
        if self.ledger.get(Audience, audience_id) is None:
            freeze(self.tables(), self.config, campaign=campaign, **self.parts)
        return audience_id

    def load(self, load_id: str, **tables: list[dict[str, Any]]) -> None:
        """Rows into the lake, as a load."""
        with self.lake.write(load_id) as writer:
            for name, rows in tables.items():
                writer.upsert(name, ibis.memtable(_arrow(name, rows)), load_id=load_id)
            writer.cover(AS_OF)


def _arrow(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = TABLES[name]
    types = ibis.schema(schema.types()).to_pyarrow()
    columns = {f.name: pa.array([r.get(f.name) for r in rows], f.type) for f in types if f.name not in ("load_id", "recorded_at")}
    stamp = [r.get("_effective_at") or r.get(schema.exists_at) or datetime(2025, 1, 1) for r in rows]
    return pa.table({**columns, "_effective_at": pa.array(stamp, pa.timestamp("us"))})


def phone(at: int) -> str:
    """The invented number of member `at`."""
    return f"+86138{at:08d}"


def member(at: int) -> str:
    """The id of member `at`."""
    return f"m{at:04d}"


def open_shop(root: Path) -> Shop:
    """A workspace in `root` with members, orders, consents, identities and contacts.

    Of 600 members every third has two orders, the others one. Among these: at % 10 == 1 never consented, at %
    10 == 2 has no phone; 4 and 5 are one person; 7 and 8 share a number.
    """
    root.mkdir(parents=True, exist_ok=True)
    engine = connect(EngineSettings(threads=2, memory_limit="1GB"), root / "spill")
    ledger = Ledger.in_folder(root / "ledger")
    lake, vault = Lake(root / "lake", ledger, engine), Vault(root / "vault", ledger, engine)
    files = {p.relative_to(CONF).as_posix(): p.read_text() for p in CONF.rglob("*.yml")}
    shop = Shop(root, Config({**files, "campaigns/trial.yml": CAMPAIGN}), engine, lake, ledger, vault)
    shop.load("L1", **_rows(random.Random(5), vault))
    _contacts(shop)
    return shop


def _rows(rng: random.Random, vault: Vault) -> dict[str, list[dict[str, Any]]]:
    everyone = range(MEMBERS)
    start = datetime(2026, 3, 1)
    members = [
        {"member_id": member(at), "registered_at": start, "tier": ("gold", "silver", None)[at % 7 % 3], "city": "上海"}
        | ({"person_id": "p0004"} if at in (4, 5) else {})
        for at in everyone
    ]
    orders = [
        _order(f"o{at:04d}-{number}", member(at), start + timedelta(days=rng.uniform(1, 240)), rng.uniform(20, 400))
        for at in everyone
        for number in range(2 if at % 3 == 0 else 1)
    ]
    consents = [
        {"member_id": member(at), "channel": "sms", "state": "granted", "changed_at": start} for at in everyone if at % 10 != 1
    ]
    known = [at for at in everyone if at % 10 != 2]
    identities = [
        {"id_kind": "phone", "id_value_hash": vault.hmac_one("phone", _shared(at)), "member_id": member(at), "first_seen_at": start}
        for at in known
    ]
    return {"members": members, "orders": orders, "consents": consents, "identities": identities}


def _shared(at: int) -> str:
    return phone(7) if at == 8 else phone(at)


def _order(order_id: str, member_id: str, paid_at: datetime, amount: float) -> dict[str, Any]:
    money = Decimal(f"{amount:.2f}")
    return {
        "order_id": order_id,
        "member_id": member_id,
        "ordered_at": paid_at,
        "paid_at": paid_at,
        "gross_amount": money,
        "discount_amount": Decimal("0.00"),
        "shipping_amount": Decimal("0.00"),
        "net_amount": money,
        "currency": "CNY",
    }


def orders_after(members: dict[str, float], on: datetime) -> list[dict[str, Any]]:
    """One paid order per member of the given amount."""
    return [_order(f"after-{name}-{on:%m%d}", name, on, amount) for name, amount in members.items()]


def _contacts(shop: Shop) -> None:
    known = [at for at in range(MEMBERS) if at % 10 != 2]
    _vault_load(shop, "L1", [member(at) for at in known], [_shared(at) for at in known])


def contact(shop: Shop, load_id: str, member_id: str, number: str) -> None:
    """A phone of one member, in vault and lake, as a load of its own."""
    seen = datetime(2026, 3, 1)
    hashed = shop.vault.hmac_one("phone", number)
    known = {"id_kind": "phone", "id_value_hash": hashed, "member_id": member_id, "first_seen_at": seen}
    shop.load(f"{load_id}-id", identities=[known])
    _vault_load(shop, load_id, [member_id], [number])


def _vault_load(shop: Shop, load_id: str, members: list[str], numbers: list[str]) -> None:
    count, seen = len(members), datetime(2026, 3, 1)
    columns = {
        "member_id": members,
        "kind": ["phone"] * count,
        "value": numbers,
        "valid": [True] * count,
        "problem": [None] * count,
        "seen_at": [seen] * count,
        "first_seen_at": [seen] * count,
        "load_id": [load_id] * count,
    }
    types = ibis.schema(CONTACTS.types()).to_pyarrow()
    shop.vault.put("contacts", load_id, ibis.memtable(pa.table(columns, schema=types)))
    counts = {"rows_read": 0, "rows_accepted": 0, "rows_duplicate": 0, "rows_rejected": 0}
    load = Load(load_id=load_id, source="test", state="live", started_at=now(), finished_at=now(), detail={}, **counts)
    with shop.ledger.transaction() as session:
        session.add(load)
