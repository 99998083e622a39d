"""A database that goes away while it is read: real servers, ended in the middle of the stream.

`python -m tests.soak.databases` does it many times over (`make soak`).
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from crm_core.errors import RunFailed
from tests.ingest.database_shop import DatabaseShop, open_database_shop
from tests.servers import Server, mariadb_server, postgres_server

MANY = 200_000
NUMBERS = {
    "sqlite": "(with recursive s(n) as (select 1 union all select n + 1 from s where n < {many}) select n from s) as s",
    "postgresql": "(select n from generate_series(1, {many}) as n) as s",
    "mariadb": "(select seq as n from seq_1_to_{many}) as s",
}
NAMED = {
    "sqlite": "'W' || n, 'M' || (n % 7), '1380013' || (1000 + n % 9000)",
    "postgresql": "'W' || n, 'M' || (n % 7), '1380013' || (1000 + n % 9000)",
    "mariadb": "concat('W', n), concat('M', n % 7), concat('1380013', 1000 + n % 9000)",
}


def fill(engine: Engine, many: int = MANY) -> None:
    """`many` orders of 12.50, made by the database itself."""
    kind, day = engine.dialect.name, "2026-10-20 09:00:00"
    with engine.begin() as connection:
        connection.execute(text(
            "insert into shop_orders (order_id, member_no, mobile, ordered_at, paid_at, amount, city, updated_at) "
            f"select {NAMED[kind]}, '{day}', '{day}', '12.50', '上海', '{day}' from {NUMBERS[kind].format(many=many)}"
            if kind != "postgresql" else
            "insert into shop_orders (order_id, member_no, mobile, ordered_at, paid_at, amount, city, updated_at) "
            f"select {NAMED[kind]}, timestamptz '{day}+00', timestamp '{day}', 12.50, '上海', timestamp '{day}' "
            f"from {NUMBERS[kind].format(many=many)}"
        ))  # fmt: skip


def end_connections(engine: Engine) -> None:
    """Ends every other connection to the server."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            others = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = 'crm'"
            connection.execute(text(others))
            return
        found = connection.execute(text("select id from information_schema.processlist where id <> connection_id()"))
        for (number,) in found.all():
            connection.execute(text(f"kill {number}"))


def lost(web: DatabaseShop, end: Callable[[], None], size: int = 100_000) -> str:
    """Loads, and calls `end` when `size` bytes of the stream have arrived; returns the load's error."""
    spill = web.shop.root / "spill"

    def watch() -> None:
        while not any(path.stat().st_size >= size for path in spill.glob("ingest_*/copy_orders")):
            time.sleep(0.001)
        end()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with pytest.raises(RunFailed) as caught:
        web.load()
    watcher.join(60)
    return str(caught.value)


def main(times: int) -> int:
    """Loses each product `times` times at different moments; returns how many runs did not hold."""
    failed = 0
    for begin in (postgres_server, mariadb_server):
        with begin() as server, tempfile.TemporaryDirectory() as folder:
            for turn in range(times):
                held = _holds(server, Path(folder) / str(turn), 1 + turn * 200_000 // max(times, 1))
                print(f"{begin.__name__} {turn + 1} of {times}: {'held' if held else 'FAILED'}", flush=True)
                failed += not held
    print(f"{2 * times - failed} of {2 * times} lost databases left the lake as it was and loaded the next time")
    return failed


def _holds(server: Server, root: Path, size: int) -> bool:
    os.environ.update(WEB_SHOP_URL=server.url, CRM_VAULT_KEY="5a" * 32)
    web = open_database_shop(server.url, root)
    fill(web.engine)
    web.engine.dispose()
    message = lost(web, server.kill, size)
    empty = web.shop.lake.snapshot() is None
    server.start()
    web.engine = create_engine(server.url)
    report = web.load()
    return "went away" in message and empty and report.accepted == MANY


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
