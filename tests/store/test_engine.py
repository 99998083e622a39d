"""The engine held to little memory for a while."""

from __future__ import annotations

from pathlib import Path

from crm_core.config import EngineSettings
from crm_core.store import connect, frugal
from crm_core.store.engine import STREAM_BYTES, UNITS


def in_bytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * 1024 ** UNITS.index(unit)


def test_a_large_limit_is_lowered_and_comes_back_as_it_was_however_often(tmp_path: Path) -> None:
    engine = connect(EngineSettings(memory_limit="7777MB", threads=2), tmp_path)
    before = engine.settings["memory_limit"]
    for _ in range(20):
        with frugal(engine):
            assert 0.9 * 2 * STREAM_BYTES < in_bytes(engine.settings["memory_limit"]) <= 2 * STREAM_BYTES
        assert engine.settings["memory_limit"] == before


def test_a_smaller_limit_stays(tmp_path: Path) -> None:
    engine = connect(EngineSettings(memory_limit="300MB", threads=2), tmp_path)
    before = engine.settings["memory_limit"]
    with frugal(engine):
        assert engine.settings["memory_limit"] == before
