"""Whom a campaign moved: a planted difference between members is found, from what was known before the message."""

from __future__ import annotations

import random
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

import ibis
import pytest

from crm_core.campaigns import targeting
from crm_core.config import parse_yaml
from crm_core.config.campaigns import CampaignSettings
from crm_core.config.models import ModelSettings, UpliftSettings
from tests.campaigns.shop import CAMPAIGN
from tests.tiny_world import arrow, order, world

SETTINGS = parse_yaml(CAMPAIGN, CampaignSettings, "trial.yml")
MODELS = ModelSettings(uplift=UpliftSettings(need_arm=500, need_responders=50, folds=3, draws=150))
MEMBERS = 2400


def shop(later: int = 0, arms: bool = True) -> Any:
    """Regulars (four orders before) buy anyway, three in five; of newcomers (one order) one in ten, and half if written to."""
    draw = random.Random(3)
    orders, audience = [], []
    for number in range(MEMBERS):
        member, regular, written = f"m{number:05d}", draw.random() < 0.5, draw.random() < 0.6
        orders += [order(f"{member}-{past}", member, f"2026-0{5 + past}-10 02:00") for past in range(4 if regular else 1)]
        if draw.random() < (0.6 if regular else 0.5 if written else 0.1):
            orders.append(order(f"{member}-w", member, "2026-10-05 02:00"))
        orders += [order(f"{member}-l{extra}", member, "2026-10-28 02:00") for extra in range(later * (not regular))]
        audience.append(
            {
                "audience_id": "a", "campaign_id": "trial", "wave": 1, "assigned_at": datetime(2026, 9, 30, 15, 59, 59, 999_999),
                "member_id": member, "person_id": member, "arm": "message" if written else None,
                "status": "selected" if written else "held_out",
            }
        )  # fmt: skip
    made = world("2026-10-31", orders=orders)
    more = {name: ibis.memtable(arrow(name, rows)) for name, rows in (("audiences", audience), ("campaigns", []))}

    def at(day: date, among: Any) -> Any:
        asked.append(day)
        return world(str(day), orders=orders)

    asked: list[date] = []
    return SimpleNamespace(**{**vars(made), **more, "at": at, "asked": asked})


def test_a_planted_difference_is_found_from_the_day_before_the_window() -> None:
    tables = shop()
    found = targeting(tables, "trial", SETTINGS, MODELS)
    assert list(found) == ["message"] and tables.asked == [date(2026, 9, 30)]
    one = found["message"]
    assert one.card.verdict == "published" and one.low is not None and one.low > 0
    # newcomers gain 0.4, regulars nothing; who buys anyway is no guide to either
    assert one.groups.uplift[:4].mean() == pytest.approx(0.4, abs=0.1)
    assert one.groups.uplift[-4:].mean() == pytest.approx(0.0, abs=0.1)
    assert one.card.backtest.fitted_until == date(2026, 9, 30) and one.card.backtest.tested_until == date(2026, 10, 14)


def test_what_happens_after_the_window_changes_nothing() -> None:
    first, second = (targeting(shop(later), "trial", SETTINGS, MODELS)["message"] for later in (0, 2))
    assert first.card.to_json() == second.card.to_json()


def test_too_small_a_control_is_said_before_any_feature_is_worked_out() -> None:
    tables = shop()
    found = targeting(tables, "trial", SETTINGS, ModelSettings(uplift=UpliftSettings(need_arm=1300)))["message"]
    assert found.card.verdict == "insufficient" and found.groups is None and tables.asked == []
    short = {need.what for need in found.card.needs if not need.enough}
    assert short == {"held_out_members"}
