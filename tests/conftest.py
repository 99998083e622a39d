"""Fixtures that every room's tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.require import SHARED
from tests.servers import Server, mariadb_server, postgres_server

SOAK = 1000
# the machine may be busy, so no example has a deadline; here the same examples every time,
# in `make soak` many more and new ones
settings.register_profile("here", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", parent=settings.get_profile("here"), derandomize=False, max_examples=SOAK)
settings.load_profile("here")


def few(examples: int) -> int:
    """How many examples a costly property draws: so many here, forty times as many in `make soak`."""
    return examples * 40 if settings.default.max_examples >= SOAK else examples


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin first, so that no process is left alone with one of them in the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Expressions are many small objects: a fifth of the time went on looking through them for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


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
