"""Drafts of sources: every simulated shape is recognised and loads; without its source a draft still holds; no cell shows."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from crm_core.config import Config
from crm_core.errors import InputError
from crm_core.ingest import Draft, ingest, suggest
from crm_core.simulate import simulate
from crm_core.simulate.shapes import SHAPES
from tests.ingest.corner_shop import Shop, open_shop, write

CONFIG = Config.read([Path(__file__).resolve().parents[2] / "conf"])
PROJECT = {"project.yml": CONFIG.texts()["project.yml"]}
SOURCES = {name: text for name, text in CONFIG.texts().items() if name.startswith("sources/")}
PERSONAL = re.compile("手机|姓名|地址|会员名")
WITHOUT = {"taobao": ("taobao", "tmall_orders"), "user_behavior": ("user_behavior",), "web_events": ("web_events",)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("shapes")
    for shape in SHAPES:
        simulate(root / shape, members=40, days=90, seed=7, shape=shape)
    return {shape: root / shape for shape in SHAPES}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def drafted(shop: Shop, path: Path) -> Draft:
    return suggest(shop.config, shop.lake, path, "mine")


def test_the_example_of_a_draft_needs_no_more_than_its_comment_marks_taken_off(tmp_path: Path) -> None:
    shop = open_shop(tmp_path / "shop", PROJECT)
    path = tmp_path / "till.csv"
    rows = (f"A{row},K{row % 7},2026-03-0{row % 9 + 1} 10:00:00,{row}.50" for row in range(1, 40))
    path.write_text("\n".join(["slip,member card,created at,total", *rows]) + "\n")
    draft = drafted(shop, path)
    assert "account(member_card)" in draft.text
    text = re.sub("^    # (tables:| )", r"    \1", draft.text, flags=re.M)
    mine = Config({**PROJECT, "sources/mine.yml": text})
    report = ingest(mine, shop.lake, shop.vault, draft.name, [path], dry_run=True)
    assert (report.accepted, report.rejected) == (39, 0)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_recognised_and_its_draft_loads_as_its_own_source_does(
    tmp_path: Path, folders: dict[str, Path], shape: str
) -> None:
    shop = open_shop(tmp_path / "shop", {**PROJECT, **SOURCES})
    for path in files_of(folders[shape]):
        draft = drafted(shop, path)
        source = draft.like.split(".")[0]
        if not draft.like:
            assert draft.guessed and "TODO" in draft.text
            continue
        mine = open_shop(tmp_path / f"of_{path.name}", {**PROJECT, "sources/mine.yml": draft.text})
        found, wanted = (
            ingest(each.config, each.lake, each.vault, name, [path], dry_run=True)
            for each, name in ((mine, "mine"), (shop, source))
        )
        assert (found.read, found.accepted, found.duplicate) == (wanted.read, wanted.accepted, wanted.duplicate)
        assert found.accepted > 0 or wanted.accepted == 0


@pytest.mark.parametrize("shape", WITHOUT)
def test_a_file_nobody_knows_gets_a_draft_that_holds_and_shows_no_cell(
    tmp_path: Path, folders: dict[str, Path], shape: str
) -> None:
    kept = {name: text for name, text in SOURCES.items() if Path(name).stem not in WITHOUT[shape]}
    shop = open_shop(tmp_path / "shop", {**PROJECT, **kept})
    for path in files_of(folders[shape]):
        draft = drafted(shop, path)
        assert not draft.like and draft.guessed and "# TODO" in draft.text
        mine = Config({**PROJECT, "sources/mine.yml": draft.text})
        fields = next(iter(mine.source("mine").feeds.values())).fields.values()
        assert all(field.private for field in fields if PERSONAL.search(field.heading))
        report = ingest(mine, shop.lake, shop.vault, "mine", [path], dry_run=True)
        assert report.read > 0 and report.adds_up
        if path.suffix == ".csv":
            rows = list(csv.reader(path.read_bytes().decode("gb18030", "ignore").splitlines()))
            cells = {cell.strip("'") for row in rows[1:] for cell in row if len(cell) > 5}
            assert [cell for cell in cells if cell in draft.text] == []


def test_types_are_guessed_from_cells_and_shapes_stand_for_them(tmp_path: Path) -> None:
    lines = [
        "单据,甲,乙,丙,丁,戊,己,stamp,甲,庚",
        *(
            f"00{n:04d},2026-10-{n:02d},2026/10/{n:02d} 8:26,{n}.50,{n},是,13800138{n:03d},15115440{n:02d},x{n},{n}.00"
            for n in range(10, 28)
        ),
    ]
    shop = open_shop(tmp_path / "shop", PROJECT)
    draft = suggest(shop.config, shop.lake, write(tmp_path / "x_2026-10.csv", "\n".join(lines)), "mine")
    settings = Config({**PROJECT, "sources/mine.yml": draft.text}).source("mine")
    (feed,) = settings.feeds.values()
    found = {field.heading: (field.type, field.formats, field.private) for field in feed.fields.values()}
    assert found == {
        "单据": ("text", (), False),
        "甲#1": ("date", (), False),
        "乙": ("time", (), False),
        "丙": ("money", (), False),
        "丁": ("integer", (), False),
        "戊": ("flag", (), False),
        "己": ("text", (), True),
        "stamp": ("time", ("epoch_s",), False),
        "甲#2": ("text", (), False),
        "庚": ("money", (), False),
    }
    assert feed.match == ("x*.csv",)
    assert "cells look like 99999999999" in draft.text and not re.search(r"1380013|8:26|15115", draft.text)


@pytest.mark.parametrize("name", ["", "Mine", "taobao", "1a"])
def test_a_name_that_cannot_be_or_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    shop = open_shop(tmp_path / "shop", {**PROJECT, **SOURCES})
    path = write(tmp_path / "jd.csv", "a,b\n1,2\n")
    with pytest.raises(InputError, match=r"cannot be the source's name.*choose one with --name"):
        suggest(shop.config, shop.lake, path, name)
