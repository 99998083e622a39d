"""What the generator meant is what the lake holds: to the cent, dirt refused, repetitions known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from crm_core.ingest import LoadReport
from crm_core.workspace import Workspace
from tests.end_to_end.sample_shop import elsewhere, loaded

Shop = tuple[Workspace, LoadReport, Path]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """800 members over 400 days, loaded."""
    folder = tmp_path_factory.mktemp("round trip")
    with elsewhere():
        root, report = loaded(folder / "shop", members=800, days=400)
        yield Workspace.open(root), report, folder / "shop raw" / "truth"


def _truth(shop: Shop, name: str) -> pa.Table:
    return pq.read_table(shop[2] / f"{name}.parquet")


def _accounts(shop: Shop) -> dict[str, str]:
    known = shop[0].vault.accounts().to_pyarrow().to_pylist()
    return {row["member_id"]: row["account_id"] for row in known}


def _compared(shop: Shop, table: str, columns: list[str]) -> tuple[Counter[Any], Counter[Any]]:
    """(rows of the lake, rows of the truth) over the columns, account ids in place of member ids."""
    accounts = _accounts(shop)
    stored = getattr(shop[0].tables, table)
    names = ["member_id" if name == "account_id" else name for name in columns]
    lake = [
        tuple(accounts.get(value, value) if name == "member_id" else value for name, value in row.items())
        for row in stored.select(*names).to_pyarrow().to_pylist()
    ]
    truth = _truth(shop, f"expected_{table}").select(columns)
    plain = [
        tuple(value.replace(tzinfo=None) if hasattr(value, "tzinfo") and value else value for value in row.values())
        for row in truth.to_pylist()
    ]
    return Counter(lake), Counter(plain)


COLUMNS = {
    "members": ["account_id", "registered_at", "source_channel", "gender", "province", "city", "tier",
                "status"],
    "orders": [
        "order_id", "account_id", "channel", "ordered_at", "paid_at", "approved_at", "shipped_at",
        "delivered_at", "confirmed_at", "reviewed_at", "closed_at", "review_score",
        "gross_amount", "discount_amount",
        "shipping_amount", "net_amount",
    ],
    "order_lines": ["order_id", "line_no", "product_id", "quantity", "line_amount"],
    "refunds": ["refund_id", "order_id", "account_id", "refunded_at", "amount", "kind"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("table", COLUMNS)
def test_the_lake_holds_exactly_the_rows_that_were_meant(shop: Shop, table: str) -> None:
    lake, truth = _compared(shop, table, COLUMNS[table])
    assert truth - lake == {}, "meant but not in the lake"
    assert lake - truth == {}, "in the lake but never meant"


@pytest.mark.slow
def test_sums_of_money_agree_to_the_cent(shop: Shop) -> None:
    orders, refunds = shop[0].tables.orders, shop[0].tables.refunds
    assert orders.net_amount.sum().to_pyarrow().as_py() == _sum(shop, "expected_orders", "net_amount")
    assert refunds.amount.sum().to_pyarrow().as_py() == _sum(shop, "expected_refunds", "amount")


def _sum(shop: Shop, name: str, column: str) -> Decimal:
    total: Decimal = pc.sum(_truth(shop, name)[column]).as_py()
    return total


@pytest.mark.slow
def test_interactions_agree_by_month_and_event(shop: Shop) -> None:
    events = shop[0].tables.interactions
    local = events.occurred_at + ibis.interval(hours=8)
    counted = events.group_by(month=local.strftime("%Y-%m"), event=events.event).agg(
        rows=events.count(), quantity=events.quantity.sum(), amount=events.amount.sum()
    )
    lake = {(row["month"], row["event"]): row for row in counted.to_pyarrow().to_pylist()}
    truth = {(row["month"], row["event"]): row for row in _truth(shop, "expected_interactions").to_pylist()}
    assert lake.keys() == truth.keys()
    for key, meant in truth.items():
        found = lake[key]
        assert (found["rows"], found["quantity"] or 0) == (meant["rows"], meant["quantity"]), key
        assert (found["amount"] or 0) == Decimal(meant["fen"]) / 100, key


@pytest.mark.slow
def test_every_row_is_accounted_for_and_the_dirt_is_known(shop: Shop) -> None:
    _, report, truth = shop
    world = json.loads((truth / "world.json").read_text("utf-8"))
    assert report.read == sum(world["rows"].values()) == report.accepted + report.duplicate + report.rejected
    assert report.duplicate == sum(world["repeated"].values())
    assert report.rejected == sum(world["refused"].values())
    assert all(balance.rows == balance.written for balance in report.balances)
    assert {"event", "occurred_at"} <= {reject.field for reject in report.rejects}


@pytest.mark.slow
def test_past_campaigns_are_there_with_their_control(shop: Shop) -> None:
    tables, accounts = shop[0].tables, _accounts(shop)
    found = Counter(
        (row["campaign_id"], accounts[row["member_id"]], row["arm"], row["status"])
        for row in tables.audiences.to_pyarrow().to_pylist()
    )
    status = {"control": "held_out", "message": "selected"}
    meant = Counter(
        (row["campaign_id"], row["account_id"], row["arm"], status[row["arm"]])
        for row in _truth(shop, "campaign_assignments").to_pylist()
    )
    assert found == meant
    assert tables.campaigns.count().to_pyarrow().as_py() == 2
    for name in ("products", "consents", "identities", "opportunities", "contract_payments"):
        assert tables.supplied(name), name


@pytest.mark.slow
def test_contacts_lie_in_the_vault_alone(shop: Shop) -> None:
    workspace, report, _ = shop
    kinds = {contact.kind: contact for contact in report.contacts}
    assert kinds["phone"].values > kinds["phone"].invalid > 0, "masked numbers are kept as unusable"
    phones = workspace.vault.contacts("phone").to_pyarrow()["value"].to_pylist()
    assert all(phone.startswith("+861") for phone in phones)
    names = set(workspace.vault.contacts("name").to_pyarrow()["value"].to_pylist())
    for table in ("members", "orders", "interactions", "audiences"):
        for column in getattr(workspace.tables, table).to_pyarrow().columns:
            if pa.types.is_string(column.type):
                assert not {*phones, *(phone[3:] for phone in phones), *names} & set(column.to_pylist()), table


@pytest.mark.slow
def test_the_first_order_of_a_day_is_on_that_day_in_the_shop(shop: Shop) -> None:
    """A quarter past midnight in Shanghai is the evening before in UTC."""
    orders = shop[0].tables.orders
    early = orders.ordered_at.min().to_pyarrow().as_py()
    first_day = shop[0].as_of - timedelta(days=399)
    assert (early + timedelta(hours=8)).date() >= first_day


@pytest.mark.slow
def test_second_accounts_are_the_person_that_they_belong_to(shop: Shop) -> None:
    """Of second accounts with a usable phone every one is found, and nobody is taken for another."""
    workspace, _, _ = shop
    members = workspace.tables.members.select("member_id", "person_id").to_pyarrow().to_pylist()
    account = _accounts(shop)
    found = {account[row["member_id"]]: account[row["person_id"]] for row in members}
    latent = _truth(shop, "latent_members").select(["account_id", "person_account_id"]).to_pylist()
    truth = {row["account_id"]: row["person_account_id"] for row in latent if row["account_id"] in found}
    with_phone = {account[row] for row in workspace.vault.contacts("phone").to_pyarrow()["member_id"].to_pylist()}
    second = {one for one, other in truth.items() if one != other and other in found}
    assert len(second & with_phone) >= 5
    merged = {frozenset((one, person)) for one, person in found.items() if one != person}
    assert merged <= {frozenset((one, truth[one])) for one in second}
    assert {frozenset((one, truth[one])) for one in second & with_phone if truth[one] in with_phone} <= merged
