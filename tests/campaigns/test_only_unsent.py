"""A list of which the platform took only a part: the rest is handed over again, and nobody is written to twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crm_core.campaigns import export, receipts
from tests.campaigns.shop import Shop

pytestmark = pytest.mark.slow


def test_only_those_without_a_sent_receipt_are_handed_over_again(new_shop: Callable[[], Shop], tmp_path: Path) -> None:
    shop = new_shop()
    shop.frozen()
    common = {"exports_dir": shop.root / "exports", **shop.parts}
    first = export(shop.config, campaign="trial", **common)
    numbers = _numbers(first.folder)
    half = len(numbers) // 2
    rows = [f"{number},delivered,2026-11-01 10:05:00," for number in numbers[:half]]
    path = tmp_path / "receipts.csv"
    path.write_text("\n".join(["phone,status,time,reply", *rows]) + "\n", encoding="utf-8-sig")
    receipts(path, first.export_id, config=shop.config, **common)

    rest = export(shop.config, campaign="trial", only_unsent=True, **common)
    assert rest.export_id != first.export_id
    assert sorted(_numbers(rest.folder)) == sorted(numbers[half:])
    assert rest.counts["rejected"]["already_sent"] == half
    counts = rest.counts
    assert counts["selected"] == counts["exported"] + counts["held_out"] + sum(counts["rejected"].values())
    assert export(shop.config, campaign="trial", only_unsent=True, **common).export_id == rest.export_id


def _numbers(folder: Path) -> list[str]:
    return [line.split(",")[0] for line in (folder / "payload/part-0001.csv").read_text().splitlines()[1:]]
