"""A list of which the platform took only a part: the rest is handed over again, and nobody is written to twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from crm_core.campaigns import export, receipts
from crm_core.campaigns.records import first_hand_off, handed_cost
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

    # what went out before is paid for; it is neither sent nor paid twice when its receipts come once more
    sent, costs = rest.counts["cost_sent_before"], handed_cost(shop.parts["ledger"], "trial", 1)
    assert sum(sent.values()) > 0
    assert costs == {arm: cost + sent.get(arm, 0.0) for arm, cost in rest.counts["cost_by_arm"].items()}
    again = receipts(path, rest.export_id, config=shop.config, **common)
    assert (again.accepted, again.duplicate, again.events) == (0, half, {})


def test_the_window_opens_with_the_part_that_went_out_first(new_shop: Callable[[], Shop], tmp_path: Path) -> None:
    shop = new_shop()
    shop.frozen()
    common = {"exports_dir": shop.root / "exports", **shop.parts}
    first = export(shop.config, campaign="trial", **common)
    path = tmp_path / "receipts.csv"
    path.write_text(f"phone,status,time\n{_numbers(first.folder)[0]},delivered,2026-11-01 10:05:00\n", encoding="utf-8-sig")
    receipts(path, first.export_id, config=shop.config, **common)
    rest = export(shop.config, campaign="trial", only_unsent=True, at=datetime(2026, 11, 4, 9), **common)
    assert rest.hand_off_at > first.hand_off_at == first_hand_off(shop.ledger, "trial", 1)
    assert rest.counts["exported"] == first.counts["exported"] - 1


def test_a_renewed_hand_off_tells_to_whom_the_message_went_out(new_shop: Callable[[], Shop], tmp_path: Path) -> None:
    shop = new_shop()
    shop.frozen()
    common = {"exports_dir": shop.root / "exports", **shop.parts}
    first = export(shop.config, campaign="trial", **common)
    assert first.sent_before == 0
    numbers = _numbers(first.folder)
    rows = [f"{numbers[0]},unsubscribed,2026-11-01 10:09:00,TD", *(f"{each},delivered,2026-11-01 10:05:00," for each in numbers)]
    path = tmp_path / "receipts.csv"
    path.write_text("\n".join(["phone,status,time,reply", *rows]) + "\n", encoding="utf-8-sig")
    receipts(path, first.export_id, config=shop.config, **common)
    renewed = export(shop.config, campaign="trial", renew=True, **common)
    assert renewed.counts["exported"] == renewed.sent_before == len(numbers) - 1
    assert receipts(path, renewed.export_id, config=shop.config, **common).duplicate == len(rows)


def _numbers(folder: Path) -> list[str]:
    return [line.split(",")[0] for line in (folder / "payload/part-0001.csv").read_text().splitlines()[1:]]
