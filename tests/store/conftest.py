"""Lakes in temporary folders, and a real PostgreSQL server where this machine has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core.store import Lake, Ledger, connect
from tests.require import need, postgres_bin
from tests.store.lakes import SMALL, open_lake


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return connect(SMALL, tmp_path_factory.mktemp("spill"))


@pytest.fixture
def lake(tmp_path: Path, engine: Any) -> Lake:
    return open_lake(tmp_path, engine)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The SQLAlchemy URL of a server of its own that listens on a socket in a temporary folder only."""
    programs = postgres_bin()
    need(programs, "PostgreSQL server")
    assert programs is not None
    home = Path(tempfile.mkdtemp(prefix="pg"))
    who: dict[str, Any] = {"cwd": "/", "check": True, "capture_output": True}
    if os.geteuid() == 0:  # initdb refuses to run as root
        shutil.chown(home, "postgres")
        who["user"] = "postgres"
    options = f"-c listen_addresses='' -c unix_socket_directories={home} -c fsync=off -c max_connections=60"
    subprocess.run([programs / "initdb", "-D", home / "data", "-A", "trust", "-U", "crm", "-E", "UTF8"], **who)
    start = [programs / "pg_ctl", "-D", home / "data", "-l", home / "log", "-w", "-o", options, "start"]
    subprocess.run(
        start, **{**who, "capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    )
    try:
        yield f"postgresql+psycopg://crm@/postgres?host={home}"
    finally:
        subprocess.run([programs / "pg_ctl", "-D", home / "data", "-m", "immediate", "-w", "stop"], **who)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger's URL, on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    from sqlalchemy import create_engine
    from sqlalchemy.schema import DDL

    url: str = request.getfixturevalue("postgres")
    name = f"crm_{abs(hash(str(tmp_path)))}"
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(DDL(f"create database {name}"))
    server.dispose()
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_url)
    yield ledger
    ledger.engine.dispose()
