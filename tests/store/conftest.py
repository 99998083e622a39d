"""Lakes in temporary folders, and empty ledgers on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm_core.store import Lake, Ledger, connect
from tests.servers import Server
from tests.store.lakes import SMALL, open_lake


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return connect(SMALL, tmp_path_factory.mktemp("spill"))


@pytest.fixture
def lake(tmp_path: Path, engine: Any) -> Lake:
    return open_lake(tmp_path, engine)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger's URL, on each database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: Server = request.getfixturevalue("postgres")
    return server.database(f"crm_{abs(hash(str(tmp_path)))}")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    ledger = Ledger(ledger_url)
    yield ledger
    ledger.engine.dispose()
