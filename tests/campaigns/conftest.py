"""One real workspace per module: opening it costs a second, and tests of a module share what they freeze."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaigns.shop import Shop, open_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A workspace below a folder with blanks, Chinese and a percent sign in its name."""
    return open_shop(tmp_path_factory.mktemp("shop") / "我的 数据 100%")


@pytest.fixture
def new_shop(tmp_path: Path) -> Callable[[], Shop]:
    """Makes a workspace of the test's own."""
    return lambda: open_shop(tmp_path / "shop")
