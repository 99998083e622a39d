"""A drawn world written as Taobao, JD, Youzan and Shopify export it, loaded: the lake is the world, table by table, to the cent.

Compared are the columns that a shape carries. What a shape words otherwise (a buyer's name for a card number, one refund an
order) is worded so in the truth too, by the functions below and nowhere in the product.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from crm_core.ingest import LoadReport, ingest
from crm_core.simulate import simulate
from crm_core.simulate.blocks import draw
from crm_core.simulate.catalogue import catalogue
from crm_core.simulate.members import REACHABLE
from crm_core.simulate.raw_people import emails
from crm_core.simulate.shapes.chinese import RECENT
from crm_core.simulate.world import World
from crm_core.workspace import Workspace
from tests.end_to_end.sample_shop import elsewhere
from tests.simulate.worlds import UNTIL

WORLD = World(700, 20_261_031, 300, UNTIL, UNTIL, 0.0)
Row = dict[str, Any]


@dataclass(frozen=True)
class Carried:
    """What a shape carries: its order columns, the prefix of its order ids, and the account of a card in an order."""

    orders: tuple[str, ...]
    prefix: str
    account: Callable[[Trip, Row], str | None]
    lines: bool = True
    refunds: bool = True


@dataclass(frozen=True)
class Trip:
    """One world in one shape, loaded."""

    carried: Carried
    workspace: Workspace
    report: LoadReport
    raw: Path

    def truth(self, name: str) -> list[Row]:
        """Rows of a table of truth/, times without a zone as the lake has them."""
        rows = pq.read_table(self.raw / "truth" / f"expected_{name}.parquet").to_pylist()
        return [{key: _plain(value) for key, value in row.items()} for row in rows]

    def lake(self, name: str) -> list[Row]:
        """Rows of a table of the lake with account ids in place of member ids."""
        rows = getattr(self.workspace.tables, name).to_pyarrow().to_pylist()
        return [row | {"account_id": self.accounts.get(row.get("member_id"))} for row in rows]

    @cached_property
    def accounts(self) -> dict[str, str]:
        known = self.workspace.vault.accounts().to_pyarrow().to_pylist()
        return {row["member_id"]: row["account_id"] for row in known}

    @cached_property
    def people(self) -> dict[str, tuple[str | None, str | None]]:
        """Card → (mobile, if it can be read; e-mail address)."""
        people = draw(WORLD, catalogue(WORLD), 0, []).people
        rows = zip(people.card, people.phone, people.phone_state, emails(people).to_pylist(), strict=True)
        return {str(card): (str(phone) if state == REACHABLE else None, mail) for card, phone, state, mail in rows}

    @cached_property
    def orders(self) -> dict[str, Row]:
        """Accepted orders of the truth by id, with the account that the shape gives them."""
        return {row["order_id"]: row | {"account": self.carried.account(self, row)} for row in self.truth("orders")}


def _plain(value: Any) -> Any:
    return value.replace(tzinfo=None) if hasattr(value, "tzinfo") and value else value


def _buyer(trip: Trip, row: Row) -> str | None:
    """Taobao's form of 2026 has no buyer."""
    recent = f"{row['ordered_at'] + timedelta(hours=8):%Y-%m}" >= RECENT
    return None if recent or row["account_id"] is None else f"tb{row['account_id']}"


def _mobile(trip: Trip, row: Row) -> str | None:
    return trip.people[row["account_id"]][0] if row["account_id"] else None


def _mail(trip: Trip, row: Row) -> str | None:
    return trip.people[row["account_id"]][1] if row["account_id"] else None


MONEY = ("gross_amount", "discount_amount", "shipping_amount", "net_amount")
SHAPES = {
    "taobao": Carried(
        ("ordered_at", "paid_at", "shipped_at", "confirmed_at", "shipping_amount", "net_amount"), "", _buyer
    ),
    "jd": Carried(
        ("ordered_at", "paid_at", "confirmed_at", *MONEY), "",
        lambda _, row: row["account_id"] and f"jd_{row['account_id']}", refunds=False,
    ),
    "youzan": Carried(("ordered_at", "paid_at", "confirmed_at", *MONEY), "E", _mobile, lines=False),
    "shopify": Carried(("ordered_at", "paid_at", "shipped_at", "closed_at", *MONEY), "#", _mail),
}  # fmt: skip


@pytest.fixture(scope="module", params=SHAPES)
def trip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    """The world in one shape, loaded on a machine in New York."""
    folder = tmp_path_factory.mktemp(request.param)
    with elsewhere():
        simulate(folder / "raw", WORLD.members, WORLD.seed, WORLD.days, WORLD.until, events=WORLD.events, shape=request.param)
        (folder / "shop").mkdir()
        workspace = Workspace.open(folder / "shop")
        report = ingest(workspace.config, workspace.lake, workspace.vault, request.param, [folder / "raw"])
        yield Trip(SHAPES[request.param], Workspace.open(folder / "shop"), report, folder / "raw")


