"""Tags of members made up by hand, and the reasons for them."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from crm_core.config import read_yaml
from crm_core.config.tags import TagSettings
from crm_core.errors import InputError, UnknownName
from crm_core.tags import check, compute, describe, expired, long, reasons
from tests.tiny_features import buyer, features_table, nobody
from tests.tiny_world import rows_of

SHIPPED = read_yaml(Path(__file__).parents[2] / "conf" / "tags.yml", TagSettings)
BASE = {"title": {"zh": "甲", "en": "A"}, "owner": "crm"}


def tags(**definitions):
    return TagSettings.model_validate({"tags": {name: {**BASE, **one} for name, one in definitions.items()}})


CONF = tags(
    rich={"kind": "rule", "when": "net_amount >= 5.5 and (tier == 'gold' or order_count > 1)"},
    level={
        "kind": "rule",
        "cases": [{"value": "high", "when": "net_amount > 100"}, {"value": "some", "when": "net_amount > 0"}],
        "otherwise": "none",
    },
    band={"kind": "rule", "cases": [{"value": "young", "when": "age < 30"}]},
    per_order={"kind": "statistic", "value": "round(net_amount / order_count, 1)"},
    doubled={"kind": "statistic", "value": "net_amount * 2"},
)
ROWS = [buyer("a", 1, 2, "5.50", age=20), buyer("b", 1, 1, "101", tier="tin"), nobody("c")]


def test_the_wide_table_has_a_row_per_member_and_a_column_per_tag():
    found = rows_of(compute(features_table(ROWS), CONF))
    names = ("rich", "level", "band", "per_order", "doubled")
    assert {member: tuple(row[name] for name in names) for member, row in found.items()} == {
        "a": (True, "some", "young", 2.8, Decimal("11.00")),
        "b": (False, "high", None, 101.0, Decimal("202.00")),
        "c": (False, "none", None, None, Decimal("0.00")),
    }


def test_the_long_table_has_a_row_per_tag_that_a_member_has():
    found = {
        (row["member_id"], row["tag"]): row["value"] for row in long(compute(features_table(ROWS), CONF)).to_pyarrow().to_pylist()
    }
    assert found[("a", "rich")] == "true"
    assert ("b", "rich") not in found
    assert ("b", "band") not in found
    assert found[("b", "level")] == "high"
    assert len(found) == 5 + 3 + 2


def test_an_expired_tag_is_not_computed():
    conf = tags(old={"kind": "rule", "when": "order_count > 0", "expires_on": "2026-10-31"})
    assert rows_of(compute(features_table(ROWS), conf, date(2026, 10, 31)))["a"]["old"] is True
    assert rows_of(compute(features_table(ROWS), conf, date(2026, 11, 1)))["a"]["old"] is None
    assert expired(conf.tags["old"], date(2026, 11, 1))


def test_a_reason_names_the_condition_that_fired_its_parts_and_the_values():
    found = {reason.tag: reason for reason in reasons(features_table(ROWS), CONF, "a")}
    rich = found["rich"]
    assert (rich.value, rich.fired) == (True, CONF.tags["rich"].when)
    assert rich.parts == (("net_amount >= 5.5", True), ("tier == 'gold' or order_count > 1", True))
    assert rich.features == {"net_amount": Decimal("5.50"), "order_count": 2, "tier": None}
    assert (found["level"].value, found["level"].fired) == ("some", "net_amount > 0")
    assert (found["per_order"].value, found["per_order"].fired) == (2.8, None)
    assert found["per_order"].features == {"net_amount": Decimal("5.50"), "order_count": 2}


def test_a_reason_says_so_when_nothing_fired_and_keeps_unknown_apart_from_no():
    found = {reason.tag: reason for reason in reasons(features_table(ROWS), CONF, "b")}
    assert (found["band"].value, found["band"].fired, found["band"].parts) == (None, None, (("age < 30", None),))
    assert found["rich"].parts == (("net_amount >= 5.5", True), ("tier == 'gold' or order_count > 1", False))


def test_reasons_agree_with_the_wide_table_for_every_member_and_tag():
    wide = rows_of(compute(features_table(ROWS), CONF))
    for member, row in wide.items():
        assert {reason.tag: reason.value for reason in reasons(features_table(ROWS), CONF, member)} == {
            name: value for name, value in row.items() if name != "member_id"
        }


def test_a_member_who_is_not_there_is_an_input_error():
    with pytest.raises(InputError, match="member 'q' is not among"):
        reasons(features_table(ROWS), CONF, "q")


def test_the_shipped_tags_compile_and_are_described_in_both_languages():
    check(SHIPPED)
    for name in SHIPPED.tags:
        for language in ("zh", "en"):
            found = describe(name, SHIPPED, language)
            assert found.title
            assert found.definition
            assert found.owner


def test_an_unknown_tag_offers_the_nearest():
    with pytest.raises(UnknownName, match=r"tag 'age_bnad' is not known in conf/tags.yml; did you mean 'age_band'"):
        describe("age_bnad", SHIPPED)


def test_all_tags_that_cannot_be_read_are_told_at_once():
    conf = tags(one={"kind": "rule", "when": "nothing > 1"}, two={"kind": "statistic", "value": "net_amont * 2"})
    with pytest.raises(InputError, match=r"(?s)tag 'one'.*tag 'two'.*did you mean 'net_amount'"):
        check(conf)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"kind": "rule"}, "it has none"),
        ({"kind": "rule", "when": "a > 1", "value": "a"}, "it has when, value"),
        ({"kind": "statistic", "when": "a > 1"}, "it has when"),
        ({"kind": "rule", "when": "a > 1", "otherwise": "x"}, "otherwise goes with cases"),
        ({"kind": "model", "value": "a"}, "names the model"),
        ({"kind": "rule", "when": "a > 1", "model": "churn"}, "names the model"),
        ({"kind": "list", "value": "a"}, "a list needs none of when, cases, value"),
        ({"kind": "guess"}, "rule"),
        ({"kind": "rule", "when": "a > 1", "bounds": {"coverage": [0.5, 0.1]}}, "least, most"),
    ],
)
def test_a_tag_that_does_not_fit_its_kind_is_refused(definition, message):
    with pytest.raises(ValueError, match=message):
        tags(x=definition)


def test_a_tag_cannot_take_the_name_of_a_key_column():
    with pytest.raises(ValueError, match="cannot be called member_id"):
        tags(member_id={"kind": "rule", "when": "a > 1"})
