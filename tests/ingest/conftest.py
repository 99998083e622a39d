"""Fixtures of the ingest tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ingest.corner_shop import Shop, open_shop


@pytest.fixture(autouse=True)
def one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same vault key in every shop, so that their tables can be compared."""
    monkeypatch.setenv("CRM_VAULT_KEY", "5a" * 32)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """An empty shop in a folder whose name has a blank, Chinese and a per cent sign."""
    return open_shop(tmp_path / "我的 数据 100%")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder for files to load."""
    folder = tmp_path / "收件箱"
    folder.mkdir()
    return folder
