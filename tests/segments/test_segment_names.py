"""References, descriptions and the segments that the repository ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_core.config import read_yaml
from crm_core.config.segments import SegmentSettings
from crm_core.errors import InputError, UnknownName
from crm_core.segments import Basis, assign, check, describe, members_of, references, resolve, thresholds
from tests.tiny_features import buyer, features_table

SHIPPED = read_yaml(Path(__file__).parents[2] / "conf" / "segments.yml", SegmentSettings)
TITLE = {"zh": "甲", "en": "A"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rfm:at_risk", ("rfm", "at_risk")),
        ("at_risk", ("rfm", "at_risk")),
        ("high_value", ("type", "high_value")),
        ("birthday_this_month", ("rule", "birthday_this_month")),
        ("no_paid_order", ("rfm", "no_paid_order")),
        ("type:no_paid_order", ("type", "no_paid_order")),
    ],
)
def test_a_reference_names_its_scheme_unless_there_is_just_one(name, expected):
    assert resolve(name, SHIPPED) == expected


def test_an_unknown_segment_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"segment 'at_rsik' is not known in conf/segments.yml; did you mean 'at_risk'"):
        resolve("at_rsik", SHIPPED)
    with pytest.raises(UnknownName, match="did you mean 'rfm:at_risk'"):
        resolve("rfm:at_rsik", SHIPPED)
    with pytest.raises(UnknownName, match=r"known: lifecycle:active.*lifecycle:won_back$"):
        resolve("lifecycle", SHIPPED)
    with pytest.raises(UnknownName, match="known: about_to_sleep"):  # and not 111, 112, …
        resolve("zzz", SHIPPED)


def test_a_name_in_two_schemes_must_be_written_in_full():
    twice = SegmentSettings.model_validate({"rules": {"lost": {"title": TITLE, "when": "order_count > 0"}}})
    with pytest.raises(InputError, match="write one of rfm:lost, lifecycle:lost, rule:lost"):
        resolve("lost", twice)


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("name", references(SHIPPED))
def test_every_segment_has_a_title_and_a_definition(name, language):
    found = describe(name, SHIPPED, language)
    assert found.title
    assert found.definition
    assert found.reference == name


def test_a_definition_shows_its_cells_and_the_limits_of_the_day():
    features = features_table([buyer(str(n), n, n, str(n)) for n in range(1, 11)])
    assert describe("at_risk", SHIPPED, "en").definition == "R 2, F 3–4; R 1, F 3–4"
    shown = describe("at_risk", SHIPPED, "en", Basis(thresholds(features, SHIPPED))).definition
    assert "paid orders 2.00, 4.00, 6.00, 8.00" in shown


def test_members_of_a_segment_are_found_by_its_name():
    features = features_table([buyer("a", 1, 1, "1"), buyer("b", 50, 1, "1")])
    assigned = assign(features, SHIPPED)
    found = members_of(assigned, "rule:second_order_due", SHIPPED).to_pyarrow()["member_id"].to_pylist()
    assert found == ["b"]


def test_the_shipped_rules_compile_and_all_that_are_wrong_are_told_at_once():
    check(SHIPPED)
    wrong = {name: {"title": TITLE, "when": when} for name, when in {"one": "nothing > 1", "two": "1 +"}.items()}
    with pytest.raises(InputError, match=r"(?s)rule 'one'.*rule 'two'"):
        check(SegmentSettings.model_validate({"rules": wrong}))
