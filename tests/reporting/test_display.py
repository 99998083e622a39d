"""Labels in both languages, numbers as readers want them, cards and tables."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from crm_core.errors import UnknownName
from crm_core.reporting import blocks, labels, numbers
from crm_core.reporting.labels import Labels, language_of
from crm_core.reporting.views.base import View
from crm_core.schema import vocabulary

ZH, EN = Labels("zh"), Labels("en")
ROOM = Path(labels.__file__).parent


def test_every_label_has_both_languages_and_nothing_else() -> None:
    for section, listed in labels.entries().items():
        allowed = {"zh", "en"} | ({"unit", "zh_definition", "en_definition"} if section == "metrics" else set())
        for key, entry in listed.items():
            assert set(entry) == allowed, f"{section}.{key}"
            assert all(isinstance(text, str) and text for text in entry.values()), f"{section}.{key}"


def test_every_word_of_the_closed_vocabularies_has_a_name() -> None:
    words = {
        *vocabulary.CHANNEL, *vocabulary.GENDER, *vocabulary.MEMBER_STATUS, *vocabulary.CONFIRMED_BY, *vocabulary.REFUND_KIND,
        *vocabulary.CONSENT_STATE, *vocabulary.STAGE, *vocabulary.OUTCOME,
    }  # fmt: skip
    assert words - set(labels.entries()["values"]) == set()


def test_both_languages_of_a_label_name_the_same_placeholders() -> None:
    for key, entry in labels.entries()["text"].items():
        assert set(re.findall(r"{(\w+)}", entry["zh"])) >= set(re.findall(r"{(\w+)}", entry["en"])), key


def test_every_text_that_the_code_names_is_in_the_file_and_every_text_in_the_file_is_used() -> None:
    sources = [*ROOM.rglob("*.py"), *ROOM.rglob("*.j2")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    known = set(labels.entries()["text"])
    named = set(re.findall(r"""\.(?:text|note)\(\s*["'](\w+)["']""", code))
    assert named <= known
    stems = (
        "check_",
        "cost_",
        "do_",
        "forecast_",
        "guess_",
        "input_",
        "several_",
        "found_",
        "gate_at_",
        "mend_",
        "reading_",
        "verdict_",
        "srm_",
        "tag_reading_",
        "thresholds_from_",
        "uplift_",
    )
    unused = {
        key for key in known
        if not (key.startswith(stems) or key.endswith("_sub") or re.search(rf"""["' =]{key}["' ]""", code))
    }  # fmt: skip
    assert not unused


def test_an_unknown_label_is_an_error_and_an_unlisted_name_shows_as_it_is() -> None:
    with pytest.raises(UnknownName, match="did you mean 'as_of'"):
        ZH.text("as_fo")
    assert ZH.name("tables", "orders") == "订单" and ZH.name("tables", "bonus") == "bonus"


def test_the_language_comes_from_the_runner_before_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_LANGUAGE", "en")
    assert language_of() == "en"
    monkeypatch.setenv("CRM_LANGUAGE", "fr")
    with pytest.raises(UnknownName, match="language 'fr'"):
        language_of()
    monkeypatch.delenv("CRM_LANGUAGE")
    assert language_of() == "zh"


@pytest.mark.parametrize(
    ("value", "unit", "zh", "en"),
    [
        (1234567, "count", "1,234,567", "1,234,567"),
        (1234, "people", "1,234 人", "1,234"),
        (Decimal("8911407.904"), "money", "¥8,911,408", "¥8,911,408"),
        (12.345, "money", "¥12.35", "¥12.35"),
        (-12.3, "money", "−¥12.30", "−¥12.30"),
        (0.1234, "percent", "12.3%", "12.3%"),
        (0.0004, "percent", "0.04%", "0.04%"),
        (0.021, "points", "2.1 百分点", "2.1 pp"),
        (0.3, "days", "0.3 天", "0.3 days"),
        (45.2, "days", "45 天", "45 days"),
        (1.5, "ratio", "1.50 倍", "1.50×"),
        (None, "money", "–", "–"),
        (float("nan"), "count", "–", "–"),
        (pd.NaT, "date", "–", "–"),
        (pd.Timestamp("2026-10-31"), "date", "2026-10-31", "2026-10-31"),
        ("<5", "people", "<5", "<5"),
        (True, "text", "True", "True"),
    ],
)
def test_numbers_have_separators_and_units(value: object, unit: str, zh: str, en: str) -> None:
    assert numbers.show(value, unit, language="zh") == zh and numbers.show(value, unit, language="en") == en


def test_a_sign_stands_before_what_is_positive_when_asked() -> None:
    assert numbers.show(0.05, "percent", sign=True) == "+5.0%" and numbers.show(-3, "count", sign=True) == "−3"
    assert numbers.show(0, "count", sign=True) == "0"


def test_counts_below_min_cell_are_masked_with_what_would_tell_about_them() -> None:
    frame = pd.DataFrame({"members": [0, 3, 5], "amount": [0.0, 99.0, 7.0]})
    masked = numbers.mask(frame, "members", 5, ["amount"])
    assert masked["members"].tolist() == [0, "<5", 5] and masked["amount"].tolist()[1] is None
    assert frame["members"].tolist() == [0, 3, 5]


def test_a_card_tells_the_change_and_whether_it_is_good_news() -> None:
    up = blocks.card("会员", 110, "people", ZH, before=100, better="up", versus="较 9 月", metric="members")
    assert up["value"] == "110 人" and up["change"] == {"text": "10.0%", "direction": "up", "tone": "good"}
    assert up["definition"]["name"] == "会员数"
    worse = blocks.card("share", 0.30, "percent", EN, before=0.25, better="down")
    assert worse["change"] == {"text": "5.0 pp", "direction": "up", "tone": "bad"}
    assert blocks.card("x", 5, "count", EN)["change"] is None and blocks.card("x", 5, "count", EN, before=0)["change"] is None


@pytest.mark.parametrize(("now", "then", "value", "changed"), [
    (2, 2, "<5", False), (2, 40, "<5", False), (40, 3, "40", False), (40, 20, "40", True), (0, 20, "0", True),
])  # fmt: skip
def test_beside_a_count_that_is_masked_no_change_is_told(now: int, then: int, value: str, changed: bool) -> None:
    view = View.__new__(View)
    view.labels, view.currency, view.min_cell = EN, "CNY", 5
    card = view.card("at_risk_members", now, "people", before=then)
    assert card["value"] == value and (card["change"] is not None) == changed


def test_both_halves_of_a_table_have_the_same_column_widths() -> None:
    frame = pd.DataFrame({"a": ["x", "很长的一个名字"], "b": [1, 2]})
    data = blocks.table(frame, {"a": blocks.Column("a"), "b": blocks.Column("b", "count")}, ZH).data
    assert data["widths"][0] > data["widths"][1] and 98 <= sum(data["widths"]) <= 102
