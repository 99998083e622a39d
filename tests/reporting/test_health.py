"""The data health report names what is wrong, in both languages, and nothing where all is well; fits both screens."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crm_core.config import Config
from crm_core.config.loader import parse_yaml
from crm_core.config.reports import ReportSettings
from crm_core.measures.quality import judge
from crm_core.reporting import Job, NotebookResult, run_notebooks
from crm_core.reporting.labels import entries
from crm_core.reporting.views import DataHealth
from crm_core.reporting.views.data_health import NEEDED_FOR
from crm_core.schema import TABLES
from crm_core.store import now
from crm_core.workspace import Workspace
from tests.measures.daily_shop import LAST, another, build
from tests.reporting.browser import Browser
from tests.require import chromium, need

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "data_health.ipynb"
REASONS = ["订单创建时间: 'x' is not a time"] * 40 + ["orders: net = gross − discount + shipping"] * 20


def plant(tables: dict[str, pd.DataFrame]) -> None:
    """No province, every second order paid before it was placed, amounts in hundredths."""
    orders = tables["orders"]
    orders["province"] = None
    orders.loc[::2, "paid_at"] = orders.loc[::2, "ordered_at"] - pd.Timedelta(minutes=3)
    for name, columns in (
        ("orders", ["gross_amount", "discount_amount", "net_amount"]),
        ("order_lines", ["unit_price", "line_amount"]),
        ("refunds", ["amount"]),
    ):
        tables[name][columns] = (tables[name][columns] * 100).round(2)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clean shop."""
    return build(tmp_path_factory.mktemp("health") / "我的 数据 100%")


@pytest.fixture(scope="module")
def faulty(clean: Path) -> Path:
    """Three days later: two missing, and much else."""
    root = clean.parent / "faulty"
    count = len(REASONS)
    rejects = pd.DataFrame({"file": "订单.csv", "row_number": np.arange(count), "field": "orders", "reason": REASONS, "row": "{}"})
    another(
        clean, root, plant, until=LAST + timedelta(days=3), rows_read=420, rows_rejected=count, rejects=rejects,
        headings=["订单编号"],
    )  # fmt: skip
    return root


@pytest.fixture(scope="module")
def made(faulty: Path) -> dict[str, NotebookResult]:
    """The report of the faulty shop by language."""
    return {
        language: run_notebooks(
            [Job(NOTEBOOK)], out_dir=faulty / "reports" / language, language=language, env={"CRM_WORKSPACE": str(faulty)}
        )[0]
        for language in ("zh", "en")
    }


def texts(block: Any) -> str:
    return repr(block.as_json())


def test_the_verdict_of_a_clean_shop_is_that_it_can_be_used(clean: Path, tmp_path: Path) -> None:
    report = DataHealth(another(clean, tmp_path / "shop"))
    assert report.findings == []
    assert "这些数据可以用" in report.headline().data["sentence"]
    assert "门禁全部通过" in texts(report.gate()) and "没有断档" in texts(report.gaps())
    assert "都说得通" in texts(report.contradictions()) and "没有突变" in texts(report.drift())


def test_records_told_in_two_ways_for_one_time_are_named_with_their_load(clean: Path, tmp_path: Path) -> None:
    def tell_twice(tables: dict[str, pd.DataFrame]) -> None:
        orders = tables["orders"]
        tables["orders"] = pd.concat([orders, orders.head(3).assign(province="别处"), orders.tail(2)], ignore_index=True)

    shop = another(clean, tmp_path / "shop", tell_twice)
    report, load = DataHealth(shop), f"load-{LAST + timedelta(days=1):%Y%m%d}"
    (found,) = report.findings
    assert found.command == f"crm loads {load}" and "**3** 条订单（1.7%）" in found.sentence
    (orders,) = (each for each in report.quality.loads[0].tables if each.table == "orders")
    assert (orders.rows, orders.keys, orders.again, orders.conflicts) == (185, 180, 5, 3)
    check = parse_yaml("gate: [{check: conflict_share, at_most: 0.01}]", ReportSettings, "reports.yml").gate
    (outcome,) = judge(report.quality, check, now())
    assert not outcome.passed and outcome.sentence.startswith("conflict_share: found 0.01667 (sample, orders)")


def test_every_fault_is_named_in_the_readers_language(made: dict[str, NotebookResult]) -> None:
    said = {language: re.sub(r"<[^>]*>", "", Path(str(result.html)).read_text("utf-8")) for language, result in made.items()}
    assert "先看 7 处" in made["zh"].summary["sentence"] and "look at 7 things" in made["en"].summary["sentence"]
    for chinese, english in (
        ("次装载的行数或金额对不上", "loads do not add up"),
        ("订单 · 省份（sample）在最新一次装载中只有 0.0% 有值，之前是 100.0%", "Orders · province of sample has a value in 0.0%"),
        ("2026-10-01 – 2026-10-02 没有一条订单", "2026-10-01 – 2026-10-02 brought no Orders"),
        ("90 单付款早于下单", "90 cases: paid before it was placed"),
        ("o100300000、o100300002、o100300004", "o100300000, o100300002, o100300004"),
        ("5 个字段的分布与之前明显不同", "5 columns are distributed otherwise"),
        ("少了表头 订单创建时间", "lacks the headings 订单创建时间"),
        ("格式读不懂", "not readable as what it should be"),
        ("违反规则：应付 = 原价 − 优惠 + 运费", "breaks a rule: net = gross − discount + shipping"),
        ("订单 · 签收时间签收周期、收货行为", "Orders · delivereddelivery lag, confirmation of receipt"),
        ("完整度变化最大的字段", "Columns whose completeness moved most"),
    ):
        assert chinese in said["zh"].replace("\n", ""), chinese
        assert english in said["en"].replace("\n", ""), english


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_screen_with_everything_opened(made: dict[str, NotebookResult], width: int) -> None:
    need(chromium(), "chromium (apt install chromium)")
    opened = "document.querySelectorAll('details').forEach(each => each.open = true)"
    with Browser() as browser:
        for result in made.values():
            seen = browser.open(Path(str(result.html)), width, script=opened)
            assert seen.overflow <= 0 and seen.console == [] and seen.requests == []


def test_every_rule_of_the_schema_and_of_the_shipped_sources_has_words_in_both_languages() -> None:
    config = Config.read([ROOT / "conf"])
    known = entries()["rules"]
    rules = [rule.name for schema in TABLES.values() for rule in schema.rules]
    for name in config.source_names():
        rules += [rule.reason for feed in config.source(name).feeds.values() for rule in feed.reject_when]
    assert [rule for rule in rules if set(known.get(rule, {})) != {"zh", "en"}] == []


def test_what_a_missing_column_costs_names_columns_and_analyses_that_exist() -> None:
    for key, needed in NEEDED_FOR.items():
        table, _, column = key.partition(".")
        assert column in TABLES[table].names, key
        assert [each for each in needed if each not in entries()["analyses"]] == []


def test_persons_are_told_where_identities_are_known(small_world: Path, clean: Path) -> None:
    block = DataHealth(Workspace.open(small_world, as_of="2026-10-31")).persons()
    assert "**1,500** 名会员对应 **1,500** 个自然人" in texts(block) and "手机号" in texts(block)
    assert DataHealth(Workspace.open(clean)).persons().kind == "missing"
