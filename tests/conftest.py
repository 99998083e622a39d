"""Fixtures that every room's tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.require import SHARED
from tests.servers import Server, mariadb_server, postgres_server

SOAK = 1000
# the machine may be busy, so no example has a deadline; `make soak` draws many more
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("here"), max_examples=SOAK)
settings.load_profile("here")


def few(examples: int) -> int:
    """How many examples a costly property draws: so many here, forty times as many in `make soak`."""
    return examples * 40 if settings.default.max_examples >= SOAK else examples


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the project; its tests are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the public data sets are not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of the tests' own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server of the tests' own."""
    with mariadb_server() as server:
        yield server
