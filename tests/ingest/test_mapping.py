"""What a mapping can say: groups, parts of text and dates, attributes by their own time, money in fen."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from crm_core.errors import InputError
from crm_core.store import Tables
from tests.ingest.corner_shop import LINES, Shop, open_shop, text_of, write

MEMBERS = """
source: members
title: {en: Members, zh: 会员}
money_unit: fen
backdate: BACKDATE
feeds:
  members:
    match: ["*.csv"]
    fields:
      card: {heading: card, filled: true}
      birthday: {heading: birthday, type: date, private: true}
      address: {heading: address, private: true}
      tier: {heading: tier}
      changed: {heading: changed, type: time, filled: true}
    tables:
      members:
        effective_at: changed
        columns:
          member_id: account(card)
          birth_year: year(birthday)
          birth_month: month(birthday)
          province: part(address, ' ', 1)
          tier: tier
"""
HEADINGS = ["card", "birthday", "address", "tier", "changed"]
ROWS = [
    ["c1", "1990-05-01", "上海市 徐汇区 某路1号", "silver", "2026-03-01 10:00:00"],
    ["c1", "1990-05-01", "北京市 海淀区 某路2号", "gold", "2026-06-01 10:00:00"],
    ["c2", "", "", "silver", "2026-09-01 10:00:00"],
]


def members(tmp_path: Path, backdate: str = "false") -> Shop:
    shop = open_shop(tmp_path / "shop", {"sources/members.yml": MEMBERS.replace("BACKDATE", backdate)})
    path = write(tmp_path / "members.csv", text_of(ROWS, HEADINGS))
    assert shop.load(path, source="members").accepted == 3
    return shop


def tiers(shop: Shop, day: str) -> dict[str, str]:
    zone = shop.config.project.zone
    view = Tables(shop.lake, shop.lake.snapshot(), date.fromisoformat(day), zone)
    names = {shop.vault.member_id("members", card): card for card in ("c1", "c2")}
    return {names[row["member_id"]]: row["tier"] for row in view.members.to_pyarrow().to_pylist()}


def test_attributes_are_those_of_their_own_time(tmp_path: Path) -> None:
    shop = members(tmp_path)
    assert tiers(shop, "2026-10-31") == {"c1": "gold", "c2": "silver"}
    assert tiers(shop, "2026-05-31") == {"c1": "silver"}
    assert tiers(shop, "2026-02-28") == {}


def test_backdated_attributes_hold_before_they_were_first_stated(tmp_path: Path) -> None:
    shop = members(tmp_path, backdate="true")
    assert tiers(shop, "2026-02-28") == {"c1": "silver", "c2": "silver"}
    assert tiers(shop, "2026-10-31") == {"c1": "gold", "c2": "silver"}


def test_backdated_attributes_do_not_depend_on_how_the_files_are_split(tmp_path: Path) -> None:
    for name, order in (("forth", ROWS), ("back", ROWS[::-1])):
        shop = open_shop(tmp_path / name, {"sources/members.yml": MEMBERS.replace("BACKDATE", "true")})
        for at, row in enumerate(order):
            shop.load(write(tmp_path / f"{name}{at}.csv", text_of([row], HEADINGS)), source="members")
        assert tiers(shop, "2026-02-28") == {"c1": "silver", "c2": "silver"}
        assert tiers(shop, "2026-10-31") == {"c1": "gold", "c2": "silver"}


def test_dates_and_addresses_go_in_as_year_month_and_province_only(tmp_path: Path) -> None:
    shop = members(tmp_path)
    (row,) = (row for row in shop.rows("members") if row["tier"] == "gold")
    assert (row["birth_year"], row["birth_month"], row["province"]) == (1990, 5, "北京市")
    for path in shop.lake.root.rglob("*.parquet"):
        assert "某路".encode() not in path.read_bytes()


def test_a_negative_quantity_that_is_no_refund_is_refused(shop: Shop, files: Path) -> None:
    rows = [["A1", "2026-10-01 10:00", "S1", "2", "1.5"], ["A1", "2026-10-01 10:00", "S1", "-2", "1.5"]]
    report = shop.load(write(files / "订单明细.csv", text_of(rows, LINES)))
    assert (report.accepted, report.rejected) == (1, 1)
    assert shop.rows("rejects")[0]["reason"] == "a negative quantity that is no refund"


def test_fen_are_hundredths(tmp_path: Path) -> None:
    text = open_shop(tmp_path / "a").config.texts()["sources/corner_shop.yml"]
    shop = open_shop(tmp_path / "b", {"sources/corner_shop.yml": text.replace("money_unit: yuan", "money_unit: fen")})
    rows = [["A1", "2026-10-01 10:00", "S1", "3", "1999"], ["A1", "2026-10-01 10:00", "S1", "1", "0.5"]]
    shop.load(write(tmp_path / "订单明细.csv", text_of(rows, LINES)))
    assert [(row["unit_price"], row["line_amount"]) for row in shop.rows("order_lines")] == [
        (Decimal("19.990000"), Decimal("59.97")),
        (Decimal("0.005000"), Decimal("0.01")),
    ]


def test_times_without_an_offset_belong_to_the_source_s_zone(tmp_path: Path) -> None:
    text = open_shop(tmp_path / "a").config.texts()["sources/corner_shop.yml"]
    london = text.replace("time_zone: Asia/Shanghai", "time_zone: Europe/London")
    shop = open_shop(tmp_path / "b", {"sources/corner_shop.yml": london})
    rows = [["A1", "2026-07-01 10:00", "S1", "3", "1"], ["A2", "2026-07-01 10:00+08:00", "S1", "3", "1"]]
    shop.load(write(tmp_path / "订单明细.csv", text_of(rows, LINES)))
    assert [row["ordered_at"] for row in shop.rows("order_lines")] == [datetime(2026, 7, 1, 9), datetime(2026, 7, 1, 2)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("tier: tier", "'tier' differs within a group"),
        ("tier: total(tier) if tier == 'a' else tier", "differs within a group|cannot be worked out"),
    ],
)
def test_a_column_that_differs_within_a_group_must_say_which_value_is_meant(tmp_path: Path, column: str, message: str) -> None:
    text = MEMBERS.replace("BACKDATE", "false").replace("tier: tier\n", f"{column}\n")
    text = text.replace("effective_at: changed", "per: [card]\n        effective_at: latest(changed)")
    text = text.replace("year(birthday)", "year(any_value(birthday))").replace("month(birthday)", "month(any_value(birthday))")
    text = text.replace("part(address, ' ', 1)", "part(first(address), ' ', 1)")
    shop = open_shop(tmp_path / "shop", {"sources/members.yml": text})
    with pytest.raises(InputError, match=message):
        shop.load(write(tmp_path / "members.csv", text_of(ROWS, HEADINGS)), source="members")


def test_phones_and_mail_in_peoples_own_words_do_not_reach_the_lake(tmp_path: Path) -> None:
    source = """
source: desk
feeds:
  calls:
    match: ["calls*.csv"]
    fields:
      call: {heading: call, filled: true}
      at: {heading: at, type: time, filled: true}
      words: {heading: words}
    tables:
      interactions:
        columns:
          event_id: call
          occurred_at: at
          event: "'consult'"
          detail: words
"""
    shop = open_shop(tmp_path / "shop", {"sources/desk.yml": source})
    said = {
        "请回电13800138000谢谢": "请回电138****8000谢谢",
        "write to zhang@example.com": "write to ***@***",
        "call 138 0013-8001, not 021-58881234": "call 138****8001, not 021****1234",
        "order 12345678": "order 12345678",
        "满199减30": "满199减30",
    }
    rows = [[f"C{number}", "2026-10-01 08:00:00", words] for number, words in enumerate(said)]
    shop.load(write(tmp_path / "calls.csv", text_of(rows, ["call", "at", "words"])), source="desk")
    assert [row["detail"] for row in shop.rows("interactions")] == list(said.values())
