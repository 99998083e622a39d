"""Every source preset compiles against the schema, loads what the simulator writes in its shape, row by row accounted for, to the
cent, and keeps contact data out of the lake; those with a public file give its published numbers."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crm_core.config import Config
from crm_core.errors import InputError
from crm_core.ingest.load import context_of
from crm_core.ingest.mapping import check_source
from crm_core.simulate import simulate
from crm_core.simulate.blocks import draw
from crm_core.simulate.catalogue import catalogue
from crm_core.simulate.raw_people import emails
from crm_core.simulate.shapes import SHAPES
from crm_core.simulate.words import FULL_NAMES
from crm_core.simulate.world import World
from crm_core.store import Lake
from tests.ingest.corner_shop import EXAMPLE, Shop, open_shop
from tests.simulate.worlds import UNTIL

CONF = Path(__file__).resolve().parents[2] / "conf"
CONFIG = Config.read([CONF])
TEXTS = {name: text for name, text in CONFIG.texts().items() if name.startswith("sources/")}


COUNTS = ("rows", "repeated", "refused")
WORLD = World(150, 20_261_031, 150, UNTIL, UNTIL, 0.4)
SHAPE_OF = {file.source: shape for shape, files in SHAPES.items() for file in files} | {"sample": "sample"}


def total(lake: Lake, table: str, column: str) -> Decimal:
    return Decimal(lake.table(table)[column].sum().to_pyarrow().as_py())


def rows(lake: Lake, table: str) -> int:
    return int(lake.table(table).count().to_pyarrow().as_py())


@pytest.mark.parametrize("name", CONFIG.source_names())
def test_every_preset_compiles_and_has_a_title_in_both_languages(shop: Shop, name: str) -> None:
    check_source(context_of(CONFIG, shop.lake, name, None))
    assert set(CONFIG.source(name).title) == {"en", "zh"}


def test_every_preset_has_a_simulated_shape_and_every_shape_a_preset() -> None:
    assert sorted(SHAPE_OF) == sorted(CONFIG.source_names())


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIG.source_names())
def test_a_preset_loads_its_shape_to_the_row_and_to_the_cent_and_keeps_contacts_apart(
    tmp_path: Path, files: Path, name: str
) -> None:
    shape = SHAPE_OF[name]
    simulate(files / "raw", WORLD.members, WORLD.seed, WORLD.days, WORLD.until, shape=shape, events=0.4)
    shop = open_shop(tmp_path / "shop", TEXTS)
    report = shop.load(files / "raw", source=name)
    meant = json.loads((files / "raw/truth/world.json").read_text("utf-8"))
    if name != "sample":
        wanted = {file.name for file in SHAPES[shape] if file.source == name}
        assert {file.name for file in report.files} == wanted
        found = {file.name: (file.read, file.duplicate, file.rejected) for file in report.files}
        assert found == {file: tuple(meant[what].get(file, 0) for what in COUNTS) for file in wanted}
    counted = (report.read, report.duplicate, report.rejected)
    if name == "sample":
        assert counted == tuple(sum(meant[what].values()) for what in COUNTS)
    assert report.read == report.accepted + report.duplicate + report.rejected > 0
    assert all(balance.rows == balance.written for balance in report.balances)
    written = {table.table for table in report.tables if table.inserted}
    assert report.balances or not written & {"orders", "order_lines", "refunds", "contract_payments"} or name == "user_behavior"
    assert not revealed(shop.lake.root, CONFIG.source(name).ids == "plain")


def revealed(root: Path, plain_ids: bool) -> list[str]:
    """Contact values and account ids of the world's members that stand in any text of the lake."""
    people = draw(WORLD, catalogue(WORLD), 0, []).people
    secrets = {*map(str, people.phone), *filter(None, emails(people).to_pylist()), *FULL_NAMES[np.unique(people.name)]}
    secrets |= set() if plain_ids else set(map(str, people.card))
    texts: set[str] = set()
    for path in root.rglob("*.parquet"):
        for column in pq.read_table(path).columns:
            if pa.types.is_string(column.type):
                texts.update(filter(None, column.unique().to_pylist()))
    assert texts
    whole = "\n".join(texts)
    return sorted(secret for secret in secrets if secret in whole)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("net_amount: amount", "net_amount: amuont", "column 'amuont' is not known.*did you mean 'amount'"),
        ("net_amount: amount", "net_amuont: amount", "column 'net_amuont' is not known.*did you mean 'net_amount'"),
        ("table: refunds", "table: refund", "table 'refund' is not known.*did you mean 'refunds'"),
        ("kind: \"'refund'\"", "kind: mobile", "private field 'mobile' would stand in the lake"),
        ("order_id: order_id", "order_id: concat('x', member_no)", "private field 'member_no' would stand in the lake"),
        ("line_no: number_of(", "# no number", "no column gives the key of order_lines: line_no"),
        ("net_amount: amount", "# no amount", "needs a value in each row for net_amount"),
        ("member_id: account(member_no)", "member_id: account(membr)", "'membr' is not known"),
        ("rows: amount", "rows: price", "column 'price' is not known"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused_before_any_file_is_read(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = EXAMPLE.replace(old, new, 1)
    shop = open_shop(tmp_path / "shop", {"sources/corner_shop.yml": text})
    with pytest.raises(InputError, match=message):
        shop.load(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_tmall_orders_give_the_published_numbers(tmp_path: Path, shared_data: Path, packed: bool) -> None:
    shop = open_shop(tmp_path / "shop", TEXTS)
    path = shared_data / "tmall_order_report.csv"
    if packed:
        path = tmp_path / "tmall_order_report.csv.gz"
        path.write_bytes(gzip.compress((shared_data / "tmall_order_report.csv").read_bytes()))
    report = shop.load(path, source="tmall_orders")
    assert (report.read, report.accepted, report.rejected, report.duplicate) == (28_010, 28_010, 0, 0)
    orders, refunds = shop.lake.table("orders"), shop.lake.table("refunds")
    paid = orders.filter(orders.paid_at.notnull())
    assert paid.count().to_pyarrow().as_py() == 24_087
    net = paid.net_amount.sum().to_pyarrow().as_py()
    back = total(shop.lake, "refunds", "amount")
    assert (net, back, net - back) == (Decimal("2474823.07"), Decimal("572335.92"), Decimal("1902487.15"))
    assert refunds.filter(~refunds.date_assumed).count().to_pyarrow().as_py() == 0
    assert orders.filter(orders.member_id.notnull()).count().to_pyarrow().as_py() == 0
    assert orders.filter(orders.province == "上海").count().to_pyarrow().as_py() == 3353


@pytest.mark.slow
def test_online_retail_gives_the_published_numbers(tmp_path: Path, shared_data: Path) -> None:
    shop = open_shop(tmp_path / "shop", TEXTS)
    report = shop.load(shared_data / "online_retail.parquet", source="online_retail")
    assert (report.read, report.accepted, report.rejected, report.duplicate) == (541_909, 541_909, 0, 0)
    orders, lines, refunds = (shop.lake.table(name) for name in ("orders", "order_lines", "refunds"))
    known = orders.filter(orders.member_id.notnull())
    paid = known.filter(known.paid_at.notnull())
    assert paid.member_id.nunique().to_pyarrow().as_py() == 4_338
    assert paid.count().to_pyarrow().as_py() == 18_532
    assert rows(shop.lake, "members") == 4_372
    bought = lines.semi_join(known, "order_id").filter(lambda t: (t.quantity > 0) & (t.unit_price > 0))
    assert bought.count().to_pyarrow().as_py() == 397_884
    exact = (bought.quantity.cast("decimal(18, 6)") * bought.unit_price).cast("decimal(38, 6)").sum()
    assert exact.to_pyarrow().as_py() == Decimal("8911407.904")
    assert bought.line_amount.sum().to_pyarrow().as_py() == Decimal("8911407.90")
    kinds = refunds.group_by("kind").agg(rows=refunds.count()).to_pyarrow().to_pylist()
    assert {row["kind"]: row["rows"] for row in kinds} == {"cancellation": 9_288, "adjustment": 1_338}
    assert rows(shop.lake, "order_lines") + rows(shop.lake, "refunds") == 541_909
    assert {balance.rows for balance in report.balances} == {Decimal("9747747.93")}
