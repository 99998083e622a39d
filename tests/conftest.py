"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.require import SHARED


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the project; its tests are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the public data sets are not on this machine")
    return SHARED
