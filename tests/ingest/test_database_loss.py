"""200,000 rows: in bounded memory, and through connections and servers that end in the middle of them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.ingest.database_shop import open_database_shop
from tests.servers import PASSWORD, Server, mariadb_server, postgres_server
from tests.soak.databases import MANY, end_connections, fill, lost

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres), "mariadb"]
SERVERS = [pytest.param("postgres", marks=pytest.mark.postgres), "mariadb"]
CHILD = """
import sys
from pathlib import Path
from tests.ingest.test_database_loss import read_only
print(read_only(Path(sys.argv[1])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("product", SERVERS)
def test_a_connection_or_a_server_that_ends_mid_stream_leaves_the_lake_as_it_was(
    product: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (postgres_server if product == "postgres" else mariadb_server)() as server:
        monkeypatch.setenv("WEB_SHOP_URL", server.url)
        web = open_database_shop(server.url, tmp_path / "shop")
        fill(web.engine)
        for end in (lambda: end_connections(web.engine), server.kill):
            message = lost(web, end)
            assert "database:orders: the database went away or gave up after" in message
            assert "nothing was loaded and the watermark stays: run the same command again" in message
            assert PASSWORD not in message and str(tmp_path) not in message
            assert web.shop.lake.snapshot() is None
            assert list((web.shop.root / "spill").glob("ingest_*")) == []
        with pytest.raises(Exception, match=r"the database of source 'web_shop' does not answer"):
            web.load()
        server.start()
        report = web.load()
        assert (report.read, report.accepted) == (MANY, MANY)
        assert [balance.written for balance in report.balances] == [MANY * Decimal("12.50")]


@pytest.mark.slow
@pytest.mark.parametrize("product", PRODUCTS)
def test_memory_does_not_grow_with_the_rows(
    product: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    if product != "sqlite":
        server: Server = request.getfixturevalue(product)
        url = server.url
    web = open_database_shop(url, tmp_path / "shop")
    fill(web.engine)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], cwd=ROOT, text=True, capture_output=True,
        env={**os.environ, "WEB_SHOP_URL": url},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows, grown = map(int, done.stdout.split())
    # two batches are about 20 MB of objects; all rows at once were 170 MB
    assert rows == MANY and grown < 60, f"{grown} MB"


def read_only(folder: Path) -> str:
    """Streams the orders; rows, and by how many MB the process grew after its first batches."""
    from zoneinfo import ZoneInfo

    import pyarrow.parquet as pq

    from crm_core.config import Config
    from crm_core.ingest import database
    from crm_core.ingest.connection import reading
    from crm_core.ingest.watermark import Highest
    from tests.ingest.corner_shop import AT
    from tests.ingest.database_shop import SOURCE

    settings = Config({"sources/web_shop.yml": SOURCE}).source("web_shop")
    options = database.extracts(settings)["orders"]
    rows: list[int] = []
    start = 0
    with reading(settings) as connection:
        plan = database._plan(settings, "orders", options, connection)
        high = Highest(options, AT, ZoneInfo("Asia/Shanghai"), "here")
        statement = database._statement(plan, connection, "", "", high)
        for _ in database._batches(connection, plan, *statement):
            start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            break
        database._stream(connection, plan, statement, folder / "copy", high, rows)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
    assert pq.read_metadata(folder / "copy").num_rows == sum(rows)
    return f"{sum(rows)} {grown // 1024}"
