"""Contact data on its way to the vault: numbers normalised or refused with the reason, ids only as keyed
hashes.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_core.ingest.phones import judge_phone
from tests.bench.bench_phones import answers, by_engine, by_library, cells_of, draw
from tests.ingest.corner_shop import Shop, open_shop, order, text_of, write


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("13800138000", "+8613800138000"),
        ("+86 138-0013-8000", "+8613800138000"),
        ("008613800138000", "+8613800138000"),
        ("'13800138000", "+8613800138000"),
        ("+14155552671", "+14155552671"),
        ("19912345678", "+8619912345678"),
    ],
)
def test_a_usable_number_becomes_e164(shop: Shop, files: Path, text: str, number: str) -> None:
    shop.load(write(files / "订单.csv", text_of([order(1, mobile=text)])))
    assert [row["value"] for row in shop.vault.contacts("phone").to_pyarrow().to_pylist()] == [number]
    assert [row["id_value_hash"] for row in shop.rows("identities")] == [shop.vault.hmac_one("phone", number)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("138****8000", "masked"),
        ("13800138000.0", "turned into a number by a spreadsheet"),
        ("1.38E+10", "turned into a number by a spreadsheet"),
        ("13800138000/13900139000", "more than one number"),
        ("13800138000 #1234", "a privacy number with an extension"),
        ("1234567890123", "no number that is in use"),
        ("01012345678", "no mobile number"),
        ("无", "no phone number"),
        ("12345678901", "no number that is in use"),
    ],
)
def test_an_unusable_number_is_kept_with_the_reason_and_never_repaired(shop: Shop, files: Path, text: str, problem: str) -> None:
    report = shop.load(write(files / "订单.csv", text_of([order(1, mobile=text)])))
    assert report.accepted == 1
    assert [(item.kind, item.values, item.invalid) for item in report.contacts] == [("phone", 1, 1)]
    (row,) = shop.vault._live("contacts").to_pyarrow().to_pylist()
    assert (row["valid"], row["problem"]) == (False, problem)
    assert shop.rows("identities") == []


@given(st.lists(st.from_regex(r"(\+86)?1[3-9][0-9]{9}", fullmatch=True), min_size=1, max_size=40))
@settings(max_examples=8, deadline=None)
def test_the_engine_s_pattern_agrees_with_the_library(tmp_path_factory: pytest.TempPathFactory, numbers: list[str]) -> None:
    folder = tmp_path_factory.mktemp("phones")
    shop = open_shop(folder / "shop")
    rows = [order(place, member_no=f"m{place}", mobile=number) for place, number in enumerate(numbers)]
    shop.load(write(folder / "订单.csv", text_of(rows)))
    found = {row["value"] for row in shop.vault.contacts("phone").to_pyarrow().to_pylist()}
    assert found == {judge_phone(number, "CN")[0] for number in numbers} - {None}


def test_member_ids_are_the_hmac_that_python_computes(shop: Shop, files: Path) -> None:
    accounts = ["张三", "m'1", "a\x1fb", "zhang@example.com", "长" * 200, "😀"]
    shop.load(write(files / "订单.csv", text_of([order(place, member_no=name) for place, name in enumerate(accounts)])))
    found = {row["account_id"]: row["member_id"] for row in shop.vault.accounts().to_pyarrow().to_pylist()}
    for name in accounts:
        message = f"corner_shop\x1f{name}".encode()
        assert found[name] == hmac.new(shop.vault.key, message, hashlib.sha256).hexdigest()[:24]


def test_the_key_stands_in_no_statement(shop: Shop) -> None:
    made = shop.vault.keyed(ibis.memtable({"x": ["a"]}), {"h": ("n", "x")})
    statement = str(ibis.to_sql(made))
    block = shop.vault.key.ljust(64, b"\0")
    for pad in (0, 0x36, 0x5C):
        assert bytes(byte ^ pad for byte in block[:16]).hex() not in statement


def test_accounts_of_refused_rows_do_not_reach_the_vault(shop: Shop, files: Path) -> None:
    rows = [order(1), order(2, amount="x"), order(3, paid_at="", refunded="1.00")]
    shop.load(write(files / "订单.csv", text_of(rows)))
    assert [row["account_id"] for row in shop.vault.accounts().to_pyarrow().to_pylist()] == ["M1"]
    assert shop.vault.contacts("phone").count().to_pyarrow().as_py() == 1


def test_twenty_thousand_drawn_cells_are_judged_as_the_library_judges_each(shop: Shop) -> None:
    texts = draw(20_000, seed=7)
    ours, library = answers(by_engine(shop.lake.engine, cells_of(texts))), by_library(texts)
    assert [pair for pair in zip(texts, ours, library, strict=True) if pair[1] != pair[2]] == []
    assert len({why for _, why in library}) == 8  # every verdict occurs
