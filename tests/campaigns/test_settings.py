"""Campaign and platform files: what ships is right, what is wrong is named with file and line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from crm_core.campaigns.selection import needed
from crm_core.config import Config, parse_yaml
from crm_core.config.campaigns import CampaignSettings
from crm_core.config.platforms import PlatformSettings
from crm_core.errors import InputError, UnknownName
from tests.campaigns.shop import CAMPAIGN, CONF

SHIPPED = sorted((CONF / "campaigns").glob("*.yml"))
PLATFORM = (CONF / "platforms" / "canonical.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_campaign_reads_and_names_a_segment_and_platform_that_exist(path: Path) -> None:
    config = Config.read([CONF])
    settings = config.campaign(path.stem)
    assert "person_id" in needed(config, path.stem, settings)
    assert config.platform(settings.platform).channel == settings.channel
    assert "拒收请回复R" in settings.text_of(next(iter(settings.arms)))


@pytest.mark.parametrize("path", sorted((CONF / "platforms").glob("*.yml")), ids=lambda path: path.stem)
def test_every_shipped_platform_reads(path: Path) -> None:
    assert Config.read([CONF]).platform(path.stem).columns


def test_shares_are_the_written_ones_exactly() -> None:
    settings = parse_yaml(CAMPAIGN, CampaignSettings, "x.yml")
    assert settings.shares == {"control": Fraction(1, 10), "message": Fraction(9, 10)}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("control: 0.10", "control: 0.20", r"add up to 1\.1; make them add up to 1"),
        ("metric: net_amount", "metric: revenue", r"x\.yml line 8: setting 'metric'.*'net_amount', 'orders'"),
        ("strata: [tier]", "stratas: [tier]", r"line 7: setting 'stratas' is not known; did you mean 'strata'"),
        ("{message: 0.90}", "{control: 0.90}", r"line 6: setting 'arms': 'control' is no arm"),
        ("{tier}会员", "{name}会员", r"placeholder '\{name\}' is not allowed; known: city, offer, province, tier"),
        ("【商城】{tier}", "=HYPERLINK{tier}", r"line 10: setting 'template': starts with = \+ - @"),
        ("{offer: 30元券}", '{offer: "a\\tb"}', r"setting 'parameters'.*holds a tab or line break"),
        ("会员专享{offer}", "会员专享{offer", r"a brace without its partner"),
        ("。拒收请回复R", "。", r"the text of arm 'message' does not say how to refuse"),
        ("window_days: 14", "window_days: 0", r"line 9: setting 'window_days'"),
        ("control: 0.10", "send_at: 25h", r"setting 'send_at'"),
    ],
)
def test_a_wrong_setting_is_named_with_file_line_and_what_is_allowed(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_yaml(CAMPAIGN.replace(old, new), CampaignSettings, "x.yml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: contact, heading: phone", "name: city, heading: phone", r"'contact', 'message'"),
        ("name: contact, heading: phone", "name: send_at, heading: phone", r"no column 'contact'"),
        ("heading: message}", "heading: phone}", r"named twice"),
        ("heading: message}", "heading: =cmd}", r"a heading may not start with"),
        ("encoding: utf-8\nline_end", "encoding: utf-99\nline_end", r"is no encoding"),
        ("delivered: delivered", "delivered: arrived", r"line 24: setting 'receipts.statuses.delivered'"),
    ],
)
def test_a_wrong_platform_setting_is_named(old: str, new: str, message: str) -> None:
    assert old in PLATFORM
    with pytest.raises(InputError, match=message):
        parse_yaml(PLATFORM.replace(old, new), PlatformSettings, "p.yml")


def test_an_unknown_campaign_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'second_order'"):
        Config.read([CONF]).campaign("second_ordr")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("strata: [tier]", "strata: [teir]", "stratum 'teir' is not known in conf/campaigns/trial.yml; did you mean 'tier'"),
        ("order_count == 1", "order_cuont == 1", "conf/campaigns/trial.yml, segment.*order_count"),
        ("order_count == 1", "rfm:at_rsik", "did you mean 'rfm:at_risk'"),
    ],
)
def test_names_that_do_not_exist_are_found_before_anything_is_computed(old: str, new: str, message: str) -> None:
    config = Config({**Config.read([CONF]).texts(), "campaigns/trial.yml": CAMPAIGN.replace(old, new)})
    with pytest.raises(InputError, match=message):
        needed(config, "trial", config.campaign("trial"))
