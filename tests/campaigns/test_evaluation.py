"""Evaluation: whose money counts when, per person; what is said when data are short or the draw is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest

from crm_core.campaigns import evaluate, export, plan
from crm_core.campaigns.costs import message_cost
from crm_core.campaigns.lift import moments
from crm_core.campaigns.pinned import settings_of
from crm_core.campaigns.result import BEFORE, METRICS, Window, judge, outcomes
from crm_core.config import parse_yaml
from crm_core.config.campaigns import CampaignSettings
from crm_core.errors import InputError, UnknownName
from tests.campaigns.shop import CAMPAIGN, Shop, member, orders_after
from tests.tiny_world import arrow, order, world

START = datetime(2026, 10, 1)
WINDOW = Window(START, START + timedelta(days=14), START + timedelta(days=14))
SETTINGS = parse_yaml(CAMPAIGN, CampaignSettings, "trial.yml")


def _assigned(*rows: tuple[str, str, str]) -> ibis.Table:
    return ibis.memtable(pa.Table.from_pylist([dict(zip(("member_id", "person_id", "arm"), row, strict=True)) for row in rows]))


def _listed(campaign: str, rows: list[dict[str, Any]], fixed: datetime = START) -> list[dict[str, Any]]:
    common = {"audience_id": "a", "campaign_id": campaign, "wave": 1, "assigned_at": fixed, "status": "selected"}
    return [common | {"person_id": row["member_id"]} | row for row in rows]


def _world(as_of: str, audience: list[dict[str, Any]], **tables: Any) -> Any:
    """A tiny world that also has audiences and campaigns."""
    made = world(as_of, orders=tables.get("orders", []), interactions=tables.get("interactions", []))
    more = {name: ibis.memtable(arrow(name, rows)) for name, rows in
            (("audiences", audience), ("campaigns", tables.get("campaigns", [])))}  # fmt: skip
    return SimpleNamespace(**{**vars(made), **more})


def test_orders_count_by_when_they_were_paid_and_by_person() -> None:
    orders = [
        order("o1", "m1", "2026-10-01 00:00", "10.10"),  # the first instant of the window
        order("o2", "m1b", "2026-10-14 23:59", "20.20"),  # another account of the same person
        order("o3", "m1", "2026-10-15 00:00", "99.00"),  # after it
        order("o4", "m1", "2026-09-30 23:59", "5.00"),  # in the pre-period
        order("o5", "m1", "2026-09-16 23:59", "77.00"),  # before that
        order("o6", None, "2026-10-02 00:00", "50.00"),  # a guest
        order("o7", "m9", "2026-10-02 00:00", "50.00"),  # not in the list
    ]
    table = ibis.memtable(arrow("orders", orders))
    assigned = _assigned(("m1", "p1", "message"), ("m1b", "p1", "message"), ("m2", "m2", "control"))
    found = {row["person_id"]: row for row in outcomes(assigned, table, WINDOW).to_pyarrow().to_pylist()}
    assert found["p1"] == {
        "person_id": "p1", "arm": "message",
        "net_amount": pytest.approx(30.30), "orders": 2.0, "ordered": 1.0,
        "before_net_amount": 5.0, "before_orders": 1.0, "before_ordered": 1.0,
    }  # fmt: skip
    assert all(value == 0.0 for name, value in found["m2"].items() if name not in ("person_id", "arm"))


def test_means_of_cents_are_not_rounded_to_cents() -> None:
    # ibis computes the mean of the decimals .01, .02, .02 as .02
    orders = [order(f"o{at}", f"m{at}", "2026-10-02 00:00", amount) for at, amount in enumerate(("0.01", "0.02", "0.02"))]
    assigned = _assigned(*[(f"m{at}", f"m{at}", "message") for at in range(3)])
    rows = outcomes(assigned, ibis.memtable(arrow("orders", orders)), WINDOW)
    assert moments(rows, "arm", ["net_amount"])["message"].mean("net_amount") == pytest.approx(0.05 / 3)


def test_a_known_effect_is_recovered_and_read_as_raised() -> None:
    rng = np.random.default_rng(11)
    count = 8000
    arm = np.where(np.arange(count) % 5 == 0, "control", "message")
    buys = rng.random(count) < np.where(arm == "message", 0.3, 0.2)
    amounts = rng.gamma(2, 50, count)
    audience = _listed("c", [
        {"member_id": f"m{at}", "arm": str(arm[at])}
        | ({"status": "held_out"} if arm[at] == "control" else {})
        for at in range(count)
    ])  # fmt: skip
    orders = [order(f"o{at}", f"m{at}", "2026-10-05 10:00", f"{amounts[at]:.2f}") for at in np.flatnonzero(buys)]
    settings = SETTINGS.model_copy(update={"control": 0.2, "arms": {"message": 0.8}, "unit_cost": 0.05, "margin": 0.4})
    found = evaluate(_world("2026-10-20", audience, orders=orders), "c", settings)
    result = found.result()
    assert result.reading == "raised" and result.lift.low < 10.0 < result.lift.high
    assert found.sample_ratio.verdict == "as_planned" and found.sample_ratio.counts == {"control": 1600, "message": 6400}
    assert result.incremental == pytest.approx(result.chosen.lift * 6400)
    money = found.money["message"]
    assert money.cost == pytest.approx(0.05 * 6400)
    assert money.roi == pytest.approx((result.incremental * 0.4 - money.cost) / money.cost)
    assert not found.window.preliminary and "does not vary in the pre-period" in found.notes[0]
    assert set(found.table()["metric"]) == set(METRICS)
    assert json.loads(json.dumps(found.to_dict()))["window"]["preliminary"] is False


def test_a_window_that_is_not_over_says_so() -> None:
    audience = _listed("c", [{"member_id": "m1", "arm": "message"}, {"member_id": "m2", "status": "held_out"}])
    found = evaluate(_world("2026-10-05", audience), "c", SETTINGS)
    assert found.window.preliminary
    assert found.notes[0] == "window ends 2026-10-15 00:00 UTC: preliminary, measured until 2026-10-05 16:00 UTC"


def test_before_the_window_there_is_nothing_to_measure() -> None:
    audience = _listed("c", [{"member_id": "m1", "arm": "message"}, {"member_id": "m2", "status": "held_out"}])
    with pytest.raises(InputError, match="the window opens at 2026-10-20 00:00:00 UTC and the data end at"):
        evaluate(_world("2026-10-05", audience), "c", SETTINGS, handed_off_at=datetime(2026, 10, 20))


def test_a_list_that_lost_its_control_is_not_judged() -> None:
    audience = _listed("c", [{"member_id": "m1", "arm": "message"}])
    with pytest.raises(InputError, match="no control group was kept"):
        evaluate(_world("2026-10-05", audience), "c", SETTINGS)


def test_a_broken_draw_is_said_first() -> None:
    held = [{"member_id": f"h{at}", "status": "held_out"} for at in range(300)]
    audience = _listed("c", [*held, *({"member_id": f"m{at}", "arm": "message"} for at in range(300))])
    found = evaluate(_world("2026-10-20", audience), "c", SETTINGS)
    assert found.sample_ratio.verdict == "mismatch" and "do not trust the lift" in found.notes[0]


def test_a_campaign_of_another_system_is_judged_from_the_tables_alone() -> None:
    audience = _listed("c7", [{"member_id": "m1", "arm": "mail"}, {"member_id": "m2", "arm": "mail"},
                              {"member_id": "m3", "status": "held_out"},
                              {"member_id": "m4", "status": "held_out"},
                              {"member_id": "m5", "status": "rejected"}])  # fmt: skip
    campaign = {"campaign_id": "c7", "starts_at": datetime(2026, 10, 3), "ends_at": datetime(2026, 10, 10),
                "target_metric": "orders", "unit_cost": Decimal("0.50")}  # fmt: skip
    orders = [order("o1", "m1", "2026-10-04 00:00"), order("o2", "m3", "2026-10-02 00:00")]
    found = evaluate(_world("2026-10-20", audience, campaigns=[campaign], orders=orders), "c7")
    assert (found.window.starts_at, found.window.ends_at) == (datetime(2026, 10, 3), datetime(2026, 10, 10))
    assert found.result().metric == "orders" and found.result().lift.lift == 0.5
    assert found.sample_ratio.verdict == "unknown" and found.money["mail"].cost == 1.0


def test_a_campaign_without_a_list_is_named() -> None:
    audience = _listed("second_order", [{"member_id": "m1", "arm": "message"}])
    with pytest.raises(UnknownName, match="did you mean 'second_order wave 1'"):
        evaluate(_world("2026-10-05", audience), "second_ordr", SETTINGS)


def test_the_reading_comes_from_the_interval_that_the_settings_named() -> None:
    rng = np.random.default_rng(2)
    before = rng.gamma(1, 50, 2000)
    arms = rng.permutation(np.repeat(["control", "message"], 1000))
    data = {"arm": arms, "net_amount": before + rng.normal(0, 5, 2000) + 2 * (arms == "message"), "before_net_amount": before}
    found = moments(ibis.memtable(pa.table(data)), "arm", ["net_amount", BEFORE + "net_amount"])
    plain, adjusted = (judge(found, "net_amount", way)[0] for way in ("none", "pre_period"))
    assert (plain.read_from, plain.reading, adjusted.read_from, adjusted.reading) == (
        "lift", "no_evidence", "adjusted", "raised",
    )  # fmt: skip
    assert adjusted.variance_reduction > 0.9


@pytest.mark.slow
def test_a_handed_over_list_is_measured_from_its_hand_off_and_costs_what_was_sent(shop: Shop, tmp_path: Path) -> None:
    shop.frozen()
    done = export(
        shop.config, exports_dir=shop.root / "exports", campaign="trial", at=datetime(2026, 11, 2, 4, tzinfo=UTC), **shop.parts
    )
    shop.load("L9", orders=orders_after({member(at): 50.0 for at in range(0, 600, 4)}, datetime(2026, 11, 5)))
    found = evaluate(shop.tables(date(2026, 11, 20)), "trial", shop.config.campaign("trial"), ledger=shop.ledger)
    assert found.window.starts_at == done.hand_off_at and not found.window.preliminary
    assert found.money["message"].cost == done.counts["cost"]
    assert sum(found.sample_ratio.counts.values()) == 318  # of 320 accounts two are stated to be one, two share a phone


@pytest.mark.slow
def test_a_wave_is_judged_by_the_settings_of_its_list_and_one_that_never_went_out_is_named(new_shop: Callable[[], Shop]) -> None:
    shop = new_shop()
    shop.frozen()
    changed = shop.with_file("campaigns/trial.yml", CAMPAIGN.replace("metric: net_amount", "metric: ordered").replace("14", "7"))
    then = settings_of(shop.ledger, changed.config, "trial", 1)
    assert (then.metric, then.window_days) == ("net_amount", 14)
    assert settings_of(shop.ledger, changed.config, "trial", 2).metric == "ordered"  # not frozen yet
    assert settings_of(shop.ledger, changed.config, "of another system", 1) is None
    found = evaluate(shop.tables(date(2026, 11, 20)), "trial", then, ledger=shop.ledger)
    assert found.notes[0].startswith("the list was never handed over here")
    export(shop.config, exports_dir=shop.root / "exports", campaign="trial", **shop.parts)
    notes = evaluate(shop.tables(date(2026, 11, 20)), "trial", then, ledger=shop.ledger).notes
    assert not any("never handed over" in note for note in notes)


def test_a_message_is_priced_by_the_parts_of_its_country() -> None:
    text = CAMPAIGN.replace("【商城】{tier}会员专享{offer}。拒收请回复R", "A" * 150 + ". Reply STOP to end")
    settings = parse_yaml(text, CampaignSettings, "trial.yml")
    assert message_cost(settings, {}, {"message": 100}) == {"message": pytest.approx(0.05 * 100 * 3)}
    assert message_cost(settings, {}, {"message": 100}, country="US") == {"message": pytest.approx(0.05 * 100 * 2)}


@pytest.mark.slow
def test_a_plan_gives_sizes_cost_and_the_smallest_detectable_lift_and_stores_nothing(shop: Shop) -> None:
    before = shop.lake.snapshot().id
    found = plan(shop.tables(), shop.config, shop.lake, shop.vault, "trial")
    assert (found.members, found.eligible, found.persons, found.control) == (400, 320, 318, 32)
    assert (found.funnel[0].members_in, found.funnel[0].members_out) == (600, 400)
    assert found.cost == pytest.approx(0.05 * found.arms["message"], abs=0.06)
    assert found.detectable["message"] > 0 and found.detectable_relative["message"] == pytest.approx(
        found.detectable["message"] / found.expected_mean
    )
    assert shop.lake.snapshot().id == before and found.to_dict()["metric"] == "net_amount"
