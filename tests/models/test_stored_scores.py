"""Scores and cards by date: stored once, read back as they were, anew when settings change, and each score in words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crm_core.config import Config
from crm_core.errors import InputError
from crm_core.models import ModelCard
from crm_core.reporting.labels import Labels
from crm_core.reporting.score_words import card_of, score_reasons
from crm_core.store import table_hash
from crm_core.workspace import Workspace, read_config
from tests.models.drawn_shop import LAST

QUICK = "churn: {enabled: false}\nvalue: {enabled: false}\nforecast: {enabled: false}\n"


@pytest.fixture(scope="module")
def refreshed(rhythm_shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, str]]:
    """A copy of the shop with the quick models alone, worked out and stored."""
    root = tmp_path_factory.mktemp("stored") / "shop"
    shutil.copytree(rhythm_shop.root, root)
    (root / "conf").mkdir(exist_ok=True)
    (root / "conf" / "models.yml").write_text(QUICK)
    workspace = Workspace.open(root, LAST)
    return workspace, workspace.refresh()


def test_scores_are_stored_read_back_kept_and_made_again_from_the_pinned_snapshot(refreshed) -> None:
    workspace, hashes = refreshed
    assert {"member_scores", "model_cards"} <= hashes.keys()
    assert workspace.tables.result_dates("model_cards") == [LAST]
    assert set(workspace.models) == {"next_purchase", "next_category"}
    assert table_hash(workspace.scores) == table_hash(workspace.tables.result("member_scores"))
    assert table_hash(workspace.scores.drop("as_of")) == hashes["member_scores"]

    again = Workspace.open(workspace.root, LAST)
    again._run_models = lambda *_: pytest.fail("models ran again for the same date and data")
    kept = again.refresh()
    assert {name: kept[name] for name in ("member_scores", "model_cards")} == {
        name: hashes[name] for name in ("member_scores", "model_cards")
    }

    made = Workspace.open(workspace.root, LAST).compute()
    assert {name: table_hash(made[name]) for name in ("member_scores", "model_cards")} == {
        name: hashes[name] for name in ("member_scores", "model_cards")
    }


def test_scores_of_other_settings_are_not_taken_for_todays(refreshed) -> None:
    workspace, _ = refreshed
    texts = {**workspace.config.texts(), "models.yml": QUICK + "next_purchase: {horizons: [14, 60]}\n"}
    changed = Workspace.open(workspace.root, LAST, config=Config(texts))
    names = set(changed.scores.filter(changed.scores.model != "next_purchase_days").to_pandas()["model"])
    assert names == {"next_purchase_14d", "next_purchase_60d"}
    assert changed.models["next_purchase"].params["horizons"] == (14, 60)


def test_a_card_read_back_from_its_json_is_written_alike(refreshed) -> None:
    for card in refreshed[0].models.values():
        assert ModelCard.from_json(card.to_json()).to_json() == card.to_json()


def test_each_score_belongs_to_the_card_with_the_longest_name_it_begins_with(refreshed) -> None:
    cards = refreshed[0].models
    assert card_of("next_purchase_30d", cards) is cards["next_purchase"]
    assert card_of("next_category", cards) is cards["next_category"]
    assert card_of("next", cards) is None


@pytest.mark.parametrize("language", ["zh", "en"])
def test_each_score_of_a_member_is_said_in_words_with_its_predictor(refreshed, language: str) -> None:
    workspace, scores = refreshed[0], refreshed[0].scores
    member = scores.member_id.min().to_pyarrow().as_py()
    rows = scores.filter(scores.member_id == member).order_by("model").to_pyarrow().to_pylist()
    found = score_reasons(rows, workspace.models, {}, Labels(language), "CNY")
    assert [each.model for each in found] == [row["model"] for row in rows]
    assert {each.by for each in found} == {"waiting_times"}
    by_name = {each.model: each.text for each in found}
    chance = next(row["score"] for row in rows if row["model"] == "next_purchase_90d")
    assert f"{100 * chance:.1f}%" in by_name["next_purchase_90d"]
    assert "2026-1" in by_name["next_purchase_days"]


def test_a_reason_names_the_features_value_the_typical_one_and_the_move(refreshed) -> None:
    card = ModelCard("churn", LAST, "published", "boosted_trees", (), None, {
        "typical": {"days_since_last_order": 30.0}, "bands": {"high": {"buyers": 1200, "lost": 0.9}},
    })  # fmt: skip
    row = {
        "model": "churn", "score": 0.91, "low": 0.88, "high": 0.93, "label": "high",
        "reason": "days_since_last_order:+0.214",
    }  # fmt: skip
    (found,) = score_reasons([row], {"churn": card}, {"days_since_last_order": 131}, Labels("en"), "CNY")
    assert found.text == (
        "Churn warning: 91.0% (88.0% to 93.0%); band high, of 1,200 such buyers 90.0% were lost on held-out time; "
        "days since the last paid order 131 (typical 30) +21.4 pp; by boosted trees"
    )
    (moved,) = found.moved
    assert (moved.feature, moved.value, moved.typical, moved.move) == ("days_since_last_order", 131, 30.0, 0.214)


def test_conf_models_refuses_bands_and_horizons_that_do_not_rise() -> None:
    base = read_config(Path(__file__).resolve().parents[2]).texts()
    for text, said in (
        ("churn: {high: 0.4}", "medium must be below high, found 0.5 and 0.4"),
        ("next_purchase: {horizons: [30, 7]}", "horizons must rise, between 1 and 730, found 30, 7"),
        ("churn: {dayz: 30}", "setting 'dayz' is not known; did you mean 'days'"),
    ):
        with pytest.raises(InputError, match=said):
            _ = Config({**base, "models.yml": text}).models
