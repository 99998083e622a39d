"""`Config`: one workspace's files over the repository's, pinned by text and hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from crm_core.config import Config
from crm_core.errors import InputError, UnknownName

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    repository = write(tmp_path / "repo", project="name: shop\nmin_cell: 9\n", sources__a="x: 1\n", sources__b="x: 1\n")
    workspace = write(tmp_path / "我的 100%", project="name: mine\n", sources__c="x: 1\n")
    return [repository, workspace]


def test_a_workspace_replaces_files_whole_and_adds_its_own(two: list[Path]) -> None:
    config = Config.read(two)
    assert (config.project.name, config.project.min_cell) == ("mine", 5)
    assert config.source_names() == ["a", "b", "c"]
    assert Config.read(two[:1]).project.name == "shop"
    assert set(config.texts()) == {"project.yml", "sources/a.yml", "sources/b.yml", "sources/c.yml"}


def test_an_error_names_the_file_that_it_is_in(two: list[Path]) -> None:
    write(two[1], project="name: mine\nmin_cel: 3\n")
    with pytest.raises(InputError, match=r"我的 100%/project\.yml line 2: setting 'min_cel' .* did you mean 'min_cell'\?"):
        _ = Config.read(two).project
    write(two[0], project="currency: yuan\n")
    with pytest.raises(InputError, match=r"^conf/project\.yml line 1: setting 'currency': .* found 'yuan'"):
        _ = Config.read(two[:1]).project


def test_texts_and_hash_survive_a_round_trip_and_the_hash_follows_any_change(two: list[Path]) -> None:
    config = Config.read(two)
    again = Config(config.texts())
    assert (again.texts(), again.hash(), again.project) == (config.texts(), config.hash(), config.project)
    assert Config(dict(reversed(config.texts().items()))).hash() == config.hash()
    hashes = {config.hash(), Config.read(two[:1]).hash(), Config({}).hash()}
    write(two[1], project="name: mine \n")
    assert len(hashes | {Config.read(two).hash()}) == 4


def test_the_texts_handed_out_are_a_copy(two: list[Path]) -> None:
    config = Config.read(two)
    config.texts()["project.yml"] = "changed"
    assert config.project.name == "mine"


def test_an_unknown_name_offers_the_nearest(two: list[Path]) -> None:
    config = Config.read([write(two[0], sources__online_retail="x: 1\n", campaigns__winback="x: 1\n")])
    with pytest.raises(UnknownName, match=r"source 'online_retial' is not known in conf/sources/; did you mean 'online_retail'\?"):
        config.source("online_retial")
    with pytest.raises(UnknownName, match=r"campaign 'x' is not known in conf/campaigns/; known: winback"):
        config.campaign("x")
    with pytest.raises(UnknownName, match=r"platform 'sms' is not known in conf/platforms/; known: none"):
        config.platform("sms")


def test_no_name_reaches_outside_the_folder_of_its_kind(two: list[Path]) -> None:
    for name in ("../project", "a/../../project", "/etc/passwd", "", "a.yml"):
        with pytest.raises(UnknownName):
            Config.read(two).source(name)


@pytest.mark.parametrize("zone", ["Asia/Shangai", "", "../etc", "CST+8"])
def test_a_time_zone_that_is_none_is_refused_with_advice(zone: str) -> None:
    with pytest.raises(InputError, match="is not an IANA time zone; write one like 'Asia/Shanghai'"):
        _ = Config({"project.yml": f"time_zone: '{zone}'\n"}).project


def test_a_file_that_is_not_utf8_is_named(two: list[Path]) -> None:
    (two[0] / "tags.yml").write_bytes("标签: 1".encode("gb18030"))
    with pytest.raises(InputError, match=r"tags\.yml cannot be read as UTF-8 text"):
        Config.read(two)


def test_without_any_file_the_defaults_hold() -> None:
    project = Config({}).project
    assert (project.time_zone, project.currency, project.language, str(project.zone)) == (
        "Asia/Shanghai",
        "CNY",
        "zh",
        "Asia/Shanghai",
    )


def test_every_settings_file_of_the_repository_is_valid() -> None:
    config = Config.read([ROOT / "conf"])
    assert config.project.name
    for name in ("segments", "tags", "reports"):
        if f"{name}.yml" in config.texts():
            assert getattr(config, name)
    for name in config.source_names():
        assert config.source(name)
    for name in config.campaign_names():
        assert config.campaign(name)
    for name in config.platform_names():
        assert config.platform(name)