@pytest.mark.slow
def test_orders_are_those_that_were_meant(trip: Trip) -> None:
    columns = trip.carried.orders
    lake = Counter((row["order_id"], row["account_id"], *(row[name] for name in columns)) for row in trip.lake("orders"))
    meant = Counter(
        (trip.carried.prefix + row["order_id"], row["account"], *(row[name] for name in columns)) for row in trip.orders.values()
    )
    assert lake - meant == {}, "in the lake but never meant"
    assert meant - lake == {}, "meant but not in the lake"
    assert len({row["account"] for row in trip.orders.values()}) > 100


@pytest.mark.slow
def test_lines_are_those_that_were_meant_a_product_once_an_order(trip: Trip) -> None:
    if not trip.carried.lines:
        assert not trip.workspace.tables.supplied("order_lines")
        return
    lake, meant = _by_product(trip.lake("order_lines"), ""), _by_product(trip.truth("order_lines"), trip.carried.prefix)
    assert lake == meant
    assert len(lake) > 2_000


def _by_product(rows: list[Row], prefix: str) -> dict[tuple[str, str], tuple[float, Decimal]]:
    sums: dict[tuple[str, str], tuple[float, Decimal]] = {}
    for row in rows:
        key = (prefix + row["order_id"], row["product_id"])
        units, amount = sums.get(key, (0.0, Decimal(0)))
        sums[key] = (units + row["quantity"], amount + row["line_amount"])
    return sums


@pytest.mark.slow
def test_refunds_are_those_that_name_an_order_one_for_each(trip: Trip) -> None:
    if not trip.carried.refunds:
        assert not trip.workspace.tables.supplied("refunds")
        return
    meant: Counter[str] = Counter()
    for row in trip.truth("refunds"):
        if row["order_id"]:
            meant[trip.carried.prefix + row["order_id"]] += row["amount"]
    lake = {row["order_id"]: row for row in trip.lake("refunds")}
    assert {order: row["amount"] for order, row in lake.items()} == dict(meant)
    assert len(meant) > 50
    plain = {trip.carried.prefix + order: row for order, row in trip.orders.items()}
    for order, row in lake.items():
        assert (row["account_id"], row["refunded_at"]) == (plain[order]["account"], plain[order]["paid_at"])
        assert row["date_assumed"]


@pytest.mark.slow
def test_members_are_those_that_the_shape_knows(trip: Trip) -> None:
    lake = {row["account_id"]: row for row in trip.lake("members")}
    buyers = {row["account"] for row in trip.orders.values()} - {None}
    known = {row["account_id"]: row for row in trip.truth("members")}
    if trip.report.source in ("taobao", "jd"):
        assert lake.keys() == buyers
        return
    kind = 0 if trip.report.source == "youzan" else 1
    meant = {ways[kind]: known[card] for card, ways in reversed(trip.people.items()) if ways[kind] and card in known}
    assert lake.keys() == meant.keys() >= buyers
    columns = ("registered_at", "source_channel", "gender", "tier") if kind == 0 else ("province", "city")
    for account, row in meant.items():
        assert [lake[account][name] for name in columns] == [row[name] for name in columns]


@pytest.mark.slow
def test_contacts_are_in_the_vault_masked_ones_kept_as_unusable(trip: Trip) -> None:
    phones = set(trip.workspace.vault.contacts("phone").to_pyarrow()["value"].to_pylist())
    kinds = {contact.kind: contact for contact in trip.report.contacts}
    accounts = {row["account_id"] for row in trip.orders.values() if row["account"]}
    if trip.report.source == "jd":
        assert not phones and kinds["phone"].invalid == kinds["phone"].values > 300, "JD masks every number"
        return
    if trip.report.source == "youzan":
        meant = {mobile for mobile, _ in trip.people.values() if mobile}
    elif trip.report.source == "taobao":
        meant = {trip.people[card][0] for card in accounts} - {None}
        assert kinds["phone"].invalid > 5, "masked by the shop"
    else:
        meant = {mobile for mobile, mail in trip.people.values() if mobile and mail}
    assert {phone.removeprefix("+86") for phone in phones} == meant


@pytest.mark.slow
def test_every_row_is_accounted_for_as_it_was_soiled_and_sums_agree(trip: Trip) -> None:
    world = json.loads((trip.raw / "truth/world.json").read_text("utf-8"))
    for file in trip.report.files:
        counted = (file.read, file.duplicate, file.rejected)
        assert counted == tuple(world[what].get(file.name, 0) for what in ("rows", "repeated", "refused")), file.name
    assert sum(file.rejected for file in trip.report.files) > 0
    assert trip.report.balances and all(balance.rows == balance.written for balance in trip.report.balances)
    net = sum((row["net_amount"] for row in trip.orders.values()), Decimal(0))
    assert trip.workspace.tables.orders.net_amount.sum().to_pyarrow().as_py() == net
