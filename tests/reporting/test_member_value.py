"""The value report's words: few members masked, and no more promised of dates than what is published."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import ibis
import pytest

from crm_core.models import ModelCard, Need
from crm_core.models.outcome import SCORES
from crm_core.reporting.views import MemberValue
from crm_core.workspace import REPOSITORY, read_config

DAY = date(2026, 10, 31)


def report(monkeypatch: pytest.MonkeyPatch, model: str, published: str, params: dict[str, Any]) -> MemberValue:
    monkeypatch.setenv("CRM_LANGUAGE", "en")
    cards = {model: ModelCard(model, DAY, "published", published, (), params=params)}
    scores = ibis.memtable([], schema=SCORES)
    return MemberValue(SimpleNamespace(config=read_config(REPOSITORY), as_of=DAY, models=cards, scores=scores))


def test_what_few_members_of_the_trial_did_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = {"low": 0.1, "high": 0.9, "lost": 0.5}
    bands = {"high": {"buyers": 4, **tried}, "medium": {"buyers": 400, **tried}}
    shown = report(monkeypatch, "churn", "boosted_trees", {"bands": bands, "days": 90}).bands()
    high, medium, low = ([cell["text"] for cell in row[3:]] for row in shown.data["rows"])
    assert high == ["–", "–", "<5"]
    assert medium == ["50.0%", "10.0% to 90.0%", "400"]
    assert low == ["–", "–", "0"]


def test_a_model_that_lacks_data_says_what_it_found_and_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    value = report(monkeypatch, "churn", "", {})
    value.cards["churn"] = ModelCard("churn", DAY, "insufficient", "", (Need("lost_buyers", 4, 100),))
    for section in (value.bands, value.reasons, value.calibration):
        assert section().data["text"] == "**Churn warning**: not enough data, buyers that were lost 4 of 100 needed."
    assert (value.categories().kind, value.categories().data["what"]) == ("missing", "Next category")


@pytest.mark.parametrize(
    ("published", "params", "promised"),
    [
        ("waiting_times", {"window": 0.8, "window_held": 0.7, "curves": [[1.0]]}, (True, True)),
        ("mean_gap", {"window": 0.8, "window_held": 0.7}, (True, False)),
        ("base_rate", {}, (False, False)),
    ],
)
def test_a_window_is_promised_where_there_is_one_and_ageing_where_chances_age(
    monkeypatch: pytest.MonkeyPatch, published: str, params: dict[str, Any], promised: tuple[bool, bool]
) -> None:
    shown = report(monkeypatch, "next_purchase", published, {"horizons": [7, 30, 90], **params}).next_purchases()
    note = shown.data["blocks"][0]["data"]["note"]
    assert ("holds 80.0%" in note, "age with every day" in note) == promised
